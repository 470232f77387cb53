"""State of power: what racks and site can deliver or take for 2 s, 10 s, 30 s and 15 min, and which cell limits it.

A promise holds when, at constant power, no cell is asked for more current than its voltage and its temperature still
permit at once, at every shorter horizon and at the end (the site's own derating curves), and no cell runs out of
charge: SOC three sigma worse, resistance two sigma worse and as large as it is at the end (it rises towards empty),
current 5 % less than that. The voltage is predicted from the measured one, so a model error counts only from now on.
Racks in parallel share by their resistances and open-circuit voltages.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.estimate.circuit import SIGMAS, Cells, Circuit
from controller.core.estimate.permitted import KINDS, Problem, most
from controller.core.estimate.thermal import heat_capacity
from controller.core.outlook import (
    DIRECTIONS,
    HORIZONS,
    NO_RACK,
    NOT_KNOWN,
    PCS,
    RATED,
    VOLTAGE,
    RackPower,
    SitePower,
)
from controller.core.settings import DeratingSettings, Polyline
from controller.core.signal import Bools, Floats, Ints
from controller.core.topology import Topology

SECONDS: Final = np.array([seconds for _, seconds in HORIZONS])
MARGIN: Final = 0.05
"""Share of the current kept back: resistance falls with current less than the model says (HPPC: 8 % median)."""
PARAMETER_SIGMAS: Final = 2.0
SUM_MARGIN: Final = 0.01
"""Where only the rating limits: the rack's voltage is the sum of what two cells show."""
SPOTS: Final = np.linspace(0.0, 1.0, 5)
BEYOND: Final = 0.02
"""Of the rated current."""
SEARCH_SHARES: Final = (1.0, 0.3)
"""Shares of the rated current at which the weakest cells after 15 min are looked for."""


def _kept(low: Floats, by: Ints, worst: Ints, at_once: Floats) -> tuple[Floats, Ints, Ints]:
    """The current that is permitted over the whole of each horizon, and what limits it first.

    After a load the voltage comes back: a cell may be at its limit at once and no longer at the end.
    """
    every = np.concatenate([at_once.min(axis=-1)[:, None], low], axis=1)
    least = np.minimum.accumulate(every, axis=1)
    horizon = np.arange(every.shape[1])[:, None]
    binding = np.maximum.accumulate(np.where(every[0] <= least[0], horizon, 0), axis=0)[1:]
    by = np.concatenate([np.full_like(by[:1], VOLTAGE), by])
    worst = np.concatenate([at_once[0].argmin(axis=-1)[None], worst])
    return least[:, 1:], np.take_along_axis(by, binding, 0), np.take_along_axis(worst, binding, 0)


