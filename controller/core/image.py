"""Every variable of the controller, declared once. See `signal.tag`.

Positive current and power leave the battery (discharge, export). Limits are magnitudes, never negative.
Arrays are dense over rack, module, cell; what is not fitted has quality NOT_FITTED.
"""

from __future__ import annotations

import dataclasses
from enum import IntEnum
from typing import Any, Final

from numpy.typing import NDArray

from controller.core.command import MASTER_DTYPE, Command
from controller.core.field_image import Links, Points
from controller.core.image_warnings import Warnings
from controller.core.outlook import Outlook
from controller.core.signal import Bools, Floats, Ints, Samples, tag

Flags = NDArray[Any]

STORE_FAULT, DISK_FULL = 1, 2
"""Bits of `System.store_trouble`."""


class ClockSync(IntEnum):
    """What the kernel says of the machine's clock; nobody asks it where the site does not."""

    NOT_ASKED = 0
    SYNCHRONISED = 1
    NOT_SYNCHRONISED = 2
    UNKNOWN = 3


class SiteMode(IntEnum):
    """Modes of the site sequence."""

    STARTING = 0
    STANDBY = 1
    CONNECTING = 2
    ONLINE = 3
    STOPPING = 4
    TRIPPED = 5
    LOCKED_OUT = 6
    MAINTENANCE = 7


class RackMode(IntEnum):
    """Modes of a rack's contactor sequence."""

    OPEN = 0
    PRECHARGE = 1
    CLOSED = 2
    STOPPING = 3
    TRIPPED = 4
    LOCKED_OUT = 5
    OUT_OF_SERVICE = 6
    FUSE_WAIT = 7
    """Told to trip, but the current is more than the contactor may break: closed until the fuse has blown."""


FEEDING: Final = (RackMode.CLOSED, RackMode.STOPPING, RackMode.FUSE_WAIT)
"""Modes in which the main contactor is commanded closed: power may flow, whatever the PCS was told."""


class WeldTest(IntEnum):
    """What is known of a rack's main contactors since they were last told to open."""

    NONE = 0
    RUNNING = 1
    PASSED = 2
    FAILED = 3
    UNDECIDED = 4
    """Closed again before the link could tell."""


class RetainedState(IntEnum):
    """What became of the retained memory at the last start."""

    GOOD = 0
    DOUBTFUL = 1
    """Its copies disagreed or one was damaged; the worse one is in force."""
    LOST = 2
    """No copy could be read: what was latched is unknown."""


class AlarmState(IntEnum):
    """States of an alarm per ISA-18.2, from normal (A) to out of service (I).

    RETURNED and LATCHED_* need an operator before they are normal again. The last three hide what is behind them
    from people, never from protection.
    """

    NORMAL = 0
    UNACKNOWLEDGED = 1
    ACKNOWLEDGED = 2
    RETURNED = 3
    LATCHED_UNACKNOWLEDGED = 4
    LATCHED = 5
    SHELVED = 6
    SUPPRESSED = 7
    OUT_OF_SERVICE = 8


