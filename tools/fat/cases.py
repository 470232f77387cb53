"""THE table of injected faults. A case says what is broken, which row must notice, and what the plant must then do.

`inject` are texts of the simulator's verbs (see `cellwarden simulate --help`); names in braces are filled in per
trial by `plan.values`: random places, and numbers on the wrong side of the site's own limits. A text that begins
with `signal` or `hold` acts on a controller process instead.
"""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Final


class Start(Enum):
    """How the site runs when the fault comes; the value is the part of the rated power, None is standby."""

    DISCHARGE = 0.3
    CHARGE = -0.3
    CHARGE_HARD = -0.55
    STANDBY = None


class Reaction(Enum):
    """What the plant must see, and what its time is measured to."""

    OPEN = "open command written"
    OPENED = "contactor open, by command or by the device's own watchdog"
    ZERO = "power commanded to zero, or stopped by the device's own watchdog"
    REDUCED = "power setpoint reduced"
    BLOCKED = "does not close"
    KEPT = "nothing else changes"


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One fault.

    row: the row that must alarm, empty when none may. opens: none, rack, others (all but the rack) or all.
    origin: what the times count from: the injection, or the command that the fault falsifies. act: what an operator
    or SCADA does after the injection; then: what is tried once the row has acted. extra_ms: time that passes by
    design before the row's delay begins, lost: the age at which a value counts as lost, too. open_ms: time from the
    reaction to open contactors. most_ms: a bound stricter than delay + 2 cycles + I/O, named for a cycle of 100 ms;
    a slower one adds two of its scans. by_scans: it gives back two scans of every faster one.
    """

    id: str
    row: str
    faults: str
    inject: tuple[str, ...]
    reaction: Reaction
    opens: str = "none"
    start: Start = Start.DISCHARGE
    origin: str = "injected"
    act: str = ""
    then: str = ""
    lost: bool = False
    extra_ms: int = 0
    react_ms: int | None = None
    open_ms: int = 1500
    most_ms: int | None = None
    by_scans: bool = False
    heal: tuple[str, ...] = ()
    fresh_after: bool = False
    slow: bool = False


OPEN, OPENED, ZERO = Reaction.OPEN, Reaction.OPENED, Reaction.ZERO
REDUCED, BLOCKED, KEPT = Reaction.REDUCED, Reaction.BLOCKED, Reaction.KEPT
DISCHARGE, CHARGE, HARD, STANDBY = Start.DISCHARGE, Start.CHARGE, Start.CHARGE_HARD, Start.STANDBY
RACK_WATCHDOG_MS: Final = 2000
PCS_WATCHDOG_MS: Final = 1000
COMMANDED_MS: Final = 100
"""`extra_ms`: the way of a method call from a client to the scan."""
TWO_SCANS: Final = 0
"""`most_ms`: exactly two cycles, whatever delay the row has."""
STOPPING_MS: Final = 10_000
PROCESS_LOST_MS: Final = 30_000
CONNECTING_MS: Final = 90_000
"""`extra_ms`: the row can only come once the other racks are connected; its time is not judged."""
NOISE_MS: Final = 17_000
"""`extra_ms`: one draw of noise a second, smoothed, is told after 5 s as a rule; one trial of 100,000 takes this and
the row's delay. A fault that is chance has no shorter bound."""
TWO_MASTERS_MS: Final = 1000
"""`extra_ms`: with two masters a reading shows the heartbeat of either; ten readings in a row of ours come once in a
thousand trials."""
ATTEMPTS_MS: Final = -1
"""`extra_ms`: the time that the site's precharge attempts take."""

