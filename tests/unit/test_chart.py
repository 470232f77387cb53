"""Line charts: round ticks that a person reads, gaps where there was no value, nothing outside the frame."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.chart import Band, Chart, Line, ticks

X = np.arange(10.0)


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (-58.91, 100.0, ["\N{MINUS SIGN}50", "0", "50", "100"]),
        (3.19, 3.81, ["3.2", "3.4", "3.6", "3.8"]),
        (0.0, 2500.0, ["0", "1,000", "2,000"]),
        (25.29, 25.51, ["25.3", "25.4", "25.5"]),
    ],
)
def test_ticks_are_round(low: float, high: float, told: list[str]) -> None:
    assert [text for _, text in ticks(low, high, 4)] == told


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 12))
def test_ticks_lie_inside_and_are_few(low: float, span: float, most: int) -> None:
    found = ticks(low, low + span, most)
    slack = 1e-6 * (abs(low) + span)
    assert len(found) <= most + 1 and all(low - slack <= v <= low + span + slack for v, _ in found)
    steps = np.diff([v for v, _ in found])
    assert len(steps) == 0 or math.isclose(steps.min(), steps.max(), rel_tol=1e-3)


def test_a_gap_is_a_gap_and_a_name_stands_below() -> None:
    y = X.copy()
    y[4:6] = np.nan
    drawn = Chart([Line("#123456", X, y, "power <W>")], "s", "kW", mark=3.0, label="a <label>").svg()
    assert drawn.count("<polyline") == 2 and drawn.count("stroke-dasharray") == 1
    assert "power &lt;W&gt;" in drawn and "a &lt;label&gt;" in drawn and ">5 kW<" in drawn and ">6 s<" in drawn


def test_what_lies_beyond_a_fixed_reach_is_cut_at_the_frame() -> None:
    wild = Band("#c9dcf2", X, X - 100.0, X + 100.0)
    drawn = Chart([Line("#1b2733", X, 1000.0 * X)], "h", "%", (wild,), (0.0, 100.0), height=200).svg()
    ups = [float(p.split(",")[1]) for points in re.findall(r'points="([^"]+)"', drawn) for p in points.split()]
    assert min(ups) >= 8.0 and max(ups) <= 180.0


def test_without_a_value_nothing_is_drawn() -> None:
    assert Chart([Line("#1b2733", X, np.full(10, np.nan))], "s", "V").svg() == "" == Chart([], "s", "V").svg()


@pytest.mark.parametrize("value", [0.0, 3.2, -1e5])
def test_a_constant_has_an_axis(value: float) -> None:
    assert "<polyline" in Chart([Line("#1b2733", X, np.full(10, value))], "s", "V").svg()
