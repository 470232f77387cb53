"""Early warning on plain numbers: what is a leak, a step, a standstill, and what is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from controller.core.estimate.faults import Finding
from controller.core.estimate.verdicts import BIN_MS
from controller.core.estimate.watch import Watch
from controller.core.image import Measured
from controller.core.image_warnings import Fault
from controller.core.layout import Layout
from controller.core.memory import EstimationMemory
from controller.core.memory_watch import WatchMemory
from controller.core.retained import restore, retain
from controller.core.topology import MOST_WARNINGS, Topology
from tests.early_rig import CELLS, String, kinds
from tests.estimate_rig import sheet
from tests.story import Story, connected, fork
from tools.score.bench import sheet_of


def test_a_leak_is_a_short_above_c_over_10000_and_self_discharge_below(known: String) -> None:
    known.leak_per_h[0, 0, 5], known.leak_per_h[0, 0, 9] = 1.2e-3, 6e-5
    assert kinds(known.hours(20)) == {(5, Fault.INTERNAL_SHORT)}
    known.leak_per_h[0, 0, 5] = 0
    known.estimation.cell_shift_ratio[0, 0, 9] -= 6e-5 * 200
    assert (9, Fault.INTERNAL_SHORT) not in kinds(known.hours(20))


def test_a_step_of_resistance_is_a_connection(known: String) -> None:
    known.ohm[0, 0, 7] += 5e-5
    found = known.hours(4)
    assert kinds(found) == {(7, Fault.BUSBAR_STEP)}
    assert found[0].sigmas > 6 and "stepped up" in found[0].text


def test_a_slow_rise_of_resistance_is_the_cell(known: String) -> None:
    found: list[Finding] = []
    for _ in range(30):
        known.ohm[0, 0, 7] += 2.5e-4 * 0.33 / 72
        found += known.hours(1)
    assert kinds(found) == {(7, Fault.RESISTANCE_GROWTH)}


@pytest.mark.parametrize("load_a", [80.0, 0.0], ids=["under load", "at rest"])
def test_a_voltage_that_jumps_and_stays_is_its_sensor(known: String, load_a: float) -> None:
    known.hours(0.5, load_a)
    known.offset_v[0, 0, 3] = -0.012
    assert kinds(known.hours(5, load_a)) == {(3, Fault.VOLTAGE_SENSOR)}


def test_a_connection_that_comes_loose_under_steady_current_is_no_sensor(known: String) -> None:
    known.hours(1, 0.0, 100.0)
    known.ohm[0, 0, 3] += 1.2e-4
    assert known.hours(4, 0.0, 100.0) == [], "12 mV at one current may be either"
    assert kinds(known.hours(6, 60.0)) == {(3, Fault.BUSBAR_STEP)}


def test_a_sensor_that_jumps_under_steady_current_is_told_once_the_current_has_changed(known: String) -> None:
    known.hours(1, 0.0, 100.0)
    known.offset_v[0, 0, 3] = 0.012
    assert known.hours(4, 0.0, 100.0) == []
    assert kinds(known.hours(2, 0.0)) == {(3, Fault.VOLTAGE_SENSOR)}


def test_a_voltage_in_doubt_says_nothing_of_lost_charge(known: String) -> None:
    known.hours(0.5)
    known.offset_v[0, 0, 3] = -0.02
    known.leak_per_h[0, 0, 3] = 2e-3
    assert kinds(known.hours(12)) == {(3, Fault.VOLTAGE_SENSOR)}


def test_few_steps_of_current_are_enough_to_see_a_step_of_resistance(known: String) -> None:
    known.ohm[0, 0, 7] += 1e-4
    found: list[Finding] = []
    for _ in range(3):
        for steady_a in (0.0, 80.0, 0.0, -80.0):
            found += known.hours(2, 0.0, steady_a)
    assert kinds(found) == {(7, Fault.BUSBAR_STEP)}


def heated(rate_k_per_s: float, most_k: float, fallen_v: float) -> int | None:
    """Time (ms) after which a runaway is told: a sensor that rises so, over a cell with that voltage; None never."""
    s = String(seed=3)
    s.hours(0.1)
    for n in range(1, 80):
        rise = min(rate_k_per_s * n / 10, most_k)
        warm = 25.0 + s.random.normal(0, 0.05, s.warm_k.shape)
        warm[0, 0, 5] += rise
        s.points.cell_temperature_degc.value[...] = np.round(warm, 1)
        s.points.cell_voltage_v.value[0, 0, 5] = fallen_v
        s.memory, found = s.watch.step(s.memory, s.points, s.estimation, 100)
        if kinds(found) == {(5, Fault.RUNAWAY)}:
            return n * 100
    return None


def test_a_cell_that_heats_by_3_k_per_s_is_told_within_three_scans_after_three_seconds() -> None:
    told = heated(3.0, 300.0, 2.0)
    assert told is not None and 3000 <= told <= 3300


def test_a_runaway_is_shown_until_an_hour_after_its_last_evidence() -> None:
    """A sensor drifts to 90 degC in half a minute and is replaced: the rack can be released the same day."""
    s = String(seed=3)
    s.hours(0.2)
    for n in range(1, 300):
        s.points.cell_temperature_degc.value[...] = 25.0
        s.points.cell_temperature_degc.value[0, 0, 5] += 0.22 * n
        s.memory, _ = s.watch.step(s.memory, s.points, s.estimation, 100)
    assert s.watch.publish(s.memory).cell_warning[0, 0, 5] == Fault.RUNAWAY
    s.hours(0.8)
    shown = s.watch.publish(s.memory)
    assert (shown.cell_warning[0, 0, 5], shown.runaways) == (Fault.RUNAWAY, 1)
    s.hours(0.6)
    shown = s.watch.publish(s.memory)
    assert (shown.cell_warning[0, 0, 5], shown.runaways, shown.rack_warning[0]) == (Fault.NONE, 0, Fault.NONE)
    assert s.memory.bins.told[0, 0, 5] & 1 << int(Fault.RUNAWAY), "what burnt is called nothing else"


@pytest.mark.parametrize(
    ("rate", "most", "volts"), [(400.0, 40.0, 2.0), (3.0, 300.0, 3.3), (0.7, 300.0, 2.0)],
    ids=["a jump", "neither hot nor fallen", "slower"],
)  # fmt: skip
def test_what_is_no_runaway(rate: float, most: float, volts: float) -> None:
    assert heated(rate, min(most, 30.0) if volts > 3 else most, volts) is None


def test_a_temperature_that_jumps_is_its_sensor_and_one_that_ramps_is_a_short(known: String) -> None:
    known.warm_k[0, 0, 3] += 4.0
    found = []
    for _ in range(30):
        known.warm_k[0, 0, 20] += 0.03
        found += known.hours(0.1)
    assert kinds(found) == {(3, Fault.TEMPERATURE_SENSOR), (20, Fault.INTERNAL_SHORT)}
    assert next(f for f in found if f.element == 3).sensor


def test_where_cells_stand_in_a_string_does_not_hide_one_that_warms() -> None:
    string = String(seed=8)
    string.warm_k[0, 0] = np.linspace(-2.5, 2.5, CELLS)
    assert string.hours(28) == []
    for _ in range(12):
        string.warm_k[0, 0, 20] += 0.05
        string.hours(0.25)
    assert kinds(string.found) == {(20, Fault.INTERNAL_SHORT)}


def test_a_module_that_warms_as_a_whole_has_no_short(known: String) -> None:
    for _ in range(30):
        known.warm_k[0, 0, 8:16] += 0.05
        assert known.hours(0.1) == []


def test_what_stands_still_while_its_sisters_move_is_stuck(known: String) -> None:
    known.stuck_v[4] = 3.301
    assert kinds(known.hours(1)) == {(4, Fault.STUCK_SENSOR)}


def test_a_string_that_freezes_as_a_whole_is_no_stuck_sensor(known: String) -> None:
    known.stuck_v = dict.fromkeys(range(CELLS), 3.3)
    assert known.hours(2, 0.0) == []


def test_a_missing_value_is_no_fault(known: String) -> None:
    known.points.cell_voltage_v.quality[0, 0, 6] = 5
    known.points.cell_temperature_degc.quality[0, 0, 7] = 5
    known.points.cell_voltage_v.value[0, 0, 6] = 0.0
    assert known.hours(3) == []


def test_a_warning_without_evidence_is_withdrawn_and_counted(known: String) -> None:
    known.stuck_v[4] = 3.301
    known.hours(1)
    known.stuck_v.clear()
    known.hours(42)
    assert known.memory.bins.told[0, 0, 4] == 0
    assert (known.memory.told_count, known.memory.withdrawn_count) == (1, 1)
    assert 26 / 24 * CELLS < known.memory.healthy_cell_days < 70 / 24 * CELLS


def test_the_memory_given_is_never_changed_and_the_same_again_gives_the_same(known: String) -> None:
    layout = Layout(WatchMemory, {**known.watch.topology.dims, "bus": 1, "slot": 1})
    given, before = known.memory, layout.to_bytes(known.memory)
    known.ohm[0, 0, 7] += 5e-5
    known.hours(3)
    assert layout.to_bytes(given) == before
    again = String(seed=1)
    again.memory = given
    again.ohm[0, 0, 7] += 5e-5
    again.hours(3)
    assert layout.to_bytes(again.memory) == layout.to_bytes(known.memory)
    assert again.found == known.found


def test_racks_take_turns_to_be_judged() -> None:
    topology = Topology.regular(6, 1, 8, 2)
    s = String(racks=6)
    s.watch = Watch(topology, sheet_of(sheet()))
    dims = {**topology.dims, "bus": 1, "slot": 1}
    memory, estimation = Layout(WatchMemory, dims).blank(), Layout(EstimationMemory, dims).blank()
    points = Layout(Measured, dims).blank().points
    judged = []
    for _ in range(BIN_MS // 10_000 + 1):
        before = memory.rack["bins"]
        memory, _ = s.watch.step(memory, points, estimation, 10_000)
        judged.append(int((memory.rack["bins"] > before).sum()))
    assert sum(judged) >= 6 and max(judged) == 1


def test_the_list_is_ranked_and_bounded() -> None:
    s = String(racks=3)
    bins = s.memory.bins
    bins.told[:, 0, :] = 1 << int(Fault.LOW_CAPACITY)
    bins.told[2, 0, 7] |= 1 << int(Fault.INTERNAL_SHORT)
    bins.sigmas[1, 0, 4] = 30.0
    bins.told_k[0, 0, 1] = 1 << int(Fault.TEMPERATURE_SENSOR)
    w = s.watch.board.publish(s.memory)
    assert (w.warning_rack[0], w.warning_element[0], w.warning_fault[0]) == (2, 7, Fault.INTERNAL_SHORT)
    assert (w.warning_rack[1], w.warning_element[1], w.warning_sigmas[1]) == (1, 4, 30.0)
    assert len(w.warning_fault) == MOST_WARNINGS
    assert (w.low_capacities, w.internal_shorts, w.temperature_sensor_steps) == (96, 1, 1)
    assert w.rack_warning.tolist() == [Fault.LOW_CAPACITY, Fault.LOW_CAPACITY, Fault.INTERNAL_SHORT]


def test_a_warning_survives_a_restart_and_the_row_acts_at_once() -> None:
    story = fork(connected())
    story.memory.watching.bins.told[1, 2, 3] = 1 << int(Fault.INTERNAL_SHORT)
    story.scans()
    assert story.active("internal_short_suspected", "R02")
    again = Story(story.site)
    again.memory = restore(again.program.blank_memory(), retain(story.memory, 1, 1, 1))
    image = again.scans(2)
    assert image.warnings.internal_shorts == 1
    assert image.warnings.cell_warning[1, 2, 3] == Fault.INTERNAL_SHORT
    assert any("R02/M03/C04: internal_short_suspected" in t for t in again.texts() + story.texts())
    assert int(image.trips.rack_effect[1]) & 2 == 0, "it informs, it does not trip"
