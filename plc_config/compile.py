"""From SITE.yaml to everything the processes need, or to the list of all that is wrong with it."""

from __future__ import annotations

import dataclasses
import datetime
import math
from functools import cached_property
from pathlib import Path

import numpy as np

from controller.core.balance import Balancing
from controller.core.dispatch import Dispatch
from controller.core.estimate import REGISTRY, Complete, EstimatorInputs, Watch
from controller.core.program import Program
from controller.core.protect import ROWS, Derating, Matrix
from controller.core.sequence import Sequences
from controller.core.settings import (
    AlarmSettings,
    AuthoritySettings,
    BalancingSettings,
    Band,
    CellSheet,
    ContactorSettings,
    DeratingSettings,
    DispatchSettings,
    LimitSettings,
    Polyline,
    SensorSettings,
    SequenceSettings,
)
from controller.core.signal import Dims
from controller.core.topology import Topology
from controller.core.validate import Sensors
from plc_config import certificates, coverage, datasheet, library
from plc_config.layout import topology_of
from plc_config.limits import bands
from plc_config.plan import PollingPlan
from plc_config.problem import ConfigError, Problem
from plc_config.ranges import expand
from plc_config.schema.base import check, salvage
from plc_config.schema.cell import CellType
from plc_config.schema.cell import Derating as DeratingConfig
from plc_config.schema.site import SiteConfig
from plc_config.strict_yaml import Document, load
from plc_config.sunspec import Chains
from plc_config.taper import taper
from plc_config.traits import with_traits
from plc_config.wiring import Wiring