# fmt: off
CELLS: Final = (
    Case("cell_overvoltage", "cell_overvoltage", "8", ("override {cell} cell_voltage_v {v_over}",), OPEN, "rack",
         CHARGE, most_ms=400, by_scans=True),
    Case("cell_overvoltage_warning", "cell_overvoltage_warning", "8", ("override {cell} cell_voltage_v {v_high}",),
         ZERO, start=CHARGE),
    Case("cell_undervoltage", "cell_undervoltage", "9", ("override {cell} cell_voltage_v {v_under}",), OPEN, "rack",
         most_ms=400, by_scans=True),
    Case("cell_undervoltage_warning", "cell_undervoltage_warning", "9", ("override {cell} cell_voltage_v {v_low}",),
         ZERO),
    Case("single_spike", "", "5", ("override {cell} cell_voltage_v {v_over}", "at 60ms clear {cell} cell_voltage_v"),
         KEPT, start=CHARGE),
    Case("charge_overtemperature", "charge_overtemperature", "10",
         ("override {sensor} cell_temperature_degc {t_high}",), ZERO, start=CHARGE),
    Case("charge_undertemperature", "charge_undertemperature", "11",
         ("override {sensor} cell_temperature_degc {t_low}",), ZERO, start=CHARGE),
    Case("discharge_overtemperature", "discharge_overtemperature", "10",
         ("override {sensor} cell_temperature_degc {t_over}",), OPEN, "rack"),
    Case("overtemperature_warning", "overtemperature_warning", "10",
         ("override {sensor} cell_temperature_degc {t_warm}",), REDUCED, start=HARD),
    Case("discharge_undertemperature", "discharge_undertemperature", "11",
         ("override {sensor} cell_temperature_degc {t_under}",), ZERO),
    Case("module_comm_lost", "module_comm_lost", "27", ("drop {module}",), ZERO, "rack", lost=True, most_ms=1000),
    Case("module_refuses", "module_comm_lost", "30", ("exception {module} 4",), ZERO, "rack", lost=True,
         most_ms=1000),
    Case("module_frozen", "module_comm_lost", "1", ("freeze {module}",), ZERO, "rack", extra_ms=3000),
    Case("cell_voltage_lost", "cell_voltage_lost", "2, 3", ("nan {cell} cell_voltage_v",), ZERO, "rack"),
    Case("sense_wire_open", "sense_wire_open", "6",
         ("override {cell} cell_voltage_v 0", "override {neighbour} cell_voltage_v {v_double}"), ZERO, "rack"),
    Case("deep_discharge", "deep_discharge", "9", ("override {cell} cell_voltage_v {v_deep}",), OPEN, "rack"),
    Case("temperature_rises_fast", "temperature_rises_fast", "13", ("ramp {sensor} cell_temperature_degc 1",), OPEN,
         "rack", extra_ms=2600, most_ms=3000),
    Case("temperature_sensor_lost", "temperature_sensor_lost", "12", ("nan {sensor} cell_temperature_degc",), REDUCED,
         start=HARD),
    Case("cell_voltage_noisy", "cell_voltage_noisy", "4", ("noise {cell} cell_voltage_v 0.1",), KEPT,
         extra_ms=NOISE_MS),
    Case("module_witness_lost", "module_witness_lost", "58", ("nan {module} module_bleeding_cells",), REDUCED,
         start=HARD),
    Case("charge_undertemperature_warning", "charge_undertemperature_warning", "11",
         ("override {sensor} cell_temperature_degc {t_cool}",), REDUCED, start=HARD),
    Case("discharge_overtemperature_warning", "discharge_overtemperature_warning", "10",
         ("override {sensor} cell_temperature_degc {t_hot}",), ZERO, start=CHARGE),
    Case("discharge_undertemperature_warning", "discharge_undertemperature_warning", "11",
         ("override {sensor} cell_temperature_degc {t_icy}",), REDUCED, start=HARD),
    Case("temperature_lost", "temperature_lost", "12", ("nan {module} cell_temperature_degc",), ZERO, "rack"),
)

