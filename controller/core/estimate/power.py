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
from controller.core.estimate.permitted import KINDS, VALUES, Problem, most
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
from controller.core.signal import Bools, Floats, Ints, every
from controller.core.topology import Topology

SECONDS: Final = np.array([seconds for _, seconds in HORIZONS])
EVERY_HORIZON: Final = np.arange(len(HORIZONS))
SIGNS: Final = np.array([sign for _, sign in DIRECTIONS])[:, None]
MARGIN: Final = 0.05
"""Share of the current kept back: resistance falls with current less than the model says (HPPC: 8 % median)."""
PARAMETER_SIGMAS: Final = 2.0
SUM_MARGIN: Final = 0.01
"""Where only the rating limits: the rack's voltage is the sum of what two cells show."""
K: Final = np.array([1.0, 0.0])[:, None, None]
"""What is sure comes first, with all its margins, and then what is likely, without."""
SURE: Final = (0,)
KIND: Final = np.array(KINDS)
SPOTS: Final = np.linspace(0.0, 1.0, 5)
BEYOND: Final = 0.02
"""Of the rated current."""
SEARCH_SHARES: Final = (1.0, 0.3)
"""Shares of the rated current at which the weakest cells after 15 min are looked for."""


def _kept(low: Floats, by: Ints, worst: Ints, at_once: Floats) -> tuple[Floats, Ints, Ints]:
    """The current that is permitted over the whole of each horizon, and what limits it first.

    After a load the voltage comes back: a cell may be at its limit at once and no longer at the end.
    """
    at_each = np.concatenate([at_once.min(axis=-1)[:, None], low], axis=1)
    least = np.minimum.accumulate(at_each, axis=1)
    horizon = np.arange(at_each.shape[1])[:, None]
    binding = np.maximum.accumulate(np.where(at_each[0] <= least[0], horizon, 0), axis=0)[1:]
    by = np.concatenate([np.full_like(by[:1], VOLTAGE), by])
    worst = np.concatenate([at_once[0].argmin(axis=-1)[None], worst])
    rack = np.arange(at_each.shape[2])
    return least[:, 1:], by[binding, rack], worst[binding, rack]


