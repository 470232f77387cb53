"""Every row of the matrix as a story: the cause appears, the row acts after its delay, and clears by its rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from controller.core.command import Kind, Role
from controller.core.image import AlarmState, RackMode, SiteMode
from controller.core.image_warnings import Fault
from controller.core.protect import ROWS, Effect, Reset, Row
from controller.core.signal import Quality
from plc_config.compile import compile_site
from plc_config.library import DATA
from tests.scenario.hazards import BANDS, WITNESSES, no_main_contactor
from tests.story import REST_V, Story

Act = Callable[[Story], None]


def _cells(value: float) -> Act:
    def act(s: Story) -> None:
        s.points.cell_voltage_v.value[0, 1, 4] = value

    return act


def _temperature(value: float) -> Act:
    def act(s: Story) -> None:
        s.points.cell_temperature_degc.value[0, 1, 2] = value

    return act


def _set(name: str, value: float, where: object = ..., hold: bool = False) -> Act:
    def act(s: Story) -> None:
        if hold:
            s.hold.add(name)
        getattr(s.points, name).value[where] = value

    return act


def _lose(name: str, where: object = ...) -> Act:
    return lambda s: s.lose(name, where)


def _sense_wire(s: Story) -> None:
    s.points.cell_voltage_v.quality[0, 1, 4] = int(Quality.BAD_SENSOR)


def _bus(s: Story) -> None:
    for name in ("rack_voltage_v", "rack_main_closed"):
        s.lose(name, 0)
    s.lose("cell_voltage_v", 0)


def _system(**values: int) -> Act:
    return lambda s: s.system.update(values)


def _weld(s: Story) -> None:
    s.hold |= {"rack_main_closed"}
    s.tell(Kind.DISCONNECT)
    s.seconds(3)


def _precharge_weld(s: Story) -> None:
    s.hold.add("rack_precharge_closed")
    s.points.rack_precharge_closed.value[0] = 1


def _overruns(s: Story) -> None:
    s.system["overruns"] = 0
    for _ in range(5):
        s.system["overruns"] += 1
        s.scans()


def _scada(s: Story) -> None:
    s.tell(Kind.HEARTBEAT, 1.0)
    s.scans()
    s.seconds(10.2)


def _no_precharge(s: Story) -> None:
    s.hold.add("rack_link_voltage_v")
    s.points.rack_link_voltage_v.value[...] = 0.0
    s.tell(Kind.DISCONNECT)
    s.until(SiteMode.STANDBY)
    s.tell(Kind.CONNECT)
    s.seconds(50)


def _open_rack(s: Story) -> None:
    s.tell(Kind.DISCONNECT)
    s.until(SiteMode.STANDBY)
    s.points.rack_current_a.value[0] = 20.0


def _worn(s: Story) -> None:
    operations = s.memory.modes.contactors.rack_contactor_operations.copy()
    operations[0] = 95_000
    s.contactors(rack_contactor_operations=operations)


def _link_stays_up(s: Story) -> None:
    s.hold.add("rack_link_voltage_v")
    s.tell(Kind.DISCONNECT)
    s.wait(60)


def _retained(state: int) -> Act:
    def act(s: Story) -> None:
        s.memory = dataclasses.replace(s.memory, modes=dataclasses.replace(s.memory.modes, retained_state=state))

    return act


def _told(fault: Fault) -> Act:
    """Early warning found it before a restart: what was told stays told."""

    def act(s: Story) -> None:
        bins = s.memory.watching.bins
        told = bins.told_k if fault is Fault.TEMPERATURE_SENSOR else bins.told
        told[0, 1, 2] = 1 << int(fault)

    return act


def _runaway(s: Story) -> None:
    for _ in range(60):
        s.points.cell_temperature_degc.value[0, 1, 2] += 0.3
        s.points.cell_voltage_v.value[0, 1, 8] = 2.4
        s.scans()


STORIES: dict[str, tuple[Act, float]] = {
    "cell_overvoltage": (_cells(3.66), 0.3),
    "cell_overvoltage_warning": (_cells(3.61), 0.5),
    "cell_undervoltage": (_cells(2.45), 0.3),
    "cell_undervoltage_warning": (_cells(2.65), 0.5),
    "charge_overtemperature": (_temperature(56.0), 1.3),
    "charge_undertemperature": (_temperature(-1.0), 1.3),
    "discharge_overtemperature": (_temperature(61.0), 1.3),
    "overtemperature_warning": (_temperature(51.0), 1.3),
    "discharge_undertemperature": (_temperature(-21.0), 1.3),
    "module_comm_lost": (_lose("cell_voltage_v", np.s_[0, 1]), 1.2),
    "cell_voltage_lost": (_sense_wire, 1.2),
    "temperature_lost": (_lose("cell_temperature_degc", np.s_[0, 1]), 1.5),
    "charge_overcurrent": (_set("rack_current_a", -170.0, 0), 0.3),
    "discharge_overcurrent": (_set("rack_current_a", 340.0, 0), 0.3),
    "rack_comm_lost": (_lose("rack_voltage_v", 0), 1.0),
    "rack_current_lost": (_lose("rack_current_a", 0), 1.0),
    "contactor_does_not_close": (no_main_contactor, 0.6),
    "contactor_does_not_open": (_weld, 1.0),
    "precharge_does_not_open": (_precharge_weld, 0.9),
    "command_not_confirmed": (_set("rack_main_confirmed", 0.0, 0, hold=True), 0.9),
    "precharge_overdue": (_no_precharge, 1.0),
    "current_on_open_rack": (_open_rack, 1.5),
    "insulation_low": (_set("rack_insulation_ohm", 40e3, 0), 1.3),
    "insulation_warning": (_set("rack_insulation_ohm", 90e3, 0), 10.5),
    "insulation_lost": (_lose("rack_insulation_ohm", 0), 3.2),
    "sum_of_cells_differs": (_set("rack_voltage_v", REST_V * 64 * 1.05, 0), 1.3),
    "rack_not_connected": (_set("rack_insulation_ohm", 40e3, 0), 8.0),
    "bus_lost": (_bus, 2.5),
    "runaway": (_runaway, 0.1),
    "internal_short_suspected": (_told(Fault.INTERNAL_SHORT), 0.1),
    "busbar_step_suspected": (_told(Fault.BUSBAR_STEP), 0.1),
    "resistance_growth_suspected": (_told(Fault.RESISTANCE_GROWTH), 0.1),
    "self_discharge_suspected": (_told(Fault.SELF_DISCHARGE), 0.1),
    "low_capacity_suspected": (_told(Fault.LOW_CAPACITY), 0.1),
    "lithium_plating_suspected": (_told(Fault.LITHIUM_PLATING), 0.1),
    "voltage_sensor_suspected": (_told(Fault.VOLTAGE_SENSOR), 0.1),
    "temperature_sensor_suspected": (_told(Fault.TEMPERATURE_SENSOR), 0.1),
    "stuck_sensor_suspected": (_told(Fault.STUCK_SENSOR), 0.1),
    "pcs_comm_lost": (_lose("pcs_active_power_w"), 1.0),
    "pcs_fault": (_set("pcs_fault", 1.0), 0.5),
    "pcs_does_not_follow": (_set("pcs_active_power_w", 50e3, ..., hold=True), 2.5),
    "pcs_exceeds_rating": (_set("pcs_active_power_w", 120e3, ..., hold=True), 0.9),
    "estop": (_set("estop_channel_1_closed", 0.0), 0.1),
    "estop_discrepancy": (_set("estop_channel_2_closed", 0.0), 0.8),
    "estop_lost": (_lose("estop_channel_1_closed"), 1.0),
    "remote_emergency_stop": (lambda s: s.tell(Kind.EMERGENCY_STOP) and None, 0.1),
    "fire_alarm": (_set("fire_alarm", 1.0), 0.1),
    "smoke_detected": (_set("smoke_detected", 1.0), 0.1),
    "fire_detection_lost": (_lose("smoke_detected"), 2.0),
    "cooling_failed": (_set("hvac_healthy", 0.0), 2.3),
    "enclosure_data_lost": (_lose("door_closed"), 3.0),
    "door_open": (_set("door_closed", 0.0), 1.3),
    "enclosure_hot": (_set("ambient_temperature_degc", 51.0), 10.4),
    "aux_supply_low": (_set("aux_supply_v", 19.0), 0.8),
    "aux_supply_lost": (_lose("aux_supply_v"), 3.0),
    "scada_heartbeat_lost": (_scada, 0.1),
    "scan_overrun": (_overruns, 0.1),
    "io_process_lost": (_system(io_age_ms=2500), 0.1),
    "opcua_process_lost": (_system(opcua_age_ms=40_000), 0.1),
    "records_lost": (_system(lost_records=3), 0.1),
    **BANDS,
    **WITNESSES,
    "contactor_worn": (_worn, 0.2),
    "weld_test_failed": (_link_stays_up, 3.0),
    "retained_memory_lost": (_retained(2), 0.1),
    "retained_memory_doubtful": (_retained(1), 0.1),
}


SPIKED = ("cell_over", "cell_under", "charge_over", "discharge_over", "insulation_low", "aux_supply_low")


def test_every_row_has_a_story() -> None:
    assert set(STORIES) == {r.id for r in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.id)
def test_a_hazard_leads_to_its_effect(row: Row, online: Story) -> None:
    assert not online.active(row.id)
    act, seconds = STORIES[row.id]
    act(online)
    image = online.seconds(seconds)
    assert online.active(row.id), online.texts()[-6:]
    effect = int(np.bitwise_or.reduce(image.trips.rack_effect))
    assert effect & int(row.effect) == int(row.effect)
    opening = row.effect | row.bank_effect
    if opening & (Effect.TRIP | Effect.LOCKOUT):
        assert not image.outputs.rack_main_close[0], "a tripped rack must be told to open"
        assert not image.outputs.rack_precharge_close[0]
    if row.effect & Effect.BLOCK_CHARGE:
        assert image.limits.rack_charge_limit_a[0] == 0 or row.place == "pcs"
    if row.effect & Effect.BLOCK_DISCHARGE:
        assert image.limits.rack_discharge_limit_a[0] == 0 or row.place == "pcs"


@pytest.mark.parametrize(
    ("row", "act"),
    [(r, STORIES[r.id][0]) for r in ROWS if r.id.startswith(SPIKED)],
    ids=lambda x: getattr(x, "id", ""),
)
def test_a_single_spike_trips_nothing_that_has_a_delay(row: Row, act: Act, online: Story) -> None:
    before = {n: getattr(online.points, n).value.copy() for n in ("cell_voltage_v", "rack_current_a", "aux_supply_v",
              "cell_temperature_degc", "rack_insulation_ohm")}  # fmt: skip
    act(online)
    online.scans(1)
    for name, value in before.items():
        getattr(online.points, name).value[...] = value
    online.scans(5)
    assert not online.active(row.id)
    assert online.rack() is RackMode.CLOSED


def test_chatter_still_trips(online: Story) -> None:
    """Present three scans in four for a minute: the delay is used up faster than it is given back."""
    slot = online.slot("discharge_overtemperature", "R01/M02")
    for i in range(60):
        online.points.cell_temperature_degc.value[0, 1, 2] = 61.0 if i % 4 else 25.0
        online.scans()
    assert online.memory.protection.latched[slot]


class TestReset:
    def test_a_latched_trip_stays_until_asked(self, online: Story) -> None:
        _cells(3.7)(online)
        online.seconds(1)
        _cells(REST_V)(online)
        online.seconds(30)
        assert online.active("cell_overvoltage")
        assert online.rack() is RackMode.TRIPPED

    def test_reset_is_refused_while_the_cause_is_present(self, online: Story) -> None:
        _cells(3.7)(online)
        online.seconds(1)
        reset = online.tell(Kind.RESET_TRIPS)
        online.scans()
        answer = online.answer(reset)
        assert not answer.accepted
        assert "cell_overvoltage R01/M02: cause still present" in answer.text
        assert online.rack() is RackMode.TRIPPED

    def test_reset_needs_the_clear_threshold_not_just_the_trip_threshold(self, online: Story) -> None:
        _cells(3.7)(online)
        online.seconds(1)
        _cells(3.5)(online)
        reset = online.tell(Kind.RESET_TRIPS)
        online.scans()
        assert not online.answer(reset).accepted

    def test_once_clear_an_operator_may_reset(self, online: Story) -> None:
        _cells(3.7)(online)
        online.seconds(1)
        _cells(REST_V)(online)
        reset = online.tell(Kind.RESET_TRIPS)
        online.scans(2)
        assert online.answer(reset).accepted
        assert online.rack() is RackMode.OPEN

    def test_a_rack_that_was_taken_out_joins_only_when_asked(self, online: Story) -> None:
        _cells(3.7)(online)
        online.seconds(1)
        _cells(REST_V)(online)
        online.tell(Kind.RESET_TRIPS)
        online.wait(60)
        assert (online.mode, online.rack(0), online.rack(1)) == (SiteMode.ONLINE, RackMode.OPEN, RackMode.CLOSED)
        online.tell(Kind.CONNECT)
        online.seconds(10)
        assert online.rack(0) is RackMode.CLOSED

    def test_an_observer_may_not(self, online: Story) -> None:
        _cells(3.7)(online)
        online.seconds(1)
        _cells(REST_V)(online)
        reset = online.tell(Kind.RESET_TRIPS, role=Role.OBSERVER)
        online.scans(2)
        assert not online.answer(reset).accepted
        assert online.rack() is RackMode.TRIPPED

    def test_missing_data_never_count_as_clear(self, online: Story) -> None:
        _cells(3.7)(online)
        online.seconds(1)
        online.lose("cell_voltage_v", np.s_[0, 1], Quality.BAD_SENSOR)
        online.seconds(2)
        reset = online.tell(Kind.RESET_TRIPS)
        online.scans()
        assert not online.answer(reset).accepted

    def test_a_weld_needs_an_engineer_in_maintenance(self, online: Story) -> None:
        _weld(online)
        online.hold.clear()
        online.seconds(1)
        operator = online.tell(Kind.RESET_TRIPS)
        online.scans()
        assert "MAINTENANCE" in online.answer(operator).text
        assert online.rack() is RackMode.LOCKED_OUT

    def test_a_new_emergency_stop_beats_a_reset_in_the_same_scan(self, online: Story) -> None:
        online.tell(Kind.EMERGENCY_STOP)
        online.seconds(1)
        online.tell(Kind.RESET_TRIPS)
        online.tell(Kind.EMERGENCY_STOP)
        online.seconds(1)
        assert online.active("remote_emergency_stop")


def test_every_latching_rule_is_used_and_every_row_tells_what_to_do() -> None:
    assert {r.reset for r in ROWS} == set(Reset)
    assert all(r.because and r.advice for r in ROWS)
    assert len({r.id for r in ROWS}) == len(ROWS)


def test_first_out_is_the_first(online: Story) -> None:
    _cells(3.7)(online)
    online.seconds(1)
    online.points.estop_channel_1_closed.value[...] = 0
    image = online.seconds(1)
    slot = online.program.matrix.slots[image.trips.first_out]
    assert (slot.row.id, slot.place) == ("cell_overvoltage", "R01/M02")


def test_a_healthy_hour_raises_nothing(online: Story) -> None:
    online.tell(Kind.SET_ACTIVE_POWER, 50e3)
    online.seconds(20)
    online.cycle_ms = 10_000
    image = online.seconds(3600)
    assert image.alarms.active_alarms == 0
    assert image.trips.trip_count == 0
    assert online.alarm("cell_overvoltage") is AlarmState.NORMAL


def test_one_lost_reply_of_a_slow_cycle_is_no_still_heartbeat(tmp_path: Path) -> None:
    text = (DATA / "sites" / "bench.yaml").read_text("utf-8").replace("cycle: 100 ms", "cycle: 1 s")
    path = tmp_path / "site.yaml"
    path.write_text(text.replace("  aux_supply:", "  stale_after: 3 s\n  lost_after: 5 s\n  aux_supply:"), "utf-8")
    story = Story(compile_site(str(path))).online()
    echo = story.points.rack_heartbeat_echo
    story.hold.add("rack_heartbeat_echo")
    story.silent.add("rack_heartbeat_echo")
    story.scans()
    assert not story.active("heartbeat_not_received"), "nothing was read since"
    story.silent.clear()
    echo.value[...] = story.number % 2**16
    story.scans(2)
    assert story.active("heartbeat_not_received"), "read, and the same again"
