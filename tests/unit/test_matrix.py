"""What the cause & effect table must do, read by effect: which hazards open contactors, lock out, stop, block, derate.

A row says what one hazard does; these lists say what the plant must answer to, so that a row that is changed by
mistake contradicts them.
"""

from __future__ import annotations

import pytest

from controller.core.protect import ROWS, Effect, Reset, Row
from controller.core.protect.row import Threshold
from plc_config.compile import compile_site

OPENS_AT_ONCE = """
cell_overvoltage cell_undervoltage deep_discharge rack_overvoltage rack_undervoltage
charge_overcurrent discharge_overcurrent charge_overcurrent_lasting discharge_overcurrent_lasting
discharge_overtemperature temperature_rises_fast runaway smoke_detected fire_alarm
estop estop_discrepancy estop_lost remote_emergency_stop insulation_low
contactor_does_not_close contactor_does_not_open contactor_opened_by_itself closed_without_contact
command_not_confirmed current_on_open_rack open_rack_live
precharge_does_not_close precharge_does_not_open precharge_overdue precharge_too_fast
rack_comm_lost io_process_lost retained_memory_lost
"""
"""Energy that cannot be limited, a switch that does not obey, a person's command, or nobody left who could see."""
LOCKS_OUT = """
deep_discharge temperature_rises_fast estop_discrepancy contactor_does_not_open precharge_does_not_open
current_on_open_rack open_rack_live runaway retained_memory_lost
"""
"""What an engineer must have looked at before the rack may be closed again."""
STOPS_FIRST = """
module_comm_lost cell_voltage_lost temperature_lost sense_wire_open rack_current_lost insulation_lost
rack_current_reversed rack_current_stuck sum_of_cells_differs heartbeat_not_received second_controller
rack_bms_alarm rack_bms_lost rack_bms_limit_exceeded
pcs_comm_lost pcs_fault pcs_does_not_follow pcs_does_not_start pcs_exceeds_limits pcs_exceeds_rating
pcs_power_uncommanded pcs_command_not_confirmed no_current_though_commanded
aux_supply_low aux_supply_lost fire_detection_lost scan_overrun
module_unwitnessed rack_unwitnessed pcs_unwitnessed cell_unwitnessed several_cells_unwitnessed
"""
"""What is no longer seen or no longer obeys, with time to bring the current to zero."""
KEEPS_OPEN = """
module_comm_lost cell_voltage_lost temperature_lost sense_wire_open cell_voltage_stuck bleed_switch_stuck
rack_comm_lost rack_current_lost rack_current_reversed rack_current_stuck rack_current_offset insulation_low
insulation_lost sum_of_cells_differs heartbeat_not_received second_controller command_not_confirmed weld_test_failed
rack_bms_alarm rack_bms_lost pcs_comm_lost pcs_fault pcs_power_uncommanded pcs_command_not_confirmed
link_voltages_differ aux_supply_low aux_supply_lost fire_detection_lost door_open io_process_lost
rack_witness_lost module_unwitnessed rack_unwitnessed pcs_unwitnessed cell_unwitnessed several_cells_unwitnessed
"""
"""What must be in order before anything is closed."""
NO_CHARGE = """
cell_overvoltage_warning charge_overtemperature charge_undertemperature discharge_overtemperature_warning
discharge_undertemperature bleed_switch_stuck module_comm_lost cell_voltage_lost temperature_lost sense_wire_open
rack_comm_lost rack_current_lost rack_current_reversed rack_bms_alarm rack_bms_lost pcs_comm_lost
"""
NO_DISCHARGE = """
cell_undervoltage_warning discharge_undertemperature module_comm_lost cell_voltage_lost temperature_lost
sense_wire_open rack_comm_lost rack_current_lost rack_current_reversed rack_bms_alarm rack_bms_lost pcs_comm_lost
"""
LESS_POWER = """
charge_undertemperature_warning discharge_undertemperature_warning overtemperature_warning
discharge_overtemperature_warning charge_overcurrent_warning discharge_overcurrent_warning
temperature_spread cell_voltage_spread cell_voltage_noisy cell_voltage_stuck temperature_sensor_lost
rack_currents_differ dc_power_differs cooling_failed cooling_without_fall enclosure_hot enclosure_data_lost
module_witness_lost rack_witness_lost pcs_witness_lost
"""
ONLY_TOLD = """
cell_voltage_high cell_voltage_low charge_temperature_high charge_temperature_low discharge_temperature_high
discharge_temperature_low charge_current_high discharge_current_high precharge_without_rise insulation_warning
soc_unknown soc_differs rack_not_connected contactor_worn internal_short_suspected busbar_step_suspected
resistance_growth_suspected self_discharge_suspected lithium_plating_suspected low_capacity_suspected
voltage_sensor_suspected temperature_sensor_suspected stuck_sensor_suspected scada_heartbeat_lost setpoints_contested
opcua_process_lost store_process_lost store_trouble disk_full records_lost clock_jumped clock_not_synchronised
configuration_changed retained_memory_doubtful controller_interrupted bus_lost
"""
"""What a person must know, and nothing has to be done about by itself."""
URGENT = """
sense_wire_open cell_voltage_lost rack_current_lost module_comm_lost rack_bms_alarm second_controller aux_supply_low
pcs_fault pcs_comm_lost pcs_exceeds_limits pcs_exceeds_rating scan_overrun
"""
"""What hides a danger, or drives one."""
AN_HOUR = 3_600_000
WAITS = {
    100: "contactor_opened_by_itself",
    200: "rack_bms_alarm pcs_fault pcs_exceeds_limits",
    300: "sense_wire_open closed_without_contact",
    500: """cell_voltage_lost rack_current_lost command_not_confirmed second_controller pcs_exceeds_rating
        estop_discrepancy module_witness_lost rack_witness_lost pcs_witness_lost""",
    1000: """temperature_lost temperature_sensor_lost rack_currents_differ current_on_open_rack open_rack_live
        sum_of_cells_differs rack_bms_lost pcs_command_not_confirmed dc_power_differs fire_detection_lost door_open""",
    2000: """rack_current_stuck insulation_lost rack_bms_limit_exceeded pcs_power_uncommanded link_voltages_differ
        cooling_failed enclosure_data_lost aux_supply_lost""",
    3000: "cell_voltage_noisy rack_current_reversed no_current_though_commanded",
    5000: "rack_current_offset rack_not_connected",
    10_000: "cell_voltage_stuck several_cells_unwitnessed bleed_switch_stuck pcs_does_not_start",
    60_000: "soc_unknown soc_differs",
    900_000: "clock_not_synchronised",
    AN_HOUR: "module_unwitnessed rack_unwitnessed pcs_unwitnessed cell_unwitnessed",
}
"""ms by which a condition must be sure; every other one is sure at once, or by what it looks at."""
LIMIT = compile_site("container").program.limit


