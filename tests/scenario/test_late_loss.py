"""Capacity that a cell loses after days in which it was well is low capacity, and neither lost charge nor a sensor."""

from __future__ import annotations

import numpy as np
import pytest

from controller.core.image_warnings import Fault
from tools.score.fleet import Fleet, Plan
from tools.score.screening import Screen

CELL, WELL_DAYS, LOSING_DAYS, LOST = 5, 4.0, 3.0, 0.06
PLAN = Plan("NMC", 94.0, 24, 2, 8.5, 240.0, 20.0, "two cycles", 7, faults=False)


@pytest.mark.slow
def test_a_late_loss_of_capacity_is_told_as_that_and_as_nothing_else() -> None:
    fleet = Fleet(PLAN)
    screen = Screen(PLAN.strings, PLAN.cells, PLAN.cells, fleet.sheet())
    new, found = fleet.capacity[:, CELL].copy(), []
    for t, current, volts, warm in fleet.rows():
        faded = LOST * np.clip((t / 86_400 - WELL_DAYS) / LOSING_DAYS, 0, 1)
        fleet.capacity[:, CELL] = new * (1 - faded)
        found += screen.row(t, current, volts, warm)
    assert {(f.rack, f.element, f.fault) for f in found} == {(n, CELL, Fault.LOW_CAPACITY) for n in range(PLAN.strings)}
