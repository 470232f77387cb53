"""The stage around both tables of moves, scan by scan without a plant: when a guard holds, what a move leaves behind.

A precharge may take 3 s and be tried three times with 1 s between; the next rack of a bank waits 5 s; contactors may
break 200 A, a fuse has 3 s; below 5 A a rack opens without current.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from controller.core.effect import Effect
from controller.core.image import RackMode, SiteMode
from controller.core.signal import Quality
from tests.sequence_stage import CLOSED, FUSE_WAIT, OPEN, PRECHARGE, STOPPING, TRIPPED, Site, closed


class TestJoining:
    def test_one_rack_of_each_bank_begins_and_the_others_wait_for_it(self) -> None:
        site = Site()
        assert site.racks() == [PRECHARGE, OPEN, OPEN, PRECHARGE]
        assert site.racks(5) == [PRECHARGE, OPEN, OPEN, PRECHARGE]

    @pytest.mark.parametrize(
        ("mode", "wanted"), [("STANDBY", 1), ("STOPPING", 1), ("TRIPPED", 1), ("CONNECTING", 0), ("ONLINE", 0)]
    )
    def test_nobody_begins_unless_the_site_is_connecting_or_online_and_it_is_still_wanted(
        self, mode: str, wanted: int
    ) -> None:
        site = Site(SiteMode[mode])
        site.modes = dataclasses.replace(site.modes, connect_wanted=wanted)
        assert site.racks() == [OPEN] * 4

    def test_who_is_not_wanted_is_passed_over(self) -> None:
        site = Site(SiteMode.ONLINE)
        site.memory.join[0] = False
        assert site.racks()[:2] == [OPEN, PRECHARGE]

    def precharged(self, **put: Any) -> Site:
        """R01 has precharged for 300 ms, its link is full, its contactor was seen closed."""
        site = Site()
        site.since(0, PRECHARGE, 300)
        site.put("rack_link_voltage_v", 200.0, 0)
        site.put("rack_precharge_closed", 1.0, 0)
        for name, value in put.items():
            site.put(name, value, 0)
        return site

    @pytest.mark.parametrize(
        ("put", "mode"),
        [({}, CLOSED), ({"rack_current_a": 2.0}, CLOSED), ({"rack_current_a": 2.1}, PRECHARGE),
         ({"rack_current_a": -2.1}, PRECHARGE), ({"rack_precharge_closed": 0.0}, PRECHARGE),
         ({"rack_link_voltage_v": 190.0}, PRECHARGE)],
    )  # fmt: skip
    def test_it_closes_when_all_of_a_precharge_is_done(self, put: dict[str, float], mode: RackMode) -> None:
        assert self.precharged(**put).racks()[0] is mode

    def test_a_current_that_is_not_heard_has_not_gone(self) -> None:
        site = self.precharged()
        site.lose("rack_current_a", 0)
        assert site.racks()[0] is PRECHARGE

    def test_on_a_live_link_the_others_current_need_not_have_gone(self) -> None:
        site = self.precharged(rack_current_a=50.0)
        site.since(1, CLOSED, 0)
        site.put("rack_link_voltage_v", 200.0)
        assert site.racks()[:2] == [CLOSED, CLOSED]

    @pytest.mark.parametrize(("since_ms", "mode"), [(0, PRECHARGE), (100, CLOSED)])
    def test_not_before_200_ms(self, since_ms: int, mode: RackMode) -> None:
        site = self.precharged()
        site.since(0, PRECHARGE, since_ms)
        assert site.racks()[0] is mode

    def test_a_rack_that_precharges_by_itself_is_closed_when_its_main_says_so(self) -> None:
        site = self.precharged()
        site.precharge_by_themselves(0)
        assert site.racks()[0] is PRECHARGE
        site.put("rack_main_closed", 1.0, 0)
        assert site.racks()[0] is CLOSED

    def test_the_next_of_the_bank_waits_for_the_interval(self) -> None:
        site = self.precharged()
        site.scan()
        assert site.memory.bank_pause_ms.tolist() == [5000, 0]
        site.put("rack_main_closed", 1.0, 0)
        site.put("rack_link_voltage_v", 200.0)
        assert site.racks(49)[:2] == [CLOSED, OPEN]
        assert site.racks()[1] is PRECHARGE

    def test_attempts_are_forgotten_when_it_has_closed(self) -> None:
        site = Site()
        site.since(0, CLOSED, 0)
        site.modes.rack_attempts[:2] = 2
        assert site.scan().rack_attempts.tolist() == [0, 2, 0, 0]


class TestVain:
    @pytest.mark.parametrize(("since_ms", "mode"), [(2800, PRECHARGE), (2900, OPEN)])
    def test_a_precharge_takes_no_longer_than_it_may(self, since_ms: int, mode: RackMode) -> None:
        site = Site()
        site.since(0, PRECHARGE, since_ms)
        assert site.racks()[0] is mode

    def test_it_is_tried_again_after_the_pause_while_another_has_its_turn_and_only_so_often(self) -> None:
        site = Site()
        site.memory.join[:] = (True, False, False, False)
        begun = []
        for _ in range(300):
            before = site.modes.rack_mode[0]
            if site.racks()[0] is PRECHARGE and before == OPEN:
                begun.append(int(site.modes.rack_attempts[0]))
        assert begun == [0, 1, 2] and site.modes.rack_attempts[0] == 3
        assert site.why(0) == "precharge took too long"

    def test_the_pause_is_as_long_as_it_says(self) -> None:
        site = Site()
        site.memory.join[:] = (True, False, False, False)
        site.since(0, PRECHARGE, 2900)
        assert site.racks()[0] is OPEN and site.memory.cool_down_ms.tolist() == [1000, 0, 0, 0]
        assert site.racks(9)[0] is OPEN
        assert site.racks()[0] is PRECHARGE

    @pytest.mark.parametrize(("held_wh", "mode"), [(2.0, PRECHARGE), (2.1, OPEN)])
    def test_a_hot_resistor_ends_the_attempt_and_counts_it(self, held_wh: float, mode: RackMode) -> None:
        site = Site()
        site.memory.join[:] = (True, False, False, False)
        site.since(0, PRECHARGE, 1000)
        site.memory.precharge_heat_wh[0] = held_wh
        assert site.racks()[0] is mode
        assert site.modes.rack_attempts[0] == int(mode is OPEN)
        assert (site.why(0) == "precharge resistor too hot") is (mode is OPEN)

    def test_a_move_for_another_reason_is_no_failed_attempt(self) -> None:
        site = Site()
        site.since(0, PRECHARGE, 500)
        site.memory.out_of_service[0] = True
        assert site.racks()[0] is OPEN
        assert site.modes.rack_attempts[0] == 0 and site.memory.cool_down_ms[0] == 0

    def test_an_attempt_begins_with_no_heat_of_its_own_and_keeps_it_from_then_on(self) -> None:
        site = Site()
        site.memory.precharge_attempt_wh[:2], site.memory.precharge_power_w[:2] = 0.2, 70.0
        site.scan()
        assert site.memory.precharge_attempt_wh.tolist() == [0.0, 0.2, 0.0, 0.0]
        assert site.memory.precharge_power_w.tolist() == [0.0, 70.0, 0.0, 0.0]
        site.put("rack_current_a", 36.0, 0)
        site.scan(2)
        assert site.memory.precharge_attempt_wh[0] == pytest.approx(0.4) and site.memory.precharge_power_w[0] == 7200.0

    def test_heat_and_in_rush_are_shown(self) -> None:
        site = Site(SiteMode.STANDBY)
        site.memory.precharge_heat_wh[1] = 0.5
        site.since(0, CLOSED, 0)
        site.put("rack_link_voltage_v", 198.0, np.s_[:3])
        shown = site.scan().contactors
        assert shown.rack_precharge_heat_ratio[1] == pytest.approx(0.25, rel=0.01)
        assert shown.rack_inrush_a[1] == pytest.approx(50.0)


class TestLeaving:
    @pytest.mark.parametrize(
        ("amps", "mode"), [(200.0, TRIPPED), (200.1, FUSE_WAIT), (-200.1, FUSE_WAIT), (0.0, TRIPPED)]
    )
    def test_a_trip_opens_unless_there_is_more_to_break_than_the_contactor_may(
        self, amps: float, mode: RackMode
    ) -> None:
        site = closed(amps)
        site.acts(Effect.TRIP)
        assert site.racks() == [mode, CLOSED, CLOSED, CLOSED]

    def test_an_unknown_current_is_opened_at_once_but_not_by_who_waits_already(self) -> None:
        site = closed(300.0)
        site.acts(Effect.TRIP)
        site.acts(Effect.TRIP, 1)
        site.since(1, FUSE_WAIT, 0)
        site.lose("rack_current_a")
        assert site.racks()[:2] == [TRIPPED, FUSE_WAIT]

    @pytest.mark.parametrize(("since_ms", "mode"), [(2800, FUSE_WAIT), (2900, TRIPPED)])
    def test_a_fuse_has_so_much_time(self, since_ms: int, mode: RackMode) -> None:
        site = closed(300.0)
        site.acts(Effect.TRIP)
        site.since(0, FUSE_WAIT, since_ms)
        assert site.racks()[0] is mode

    @pytest.mark.parametrize(("amps", "mode"), [(5.0, OPEN), (5.1, STOPPING), (-5.1, STOPPING)])
    def test_who_stops_opens_when_the_current_has_gone(self, amps: float, mode: RackMode) -> None:
        site = closed(amps)
        site.memory.join[0] = False
        assert site.racks()[0] is STOPPING
        assert site.racks()[0] is mode

    @pytest.mark.parametrize(("since_ms", "mode"), [(9800, STOPPING), (9900, OPEN)])
    def test_an_unknown_current_has_not_gone_but_the_time_ends(self, since_ms: int, mode: RackMode) -> None:
        site = closed()
        site.lose("rack_current_a")
        site.memory.join[0] = False
        site.since(0, STOPPING, since_ms)
        assert site.racks()[0] is mode

    @pytest.mark.parametrize(
        ("effect", "mode"),
        [(Effect.LOCKOUT, RackMode.LOCKED_OUT), (Effect.TRIP, TRIPPED), (Effect.STOP, STOPPING),
         (Effect.BLOCK_CLOSE | Effect.DERATE, CLOSED)],
    )  # fmt: skip
    def test_every_effect_has_its_move_and_what_opens_ends_the_wish_to_join(
        self, effect: Effect, mode: RackMode
    ) -> None:
        site = closed()
        site.modes.rack_attempts[0] = 2
        site.acts(effect)
        assert site.racks()[0] is mode
        assert site.memory.join.tolist() == [mode is CLOSED, True, True, True]
        assert site.modes.rack_mode_ms.tolist() == [100 if mode is CLOSED else 0, 100, 100, 100]

    def test_out_of_service_ends_it_too_and_attempts_are_forgotten(self) -> None:
        site = Site()
        site.modes.rack_attempts[:2] = 2
        site.memory.out_of_service[0] = True
        assert site.racks()[0] is RackMode.OUT_OF_SERVICE
        assert not site.memory.join[0] and site.modes.rack_attempts.tolist() == [0, 2, 0, 0]


def test_a_stale_current_will_do() -> None:
    site = closed(300.0)
    site.acts(Effect.TRIP)
    site.lose("rack_current_a", 0, Quality.STALE)
    assert site.racks()[0] is FUSE_WAIT