@pytest.mark.parametrize(
    ("effect", "hazards"),
    [
        (Effect.TRIP, OPENS_AT_ONCE), (Effect.LOCKOUT, LOCKS_OUT), (Effect.STOP, STOPS_FIRST),
        (Effect.BLOCK_CLOSE, KEEPS_OPEN), (Effect.BLOCK_CHARGE, NO_CHARGE), (Effect.BLOCK_DISCHARGE, NO_DISCHARGE),
        (Effect.DERATE, LESS_POWER),
    ],
    ids=lambda x: getattr(x, "name", ""),
)  # fmt: skip
def test_these_hazards_and_no_others_have_this_effect(effect: Effect, hazards: str) -> None:
    assert {r.id for r in ROWS if r.effect & effect} == set(hazards.split())


def test_every_row_is_told() -> None:
    assert all(r.effect & Effect.ALARM for r in ROWS)


def test_these_are_told_and_change_nothing() -> None:
    assert {r.id for r in ROWS if r.effect == Effect.ALARM} == set(ONLY_TOLD.split())


def test_only_a_welded_rack_concerns_the_others_of_its_bank() -> None:
    assert {r.id: r.bank_effect for r in ROWS if r.bank_effect} == {
        "contactor_does_not_open": Effect.ALARM | Effect.TRIP | Effect.BLOCK_CLOSE,
        "open_rack_live": Effect.ALARM | Effect.STOP | Effect.BLOCK_CLOSE,
    }


