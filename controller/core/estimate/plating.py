"""Lithium plating: charge put into cells faster than their temperature permits, and what became of those cells since.

A graphite anode takes lithium in more slowly the colder it is; what comes faster may be laid down as metal. Nothing
that a plant measures shows the anode, so a trend is told from an exposure and from a consequence in the same cell:

- exposure: the charge put in while the current was above what the cell type's charge derating permits at the cell's
  own core temperature, over its capacity. It fades within weeks; it bounds from above what can have been laid down;
- consequence: since the exposure began the cell has lost capacity, or loses charge slowly, against its sisters, and no
  more than that exposure. Resistance is none: cold raises it by itself.

Where the current is held below the limit of the coldest sensor, as this controller's own limit does, nothing is
booked: only what a PCS or a rack in parallel takes beyond it, or a core that is still cold behind a warm surface.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.estimate.faults import PLATING_ALONE, PLATING_LACK
from controller.core.estimate.rows import Look, rows
from controller.core.estimate.sisters import median, scatter
from controller.core.estimate.verdicts import BIN_H, WARM_BINS, Verdicts
from controller.core.frozen import replace
from controller.core.image_warnings import Fault
from controller.core.memory import EstimationMemory
from controller.core.memory_watch import WatchBins
from controller.core.settings import CellSheet, Polyline
from controller.core.signal import Bools, Floats, Ints, some

MARGIN: Final = 0.05
"""Of the rated charge current, above the limit: what a PCS overshoots and half a kelvin on the derating's ramp."""
LONGEST_MS: Final = 600_000
"""A longer gap is not booked as if its last current had flowed all the time."""
FADE_H: Final = 720.0
BEGUN, FORGOTTEN = 0.01, 0.005
"""Exposure (of capacity) at which it begins, and below which it is over."""
ENOUGH: Final = 0.2
"""Exposure that a consequence must rest on: several times the least loss, as most of what is laid down dissolves."""
EXTREME: Final = 3.0
"""Exposure that is told alone: three full charges within weeks that the cell type does not permit."""
GROWN_LEAST, GROWN_SIGMAS, GROWN_OWN_SIGMAS, GROWN_BINS = 0.03, 4.5, 5.0, 36
SIGMA_LEAST: Final = 0.002
"""As for low capacity, but since the exposure began. Cold alone moved a healthy cell's figure by half of it (simulated,
11 K below its sisters)."""


class ColdCharge:
    """Books exposure: `limit` is the derating of the charge current over temperature, of which the cold side counts."""

    def __init__(self, cell: CellSheet, limit: Polyline) -> None:
        first = int(limit.fraction.argmax()) + 1
        self.limit = Polyline(limit.at[:first], limit.fraction[:first])
        self.rated_a, self.capacity_ah = cell.charge_current_a, cell.capacity_ah

    def book(
        self, bins: WatchBins, w: NDArray[Any], now: Look, estimation: EstimationMemory, nearest: Ints
    ) -> WatchBins:
        """The bins after one look; `w` are the racks' own records, changed in place. Nothing is copied for nothing."""
        into_a = np.where(now.current_ok, -now.current_a, 0.0) - MARGIN * self.rated_a
        at = np.flatnonzero((into_a > 0) & (estimation.outlook.rack["warm"][now.racks] == 1))
        if not at.size:
            return bins
        r = now.racks[at]
        core = rows(estimation.outlook.warmth.cell_core_temperature_degc, r)
        beyond = into_a[at] > self.rated_a * self.limit(core.min(axis=1))
        if not some(beyond):
            return bins
        at, r, core = at[beyond], r[beyond], core[beyond]
        doubted = rows(bins.told_k, r) & (1 << int(Fault.TEMPERATURE_SENSOR) | 1 << int(Fault.STUCK_SENSOR))
        fast = now.ok[at] & (doubted[:, nearest] == 0) & (into_a[at, None] > self.rated_a * self.limit(core))
        hours = np.minimum(now.elapsed_ms[at], LONGEST_MS) / 3_600_000.0
        added = np.where(fast, (-now.current_a[at] * hours / self.capacity_ah)[:, None], 0.0)
        plating = bins.plating.copy()
        own = rows(plating, r)
        own["recent"] += added
        own["total"] += added
        plating[r] = own.reshape((len(r), *plating.shape[1:]))
        w["exposed"][at] = own["recent"].max(axis=1)
        return replace(bins, plating=plating)