class PowerLimits:
    """Works on some racks at a time; results lie in the rack's record until the site adds them up."""

    def __init__(self, circuit: Circuit, derating: DeratingSettings) -> None:
        self.circuit, self.derating = circuit, derating
        m = circuit.model
        self.a1, self.a2 = np.exp(-SECONDS / m.tau1_s), np.exp(-SECONDS / m.tau2_s)
        self.heat_capacity = heat_capacity(m.sheet.heat_capacity_j_per_k, m.capacity_ah)

    def rack(self, cells: Cells, sop: Any, direction: int) -> None:
        """One direction of all racks in `cells`, written into their records `sop`."""
        sign, sheet = DIRECTIONS[direction][1], self.derating.cell
        rated = sheet.discharge_current_a if sign > 0 else sheet.charge_current_a
        picked = self._weakest(cells, sign, rated)
        problem = self._problem(cells, picked, sign, rated)
        low = most(problem, rated)
        # What binds is judged just beyond the current found.
        beyond = np.stack(problem.permitted(np.minimum(low[0] + BEYOND * rated, rated), 0))
        at_once = self._at_once(cells, picked, sign, rated)
        smallest = beyond.min(axis=-1)
        kind = smallest.argmin(axis=0)
        worst = np.take_along_axis(beyond.argmin(axis=-1), kind[None], axis=0)[0]
        by = np.where(low[0] >= rated, RATED, np.array(KINDS)[kind])
        low, by, worst = _kept(low, by, worst, at_once)
        cell = np.where(by == RATED, -1, cells.place + picked[np.arange(len(cells.racks)), worst])
        known = cells.known
        amps = np.where(known, low * (1 - np.where(low < rated, MARGIN, SUM_MARGIN)), 0.0)
        sop["amps"][:, :, direction] = amps.transpose(2, 0, 1)
        sop["by"][:, direction] = np.where(known, by, NOT_KNOWN).T
        sop["cell"][:, direction] = np.where(known, cell, -1).T
        self._sums(cells, sop, direction, amps[0], sign)

    def _weakest(self, c: Cells, sign: float, rated: float) -> Ints:
        """(n, picked) columns of the cells of each rack that can limit: the extremes of all that is compared."""
        ohm = c.r0 + c.r1 + c.r2
        sure = c.low_soc if sign > 0 else c.high_soc
        start = self.circuit.ocv(sure)
        moved = sign * rated * SECONDS[-1] / 3600.0 / c.capacity_ah
        now = sign * c.emf_v
        ends = [now, now - rated * ohm * c.rise, sign * sure * c.capacity_ah, c.surface_degc, -c.surface_degc]
        for share in SEARCH_SHARES:
            volts, rise = self.circuit.ocv.beside(sure - share * moved, self.circuit.rise)
            ends.append(now - share * rated * ohm * rise + sign * (volts - start))
        if not c.fitted.all():
            ends = [np.where(c.fitted, e, np.inf) for e in ends]
        return np.stack([e.argmin(axis=1) for e in ends], axis=1)

    def _problem(self, c: Cells, picked: Ints, sign: float, rated: float) -> Problem:
        """All that does not change with the current, for the picked cells: (k, horizon, n, p)."""
        at = (np.arange(len(c.racks))[:, None], picked)
        seconds = SECONDS[:, None, None]
        k = np.array([1.0, 0.0])[:, None, None, None]
        sure = (c.low_soc if sign > 0 else c.high_soc)[at]
        soc = np.where(k > 0, sure, c.soc[at])
        extra = PARAMETER_SIGMAS * k * c.r0_sigma[at] / np.maximum(c.r0[at], 1e-9)
        capacity = np.maximum(c.capacity_ah[at] - PARAMETER_SIGMAS * k * c.capacity_sigma_ah[at], 1e-6)
        ohm = self._ohm(c, at) * (1.0 + extra)
        start = c.emf_v[at] - sign * SIGMAS * k * c.emf_sigma_v[at] + self._relaxed(c)[..., None] * _own(c, at)
        volts, heat = self._curves(sign)
        branch: Floats = np.zeros(1)
        m = self.circuit.model
        if m.branch_v.any():
            branch = m.branch(c.soc[at]) * (c.hysteresis[:, None] + sign)
        shape = ohm.shape
        charge = np.broadcast_to((soc if sign > 0 else 1.0 - soc) * capacity * 3600.0 / seconds, shape)
        full = {
            "start_v": start, "ohm": ohm,
            "per_amp": sign * seconds / 3600.0 / capacity, "branch_v": branch, "charge_a": charge,
            "settle": m.gamma / 3600.0 / m.capacity_ah * seconds, "surface_degc": c.surface_degc[at],
            "surface_a": rated * heat(c.surface_degc[at]), "heating": ohm * (c.rise[at] * seconds) / self.heat_capacity,
            "rise": self.circuit.rise_at(np.where(k > 0, c.low_soc[at], c.soc[at])),
        }  # fmt: skip
        arrays = {name: np.broadcast_to(a, shape) for name, a in full.items()}
        low, high = (np.where(k > 0, edge[at], c.soc[at])[..., None] for edge in (c.low_soc, c.high_soc))
        spots = low + SPOTS * (high - low)
        arrays["soc"] = np.broadcast_to(spots, (*shape, len(SPOTS)))
        arrays["ocv_v"] = np.broadcast_to(self.circuit.ocv(spots), (*shape, len(SPOTS)))
        return Problem(self.circuit.ocv, self.circuit.rise, sign, rated, volts, heat, bool(m.branch_v.any()), **arrays)

    def _at_once(self, c: Cells, picked: Ints, sign: float, rated: float) -> Floats:
        """(2, n, p) current that the voltage permits in the first moment, where only R0 drops.

        Exact: along a stretch of the curve both voltage and current are linear in the fraction.
        """
        at = (np.arange(len(c.racks))[:, None], picked)
        k = np.array([1.0, 0.0])[:, None, None]
        ohm = (c.r0[at] + PARAMETER_SIGMAS * k * c.r0_sigma[at]) * c.rise[at]
        volts = c.emf_v[at] - sign * SIGMAS * k * c.emf_sigma_v[at]
        curve = self._curves(sign)[0]
        fraction = np.full(volts.shape, curve.fraction[0])
        for v0, v1, f0, f1 in zip(curve.at, curve.at[1:], curve.fraction, curve.fraction[1:], strict=False):
            wide = np.maximum(v1 - v0 + sign * rated * (f1 - f0) * ohm, 1e-9)
            fraction += (f1 - f0) * np.clip((volts - v0 - sign * rated * f0 * ohm) / wide, 0.0, 1.0)
        return np.asarray(rated * np.minimum(fraction, 1.0))

    def _curves(self, sign: float) -> tuple[Polyline, Polyline]:
        d = self.derating
        if sign > 0:
            return d.discharge_voltage, d.discharge_temperature
        return d.charge_voltage, d.charge_temperature

    def _ohm(self, c: Cells, at: Any) -> Floats:
        """(horizon, n, ...) resistance that a current meets over the horizon."""
        shape = (-1, *(1 for _ in c.r0[at].shape))
        rise1, rise2 = (1 - self.a1).reshape(shape), (1 - self.a2).reshape(shape)
        return np.asarray(c.r0[at] + c.r1[at] * rise1 + c.r2[at] * rise2)

    def _relaxed(self, c: Cells) -> Floats:
        """(horizon, n) what the RC voltages of today, the string filter's, give back by then."""
        rise = c.mean_rise()
        back1 = c.v1 * self.circuit.given_back(rise, c.v1)
        # The slow branch was charged where the resistance was lower.
        back2 = c.v2 * np.where(c.v2 < 0, rise, np.minimum(rise, 1.0))
        return np.asarray((1 - self.a1)[:, None] * back1 + (1 - self.a2)[:, None] * back2)

    def _sums(self, c: Cells, sop: Any, direction: int, amps: Floats, sign: float) -> None:
        """What the whole string shows at the end of each horizon, for power and for sharing between racks."""
        one = c.weight
        count = np.maximum(c.count, 1.0)
        emf = (c.emf_v * one).sum(axis=1)
        one_rise = one * c.rise
        r0, r1, r2 = ((r * one_rise).sum(axis=1) for r in (c.r0, c.r1, c.r2))
        soc = (c.soc * one).sum(axis=1) / count
        capacity = (c.capacity_ah * one).sum(axis=1) / count
        moved = sign * amps * SECONDS[:, None] / 3600.0 / np.maximum(capacity, 1e-6)
        # Two cells a standard deviation to both sides stand for all: where the curve bends they do not drop alike.
        spread = np.sqrt((np.square(c.soc - soc[:, None]) * one).sum(axis=1) / count)
        low, high = ((edge * one).sum(axis=1) / count for edge in (c.low_soc, c.high_soc))
        two = (low + SPOTS[:, None] * (high - low))[:, None, None, :] + np.array([-1.0, 1.0])[:, None, None] * spread
        drops = (self.circuit.ocv(two + 0.0 * moved) - self.circuit.ocv(two - moved)).mean(axis=1)
        drop = drops.max(axis=0)
        end = emf + count * (self._relaxed(c) - drop)
        # What the resistance rises by on the way to the end.
        then = self.circuit.rise_at(low - moved)
        now = one_rise.sum(axis=1) / count
        ohm = (r0 + r1 * (1 - self.a1)[:, None] + r2 * (1 - self.a2)[:, None]) * np.maximum(then / now, 1.0)
        sop["emf_v"][:, direction] = end.T
        sop["ohm"][:, direction] = np.maximum(ohm, 1e-6).T
        if sign < 0 and not self.circuit.model.rise_known:
            # A margin that lifts the voltage would let the current at constant power be more than was promised.
            r0 = (c.r0 * one).sum(axis=1)
        sop["start_v"][:, direction] = (emf - sign * amps * r0).T


