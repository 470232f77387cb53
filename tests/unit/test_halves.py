"""Resistances in full cycles, whose currents step only in the knees: told by charges and the discharges after them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pytest

from controller.core.estimate.faults import Finding
from controller.core.estimate.halves import BASE_PAIRS
from controller.core.image_warnings import Fault
from controller.core.memory_watch import WatchMemory
from tests.early_rig import CELLS, String, kinds

HALF_A: Final = 90.0
STEP_MS: Final = 600_000
KNEES: Final = (0.05, 0.99)
OHM: Final = 2.5e-4 * (1 + 0.1 * np.random.default_rng(4).standard_normal((1, 1, CELLS)))
"""Healthy cells: a tenth apart, as of what the sheet says."""


def cycles(s: String, count: int, every_half: Callable[[], None] = lambda: None) -> list[Finding]:
    """The onsets in so many cycles of twelve hours: blocks of three hours that begin and end in a knee, and rests."""
    before, s.step_ms = len(s.found), STEP_MS
    for _ in range(count):
        for steady_a, (start, end) in ((-HALF_A, KNEES), (HALF_A, KNEES[::-1])):
            every_half()
            for soc, hours, amps in (
                (start, 0.5, steady_a),
                (0.5, 2.0, steady_a),
                (end, 0.5, steady_a),
                (end, 3.0, 0.0),
            ):
                s.estimation.string["x"][:, 0] = soc
                s.hours(hours, 1.0, amps)
    return s.found[before:]


@pytest.fixture(scope="module")
def healthy() -> WatchMemory:
    """What is remembered of a healthy string after two and a half days."""
    s = string(5)
    assert cycles(s, 5) == []
    return s.memory


@pytest.fixture
def cycled(healthy: WatchMemory) -> String:
    return string(6).going_on(healthy)


def string(seed: int) -> String:
    s = String(seed=seed)
    s.ohm = OHM.copy()
    return s


def test_a_connection_that_came_loose_is_told_within_a_day(cycled: String) -> None:
    cycled.ohm[0, 0, 7] += 4e-5
    found = cycles(cycled, 2)
    assert kinds(found) == {(7, Fault.BUSBAR_STEP)}
    assert 7 < found[0].value < 18, "16 % of what the sheet says, or the half of it that both pairs show first"


def test_one_within_a_half_is_the_same(cycled: String) -> None:
    cycled.estimation.string["x"][:, 0] = 0.5
    cycled.hours(1.5, 1.0, -HALF_A)
    cycled.ohm[0, 0, 7] += 4e-5
    cycled.hours(1.5, 1.0, -HALF_A)
    cycled.hours(3.0, 1.0, 0.0)
    cycled.hours(3.0, 1.0, HALF_A)
    assert kinds(cycles(cycled, 2)) == {(7, Fault.BUSBAR_STEP)}


def test_a_cell_whose_resistance_grows_is_told_as_such(cycled: String) -> None:
    def grow() -> None:
        cycled.ohm[0, 0, 7] += 2.5e-4 * 0.33 / 12

    assert kinds(cycles(cycled, 4, grow)) == {(7, Fault.RESISTANCE_GROWTH)}


def jumps(s: String) -> None:
    s.offset_v[0, 0, 3] = 0.012


def leaks(s: String) -> None:
    s.leak_per_h[0, 0, 3] = 4e-4


def cools(s: String) -> None:
    s.warm_k[0, 0, 3] -= 0.5
    s.ohm[0, 0, 3] *= 1.02


def sensor_errs(s: String) -> None:
    s.warm_k[0, 0, 3] = 5.0


def all_cool(s: String) -> None:
    s.ohm = 1.4 * OHM


def told_otherwise(s: String) -> None:
    """The estimator takes the cell for full by as much as it took it for empty."""
    shift = s.estimation.cell_shift_ratio
    shift[0, 0, 3] = 0.015 if shift[0, 0, 3] <= 0 else -0.015


@pytest.mark.parametrize("happens", [jumps, leaks, cools, sensor_errs, all_cool, told_otherwise])
def test_what_is_no_resistance(cycled: String, happens: Callable[[String], None]) -> None:
    told = {fault for _, fault in kinds(cycles(cycled, 4, lambda: happens(cycled)))}
    assert not told & {Fault.BUSBAR_STEP, Fault.RESISTANCE_GROWTH}


def test_a_cell_that_was_not_heard_for_a_half_is_judged_by_later_ones(cycled: String) -> None:
    quality = cycled.points.cell_voltage_v.quality
    quality[0, 0, 7] = 9
    cycles(cycled, 1)
    quality[0, 0, 7] = 0
    cycled.ohm[0, 0, 7] += 4e-5
    assert cycles(cycled, 1) == [], "too few pairs of halves since"
    assert kinds(cycles(cycled, 2)) == {(7, Fault.BUSBAR_STEP)}


def test_the_healthy_resistance_is_not_taken_from_pairs_that_disagree() -> None:
    s = String(seed=7)
    cycles(s, 2)
    s.offset_v[0, 0, 3] = 0.006
    assert kinds(cycles(s, 4)) <= {(3, Fault.VOLTAGE_SENSOR)}
    assert (s.memory.bins.pairs["based"][0, 0] > 0).all(), "it is once they agree again"


def test_a_charge_that_is_told_otherwise_in_every_half_hides_no_connection(cycled: String) -> None:
    cycled.ohm[0, 0, 3] += 4e-5
    assert kinds(cycles(cycled, 2, lambda: told_otherwise(cycled))) == {(3, Fault.BUSBAR_STEP)}


def test_a_restart_loses_nothing_of_what_was_learnt(cycled: String) -> None:
    before = cycled.memory.bins.pairs.copy()
    cycled.restarted().ohm[0, 0, 7] += 4e-5
    assert kinds(cycles(cycled, 2)) == {(7, Fault.BUSBAR_STEP)}, "without the day in which a healthy one is learnt"
    after = cycled.memory.bins.pairs
    assert (after["based"] >= before["based"]).all()
    assert np.abs(after["base"] - before["base"])[before["based"] == BASE_PAIRS].max() == 0.0


def test_one_that_finds_none_of_it_learns_anew(cycled: String) -> None:
    cycled.restarted(other_version=True)
    assert not cycled.memory.bins.pairs["based"].any()
    cycled.ohm[0, 0, 7] += 4e-5
    assert cycles(cycled, 4) == [], "that is how it is from now on"
    assert (cycled.memory.bins.pairs["based"] > 0).all()


def test_of_few_cells_far_apart_one_that_moves_moves_no_other() -> None:
    s = String(seed=8, cells=6)
    s.ohm[0, 0] = 2.5e-4 * np.array([0.7, 0.7, 0.7, 1.3, 1.3, 1.3])
    cycles(s, 3)
    s.ohm[0, 0, 2] *= 2.0
    before = s.memory.bins.pairs["ohm"][0, 0, :, 0].copy()
    cycles(s, 2)
    moved = s.memory.bins.pairs["ohm"][0, 0, :, 0] - before
    assert np.abs(np.delete(moved, 2)).max() < 0.1 < moved[2], "though it was one of the two in the middle"


def test_nothing_is_learnt_from_one_that_has_risen() -> None:
    s = string(9)
    cycles(s, 3)
    learnt = s.memory.bins.pairs[0, 0, 7].copy()
    assert 2 <= learnt["based"] < BASE_PAIRS
    s.ohm[0, 0, 7] += 4e-5
    assert kinds(cycles(s, 2)) == {(7, Fault.BUSBAR_STEP)}
    assert abs(s.memory.bins.pairs[0, 0, 7]["base"] - learnt["base"]) < 0.01, "16 % more, and a quarter of it is 0.04"


@pytest.mark.parametrize(("hours", "kept"), [(1 / 3, False), (2 / 3, True)])
def test_a_half_must_move_a_seventh_of_the_capacity(hours: float, kept: bool) -> None:
    s = String(seed=10)
    s.step_ms = 200_000
    for amps in (-HALF_A, HALF_A, -HALF_A):
        s.hours(hours, 1.0, amps)
    assert s.memory.rack["pairs"]["last_a"][0] == pytest.approx(HALF_A if kept else 0.0, abs=1.0)
    assert (s.memory.bins.pairs["in_row"] == kept).all()