RACKS: Final = (
    Case("charge_overcurrent", "charge_overcurrent", "14", ("override {rack} rack_current_a {i_charge}",), OPEN,
         "rack", CHARGE, most_ms=300, by_scans=True),
    Case("discharge_overcurrent", "discharge_overcurrent", "15", ("override {rack} rack_current_a {i_discharge}",),
         OPEN, "rack", most_ms=300, by_scans=True),
    Case("rack_comm_lost", "rack_comm_lost", "27", ("drop {rack_device}",), OPENED, "rack", lost=True, most_ms=1000,
         react_ms=RACK_WATCHDOG_MS),
    Case("bus_lost", "rack_comm_lost", "28", ("drop {bus}",), OPENED, "rack", lost=True, most_ms=1000,
         react_ms=RACK_WATCHDOG_MS),
    Case("bus_told_once", "bus_lost", "28", ("drop {bus}",), OPENED, "rack", lost=True, extra_ms=500,
         react_ms=RACK_WATCHDOG_MS),
    Case("gateway_restart", "rack_comm_lost", "29", ("reboot {bus} 3s",), OPENED, "rack", lost=True, most_ms=1000,
         react_ms=RACK_WATCHDOG_MS),
    Case("garbage_replies", "rack_comm_lost", "30", ("garbage {bus} 4s",), OPENED, "rack", lost=True, most_ms=1000,
         react_ms=RACK_WATCHDOG_MS),
    Case("rack_current_lost", "rack_current_lost", "17", ("nan {rack} rack_current_a",), ZERO, "rack",
         open_ms=STOPPING_MS + 1000),
    Case("contactor_drops_out", "contactor_opened_by_itself", "21", ("override {rack} rack_main_closed 0",), OPEN,
         "rack", most_ms=300),
    Case("closed_without_contact", "closed_without_contact", "20", ("override {rack} rack_link_voltage_v {v_apart}",),
         OPEN, "rack"),
    Case("rack_overvoltage", "rack_overvoltage", "8", ("override {rack} rack_voltage_v {rack_over}",), OPEN, "rack"),
    Case("rack_undervoltage", "rack_undervoltage", "9", ("override {rack} rack_voltage_v {rack_under}",), OPEN, "rack"),
    Case("rack_currents_differ", "rack_currents_differ", "18", ("offset {rack} rack_current_redundant_a 20",), REDUCED,
         start=HARD),
    Case("rack_witness_lost", "rack_witness_lost", "18", ("nan {rack} rack_current_redundant_a",), REDUCED, start=HARD),
    Case("rack_current_reversed", "rack_current_reversed", "16", ("invert {rack} rack_current_a",), ZERO, "rack",
         most_ms=5000),
    Case("rack_current_stuck", "rack_current_stuck", "17", ("stick {rack} rack_current_a",), ZERO, "rack",
         origin="setpoint", act="more", extra_ms=1500, open_ms=STOPPING_MS + 1000),
    Case("rack_current_offset", "rack_current_offset", "17", ("offset {rack} rack_current_a {i_offset}",), BLOCKED,
         "rack", STANDBY),
    Case("second_controller", "second_controller", "51", ("second_master {rack} on",), ZERO, "rack",
         extra_ms=TWO_MASTERS_MS, most_ms=2000),
    Case("heartbeat_not_received", "heartbeat_not_received", "51", ("stick {rack} rack_heartbeat_echo",), ZERO, "rack",
         extra_ms=1000),
    Case("precharge_does_not_close", "precharge_does_not_close", "20", ("fail_to_close {rack} precharge on",), BLOCKED,
         "rack", STANDBY, origin="precharge_close", act="connect", most_ms=500),
    Case("precharge_too_fast", "precharge_too_fast", "23", ("link {bank} 0", "no_resistor {rack} on"), BLOCKED,
         "rack", STANDBY, origin="precharge_close", act="connect_alone"),
    Case("precharge_unseen", "precharge_too_fast", "23",
         ("link {bank} 0", "no_resistor {rack} on", "override {rack} rack_link_voltage_v 0",
          "at 900ms clear {rack} rack_link_voltage_v"), BLOCKED, "rack", STANDBY, origin="precharge_close",
         act="connect_alone", extra_ms=900),
    Case("precharge_without_rise", "precharge_without_rise", "22", ("override {rack} rack_link_voltage_v 0",), BLOCKED,
         "rack", STANDBY, origin="precharge_close", act="connect_alone", extra_ms=1500),
    Case("command_not_confirmed", "command_not_confirmed", "51", ("override {rack} rack_main_confirmed 0",), OPEN,
         "rack"),
    Case("insulation_low", "insulation_low", "25", ("insulation {rack} {ohm_low}",), OPEN, "rack"),
    Case("insulation_lost", "insulation_lost", "26", ("nan {rack} rack_insulation_ohm",), ZERO, "rack"),
    Case("sum_of_cells_differs", "sum_of_cells_differs", "7", ("offset {rack} rack_voltage_v {v_offset}",), ZERO,
         "rack"),
    Case("rack_not_connected", "rack_not_connected", "25", ("insulation {rack} {ohm_low}",), OPEN, "rack",
         extra_ms=1300),
    Case("contactor_welded", "contactor_does_not_open", "19",
         ("weld {rack} main on", "override {cell} cell_voltage_v {v_over}"), OPEN, "others", origin="main_open",
         most_ms=500),
    Case("open_rack_live", "open_rack_live", "19", ("weld_unseen {rack} on", "override {cell} cell_voltage_v {v_over}"),
         ZERO, "others", origin="main_open", open_ms=STOPPING_MS + 1000),
    Case("contactor_does_not_close", "contactor_does_not_close", "20", ("fail_to_close {rack} main on",), OPEN,
         "rack", STANDBY, origin="main_close", act="connect", most_ms=500),
    Case("precharge_welded", "precharge_does_not_open", "19", ("weld {rack} precharge on",), OPEN, "rack", STANDBY,
         origin="precharge_open", act="connect"),
    Case("current_on_open_rack", "current_on_open_rack", "17", ("override {rack} rack_current_a 20",), BLOCKED,
         "rack", STANDBY),
    Case("unequal_racks", "rack_not_connected", "24", ("soc {later_rack} 0.1",), BLOCKED, "later_rack", STANDBY,
         act="connect", extra_ms=CONNECTING_MS, heal=("soc {later_rack} 0.6",)),
)

