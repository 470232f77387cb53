"""What protection remembers between scans: the share of each rack, I2t, echoes, rates, cooling in vain."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from controller.core.protect.flow import expected_current, pcs_power, rack_magnitudes, rack_power, worst_current
from controller.core.protect.trend import follow
from controller.core.topology import TOLD_SCANS
from tests.protect_bench import BASE, Bench

SHARE = 142.45


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
        assert rack_magnitudes(bench.facts())[0] == pytest.approx([(SHARE + 100.0) * 210.56], rel=1e-3)
        bench.lose("rack_current_a", 1)
        assert not rack_power(bench.facts())[1].any()
        bench.put("rack_main_closed", 0.0, 1)
        watts, known = rack_power(bench.facts())
        assert watts == pytest.approx([-100.0 * 210.56], rel=1e-3) and known.all(), "seen open, it gives nothing"

    def test_of_two_sensors_the_one_that_shows_more_counts_in_each_direction(self) -> None:
        bench = Bench()
        bench.put("rack_current_a", 10.0)
        bench.put("rack_current_redundant_a", -30.0)
        (charge, discharge), known = worst_current(bench.facts())
        assert (charge[0], discharge[0], known[0]) == (30.0, 10.0, True)
        forgotten = {"last_current_a": np.zeros(2), "last_redundant_current_a": np.zeros(2)}
        bench.trend = dataclasses.replace(bench.trend, **forgotten)
        bench.lose("rack_current_redundant_a", 0)
        (charge, discharge), known = worst_current(bench.facts())
        assert (charge[0], discharge[0], known[0]) == (-10.0, 10.0, True)
        bench.lose("rack_current_a", 0)
        assert not worst_current(bench.facts())[1][0]

    def test_what_a_silent_sensor_said_last_stands_beside_the_other(self) -> None:
        bench = Bench()
        bench.put("rack_current_a", 10.0)
        bench.put("rack_current_redundant_a", -30.0)
        bench.trend = follow(bench.trend, bench.facts())
        bench.lose("rack_current_redundant_a", 0)
        bench.put("rack_current_a", 20.0)
        bench.trend = follow(bench.trend, bench.facts())
        (charge, discharge), known = worst_current(bench.facts())
        assert (charge[0], discharge[0], known[0]) == (30.0, 20.0, True)
        bench.lose("rack_current_a", 0)
        (charge, discharge), known = worst_current(bench.facts())
        assert (charge[0], discharge[0], known[0]) == (30.0, 20.0, True)
        bench.outputs.rack_main_close[0] = False
        bench.trend = follow(bench.trend, bench.facts())
        assert not worst_current(bench.facts())[1][0], "told to open, it carries nothing"
        assert worst_current(bench.facts())[1][1]


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
        assert self.ratio(0.99 * warn, 60, way) == 0.0
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
        memory = dataclasses.replace(memory, last_current_a=np.full(2, 330.0))
        bench.trend = memory
        assert follow(memory, bench.facts()).discharge_heat_ratio[0] > 0.8, "as far as anybody knows it still flows"
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
        memory = dataclasses.replace(bench.trend, pcs_discharge_allowed_w=np.full((TOLD_SCANS, 1), 100e3))
        for _ in range(19):
            memory = follow(memory, bench.facts())
        assert memory.pcs_discharge_allowed_w[0, 0] == pytest.approx(5e3)
        assert memory.pcs_discharge_allowed_w[19, 0] == pytest.approx(100e3)
        assert memory.pcs_told_ms[:3].tolist() == [0, 100, 200]
        assert follow(memory, bench.facts()).pcs_discharge_allowed_w[0, 0] == pytest.approx(0.0, abs=1.0)

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
