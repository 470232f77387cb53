"""State of energy: what can still be taken out and put in, ended by the first cell that is empty or full.

All at a reference rate of a quarter of 1C (a four-hour system): losses are taken off what is delivered and added to
what is taken. Empty and full are where the site's derating curves no longer permit that rate, with the resistance that
the cells have there. A higher current ends a discharge earlier: what is left at half, three quarters and all of 1C and
at the present current is told beside. Figures are best estimates; a standard deviation stands beside each. A bank ends
with its first rack: all its racks are taken to give the same share of their charge, which is how the dispatch limits
them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.estimate.bar import HYSTERESIS_SHARE
from controller.core.estimate.cell_model import HIGH, LOW, trust_in
from controller.core.estimate.circuit import Cells, Circuit, Table
from controller.core.outlook import NEVER_H, RackEnergy, SiteEnergy
from controller.core.settings import DeratingSettings, Polyline
from controller.core.signal import Floats, Ints, every

RATE_C: Final = 0.25
STILL_C: Final = 0.002
"""Current below which nothing gets emptier or fuller, as a fraction of 1C."""
FASTER: Final = np.array([2.0, 3.0, 4.0])
"""Multiples of it for which the energy to deliver is told too: half, three quarters and all of 1C."""
SEARCH_POINTS: Final = 401
RATE_STEPS: Final = 4
"""Currents for which empty is tabled, per reference rate."""
DROP_POINTS: Final = 256
END_WIDTH: Final = 0.01
"""SOC around an end over which a coarse table is doubted."""
EDGE: Final = 3.0**-0.5
"""Distance, root of the mean square, of what may lie anywhere in a span from the end of it."""
AWAY: Final = 3.0**0.5
"""Standard deviations at which an end is looked at, to both sides: three points, the middle one with two thirds of the
weight, give the variance of a curve up to its third power (Gauss and Hermite)."""


class Energies:
    """Works on some racks at a time, into their records."""

    def __init__(self, circuit: Circuit, derating: DeratingSettings) -> None:
        self.circuit = circuit
        sheet = derating.cell
        self.rate_a = RATE_C * sheet.capacity_ah
        share = self.rate_a / sheet.discharge_current_a, self.rate_a / sheet.charge_current_a
        self.low_v = _end(derating.discharge_voltage, share[0], min)
        self.high_v = _end(derating.charge_voltage, share[1], max)
        m = circuit.model
        inside = (m.grid >= -1e-9) & (m.grid <= 1 + 1e-9)
        self.soc, self.ocv_v, self.rise = m.grid[inside][::-1], m.ocv_v[inside][::-1], m.rise[inside][::-1]
        rise_sum = np.cumsum(0.5 * (m.rise[1:] + m.rise[:-1]) * np.diff(m.grid))
        self.rise_sum = Table(LOW, HIGH, np.concatenate([[0.0], rise_sum]))
        """Integral over the SOC of the factor on the resistances."""
        self.rate_step_a = self.rate_a / RATE_STEPS
        rows = max(int(np.ceil(sheet.discharge_current_a / self.rate_step_a)), RATE_STEPS * int(FASTER[-1])) + 1
        lows = [_end(derating.discharge_voltage, k * self.rate_step_a / sheet.discharge_current_a, min)
                for k in range(rows)]  # fmt: skip
        most = float(self.ocv_v.max()) - min(lows[0], float(self.ocv_v.min()))
        drops = np.linspace(0.0, max(most, 1e-3), DROP_POINTS)
        self.drop_scale = (DROP_POINTS - 1) / float(drops[-1])
        self.empty_at = np.stack([self._crossing(drops, -1.0, low) for low in lows])
        """(current in steps, drop) SOC at which a cell is empty; drop: of the sheet's resistance, in V."""
        self.empty = Table(0.0, drops[-1], self.empty_at[RATE_STEPS])
        self.full = Table(0.0, drops[-1], self._crossing(drops, 1.0, self.high_v))
        """SOC of a cell that is empty and full at the reference rate, over that drop."""

    def _crossing(self, drop_v: Floats, sign: float, end_v: float) -> Floats:
        """SOC at which the voltage with a drop (-1) or a lift (1) of `drop_v` times the rise reaches `end_v`.

        Seen from full, the first that falls below it.
        """
        spare = self.ocv_v + sign * drop_v[:, None] * self.rise - end_v
        first = (spare < 0).argmax(axis=1)
        row = np.arange(len(spare))
        k = np.maximum(first, 1)
        before, after = spare[row, k - 1], spare[row, k]
        part = np.clip(before / np.maximum(before - after, 1e-12), 0.0, 1.0)
        found = np.where(first == 0, self.soc[0], self.soc[k - 1] + part * (self.soc[k] - self.soc[k - 1]))
        return np.asarray(np.where((spare < 0).any(axis=1), found, self.soc[-1]))

    def _other_rates(self, c: Cells, few: Ints, drop: Floats, ah: Floats) -> tuple[Floats, Floats]:
        """(n,) and (FASTER, n) charge in Ah to deliver at the present current and at faster rates than that of `ah`.

        few: (n, few) columns of the cells that may end it; drop: (n, cells) at the reference rate.
        """
        at = (np.arange(len(c.racks))[:, None], few)
        amps = np.empty((1 + len(FASTER), len(c.racks)))
        amps[0], amps[1:] = np.maximum(c.current_a, 0.0), FASTER[:, None] * self.rate_a
        row = np.minimum(np.ceil(amps / self.rate_step_a - 1e-9), len(self.empty_at) - 1.0).astype(int)[..., None]
        place = np.minimum(drop[at] * (amps * (self.drop_scale / self.rate_a))[..., None], DROP_POINTS - 1.0)
        index = np.minimum(place.astype(int), DROP_POINTS - 2)
        low = self.empty_at[row, index]
        empty = low + (place - index) * (self.empty_at[row, index + 1] - low)
        left = np.maximum(c.soc[at] - empty, 0.0) * c.capacity_ah[at]
        least = np.where(c.fitted[at], left, np.inf).min(axis=2)
        slow = amps[0] <= self.rate_a
        return np.where(slow, np.maximum(least[0], ah), np.minimum(least[0], ah)), np.minimum(least[1:], ah)

    def _end_doubt(self, c: Cells, pick: tuple[Ints, Ints], drop: Floats, ends: Floats, ah: Floats) -> Floats:
        """(2, n) standard deviation in Ah of where empty and full are, under load: on a plateau a few mV decide.

        The cell's voltage there is doubted by its resistances, by the table, the branch and the sensor; `ends`: SOC.
        """
        m, trust = self.circuit.model, trust_in(self.circuit.model)
        ohm = np.maximum(c.r0[pick], 1e-12)
        parts = (c.r0_sigma[pick] / ohm * drop[pick], trust.resistance * self.rate_a * c.r1[pick],
                 trust.slow_resistance * self.rate_a * c.r2[pick])  # fmt: skip
        rise = self.circuit.rise_at(ends)
        margin = 0.0 if m.rise_known else EDGE * drop[pick] * (1.0 - 1.0 / np.maximum(rise, 1.0))
        branch = HYSTERESIS_SHARE * np.interp(ends, m.grid, m.doubt_v)
        volts = trust.offset_v**2 + trust.lasting_v**2 + trust.table_v**2 + branch**2 + m.coarse(ends, END_WIDTH)
        sigma = np.sqrt(sum(part**2 for part in parts) + margin**2 + volts / rise**2)
        q = c.capacity_ah[pick]
        variance = np.zeros_like(ah)
        for k in (-AWAY, AWAY):
            there = drop[pick] + k * sigma
            room = np.maximum([c.soc[pick][0] - self.empty(there[0]), self.full(there[1]) - c.soc[pick][1]], 0.0) * q
            variance += (room - ah) ** 2 / 6.0
        return np.sqrt(variance)

    def rack(self, c: Cells, soe: Any) -> None:
        """Energy of all racks in `c`, written into their records `soe`."""
        energy, q = self.circuit.energy, c.capacity_ah
        drop = self.rate_a * (c.r0 + c.r1 + c.r2)
        empty, full = self.empty(drop), self.full(drop)
        open_room = np.array([np.maximum(c.soc - empty, 0.0) * q, np.maximum(full - c.soc, 0.0) * q])
        spans, most = np.maximum(full - empty, 0.0) * q, drop
        if not every(c.fitted):
            open_room, spans = np.where(c.fitted, open_room, np.inf), np.where(c.fitted, spans, np.inf)
            most = np.where(c.fitted, drop, 0.0)
        cell = open_room.argmin(axis=2)
        ah = np.where(c.known, open_room.min(axis=2), 0.0)
        one = c.weight * q
        span = spans.min(axis=1)
        after = (c.soc - ah[0][:, None] / q, c.soc + ah[1][:, None] / q)
        now, low, high, most_v, least_v = energy(np.array([c.soc, *after, full, full - span[:, None] / q]))
        out, taken, even = (one * np.array([now - low, high - now, most_v - least_v])).sum(axis=2)
        # The most resistive cell may end a faster discharge before the one that ends this.
        few = np.array([cell[0], most.argmax(axis=1)]).T
        now_ah, fast_ah = self._other_rates(c, few, drop, ah[0])
        count = np.maximum(c.count, 1.0)
        mean_q = one.sum(axis=1) / count
        moved = np.array([np.zeros_like(span), -ah[0], ah[1], ah[1] - span, *-fast_ah])
        ends = (c.weight * c.soc).sum(axis=1) / count + moved / mean_q
        loss = (c.weight * drop).sum(axis=1) * mean_q
        heat = self.rise_sum(ends)
        out -= loss * (heat[0] - heat[1])
        taken += loss * (heat[2] - heat[0])
        even -= loss * (heat[2] - heat[3])
        left = energy(np.concatenate([ends[1:2], ends[4:]]))
        fast = out - count * mean_q * (left[1:] - left[0])
        fast -= loss * (FASTER[:, None] * (heat[0] - heat[4:]) - (heat[0] - heat[1]))
        pick = (np.arange(len(c.racks)), cell)
        doubt = np.hypot(c.sigma[pick] * q[pick], ah * c.capacity_sigma_ah[pick] / q[pick])
        doubt = np.hypot(doubt, self._end_doubt(c, pick, drop, np.array([empty[pick][0], full[pick][1]]), ah))
        volts = (c.weight * c.emf_v).sum(axis=1)
        soe["wh"] = np.where(c.known, np.maximum([out, taken], 0.0), 0.0).T
        soe["wh_sigma"] = np.where(c.known, volts * doubt, 0.0).T
        soe["fast_wh"] = fast.clip(0.0, soe["wh"][:, 0]).T
        soe["ah"], soe["limits_cell"] = ah.T, np.where(c.known, c.place + cell, -1).T
        soe["now_ah"] = np.where(c.known, now_ah, 0.0)
        soe["usable_wh"] = np.where(c.known, np.maximum(out + taken, 0.0), 0.0)
        soe["balanced_wh"] = np.where(c.known, np.maximum(even, out + taken), 0.0)
        soe["capacity_ah"] = np.where(c.known, span, 0.0)
        soe["reference_w"] = self.rate_a * volts
        soe["loss_w"] = self.rate_a * loss * (heat[0] - heat[1]) / np.maximum(ah[0], 1e-6 * mean_q)


