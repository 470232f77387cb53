"""The current that cells permit at the end of a horizon, and the most of it that they permit at its own end."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from controller.core.estimate.circuit import Table
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
    """What the picked cells permit as a function of the current; arrays end in (rack, cell).

    `soc` and its `ocv_v` have one more axis: places within the doubt of the SOC, for a curve of steps and plateaus may
    move the voltage further from any of them.
    """

    ocv: Table
    rises: Floats
    sign: float
    rated: float
    volts: Polyline
    heat: Polyline
    hysteresis: bool
    start_v: Floats
    ohm: Floats
    soc: Floats
    ocv_v: Floats
    per_amp: Floats
    branch_v: Floats
    charge_a: Floats
    settle: Floats
    surface_degc: Floats
    surface_a: Floats
    heating: Floats
    rise: Floats

    def of(self, where: Any) -> Problem:
        """The part of it that an index picks."""
        return dataclasses.replace(self, **{n: getattr(self, n)[where] for n in ARRAYS})

    def permitted(self, amps: Floats, where: Any = ...) -> tuple[Floats, Floats, Floats]:
        """Current that voltage, charge and temperature of every cell still permit at the end of `amps`."""
        p = self if where is ... else self.of(where)
        i = amps[..., None]
        # The resistance is the one at the end, in the place nearest to it.
        nearest = EMPTIEST if p.sign > 0 else FULLEST
        moved, rise = p.ocv.beside(p.soc - (i * p.per_amp)[..., None], p.rises, nearest)
        # A branch that was charged where the resistance was higher keeps that. It is convex, so the mean is enough.
        rise = np.maximum(rise, 0.5 * (rise + p.rise))
        moved -= p.ocv_v
        volts = p.start_v + (moved.min(axis=-1) if p.sign > 0 else moved.max(axis=-1))
        volts -= p.sign * i * p.ohm * rise
        if p.hysteresis:
            volts = volts - p.branch_v * (1.0 - np.exp(-i * p.settle))
        warm = p.surface_degc + i * i * p.heating
        return (
            p.rated * p.volts(volts),
            p.charge_a,
            np.minimum(p.rated * p.heat(warm), p.surface_a),
        )


ARRAYS: Final = (
    "start_v", "ohm", "soc", "ocv_v", "per_amp", "branch_v", "charge_a", "settle", "surface_degc", "surface_a",
    "heating", "rise",
)  # fmt: skip
KINDS: Final = (VOLTAGE, CHARGE, TEMPERATURE)
"""In the order of `Problem.permitted`."""


def _least(parts: tuple[Floats, Floats, Floats]) -> Floats:
    return np.asarray(np.minimum(np.minimum(parts[0], parts[1]), parts[2]).min(axis=-1))


def most(problem: Problem, rated: float) -> Floats:
    """(2, horizon, n) the most current that is permitted at its own end, from below.

    Regula falsi with halving of the end that stays (Illinois): what is permitted falls as the current grows. Only
    what is not settled at the rated current is looked at further.
    """
    found = np.full(problem.ohm.shape[:-1], rated)
    spare = _least(problem.permitted(found)) - rated
    open_ = np.nonzero(spare < 0)
    if not len(open_[0]):
        return found
    part = problem.of(open_)
    low, high = np.zeros(len(open_[0])), np.full(len(open_[0]), rated)
    at_low, at_high = _least(part.permitted(low)), spare[open_]
    shut = at_low <= 0
    for _ in range(STEPS):
        middle = low + (high - low) * np.clip(at_low / np.maximum(at_low - at_high, 1e-12), LEAST_CUT, 1 - LEAST_CUT)
        at = _least(part.permitted(middle)) - middle
        fits = at >= 0
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        at_low, at_high = np.where(fits, at, 0.5 * at_low), np.where(fits, 0.5 * at_high, at)
    found[open_] = np.where(shut, 0.0, low)
    return found