FROZEN_AFTER_MS = 3000
OPEN_CURRENT_C = 0.02
"""Contactors open without load when the current is below this fraction of 1C."""
LEAST_BLEED_V, LEAST_BLEED_SOC = 3.2, 0.1
LEAST_RESISTANCE_SHARE = 0.5
"""A warm new cell answers the first moment with about half the resistance its sheet gives for ten seconds."""


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A checked site, ready to run."""

    path: Path
    config: SiteConfig
    document: Document
    cell: CellType
    topology: Topology
    plan: PollingPlan
    limit_bands: dict[str, Band]

    @cached_property
    def program(self) -> Program:
        """The program that the scan runs."""
        return _program(self)

    @property
    def dims(self) -> Dims:
        """Lengths of every dimension that tags name."""
        return {**self.program.dims, "unit": max(len(self.plan.devices), 1)}


def compile_site(site: str, chains: Chains | None = None) -> Compiled:
    """SITE (file or shipped name), checked whole; ConfigError lists every problem at once.

    `chains`: what was read from SunSpec devices, by bus and unit. A device that was not read yet stands where its
    profile's file puts it, for the checker and the simulator; it must not be asked before it was read.
    """
    path = library.site_path(site)
    document = load(path)
    try:
        config = check(SiteConfig, document)
    except ConfigError as error:
        raise ConfigError([*error.problems, *_the_rest(document, path)]) from error
    problems: list[Problem] = []
    cell = _cell(config, document, path, problems)
    topology = topology_of(config, document, problems)
    wiring = Wiring(config, document, topology, chains)
    plan = wiring.build()
    topology = with_traits(topology, wiring.units, config, document, problems)
    problems += wiring.problems or coverage.complain(topology, plan, document)
    topology = coverage.fitted(topology, plan)
    read = coverage.points_read(plan)
    limit_bands = bands(config.limits, cell, document, problems, read, config.topology.parallel) if cell else {}
    if problems or cell is None:
        raise ConfigError(problems)
    return Compiled(path, config, document, cell, topology, plan, limit_bands)


def _the_rest(document: Document, path: Path) -> list[Problem]:
    """What else is wrong in a file that already breaks its schema: told together where it does not follow."""
    config = salvage(SiteConfig, document)
    if config is None or any(len(getattr(config, part)) < len(document.data[part]) for part in ("buses", "devices")):
        return []
    problems: list[Problem] = []
    _cell(config, document, path, problems)
    topology = topology_of(config, document, problems)
    wiring = Wiring(config, document, topology)
    wiring.build()
    return problems + wiring.problems


def refuse_untimely(site: Compiled, now: datetime.datetime) -> None:
    """ConfigError when a certificate is not valid at `now`.

    Not part of `compile_site`: a process that restarts in the night in which one expired must still drive the others.
    """
    problems = []
    for bus, what, right in certificates.untimely(site.plan, now):
        key = next(k for k in site.config.buses if bus in expand(k))
        problems.append(site.document.problem(("buses", key), what, right))
    if problems:
        raise ConfigError(problems)


def _cell(config: SiteConfig, document: Document, path: Path, problems: list[Problem]) -> CellType | None:
    found = library.find("cells", config.cell_type, path.parent)
    if found is None:
        known = ", ".join(library.shipped("cells"))
        problems.append(
            document.problem(("cell_type",), f"no cell type of the name {config.cell_type!r}", f"known: {known}")
        )
        return None
    try:
        cell, sheet = library.cell_type_at(found)
        problems.extend(sheet.problem(*complaint) for complaint in datasheet.complaints(cell))
        return cell
    except ConfigError as error:
        problems.extend(error.problems)
        return None


# -- the program ---------------------------------------------------------------------------------------------


def _program(site: Compiled) -> Program:
    config, topology = site.config, site.topology
    sheet = _sheet(site.cell, config.topology.parallel)
    limits, rated_w = config.limits, config.dispatch.rated_power / topology.pcs
    limit = LimitSettings(
        **site.limit_bands,
        contactor_follow_ms=limits.contactor_follow,
        pcs_follow_ms=limits.pcs_follow,
        overrun_scans=limits.overrun_scans,
        pcs_rated_w=rated_w,
        rack_1c_a=sheet.capacity_ah,
        heartbeat_modulo=_heartbeat_modulo(site),
        soc_estimated=config.estimator.soc != "none",
        precharge_fastest_ms=limits.precharge.fastest,
    )
    balancing = BalancingSettings(
        config.balancing.enabled,
        config.balancing.start,
        _least_bleed_v(site),
        config.balancing.most_temperature,
        config.balancing.bleed_current,
    )
    inputs = EstimatorInputs(topology, sheet, balancing, config.estimator.initial_soc)
    derating = DeratingSettings(
        sheet,
        *taper(site.cell, site.limit_bands),
        rated_w,
    )
    return Program(
        site_id=config.site.id,
        cycle_ms=config.cycle,
        topology=topology,
        buses=len(site.plan.buses),
        sensors=Sensors(topology, SensorSettings(limits.stale_after, limits.lost_after, FROZEN_AFTER_MS)),
        estimator=Complete(REGISTRY[config.estimator.soc](inputs), inputs, derating, config.estimator.target_soc),
        watch=Watch(topology, sheet, cold_charge=_polyline(site.cell.derate_charge_temperature)),
        limit=limit,
        matrix=Matrix(ROWS, topology, limit, config.cycle),
        derating=Derating(topology, derating),
        sequences=Sequences(topology, _sequence_settings(site, sheet)),
        dispatch=Dispatch(topology, _dispatch_settings(site)),
        balancing=Balancing(topology, balancing),
        alarm=AlarmSettings(config.alarms.longest_shelf),
        authority=AuthoritySettings(config.control.authority, config.control.silence),
    )


def _least_bleed_v(site: Compiled) -> float:
    """No cell below it is bled. What LFP and NMC have when nearly empty, LTO has never: there its own curve tells."""
    given, ocv = site.config.balancing.least_cell_voltage, site.cell.ocv
    if given is not None:
        return given
    low_v, half_v = np.interp((LEAST_BLEED_SOC, 0.5), ocv.soc, ocv.volts)
    return LEAST_BLEED_V if half_v > LEAST_BLEED_V else float(low_v)


def _heartbeat_modulo(site: Compiled) -> int:
    """What every rack controller counts the heartbeat to; 0 when they do not agree."""
    racks = {d.index for d in site.plan.devices if d.level == "rack"}
    found = {w.modulo for w in site.plan.writes if w.output == "heartbeat" and w.device in racks and w.modulo > 1}
    return found.pop() if len(found) == 1 else 0


def _sheet(cell: CellType, parallel: int) -> CellSheet:
    gap, circuit, heat, rise = cell.hysteresis, cell.circuit, cell.thermal, cell.resistance_over_soc
    entropy, capacity_j_k, conductance = heat.entropy_volts_per_kelvin, heat.heat_capacity, heat.core_conductance
    return CellSheet(
        capacity_ah=cell.capacity * parallel,
        resistance_ohm=cell.resistance / parallel,
        charge_current_a=cell.charge_current * parallel,
        discharge_current_a=cell.discharge_current * parallel,
        efficiency=cell.coulombic_efficiency,
        soc_grid=np.array(cell.ocv.soc),
        ocv_v=np.array(cell.ocv.volts),
        hysteresis_half_v=None if gap is None else np.array(gap.half_gap_volts),
        hysteresis_scale=1.0 if gap is None else gap.scale,
        hysteresis_gamma=15.0 if gap is None else gap.gamma,
        r1_ohm=None if circuit.r1 is None else circuit.r1 / parallel,
        tau1_s=None if circuit.tau1 is None else circuit.tau1 / 1000,
        r2_ohm=None if circuit.r2 is None else circuit.r2 / parallel,
        tau2_s=None if circuit.tau2 is None else circuit.tau2 / 1000,
        r0_arrhenius_k=circuit.r0_arrhenius,
        rc_arrhenius_k=circuit.rc_arrhenius,
        heat_capacity_j_per_k=None if capacity_j_k is None else capacity_j_k * parallel,
        core_conductance_w_per_k=None if conductance is None else conductance * parallel,
        entropy_v_per_k=None if entropy is None else np.array(entropy),
        resistance_soc=None if rise is None else np.array(rise.soc),
        resistance_factor=None if rise is None else np.array(rise.factor),
    )


def _polyline(d: DeratingConfig) -> Polyline:
    return Polyline(np.array(d.at, float), np.array(d.fraction, float))


def _sequence_settings(site: Compiled, sheet: CellSheet) -> SequenceSettings:
    p, c, k = site.config.limits.precharge, site.config.connection, site.config.contactors
    series = int(site.topology.series_cells.sum(axis=1).min())
    contactor = ContactorSettings(
        breaking_current_a=k.breaking_current or math.inf,
        fuse_wait_ms=k.fuse_wait,
        reference_current_a=k.life_current or sheet.discharge_current_a,
        life_operations=k.life_operations,
        life_breaks=k.life_breaks,
        weld_test_ms=k.weld_test,
    )
    return SequenceSettings(
        precharge_voltage_v=p.voltage_difference,
        precharge_current_a=p.current,
        precharge_timeout_ms=p.timeout,
        precharge_attempts=p.attempts,
        cool_down_ms=p.cool_down,
        rack_voltage_v=p.rack_voltage_difference,
        open_current_a=OPEN_CURRENT_C * sheet.capacity_ah,
        contactor=contactor,
        least_racks=c.least_racks,
        first_rack=c.first_rack,
        inrush_a=c.inrush or min(sheet.charge_current_a, sheet.discharge_current_a),
        rack_resistance_ohm=c.rack_resistance or LEAST_RESISTANCE_SHARE * sheet.resistance_ohm * series,
        rack_nominal_ohm=c.rack_resistance or sheet.resistance_ohm * series,
        interval_ms=c.interval,
        rejoin_after_ms=c.rejoin_after,
        most_rejoins=c.rejoins,
        precharge_energy_wh=p.energy or math.inf,
        precharge_recovery_ms=p.recovery,
    )


def _dispatch_settings(site: Compiled) -> DispatchSettings:
    d = site.config.dispatch
    return DispatchSettings(
        d.rated_power,
        d.rated_reactive_power,
        d.ramp,
        d.heartbeat_timeout,
        d.fallback_power,
        d.share == "by_limit",
    )
