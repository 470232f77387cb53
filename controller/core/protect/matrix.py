"""THE cause & effect table. A row is the whole truth about one hazard; the order of rows means nothing.

The printed matrix, the alarm list, the OPC UA alarms and the list of scenarios that must exist come from here.
"""

from __future__ import annotations

from typing import Final

from controller.core.effect import Effect
from controller.core.protect import facts as f
from controller.core.protect.row import Priority, Reset, Row, Threshold, When

A, D, C, X = Effect.ALARM, Effect.DERATE, Effect.BLOCK_CHARGE, Effect.BLOCK_DISCHARGE
B, S, T, L = Effect.BLOCK_CLOSE, Effect.STOP, Effect.TRIP, Effect.LOCKOUT
SELF, OPERATOR, MAINTENANCE, LOCAL = Reset.SELF, Reset.OPERATOR, Reset.MAINTENANCE, Reset.LOCAL
LOW, MEDIUM, HIGH = Priority.LOW, Priority.MEDIUM, Priority.HIGH


def _over(quantity: f.Quantity, band: str, at: str = "trip") -> Threshold:
    return Threshold(quantity, band, over=True, at=at)


def _under(quantity: f.Quantity, band: str, at: str = "trip") -> Threshold:
    return Threshold(quantity, band, over=False, at=at)


# fmt: off
CELLS: Final = (
    Row("cell_overvoltage", "module", _over(f.cell_voltage_high, "cell_overvoltage"), A | T, None, OPERATOR, HIGH,
        "An overcharged cell can vent and burn.", "Leave the rack open; look at the named cell and its sense wire.",
        "IEC 62619 8.2.2", "V"),
    Row("cell_overvoltage_warning", "module", _over(f.cell_voltage_high, "cell_overvoltage", "warn"), A | C, 200, SELF,
        LOW, "Charging must end before the cell's upper limit.", "Charging is blocked until the cell has come down.",
        "IEC 62619 8.2.2", "V"),
    Row("cell_undervoltage", "module", _under(f.cell_voltage_low, "cell_undervoltage"), A | T, None, OPERATOR, HIGH,
        "A deeply discharged cell may dissolve copper and short later.",
        "Leave the rack open; recharge only after inspection of the named cell.", "IEC 62619 8.2.4", "V"),
    Row("cell_undervoltage_warning", "module", _under(f.cell_voltage_low, "cell_undervoltage", "warn"), A | X, 200, SELF,
        LOW, "Discharging must end before the cell's lower limit.", "Discharging is blocked; charge the site.",
        "IEC 62619 8.2.4", "V"),
    Row("charge_overtemperature", "module", _over(f.temperature_high, "charge_overtemperature"), A | C, None, SELF,
        MEDIUM, "Charging a hot cell ages it and may plate lithium.", "Check cooling; charging returns below the clear "
        "threshold.", "IEC 62619 8.2.3", "degC"),
    Row("charge_undertemperature", "module", _under(f.temperature_low, "charge_undertemperature"), A | C, None, SELF, LOW,
        "Charging a frozen cell plates lithium.", "Warm the enclosure; charging returns by itself.", "IEC 62619 8.2.3",
        "degC"),
    Row("discharge_overtemperature", "module", _over(f.temperature_high, "discharge_overtemperature"), A | T, None,
        OPERATOR, HIGH, "Beyond this temperature self-heating may begin.", "Leave the rack open, check cooling, watch the "
        "named sensor; prepare for fire.", "IEC 62619 8.2.3", "degC"),
    Row("overtemperature_warning", "module", _over(f.temperature_high, "charge_overtemperature", "warn"), A | D, 1000, SELF,
        LOW, "Power is reduced before temperature has to trip.", "Check cooling and air paths.", "", "degC"),
    Row("discharge_undertemperature", "module", _under(f.temperature_low, "discharge_undertemperature"), A | C | X, None,
        SELF, LOW, "Below this temperature the cell must not carry current.", "Warm the enclosure.", "IEC 62619 8.2.3",
        "degC"),
    Row("module_comm_lost", "module", When(f.module_lost), A | C | X | B | S, 0, SELF, MEDIUM,
        "Cells that are not seen cannot be protected.", "Check the module's link and supply.", "UL 1973"),
    Row("cell_voltage_lost", "module", When(f.cell_voltage_lost), A | C | X | B | S, 500, SELF, MEDIUM,
        "A cell without a plausible voltage is not protected.", "Check the sense wire of the named module.", "UL 1973"),
    Row("temperature_lost", "module", When(f.temperature_lost), A | C | X | B | S, 1000, SELF, MEDIUM,
        "A module without a plausible temperature is not protected.", "Check the module's sensors.", "UL 1973"),
)

