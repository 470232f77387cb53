"""The numbers a program works with, in SI units, as compiled from cell type and site."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np

from controller.core.signal import Floats


@dataclasses.dataclass(frozen=True, slots=True)
class Band:
    """Thresholds of one quantity, and how long it may stay beyond the trip.

    operate, warn, trip: the three bands (operating limit, recommended limit, safety limit); without an operating
    limit it is the recommended one. endure_ms: for a current, how long it may stay just below the trip.
    """

    warn: float
    trip: float
    clear: float
    delay_ms: int
    operate: float = math.nan
    endure_ms: int = 0

    def __post_init__(self) -> None:
        if math.isnan(self.operate):
            object.__setattr__(self, "operate", self.warn)


NOT_MEASURED: Final = Band(0.0, 0.0, 0.0, 0)
"""Of a quantity that no device of the site reads: without a value its rows never act."""


@dataclasses.dataclass(frozen=True, slots=True)
class Polyline:
    """A fraction 0..1 over a quantity, linear between rising points, flat outside."""

    at: Floats
    fraction: Floats

    def __call__(self, value: Floats) -> Floats:
        """The fraction at every value."""
        return np.asarray(np.interp(value, self.at, self.fraction))


@dataclasses.dataclass(frozen=True, slots=True)
class CellSheet:
    """What is known of a cell position: capacity and resistance already for all cells in parallel."""

    capacity_ah: float
    resistance_ohm: float
    charge_current_a: float
    discharge_current_a: float
    efficiency: float
    soc_grid: Floats
    ocv_v: Floats
    hysteresis_half_v: Floats | None = None
    """Half the gap between the charge and discharge branches, on `soc_grid`; None where it is not known."""
    hysteresis_scale: float = 1.0
    hysteresis_gamma: float = 15.0
    r1_ohm: float | None = None
    tau1_s: float | None = None
    r2_ohm: float | None = None
    tau2_s: float | None = None
    r0_arrhenius_k: float = 2000.0
    rc_arrhenius_k: float = 2000.0
    heat_capacity_j_per_k: float | None = None
    """Of core and surface together; None: the usual share per Ah stands in, as for the conductance."""
    core_conductance_w_per_k: float | None = None
    entropy_v_per_k: Floats | None = None
    """dU/dT on `soc_grid`; None: no reversible heat."""
    resistance_soc: Floats | None = None
    resistance_factor: Floats | None = None
    """Factor on all resistances at rising SOCs, straight between and flat outside; None: a careful one stands in."""


@dataclasses.dataclass(frozen=True, slots=True)
class LimitSettings:
    """Every protection threshold of the site."""

    cell_overvoltage: Band
    cell_undervoltage: Band
    charge_overtemperature: Band
    charge_undertemperature: Band
    discharge_overtemperature: Band
    discharge_undertemperature: Band
    charge_overcurrent: Band
    discharge_overcurrent: Band
    deep_discharge: Band
    cell_voltage_spread: Band
    temperature_spread: Band
    overcurrent_heat: Band
    insulation: Band
    aux_supply: Band
    ambient: Band
    contactor_follow_ms: int
    pcs_follow_ms: int
    overrun_scans: int
    pcs_rated_w: float
    rack_1c_a: float
    """The current that empties a rack in an hour: the scale for what a current sensor can tell."""
    heartbeat_modulo: int = 0
    """What rack controllers count the heartbeat to; 0 where they differ or do not say."""
    soc_estimated: bool = True
    precharge_fastest_ms: int = 250
    """A sound precharge resistor lets the link take longer from 10 % to 90 %."""


@dataclasses.dataclass(frozen=True, slots=True)
class SensorSettings:
    """When a value is no longer fresh, and when it is lost."""

    stale_after_ms: int
    lost_after_ms: int
    frozen_after_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class DeratingSettings:
    """How currents are reduced before protection has to act."""

    cell: CellSheet
    charge_voltage: Polyline
    discharge_voltage: Polyline
    charge_temperature: Polyline
    discharge_temperature: Polyline
    pcs_rated_w: float


@dataclasses.dataclass(frozen=True, slots=True)
class ContactorSettings:
    """What a main contactor can bear.

    breaking_current_a: most it may break, infinite where nobody said so; reference_current_a: the current at which
    it lasts `life_breaks` openings; weld_test_ms: time for a dead link to part from the rack, 0 without a test.
    """

    breaking_current_a: float
    fuse_wait_ms: int
    reference_current_a: float
    life_operations: float
    life_breaks: float
    weld_test_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class SequenceSettings:
    """When racks may be joined to the DC link, and how long each step may take."""

    precharge_voltage_v: float
    precharge_current_a: float
    precharge_timeout_ms: int
    precharge_attempts: int
    cool_down_ms: int
    rack_voltage_v: float
    open_current_a: float
    contactor: ContactorSettings
    least_racks: int = 1
    first_rack: str = "median"
    """Whose voltage the first rack of a dead link has: the `median`, `lowest` or `highest` of those that may join."""
    inrush_a: float = math.inf
    rack_resistance_ohm: float = 0.0
    """Least resistance of a rack: what in-rush is predicted with."""
    rack_nominal_ohm: float = 0.0
    """Resistance by which a load pulls a rack's voltage down."""
    interval_ms: int = 0
    precharge_energy_wh: float = math.inf
    precharge_recovery_ms: int = 1
    rejoin_after_ms: int | None = None
    """Time without a cause after which a rack that protection took out joins again by itself; None never."""
    most_rejoins: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class DispatchSettings:
    """How setpoints become power."""

    rated_w: float
    rated_var: float
    ramp_w_per_s: float
    heartbeat_timeout_ms: int
    fallback_w: float
    share_by_limit: bool


@dataclasses.dataclass(frozen=True, slots=True)
class AuthoritySettings:
    """When a master needs control to set power.

    rule: `on_request` only while somebody has it, `first_writer` the first who asks has it, `required` always;
    silence_ms: a holder who gives no command for so long loses it.
    """

    rule: str = "on_request"
    silence_ms: int = 300_000


@dataclasses.dataclass(frozen=True, slots=True)
class BalancingSettings:
    """When cells are bled."""

    enabled: bool
    start_ratio: float
    least_cell_voltage_v: float
    most_temperature_degc: float
    bleed_current_a: float


@dataclasses.dataclass(frozen=True, slots=True)
class AlarmSettings:
    """What people may do with alarms."""

    longest_shelf_ms: int = 8 * 3_600_000
