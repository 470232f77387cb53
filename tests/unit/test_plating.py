"""Lithium plating on plain numbers: what counts as charging too cold, what it must have done, and what is not it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from controller.core.estimate.faults import Finding
from controller.core.estimate.watch import Watch
from controller.core.image_warnings import Fault
from controller.core.memory_watch import WatchMemory
from controller.core.retained import restore, retain
from controller.core.settings import Polyline
from tests.early_rig import CELLS, String, kinds
from tests.estimate_rig import sheet
from tests.story import Story, connected, fork
from tools.score.bench import sheet_of

LIMIT = Polyline(np.array([0.0, 5.0, 12.0, 45.0, 52.0]), np.array([0.0, 0.2, 1.0, 1.0, 0.0]))
"""Of the rated charge current, over temperature."""
RATED_A = 140.0
ROOM = 20.0
RARELY_MS = 300_000
"""Two looks in every bin: enough where days pass."""
COLD = 4.0
"""8 K below the temperature from which all of the charge current is permitted; 22 A are permitted here."""


class Cold(String):
    """A string whose cores have temperatures of their own; capacities are lost as `fade_per_h` says."""

    def __init__(self, racks: int = 1, seed: int = 0) -> None:
        super().__init__(racks, seed)
        cell = dataclasses.replace(sheet_of(sheet()), charge_current_a=RATED_A)
        self.watch = Watch(self.watch.topology, cell, spread=False, cold_charge=LIMIT)
        self.estimation.outlook.rack["warm"] = 1
        self.core = self.estimation.outlook.warmth.cell_core_temperature_degc
        self.core[...] = ROOM
        self.estimation.cell_p_lack[...] = 0.0015**2
        self.fade_per_h = np.zeros((racks, 1, CELLS))

    def hours(self, hours: float, load_a: float = 30.0, steady_a: float = 0.0) -> list[Finding]:
        found = []
        for _ in range(round(hours)):
            self.estimation.cell_lack_ratio[...] += self.fade_per_h
            found += super().hours(1.0, load_a, steady_a)
        return found

    def exposure(self) -> float:
        return float(self.memory.rack["exposed"].max())


@pytest.fixture(scope="module")
def day() -> WatchMemory:
    s = Cold()
    day = s.healthy_day()
    assert s.exposure() == 0.0
    return day


@pytest.fixture
def known(day: WatchMemory) -> Cold:
    return Cold(seed=1).going_on(day)


def test_a_cell_charged_too_cold_that_loses_capacity_since_is_plating(known: Cold) -> None:
    known.core[0, 0, 7] = COLD
    known.fade_per_h[0, 0, [7, 20]] = 0.001
    found = known.hours(60, 20.0, -10.0)
    assert kinds(found) == {(7, Fault.LITHIUM_PLATING), (20, Fault.LOW_CAPACITY)}, "the warm one has no such cause"
    first = next(f for f in found if f.element == 7)
    assert first.sigmas > 4 and first.value > 20 and "lost capacity" in first.text


def test_one_that_loses_charge_slowly_since_is_plating_too(known: Cold) -> None:
    known.core[0, 0, 7] = COLD
    known.leak_per_h[0, 0, [7, 20]] = 8e-5
    known.step_ms = RARELY_MS
    found = known.hours(24 * 9, 20.0, -2.0)
    assert kinds(found) == {(7, Fault.LITHIUM_PLATING), (20, Fault.SELF_DISCHARGE)}
    assert "loses charge" in next(f.text for f in found if f.element == 7)


def test_a_fast_leak_stays_a_short_whatever_the_exposure(known: Cold) -> None:
    known.core[0, 0, 7] = COLD
    known.hours(3, 5.0, -60.0)
    known.leak_per_h[0, 0, 7] = 1.2e-3
    assert kinds(known.hours(20, 20.0)) == {(7, Fault.INTERNAL_SHORT)}


def test_exposure_without_a_loss_says_so_and_only_when_it_is_extreme(known: Cold) -> None:
    known.core[0, 0, 7] = COLD
    assert known.hours(12, 5.0, -60.0) == [] and 2.4 < known.exposure() < 2.7
    found = known.hours(4, 5.0, -60.0)
    assert kinds(found) == {(7, Fault.LITHIUM_PLATING)}
    assert found[0].sigmas == 0 and found[0].text.startswith("exposure: took 30")


def test_a_loss_after_that_is_told_by_its_own_name(known: Cold) -> None:
    known.core[0, 0, 7] = COLD
    known.hours(16, 5.0, -60.0)
    known.fade_per_h[0, 0, 7] = 0.001
    assert kinds(known.hours(60, 5.0, -60.0)) == {(7, Fault.LOW_CAPACITY)}
    assert known.watch.publish(known.memory).cell_warning[0, 0, 7] == Fault.LOW_CAPACITY


def test_what_was_lost_before_the_cold_is_not_its_work(known: Cold) -> None:
    known.estimation.cell_lack_ratio[0, 0, 7] = 0.034
    known.hours(2)
    known.core[0, 0, 7] = COLD
    known.fade_per_h[0, 0, 7] = 0.0001
    assert kinds(known.hours(40, 5.0, -25.0)) <= {(7, Fault.LOW_CAPACITY)}


@pytest.mark.parametrize(
    ("core", "amps"), [(4.0, -22.0), (8.5, -84.0), (12.0, -140.0), (50.0, -60.0), (-5.0, 200.0)],
    ids=["at the limit, cold", "at the limit, cool", "rated current", "hot is no plating", "discharge"],
)  # fmt: skip
def test_what_the_cell_type_permits_is_no_exposure(known: Cold, core: float, amps: float) -> None:
    known.core[...] = core
    assert known.hours(6, 0.0, amps) == []
    assert known.exposure() == 0.0


def test_a_temperature_in_doubt_books_nothing(known: Cold) -> None:
    told_k = known.memory.bins.told_k.copy()
    told_k[0, 0, 7] = 1 << int(Fault.TEMPERATURE_SENSOR)
    known.memory = dataclasses.replace(known.memory, bins=dataclasses.replace(known.memory.bins, told_k=told_k))
    known.core[0, 0, 7] = COLD
    known.hours(3, 5.0, -60.0)
    assert known.exposure() == 0.0


def test_exposure_fades_within_weeks_and_is_forgotten(known: Cold) -> None:
    known.core[0, 0, 7] = COLD
    known.hours(5, 5.0, -60.0)
    before = known.exposure()
    known.core[0, 0, 7] = ROOM
    known.step_ms = RARELY_MS
    known.hours(24 * 5, 5.0, 0.0)
    assert known.exposure() == pytest.approx(before * np.exp(-5 / 30), rel=0.01)
    p = known.memory.bins.plating[0, 0, 7]
    assert p["total"] == pytest.approx(before, rel=0.01) and p["bins"] > 120 * 6


def test_a_watch_without_a_derating_does_not_look_for_it(known: Cold) -> None:
    known.watch = Watch(known.watch.topology, sheet_of(sheet()), spread=False)
    known.core[0, 0, 7] = COLD
    known.fade_per_h[0, 0, 7] = 0.001
    assert kinds(known.hours(60, 20.0, -60.0)) == {(7, Fault.LOW_CAPACITY)}


def test_exposure_survives_a_restart_and_is_published() -> None:
    story = fork(connected())
    p = story.memory.watching.bins.plating
    p["recent"][1, 2, 3], p["total"][1, 2, 3], p["lack"][1, 2, 3], p["bins"][1, 2, 3] = 0.4, 0.6, 0.01, 90
    again = Story(story.site)
    again.memory = restore(again.program.blank_memory(), retain(story.memory, 1, 1, 1))
    image = again.scans(2)
    assert again.memory.watching.bins.plating[1, 2, 3] == p[1, 2, 3]
    assert image.warnings.rack_plating_exposure_ratio.tolist() == pytest.approx([0.0, 0.4])


def test_the_limit_that_counts_is_that_of_the_cell_type_of_the_site() -> None:
    program = Story("bench").program
    cold = program.watch.cold_charge
    assert cold is not None
    rising = program.derating.settings.charge_temperature
    assert cold.limit.fraction[-1] == 1.0 and (np.diff(cold.limit.at) > 0).all()
    assert cold.limit(np.array([COLD])) == rising(np.array([COLD]))
    assert cold.rated_a == program.derating.settings.cell.charge_current_a