RACKS: Final = (
    Row("charge_overcurrent", "rack", _over(f.charge_current, "charge_overcurrent"), A | T, None, OPERATOR, HIGH,
        "Charge current beyond the cells' rating.", "Find out why the PCS exceeded its limit.", "IEC 62619 8.2.2", "A"),
    Row("discharge_overcurrent", "rack", _over(f.discharge_current, "discharge_overcurrent"), A | T, None, OPERATOR, HIGH,
        "Discharge current beyond the cells' rating.", "Look for a short circuit on the DC side before closing.",
        "IEC 62619 8.2.2", "A"),
    Row("rack_comm_lost", "rack", When(f.rack_lost), A | C | X | B | T, 0, SELF, MEDIUM,
        "A rack that is not heard cannot be seen to open.", "Check the rack controller's link and supply.", "UL 1973"),
    Row("rack_current_lost", "rack", When(f.rack_current_lost), A | C | X | B | S, 500, SELF, MEDIUM,
        "Without current there is no over-current protection.", "Check the current sensor.", "UL 1973"),
    Row("contactor_does_not_close", "rack", When(f.main_does_not_close), A | T, "contactor_follow_ms", OPERATOR, MEDIUM,
        "The main contactor did not follow its close command.", "Check coil supply and feedback of the rack."),
    Row("contactor_does_not_open", "rack", When(f.main_does_not_open), A | T | L, "contactor_follow_ms", MAINTENANCE, HIGH,
        "A welded contactor cannot isolate the rack.", "Isolate the rack by hand before anyone touches it; replace the "
        "contactor.", "UL 1973", bank_effect=A | B | T),
    Row("precharge_does_not_open", "rack", When(f.precharge_does_not_open), A | T | L, "contactor_follow_ms", MAINTENANCE,
        HIGH, "A welded precharge contactor keeps the link live.", "Isolate the rack by hand; replace the contactor."),
    Row("command_not_confirmed", "rack", When(f.command_not_confirmed), A | B | T, 500, OPERATOR, MEDIUM,
        "The rack controller holds another command than was sent.", "Check for a second master on the bus.", "D9"),
    Row("precharge_overdue", "rack", When(f.precharge_overdue), A | T, 0, OPERATOR, MEDIUM,
        "The link did not reach the rack's voltage in time.", "Check precharge resistor, fuse and link for a load.",
        "IEC 63056"),
    Row("current_on_open_rack", "rack", When(f.current_on_open_rack), A | T | L, 1000, MAINTENANCE, HIGH,
        "Current flows although the contactors should be open.", "Treat the rack as live; check contactors and sensor."),
    Row("insulation_low", "rack", _under(f.insulation, "insulation"), A | B | T, None, OPERATOR, HIGH,
        "A first earth fault makes the next one dangerous.", "Keep clear of the rack; find the earth fault.", "IEC 63056",
        "ohm"),
    Row("insulation_warning", "rack", _under(f.insulation, "insulation", "warn"), A, 10_000, SELF, LOW,
        "Insulation is getting worse.", "Plan an inspection; look for moisture.", "IEC 63056", "ohm"),
    Row("insulation_lost", "rack", When(f.insulation_lost), A | B | S, 2000, SELF, MEDIUM,
        "Without the monitor an earth fault stays unseen.", "Check the insulation monitor."),
    Row("sum_of_cells_differs", "rack", When(f.sum_of_cells_differs), A | B | S, 1000, OPERATOR, MEDIUM,
        "Rack voltage and cell voltages contradict each other.", "Check sense wires and the rack voltage divider."),
    Row("rack_not_connected", "rack", When(f.rack_open_while_online), A, 5000, SELF, LOW,
        "The site runs without this rack.", "See the rack's reason; reconnect when it is ready."),
    Row("contactor_worn", "rack", When(f.contactor_worn), A, 0, SELF, LOW,
        "A worn contactor welds or fails to close.", "Plan its replacement; see the life ledger of the rack."),
    Row("weld_test_failed", "rack", When(f.weld_test_failed), A | B, 0, MAINTENANCE, HIGH,
        "The link stayed at the rack's voltage after opening: the contactor may be welded.",
        "Treat the link as live; in MAINTENANCE look at the contactor, then reset.", "UL 1973"),
)

PCS: Final = (
    Row("pcs_comm_lost", "pcs", When(f.pcs_lost), A | C | X | B | S, 0, SELF, MEDIUM,
        "A PCS that is not heard cannot be controlled.", "Check the PCS's link and supply."),
    Row("pcs_fault", "pcs", When(f.pcs_fault), A | B | S, 200, SELF, MEDIUM,
        "The PCS has stopped itself.", "Read the fault at the PCS and reset it there."),
    Row("pcs_does_not_follow", "pcs", When(f.pcs_does_not_follow), A | S, "pcs_follow_ms", OPERATOR, MEDIUM,
        "The PCS gives another power than it was told.", "Check the PCS's mode and limits."),
    Row("pcs_exceeds_rating", "pcs", When(f.pcs_exceeds_rating), A | S, 500, OPERATOR, MEDIUM,
        "Power beyond the rating.", "Check the PCS."),
)

