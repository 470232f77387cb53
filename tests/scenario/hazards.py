"""How each hazard begins, told on a site that is online: rates, witnesses, bands and the controller itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from controller.core.command import Kind
from controller.core.image import ClockSync, SiteMode
from controller.core.signal import Quality
from tests.story import REST_V, Story

Act = Callable[[Story], None]


def set_(name: str, value: float, where: object = ..., hold: bool = False) -> Act:
    """A point shows a value from now on; `hold`: it follows the outputs no more."""

    def act(s: Story) -> None:
        if hold:
            s.hold.add(name)
        samples = getattr(s.points, name)
        samples.value[where] = value
        samples.quality[where] = np.minimum(samples.quality[where], int(Quality.STALE))

    return act


def cell(value: float) -> Act:
    """One cell of R01/M02."""
    return set_("cell_voltage_v", value, np.s_[0, 1, 4])


def sensor(value: float) -> Act:
    """One temperature sensor of R01/M02."""
    return set_("cell_temperature_degc", value, np.s_[0, 1, 2])


def power(watts: float, seconds: float = 4.0) -> Act:
    """SCADA asks for power, and it flows."""

    def act(s: Story) -> None:
        s.tell(Kind.SET_ACTIVE_POWER, watts)
        s.seconds(seconds)

    return act


def then(*acts: Act) -> Act:
    """One after the other."""

    def act(s: Story) -> None:
        for each in acts:
            each(s)

    return act


def sense_wire_open(s: Story) -> None:
    cells = s.points.cell_voltage_v.value
    cells[0, 1, 4], cells[0, 1, 5] = 0.0, 2 * REST_V


def stuck_cell(s: Story) -> None:
    """The value stays although charge follows discharge."""
    s.scans()
    s.points.cell_voltage_v.value[0, 1, 4] += 1e-4
    power(60e3)(s)
    power(-60e3)(s)


def unseen_cells(*cells: tuple[int, int]) -> Act:
    """Module and number of cells of R01 whose values stay where they are while all others move by 30 mV."""

    def act(s: Story) -> None:
        s.seconds(1)
        value = s.points.cell_voltage_v.value
        before = value[0].copy()
        value[0] += 0.03
        for at in cells:
            value[0][at] = before[at]

    return act


def noisy_cell(s: Story) -> None:
    for i in range(80):
        s.points.cell_voltage_v.value[0, 1, 4] = REST_V + (0.2 if i // 10 % 2 else -0.2)
        s.scans()


def runaway(s: Story) -> None:
    """1 K/s, for two and a half seconds."""
    for i in range(25):
        sensor(25.0 + 0.1 * i)(s)
        s.scans()


def broken_sensor(s: Story) -> None:
    s.points.cell_temperature_degc.quality[0, 1, 2] = int(Quality.BAD_SENSOR)


def no_main_contactor(s: Story) -> None:
    """It never follows its close command."""
    disconnected(s)
    s.hold.add("rack_main_closed")
    s.points.rack_main_closed.value[...] = 0.0
    s.tell(Kind.CONNECT)
    while not s.memory.outputs.rack_main_close[0]:
        s.scans()


def bleeding(s: Story) -> None:
    s.points.module_bleeding_cells.value[0, 1] = 1


def reversed_sensor(s: Story) -> None:
    power(60e3)(s)
    s.points.rack_current_a.value[0] *= -1
    s.seconds(1)


def stuck_current(s: Story) -> None:
    power(20e3)(s)
    s.points.rack_current_a.value[0] += 0.05
    power(90e3)(s)


def disconnected(s: Story) -> None:
    s.tell(Kind.DISCONNECT)
    s.until(SiteMode.STANDBY)


def offset(s: Story) -> None:
    disconnected(s)
    s.points.rack_current_a.value[0] = 4.0


def live_though_open(s: Story) -> None:
    """R01 trips; both of its current sensors go on to show its share of the load."""
    power(60e3)(s)
    cell(3.7)(s)
    s.seconds(1)
    s.points.rack_current_a.value[0] = 142.0


def reconnect(s: Story) -> None:
    s.tell(Kind.CONNECT)


def no_resistor(s: Story) -> None:
    """The link has the rack's voltage in the first scan after the command."""
    disconnected(s)
    s.hold.add("rack_link_voltage_v")
    s.points.rack_link_voltage_v.value[...] = 0.0
    s.tell(Kind.CONNECT)
    while not s.memory.outputs.rack_precharge_close[0]:
        s.scans()
    s.points.rack_link_voltage_v.value[...] = s.points.rack_voltage_v.value