class PowerLimits:
    """Works on some racks at a time; results lie in the rack's record until the site adds them up."""

    def __init__(self, circuit: Circuit, derating: DeratingSettings) -> None:
        self.circuit, self.derating = circuit, derating
        m = circuit.model
        self.a1, self.a2 = np.exp(-SECONDS / m.tau1_s), np.exp(-SECONDS / m.tau2_s)
        self.rise1, self.rise2 = ((1 - a)[:, None, None] for a in (self.a1, self.a2))
        """(horizon, 1, 1) share of the RC resistances that a current has met by then."""
        self.hysteresis = bool(m.branch_v.any())
        self.heat_capacity = heat_capacity(m.sheet.heat_capacity_j_per_k, m.capacity_ah)

    def rack(self, cells: Cells, sop: Any, direction: int) -> None:
        """One direction of all racks in `cells`, written into their records `sop`."""
        sign, sheet = DIRECTIONS[direction][1], self.derating.cell
        rated = sheet.discharge_current_a if sign > 0 else sheet.charge_current_a
        picked = self._weakest(cells, sign, rated)
        rack = np.arange(len(cells.racks))
        at = rack[:, None] * cells.soc.shape[1] + picked
        relaxed_v = self._relaxed(cells)
        problem = self._problem(cells, at, relaxed_v, sign, rated)
        low = most(problem, rated)
        # What binds is judged just beyond the current found.
        beyond = np.array(problem.of(SURE).permitted(np.minimum(low[0] + BEYOND * rated, rated)))
        at_once = self._at_once(cells, at, sign, rated)
        kind = beyond.min(axis=-1).argmin(axis=0)
        worst = beyond.argmin(axis=-1)[kind, EVERY_HORIZON[:, None], rack]
        by = np.where(low[0] >= rated, RATED, KIND[kind])
        low, by, worst = _kept(low, by, worst, at_once)
        cell = np.where(by == RATED, -1, cells.place + picked[rack, worst])
        known = cells.known
        amps = np.where(known, low * (1 - np.where(low < rated, MARGIN, SUM_MARGIN)), 0.0)
        sop["amps"][:, :, direction] = amps.transpose(2, 0, 1)
        sop["by"][:, direction] = np.where(known, by, NOT_KNOWN).T
        sop["cell"][:, direction] = np.where(known, cell, -1).T
        self._sums(cells, sop, direction, amps[0], relaxed_v)

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
        if not every(c.fitted):
            ends = [np.where(c.fitted, e, np.inf) for e in ends]
        return np.array([e.argmin(axis=1) for e in ends]).T

    def _problem(self, c: Cells, at: Ints, relaxed_v: Floats, sign: float, rated: float) -> Problem:
        """All that does not change with the current, for the picked cells `at` (flat): (k, horizon, n, p)."""
        seconds, k = SECONDS[:, None, None], K[..., None]
        soc, r0, surface = c.soc.take(at), c.r0.take(at), c.surface_degc.take(at)
        low, high = (np.where(k > 0, edge.take(at), soc) for edge in (c.low_soc, c.high_soc))
        extra = PARAMETER_SIGMAS * k * c.r0_sigma.take(at) / np.maximum(r0, 1e-9)
        capacity = np.maximum(c.capacity_ah.take(at) - PARAMETER_SIGMAS * k * c.capacity_sigma_ah.take(at), 1e-6)
        r1 = c.r1.take(at)
        ohm = (r0 + r1 * self.rise1 + c.r2.take(at) * self.rise2) * (1.0 + extra)
        start = c.emf_v.take(at) - sign * SIGMAS * k * c.emf_sigma_v.take(at) + relaxed_v[..., None] * _own(c, r1)
        volts, heat = self._curves(sign)
        m = self.circuit.model
        values = np.empty((len(VALUES), *ohm.shape))
        for whole, part in zip(values, (
            start, ohm, sign * seconds / 3600.0 / capacity,
            m.branch(soc) * (c.hysteresis[:, None] + sign) if self.hysteresis else 0.0,
            (low if sign > 0 else 1.0 - high) * capacity * 3600.0 / seconds,
            m.gamma / 3600.0 / m.capacity_ah * seconds, surface, rated * heat(surface),
            ohm * (c.rise.take(at) * seconds) / self.heat_capacity, self.circuit.rise_at(low),
        ), strict=True):  # fmt: skip
            whole[...] = part
        places = low[..., None] + SPOTS * (high - low)[..., None]
        spots = np.empty((2, *ohm.shape, len(SPOTS)))
        spots[0], spots[1] = places, self.circuit.ocv(places)
        return Problem(self.circuit.ocv, self.circuit.rise, sign, rated, volts, heat, self.hysteresis, values, spots)

    def _at_once(self, c: Cells, at: Ints, sign: float, rated: float) -> Floats:
        """(2, n, p) current that the voltage permits in the first moment, where only R0 drops.

        Exact: along a stretch of the curve both voltage and current are linear in the fraction.
        """
        ohm = (c.r0.take(at) + PARAMETER_SIGMAS * K * c.r0_sigma.take(at)) * c.rise.take(at)
        volts = c.emf_v.take(at) - sign * SIGMAS * K * c.emf_sigma_v.take(at)
        curve = self._curves(sign)[0]
        v, f = curve.at[:, None, None, None], curve.fraction[:, None, None, None]
        gain = f[1:] - f[:-1]
        wide = np.maximum(v[1:] - v[:-1] + sign * rated * gain * ohm, 1e-9)
        fraction = np.full(volts.shape, curve.fraction[0])
        for part in gain * ((volts - v[:-1] - sign * rated * f[:-1] * ohm) / wide).clip(0.0, 1.0):
            fraction += part
        return np.asarray(rated * np.minimum(fraction, 1.0))

    def _curves(self, sign: float) -> tuple[Polyline, Polyline]:
        d = self.derating
        if sign > 0:
            return d.discharge_voltage, d.discharge_temperature
        return d.charge_voltage, d.charge_temperature

    def _relaxed(self, c: Cells) -> Floats:
        """(horizon, n) what the RC voltages of today, the string filter's, give back by then."""
        rise = c.mean_rise()
        back1 = c.v1 * self.circuit.given_back(rise, c.v1)
        # The slow branch was charged where the resistance was lower.
        back2 = c.v2 * np.where(c.v2 < 0, rise, np.minimum(rise, 1.0))
        return np.asarray((1 - self.a1)[:, None] * back1 + (1 - self.a2)[:, None] * back2)

    def _sums(self, c: Cells, sop: Any, direction: int, amps: Floats, relaxed_v: Floats) -> None:
        """What the whole string shows at the end of each horizon, for power and for sharing between racks."""
        one, sign = c.weight, DIRECTIONS[direction][1]
        count = np.maximum(c.count, 1.0)
        one_rise = one * c.rise
        r0, r1, r2 = (np.array([c.r0, c.r1, c.r2]) * one_rise).sum(axis=2)
        emf, *sums = (np.array([c.emf_v, c.soc, c.capacity_ah, c.low_soc, c.high_soc]) * one).sum(axis=2)
        soc, capacity, low, high = (s / count for s in sums)
        moved = sign * amps * SECONDS[:, None] / 3600.0 / np.maximum(capacity, 1e-6)
        # Two cells a standard deviation to both sides stand for all: where the curve bends they do not drop alike.
        spread = np.sqrt((np.square(c.soc - soc[:, None]) * one).sum(axis=1) / count)
        two = (low + SPOTS[:, None] * (high - low))[:, None, None, :] + np.array([-1.0, 1.0])[:, None, None] * spread
        drops = (self.circuit.ocv(two) - self.circuit.ocv(two - moved)).mean(axis=1)
        drop = drops.max(axis=0)
        end = emf + count * (relaxed_v - drop)
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