def energy_at(power_w: float, reference_w: float, wh: tuple[float, ...]) -> float:
    """Energy to deliver at a power: straight through `wh` at the reference power and its multiples `FASTER`.

    Below the reference no more than there, above all of them as the last two go on; never below 0.
    """
    if reference_w <= 0:
        return wh[0]
    at = (1.0, *FASTER.tolist())
    x = max(power_w / reference_w, 1.0)
    k = next((n for n in range(1, len(at)) if x <= at[n]), len(at) - 1)
    return float(max(wh[k] + (wh[k] - wh[k - 1]) / (at[k] - at[k - 1]) * (x - at[k]), 0.0))


def _end(curve: Polyline, share: float, first: Any) -> float:
    """The outermost voltage at which a derating curve still permits `share` of the rated current."""
    grid = np.linspace(curve.at[0], curve.at[-1], SEARCH_POINTS)
    good = grid[curve(grid) >= min(share, float(curve.fraction.max()))]
    return float(first(good))


def rack_energy(soe: Any, current_a: Floats, still_a: float) -> RackEnergy:
    """The published figures of all racks; times at the present current."""
    amps = np.maximum(np.abs(current_a), 1e-9)
    empty = np.where(current_a > still_a, np.minimum(soe["now_ah"] / amps, NEVER_H), NEVER_H)
    full = np.where(current_a < -still_a, np.minimum(soe["ah"][:, 1] / amps, NEVER_H), NEVER_H)
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
    wh, fast_wh, variance, place = np.zeros(2), np.zeros(len(FASTER)), np.zeros(2), np.full(2, -1)
    least = np.full(2, np.inf)
    for racks in racks_of:
        if len(racks) == 0:
            continue
        r = soe[racks]
        share = r["ah"] / np.maximum(r["capacity_ah"], 1e-9)[:, None]
        first = share.argmin(axis=0)
        part = share.min(axis=0) / np.maximum(share, 1e-9)
        wh += (r["wh"] * part).sum(axis=0)
        fast_wh += (r["fast_wh"] * part[:, :1]).sum(axis=0)
        # The bank's doubt is its first rack's, for as many racks.
        variance += (len(racks) * r["wh_sigma"][first, (0, 1)]) ** 2
        tighter = share.min(axis=0) < least
        place = np.where(tighter, r["limits_cell"][first, (0, 1)], place)
        least = np.minimum(least, share.min(axis=0))
    chosen = np.concatenate([*racks_of, np.array([], np.int64)]).astype(np.int64)
    usable = float(soe["usable_wh"][chosen].sum())
    away = (soc - target_soc) * usable
    towards = away * power_w >= 0
    reference, loss = float(soe["reference_w"][chosen].sum()), float(soe["loss_w"][chosen].sum())
    told_w = max(reference - loss, 0.0)
    left = energy_at(abs(power_w), told_w, (float(wh[0]), *fast_wh.tolist()))
    hours = [w / abs(power_w) if abs(power_w) > still_w else NEVER_H for w in (left, wh[1], abs(away))]
    group = SiteEnergy(
        discharge_energy_sigma_wh=float(np.sqrt(variance[0])),
        charge_energy_sigma_wh=float(np.sqrt(variance[1])),
        discharge_energy_place=int(place[0]),
        charge_energy_place=int(place[1]),
        usable_energy_wh=usable,
        balanced_energy_wh=float(soe["balanced_wh"][chosen].sum()),
        discharge_energy_half_c_wh=float(fast_wh[0]),
        discharge_energy_three_quarters_c_wh=float(fast_wh[1]),
        discharge_energy_1c_wh=float(fast_wh[2]),
        energy_reference_power_w=told_w,
        energy_loss_ratio=min(max(0.0, loss / max(reference, 1e-9)), 1.0),
        time_to_empty_h=float(min(hours[0], NEVER_H)) if power_w > 0 else NEVER_H,
        time_to_full_h=float(min(hours[1], NEVER_H)) if power_w < 0 else NEVER_H,
        time_to_target_h=float(min(hours[2], NEVER_H)) if towards else NEVER_H,
    )
    return group, float(wh[0]), float(wh[1])