def flat_link(s: Story) -> None:
    disconnected(s)
    s.hold.add("rack_link_voltage_v")
    s.points.rack_link_voltage_v.value[...] = 0.0
    s.tell(Kind.CONNECT)
    s.seconds(1)


def no_precharge_contactor(s: Story) -> None:
    disconnected(s)
    s.hold.add("rack_precharge_closed")
    s.points.rack_precharge_closed.value[...] = 0.0
    s.tell(Kind.CONNECT)


def foreign_heartbeat(s: Story) -> None:
    """Another controller, far from our count, writes between our heartbeats."""
    s.hold.add("rack_heartbeat_echo")
    for i in range(12):
        s.points.rack_heartbeat_echo.value[0] = 40_000 + i
        s.scans()


def cooling_in_vain(s: Story) -> None:
    power(30e3)(s)
    for minute in range(3):
        s.points.cell_temperature_degc.value[0] = 48.0 + minute
        s.wait(61)


def clock_jump(s: Story) -> None:
    s.utc_offset_ms += 3_600_000


def no_current(s: Story) -> None:
    """The sensor flickers around zero while power is asked for."""
    s.tell(Kind.SET_ACTIVE_POWER, 60e3)
    for i in range(35):
        s.points.rack_current_a.value[...] = 0.1 * (1 + i % 2)
        s.scans()


def other_limits(s: Story) -> None:
    """The site file was changed while the controller stood still."""
    s.memory = dataclasses.replace(s.memory, protection=dataclasses.replace(s.memory.protection, configuration=12345))


def killed_under_load(s: Story) -> None:
    """The scan process was killed while racks were connected; this is the first scan after it."""
    s.memory = dataclasses.replace(s.memory, protection=dataclasses.replace(s.memory.protection, interrupted=1))


def uncommanded(s: Story) -> None:
    disconnected(s)
    set_("pcs_active_power_w", 30e3, hold=True)(s)


def an_hour_without(name: str, where: object, row: str) -> Act:
    """A point falls silent; all but the last two seconds of the hour are skipped."""

    def act(s: Story) -> None:
        getattr(s.points, name).quality[where] = int(Quality.BAD_SENSOR)
        skip_to_the_last_two_seconds(s, row)

    return act


def skip_to_the_last_two_seconds(s: Story, row: str) -> None:
    """Of the row's delay, wherever its cause has begun to act."""
    s.seconds(2)
    slots = np.array([slot.row.id == row for slot in s.program.matrix.slots])
    delay_ms = next(slot.row.delay_ms(s.program.limit) for slot in s.program.matrix.slots if slot.row.id == row)
    timer = s.memory.protection.timer_ms
    waited = np.where(slots & (timer > 0), delay_ms - 2000, timer)
    s.memory = dataclasses.replace(s.memory, protection=dataclasses.replace(s.memory.protection, timer_ms=waited))


def no_time_server(s: Story) -> None:
    s.system.update(clock_sync=int(ClockSync.NOT_SYNCHRONISED))
    skip_to_the_last_two_seconds(s, "clock_not_synchronised")


def two_masters(s: Story) -> None:
    """SCADA and a panel, each of which wants another power."""
    for user, watts in (("scada", 20e3), ("panel", 30e3), ("scada", 20e3)):
        s.tell(Kind.SET_ACTIVE_POWER, watts, user=user)
        s.seconds(1)


