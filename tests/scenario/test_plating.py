"""Winter in three simulated strings: one derated as it should be, one cell charged too cold, and one that paid for it.

The simulated cells know nothing of lithium plating: the cold one loses capacity because the story says so.
"""

from __future__ import annotations

import numpy as np
import pytest

from controller.core.estimate import Ekf, EstimatorInputs
from controller.core.estimate.complete import Complete
from controller.core.estimate.watch import Watch
from controller.core.image_warnings import Fault
from controller.core.settings import DeratingSettings, Polyline
from controller.core.signal import Floats
from tools.score.bench import NO_BALANCING
from tools.score.fleet import Fleet, Plan
from tools.score.screening import Screen

LIMIT = Polyline(np.array([0.0, 5.0, 12.0]), np.array([0.0, 0.2, 1.0]))
RATED_C = 0.5
ALWAYS = Polyline(np.array([-60.0, 100.0]), np.array([1.0, 1.0]))
DERATED, COLD, PAID = range(3)
CELL, BELOW_K = 11, 8.0
DAYS, LOST, LOST_H = 6.0, 0.06, (48.0, 96.0)


class Winter(Fleet):
    """String 0 at 6 degC under its limit; in the others, at 13 degC, one cell is 8 K colder and nobody looks at it."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.field[DERATED] -= 7.0
        self.field[COLD:, CELL] -= BELOW_K
        self.warm = plan.ambient_degc + self.field
        self.new = self.capacity[PAID, CELL]
        self.seen_degc: Floats | None = None

    def _row(self, k: int, t: float) -> tuple[float, Floats, Floats, Floats]:
        lost = LOST * np.clip((t / 3600 - LOST_H[0]) / (LOST_H[1] - LOST_H[0]), 0, 1)
        self.capacity[PAID, CELL] = self.new * (1 - lost)
        row = super()._row(k, t)
        self.seen_degc = row[3]
        return row

    def _current(self, k: int) -> Floats:
        i = super()._current(k)
        if self.seen_degc is not None:
            most = RATED_C * self.plan.capacity_ah * float(LIMIT(self.seen_degc[DERATED].min()))
            i[DERATED] = max(i[DERATED], -most)
        return i


class WinterScreen(Screen):
    """The product's detectors with its core temperatures and the cell type's charge derating."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet.plan.strings, fleet.plan.cells, len(fleet.seat), fleet.sheet())
        product, topology = self.watch.model.sheet, self.watch.topology
        inputs = EstimatorInputs(topology, product, NO_BALANCING, None)
        volts = Polyline(np.array([2.5, 3.6]), np.array([1.0, 1.0]))
        derating = DeratingSettings(product, volts, volts, LIMIT, ALWAYS, 1e9)
        self.rig.estimator = Complete(Ekf(inputs), inputs, derating, 0.5)  # type: ignore[assignment]
        self.watch = Watch(topology, product, spread=False, cold_charge=LIMIT)
