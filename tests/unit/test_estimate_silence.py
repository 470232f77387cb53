"""A current sensor that falls silent, and sheets and clocks that are not as one would like them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from controller.core.signal import Floats
from tests.estimate_rig import GRID, sheet
from tools.score import estimate

CAPACITY_AH = 94.0
OHM = 1e-3


def nmc() -> dict[str, Any]:
    """A sloping curve over one resistance, with quick branches."""
    return {
        **sheet("nmc-94"), "capacity_ah": CAPACITY_AH, "r0": OHM, "r1": 0.3 * OHM, "tau1": 20.0,
        "r2": 0.3 * OHM, "tau2": 600.0,
    }  # fmt: skip


def walk(rows: int, start: float = 0.75) -> tuple[Floats, Floats, Floats]:
    """Current, voltage and SOC: every four minutes another discharge of up to 1.2C, as the sheet's circuit gives it."""
    s, random = nmc(), np.random.default_rng(3)
    i = np.repeat(random.uniform(0.1, 1.2, rows // 240 + 1), 240)[:rows] * CAPACITY_AH
    soc = start - np.cumsum(i) / 3600 / CAPACITY_AH
    v = np.interp(soc, GRID, s["ocv_mid_v"]) - OHM * i
    for ohm, tau in ((s["r1"], s["tau1"]), (s["r2"], s["tau2"])):
        drop = 0.0
        for k in range(rows):
            drop += (ohm * i[k] - drop) * (1 - np.exp(-1 / tau))
            v[k] -= drop
    return i, v, soc


def tracked(i: Floats, v: Floats, start: float) -> tuple[Floats, Floats]:
    soc, sigma = estimate([i], [v], 25.0, 1.0, [start], {**nmc(), "s0": 0.02})
    return soc[0], sigma[0]


def silent(part: Floats) -> Floats:
    """The same with ten minutes missing, from the tenth on."""
    return np.where((np.arange(len(part)) >= 600) & (np.arange(len(part)) < 1200), np.nan, part)


def test_where_the_current_is_silent_the_voltage_tells_it() -> None:
    i, v, truth = walk(1800)
    lost = truth[599] - truth[1199]
    assert lost > 0.08, "ten minutes at two thirds of 1C"
    soc, sigma = tracked(silent(i), v + 0.008, truth[0])
    error = np.abs(soc - truth)
    assert error[600:].max() < lost / 3
    assert (error <= 2 * sigma)[600:].all()


def test_a_voltage_that_stands_still_tells_no_current() -> None:
    i, v, truth = walk(1200)
    frozen = np.where(np.arange(1200) >= 590, v[589], v)
    moving, _ = tracked(silent(i), v, truth[0])
    stuck, _ = tracked(silent(i), frozen, truth[0])
    missing, _ = tracked(silent(i), silent(v), truth[0])
    assert stuck[-1] == pytest.approx(missing[-1], abs=0.01), "held and fading, as without any voltage"
    assert moving[-1] < missing[-1] - 0.02


def test_where_nothing_is_heard_the_sigma_is_what_usually_flows() -> None:
    i, v, truth = walk(1800)
    soc, sigma = tracked(silent(i), silent(v), truth[0])
    rms = np.sqrt((i[:600] ** 2).mean()) / CAPACITY_AH
    assert sigma[1190] > 0.8 * rms / 6, "ten minutes of it"
    assert np.abs(soc - truth)[1190] < 2 * sigma[1190]
    assert sigma[1260] < 0.5 * sigma[1190], "a minute of both, and it is over"


def test_a_current_that_was_never_heard_holds_no_one_up() -> None:
    i, v, truth = walk(1800, 0.9)
    gentle = 0.3 * i
    truth = 0.9 - np.cumsum(gentle) / 3600 / CAPACITY_AH
    v = np.interp(truth, GRID, nmc()["ocv_mid_v"]) - 1.6 * OHM * gentle
    late = np.where(np.arange(1800) < 900, np.nan, gentle)
    soc, sigma = estimate([late], [v], 25.0, 1.0, [truth[0] - 0.2], nmc())
    off = np.abs(soc[0] - truth)
    assert (off <= 2 * sigma[0]).all()
    assert off[50] > 0.19, "it may still come"
    assert off[70] < 0.1 and sigma[0, 70] < 0.1
    assert sigma[0, 899] < 0.15, "what the voltage leaves open bounds it"
    assert sigma[0, -1] < 0.5 * sigma[0, 899] and off[-1] < 0.03


def test_a_table_may_be_written_from_full_to_empty_or_with_holes() -> None:
    i, v, truth = walk(900)
    plain = estimate([i], [v], 25.0, 1.0, [truth[0]], nmc())
    down = {**nmc(), "soc_grid": GRID[::-1], "ocv_mid_v": nmc()["ocv_mid_v"][::-1]}
    holes = {**nmc(), "ocv_mid_v": np.where(np.arange(201) == 7, np.nan, nmc()["ocv_mid_v"])}
    twice = {**nmc(), "soc_grid": [*GRID, 1.0], "ocv_mid_v": [*nmc()["ocv_mid_v"], nmc()["ocv_mid_v"][-1]]}
    for told in (down, holes, twice):
        np.testing.assert_allclose(estimate([i], [v], 25.0, 1.0, [truth[0]], told)[0], plain[0], atol=1e-3)
    with pytest.raises(ValueError, match="no two points"):
        estimate([i], [v], 25.0, 1.0, [truth[0]], {**nmc(), "ocv_mid_v": np.full(201, np.nan)})


def test_what_a_sheet_leaves_open_or_gives_as_nothing_stops_no_one() -> None:
    i, v, truth = walk(600)
    for told in ({"r1": 0.0, "tau1": 0.0}, {"r2": 0.0, "tau2": 0.0}, {"gamma": None, "ms": None, "eta": None},
                 {"r0": 0.0}):  # fmt: skip
        soc, sigma = estimate([i], [v], 25.0, 1.0, [truth[0]], {**nmc(), **told})
        assert np.isfinite(soc).all() and np.isfinite(sigma).all()
        assert abs(soc[0, -1] - truth[-1]) < 0.1, told


def test_a_start_that_is_not_known_is_found_from_the_voltage() -> None:
    i, v, truth = walk(600)
    soc, sigma = estimate([i], [v], 25.0, 1.0, [np.nan], nmc())
    assert abs(soc[0, -1] - truth[-1]) <= 2 * sigma[0, -1] < 0.1


def test_rows_of_no_whole_milliseconds_do_not_fall_behind_the_clock() -> None:
    rows, dt = 6_000, 1 / 80
    i = np.full(rows, 2 * CAPACITY_AH)
    nothing = np.full(rows, np.nan)
    v = np.where(np.arange(rows) < 400, np.interp(0.9, GRID, nmc()["ocv_mid_v"]) - 1.0 * OHM * i, nothing)
    soc, _ = estimate([i], [v], 25.0, dt, [0.9], {**nmc(), "s0": 0.003})
    counted = soc[0, 399] - soc[0, -1]
    assert counted == pytest.approx(2 * dt * (rows - 400) / 3600, rel=5e-3)
