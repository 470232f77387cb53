"""When and why a recalibration window would pay: a rest, a full charge, or an emptying.

The doubt of the SOC holds energy back at both ends: two sigma at each are energy that nobody dares to sell. A window
ends it, down to what the voltage tells there. It pays when it sets free more than it takes: the share of the usable
energy that it returns, over the days for which a count of charge stays good, against the hours in which the rack is
bound.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.estimate.circuit import Cells, Circuit
from controller.core.estimate.energy import RATE_C
from controller.core.outlook import Plan
from controller.core.signal import Floats

RESERVED_SIGMAS: Final = 2.0
REST_H: Final = 1.0
END_H: Final = 0.5
"""Rest at full or empty until the voltage has settled."""
OFFSET_V, TABLE_RATIO = 0.010, 0.005
WIDTH: Final = 0.01
GOOD_DAYS: Final = 2.0
"""For so long a count of charge stays clearly better than what was before."""
LEAST_GAIN: Final = 0.02
"""Share of the usable energy below which no window is worth asking for."""
NONE, REST, FULL, EMPTY = range(4)


class Planner:
    """Weighs the windows of some racks at a time."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self.ends = tuple(self._told(np.array([soc])).item() for soc in (1.0, 0.0))
        """Sigma after a full charge and after an emptying."""

    def _told(self, soc: Floats) -> Floats:
        """Sigma of a SOC that only a rested voltage tells."""
        m = self.circuit.model
        inside = soc.clip(WIDTH, 1 - WIDTH)
        half = np.interp(inside, m.grid, m.half_v) * 0.5
        volts = np.sqrt(OFFSET_V**2 + half**2 + m.coarse(inside, WIDTH))
        return np.asarray(np.hypot(volts / m.slope(inside, WIDTH), TABLE_RATIO))

    def rack(self, c: Cells, plan: Any, soe: Any) -> None:
        """The best window of every rack in `c`, into their records `plan`; `soe` are their energies."""
        one = c.weight
        count = np.maximum(c.count, 1.0)
        sigma = np.sqrt((np.square(c.sigma) * one).sum(axis=1) / count)
        soc = (c.soc * one).sum(axis=1) / count
        around = np.stack([(soc + k * sigma).clip(0.0, 1.0) for k in (-1.0, 0.0, 1.0)])
        after = np.stack([
            np.full_like(sigma, np.inf), self._told(around).max(axis=0),
            np.full_like(sigma, self.ends[0]), np.full_like(sigma, self.ends[1]),
        ])  # fmt: skip
        nothing = np.zeros_like(soc)
        hours = np.stack([nothing, nothing + REST_H, (1 - soc) / RATE_C + END_H, soc / RATE_C + END_H])
        freed = np.maximum(sigma - np.minimum(after, sigma), 0.0)
        gain = 2 * RESERVED_SIGMAS * freed
        # What it returns every day, less the part of those days that it takes.
        worth = gain - hours / (24.0 * GOOD_DAYS)
        kind = worth.argmax(axis=0)
        pick = (kind, np.arange(len(soc)))
        pays = c.known & (kind != NONE) & (gain[pick] > LEAST_GAIN) & (worth[pick] > 0)
        plan["sigma"] = np.where(c.known, np.minimum(sigma, 1.0), 1.0)
        plan["kind"] = np.where(pays, kind, NONE)
        plan["after"] = np.where(pays, np.minimum(after[pick], 1.0), plan["sigma"])
        plan["gain_wh"] = np.where(pays, gain[pick] * soe["balanced_wh"], 0.0)
        plan["hours"] = np.where(pays, hours[pick], 0.0)
        plan["pays"] = pays


def plan_of(record: Any) -> Plan:
    """The published figures of all racks."""
    return Plan(
        rack_soc_sigma_ratio=record["sigma"].copy(),
        rack_recalibration_kind=record["kind"].copy(),
        rack_recalibration_sigma_ratio=record["after"].copy(),
        rack_recalibration_gain_wh=record["gain_wh"].copy(),
        rack_recalibration_time_h=record["hours"].copy(),
        rack_recalibration_pays=record["pays"].copy(),
        recalibration_gain_wh=float(record["gain_wh"].sum()),
    )