SITE: Final = (
    Row("estop", "site", When(f.estop_pressed), A | T, 0, LOCAL, HIGH,
        "Somebody pressed an emergency stop, or its wire is broken.", "Make sure that people are safe; unlock the button, "
        "then reset here.", "ISO 13850"),
    Row("estop_discrepancy", "site", When(f.estop_discrepancy), A | T | L, 500, MAINTENANCE, MEDIUM,
        "One channel of the E-stop chain has failed.", "Repair the E-stop chain before operation.", "ISO 13850"),
    Row("estop_lost", "site", When(f.estop_lost), A | T, 0, OPERATOR, MEDIUM,
        "An E-stop that cannot be read is no E-stop.", "Check the auxiliary I/O and its link."),
    Row("remote_emergency_stop", "site", When(f.remote_emergency_stop), A | T, 0, OPERATOR, HIGH,
        "An emergency stop was asked for remotely.", "Ask who did and why; see the audit trail."),
    Row("fire_alarm", "site", When(f.fire), A | T, 0, LOCAL, HIGH,
        "The fire panel alarms.", "Follow the site's emergency plan; do not open the doors.", "NFPA 855"),
    Row("smoke_detected", "site", When(f.smoke), A | T, 0, LOCAL, HIGH,
        "Smoke or off-gas comes before fire.", "Follow the site's emergency plan; do not open the doors.", "NFPA 855"),
    Row("fire_detection_lost", "site", When(f.fire_lost), A | B | S, 1000, SELF, MEDIUM,
        "Without detection a fire stays unseen.", "Check the fire panel and the auxiliary I/O.", "NFPA 855"),
    Row("cooling_failed", "site", When(f.hvac_failed), A | D, 2000, SELF, LOW,
        "Without cooling temperature will rise.", "Check the cooling plant; power is reduced meanwhile."),
    Row("enclosure_data_lost", "site", When(f.hvac_lost), A | D, 2000, SELF, LOW,
        "The state of cooling, doors and enclosure is unknown.", "Check the auxiliary I/O."),
    Row("door_open", "site", When(f.door_open), A | B, 1000, SELF, LOW,
        "Somebody may be inside.", "Close the doors; connecting is blocked meanwhile."),
    Row("enclosure_hot", "site", _over(f.ambient, "ambient"), A | D, None, SELF, LOW,
        "The enclosure is too hot.", "Check cooling.", "", "degC"),
    Row("aux_supply_low", "site", _under(f.aux_supply, "aux_supply"), A | B | S, None, SELF, MEDIUM,
        "Contactors will drop out under load when the control supply fails.", "Check the control supply and its battery.",
        "", "V"),
    Row("aux_supply_lost", "site", When(f.aux_supply_lost), A | B | S, 2000, SELF, LOW,
        "The control supply cannot be read.", "Check the auxiliary I/O."),
    Row("scada_heartbeat_lost", "site", When(f.scada_silent), A, 0, SELF, LOW,
        "SCADA has gone silent; power goes to the fallback.", "Check SCADA and the network."),
    Row("scan_overrun", "site", When(f.scan_overruns), A | S, 0, OPERATOR, MEDIUM,
        "The controller is too slow to protect in time.", "Reduce the load of this machine."),
    Row("io_process_lost", "site", When(f.io_lost), A | B | T, 0, SELF, MEDIUM,
        "Without the I/O process nothing is measured or commanded.", "It restarts by itself; see the journal."),
    Row("opcua_process_lost", "site", When(f.opcua_lost), A, 0, SELF, LOW,
        "SCADA cannot reach the controller.", "It restarts by itself; see the journal."),
    Row("store_trouble", "site", When(f.store_lost), A, 0, SELF, LOW,
        "History and audit are not being written.", "Check disk space and the journal."),
    Row("records_lost", "site", When(f.records_lost), A, 0, SELF, LOW,
        "Events were lost in a full queue.", "Check the load of this machine."),
    Row("retained_memory_lost", "site", When(f.retained_lost), A | T | L, 0, MAINTENANCE, MEDIUM,
        "Nobody knows what was latched before, so everything is.", "Find out why the state folder is empty or damaged and "
        "what was wrong with the plant; then reset in MAINTENANCE."),
    Row("retained_memory_doubtful", "site", When(f.retained_doubtful), A, 0, OPERATOR, LOW,
        "The copies of the retained memory disagreed or one was damaged; the worse one is in force.",
        "Check the disk and the journal; trips that come back may be reset once their cause is gone."),
)
# fmt: on

ROWS: Final = CELLS + RACKS + PCS + SITE
