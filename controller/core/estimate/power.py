"""State of power: what a rack and the site can deliver or take for 2 s, 10 s, 30 s and 15 min, and which cell limits it.

A promise holds when, at constant power, no cell is asked for more current than its voltage and its temperature still
permit at the end (the site's own derating curves), and no cell runs out of charge: SOC three sigma worse, resistance
two sigma worse, current 5 % less than that. The voltage is predicted from the measured one, so a model error counts
only from now on. Racks in parallel share by their resistances and open-circuit voltages.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.estimate.circuit import SIGMAS, Cells, Circuit
from controller.core.estimate.thermal import heat_capacity
from controller.core.outlook import (
    CHARGE,
    DIRECTIONS,
    HORIZONS,
    NO_RACK,
    NOT_KNOWN,
    PCS,
    RATED,
    TEMPERATURE,
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
STEPS: Final = 10
"""Halvings of the current's bracket: 0.1 % of the rated current."""
SEARCH_SHARES: Final = (1.0, 0.3)
"""Shares of the rated current at which the weakest cells are looked for, beside zero."""



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
        low = np.zeros((2, len(SECONDS), len(cells.racks)))
        high = np.full_like(low, rated)
        for step in range(STEPS + 1):
            # The first look is at the rated current itself.
            middle = high if step == 0 else 0.5 * (low + high)
            fits = middle <= self._permitted(cells, picked, middle, sign, rated)[0].min(axis=-1)
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        permitted, kinds = self._permitted(cells, picked, np.maximum(high, low)[:1], sign, rated)
        worst = permitted[0].argmin(axis=-1)
        column = np.arange(len(cells.racks))[None, :]
        binds = np.where(low[0] >= rated, RATED, np.take_along_axis(kinds[0], worst[..., None], -1)[..., 0])
        cell = np.where(binds == RATED, -1, cells.place[None, :] + picked[column, worst])
        known = cells.known[None, :]
        amps = np.where(known, low * (1 - MARGIN * (low < rated)), 0.0)
        sop["amps"][:, :, direction] = amps.transpose(2, 0, 1)
        sop["by"][:, direction] = np.where(known, binds, NOT_KNOWN).T
        sop["cell"][:, direction] = np.where(known, cell, -1).T
        self._sums(cells, sop, direction, amps[0], sign)

    def _weakest(self, c: Cells, sign: float, rated: float) -> Ints:
        """(n, picked) columns of the cells of each rack that can limit: the extremes of all that is compared."""
        ohm = c.r0 + c.r1 + c.r2
        sure = c.low_soc if sign > 0 else c.high_soc
        start = self.circuit.ocv(sure)
        away = np.where(c.fitted, 0.0, np.inf)
        ends = [sign * c.emf_v + away]
        for share in SEARCH_SHARES:
            moved = rated * share * SECONDS[-1] / 3600.0 / c.capacity_ah
            ends.append(ends[0] - (rated * share) * ohm)
            ends.append(ends[-1] - sign * (start - self.circuit.ocv(sure - sign * moved)))
        ends.append(sign * sure * c.capacity_ah + away)
        ends += [c.surface_degc + away, away - c.surface_degc]
        return np.stack([e.argmin(axis=1) for e in ends], axis=1)

    def _permitted(self, c: Cells, picked: Ints, amps: Floats, sign: float, rated: float) -> tuple[Floats, Ints]:
        """Current that every picked cell still permits at the end of `amps`, and what says so: (k, horizon, n, p)."""
        at = (np.arange(len(c.racks))[:, None], picked)
        i = amps[..., None]
        seconds = SECONDS[:, None, None]
        k = np.array([1.0, 0.0])[: len(amps), None, None, None]
        sigma = c.sigma[at] * SIGMAS * k
        soc = np.clip(c.soc[at] - sign * sigma, 0.0, 1.0)
        extra = PARAMETER_SIGMAS * k * c.r0_sigma[at] / np.maximum(c.r0[at], 1e-9)
        capacity = np.maximum(c.capacity_ah[at] - PARAMETER_SIGMAS * k * c.capacity_sigma_ah[at], 1e-6)
        moved = sign * i * seconds / 3600.0 / capacity
        ohm = self._ohm(c, at) * (1.0 + extra)
        volts = c.emf_v[at] - sign * SIGMAS * k * c.emf_sigma_v[at] + self._relaxed(c)[..., None] - sign * i * ohm
        volts = volts + self.circuit.ocv(soc - moved) - self.circuit.ocv(soc) + self._branch(c, at, sign, i, seconds)
        warm = c.surface_degc[at] + i * i * ohm * seconds / self.heat_capacity
        curves = self._curves(sign)
        by_volts = rated * curves[0](volts)
        by_heat = rated * np.minimum(curves[1](warm), curves[1](c.surface_degc[at]))
        by_charge = np.maximum(soc if sign > 0 else 1.0 - soc, 0.0) * capacity * 3600.0 / seconds
        permitted = np.minimum(np.minimum(by_volts, by_heat), by_charge)
        kinds = np.where(by_volts <= permitted, VOLTAGE, np.where(by_charge <= permitted, CHARGE, TEMPERATURE))
        return permitted, kinds

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
        """(horizon, n) what the RC voltages of today give back by then."""
        return np.asarray((1 - self.a1)[:, None] * c.v1 + (1 - self.a2)[:, None] * c.v2)

    def _branch(self, c: Cells, at: Any, sign: float, i: Floats, seconds: Floats) -> Floats | float:
        """Voltage lost on the way to the branch that the current leads to."""
        m = self.circuit.model
        if not m.branch_v.any():
            return 0.0
        towards = 1.0 - np.exp(-np.abs(i) * (m.gamma / 3600.0 / m.capacity_ah) * seconds)
        return np.asarray(-m.branch(c.soc[at]) * towards * (c.hysteresis[:, None] + sign))

    def _sums(self, c: Cells, sop: Any, direction: int, amps: Floats, sign: float) -> None:
        """What the whole string shows at the end of each horizon, for power and for sharing between racks."""
        one = np.where(c.fitted, 1.0, 0.0)
        count = np.maximum(c.count, 1.0)
        emf = (c.emf_v * one).sum(axis=1)
        r0, r1, r2 = ((r * one).sum(axis=1) for r in (c.r0, c.r1, c.r2))
        soc = (c.soc * one).sum(axis=1) / count
        capacity = (c.capacity_ah * one).sum(axis=1) / count
        moved = sign * amps * SECONDS[:, None] / 3600.0 / np.maximum(capacity, 1e-6)
        drop = self.circuit.ocv(soc + 0.0 * moved) - self.circuit.ocv(soc - moved)
        end = emf + count * (self._relaxed(c) - drop)
        ohm = r0 + r1 * (1 - self.a1)[:, None] + r2 * (1 - self.a2)[:, None]
        sop["emf_v"][:, direction] = end.T
        sop["ohm"][:, direction] = np.maximum(ohm, 1e-6).T
        sop["start_v"][:, direction] = (emf - sign * amps * r0).T


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


def _banks(
    sop: Any, racks_of: list[Ints], ratings: list[float], d: int, sign: float
) -> tuple[Floats, Ints, Ints]:
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