@dataclasses.dataclass(frozen=True, slots=True)
class System:
    """What the controller knows of itself when the input copy is taken. Times are CLOCK_MONOTONIC ms."""

    scan: int = tag("1", doc="Number of this scan; the heartbeat", dtype="i8")
    now_ms: int = tag("ms", doc="Monotonic time of this scan", dtype="i8")
    utc_ms: int = tag("ms", doc="Wall time of this scan, for labels only", dtype="i8")
    elapsed_ms: int = tag("ms", doc="Monotonic time since the previous scan", dtype="i8")
    overruns: int = tag("1", doc="Scans that ended after their next start, since start", dtype="i8")
    lateness_ms: float = tag("ms", doc="How late this scan began")
    scan_duration_ms: float = tag("ms", doc="Duration of the previous scan")
    io_age_ms: int = tag("ms", doc="Age of the I/O process's last sign of life", dtype="i8")
    io_restarted: int = tag("1", doc="The I/O process is another one than in the scan before: 1 yes", dtype="i8")
    opcua_age_ms: int = tag("ms", doc="Age of the OPC UA process's last sign of life", dtype="i8")
    store_age_ms: int = tag("ms", doc="Age of the store process's last sign of life", dtype="i8")
    store_trouble: int = tag("1", doc="The store cannot write: 1 fault, 2 disk full, 3 both", dtype="i8")
    clock_sync: int = tag("1", doc="The machine's clock: 0 not asked, 1 synchronised, 2 not, 3 not known", dtype="i8")
    lost_records: int = tag(
        "1", doc="Commands lost in a full ring, and records the store lost, since start", dtype="i8"
    )
    simulated: int = tag("1", doc="The site says that its devices are simulated: 1 yes", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class InputImage:
    """All a scan may look at: the field, the controller's own clocks, and the requests."""

    points: Points
    links: Links
    system: System
    command_count: int = tag("1", doc="Valid records in `command_records`", dtype="i8")
    command_records: Any = tag("1", "command", doc="Requests, oldest first", dtype="command")

    @property
    def commands(self) -> tuple[Command, ...]:
        """The requests of this scan, oldest first."""
        return tuple(Command.of(r) for r in self.command_records[: self.command_count])


@dataclasses.dataclass(frozen=True, slots=True)
class Extremes:
    """Extremes over usable values only; no usable value gives quality BAD. Places count from 0, -1 is nowhere.

    Where a value is missing or stands still the quality is SUBSTITUTED at best: the extreme may be another one.
    """

    module_cell_voltage_min_v: Samples = tag("V", "rack", "module", doc="Lowest cell voltage of the module")
    module_cell_voltage_max_v: Samples = tag("V", "rack", "module", doc="Highest cell voltage of the module")
    module_cell_voltage_mean_v: Samples = tag("V", "rack", "module", doc="Mean cell voltage of the module")
    module_temperature_min_degc: Samples = tag("degC", "rack", "module", doc="Coldest sensor of the module")
    module_temperature_max_degc: Samples = tag("degC", "rack", "module", doc="Hottest sensor of the module")
    rack_cell_voltage_min_v: Samples = tag("V", "rack", doc="Lowest cell voltage of the rack")
    rack_cell_voltage_max_v: Samples = tag("V", "rack", doc="Highest cell voltage of the rack")
    rack_temperature_min_degc: Samples = tag("degC", "rack", doc="Coldest sensor of the rack")
    rack_temperature_max_degc: Samples = tag("degC", "rack", doc="Hottest sensor of the rack")
    cell_voltage_min_v: Samples = tag("V", doc="Lowest cell voltage of the site")
    cell_voltage_max_v: Samples = tag("V", doc="Highest cell voltage of the site")
    temperature_min_degc: Samples = tag("degC", doc="Coldest sensor of the site")
    temperature_max_degc: Samples = tag("degC", doc="Hottest sensor of the site")
    cell_voltage_min_place: int = tag("1", doc="Flat index of the lowest cell; -1 none", dtype="i8")
    cell_voltage_max_place: int = tag("1", doc="Flat index of the highest cell; -1 none", dtype="i8")
    temperature_min_place: int = tag("1", doc="Flat index of the coldest sensor; -1 none", dtype="i8")
    temperature_max_place: int = tag("1", doc="Flat index of the hottest sensor; -1 none", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """The field after validation: the same points with honest quality, and what follows directly from them."""

    points: Points
    extremes: Extremes
    active_power_w: Samples = tag("W", doc="Site active power, export positive")
    reactive_power_var: Samples = tag("var", doc="Site reactive power")
    dc_current_a: Samples = tag("A", doc="Sum of rack currents, discharge positive")
    good_values: int = tag("1", doc="Fitted values of quality GOOD", dtype="i8")
    stale_values: int = tag("1", doc="Fitted values of quality STALE or SUBSTITUTED", dtype="i8")
    bad_values: int = tag("1", doc="Fitted values without a usable value", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class Estimates:
    """What cannot be measured. SOC is 0..1; sigma is one standard deviation, 1.0 when nothing is known."""

    outlook: Outlook
    cell_soc_ratio: Floats = tag("ratio", "rack", "module", "cell", doc="Cell state of charge", low=0, high=1)
    cell_soc_sigma_ratio: Floats = tag(
        "ratio", "rack", "module", "cell", doc="Standard deviation of the cell SOC", low=0, high=1
    )
    rack_soc_ratio: Floats = tag("ratio", "rack", doc="Usable state of charge of the rack", low=0, high=1)
    rack_soc_min_ratio: Floats = tag("ratio", "rack", doc="SOC of the emptiest cell", low=0, high=1)
    rack_soc_max_ratio: Floats = tag("ratio", "rack", doc="SOC of the fullest cell", low=0, high=1)
    rack_soh_ratio: Floats = tag("ratio", "rack", doc="Capacity over rated capacity", low=0, high=1)
    rack_capacity_ah: Floats = tag("Ah", "rack", doc="Estimated capacity of the weakest cell")
    rack_discharge_energy_wh: Floats = tag("Wh", "rack", doc="Energy the rack can still deliver")
    rack_charge_energy_wh: Floats = tag("Wh", "rack", doc="Energy the rack can still take")
    soc_ratio: float = tag("ratio", doc="State of charge of the site", low=0, high=1)
    soc_sigma_ratio: float = tag("ratio", doc="Standard deviation of the site SOC", low=0, high=1)
    soh_ratio: float = tag("ratio", doc="State of health of the site", low=0, high=1)
    discharge_energy_wh: float = tag("Wh", doc="Energy the site can still deliver")
    charge_energy_wh: float = tag("Wh", doc="Energy the site can still take")
    soc_valid: int = tag("1", doc="The SOC rests on data since start: 1 valid", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What may flow, as magnitudes, and which named limit binds (index into `limits.NAMES`)."""

    rack_charge_limit_a: Floats = tag("A", "rack", doc="Largest charge current of the rack")
    rack_discharge_limit_a: Floats = tag("A", "rack", doc="Largest discharge current of the rack")
    rack_charge_binding: Ints = tag("1", "rack", doc="Named limit that binds charging", dtype="i8")
    rack_discharge_binding: Ints = tag("1", "rack", doc="Named limit that binds discharging", dtype="i8")
    bank_charge_limit_w: Floats = tag("W", "bank", doc="Largest charge power of the bank")
    bank_discharge_limit_w: Floats = tag("W", "bank", doc="Largest discharge power of the bank")
    charge_limit_w: float = tag("W", doc="Largest charge power of the site now")
    discharge_limit_w: float = tag("W", doc="Largest discharge power of the site now")
    charge_binding: int = tag("1", doc="Named limit that binds charging", dtype="i8")
    discharge_binding: int = tag("1", doc="Named limit that binds discharging", dtype="i8")
    charge_binding_rack: int = tag("1", doc="Rack whose limit binds charging; -1 none", dtype="i8")
    discharge_binding_rack: int = tag("1", doc="Rack whose limit binds discharging; -1 none", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class Trips:
    """The matrix's verdict: one slot per row and place, and the effects added up per rack and site."""

    slot_active: Bools = tag("1", "slot", doc="The row acts at this place (cause timed out or latched)", dtype="?")
    slot_cause: Bools = tag("1", "slot", doc="The cause is present now", dtype="?")
    slot_latched: Bools = tag("1", "slot", doc="Held until its reset rule is met", dtype="?")
    slot_value: Floats = tag("1", "slot", doc="The value compared, in the row's unit")
    slot_limit: Floats = tag("1", "slot", doc="The limit it is compared with")
    slot_element: Ints = tag("1", "slot", doc="Cell or sensor within the place; -1 none", dtype="i8")
    rack_effect: Ints = tag("1", "rack", doc="Effects acting on the rack (Effect flags)", dtype="i8")
    rack_effect_latched: Ints = tag(
        "1", "rack", doc="Effects on the rack that only a person ends (Effect flags)", dtype="i8"
    )
    site_effect: int = tag("1", doc="Effects acting on the whole site (Effect flags)", dtype="i8")
    first_out: int = tag("1", doc="Slot of the first trip since all was well; -1 none", dtype="i8")
    first_out_utc_ms: int = tag("ms", doc="Wall time of the first-out", dtype="i8")
    trip_count: int = tag("1", doc="Trips since commissioning", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class Contactors:
    """The life ledger of every rack's main contactors, and what the precharge resistor has to bear."""

    rack_contactor_operations: Ints = tag("1", "rack", doc="Closings of the main contactors", dtype="i8")
    rack_contactor_hot_openings: Ints = tag("1", "rack", doc="Openings under current", dtype="i8")
    rack_contactor_breaks: Floats = tag(
        "1", "rack", doc="Openings, each weighted by the square of its current over the reference current"
    )
    rack_contactor_wear_ratio: Floats = tag("ratio", "rack", doc="Used part of the contactors' life", low=0, high=1)
    rack_weld_test: Ints = tag(
        "1", "rack", doc="After the last opening: 0 none, 1 running, 2 passed, 3 failed, 4 undecided", dtype="i8"
    )
    rack_weld_test_utc_ms: Ints = tag("ms", "rack", doc="Wall time of that result", dtype="i8")
    rack_precharge_heat_ratio: Floats = tag(
        "ratio", "rack", doc="Used part of the precharge resistor's energy budget; 0 without a budget", low=0, high=1
    )
    rack_inrush_a: Floats = tag("A", "rack", doc="Current that closing now would let flow between racks, at most")


@dataclasses.dataclass(frozen=True, slots=True)
class Modes:
    """Where the sequences stand."""

    contactors: Contactors
    site_mode: int = tag("1", doc="SiteMode", dtype="i8")
    site_mode_ms: int = tag("ms", doc="Time in this mode", dtype="i8")
    site_reason: int = tag("1", doc="Index into `Program.reasons` of why this mode was entered", dtype="i8")
    rack_mode: Ints = tag("1", "rack", doc="RackMode", dtype="i8")
    rack_mode_ms: Ints = tag("ms", "rack", doc="Time in this mode", dtype="i8")
    rack_reason: Ints = tag("1", "rack", doc="Index into `Program.reasons`", dtype="i8")
    rack_attempts: Ints = tag("1", "rack", doc="Precharge attempts since the last success", dtype="i8")
    rack_ready: Bools = tag("1", "rack", doc="All permissives to close are met", dtype="?")
    rack_rejoin_ms: Ints = tag(
        "ms", "rack", doc="Time until the rack joins again by itself; -1 it will not", dtype="i8"
    )
    bank_connecting: Bools = tag(
        "1", "bank", doc="No rack is connected, or the first ones wait for the others: it gives no power", dtype="?"
    )
    connect_wanted: int = tag("1", doc="The operator wants the site connected", dtype="i8")
    maintenance_wanted: int = tag("1", doc="An engineer asked for maintenance and nobody left it since", dtype="i8")
    shutdown_armed_ms: int = tag("ms", doc="Time left in which an armed shutdown may be executed", dtype="i8")
    retained_state: int = tag("1", doc="Retained memory at start: 0 good, 1 doubtful, 2 lost", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class Power:
    """The dispatch: what was asked, what is given, and why."""

    active_power_setpoint_w: float = tag("W", doc="Active power asked for")
    reactive_power_setpoint_var: float = tag("var", doc="Reactive power asked for")
    active_power_target_w: float = tag("W", doc="Active power given, after limits and ramp")
    reactive_power_target_var: float = tag("var", doc="Reactive power given")
    pcs_active_power_target_w: Floats = tag("W", "pcs", doc="Share of each PCS")
    pcs_reactive_power_target_var: Floats = tag("var", "pcs", doc="Share of each PCS")
    pcs_enable: Bools = tag("1", "pcs", doc="The PCS shall run", dtype="?")
    scada_heartbeat: float = tag("1", doc="Last heartbeat value received")
    scada_heartbeat_age_ms: int = tag("ms", doc="Age of the last heartbeat; -1 not armed", dtype="i8")
    scada_lost: int = tag("1", doc="The armed heartbeat stopped: 1 fallback in force", dtype="i8")
    active_power_set_by: Any = tag("1", doc="Who set the active power asked for; empty: nobody", dtype=MASTER_DTYPE)
    reactive_power_set_by: Any = tag("1", doc="Who set the reactive power asked for", dtype=MASTER_DTYPE)


@dataclasses.dataclass(frozen=True, slots=True)
class Authority:
    """Who may set power and connect, while others may not."""

    control_holder: Any = tag("1", doc="Who has control; empty: nobody", dtype=MASTER_DTYPE)
    control_since_utc_ms: int = tag("ms", doc="Since when; 0 nobody has", dtype="i8")
    control_lapse_ms: int = tag("ms", doc="Time until a holder who stays silent loses it; 0 nobody has", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class Alarms:
    """Annunciation: one state per slot, and the counts an operator looks at first."""

    alarm_state: Flags = tag("1", "slot", doc="AlarmState as people see it", dtype="u1")
    alarm_true_state: Flags = tag("1", "slot", doc="AlarmState behind shelving and suppression", dtype="u1")
    alarm_occurrence: Ints = tag("1", "slot", doc="How often this alarm came", dtype="i8")
    alarm_utc_ms: Ints = tag("ms", "slot", doc="Wall time of the last transition", dtype="i8")
    alarm_value: Floats = tag("1", "slot", doc="The value compared when the row last acted, in the row's unit")
    alarm_element: Ints = tag("1", "slot", doc="Cell or sensor then, from 1; 0 none, or not known", dtype="i8")
    alarm_root: Ints = tag("1", "slot", doc="Slot whose alarm explains this one; -1 none", dtype="i8")
    alarm_consequences: Ints = tag("1", "slot", doc="Alarms that this one stands for", dtype="i8")
    shelf: Flags = tag("1", "shelf", doc="Alarms shelved or out of service: who, why, how long", dtype="shelf")
    active_alarms: int = tag("1", doc="Alarms present or latched, without shelved and suppressed ones", dtype="i8")
    unacknowledged_alarms: int = tag("1", doc="Alarms nobody has acknowledged", dtype="i8")
    highest_priority: int = tag("1", doc="Priority of the worst active alarm; 0 none", dtype="i8")
    shelved_alarms: int = tag("1", doc="Alarms that a person has shelved", dtype="i8")
    suppressed_alarms: int = tag("1", doc="Alarms told as consequences of another one", dtype="i8")
    out_of_service_alarms: int = tag("1", doc="Alarms taken out of service", dtype="i8")
    alarms_in_ten_minutes: int = tag("1", doc="Alarms that sounded in the last 10 min", dtype="i8")
    alarms_per_hour: float = tag("1", doc="Alarms per hour, over the last 24 h or since start")
    alarm_flood: int = tag("1", doc="More than 10 alarms in 10 min; over below 5", dtype="i8", low=0, high=1)
    chattering_alarms: int = tag("1", doc="Alarms that sounded three times within a minute", dtype="i8")
    stale_alarms: int = tag("1", doc="Alarms active for more than 24 h", dtype="i8")
    untold_alarms: int = tag("1", doc="Alarm transitions that wait to be told", dtype="i8")
    dropped_transitions: int = tag(
        "1", doc="Alarm transitions overtaken before they were told, since start", dtype="i8"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class OutputImage:
    """Every output of the controller; `compose` is the only place where one gets its value."""

    heartbeat: int = tag("1", doc="The scan number; it stops when the scan stops", dtype="i8")
    rack_main_close: Bools = tag("1", "rack", doc="Close the main contactors", dtype="?")
    rack_precharge_close: Bools = tag("1", "rack", doc="Close the precharge contactor", dtype="?")
    cell_bleed_on: Bools = tag("1", "rack", "module", "cell", doc="Bleed this cell", dtype="?")
    pcs_run: Bools = tag("1", "pcs", doc="Run the PCS", dtype="?")
    pcs_active_power_setpoint_w: Floats = tag(
        "W", "pcs", doc="Active power setpoint, export positive", zero_on_silence=True
    )
    pcs_reactive_power_setpoint_var: Floats = tag("var", "pcs", doc="Reactive power setpoint", zero_on_silence=True)
    pcs_charge_limit_w: Floats = tag("W", "pcs", doc="Largest charge power the PCS may take", zero_on_silence=True)
    pcs_discharge_limit_w: Floats = tag("W", "pcs", doc="Largest discharge power it may give", zero_on_silence=True)
    horn_on: int = tag("1", doc="Horn: an unacknowledged high-priority alarm", dtype="i8")
    cooling_on: int = tag("1", doc="Ask the cooling plant to run", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessImage:
    """All that one scan found and decided."""

    system: System
    measured: Measured
    estimates: Estimates
    warnings: Warnings
    limits: Limits
    trips: Trips
    modes: Modes
    power: Power
    authority: Authority
    alarms: Alarms
    outputs: OutputImage