def _own(c: Cells, at: Any) -> Floats:
    """(n, p) RC voltage of the picked cells over their string's: all carry one current, each its own resistance."""
    mean = (c.r1 * c.weight).sum(axis=1) / np.maximum(c.count, 1.0)
    return np.asarray(c.r1[at] / np.maximum(mean, 1e-12)[:, None])


def rack_power(sop: Any) -> RackPower:
    """The published figures of all racks."""
    values: dict[str, Any] = {}
    for d, (direction, sign) in enumerate(DIRECTIONS):
        for h, (name, _) in enumerate(HORIZONS):
            amps = sop["amps"][:, 0, d, h]
            end = sop["emf_v"][:, d, h] - sign * amps * sop["ohm"][:, d, h]
            # At constant power the current is largest where the voltage is lowest.
            volts = np.minimum(sop["start_v"][:, d, h], end)
            key = f"rack_{direction}_power_{name}"
            values[f"{key}_w"] = np.maximum(amps * volts, 0.0)
            values[f"{key}_limited_by"] = sop["by"][:, d, h].copy()
            values[f"{key}_place"] = sop["cell"][:, d, h].copy()
    return RackPower(**values)


def members(topology: Topology, closed: Bools, known: Bools) -> list[Ints]:
    """Racks of each bank that carry its power: those connected, or all known ones while none is."""
    found = []
    for bank in range(topology.banks):
        here = topology.rack_bank == bank
        racks = np.flatnonzero(here & closed)
        found.append(racks if len(racks) else np.flatnonzero(here & known))
    return found


