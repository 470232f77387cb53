"""The current that cells permit at the end of a horizon, and the most of it that they permit at its own end."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from controller.core.estimate.circuit import Table
from controller.core.frozen import replace
from controller.core.outlook import CHARGE, TEMPERATURE, VOLTAGE
from controller.core.settings import Polyline
from controller.core.signal import Floats

EMPTIEST, FULLEST = (..., 0), (..., -1)
"""The first and the last of the places within the doubt of a SOC."""
STEPS: Final = 6
LEAST_CUT: Final = 0.02
"""Share of the bracket that every step cuts off at least."""


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """What the picked cells permit as a function of the current.

    values: (VALUES, ..., rack, cell). spots: (2, ..., rack, cell, place), places within the doubt of the SOC and their
    OCV, for a curve of steps and plateaus may move the voltage further from any of them.
    """

    ocv: Table
    rises: Floats
    sign: float
    rated: float
    volts: Polyline
    heat: Polyline
    hysteresis: bool
    values: Floats
    spots: Floats

    def of(self, where: tuple[Any, ...]) -> Problem:
        """The part of it that an index picks."""
        return replace(self, values=self.values[(slice(None), *where)], spots=self.spots[(slice(None), *where)])

    def permitted(self, amps: Floats) -> tuple[Floats, Floats, Floats]:
        """Current that voltage, charge and temperature of every cell still permit at the end of `amps`."""
        start_v, ohm, per_amp, branch_v, charge_a, settle, surface_degc, surface_a, heating, rise_now = self.values
        soc, ocv_v = self.spots
        i = amps[..., None]
        # The resistance is the one at the end, in the place nearest to it.
        nearest = EMPTIEST if self.sign > 0 else FULLEST
        moved, rise = self.ocv.beside(soc - (i * per_amp)[..., None], self.rises, nearest)
        # A branch that was charged where the resistance was higher keeps that. It is convex, so the mean is enough.
        rise = np.maximum(rise, 0.5 * (rise + rise_now))
        moved -= ocv_v
        volts = start_v + (moved.min(axis=-1) if self.sign > 0 else moved.max(axis=-1))
        volts -= self.sign * i * ohm * rise
        if self.hysteresis:
            volts = volts - branch_v * (1.0 - np.exp(-i * settle))
        warm = surface_degc + i * i * heating
        return (
            self.rated * self.volts(volts),
            charge_a,
            np.minimum(self.rated * self.heat(warm), surface_a),
        )


VALUES: Final = (
    "start_v", "ohm", "per_amp", "branch_v", "charge_a", "settle", "surface_degc", "surface_a", "heating", "rise",
)  # fmt: skip
"""In the order of `Problem.values`."""
KINDS: Final = (VOLTAGE, CHARGE, TEMPERATURE)
"""In the order of `Problem.permitted`."""


def _least(parts: tuple[Floats, Floats, Floats]) -> Floats:
    return np.asarray(np.minimum(np.minimum(parts[0], parts[1]), parts[2]).min(axis=-1))


def most(problem: Problem, rated: float) -> Floats:
    """(2, horizon, n) the most current that is permitted at its own end, from below.

    Regula falsi with halving of the end that stays (Illinois): what is permitted falls as the current grows. Only
    what is not settled at the rated current is looked at further.
    """
    ends: Floats = np.zeros((2, *problem.values.shape[1:-1]))
    ends[1] = rated
    at_nothing, at_rated = _least(problem.permitted(ends))
    found: Floats = ends[1]
    spare = at_rated - rated
    open_ = np.nonzero(spare < 0)
    if not len(open_[0]):
        return found
    part = problem.of(open_)
    low, high = ends[0][open_], ends[1][open_]
    at_low, at_high = at_nothing[open_], spare[open_]
    shut = at_low <= 0
    for _ in range(STEPS):
        middle = low + (high - low) * (at_low / np.maximum(at_low - at_high, 1e-12)).clip(LEAST_CUT, 1 - LEAST_CUT)
        at = _least(part.permitted(middle)) - middle
        fits = at >= 0
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        at_low, at_high = np.where(fits, at, 0.5 * at_low), np.where(fits, 0.5 * at_high, at)
    found[open_] = np.where(shut, 0.0, low)
    return found