class TestReset:
    def test_what_opens_contactors_at_once_waits_for_a_person_unless_a_line_was_lost(self) -> None:
        by_itself = {r.id for r in ROWS if r.opens and r.effect & Effect.TRIP and r.reset is Reset.SELF}
        assert by_itself == {"rack_comm_lost", "io_process_lost"}

    def test_what_locks_out_and_what_may_have_welded_or_shorted_waits_for_an_engineer(self) -> None:
        engineer = {r.id for r in ROWS if r.reset is Reset.MAINTENANCE}
        assert engineer == {*LOCKS_OUT.split(), "precharge_too_fast", "weld_test_failed"}

    def test_what_has_a_device_of_its_own_to_reset_waits_for_that(self) -> None:
        assert {r.id for r in ROWS if r.reset is Reset.LOCAL} == {"estop", "fire_alarm", "smoke_detected"}

    def test_what_is_lost_and_heard_again_or_too_hot_and_cooler_ends_by_itself(self) -> None:
        passing = {
            r.id
            for r in ROWS
            if r.id.endswith(("_lost", "_high", "_low", "_warning", "_hot", "_spread", "_noisy", "_unwitnessed"))
        }
        held = {r.id for r in ROWS if r.id in passing and r.reset is not Reset.SELF}
        assert held == {"insulation_low", "estop_lost", "retained_memory_lost"}

    def test_what_only_tells_ends_by_itself_unless_somebody_must_have_read_it(self) -> None:
        held = {r.id for r in ROWS if r.effect == Effect.ALARM and r.reset is not Reset.SELF}
        suspected = {name for name in held if name.endswith("_suspected")}
        assert held - suspected == {"configuration_changed", "retained_memory_doubtful", "controller_interrupted"}

    def test_a_device_that_contradicts_itself_stays_told_until_somebody_looked(self) -> None:
        words = ("_suspected", "stuck", "reversed", "exceed", "uncommanded", "does_not_", "sense_wire", "sum_of_cells")
        odd = {r.id for r in ROWS if any(word in r.id for word in words)}
        assert {r.id for r in ROWS if r.id in odd and r.reset is Reset.SELF} == set()

    @pytest.mark.parametrize(
        ("hazards", "reset"),
        [
            # One direction closes, and opens again when the cells are warm or cool enough.
            ("charge_overtemperature charge_undertemperature discharge_undertemperature", Reset.SELF),
            # Two that measure the same agree again.
            ("rack_currents_differ rack_current_offset dc_power_differs link_voltages_differ", Reset.SELF),
            ("heartbeat_not_received", Reset.SELF),
            # Another device says so itself, for as long as it lasts.
            ("rack_bms_alarm pcs_fault cooling_failed cooling_without_fall door_open", Reset.SELF),
            # Somebody else commands, or the commands do not arrive, or not in time: that is not over by itself.
            ("second_controller pcs_command_not_confirmed no_current_though_commanded scan_overrun", Reset.OPERATOR),
        ],
    )
    def test_who_ends_what_is_told_nowhere_else(self, hazards: str, reset: Reset) -> None:
        rows = {r.id: r.reset for r in ROWS}
        assert {rows[name] for name in hazards.split()} == {reset}


class TestTime:
    def test_what_opens_at_once_is_sure_within_half_a_second_or_a_second_where_nature_is_slow(self) -> None:
        slow = {"discharge_overtemperature", "insulation_low", "current_on_open_rack", "open_rack_live"}
        late = {r.id: r.delay_ms(LIMIT) for r in ROWS if r.effect & Effect.TRIP and r.delay_ms(LIMIT) > 500}
        assert late == dict.fromkeys(slow, 1000)

    def test_what_stops_is_sure_within_three_seconds_and_a_pcs_has_ten_to_start(self) -> None:
        late = {r.id: r.delay_ms(LIMIT) for r in ROWS if r.effect & Effect.STOP and r.delay_ms(LIMIT) > 2000}
        assert late == {
            "pcs_does_not_start": 10_000, "no_current_though_commanded": 3000, "rack_current_reversed": 3000,
            "module_unwitnessed": AN_HOUR, "rack_unwitnessed": AN_HOUR, "pcs_unwitnessed": AN_HOUR,
            "cell_unwitnessed": AN_HOUR, "several_cells_unwitnessed": 10_000,
        }  # fmt: skip

    def test_what_is_urgent_stops_within_half_a_second(self) -> None:
        assert max(r.delay_ms(LIMIT) for r in ROWS if r.id in URGENT.split()) == 500
        assert set(URGENT.split()) < set(STOPS_FIRST.split())

    def test_what_is_no_band_waits_for_what_else_it_could_be(self) -> None:
        own = {r.id: r.delay for r in ROWS if isinstance(r.delay, int) and not isinstance(r.cause, Threshold)}
        listed = {name: delay for delay, names in WAITS.items() for name in names.split()}
        assert own == {**dict.fromkeys(own, 0), **listed}

    def test_the_end_of_the_operating_range_is_told_after_ten_seconds(self) -> None:
        early = [r for r in ROWS if isinstance(r.cause, Threshold) and r.cause.at == "operate"]
        assert len(early) == 8 and {r.delay_ms(LIMIT) for r in early} == {10_000}

    def test_a_warning_before_a_voltage_trip_comes_in_time_to_prevent_it(self) -> None:
        early = ("cell_overvoltage_warning", "cell_undervoltage_warning")
        assert {r.delay_ms(LIMIT) for r in ROWS if r.id in early} == {200}


@pytest.mark.parametrize("row", [r for r in ROWS if isinstance(r.cause, Threshold)], ids=lambda r: r.id)
def test_a_threshold_clears_on_the_sound_side_of_its_limit(row: Row) -> None:
    cause = row.cause
    assert isinstance(cause, Threshold)
    band = getattr(LIMIT, cause.band)
    limit = getattr(band, cause.at)
    assert band.clear < limit if cause.over else band.clear > limit