@dataclasses.dataclass(frozen=True, slots=True)
class Exposure:
    """Per cell (n, cells): the exposure, the bins since it began, and where it may explain what became of the cell."""

    recent: Floats
    bins: Ints
    may: Bools

    def explains(self, lost: Floats, since_bins: Floats) -> Bools:
        """Where a loss of `lost` (of capacity), begun so many bins ago, may come from it, within a day."""
        return np.asarray(self.may & (lost < self.recent) & (since_bins <= self.bins + WARM_BINS))


def exposure(v: Verdicts) -> Exposure | None:
    """Ages the exposure by a bin; None where there is none. What the capacity was when it began is kept."""
    if not v.w["exposed"].any():
        return None
    p = v.get("plating")
    p["recent"] *= np.exp(-BIN_H / FADE_H)
    runs = (p["recent"] > BEGUN) | ((p["bins"] > 0) & (p["recent"] > FORGOTTEN))
    begun = runs & (p["bins"] == 0)
    # The sisters' capacities of that moment are the measure for a cell's: they are kept with the first of them.
    anew = begun | (begun.any(axis=1) & ~(p["bins"] > 0).any(axis=1))[:, None]
    p["lack"] = np.where(anew, _lack(v), p["lack"])
    p["doubt"] = np.where(anew, np.sqrt(v.of("cell_p_lack")), p["doubt"])
    p["bins"] = np.where(runs, np.minimum(p["bins"].astype(int) + 1, 65_000), 0)
    told = v.told(Fault.LITHIUM_PLATING)
    p["alone"] = np.where(told, p["alone"], 0)
    v.w["exposed"] = np.where(runs.any(axis=1), p["recent"].max(axis=1), 0.0)
    v.set("plating", p)
    # Lithium that was laid down stays so: what was told stands until its exposure is forgotten.
    v.evidence |= told & runs
    may = np.where(told, runs, p["recent"] > ENOUGH) & (p["alone"] == 0)
    return Exposure(p["recent"].astype(float), p["bins"].astype(int), may)


def judge(v: Verdicts, exposed: Exposure | None, clear: Bools) -> Bools:
    """Tells what an exposure did to capacities, or that it is extreme; the cells whose low capacity it explains."""
    if exposed is None:
        return np.zeros(v.s.cells.shape, bool)
    p = v.get("plating")
    growth = _lack(v) - p["lack"]
    growth = growth - median(growth, v.s.cells)[:, None]
    sigma = np.maximum(scatter(growth, v.s.cells), SIGMA_LEAST)[:, None]
    doubt = np.sqrt(v.of("cell_p_lack") + p["doubt"] ** 2)
    least = np.maximum(np.maximum(GROWN_LEAST, GROWN_SIGMAS * sigma), GROWN_OWN_SIGMAS * doubt)
    grown = v.warm & clear & (growth > least) & exposed.explains(growth, np.zeros_like(growth))
    sure = v.held("plating", grown) >= GROWN_BINS
    known = v.told(Fault.INTERNAL_SHORT, Fault.RUNAWAY, Fault.STUCK_SENSOR)
    percent = 100 * exposed.recent
    v.tell(sure & ~known, Fault.LITHIUM_PLATING, percent, growth / sigma, PLATING_LACK)
    extreme = v.s.cells & (exposed.recent > EXTREME) & ~v.told(Fault.LITHIUM_PLATING)
    v.tell(extreme, Fault.LITHIUM_PLATING, percent, np.zeros_like(growth), PLATING_ALONE)
    p["alone"] = np.where(extreme, 1, p["alone"])
    v.set("plating", p)
    return np.asarray(grown)


def _lack(v: Verdicts) -> Floats:
    lack = v.of("cell_lack_ratio")
    return np.asarray(lack - median(lack, v.s.cells)[:, None])