def site_power(topology: Topology, sop: Any, racks_of: list[Ints], pcs_rated_w: float) -> SitePower:
    """What the banks give together; of each bank the racks share by resistance and open-circuit voltage.

    The bus voltage is the furthest at which no rack exceeds its own current; the others carry what that leaves them.
    """
    values: dict[str, Any] = {}
    ratings = [pcs_rated_w * int((topology.pcs_bank == bank).sum()) for bank in range(topology.banks)]
    for d, (direction, sign) in enumerate(DIRECTIONS):
        total, by, cell = _banks(sop, racks_of, ratings, d, sign)
        for h, (name, _) in enumerate(HORIZONS):
            key = f"{direction}_power_{name}"
            values[f"{key}_w"] = float(total[0, h])
            values[f"{key}_sigma_w"] = float(max(total[1, h] - total[0, h], 0.0) / SIGMAS)
            values[f"{key}_limited_by"] = int(by[h])
            values[f"{key}_place"] = int(cell[h])
    return SitePower(**values)


def _banks(sop: Any, racks_of: list[Ints], ratings: list[float], d: int, sign: float) -> tuple[Floats, Ints, Ints]:
    """Sure and likely power (2, horizon) of all banks, and what limits the tightest one."""
    total = np.zeros((2, len(HORIZONS)))
    by, cell = np.full(len(HORIZONS), NO_RACK), np.full(len(HORIZONS), -1)
    tightest = np.full(len(HORIZONS), np.inf)
    for racks, rated in zip(racks_of, ratings, strict=True):
        if len(racks) == 0:
            tightest[...], by[...], cell[...] = 0.0, NO_RACK, -1
            continue
        amps, emf, ohm = sop["amps"][racks][:, :, d], sop["emf_v"][racks][:, None, d], sop["ohm"][racks][:, None, d]
        at_limit = emf - sign * amps * ohm
        bus = at_limit.max(axis=0) if sign > 0 else at_limit.min(axis=0)
        shared = np.clip(sign * (emf - bus) / ohm, 0.0, amps)
        lowest = np.minimum(bus, sop["start_v"][racks][:, d].min(axis=0))
        watts = np.maximum(lowest * shared.sum(axis=0), 0.0)
        blind = (sop["by"][racks][:, d] == NOT_KNOWN).any(axis=0)
        watts[:, blind] = 0.0
        first = (at_limit[:, 0].argmax(axis=0) if sign > 0 else at_limit[:, 0].argmin(axis=0))[None, :]
        kind = np.take_along_axis(sop["by"][racks][:, d], first, 0)[0]
        where = np.take_along_axis(sop["cell"][racks][:, d], first, 0)[0]
        capped = watts[0] > rated
        kind, where = np.where(blind, NOT_KNOWN, np.where(capped, PCS, kind)), np.where(capped | blind, -1, where)
        share = np.minimum(watts[0], rated) / max(rated, 1.0)
        tighter = share < tightest
        tightest, by, cell = np.minimum(tightest, share), np.where(tighter, kind, by), np.where(tighter, where, cell)
        # The spread is the racks' own, whether the PCS cuts it or not.
        total += np.stack([np.minimum(watts[0], rated), np.maximum(watts[1] - np.maximum(watts[0] - rated, 0.0), 0.0)])
    return total, by, cell
