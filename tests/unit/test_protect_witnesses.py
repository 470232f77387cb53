"""What is kept from scan to scan to notice what stands still, jumps, or does not follow: cells, currents, contactors.

Once a second the cells are looked at. A cell monitor that moves at all moves by more than 0.5 mV; a current that moved
by a fifth of 1C (56 A here) must show in every cell.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from controller.core.protect.trend import follow
from controller.core.signal import Quality
from tests.protect_bench import Bench

CELL = np.s_[0, 1, 5]
SHARE = 142.45
"""What each rack carries at 60 kW, in A."""


class Watch(Bench):
    """The bench, followed by scans of 0.1 s."""

    def scans(self, count: int = 1) -> Watch:
        for _ in range(count):
            v = self.points.cell_voltage_v
            self.measured.extremes.module_cell_voltage_mean_v.value[...] = v.value.mean(axis=2)
            self.trend = follow(self.trend, self.facts())
        return self

    def begin(self, volts: float, amps: float) -> Watch:
        """All cells alike, and time for what was before to be forgotten."""
        self.trend = dataclasses.replace(self.trend, cells_ms=0)
        self.points.cell_voltage_v.value[...] = volts - 0.1
        self.put("rack_current_a", amps, ...)
        self.scans(10)
        self.points.cell_voltage_v.value[...] = volts
        self.scans(10)
        self.trend = dataclasses.replace(self.trend, cell_jitter_v=np.zeros_like(self.trend.cell_jitter_v))
        return self

    def second(self, amps: float, all_but_one_v: float = 0.0, one_v: float = 0.0) -> list[list[int]]:
        """One second in which a current flows; every cell but one has moved, and so has the one. Stuck modules."""
        one = self.points.cell_voltage_v.value[CELL]
        self.points.cell_voltage_v.value[...] += all_but_one_v
        self.points.cell_voltage_v.value[CELL] = one + one_v
        self.put("rack_current_a", amps, 0)
        self.scans(10)
        return np.argwhere(self.trend.module_stuck).tolist()


class TestStuck:
    @pytest.mark.parametrize(("amps", "stuck"), [(56.1, [[0, 1]]), (55.9, []), (-56.1, [[0, 1]]), (-55.9, [])])
    def test_a_cell_that_stands_still_while_the_current_moved(self, amps: float, stuck: list[list[int]]) -> None:
        assert Watch().begin(3.3, 0.0).second(amps, all_but_one_v=-0.02) == stuck

    def test_what_the_current_did_in_both_directions_adds_up(self) -> None:
        watch = Watch().begin(3.3, 0.0)
        assert watch.second(30.0, -0.01) == [] and watch.second(0.0, 0.01) == []
        assert watch.second(-27.0, 0.02) == [[0, 1]]

    def test_a_cell_that_answers_begins_anew(self) -> None:
        watch = Watch().begin(3.3, 0.0)
        assert watch.second(50.0, -0.02) == [] and watch.second(70.0, -0.01, one_v=-0.001) == []
        assert watch.second(100.0, -0.02) == []

    def test_a_slow_drift_is_movement_too(self) -> None:
        watch = Watch().begin(3.3, 0.0)
        assert watch.second(50.0, -0.02, one_v=-0.0004) == [] and watch.second(70.0, -0.01, one_v=-0.0004) == []

    def test_half_a_millivolt_is_within_the_resolution(self) -> None:
        assert Watch().begin(3.3, 0.0).second(70.0, -0.02, one_v=-0.0004) == [[0, 1]]

    def test_a_cell_that_is_not_heard_is_not_stuck_but_lost(self) -> None:
        watch = Watch().begin(3.3, 0.0)
        watch.lose("cell_voltage_v", CELL)
        assert watch.second(100.0, -0.02) == []
        watch.points.cell_voltage_v.quality[CELL] = 0
        assert watch.second(200.0, -0.02) == [], "what it shows first is new"

    def test_a_current_that_is_not_heard_has_not_moved(self) -> None:
        watch = Watch().begin(3.3, 0.0)
        watch.points.rack_current_a.value[...] = 200.0
        watch.lose("rack_current_a")
        watch.points.cell_voltage_v.value[0] -= 0.02
        watch.points.cell_voltage_v.value[CELL] += 0.02
        watch.scans(10)
        assert not watch.trend.module_stuck.any()

    def test_nothing_is_judged_before_a_second_is_over(self) -> None:
        watch = Watch().begin(3.3, 0.0)
        watch.points.cell_voltage_v.value[...] -= 0.02
        watch.points.cell_voltage_v.value[CELL] += 0.02
        watch.put("rack_current_a", 100.0, 0)
        assert not watch.scans(9).trend.module_stuck.any()
        assert watch.scans(1).trend.module_stuck.any()
        assert watch.trend.cells_ms == 0


class TestBlind:
    """Cells whose value stands still although most of their module moved by more than 20 mV."""

    def moved(self, watch: Watch, volts: float) -> list[int]:
        """All but the one have moved by so much; unseen cells per module of the first rack."""
        watch.second(0.0, all_but_one_v=volts)
        return watch.trend.module_blind_cells[0].tolist()

    @pytest.mark.parametrize(("volts", "blind"), [(0.0205, 1), (0.0195, 0), (-0.0205, 1), (-0.0195, 0)])
    def test_it_takes_twenty_millivolts_and_no_current(self, volts: float, blind: int) -> None:
        assert self.moved(Watch().begin(3.3, 0.0), volts) == [0, blind, 0, 0]

    def test_what_the_module_did_in_both_directions_adds_up_until_the_cell_answers(self) -> None:
        watch = Watch().begin(3.3, 0.0)
        assert self.moved(watch, 0.012) == [0, 0, 0, 0]
        assert self.moved(watch, -0.025) == [0, 1, 0, 0]
        watch.second(0.0, one_v=0.002)
        assert not watch.trend.module_blind_cells.any()
        assert self.moved(watch, 0.015) == [0, 0, 0, 0]

    def test_a_neighbour_that_jumps_or_falls_silent_makes_no_other_cell_unseen(self) -> None:
        watch = Watch().begin(3.3, 0.0)
        watch.points.cell_voltage_v.value[0, 1, 0] = 4.2
        watch.scans(10)
        watch.lose("cell_voltage_v", np.s_[0, 1, 0])
        watch.points.cell_voltage_v.value[0, 1, 1] = 0.0
        watch.scans(10)
        assert not watch.trend.module_blind_cells.any()

    def test_a_cell_that_is_not_heard_is_not_unseen_but_lost(self) -> None:
        watch = Watch().begin(3.3, 0.0)
        watch.lose("cell_voltage_v", CELL)
        assert self.moved(watch, 0.05) == [0, 0, 0, 0]

    def test_coarse_monitors_are_believed(self) -> None:
        """Steps of 10 mV: cells of the same module cross theirs at different times."""
        watch = Watch().begin(3.3, 0.0)
        truth = 3.3 + np.random.default_rng(3).uniform(-0.02, 0.02, watch.points.cell_voltage_v.value.shape)
        for second in range(120):
            swing = 0.03 * np.sin(second / 9.0)
            watch.points.cell_voltage_v.value[...] = np.round((truth + swing) / 0.01) * 0.01
            watch.scans(10)
            assert not watch.trend.module_blind_cells.any(), second


class TestNoisy:
    def jump(self, watch: Watch, volts: float, modules: bool = False) -> float:
        """One second later; how far the cell is known to jump, in V."""
        where = np.s_[0, 1] if modules else CELL
        watch.points.cell_voltage_v.value[where] += volts
        watch.scans(10)
        return float(watch.trend.cell_jitter_v[CELL])

    def test_a_cell_that_jumps_while_its_module_does_not(self) -> None:
        watch = Watch().begin(3.3, 0.0)
        own = 0.09 * 15 / 16
        assert self.jump(watch, 0.09) == pytest.approx(0.4 * own, rel=1e-3) and not watch.trend.module_noisy.any()
        assert self.jump(watch, -0.09) == pytest.approx(0.64 * own, rel=1e-3)
        assert np.argwhere(watch.trend.module_noisy).tolist() == [[0, 1]]

    @pytest.mark.parametrize("volts", [0.15, 2.0])
    def test_one_step_and_one_spike_are_no_noise_whatever_their_size(self, volts: float) -> None:
        step, spike = Watch().begin(3.3, 0.0), Watch().begin(3.3, 0.0)
        assert self.jump(step, volts) == pytest.approx(0.04) and not step.trend.module_noisy.any()
        self.jump(spike, volts)
        assert self.jump(spike, -volts) == pytest.approx(0.064)
        held = 0
        while spike.trend.module_noisy.any():
            self.jump(spike, 0.0)
            held += 1
        assert held < 3, "the row wants 3 s"

    def test_noise_that_is_less_for_a_moment_is_noise_still(self) -> None:
        watch = Watch().begin(3.3, 0.0)
        for volts in (0.12, -0.12):
            self.jump(watch, volts)
        assert 0.025 < self.jump(watch, 0.0) < 0.05 and watch.trend.module_noisy[0, 1]
        assert self.jump(watch, 0.0) < 0.025 and not watch.trend.module_noisy.any()
        assert 0.025 < self.jump(watch, 0.05) < 0.05 and not watch.trend.module_noisy.any(), "it begins at 50 mV"

    def test_a_cell_far_below_its_range_is_watched_too(self) -> None:
        assert self.jump(Watch().begin(0.9, 0.0), 0.12) > 0.03

    def test_what_all_cells_of_a_module_do_is_no_noise(self) -> None:
        watch = Watch().begin(3.3, 0.0)
        assert self.jump(watch, 0.3, modules=True) == pytest.approx(0.0, abs=1e-4)

    def test_the_first_value_after_a_loss_is_no_jump(self) -> None:
        watch = Watch().begin(3.3, 0.0)
        watch.lose("cell_voltage_v", CELL)
        watch.scans(10)
        assert watch.trend.cell_seen_v[CELL] == 0.0
        watch.points.cell_voltage_v.quality[CELL] = 0
        assert self.jump(watch, 0.3) == 0.0
        assert self.jump(watch, -0.3) == pytest.approx(0.04)


class TestCurrentThatStandsStill:
    def share(self, watch: Watch, watts: float) -> tuple[float, float]:
        watch.put("pcs_dc_current_a", watts / float(watch.points.pcs_dc_voltage_v.value[0]), ...)
        watch.scans()
        return float(watch.trend.share_low_a[0]), float(watch.trend.share_high_a[0])

    def test_while_it_shows_exactly_the_same_the_range_of_the_pcs_is_kept(self) -> None:
        watch = Watch()
        watch.put("rack_current_a", 100.0, ...)
        watch.scans()
        watch.put("rack_current_a", 101.0, ...)
        assert self.share(watch, 60e3) == pytest.approx((SHARE, SHARE), rel=1e-3)
        assert self.share(watch, 30e3) == pytest.approx((SHARE / 2, SHARE), rel=1e-3)
        assert self.share(watch, 90e3) == pytest.approx((SHARE / 2, SHARE * 1.5), rel=1e-3)
        watch.put("rack_current_a", 101.1, ...)
        assert self.share(watch, 60e3) == pytest.approx((SHARE, SHARE), rel=1e-3)

    @pytest.mark.parametrize("lost", ["rack_current_a", "rack_voltage_v"])
    def test_without_data_the_range_begins_anew(self, lost: str) -> None:
        watch = Watch()
        self.share(watch, 60e3)
        self.share(watch, 30e3)
        watch.lose(lost)
        low, high = self.share(watch, 60e3)
        assert low == high

    def test_what_is_shown_first_after_a_loss_is_new(self) -> None:
        watch = Watch()
        watch.lose("rack_current_a")
        self.share(watch, 60e3)
        watch.put("rack_current_a", 1.0, ...)
        low, high = self.share(watch, 30e3)
        assert low == high


class TestContactors:
    def test_precharge_counts_while_it_is_alone_and_the_link_is_kept_as_it_was(self) -> None:
        watch = Watch()
        watch.outputs.rack_main_close[...] = watch.outputs.rack_precharge_close[...] = False
        watch.put("rack_link_voltage_v", 7.0, ...)
        assert watch.scans().trend.precharge_ms.tolist() == [0, 0]
        watch.outputs.rack_precharge_close[0] = True
        watch.put("rack_link_voltage_v", 90.0, ...)
        watch.scans(3)
        assert (watch.trend.precharge_ms.tolist(), watch.trend.link_start_v.tolist()) == ([300, 0], [7.0, 90.0])
        watch.outputs.rack_main_close[0] = True
        assert watch.scans().trend.precharge_ms[0] == 0

    def test_the_link_rises_neither_before_the_command_nor_while_it_is_seen_empty(self) -> None:
        watch = Watch()
        watch.outputs.rack_main_close[...] = watch.outputs.rack_precharge_close[...] = False
        watch.put("rack_link_voltage_v", 0.0, ...)
        link, rack = watch.points.rack_link_voltage_v, float(watch.points.rack_voltage_v.value[0])

        def next_value(part: float, age_ms: int) -> list[int]:
            watch.put("rack_link_voltage_v", part * rack, ...)
            link.time_ms[...] = watch.system.now_ms - age_ms
            rise: list[int] = watch.scans().trend.link_rise_ms.tolist()
            return rise

        assert next_value(0.0, 40) == [0, 0]
        watch.outputs.rack_precharge_close[0] = True
        assert next_value(0.0, 40)[0] == 40, "still empty then"
        assert next_value(0.09, 130)[0] == 130, "no newer value"
        assert next_value(0.11, 30)[0] == 230, "it has begun to fill, at some time since"
        assert next_value(0.95, 30) == [330, 0]
        watch.lose("rack_link_voltage_v")
        link.value[...] = 0.0
        assert watch.scans().trend.link_rise_ms[0] == 430, "a value that is none shows nothing"
        assert next_value(0.0, 0)[0] == 0, "heard again, and empty"

    def test_a_value_from_before_the_command_counts_from_the_command(self) -> None:
        watch = Watch()
        watch.outputs.rack_main_close[...] = watch.outputs.rack_precharge_close[...] = False
        watch.put("rack_link_voltage_v", 0.0, ...)
        watch.points.rack_link_voltage_v.time_ms[...] = watch.system.now_ms - 700
        watch.scans()
        watch.outputs.rack_precharge_close[...] = True
        assert watch.scans(2).trend.link_rise_ms.tolist() == [200, 200]

    def test_a_main_has_followed_once_it_was_seen_closed_under_its_command(self) -> None:
        watch = Watch()
        watch.trend.main_followed[...] = False
        watch.put("rack_main_closed", 0.0, ...)
        assert not watch.scans().trend.main_followed.any()
        watch.put("rack_main_closed", 1.0, 0)
        assert watch.scans().trend.main_followed.tolist() == [True, False]
        watch.put("rack_main_closed", 0.0, 0)
        assert watch.scans().trend.main_followed.tolist() == [True, False], "that it opened again is what is looked for"
        watch.outputs.rack_main_close[0] = False
        assert not watch.scans().trend.main_followed.any()


class TestEcho:
    def test_an_echo_that_stands_still_is_counted_from_the_first_that_was_heard(self) -> None:
        watch = Watch()
        watch.trend.echo[...], watch.trend.echo_still_ms[...] = 0, 0
        watch.put("rack_heartbeat_echo", 5.0, ...)
        assert watch.scans().trend.echo_still_ms.tolist() == [0, 0]
        assert watch.scans(3).trend.echo_still_ms.tolist() == [300, 300]
        watch.put("rack_heartbeat_echo", 6.0, 0)
        assert watch.scans().trend.echo_still_ms.tolist() == [0, 400]
        watch.points.rack_heartbeat_echo.value[1] = 7.0
        watch.lose("rack_heartbeat_echo", 1)
        assert watch.scans().trend.echo_still_ms.tolist() == [100, 0] and watch.trend.echo.tolist() == [6.0, 0.0]

    def test_a_foreign_heartbeat_is_told_for_two_seconds_after_it_was_heard(self) -> None:
        watch = Watch()
        scan = watch.system.scan
        watch.trend.echo[...] = (scan - 1) % 65536
        watch.put("rack_heartbeat_echo", float((scan - 60) % 65536), 0)
        watch.put("rack_heartbeat_echo", float((scan - 2) % 65536), 1)
        assert watch.scans().trend.echo_foreign_ms.tolist() == [2000, 0]
        assert watch.scans(3).trend.echo_foreign_ms.tolist() == [1700, 0]
        assert watch.scans(20).trend.echo_foreign_ms.tolist() == [0, 0]

    @pytest.mark.parametrize("behind", [1, 49, 51, 90, 30_000])
    def test_what_a_rack_still_holds_when_it_is_heard_again_is_nobody_s(self, behind: int) -> None:
        """One more heartbeat arrived than was read back, and then the link was cut for long."""
        watch = Watch()
        watch.trend.echo[...] = 900
        watch.lose("rack_heartbeat_echo", 0)
        watch.scans(10)
        watch.points.rack_heartbeat_echo.quality[0] = 0
        watch.put("rack_heartbeat_echo", float((watch.system.scan - behind) % 65536), 0)
        assert not watch.scans().trend.echo_foreign_ms[0]
        watch.put("rack_heartbeat_echo", float((watch.system.scan - 2) % 65536), 0)
        assert not watch.scans().trend.echo_foreign_ms[0]
        watch.put("rack_heartbeat_echo", float((watch.system.scan - 60) % 65536), 0)
        assert watch.scans().trend.echo_foreign_ms[0], "once it is heard, others are noticed as before"

    def test_a_rack_controller_that_starts_anew_is_nobody_else(self) -> None:
        watch = Watch()
        watch.trend.echo[...] = (watch.system.scan - 1) % 65536
        watch.put("rack_heartbeat_echo", 0.0, ...)
        assert not watch.scans().trend.echo_foreign_ms.any()

    def test_controllers_that_count_to_less_than_the_window_tell_nothing(self) -> None:
        watch = Watch()
        watch.limit = dataclasses.replace(watch.limit, heartbeat_modulo=50)
        watch.trend.echo[...] = 3
        watch.put("rack_heartbeat_echo", 200.0, ...)
        assert not watch.scans().trend.echo_foreign_ms.any()


@pytest.mark.parametrize("way", ["charge", "discharge"])
def test_a_limit_of_the_pcs_rises_at_once_and_falls_over_the_time_it_has_to_follow(way: str) -> None:
    watch = Watch()
    limits: Any = getattr(watch.outputs, f"pcs_{way}_limit_w")
    allowed = f"pcs_{way}_allowed_w"
    limits[...] = 100e3
    assert getattr(watch.scans().trend, allowed)[0, 0] == 100e3
    limits[...] = 20e3
    falls = [float(getattr(watch.scans().trend, allowed)[0, 0]) for _ in range(3)]
    step = watch.limit.pcs_rated_w * 100 / watch.limit.pcs_follow_ms
    assert falls == pytest.approx([100e3 - step, 100e3 - 2 * step, 100e3 - 3 * step])
    assert getattr(watch.scans(40).trend, allowed)[0, 0] == 20e3


def test_cooling_is_judged_only_while_it_is_asked_for_and_the_hottest_sensor_is_heard() -> None:
    watch = Watch()
    hottest = watch.measured.extremes.temperature_max_degc
    hottest.value[...] = 40.0
    watch.outputs = dataclasses.replace(watch.outputs, cooling_on=1)
    watch.trend = dataclasses.replace(watch.trend, hottest_ms=0, hottest_degc=1000.0, cooling_vain=0)
    watch.scans(2)
    assert (watch.trend.hottest_ms, watch.trend.hottest_degc) == (200, 40.0)
    hottest.quality[...] = int(Quality.BAD_COMM)
    watch.trend = dataclasses.replace(watch.trend, cooling_vain=1)
    watch.scans()
    assert (watch.trend.hottest_ms, watch.trend.hottest_degc, watch.trend.cooling_vain) == (0, 1000.0, 0)
    hottest.quality[...] = 0
    watch.scans(599)
    hottest.value[...] = 41.0
    watch.scans()
    assert (watch.trend.hottest_ms, watch.trend.hottest_degc, watch.trend.cooling_vain) == (0, 41.0, 1)
