"""The acceptance test's simulated clock: hours of one plant in seconds, judged by who is named and what goes on."""

from __future__ import annotations

import re
from typing import Any

import pytest

from plc_config.compile import compile_site
from tools.fat import clocked
from tools.fat.clocked import LongCase, LongVerdict, run_long
from tools.simulator.verbs import parse_text

SITE = compile_site("bench")
SHORT = "internal_short_suspected"


def run(row: str, inject: str, most_h: float, healthy_h: float = 0.02, **more: Any) -> tuple[LongVerdict, list[float]]:
    """The case after so long a healthy life: enough to connect and carry load, more where it must be learnt from."""
    hours: list[float] = []
    case = LongCase("case", row, (inject,), healthy_h=healthy_h, most_h=most_h, **more)
    return run_long(case, SITE, 1, lambda name, at: hours.append(at)), hours


def test_a_hard_short_is_told_at_its_cell_within_minutes_of_plant_time_and_the_same_each_time() -> None:
    verdict, hours = run(SHORT, "leak {watched} 0.05", 0.15, healthy_h=0.1)
    assert verdict.passed, verdict.wrong
    assert verdict.detect_h is not None and 0.005 < verdict.detect_h < 0.1
    assert verdict.injected[0].startswith(f"leak {verdict.place}/")
    assert hours == [0.0, 0.1] and verdict.plant_h == pytest.approx(0.1 + verdict.detect_h, abs=0.06)
    again, _ = run(SHORT, "leak {watched} 0.05", 0.15, healthy_h=0.1)
    assert (again.detect_h, again.injected) == (verdict.detect_h, verdict.injected)


def test_another_row_than_the_expected_one_is_a_failure() -> None:
    verdict, _ = run("busbar_step_suspected", "leak {watched} 0.05", 0.15, healthy_h=0.1)
    assert verdict.wrong == (f"told {SHORT} {verdict.place} instead of busbar_step_suspected {verdict.place}",)


def test_silence_is_a_failure_too() -> None:
    verdict, _ = run(SHORT, "leak {cell} 1000", 0.02)
    assert verdict.detect_h is None and verdict.wrong == ("nothing was told within 0.02 h",)


def test_a_verb_that_the_plant_refuses_is_a_failure_not_a_pass() -> None:
    verdict, _ = run("low_capacity_suspected", "capacity {cell} 0", 0.05)
    assert not verdict.passed and "a ratio between" in verdict.wrong[0]


def test_what_grows_is_injected_again_each_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here an hour has two minutes."""
    monkeypatch.setattr(clocked, "HOUR_MS", 120_000)
    said: list[str] = []
    monkeypatch.setattr(clocked, "parse_text", lambda words: said.append(words) or parse_text(words))
    verdict, hours = run("resistance_growth_suspected", "resistance {cell} {grown}", 1.1, healthy_h=0.1, per_day=0.1)
    assert hours == [0.0, 0.1, 1.1] and verdict.injected[0].endswith("1.0000")
    assert [words.split()[-1] for words in said] == ["1.0000", "1.0042"]


@pytest.mark.parametrize(
    ("row", "inject", "place", "named"),
    [("cell_voltage_lost", "nan {cell} cell_voltage_v", "module", r"R\d\d/M\d\d"),
     ("pcs_comm_lost", "nan {pcs} pcs_active_power_w", "pcs", r"P01")],
)  # fmt: skip
def test_a_place_that_a_row_stops_is_seen_open_in_the_plant(row: str, inject: str, place: str, named: str) -> None:
    verdict, _ = run(row, inject, 0.05, place=place, stops=True)
    assert verdict.passed, verdict.wrong
    assert re.fullmatch(named, verdict.place)


def test_a_place_that_runs_on_though_it_must_stop_is_a_failure() -> None:
    verdict, _ = run("module_witness_lost", "nan {module} module_bleeding_cells", 0.05, place="module", stops=True)
    assert verdict.wrong == (f"{verdict.place[:3]} is still connected",)