BANDS: dict[str, tuple[Act, float]] = {
    "cell_voltage_high": (cell(3.59), 10.5),
    "cell_voltage_low": (cell(2.75), 10.5),
    "deep_discharge": (cell(1.9), 0.9),
    "charge_undertemperature_warning": (sensor(2.0), 1.3),
    "charge_temperature_high": (sensor(48.0), 10.5),
    "charge_temperature_low": (sensor(3.5), 10.5),
    "discharge_overtemperature_warning": (sensor(56.0), 1.3),
    "discharge_temperature_high": (sensor(53.0), 10.5),
    "discharge_undertemperature_warning": (sensor(-16.0), 1.3),
    "discharge_temperature_low": (sensor(-13.0), 10.5),
    "charge_overcurrent_lasting": (set_("rack_current_a", -165.0, 0), 12.6),
    "discharge_overcurrent_lasting": (set_("rack_current_a", 330.0, 0), 13.0),
    "charge_overcurrent_warning": (set_("rack_current_a", -165.0, 0), 10.0),
    "discharge_overcurrent_warning": (set_("rack_current_a", 330.0, 0), 10.5),
    "charge_current_high": (set_("rack_current_a", -147.0, 0), 10.5),
    "discharge_current_high": (set_("rack_current_a", 295.0, 0), 10.5),
    "rack_overvoltage": (set_("rack_voltage_v", 3.7 * 64, 0), 0.9),
    "rack_undervoltage": (set_("rack_voltage_v", 2.4 * 64, 0), 0.9),
    "cell_voltage_spread": (cell(3.6), 10.5),
    "temperature_spread": (sensor(42.0), 60.5),
}
WITNESSES: dict[str, tuple[Act, float]] = {
    "sense_wire_open": (sense_wire_open, 0.5),
    "cell_voltage_stuck": (stuck_cell, 13.0),
    "cell_unwitnessed": (
        then(unseen_cells((1, 4)), lambda s: skip_to_the_last_two_seconds(s, "cell_unwitnessed")),
        2.2,
    ),
    "several_cells_unwitnessed": (unseen_cells((1, 4), (3, 0)), 11.5),
    "cell_voltage_noisy": (noisy_cell, 0.1),
    "temperature_rises_fast": (runaway, 0.1),
    "temperature_sensor_lost": (broken_sensor, 1.3),
    "module_witness_lost": (lambda s: s.lose("module_bleeding_cells", np.s_[0, 1]), 1.5),
    "module_unwitnessed": (an_hour_without("module_sample_counter", np.s_[0, 1], "module_unwitnessed"), 2.2),
    "rack_witness_lost": (lambda s: s.lose("rack_current_redundant_a", 0), 1.5),
    "rack_unwitnessed": (an_hour_without("rack_link_voltage_v", 0, "rack_unwitnessed"), 2.2),
    "pcs_witness_lost": (lambda s: s.lose("pcs_dc_current_a", 0), 1.5),
    "pcs_unwitnessed": (an_hour_without("pcs_fault", 0, "pcs_unwitnessed"), 2.2),
    "bleed_switch_stuck": (bleeding, 10.3),
    "rack_currents_differ": (then(power(60e3), set_("rack_current_redundant_a", 170.0, 0)), 1.5),
    "rack_current_reversed": (reversed_sensor, 2.5),
    "rack_current_stuck": (stuck_current, 2.5),
    "rack_current_offset": (offset, 5.3),
    "open_rack_live": (live_though_open, 1.3),
    "contactor_opened_by_itself": (set_("rack_main_closed", 0.0, 0, hold=True), 0.2),
    "closed_without_contact": (set_("rack_link_voltage_v", 100.0, 0, hold=True), 0.5),
    "precharge_does_not_close": (no_precharge_contactor, 1.0),
    "second_controller": (foreign_heartbeat, 0.1),
    "heartbeat_not_received": (set_("rack_heartbeat_echo", 7.0, 0, hold=True), 1.2),
    "precharge_without_rise": (flat_link, 1.5),
    "precharge_too_fast": (no_resistor, 0.2),
    "rack_bms_alarm": (set_("rack_alarm_word", 4.0, 0), 0.4),
    "rack_bms_lost": (lambda s: s.lose("rack_charge_limit_reported_a", 0), 1.3),
    "rack_bms_limit_exceeded": (
        then(power(80e3), set_("rack_discharge_limit_reported_a", 100.0, 0), set_("rack_current_a", 190.0, 0)),
        2.4,
    ),
    "soc_unknown": (lambda s: s.forget_soc(), 61.0),
    "soc_differs": (lambda s: s.know_soc(0.9), 61.0),
    "pcs_does_not_start": (set_("pcs_running", 0.0, hold=True), 10.5),
    "pcs_command_not_confirmed": (set_("pcs_active_power_confirmed_w", 40e3, hold=True), 1.3),
    "pcs_power_uncommanded": (uncommanded, 2.5),
    "pcs_exceeds_limits": (then(power(-30e3), set_("pcs_active_power_w", -90e3, hold=True)), 0.5),
    "no_current_though_commanded": (no_current, 0.2),
    "dc_power_differs": (then(power(60e3), set_("rack_current_a", 60.0)), 1.5),
    "link_voltages_differ": (then(power(30e3), set_("pcs_dc_voltage_v", 150.0, hold=True)), 2.5),
    "cooling_without_fall": (cooling_in_vain, 0.1),
    "store_process_lost": (lambda s: s.system.update(store_age_ms=40_000), 0.1),
    "store_trouble": (lambda s: s.system.update(store_trouble=1), 0.1),
    "disk_full": (lambda s: s.system.update(store_trouble=2), 0.1),
    "clock_jumped": (clock_jump, 0.1),
    "clock_not_synchronised": (no_time_server, 2.2),
    "setpoints_contested": (two_masters, 0.1),
    "configuration_changed": (other_limits, 0.1),
    "controller_interrupted": (killed_under_load, 0.1),
}