def _own(c: Cells, r1: Floats) -> Floats:
    """(n, p) RC voltage of the picked cells over their string's: all carry one current, each its own resistance."""
    mean = (c.r1 * c.weight).sum(axis=1) / np.maximum(c.count, 1.0)
    return np.asarray(r1 / np.maximum(mean, 1e-12)[:, None])


def rack_power(sop: Any) -> RackPower:
    """The published figures of all racks."""
    values: dict[str, Any] = {}
    amps = sop["amps"][:, 0]
    end = sop["emf_v"] - SIGNS * amps * sop["ohm"]
    # At constant power the current is largest where the voltage is lowest.
    watts = np.maximum(amps * np.minimum(sop["start_v"], end), 0.0)
    by_rack = [a.transpose(1, 2, 0).copy() for a in (watts, sop["by"], sop["cell"])]
    for d, (direction, _) in enumerate(DIRECTIONS):
        for h, (name, _) in enumerate(HORIZONS):
            for figure, a in zip(("w", "limited_by", "place"), by_rack, strict=True):
                values[f"rack_{direction}_power_{name}_{figure}"] = a[d, h]
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
    """Sure and likely power (2, horizon) of all banks, and what limits the tightest one that has racks."""
    total = np.zeros((2, len(HORIZONS)))
    by, cell = np.full(len(HORIZONS), NO_RACK), np.full(len(HORIZONS), -1)
    tightest = np.full(len(HORIZONS), np.inf)
    for racks, rated in zip(racks_of, ratings, strict=True):
        if len(racks) == 0:
            continue
        amps, emf, ohm = sop["amps"][racks][:, :, d], sop["emf_v"][racks][:, None, d], sop["ohm"][racks][:, None, d]
        at_limit = emf - sign * amps * ohm
        bus = at_limit.max(axis=0) if sign > 0 else at_limit.min(axis=0)
        shared = (sign * (emf - bus) / ohm).clip(0.0, amps)
        lowest = np.minimum(bus, sop["start_v"][racks][:, d].min(axis=0))
        watts = np.maximum(lowest * shared.sum(axis=0), 0.0)
        blind = (sop["by"][racks][:, d] == NOT_KNOWN).any(axis=0)
        watts[:, blind] = 0.0
        first = racks[at_limit[:, 0].argmax(axis=0) if sign > 0 else at_limit[:, 0].argmin(axis=0)]
        kind, where = sop["by"][first, d, EVERY_HORIZON], sop["cell"][first, d, EVERY_HORIZON]
        capped = watts[0] > rated
        kind, where = np.where(blind, NOT_KNOWN, np.where(capped, PCS, kind)), np.where(capped | blind, -1, where)
        share = np.minimum(watts[0], rated) / max(rated, 1.0)
        tighter = share < tightest
        tightest, by, cell = np.minimum(tightest, share), np.where(tighter, kind, by), np.where(tighter, where, cell)
        # The spread is the racks' own, whether the PCS cuts it or not.
        total += np.stack([np.minimum(watts[0], rated), np.maximum(watts[1] - np.maximum(watts[0] - rated, 0.0), 0.0)])
    return total, by, cell
