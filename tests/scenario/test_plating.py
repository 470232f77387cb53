"""Winter in simulated strings: one limited as it should be; in the others a cell is charged too cold, and one pays.

The simulated cells know nothing of lithium plating: one loses capacity because the story says so.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from controller.core.estimate import Ekf, EstimatorInputs
from controller.core.estimate.faults import Finding
from controller.core.estimate.plating import ENOUGH
from controller.core.estimate.watch import Watch
from controller.core.image_warnings import Fault
from controller.core.settings import DeratingSettings, Polyline
from controller.core.signal import Floats
from tools.score.bench import NO_BALANCING
from tools.score.fleet import Fleet, Plan
from tools.score.learner import Learner
from tools.score.screening import Screen

LIMIT = Polyline(np.array([0.0, 5.0, 12.0]), np.array([0.0, 0.2, 1.0]))
RATED_C = 0.5
ALWAYS = Polyline(np.array([-60.0, 100.0]), np.array([1.0, 1.0]))
DERATED, COLD, COLD_TOO, FADES = range(4)
CELL, BELOW_K, LIFTED_H = 11, 11.0, 40.0
DAYS, HEARD_DAYS, FADED, FADE_H = 9.0, 7.2, 0.08, (60.0, 132.0)


class Winter(Fleet):
    """String 0 at 6 degC; in the others, at 13 degC, one cell is 11 K colder; from `LIFTED_H` on only 0 is limited."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.field[DERATED] -= 7.0
        self.field[COLD:, CELL] -= BELOW_K
        self.warm = plan.ambient_degc + self.field
        self.new = self.capacity[FADES, CELL]
        self.seen_degc: Floats | None = None

    def _row(self, k: int, t: float) -> tuple[float, Floats, Floats, Floats]:
        faded = FADED * np.clip((t / 3600 - FADE_H[0]) / np.ptp(FADE_H), 0, 1)
        self.capacity[FADES, CELL] = self.new * (1 - faded)
        row = super()._row(k, t)
        self.seen_degc = row[3]
        return row

    def _current(self, k: int) -> Floats:
        i = super()._current(k)
        if self.seen_degc is not None:
            most = RATED_C * self.plan.capacity_ah * LIMIT(self.seen_degc.min(axis=1))
            if k * self.plan.dt_s >= LIFTED_H * 3600:
                most[COLD:] = np.inf
            i = np.maximum(i, -most)
        return i


class WinterScreen(Screen):
    """The product's detectors with its core temperatures and the cell type's charge derating; nobody asks for power."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet.plan.strings, fleet.plan.cells, len(fleet.seat), fleet.sheet())
        topology = self.watch.topology
        product = dataclasses.replace(self.watch.model.sheet, charge_current_a=RATED_C * fleet.plan.capacity_ah)
        inputs = EstimatorInputs(topology, product, NO_BALANCING, None)
        volts = Polyline(np.array([2.5, 3.6]), np.array([1.0, 1.0]))
        derating = DeratingSettings(product, volts, volts, LIMIT, ALWAYS, 1e9)
        self.rig.estimator = Learner(Ekf(inputs), inputs, derating, 0.5)  # type: ignore[assignment]
        self.watch = Watch(topology, product, spread=False, cold_charge=LIMIT)


@pytest.fixture(scope="module")
def winter() -> tuple[WinterScreen, list[Finding]]:
    """The strings after their days of winter, and every onset."""
    fleet = Winter(Plan("LFP", 280.0, 32, 4, DAYS, 120.0, 13.0, "grid", 3, faults=False))
    screen = WinterScreen(fleet)
    found = [f for row in itertools.islice(fleet.rows(), round(HEARD_DAYS * 720)) for f in screen.row(*row)]
    return screen, found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_string_in_the_cold_under_its_limit_is_exposed_to_nothing(
    winter: tuple[WinterScreen, list[Finding]],
) -> None:
    screen, found = winter
    assert screen.memory.rack["exposed"][DERATED] == 0.0
    assert [f.text for f in found if f.rack == DERATED] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cell_charged_too_cold_is_booked_and_as_long_as_it_is_well_nothing_is_said_of_it(
    winter: tuple[WinterScreen, list[Finding]],
) -> None:
    screen, found = winter
    for string in (COLD, COLD_TOO):
        recent = screen.memory.bins.plating["recent"][string, 0]
        assert recent.argmax() == CELL and recent[CELL] > ENOUGH
        assert [f.text for f in found if f.rack == string] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_that_loses_capacity_since_is_plating_and_nothing_else(
    winter: tuple[WinterScreen, list[Finding]],
) -> None:
    _, found = winter
    assert [(f.element, f.fault) for f in found if f.rack == FADES] == [(CELL, Fault.LITHIUM_PLATING)]
