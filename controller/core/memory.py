"""What the program remembers from scan to scan: the only state there is, laid out like an image.

Durations are kept as elapsed or remaining milliseconds, so that a memory means the same after a restart.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.core.command import MASTER_DTYPE, TEXT_BYTES, USER_BYTES
from controller.core.image import Modes, OutputImage
from controller.core.layout import RECORDS
from controller.core.memory_watch import WatchMemory
from controller.core.outlook_memory import OutlookMemory
from controller.core.signal import Bools, Floats, Ints, tag

SHELF_DTYPE = np.dtype(
    [
        ("slot", "i4"),
        ("kind", "i4"),  # an AlarmState: SHELVED or OUT_OF_SERVICE; 0 is a free place
        ("left_ms", "i8"),  # time left; -1 until a person ends it
        ("utc_ms", "i8"),
        ("user", f"S{USER_BYTES}"),
        ("text", f"S{TEXT_BYTES}"),
    ]
)
"""One alarm that a person has taken from the list."""
RECORDS["shelf"] = SHELF_DTYPE
BAR_STATES = 4
BAR_ERRORS = 11
STRING_DTYPE = np.dtype(
    [
        ("x", "f8", (BAR_STATES,)),  # SOC, two RC voltages (V), current bias (A)
        ("p", "f8", (BAR_ERRORS, BAR_ERRORS)),  # covariance of the states and of the errors that are only considered
        ("hysteresis", "f8"),  # -1 discharge branch .. 1 charge branch
        ("drift_c", "f8"),  # current over capacity, filtered with the time constant of diffusion, 1/h
        ("held_a", "f8"),  # current to go on with while its sensor is silent
        ("load_square", "f8"),  # mean square of the current, A^2: what may flow unseen
        ("error_v", "f8"),  # sums since the last correction: innovation, its samples, current at the samples, ...
        ("samples", "f8"),
        ("sampled_a", "f8"),
        ("charge", "f8"),  # ... charge taken out, charge moved either way (SOC), time, time without a current
        ("moved", "f8"),
        ("elapsed_ms", "i8"),
        ("blind_ms", "i8"),
        ("silent_ms", "i8"),  # of the present silence of the current sensor, what came before the last correction
        ("sample_ms", "i8"),  # time since the voltages were last sampled, the median and current seen then
        ("median_v", "f8"),
        ("seen_a", "f8"),
        ("amiss_v", "f8"),  # what the model was off of late: the table's and the sensors' error here
        ("fast_v", "f8"),  # drop of R0 and the fast branch at the last sample
        ("fast_factor", "f8"),  # what the resistances really are over the sheet's, learnt from current steps
        ("fast_variance", "f8"),
        ("steady_ms", "i8"),  # the present stretch of steady current: duration, samples, mean and scatter
        ("steady_n", "f8"),
        ("steady_mean_a", "f8"),
        ("steady_square", "f8"),
        ("ready", "i8"),  # 1 once the filter runs; 0 after a start
    ]
)
"""The string filter of one rack (see `estimate/bar.py`)."""
RECORDS["string"] = STRING_DTYPE


@dataclasses.dataclass(frozen=True, slots=True)
class ValidationMemory:
    """What validation needs to see that a device is frozen."""

    counter: Floats = tag("1", "rack", "module", doc="Last sample counter")
    counter_still_ms: Ints = tag("ms", "rack", "module", doc="Time since the sample counter moved", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class EstimationMemory:
    """Charge state of every cell, and how far it is trusted."""

    outlook: OutlookMemory
    cell_charge_ratio: Floats = tag("ratio", "rack", "module", "cell", doc="Cell state of charge")
    cell_variance: Floats = tag("1", "rack", "module", "cell", doc="Variance of the cell SOC")
    rack_known: Bools = tag("1", "rack", doc="The rack's SOC rests on data", dtype="?")
    rack_rest_ms: Ints = tag("ms", "rack", doc="Time without current", dtype="i8")
    rack_throughput_ah: Floats = tag("Ah", "rack", doc="Charge moved in both directions since commissioning")
    string: NDArray[Any] = tag("1", "rack", doc="String filter of the rack", dtype="string")
    cell_shift_ratio: Floats = tag("ratio", "rack", "module", "cell", doc="Cell SOC less the string's")
    cell_offset_v: Floats = tag("V", "rack", "module", "cell", doc="Lasting deviation of the cell voltage", dtype="f4")
    cell_lack_ratio: Floats = tag("ratio", "rack", "module", "cell", doc="Capacity lacking to the string's", dtype="f4")
    cell_resistance_shift_ohm: Floats = tag(
        "ohm", "rack", "module", "cell", doc="Cell resistance less the string's", dtype="f4"
    )
    cell_resistance_variance: Floats = tag("1", "rack", "module", "cell", doc="Its variance, ohm squared", dtype="f4")
    cell_p_shift: Floats = tag("1", "rack", "module", "cell", doc="Variance of the shift", dtype="f4")
    cell_p_shift_offset: Floats = tag("1", "rack", "module", "cell", doc="Covariance shift, offset", dtype="f4")
    cell_p_shift_lack: Floats = tag("1", "rack", "module", "cell", doc="Covariance shift, lack", dtype="f4")
    cell_p_offset: Floats = tag("1", "rack", "module", "cell", doc="Variance of the offset", dtype="f4")
    cell_p_offset_lack: Floats = tag("1", "rack", "module", "cell", doc="Covariance offset, lack", dtype="f4")
    cell_p_lack: Floats = tag("1", "rack", "module", "cell", doc="Variance of the lack", dtype="f4")
    cell_seen_v: Floats = tag("V", "rack", "module", "cell", doc="Cell voltage at the last sample", dtype="f4")
    cell_stuck: NDArray[Any] = tag(
        "1", "rack", "module", "cell", doc="Current steps in a row that the cell voltage did not follow", dtype="u1"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class SwingMemory:
    """How the cells of open racks moved beside those of the closed racks of their bank."""

    age_ms: int = tag("ms", doc="Time since the cells were looked at", dtype="i8")
    cell_v: Floats = tag("V", "rack", doc="Mean cell voltage then; 0 unknown")
    own_v: Floats = tag("V", "rack", doc="Its movement, slow ones faded out")
    bank_v: Floats = tag("V", "rack", doc="The same movement of the bank's closed racks")
    product: Floats = tag("1", "rack", doc="Mean product of both movements, V squared")
    bank_square: Floats = tag("1", "rack", doc="Mean square of the bank's movement, V squared")


@dataclasses.dataclass(frozen=True, slots=True)
class TrendMemory:
    """What rates of change and missing changes are seen by. Values kept for later are never NaN."""

    swing: SwingMemory
    window_ms: int = tag("ms", doc="Age of the temperatures kept", dtype="i8")
    sensor_degc: Floats = tag("degC", "rack", "module", "temperature", doc="Temperature a window ago", dtype="f4")
    sensor_before_degc: Floats = tag(
        "degC", "rack", "module", "temperature", doc="Temperature two windows ago", dtype="f4"
    )
    module_rising: Bools = tag("1", "rack", "module", doc="A sensor rose too fast in both windows", dtype="?")
    cells_ms: int = tag("ms", doc="Time since the cells were looked at", dtype="i8")
    cell_seen_v: Floats = tag("V", "rack", "module", "cell", doc="Voltage when it last moved", dtype="f4")
    module_mean_v: Floats = tag("V", "rack", "module", doc="Mean of the module then", dtype="f4")
    cell_still_low_a: Floats = tag(
        "A", "rack", "module", "cell", doc="Least rack current since the cell's value moved", dtype="f4"
    )
    cell_still_high_a: Floats = tag(
        "A", "rack", "module", "cell", doc="Largest rack current since the cell's value moved", dtype="f4"
    )
    cell_jitter_v: Floats = tag(
        "V", "rack", "module", "cell", doc="Mean step of the cell against its module", dtype="f4"
    )
    cell_still_low_v: Floats = tag(
        "V", "rack", "module", "cell", doc="Least median of the module since the cell's value moved", dtype="f4"
    )
    cell_still_high_v: Floats = tag(
        "V", "rack", "module", "cell", doc="Largest median of the module since the cell's value moved", dtype="f4"
    )
    module_stuck: Bools = tag("1", "rack", "module", doc="A cell stands still while the current moves", dtype="?")
    module_blind_cells: Ints = tag(
        "1", "rack", "module", doc="Cells that stand still while their module moves", dtype="i8"
    )
    module_noisy: Bools = tag("1", "rack", "module", doc="A cell's value is noisy", dtype="?")
    charge_heat_ratio: Floats = tag("ratio", "rack", doc="I2t used up by charging")
    discharge_heat_ratio: Floats = tag("ratio", "rack", doc="I2t used up by discharging")
    last_current_a: Floats = tag("A", "rack", doc="Last usable current since the rack was told to close; 0 none")
    last_redundant_current_a: Floats = tag("A", "rack", doc="The same of the second sensor")
    seen_current_a: Floats = tag("A", "rack", doc="Rack current when it last moved")
    seen_current_ms: Ints = tag("ms", "rack", doc="Time since it moved", dtype="i8")
    share_low_a: Floats = tag("A", "rack", doc="Least current the PCS asked of the rack since then")
    share_high_a: Floats = tag("A", "rack", doc="Largest current the PCS asked of the rack since then")
    main_followed: Bools = tag("1", "rack", doc="The contactor followed the close command in force", dtype="?")
    main_told: Bools = tag("1", "rack", doc="Command of the main contactor in force", dtype="?")
    main_told_ms: Ints = tag("ms", "rack", doc="Time for which it may know it; < 0: not read since", dtype="i8")
    precharge_told: Bools = tag("1", "rack", doc="Command of the precharge contactor in force", dtype="?")
    precharge_told_ms: Ints = tag("ms", "rack", doc="The same of this command", dtype="i8")
    precharge_ms: Ints = tag("ms", "rack", doc="Time since the precharge command", dtype="i8")
    link_start_v: Floats = tag("V", "rack", doc="Link voltage when precharge began")
    link_rise_ms: Ints = tag(
        "ms", "rack", doc="Time since the link was last seen as empty as then, or since the command", dtype="i8"
    )
    echo: Floats = tag("1", "rack", doc="Heartbeat last echoed; 0 none since it was not heard")
    echo_still_ms: Ints = tag("ms", "rack", doc="Time since the echo moved", dtype="i8")
    echo_foreign_ms: Ints = tag("ms", "rack", doc="Time for which a foreign heartbeat is remembered", dtype="i8")
    pcs_told_ms: Ints = tag("ms", "told", doc="Age of what a PCS was told in each of the last scans", dtype="i8")
    pcs_charge_allowed_w: Floats = tag("W", "told", "pcs", doc="Charge limit, falling no faster than a PCS follows")
    pcs_discharge_allowed_w: Floats = tag("W", "told", "pcs", doc="The same of the discharge limit")
    pcs_setpoint_told_w: Floats = tag("W", "told", "pcs", doc="Active power setpoint")
    bank_racks_w: Floats = tag("W", "told", "bank", doc="DC power by the racks in each of the last scans")
    bank_pcs_w: Floats = tag("W", "told", "bank", doc="DC power by the PCS in each of the last scans")
    hottest_degc: float = tag("degC", doc="Hottest sensor when cooling was last judged")
    hottest_ms: int = tag("ms", doc="Time since then", dtype="i8")
    cooling_vain: int = tag("1", doc="Temperature rose though cooling ran: 1", dtype="i8")
    utc_ms: int = tag("ms", doc="Wall time of the last scan; 0 unknown", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class ProtectionMemory:
    """Timers and latches of the matrix."""

    trend: TrendMemory
    timer_ms: Ints = tag("ms", "slot", doc="Time used up of the row's delay", dtype="i8")
    present: Bools = tag("1", "slot", doc="The cause is there, or stands because its witness is silent", dtype="?")
    active: Bools = tag("1", "slot", doc="The row acts", dtype="?")
    latched: Bools = tag("1", "slot", doc="The row is held until reset", dtype="?")
    value: Floats = tag("1", "slot", doc="Value of the last scan in which the cause was present")
    element: Ints = tag("1", "slot", doc="Cell or sensor of that value; -1 none", dtype="i8")
    first_out: int = tag("1", doc="Slot of the first trip; -1 none", dtype="i8")
    first_out_utc_ms: int = tag("ms", doc="Wall time of the first trip", dtype="i8")
    trip_count: int = tag("1", doc="Trips since commissioning", dtype="i8")
    emergency_stop: int = tag("1", doc="An emergency stop was asked for remotely: 1 held", dtype="i8")
    overruns_seen: int = tag("1", doc="Overruns counted up to the last scan", dtype="i8")
    overruns_in_a_row: int = tag("1", doc="Scans in a row that each found a new overrun", dtype="i8")
    lost_seen: int = tag("1", doc="Lost records counted up to the last scan", dtype="i8")
    configuration: int = tag("1", doc="Digest of the limits that ran last and were accepted; 0 none", dtype="u8")
    interrupted: int = tag(
        "1", doc="The controller ended with racks connected: 1 in the first scan after it", dtype="i8"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class SequencingMemory:
    """What the sequences remember beside the modes."""

    join: Bools = tag("1", "rack", doc="The rack shall join; ends when protection takes it out", dtype="?")
    needs_person: Bools = tag("1", "rack", doc="Only Connect brings the rack back", dtype="?")
    rejoin_clear_ms: Ints = tag("ms", "rack", doc="Time for which nothing has kept a waiting rack out", dtype="i8")
    rejoins: Ints = tag("1", "rack", doc="Times it joined by itself since somebody asked", dtype="i8")
    cool_down_ms: Ints = tag("ms", "rack", doc="Time left before the next precharge attempt", dtype="i8")
    out_of_service: Bools = tag("1", "rack", doc="Taken out of service by an engineer", dtype="?")
    maintenance_wanted: int = tag("1", doc="An engineer asked for maintenance", dtype="i8")
    armed_ms: int = tag("ms", doc="Time left to execute an armed shutdown", dtype="i8")
    armed_token: int = tag("1", doc="Token of the armed shutdown", dtype="u8")
    armed_user: Any = tag("1", doc="User who armed the shutdown, as a 64-bit digest", dtype="u8")
    bank_pause_ms: Ints = tag("ms", "bank", doc="Time left before the next rack of the bank may begin", dtype="i8")
    precharge_heat_wh: Floats = tag("Wh", "rack", doc="Energy in the precharge resistor, not yet given off")
    precharge_attempt_wh: Floats = tag("Wh", "rack", doc="Energy of the present or last precharge attempt")
    precharge_power_w: Floats = tag("W", "rack", doc="Greatest power of the present precharge attempt")
    main_seen_closed: Bools = tag("1", "rack", doc="Main contactor was last seen closed", dtype="?")
    last_current_a: Floats = tag("A", "rack", doc="Last usable magnitude of the rack current")
    weld_test_ms: Ints = tag("ms", "rack", doc="Time in which a dead link did not part from the rack", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class DispatchingMemory:
    """The last accepted requests."""

    active_power_setpoint_w: float = tag("W", doc="Active power asked for")
    reactive_power_setpoint_var: float = tag("var", doc="Reactive power asked for")
    heartbeat: float = tag("1", doc="Last SCADA heartbeat value")
    heartbeat_age_ms: int = tag("ms", doc="Time since it changed; -1 not armed", dtype="i8")
    active_power_set_by: Any = tag("1", doc="Who set the active power in force; empty: nobody", dtype=MASTER_DTYPE)
    reactive_power_set_by: Any = tag("1", doc="Who set the reactive power in force", dtype=MASTER_DTYPE)
    active_power_setter: Any = tag("1", doc="The same as a 64-bit digest; 0 nobody", dtype="u8")
    reactive_power_setter: Any = tag("1", doc="The same as a 64-bit digest; 0 nobody", dtype="u8")
    overruled_ms: int = tag("ms", doc="Time since a master overruled another one; -1 long ago", dtype="i8")
    contested_ms: int = tag("ms", doc="Time left in which two masters count as fighting", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class AuthorityMemory:
    """Who has control. It does not outlive a restart: then contactors are open, and who wants control takes it."""

    holder: Any = tag("1", doc="Who has control, for people; empty: nobody", dtype=MASTER_DTYPE)
    holder_digest: Any = tag("1", doc="User and certificate of the holder, as a 64-bit digest; 0 nobody", dtype="u8")
    holder_user: Any = tag("1", doc="User of the holder, as a 64-bit digest", dtype="u8")
    holder_role: int = tag("1", doc="Role of the holder", dtype="i8")
    since_utc_ms: int = tag("ms", doc="Wall time since when; 0 nobody", dtype="i8")
    silent_ms: int = tag("ms", doc="Time since the holder's last command", dtype="i8")
    beater: Any = tag("1", doc="Who wrote the last SCADA heartbeat, as a 64-bit digest", dtype="u8")


@dataclasses.dataclass(frozen=True, slots=True)
class BalancingMemory:
    """The bleed pattern in force."""

    hold_ms: int = tag("ms", doc="Time until the pattern is chosen anew", dtype="i8")
    bleed_on: Bools = tag("1", "rack", "module", "cell", doc="Cells being bled", dtype="?")


@dataclasses.dataclass(frozen=True, slots=True)
class AnnunciationMemory:
    """Alarm states per slot, the shelf, and what was told of them."""

    state: NDArray[Any] = tag("1", "slot", doc="AlarmState behind shelving and suppression", dtype="u1")
    shown: NDArray[Any] = tag("1", "slot", doc="AlarmState as people see it", dtype="u1")
    told: NDArray[Any] = tag("1", "slot", doc="Shown state, and true state times 16, as last told", dtype="u1")
    noted: Bools = tag("1", "slot", doc="This occurrence was shown or listed", dtype="?")
    heard: Bools = tag("1", "slot", doc="That it came was told", dtype="?")
    occurrence: Ints = tag("1", "slot", doc="How often the alarm came", dtype="i8")
    utc_ms: Ints = tag("ms", "slot", doc="Wall time of the last transition", dtype="i8")
    value: Floats = tag("1", "slot", doc="The value compared when the row last acted, in the row's unit")
    element: Ints = tag("1", "slot", doc="Cell or sensor then, from 1; 0 none, or not known", dtype="i8")
    acting_ms: Ints = tag("ms", "slot", doc="Time since the row began to act; 0 not acting", dtype="i8")
    due_ms: Ints = tag("ms", "slot", doc="Time that it acted unexplained", dtype="i8")
    over_ms: Ints = tag("ms", "slot", doc="Time since the row ended", dtype="i8")
    age_ms: Ints = tag("ms", "slot", doc="Time since it sounded, while it is active", dtype="i8")
    chatter_ms: Ints = tag("ms", "slot", doc="Time left as a chattering alarm", dtype="i8")
    sounded_ms: Ints = tag("ms", "recent", "slot", doc="When it sounded last, on clock_ms; 0 never", dtype="i8")
    shelf: NDArray[Any] = tag("1", "shelf", doc="Alarms shelved or out of service", dtype="shelf")
    shelf_changes: int = tag("1", doc="Times that the shelf changed", dtype="i8")
    busy: int = tag("1", doc="Something is not at rest: 1 busy", dtype="i8")
    clock_ms: int = tag("ms", doc="Time since start", dtype="i8")
    flood_count: Ints = tag("1", "flood", doc="Alarms that sounded, per 10 s, newest first", dtype="i8")
    hour_count: Ints = tag("1", "hour", doc="Alarms that sounded, per hour, newest first", dtype="i8")
    flood: int = tag("1", doc="A flood is going on: 1 flood", dtype="i8")
    dropped: int = tag("1", doc="Transitions overtaken before they were told", dtype="i8")
    acknowledger: Any = tag("1", doc="Who acknowledged last", dtype="S32")


@dataclasses.dataclass(frozen=True, slots=True)
class Memory:
    """Everything. A blank one starts a new site; a retained one has its latches, counters and SOC merged in."""

    validation: ValidationMemory
    estimation: EstimationMemory
    watching: WatchMemory
    protection: ProtectionMemory
    sequencing: SequencingMemory
    dispatching: DispatchingMemory
    authority: AuthorityMemory
    balancing: BalancingMemory
    annunciation: AnnunciationMemory
    modes: Modes
    outputs: OutputImage
    last_opcua_command: int = tag("1", doc="Highest command id seen from OPC UA", dtype="u8")
    last_supervisor_command: int = tag("1", doc="Highest command id seen from the supervisor", dtype="u8")
