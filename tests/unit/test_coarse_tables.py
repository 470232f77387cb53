"""A datasheet gives an OCV table of a few points: what lies between them is doubted, and a close table is not."""

from __future__ import annotations

import numpy as np
import pytest

from controller.core.estimate.bar import BarFilter
from controller.core.estimate.cell_model import CellModel, trust_in
from controller.core.estimate.coarse import between
from tests.estimate_rig import CAPACITY_AH, GRID, duty, sheet
from tools.score import estimate
from tools.score.bench import sheet_of

FINE = np.linspace(0.0, 1.0, 401)


def told_at(cell_type: str, points: int) -> dict[str, object]:
    """The sheet of a shipped type, of whose table only so many points are told, evenly."""
    s, few = sheet(cell_type), np.linspace(0.0, 1.0, points)
    return {**s, "soc_grid": few, "ocv_mid_v": np.interp(few, GRID, s["ocv_mid_v"])}


def test_between_two_points_alone_the_curve_may_step_anywhere() -> None:
    doubt = between(np.array([0.0, 1.0]), np.array([2.5, 3.6]), np.array([0.0, 0.5, 1.0, 1.2]))
    assert doubt == pytest.approx([0.0, 0.55, 0.0, 0.0])


@pytest.mark.parametrize("cell_type", ["lfp-280", "nmc-94", "lto-40"])
@pytest.mark.parametrize("points", [3, 5, 7, 11, 21])
def test_two_sigma_hold_what_an_interpolated_table_is_off(cell_type: str, points: int) -> None:
    whole, few = CellModel(sheet_of(sheet(cell_type))), CellModel(sheet_of(told_at(cell_type, points)))
    off = np.abs(few.ocv(FINE) - whole.ocv(FINE))
    sigma = np.hypot(np.interp(FINE, few.grid, few.coarse_v), trust_in(few).table_v)
    assert (off <= 2 * sigma).mean() > (0.75 if points == 3 else 0.9)


@pytest.mark.parametrize("cell_type", ["lfp-280", "nmc-94", "lto-40"])
@pytest.mark.parametrize("points", [51, 201])
def test_a_close_table_is_believed_as_it_is(cell_type: str, points: int) -> None:
    model = CellModel(sheet_of(told_at(cell_type, points)))
    inside = (model.grid > 0.1) & (model.grid < 0.975)
    assert np.interp(model.grid[inside], model.grid, model.coarse_v).max() < 0.005
    assert BarFilter(model).published == trust_in(model).published


@pytest.mark.parametrize(("cell_type", "points"), [("lfp-280", 3), ("nmc-94", 2), ("nmc-94", 3), ("nmc-94", 5)])
def test_with_a_coarse_table_the_sigma_says_how_little_is_known(cell_type: str, points: int) -> None:
    s, dt, cells = sheet(cell_type), 60.0, 6
    i = 0.6 * duty(0.7, dt)
    truth = 0.6 - np.cumsum(i) * dt / 3600 / CAPACITY_AH
    assert truth.min() > 0.1 and truth.max() < 0.9
    random = np.random.default_rng(5)
    v = np.interp(truth, GRID, s["ocv_mid_v"]) - s["r0"] * i
    volts = v + random.uniform(-0.01, 0.01, (cells, 1)) + random.normal(0, 0.001, (cells, len(i)))
    amps = i * (1 + random.uniform(-0.01, 0.01, (cells, 1))) + random.normal(0, 0.5, (cells, len(i)))
    start = 0.6 + 0.2 * np.where(np.arange(cells) % 2, 1, -1)
    soc, sigma = estimate(amps, volts, 25.0, dt, start, told_at(cell_type, points))
    assert (np.abs(soc - truth) <= 2 * sigma).mean() > 0.9
    assert sigma[:, -1].mean() > 0.02
