"""A case bound to a site and to random places: texts ready to inject, racks that must open, bounds in ms."""

from __future__ import annotations

import dataclasses
import math
from random import Random
from typing import Final

import numpy as np

from controller.core.effect import OPENING
from controller.core.protect import ROWS
from controller.core.protect.row import Row
from controller.core.settings import Band
from plc_config.compile import Compiled
from tools.fat.cases import ATTEMPTS_MS, TWO_SCANS, Case, Reaction
from tools.fat.fitting import charge_limit_w, fitted, master, target, with_it

IO_ALLOWANCE_MS: Final = 50
"""One lost reply is normal on a field bus; this is its timeout on the reference sites."""
DEVICE_ALLOWANCE_MS: Final = 200
"""A device's own watchdog: its step, its contactor, and the phase of the last heartbeat."""
REFERENCE_CYCLE_MS: Final = 100
LATER_RACK: Final = 2
ROW: Final[dict[str, Row]] = {r.id: r for r in ROWS}
HIGHEST_CURRENT_A: Final = 2900.0
OFFSET_RATIO: Final = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Planned:
    """One trial as it will be done and judged. A bound of None is not judged. within_rack: only the row's rack is
    touched, and nothing is judged by the power of the whole site."""

    case: Case
    inject: tuple[str, ...]
    heal: tuple[str, ...]
    rack: str
    within_rack: bool
    opens: frozenset[str]
    pcs: tuple[str, ...]
    power_w: float | None
    rated_w: float
    detect_ms: float | None
    react_ms: float | None
    open_ms: float

    @property
    def dead(self) -> bool:
        """No power may be left afterwards."""
        return self.case.opens in ("all", "others", "bank") and self.case.reaction is not Reaction.BLOCKED

    @property
    def deadline_ms(self) -> float:
        """When everything that must happen has happened."""
        return max(self.detect_ms or 0.0, self.react_ms or 0.0) + (self.open_ms if self.opens else 0.0)


def plan(case: Case, site: Compiled, random: Random) -> Planned:
    """The case at random places of the site."""
    rack = random.randrange(site.topology.racks)
    if case.opens == "later_rack":
        rack = random.randrange(LATER_RACK - 1, site.topology.racks)
    names = values(site, rack, random)
    case = fitted(case, site, rack)
    detect = detect_bound_ms(case, site)
    react = detect if case.react_ms is None else case.react_ms + DEVICE_ALLOWANCE_MS
    judged = case.reaction not in (Reaction.BLOCKED, Reaction.KEPT)
    part = case.start.value
    return Planned(
        case=case,
        inject=tuple(text.format(**names) for text in case.inject),
        heal=tuple(text.format(**names) for text in case.heal),
        rack=names["rack"],
        within_rack=bool(case.row) and ROW[case.row].place in ("rack", "module") and case.reaction is Reaction.OPEN,
        opens=racks_to_open(case.opens, site, rack) | _with_it(case, site, rack),
        pcs=tuple(f"P{i + 1:02d}" for i in range(site.topology.pcs)),
        power_w=None if part is None else part * site.config.dispatch.rated_power,
        rated_w=site.config.dispatch.rated_power,
        detect_ms=detect if case.row else None,
        react_ms=react if judged else None,
        open_ms=case.open_ms if case.reaction is Reaction.ZERO else DEVICE_ALLOWANCE_MS,
    )


def _with_it(case: Case, site: Compiled, rack: int) -> frozenset[str]:
    return frozenset(f"R{r + 1:02d}" for r in with_it(case, site, rack)) if case.opens == "rack" else frozenset()


def detect_bound_ms(case: Case, site: Compiled) -> float:
    """lost_after and what passes by design + the row's delay + 2 cycles + I/O; the case's own bound when
    stricter, which does not move with the row's delay. It was named for a cycle of 100 ms: a slower one adds two scans
    of its own, a faster one takes them away where the case says so."""
    limit, cycle = site.program.limit, site.config.cycle
    if case.most_ms == TWO_SCANS:
        return float(2 * cycle)
    delay = ROW[case.row].delay_ms(limit) if case.row else 0
    extra = case.extra_ms
    if extra == ATTEMPTS_MS:
        p = site.config.limits.precharge
        extra = p.attempts * (p.timeout + 2 * cycle) + (p.attempts - 1) * (p.cool_down + 2 * cycle)
    lost = site.config.limits.lost_after if case.lost else 0
    total = extra + lost + delay + 2 * cycle + IO_ALLOWANCE_MS
    if case.most_ms is None:
        return float(total)
    two_scans = 2 * (cycle - REFERENCE_CYCLE_MS)
    return float(min(total, case.most_ms + (two_scans if case.by_scans else max(two_scans, 0))))


def racks_to_open(which: str, site: Compiled, rack: int) -> frozenset[str]:
    """Names of the racks that a case must open, or must keep open."""
    t = site.topology
    bank = np.flatnonzero(t.rack_bank == t.rack_bank[rack])
    chosen: list[int] = {
        "none": [],
        "rack": [rack],
        "later_rack": [rack],
        "bank": bank.tolist(),
        "others": [r for r in bank.tolist() if r != rack],
        "all": list(range(t.racks)),
    }[which]
    return frozenset(f"R{r + 1:02d}" for r in chosen)