PCS: Final = (
    Case("pcs_comm_lost", "pcs_comm_lost", "33", ("drop {pcs}",), ZERO, "bank", lost=True, most_ms=1000,
         react_ms=PCS_WATCHDOG_MS),
    Case("pcs_witness_lost", "pcs_witness_lost", "17, 31", ("nan {pcs} pcs_dc_current_a",), REDUCED, start=HARD),
    Case("pcs_fault", "pcs_fault", "31", ("pcs_fault {pcs} on",), ZERO, "bank"),
    Case("pcs_does_not_follow", "pcs_does_not_follow", "31", ("pcs_ignore {pcs} on",), ZERO, "bank",
         origin="setpoint", act="more"),
    Case("pcs_exceeds_limits", "pcs_exceeds_limits", "32", ("override {pcs} pcs_active_power_w {p_limit}",), ZERO,
         "bank", CHARGE, most_ms=500),
    Case("pcs_command_not_confirmed", "pcs_command_not_confirmed", "51",
         ("override {pcs} pcs_active_power_confirmed_w {p_other}",), ZERO, "bank"),
    Case("pcs_power_uncommanded", "pcs_power_uncommanded", "31", ("override {pcs} pcs_active_power_w {p_other}",),
         BLOCKED, "bank", STANDBY),
    Case("pcs_does_not_start", "pcs_does_not_start", "31", ("override {pcs} pcs_running 0",), ZERO, "bank", slow=True),
    Case("no_current_though_commanded", "no_current_though_commanded", "17, 31", ("override all rack_current_a 0",),
         ZERO, "bank"),
    Case("dc_power_differs", "dc_power_differs", "18", ("offset all rack_current_a -30",), REDUCED, start=HARD),
    Case("link_voltages_differ", "link_voltages_differ", "7", ("offset {pcs} pcs_dc_voltage_v {v_witness}",), KEPT),
    Case("pcs_exceeds_rating", "pcs_exceeds_rating", "32", ("override {pcs} pcs_active_power_w {p_over}",), ZERO,
         "bank"),
)

