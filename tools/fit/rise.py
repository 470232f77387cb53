"""How the resistance rises over the SOC, from the current steps of a recording.

Every onset of a discharge from calm tells one factor: what the voltage dropped within `WINDOW_S`, without what the
open-circuit voltage did, over what the circuit says. Steps at nearly the same SOC count as one.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from controller.core.estimate.cell_model import RISE_FACTOR, RISE_SOC
from controller.core.signal import Floats
from tools.fit.curve import SOC, Curve
from tools.fit.table import Recording

WINDOW_S: Final = 30.0
ONSET_C: Final = 0.2
CALM_C: Final = 0.05
"""Before the step nothing flows; after it the current stays within a twentieth."""
LEVEL: Final = 0.05
APART: Final = 0.03
"""SOC within which steps count as one."""
LEAST: Final = 4
MIDDLE: Final = (0.3, 0.9)
"""Where the sheet's resistance holds: the factor is 1 in the middle of what is seen there."""
RANGE: Final = (0.2, 50.0)


@dataclasses.dataclass(frozen=True, slots=True)
class Rise:
    """The curve, and the points it was made of; `measured_from` is the least SOC of them.

    Below it the careful default goes on, lifted where the first point lies above it.
    """

    soc: Floats
    factor: Floats
    seen_soc: Floats
    seen_factor: Floats
    measured_from: float

    def at(self, soc: Floats) -> Floats:
        """The factor at a SOC."""
        return np.asarray(np.interp(soc, self.soc, self.factor))


def rise(r: Recording, curve: Curve, soc: Floats, drop_v: Floats) -> Rise | None:
    """The curve; None where the steps lie at too few SOCs, or none below the middle.

    soc, drop_v: SOC of every row and what a circuit of constant resistance drops there.
    """
    points = _steps(r, curve, soc, drop_v)
    if len(points) == 0:
        return None
    points = points[np.argsort(points[:, 0])]
    group = np.cumsum(np.diff(points[:, 0], prepend=points[0, 0]) > APART)
    at, seen = (np.array([np.median(points[group == g, k]) for g in np.unique(group)]) for k in (0, 1))
    middle = (at >= MIDDLE[0]) & (at <= MIDDLE[1])
    if len(at) < LEAST or middle.sum() < LEAST // 2 or at[0] >= MIDDLE[0]:
        return None
    seen = np.clip(seen / np.median(seen[middle]), *RANGE)
    below = np.array([z for z in RISE_SOC if z < at[0] - 1e-3])
    usual = np.interp(np.append(below, at[0]), RISE_SOC, RISE_FACTOR)
    factor = np.concatenate([usual[:-1] * max(float(seen[0] / usual[-1]), 1.0), seen])
    return Rise(np.concatenate([below, at]), np.minimum(factor, RANGE[1]), at, seen, float(at[0]))


def _steps(r: Recording, curve: Curve, soc: Floats, drop_v: Floats) -> Floats:
    """(steps, 2) SOC and factor of every onset."""
    q, time, amps = curve.capacity_ah, r.time_s, r.current_a
    ocv = np.interp(soc, SOC, curve.volts)
    found = []
    for k in np.flatnonzero((np.abs(amps[:-1]) < CALM_C * q) & (amps[1:] > ONSET_C * q)).tolist():
        # A row may be the mean over the step itself: the level is the next one's.
        level = float(amps[min(k + 2, len(amps) - 1)])
        last = int(np.searchsorted(time, time[k] + WINDOW_S + 1e-6, side="right")) - 1
        away = np.abs(amps[k + 2 : last + 1] - level) > LEVEL * level
        last = int(k + 1 + away.argmax()) if away.any() else last
        if last < k + 2 or level < ONSET_C * q or not 0 < soc[last] < 1:
            continue
        fell = (r.voltage_v[k] - r.voltage_v[last]) - (ocv[k] - ocv[last])
        told = drop_v[last] - drop_v[k]
        if fell > 0 and told > 0:
            found.append((float(soc[last]), fell / told))
    return np.array(found).reshape(-1, 2)
