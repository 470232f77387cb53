"""State of energy: what can still be taken out and put in, ended by the first cell that is empty or full.

All at a reference rate of a quarter of 1C (a four-hour system): losses are taken off what is delivered and added to
what is taken. Empty and full are where the site's derating curves no longer permit that rate. Figures are best
estimates; a standard deviation stands beside each. A bank ends with its first rack: all its racks are taken to give the
same share of their charge, which is how the dispatch limits them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.estimate.circuit import Cells, Circuit
from controller.core.outlook import NEVER_H, RackEnergy, SiteEnergy
from controller.core.settings import DeratingSettings, Polyline
from controller.core.signal import Floats, Ints

RATE_C: Final = 0.25
STILL_C: Final = 0.002
"""Current below which nothing gets emptier or fuller, as a fraction of 1C."""
SEARCH_POINTS: Final = 401


class Energies:
    """Works on some racks at a time, into their records."""

    def __init__(self, circuit: Circuit, derating: DeratingSettings) -> None:
        self.circuit = circuit
        sheet = derating.cell
        self.rate_a = RATE_C * sheet.capacity_ah
        share = self.rate_a / sheet.discharge_current_a, self.rate_a / sheet.charge_current_a
        self.low_v = _end(derating.discharge_voltage, share[0], min)
        self.high_v = _end(derating.charge_voltage, share[1], max)

    def rack(self, c: Cells, soe: Any) -> None:
        """Energy of all racks in `c`, written into their records `soe`."""
        energy, q = self.circuit.energy, c.capacity_ah
        drop = self.rate_a * (c.r0 + c.r1 + c.r2)
        empty, full = self.circuit.soc_at(self.low_v + drop), self.circuit.soc_at(self.high_v - drop)
        room = np.stack([np.maximum(c.soc - empty, 0.0) * q, np.maximum(full - c.soc, 0.0) * q])
        open_room = np.where(c.fitted, room, np.inf)
        cell = open_room.argmin(axis=2)
        ah = np.where(c.known, open_room.min(axis=2), 0.0)
        one = c.weight * q
        span = np.where(c.fitted, np.maximum(full - empty, 0.0) * q, np.inf).min(axis=1)
        after = (c.soc - ah[0][:, None] / q, c.soc + ah[1][:, None] / q)
        now, low, high = energy(c.soc), energy(after[0]), energy(after[1])
        loss = self.rate_a * (c.weight * (c.r0 + c.r1 + c.r2)).sum(axis=1)
        out = (one * (now - low)).sum(axis=1) - ah[0] * loss
        taken = (one * (high - now)).sum(axis=1) + ah[1] * loss
        whole = (one * (high - low)).sum(axis=1) - ah.sum(axis=0) * loss
        even = (one * (energy(full) - energy(full - span[:, None] / q))).sum(axis=1) - span * loss
        pick = (np.arange(len(c.racks)), cell)
        doubt = np.hypot(c.sigma[pick] * q[pick], ah * c.capacity_sigma_ah[pick] / q[pick])
        volts = (c.weight * c.emf_v).sum(axis=1)
        soe["wh"] = np.where(c.known, np.maximum([out, taken], 0.0), 0.0).T
        soe["wh_sigma"] = np.where(c.known, volts * doubt, 0.0).T
        soe["ah"], soe["limits_cell"] = ah.T, np.where(c.known, c.place + cell, -1).T
        soe["usable_wh"] = np.where(c.known, np.maximum(whole, 0.0), 0.0)
        soe["balanced_wh"] = np.where(c.known, np.maximum(even, whole), 0.0)
        soe["capacity_ah"] = np.where(c.known, span, 0.0)
        soe["reference_w"], soe["loss_w"] = self.rate_a * volts, self.rate_a * loss


def _end(curve: Polyline, share: float, first: Any) -> float:
    """The outermost voltage at which a derating curve still permits `share` of the rated current."""
    grid = np.linspace(curve.at[0], curve.at[-1], SEARCH_POINTS)
    good = grid[curve(grid) >= min(share, float(curve.fraction.max()))]
    return float(first(good))


def rack_energy(soe: Any, current_a: Floats, still_a: float) -> RackEnergy:
    """The published figures of all racks; times at the present current."""
    hours = soe["ah"] / np.maximum(np.abs(current_a), 1e-9)[:, None]
    empty = np.where(current_a > still_a, np.minimum(hours[:, 0], NEVER_H), NEVER_H)
    full = np.where(current_a < -still_a, np.minimum(hours[:, 1], NEVER_H), NEVER_H)
    return RackEnergy(
        rack_discharge_energy_sigma_wh=soe["wh_sigma"][:, 0].copy(),
        rack_charge_energy_sigma_wh=soe["wh_sigma"][:, 1].copy(),
        rack_discharge_energy_place=soe["limits_cell"][:, 0].copy(),
        rack_charge_energy_place=soe["limits_cell"][:, 1].copy(),
        rack_usable_energy_wh=soe["usable_wh"].copy(),
        rack_balanced_energy_wh=soe["balanced_wh"].copy(),
        rack_discharge_charge_ah=soe["ah"][:, 0].copy(),
        rack_charge_charge_ah=soe["ah"][:, 1].copy(),
        rack_time_to_empty_h=empty,
        rack_time_to_full_h=full,
    )


def site_energy(
    soe: Any, racks_of: list[Ints], power_w: float, still_w: float, soc: float, target_soc: float
) -> tuple[SiteEnergy, float, float]:
    """The site's group, and the energy it can deliver and take, Wh. `power_w` is DC, discharge positive."""
    wh, variance, place = np.zeros(2), np.zeros(2), np.full(2, -1)
    least = np.full(2, np.inf)
    for racks in racks_of:
        if len(racks) == 0:
            continue
        r = soe[racks]
        share = r["ah"] / np.maximum(r["capacity_ah"], 1e-9)[:, None]
        first = share.argmin(axis=0)
        part = share.min(axis=0) / np.maximum(share, 1e-9)
        wh += (r["wh"] * part).sum(axis=0)
        # The bank's doubt is its first rack's, for as many racks.
        variance += (len(racks) * r["wh_sigma"][first, (0, 1)]) ** 2
        tighter = share.min(axis=0) < least
        place = np.where(tighter, r["limits_cell"][first, (0, 1)], place)
        least = np.minimum(least, share.min(axis=0))
    chosen = np.concatenate([*racks_of, np.array([], np.int64)]).astype(np.int64)
    usable = float(soe["usable_wh"][chosen].sum())
    away = (soc - target_soc) * usable
    hours = [w / abs(power_w) if abs(power_w) > still_w else NEVER_H for w in (wh[0], wh[1], abs(away))]
    towards = away * power_w >= 0
    reference, loss = float(soe["reference_w"][chosen].sum()), float(soe["loss_w"][chosen].sum())
    group = SiteEnergy(
        discharge_energy_sigma_wh=float(np.sqrt(variance[0])),
        charge_energy_sigma_wh=float(np.sqrt(variance[1])),
        discharge_energy_place=int(place[0]),
        charge_energy_place=int(place[1]),
        usable_energy_wh=usable,
        balanced_energy_wh=float(soe["balanced_wh"][chosen].sum()),
        energy_reference_power_w=max(reference - loss, 0.0),
        energy_loss_ratio=float(np.clip(loss / max(reference, 1e-9), 0.0, 1.0)),
        time_to_empty_h=float(min(hours[0], NEVER_H)) if power_w > 0 else NEVER_H,
        time_to_full_h=float(min(hours[1], NEVER_H)) if power_w < 0 else NEVER_H,
        time_to_target_h=float(min(hours[2], NEVER_H)) if towards else NEVER_H,
    )
    return group, float(wh[0]), float(wh[1])