SITE: Final = (
    Case("estop", "estop", "52", ("estop on",), OPEN, "all", most_ms=TWO_SCANS),
    Case("estop_one_channel", "estop", "52", ("estop on {channel}",), OPEN, "all", most_ms=TWO_SCANS),
    Case("estop_discrepancy", "estop_discrepancy", "52", ("estop on {channel}",), OPEN, "all"),
    Case("estop_lost", "estop_lost", "52", ("drop site",), OPEN, "all", lost=True, most_ms=1000),
    Case("fire_detection_lost", "fire_detection_lost", "53", ("drop site",), OPEN, "all", lost=True),
    Case("remote_emergency_stop", "remote_emergency_stop", "52", (), OPEN, "all", act="emergency_stop",
         extra_ms=COMMANDED_MS),
    Case("setpoints_contested", "setpoints_contested", "37", (), KEPT, act="two_masters", then="take_control",
         extra_ms=COMMANDED_MS),
    Case("fire_alarm", "fire_alarm", "53", ("fire on",), OPEN, "all", most_ms=TWO_SCANS),
    Case("smoke_detected", "smoke_detected", "53", ("smoke on",), OPEN, "all", most_ms=TWO_SCANS),
    Case("cooling_failed", "cooling_failed", "54", ("hvac on",), REDUCED, start=HARD),
    Case("enclosure_data_lost", "enclosure_data_lost", "54", ("nan site ambient_temperature_degc",), REDUCED,
         start=HARD),
    Case("door_open", "door_open", "", ("door on",), BLOCKED, "all", STANDBY, then="connect"),
    Case("aux_supply_low", "aux_supply_low", "56", ("aux_supply {aux_low}",), ZERO, "all"),
    Case("aux_supply_lost", "aux_supply_lost", "56", ("nan site aux_supply_v",), ZERO, "all"),
    Case("scan_overrun", "scan_overrun", "47", ("hold scan 6",), ZERO, "all", extra_ms=800),
    Case("scan_killed", "", "46", ("signal scan KILL",), ZERO, "all", extra_ms=100, open_ms=RACK_WATCHDOG_MS + 200),
    Case("scan_stopped", "", "47", ("signal scan STOP",), ZERO, "all", extra_ms=100, open_ms=RACK_WATCHDOG_MS + 200),
    Case("io_stopped", "io_process_lost", "48", ("signal io STOP",), OPENED, "all", extra_ms=2000,
         react_ms=RACK_WATCHDOG_MS),
)

SLOW: Final = (
    Case("insulation_warning", "insulation_warning", "25", ("insulation {rack} {ohm_warn}",), KEPT, slow=True),
    Case("enclosure_hot", "enclosure_hot", "54", ("override site ambient_temperature_degc {ambient_high}",), REDUCED,
         start=HARD, slow=True),
    Case("precharge_overdue", "precharge_overdue", "22", ("override {rack} rack_link_voltage_v 0",), BLOCKED, "rack",
         STANDBY, origin="precharge_close", act="connect_alone", extra_ms=ATTEMPTS_MS, slow=True),
    Case("runaway", "runaway", "13",
         ("override {sensor} cell_temperature_degc 52", "ramp {sensor} cell_temperature_degc 2"), OPEN, "rack",
         extra_ms=7000, fresh_after=True, slow=True),
    Case("weld_test_failed", "weld_test_failed", "19",
         ("weld {rack} main on", "override {rack} rack_main_closed 0", "estop on"), BLOCKED, "others", extra_ms=70_000,
         slow=True),
    Case("scada_heartbeat_lost", "scada_heartbeat_lost", "34", (), REDUCED, act="beat", extra_ms=10000,
         fresh_after=True, slow=True),
    Case("bleed_switch_stuck", "bleed_switch_stuck", "58", ("bleed_stuck {cell} on",), ZERO, start=CHARGE, slow=True),
    Case("cell_voltage_stuck", "cell_voltage_stuck", "1", ("stick {cell} cell_voltage_v",), KEPT, act="reverse",
         extra_ms=5000, slow=True),
    Case("several_cells_unwitnessed", "several_cells_unwitnessed", "1",
         ("stick {cell} cell_voltage_v", "stick {neighbour} cell_voltage_v"), ZERO, "rack", act="reverse",
         extra_ms=5000, slow=True),
    Case("cell_voltage_high", "cell_voltage_high", "8", ("override {cell} cell_voltage_v {v_rather_high}",), KEPT,
         slow=True),
    Case("cell_voltage_low", "cell_voltage_low", "9", ("override {cell} cell_voltage_v {v_rather_low}",), KEPT,
         slow=True),
    Case("charge_temperature_high", "charge_temperature_high", "10",
         ("override {sensor} cell_temperature_degc {t_rather_warm}",), KEPT, slow=True),
    Case("charge_temperature_low", "charge_temperature_low", "11",
         ("override {sensor} cell_temperature_degc {t_rather_cool}",), KEPT, slow=True),
    Case("discharge_temperature_high", "discharge_temperature_high", "10",
         ("override {sensor} cell_temperature_degc {t_rather_hot}",), KEPT, slow=True),
    Case("discharge_temperature_low", "discharge_temperature_low", "11",
         ("override {sensor} cell_temperature_degc {t_rather_icy}",), KEPT, slow=True),
    Case("charge_overcurrent_lasting", "charge_overcurrent_lasting", "14",
         ("override {rack} rack_current_a {i_charge_lasting}",), OPEN, "rack", CHARGE, extra_ms=12500, slow=True),
    Case("discharge_overcurrent_lasting", "discharge_overcurrent_lasting", "15",
         ("override {rack} rack_current_a {i_discharge_lasting}",), OPEN, "rack", extra_ms=12500, slow=True),
    Case("charge_overcurrent_warning", "charge_overcurrent_warning", "14",
         ("override {rack} rack_current_a {i_charge_enduring}",), REDUCED, "none", HARD, extra_ms=25_000, slow=True),
    Case("discharge_overcurrent_warning", "discharge_overcurrent_warning", "15",
         ("override {rack} rack_current_a {i_discharge_enduring}",), KEPT, extra_ms=25_000, slow=True),
    Case("charge_current_high", "charge_current_high", "14", ("override {rack} rack_current_a {i_charge_high}",), KEPT,
         start=CHARGE, slow=True),
    Case("discharge_current_high", "discharge_current_high", "15",
         ("override {rack} rack_current_a {i_discharge_high}",), KEPT, slow=True),
    Case("cell_voltage_spread", "cell_voltage_spread", "", ("override {cell} cell_voltage_v {v_spread}",), KEPT,
         slow=True),
    Case("temperature_spread", "temperature_spread", "", ("offset {sensor} cell_temperature_degc {t_spread}",), KEPT,
         slow=True),
    Case("cooling_without_fall", "cooling_without_fall", "54",
         ("override all cell_temperature_degc {t_rather_warm}", "ramp all cell_temperature_degc 0.015"), KEPT,
         extra_ms=121_000, slow=True),
    Case("store_stopped", "store_process_lost", "48", ("hold store 40",), KEPT, extra_ms=PROCESS_LOST_MS + 1000,
         slow=True),
    Case("opcua_stopped", "opcua_process_lost", "48, 49", ("hold opcua 40",), KEPT, extra_ms=PROCESS_LOST_MS + 1000,
         slow=True),
)