def values(site: Compiled, rack: int, random: Random) -> dict[str, str]:
    """What the names in braces stand for: places around one rack, and numbers beyond the site's limits."""
    t, limit, cell = site.topology, site.program.limit, site.cell
    module = random.randrange(t.modules) + 1
    cells = max(int(t.cell_fitted[rack, module - 1].sum()), 1)
    number = random.randrange(cells) + 1
    sensor = random.randrange(max(int(t.temperature_fitted[rack, module - 1].sum()), 1)) + 1
    place = f"R{rack + 1:02d}/M{module:02d}"
    neighbour = number + 1 if number < cells else max(number - 1, 1)
    bus = site.plan.devices[master(site, rack)].bus
    pcs = int(np.flatnonzero(t.pcs_bank == t.rack_bank[rack])[0])
    over, under = limit.cell_overvoltage, limit.cell_undervoltage
    series = int(t.rack_cells[rack])
    volts = series * float(np.interp(0.5, cell.ocv.soc, cell.ocv.volts))
    numbers = {
        **_beyond_bands(site, volts, series),
        "v_over": over.trip + 0.25,
        "v_high": 0.6 * over.trip + 0.4 * over.warn,
        "v_under": under.trip - 0.1,
        "v_low": 0.5 * (under.trip + under.warn),
        "v_double": 2 * float(np.interp(0.5, cell.ocv.soc, cell.ocv.volts)),
        "t_high": 0.5 * (limit.charge_overtemperature.trip + limit.discharge_overtemperature.trip),
        "t_low": limit.charge_undertemperature.trip - 1,
        "t_over": limit.discharge_overtemperature.trip + 1,
        "t_warm": limit.charge_overtemperature.warn + 1,
        "t_under": limit.discharge_undertemperature.trip - 1,
        "i_charge": -1.2 * limit.charge_overcurrent.trip,
        "i_discharge": min(3 * site.program.derating.settings.cell.discharge_current_a, HIGHEST_CURRENT_A),
        "ohm_low": 0.5 * limit.insulation.trip,
        "ohm_warn": 0.5 * (limit.insulation.trip + limit.insulation.warn),
        "v_offset": OFFSET_RATIO * volts,
        "p_over": 1.2 * limit.pcs_rated_w,
        "aux_low": limit.aux_supply.trip - 1,
        "ambient_high": limit.ambient.trip + 1,
    }
    return {
        **{name: f"{value:.6g}" for name, value in numbers.items()},
        "rack": f"R{rack + 1:02d}",
        "rack_device": target(site, rack),
        "later_rack": f"R{rack + 1:02d}",
        "module": place,
        "cell": f"{place}/C{number:02d}",
        "neighbour": f"{place}/C{neighbour:02d}",
        "sensor": f"{place}/T{sensor:02d}",
        "bus": site.plan.buses[bus].name,
        "bank": f"B{int(t.rack_bank[rack]) + 1:02d}",
        "pcs": f"P{pcs + 1:02d}",
        "channel": random.choice("12"),
    }


def _beyond_bands(site: Compiled, volts: float, series: int) -> dict[str, float]:
    """Numbers inside each band of a quantity, and such as only a second witness contradicts."""
    limit, t = site.program.limit, site.topology
    hot, cold = limit.charge_overtemperature, limit.charge_undertemperature
    hotter, colder = limit.discharge_overtemperature, limit.discharge_undertemperature
    over, under = limit.cell_overvoltage, limit.cell_undervoltage
    charge, discharge = limit.charge_overcurrent, limit.discharge_overcurrent
    charge_limit = charge_limit_w(site) / t.pcs
    return {
        "v_deep": limit.deep_discharge.trip - 0.1,
        "v_rather_high": 0.5 * (over.operate + over.warn),
        "v_rather_low": 0.5 * (under.operate + under.warn),
        "v_spread": volts / series + limit.cell_voltage_spread.trip + 0.015,
        "v_apart": 0.8 * volts,
        "v_witness": 0.1 * volts,
        "rack_over": series * (over.trip + 0.05),
        "rack_under": series * (under.trip - 0.05),
        "t_cool": 0.5 * (cold.warn + cold.trip),
        "t_hot": 0.5 * (hotter.warn + hotter.trip),
        "t_icy": 0.5 * (colder.warn + colder.trip),
        "t_rather_warm": 0.5 * (hot.operate + hot.warn),
        "t_rather_cool": 0.5 * (cold.operate + cold.warn),
        "t_rather_hot": 0.5 * (hotter.operate + hotter.warn),
        "t_rather_icy": 0.5 * (colder.operate + colder.warn),
        "t_spread": limit.temperature_spread.trip + 3.0,
        "i_charge_lasting": -0.985 * charge.trip,
        "i_discharge_lasting": 0.985 * discharge.trip,
        "i_charge_enduring": -_endured(charge),
        "i_discharge_enduring": _endured(discharge),
        "i_charge_high": -0.5 * (charge.operate + charge.warn),
        "i_discharge_high": 0.5 * (discharge.operate + discharge.warn),
        "i_offset": 0.015 * limit.rack_1c_a,
        "p_limit": -1.2 * min(charge_limit, limit.pcs_rated_w),
        "p_other": 0.5 * limit.pcs_rated_w,
    }


def _endured(band: Band) -> float:
    """Current that is borne three times as long as one just below the trip: its warning comes seconds before it."""
    return math.sqrt(band.warn**2 + (band.trip**2 - band.warn**2) / 3)


def severe(row: str) -> bool:
    """Rows whose alarm would be a false trip in a case that must stay quiet."""
    return bool((ROW[row].effect | ROW[row].bank_effect) & OPENING)
