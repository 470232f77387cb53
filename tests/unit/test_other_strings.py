"""Early warning in strings that are not neat: few cells, few sensors, values that come and go, cells that lie apart."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from controller.core.estimate.watch import Watch
from controller.core.image_warnings import Fault
from controller.core.topology import Topology
from tests.early_rig import CELLS, String, kinds
from tests.estimate_rig import CAPACITY_AH, GRID, sheet
from tools.score import screen
from tools.score.bench import Rig, sheet_of

MINUTES = 60


def test_sensors_far_apart_of_which_some_are_silent_now_and_then_are_not_stuck() -> None:
    string, random = String(seed=3), np.random.default_rng(4)
    string.warm_k[...] = np.where(np.arange(32) < 16, -2.0, 2.0)
    for _ in range(300):
        missing = random.random(string.warm_k.shape) < 0.05
        string.points.cell_temperature_degc.quality[...] = np.where(missing, 5, 0)
        assert string.hours(1 / 30) == [], "the median of whoever is left jumps by 4 K, and none of them moved"


def test_a_leak_is_told_in_a_string_of_four_cells() -> None:
    string = String(seed=5, cells=4)
    assert string.hours(26) == []
    string.leak_per_h[0, 0, 2] = 1.2e-3
    assert kinds(string.hours(24)) == {(2, Fault.INTERNAL_SHORT)}


def test_a_weak_cell_that_steps_alone_at_the_ends_of_every_cycle_is_told_all_the_same(known: String) -> None:
    known.estimation.cell_lack_ratio[0, 0, 5] = 0.08
    known.estimation.cell_p_lack[...] = 1e-5
    for _ in range(6):
        known.hours(2.9)
        known.offset_v[0, 0, 5] = -0.1
        known.hours(0.1)
        known.offset_v[0, 0, 5] = 0.0
    assert (5, Fault.LOW_CAPACITY) in kinds(known.found)


def test_a_capacity_that_lacks_little_in_the_fullest_cell_may_be_the_tables_error(known: String) -> None:
    known.estimation.cell_lack_ratio[0, 0, 5] = 0.045
    known.estimation.cell_shift_ratio[0, 0, 5] = 0.03
    known.estimation.cell_p_lack[...] = 1e-5
    assert known.hours(12) == []
    known.estimation.cell_shift_ratio[0, 0, 5] = 0.0
    assert kinds(known.hours(12)) == {(5, Fault.LOW_CAPACITY)}


def test_a_weak_cell_in_full_swings_of_a_steep_curve_has_no_sensor_that_jumped() -> None:
    """It comes back in one step from where it is empty first; from there on it only gains what it is known to lack."""
    string, nmc, lack = String(seed=4), {**sheet("nmc-94"), "capacity_ah": CAPACITY_AH}, 0.12
    string.watch = Watch(Topology.regular(1, 1, CELLS, CELLS), sheet_of(nmc), spread=False)
    e = string.estimation
    e.cell_lack_ratio[0, 0, 5] = lack
    for _ in range(10):
        for n, z in enumerate((*np.arange(0.75, 0.1, -0.025), *np.arange(0.1, 0.75, 0.025))):
            e.string["x"][:, 0] = z
            e.cell_shift_ratio[0, 0, 5] = lack * (z - 0.5)
            own = np.interp(z + lack * (z - 0.5), GRID, nmc["ocv_mid_v"]) - np.interp(z, GRID, nmc["ocv_mid_v"])
            string.offset_v[0, 0, 5] = own - 0.004 * max(n - 10, 0) * (n < 26)
            string.hours(1 / 12, 20.0)
    assert Fault.VOLTAGE_SENSOR not in {f.fault for f in string.found}


def test_a_hot_cell_that_shares_its_sensor_makes_no_connection_of_its_neighbours() -> None:
    string = String(seed=6, cells=16, sensors=4)
    string.warm_k[0, 0] = (3.2, 1.0, -1.0, -1.6)
    assert string.hours(30) == []
    found = []
    for _ in range(40):
        string.warm_k[0, 0, 3] += 0.3
        found += string.hours(0.25)
    assert {f.fault for f in found} <= {Fault.INTERNAL_SHORT}


def test_a_sensor_that_stands_while_its_sisters_cool_has_no_short_and_is_stuck_through_missing_rows() -> None:
    string, random = String(seed=9), np.random.default_rng(2)
    quality = string.points.cell_temperature_degc.quality
    assert string.hours(28) == []
    string.stuck_degc[9] = 25.0
    for _ in range(180):
        string.warm_k[0, 0] -= 0.01
        quality[0, 0, 9] = 5 if random.random() < 0.1 else 0
        string.hours(1 / 30)
    assert kinds(string.found) == {(9, Fault.STUCK_SENSOR)}


def test_a_cold_sensor_that_falls_silent_is_no_warmer_for_that() -> None:
    string, random = String(seed=7), np.random.default_rng(5)
    string.warm_k[0, 0, (9, 20)] = -1.5, -1.8
    assert string.hours(28) == []
    quality = string.points.cell_temperature_degc.quality
    quality[0, 0, 9] = 5
    for _ in range(120):
        quality[0, 0, 20] = 5 if random.random() < 0.4 else 0
        assert string.hours(1 / 30) == []


def test_the_warmth_of_a_sensor_that_stands_still_is_no_short(known: String) -> None:
    known.memory = copy.deepcopy(known.memory)
    known.memory.bins.told_k[0, 0, 9] |= 1 << int(Fault.STUCK_SENSOR)
    for _ in range(20):
        known.warm_k[0, 0, 9] += 0.1
        assert known.hours(0.2) == []


def test_what_charge_did_in_a_bend_is_not_taken_for_resistance_on_the_straight_part(known: String) -> None:
    """A fuller cell falls to its sisters in the first minutes of every discharge from full."""
    e = known.estimation
    for _ in range(8):
        e.string["x"][:, 0] = 0.985
        known.offset_v[0, 0, 7] = 0.02
        known.hours(2, 0.0)
        for k in range(6):
            e.string["x"][:, 0] -= 0.01
            known.offset_v[0, 0, 7] = 0.02 * (1 - (k + 1) / 6)
            known.hours(1 / 30, 0.0, 80.0)
        for _ in range(30):
            e.string["x"][:, 0] -= 0.009
            known.hours(1 / 15, 0.0, 80.0)
    assert not {Fault.BUSBAR_STEP, Fault.RESISTANCE_GROWTH} & {f.fault for f in known.found}


@pytest.mark.parametrize("ahead", [0.015, 0.02], ids=["1.5 % fuller", "2 % fuller"])
def test_a_fuller_cell_in_its_knee_is_fuller_and_its_sensor_does_not_err(ahead: float) -> None:
    """Charged steadily until the first cell is full, then at rest, logged once a minute as a plant does."""
    s, random = sheet(), np.random.default_rng(1)
    soc = 0.6 + np.append(random.normal(0, 0.003, 23), ahead)
    rig = Rig(Topology.regular(1, 1, 24, 24), sheet_of(s))
    rig.begin(np.array([np.median(soc)]), 0.003)
    current = -0.22 * CAPACITY_AH
    for _ in range(6 * MINUTES):
        if soc.max() > 0.99:
            current = 0.0
        soc -= current / 60 / CAPACITY_AH
        volts = np.interp(soc, GRID, s["ocv_mid_v"]) - 2.5e-4 * current
        volts = np.round(volts + random.normal(0, 3e-4, 24), 3)
        memory = rig.step(np.array([current]), volts[None, None], np.array([25.0]), 60_000)
    assert abs(memory.cell_offset_v[0, 0, 23]) < 0.006, "it lies 80 mV over the median, and all of that is charge"
    assert memory.cell_shift_ratio[0, 0, 23] > 0.5 * ahead


def test_a_knee_that_a_coarse_table_may_hide_is_no_straight_curve(known: String) -> None:
    """Seven fuller cells come to rest at full; a table of eleven points runs straight where they part."""
    fine, grid = sheet(), np.linspace(0.0, 1.0, 11)
    coarse = {"soc_grid": grid, "ocv_mid_v": np.interp(grid, GRID, fine["ocv_mid_v"])}
    known.watch = Watch(Topology.regular(1, 1, CELLS, CELLS), sheet_of({**fine, **coarse}), spread=False)
    known.hours(1, 0.0, -80.0)
    known.estimation.string["x"][:, 0] = 0.97
    known.offset_v[0, 0, :7] = np.linspace(0.012, 0.03, 7)
    assert known.hours(1 / 30, 0.0, -80.0) + known.hours(4, 0.0) == []


def runaway(after_k: tuple[float, ...], volts: float) -> list[str]:
    """The faults told of a string logged once a minute whose cell 3 warms and falls at the end."""
    rows = 30
    warm, voltage = np.full((rows, 8), 25.0), np.full((rows, 8), 3.3)
    warm[-len(after_k) :, 3] = after_k
    voltage[-1:, 3] = volts
    voltage += np.random.default_rng(0).normal(0, 5e-4, voltage.shape)
    return [f["fault"] for f in screen(1.7e9 + 60.0 * np.arange(rows), np.zeros(rows), voltage, warm, sheet())]


def test_a_runaway_that_saturates_its_sensor_within_two_rows_is_told_by_its_voltage() -> None:
    assert runaway((134.0, 400.0), 1.2) == ["runaway"]
    assert runaway((400.0, 400.0), 1.2) == ["runaway"]


def test_a_sensor_that_breaks_to_the_end_of_its_range_is_no_runaway() -> None:
    assert "runaway" not in runaway((400.0, 400.0, 400.0), 3.3)


def test_a_row_without_a_time_is_no_row() -> None:
    time_s = 10.0 * np.arange(20)
    time_s[7] = np.nan
    assert screen(time_s, np.zeros(20), np.full((20, 4), 3.3), np.full(20, 25.0), sheet()) == []


def test_a_sheet_whose_hysteresis_is_unknown_or_whose_capacity_is_none() -> None:
    assert sheet_of({**sheet(), "hyst_half_v": np.full(len(GRID), np.nan)}).hysteresis_half_v is None
    with pytest.raises(ValueError, match="capacity_ah is 0"):
        sheet_of({**sheet(), "capacity_ah": 0})
