"""Every witness cause at its boundary: present just beyond it, absent just before it, silent without data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from controller.core.command import Kind
from controller.core.effect import Effect
from controller.core.image import RackMode
from controller.core.protect import ROWS, Facts, Priority, Reset, Row
from controller.core.protect import facts as q
from controller.core.protect import plausible as p
from controller.core.protect.flow import expected_current, pcs_power, rack_power, worst_current
from controller.core.protect.row import When
from controller.core.protect.trend import follow
from controller.core.signal import Quality, Samples
from plc_config.alarm_list import as_csv, as_html, shares
from tests.story import Story

BASE = Story("bench").online()
BASE.tell(Kind.SET_ACTIVE_POWER, 60e3)
BASE.seconds(5)
Change = Callable[["Bench"], None]


class Bench:
    """The facts of one moment at 60 kW discharge, to be changed by hand."""

    def __init__(self) -> None:
        image, program, memory = BASE.image, BASE.program, BASE.memory
        assert image is not None
        points = BASE.layout.view(np.frombuffer(bytearray(BASE.layout.to_bytes(BASE.inputs)), np.uint8)).points
        self.measured = dataclasses.replace(image.measured, points=points, extremes=copy(image.measured.extremes))
        self.points, self.trend = points, copy(memory.protection.trend)
        self.outputs, self.limit = copy(memory.outputs), program.limit
        self.more: dict[str, Any] = {}
        self.estimates, self.modes, self.warnings = copy(image.estimates), copy(image.modes), copy(image.warnings)

    def facts(self) -> Facts:
        program = BASE.program
        return Facts(
            program.topology, self.measured, self.estimates, self.warnings, self.limit, self.modes, self.outputs,
            BASE.memory.dispatching, BASE.inputs.links, BASE.inputs.system, 10_000, 3, self.trend, **self.more,
        )  # fmt: skip

    def put(self, name: str, value: Any, where: Any = 0) -> None:
        samples = getattr(self.points, name)
        samples.value[where] = value
        samples.quality[where] = 0

    def lose(self, name: str, where: Any = ...) -> None:
        getattr(self.points, name).quality[where] = int(Quality.BAD_COMM)


def copy(image: Any) -> Any:
    """The same with arrays of its own."""
    parts = {f.name: getattr(image, f.name) for f in dataclasses.fields(image)}
    arrays: dict[str, Any] = {n: v.copy() for n, v in parts.items() if isinstance(v, np.ndarray)}
    samples = {
        n: Samples(v.value.copy(), v.quality.copy(), v.time_ms) for n, v in parts.items() if isinstance(v, Samples)
    }
    return dataclasses.replace(image, **arrays, **samples)


def put(name: str, value: Any, where: Any = 0) -> Change:
    return lambda b: b.put(name, value, where)


def trend(**values: Any) -> Change:
    def change(b: Bench) -> None:
        for name, value in values.items():
            array = getattr(b.trend, name)
            if isinstance(array, np.ndarray):
                array[...] = value
            else:
                b.trend = dataclasses.replace(b.trend, **{name: value})

    return change


def all_of(*changes: Change) -> Change:
    def change(b: Bench) -> None:
        for each in changes:
            each(b)

    return change


def out(name: str, value: Any, where: Any = ...) -> Change:
    return lambda b: getattr(b.outputs, name).__setitem__(where, value)


def precharge(ms: int, part: float) -> Change:
    def change(b: Bench) -> None:
        b.trend.precharge_ms[0], b.trend.link_start_v[0] = ms, 10.0
        b.modes.rack_mode[0] = int(RackMode.PRECHARGE)
        rack = b.points.rack_voltage_v.value[0]
        b.put("rack_link_voltage_v", 10.0 + part * (rack - 10.0))

    return change


def reported(charge: float, discharge: float, amps: float) -> Change:
    return all_of(
        put("rack_charge_limit_reported_a", charge), put("rack_discharge_limit_reported_a", discharge),
        put("rack_current_a", amps),
    )  # fmt: skip


OPEN = all_of(out("rack_main_close", False, 0), out("rack_precharge_close", False, 0), put("rack_main_closed", 0.0))
SHARE = 142.45
"""What each rack carries at 60 kW, in A."""

BOUNDARY: list[tuple[Any, Change, Change]] = [
    (
        p.sense_wire_open,
        put("cell_voltage_v", [1.35, 5.2], np.s_[0, 1, 4:6]),
        put("cell_voltage_v", [1.2, 5.35], np.s_[0, 1, 4:6]),
    ),
    (
        p.sense_wire_open,
        put("cell_voltage_v", [1.2, 3.3, 5.35], np.s_[0, 1, 4:7]),
        put("cell_voltage_v", [5.35, 1.2], np.s_[0, 1, 4:6]),
    ),
    (
        p.temperature_sensor_lost,
        lambda b: b.lose("cell_temperature_degc", np.s_[0, 1]),
        lambda b: b.lose("cell_temperature_degc", np.s_[0, 1, 2]),
    ),
    (p.bleed_switch_stuck, put("module_bleeding_cells", 0, np.s_[0, 0]), put("module_bleeding_cells", 1, np.s_[0, 0])),
    (
        p.bleed_switch_stuck,
        all_of(out("cell_bleed_on", True, np.s_[0, 0, :3]), put("module_bleeding_cells", 3, np.s_[0, 0])),
        put("module_bleeding_cells", 3, np.s_[0, 0]),
    ),
    (
        p.rack_currents_differ,
        all_of(put("rack_current_a", 100.0), put("rack_current_redundant_a", 92.3)),
        all_of(put("rack_current_a", 100.0), put("rack_current_redundant_a", 92.1)),
    ),
    (
        p.rack_currents_differ,
        all_of(put("rack_current_a", -100.0), put("rack_current_redundant_a", -108.1)),
        all_of(put("rack_current_a", -100.0), put("rack_current_redundant_a", -108.4)),
    ),
    (p.rack_current_reversed, put("rack_current_a", -0.49 * SHARE), put("rack_current_a", -0.52 * SHARE)),
    (p.rack_current_reversed, put("rack_current_a", -1.52 * SHARE), put("rack_current_a", -1.48 * SHARE)),
    (p.rack_current_stuck, trend(share_high_a=150.0, share_low_a=122.5), trend(share_high_a=150.0, share_low_a=121.5)),
    (
        p.rack_current_stuck,
        all_of(put("rack_main_closed", 0.0, ...), trend(share_high_a=150.0, share_low_a=0.0)),
        trend(share_high_a=150.0, share_low_a=0.0),
    ),
    (p.rack_current_offset, all_of(OPEN, put("rack_current_a", 2.79)), all_of(OPEN, put("rack_current_a", -2.81))),
    (
        p.rack_current_offset,
        all_of(OPEN, out("rack_precharge_close", True, 0), put("rack_current_a", 9.0)),
        all_of(OPEN, put("rack_current_a", 9.0)),
    ),
    (
        p.rack_current_offset,
        all_of(OPEN, out("rack_main_close", True, 0), put("rack_current_a", 9.0)),
        all_of(OPEN, put("rack_current_a", 9.0)),
    ),
    (
        p.rack_current_offset,
        all_of(OPEN, put("rack_main_closed", 1.0), put("rack_current_a", 9.0)),
        all_of(OPEN, put("rack_current_a", 9.0)),
    ),
    (
        p.contactor_opened_by_itself,
        all_of(trend(main_seen_closed=False), put("rack_main_closed", 0.0)),
        put("rack_main_closed", 0.0),
    ),
    (
        p.contactor_opened_by_itself,
        all_of(out("rack_main_close", False), put("rack_main_closed", 0.0)),
        all_of(trend(main_seen_closed=True), put("rack_main_closed", 0.0)),
    ),
    (p.contactor_opened_by_itself, put("rack_main_closed", 0.5), put("rack_main_closed", 0.49)),
    (p.closed_without_contact, put("rack_link_voltage_v", 0.905 * 210.56), put("rack_link_voltage_v", 0.895 * 210.56)),
    (p.closed_without_contact, put("rack_link_voltage_v", 1.095 * 210.56), put("rack_link_voltage_v", 1.105 * 210.56)),
    (
        p.closed_without_contact,
        all_of(put("rack_main_closed", 0.0), put("rack_link_voltage_v", 0.0)),
        put("rack_link_voltage_v", 0.0),
    ),
    (
        p.closed_without_contact,
        all_of(out("rack_main_close", False), put("rack_link_voltage_v", 0.0)),
        put("rack_link_voltage_v", 0.0),
    ),
    (
        p.precharge_does_not_close,
        all_of(out("rack_precharge_close", True), put("rack_precharge_closed", 1.0, ...)),
        all_of(out("rack_precharge_close", True), out("rack_main_close", False), put("rack_precharge_closed", 0.0)),
    ),
    (
        p.precharge_does_not_close,
        all_of(out("rack_precharge_close", True), out("rack_main_close", True), put("rack_precharge_closed", 0.0)),
        all_of(out("rack_precharge_close", True), out("rack_main_close", False), put("rack_precharge_closed", 0.0)),
    ),
    (p.precharge_too_fast, precharge(300, 0.89), precharge(300, 0.91)),
    (p.precharge_too_fast, precharge(301, 0.95), precharge(100, 0.95)),
    (p.precharge_without_rise, precharge(1499, 0.05), precharge(1500, 0.05)),
    (p.precharge_without_rise, precharge(2000, 0.11), precharge(2000, 0.09)),
    (
        p.precharge_without_rise,
        all_of(precharge(2000, 0.05), lambda b: b.modes.rack_mode.__setitem__(0, int(RackMode.CLOSED))),
        precharge(2000, 0.05),
    ),
    (
        p.precharge_without_rise,
        all_of(precharge(2000, 0.0), trend(link_start_v=108.0), put("rack_link_voltage_v", 108.0)),
        all_of(precharge(2000, 0.0), trend(link_start_v=100.0), put("rack_link_voltage_v", 100.0)),
    ),
    (p.heartbeat_not_received, trend(echo_still_ms=999), trend(echo_still_ms=1000)),
    (p.second_controller, trend(echo_foreign_ms=0), trend(echo_foreign_ms=1)),
    (p.rack_bms_alarm, put("rack_alarm_word", 0.0), put("rack_alarm_word", 1.0)),
    (p.rack_bms_lost, put("rack_alarm_word", 0.0), lambda b: b.lose("rack_alarm_word", 0)),
    (p.rack_bms_lost, put("rack_alarm_word", 0.0), lambda b: b.lose("rack_charge_limit_reported_a", 0)),
    (p.rack_bms_lost, put("rack_alarm_word", 0.0), lambda b: b.lose("rack_discharge_limit_reported_a", 0)),
    (p.rack_bms_limit_exceeded, reported(100.0, 100.0, 112.7), reported(100.0, 100.0, 112.9)),
    (p.rack_bms_limit_exceeded, reported(100.0, 0.0, -112.7), reported(100.0, 0.0, -112.9)),
    (p.dc_power_differs, put("rack_current_a", SHARE + 46.0), put("rack_current_a", SHARE + 49.0)),
    (p.dc_power_differs, put("rack_current_a", SHARE - 46.0), put("rack_current_a", SHARE - 49.0)),
    (p.no_current_though_commanded, put("rack_current_a", 29.0, ...), put("rack_current_a", 28.0, ...)),
    (
        p.no_current_though_commanded,
        put("rack_current_a", [60.0, -60.0], ...),
        put("rack_current_a", [20.0, -20.0], ...),
    ),
    (
        p.no_current_though_commanded,
        all_of(put("rack_current_a", 0.0, ...), out("pcs_active_power_setpoint_w", 9.9e3)),
        all_of(put("rack_current_a", 0.0, ...), out("pcs_active_power_setpoint_w", -10.1e3)),
    ),
    (
        p.no_current_though_commanded,
        all_of(put("rack_current_a", 0.0, ...), out("pcs_run", False)),
        put("rack_current_a", 0.0, ...),
    ),
    (p.link_voltages_differ, put("pcs_dc_voltage_v", 197.0), put("pcs_dc_voltage_v", 194.0)),
    (
        p.link_voltages_differ,
        all_of(put("rack_main_closed", 0.0, ...), put("pcs_dc_voltage_v", 100.0)),
        put("pcs_dc_voltage_v", 100.0),
    ),
    (
        p.pcs_exceeds_limits,
        all_of(trend(pcs_discharge_allowed_w=50e3), put("pcs_active_power_w", 56.9e3)),
        all_of(trend(pcs_discharge_allowed_w=50e3), put("pcs_active_power_w", 57.1e3)),
    ),
    (
        p.pcs_exceeds_limits,
        all_of(trend(pcs_charge_allowed_w=50e3), put("pcs_active_power_w", -56.9e3)),
        all_of(trend(pcs_charge_allowed_w=50e3), put("pcs_active_power_w", -57.1e3)),
    ),
    (
        p.pcs_power_uncommanded,
        all_of(out("pcs_run", False), put("pcs_active_power_w", -4.9e3)),
        all_of(out("pcs_run", False), put("pcs_active_power_w", -5.1e3)),
    ),
    (
        p.pcs_power_uncommanded,
        put("pcs_active_power_w", 60e3),
        all_of(out("pcs_run", False), put("pcs_active_power_w", 60e3)),
    ),
    (p.pcs_does_not_start, put("pcs_running", 1.0), put("pcs_running", 0.0)),
    (p.pcs_does_not_start, all_of(out("pcs_run", False), put("pcs_running", 0.0)), put("pcs_running", 0.0)),
    (
        p.pcs_command_not_confirmed,
        put("pcs_active_power_confirmed_w", 64.9e3),
        put("pcs_active_power_confirmed_w", 65.1e3),
    ),
    (
        p.pcs_command_not_confirmed,
        put("pcs_active_power_confirmed_w", 55.1e3),
        put("pcs_active_power_confirmed_w", 54.9e3),
    ),
    (
        p.cooling_without_fall,
        trend(cooling_vain=0),
        all_of(trend(cooling_vain=1), lambda b: b.measured.extremes.temperature_max_degc.value.__setitem__(..., 47.1)),
    ),
    (
        p.cooling_without_fall,
        all_of(trend(cooling_vain=1), lambda b: b.measured.extremes.temperature_max_degc.value.__setitem__(..., 46.9)),
        all_of(trend(cooling_vain=1), lambda b: b.measured.extremes.temperature_max_degc.value.__setitem__(..., 47.1)),
    ),
    (
        p.clock_jumped,
        lambda b: b.more.update(utc_before_ms=BASE.inputs.system.utc_ms - 1100),
        lambda b: b.more.update(utc_before_ms=BASE.inputs.system.utc_ms - 1101),
    ),
    (
        p.clock_jumped,
        lambda b: b.more.update(utc_before_ms=BASE.inputs.system.utc_ms + 900),
        lambda b: b.more.update(utc_before_ms=BASE.inputs.system.utc_ms + 901),
    ),
    (p.clock_jumped, lambda b: b.more.update(utc_before_ms=0), lambda b: b.more.update(utc_before_ms=1)),
    (p.configuration_changed, lambda b: None, lambda b: b.more.update(configuration_changed=True)),
    (p.soc_differs, lambda b: soc(b, 0.649), lambda b: soc(b, 0.651)),
    (p.soc_differs, lambda b: soc(b, 0.9, sigma=0.051), lambda b: soc(b, 0.9, sigma=0.049)),
    (
        p.soc_unknown,
        lambda b: b.estimates.cell_soc_sigma_ratio.fill(0.99),
        lambda b: b.estimates.cell_soc_sigma_ratio.fill(1.0),
    ),
]


def soc(b: Bench, told: float, sigma: float = 0.01) -> None:
    b.put("rack_soc_reported_ratio", told)
    b.estimates.rack_soc_ratio[...] = 0.5
    b.estimates.cell_soc_sigma_ratio[...] = sigma
    b.estimates = dataclasses.replace(b.estimates, soc_sigma_ratio=sigma)


@pytest.mark.parametrize(("cause", "before", "beyond"), BOUNDARY, ids=lambda x: getattr(x, "__name__", ""))
def test_a_cause_has_its_boundary_where_it_says(cause: Any, before: Change, beyond: Change) -> None:
    for change, present in ((before, False), (beyond, True)):
        bench = Bench()
        change(bench)
        found = np.atleast_1d(cause(bench.facts()))
        assert bool(found.any()) is present, change
        if found.ndim == 1 and len(found) == 2 and present and cause is not p.no_current_though_commanded:
            assert found[0], "it is the first rack that was touched"


def witnesses() -> list[Any]:
    named = [r.cause.condition for r in ROWS if isinstance(r.cause, When)]
    return [c for c in named if c.__module__ == p.__name__]


@pytest.mark.parametrize("cause", witnesses(), ids=lambda c: c.__name__)
def test_a_healthy_plant_shows_nothing(cause: Any) -> None:
    assert not np.any(cause(Bench().facts()))


@pytest.mark.parametrize("cause", [b[0] for b in BOUNDARY if b[0] not in (p.rack_bms_lost, p.temperature_sensor_lost)],
                         ids=lambda c: c.__name__)  # fmt: skip
def test_without_data_a_witness_says_nothing(cause: Any) -> None:
    beyond = next(b[2] for b in BOUNDARY if b[0] is cause)
    bench = Bench()
    beyond(bench)
    for field in dataclasses.fields(bench.points):
        bench.lose(field.name)
    for field in dataclasses.fields(bench.measured.extremes):
        samples = getattr(bench.measured.extremes, field.name)
        if hasattr(samples, "quality"):
            samples.quality[...] = int(Quality.BAD_COMM)
    own = (p.second_controller, p.clock_jumped, p.configuration_changed, p.soc_unknown)
    assert bool(np.any(cause(bench.facts()))) is (cause in own)


class TestFlow:
    def test_the_share_is_even_and_only_of_closed_racks(self) -> None:
        bench = Bench()
        assert expected_current(bench.facts())[0] == pytest.approx([SHARE, SHARE], rel=1e-3)
        bench.put("rack_main_closed", 0.0, 1)
        share, known = expected_current(bench.facts())
        assert share == pytest.approx([2 * SHARE, 0.0], rel=1e-3)
        assert known.tolist() == [True, False]

    def test_dc_measurement_goes_before_ac_and_ac_before_nothing(self) -> None:
        bench = Bench()
        bench.put("pcs_dc_current_a", 100.0)
        bench.put("pcs_dc_voltage_v", 200.0)
        assert pcs_power(bench.facts())[0] == pytest.approx([20e3])
        bench.lose("pcs_dc_current_a")
        watts, known = pcs_power(bench.facts())
        assert watts == pytest.approx([60e3]) and known.all()
        bench.lose("pcs_active_power_w")
        assert not pcs_power(bench.facts())[1].any()

    def test_a_bank_is_known_when_all_its_racks_are(self) -> None:
        bench = Bench()
        bench.put("rack_current_a", -100.0)
        watts, known = rack_power(bench.facts())
        assert watts == pytest.approx([(SHARE - 100.0) * 210.56], rel=1e-3) and known.all()
        assert rack_power(bench.facts(), magnitude=True)[0] == pytest.approx([(SHARE + 100.0) * 210.56], rel=1e-3)
        bench.lose("rack_current_a", 1)
        assert not rack_power(bench.facts())[1].any()

    def test_of_two_sensors_the_one_that_shows_more_counts_in_each_direction(self) -> None:
        bench = Bench()
        bench.put("rack_current_a", 10.0)
        bench.put("rack_current_redundant_a", -30.0)
        (charge, discharge), known = worst_current(bench.facts())
        assert (charge[0], discharge[0], known[0]) == (30.0, 10.0, True)
        bench.lose("rack_current_redundant_a", 0)
        (charge, discharge), known = worst_current(bench.facts())
        assert (charge[0], discharge[0], known[0]) == (-10.0, 10.0, True)
        bench.lose("rack_current_a", 0)
        assert not worst_current(bench.facts())[1][0]


class TestHeat:
    def ratio(self, amps: float, seconds: float, way: str = "discharge") -> float:
        bench = Bench()
        for name in ("rack_current_a", "rack_current_redundant_a"):
            bench.put(name, amps, ...)
        memory = bench.trend
        for _ in range(round(seconds * 10)):
            memory = follow(memory, bench.facts())
        return float(getattr(memory, f"{way}_heat_ratio")[0])

    @pytest.mark.parametrize(("way", "warn", "trip"), [("charge", -150.0, -168.0), ("discharge", 300.0, 336.0)])
    def test_a_current_just_below_the_trip_is_endured_for_ten_seconds(self, way: str, warn: float, trip: float) -> None:
        assert self.ratio(0.99 * warn, 3600 if way == "charge" else 60, way) == 0.0
        assert self.ratio(0.999 * trip, 9.9, way) < 1.0 < self.ratio(0.999 * trip, 10.4, way)
        half = np.sqrt((warn**2 + trip**2) / 2) * np.sign(trip)
        assert self.ratio(half, 19.8, way) < 1.0 < self.ratio(half, 20.3, way)

    def test_heat_goes_when_the_current_does_and_stays_when_it_is_not_known(self) -> None:
        bench = Bench()
        memory = dataclasses.replace(bench.trend, discharge_heat_ratio=np.full(2, 0.8))
        assert follow(memory, bench.facts()).discharge_heat_ratio[0] < 0.8
        bench.lose("rack_current_a")
        bench.lose("rack_current_redundant_a")
        assert follow(memory, bench.facts()).discharge_heat_ratio[0] == 0.8
        assert self.ratio(900.0, 60) == 2.0, "bounded, so that it also goes away in bounded time"


class TestTrend:
    def test_an_echo_is_ours_within_the_window_and_nothing_is_said_before_the_first(self) -> None:
        bench = Bench()
        scan = BASE.inputs.system.scan
        for old, echo, foreign in ((scan - 60, scan - 50, 0), (scan - 60, scan - 51, 2000), (0, scan - 51, 0)):
            bench.put("rack_heartbeat_echo", float(echo % 65536))
            memory = dataclasses.replace(
                bench.trend, echo=np.full(2, float(old % 65536)), echo_foreign_ms=np.zeros(2, int)
            )
            assert follow(memory, bench.facts()).echo_foreign_ms[0] == foreign
        bench.limit = dataclasses.replace(bench.limit, heartbeat_modulo=0)
        bench.put("rack_heartbeat_echo", 40_000.0)
        assert not follow(bench.trend, bench.facts()).echo_foreign_ms.any()

    def test_limits_fall_no_faster_than_a_pcs_follows(self) -> None:
        bench = Bench()
        bench.outputs.pcs_discharge_limit_w[...] = 0.0
        memory = dataclasses.replace(bench.trend, pcs_discharge_allowed_w=np.full(1, 100e3))
        for _ in range(19):
            memory = follow(memory, bench.facts())
        assert memory.pcs_discharge_allowed_w[0] == pytest.approx(5e3)
        assert follow(memory, bench.facts()).pcs_discharge_allowed_w[0] == pytest.approx(0.0, abs=1.0)

    @pytest.mark.parametrize(("rates", "rising"), [((0.6, 0.6), True), ((0.4, 0.6), False), ((0.6, 0.4), False)])
    def test_a_rise_must_last_for_two_windows(self, rates: tuple[float, float], rising: bool) -> None:
        bench = Bench()
        memory, value = dataclasses.replace(bench.trend, window_ms=0), 25.0
        for window in (0.0, *rates):
            for _ in range(8):
                value += 0.1 * window
                bench.put("cell_temperature_degc", value, np.s_[0, 1, 2])
                memory = follow(memory, bench.facts())
        assert bool(memory.module_rising[0, 1]) is rising
        assert not memory.module_rising[1].any()

    def test_a_sensor_that_jumps_or_comes_back_does_not_rise(self) -> None:
        bench = Bench()
        memory = bench.trend
        for value in (25.0, 60.0, 60.0, 60.0):
            bench.put("cell_temperature_degc", value, np.s_[0, 1, 2])
            for _ in range(8):
                memory = follow(memory, bench.facts())
                assert not memory.module_rising.any()
        bench.lose("cell_temperature_degc")
        for _ in range(24):
            memory = follow(memory, bench.facts())
        bench.put("cell_temperature_degc", 70.0, ...)
        for _ in range(24):
            memory = follow(memory, bench.facts())
            assert not memory.module_rising.any()

    @pytest.mark.parametrize(("kelvin", "vain"), [(0.4, 0), (0.6, 1)])
    def test_cooling_is_in_vain_when_it_gets_hotter_within_a_minute(self, kelvin: float, vain: int) -> None:
        bench = Bench()
        hottest = bench.measured.extremes.temperature_max_degc.value
        memory = dataclasses.replace(bench.trend, hottest_ms=0, hottest_degc=1000.0, cooling_vain=0)
        hottest[...] = 40.0
        memory = follow(memory, bench.facts())
        hottest[...] = 40.0 + kelvin
        for _ in range(598):
            memory = follow(memory, bench.facts())
            assert memory.cooling_vain == 0
        assert follow(memory, bench.facts()).cooling_vain == vain
        bench.outputs = dataclasses.replace(bench.outputs, cooling_on=0)
        assert follow(dataclasses.replace(memory, cooling_vain=1), bench.facts()).cooling_vain == 0


def test_priorities_are_near_80_15_5_and_the_list_says_so() -> None:
    part = shares(BASE.program)
    assert abs(part["low"] - 0.80) < 0.03 and abs(part["medium"] - 0.15) < 0.03 and abs(part["high"] - 0.05) < 0.03
    lines = as_csv(BASE.program).splitlines()
    assert len(lines) == len(ROWS) + 1
    assert all(f'id="{r.id}"' in as_html(BASE.program) for r in ROWS)


def test_a_condition_needs_a_delay() -> None:
    row = Row("x", "site", When(q.fire), Effect.ALARM, None, Reset.SELF, Priority.LOW, "because", "advice")
    with pytest.raises(TypeError, match="needs a delay"):
        row.delay_ms(BASE.program.limit)