# fmt: on

CASES: Final = CELLS + RACKS + PCS + SITE + SLOW

NO_DEVICE: Final = "no device of the reference sites reports it; told as a story in tests/scenario"
NOT_INJECTED: Final = {
    "records_lost": "needs a full ring between two processes; no fault outside the controller fills one",
    "rack_bms_alarm": NO_DEVICE,
    "rack_bms_lost": NO_DEVICE,
    "rack_bms_limit_exceeded": NO_DEVICE,
    "soc_differs": NO_DEVICE,
    "soc_unknown": "comes only at a site without memory, and goes with the first rest",
    "store_trouble": "the disk is not reached from the plant's side",
    "disk_full": "the disk is not reached from the plant's side",
    "clock_jumped": "the clock of this machine is not touched",
    "clock_not_synchronised": "the clock of this machine is not touched",
    "configuration_changed": "needs another site file and a restart",
    "controller_interrupted": "comes with every `scan_killed`, and is no effect of its own",
    "contactor_worn": "takes years of operations",
    "lithium_plating_suspected": "takes weeks of a charge that the controller's own limit does not permit",
    "retained_memory_lost": "the state folder is not reached from the plant's side; see `make powercut`",
    "retained_memory_doubtful": "the state folder is not reached from the plant's side; see `make powercut`",
}
"""Rows without a case, and why. What takes longer than ten minutes has its cases in `clocked.LONG`."""

NOT_COVERED: Final = {
    "35, 36": "SCADA's commands are not faults of the plant",
    "38-45": "clock, disk and databases are not reached from the plant's side",
    "50, 55, 57, 59, 60": "event storm, brown-outs, leaks, SOC, exceptions in the scan",
}
"""Numbers of the fault catalogue that no case injects, and why."""
