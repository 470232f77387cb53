"""What is asked of the power: who is heard, who is refused, who overrules whom, what a heartbeat that stops leaves."""

from __future__ import annotations

import math

import pytest

from controller.core.command import Command, Kind, Origin, Role
from controller.core.dispatch import CONTEST_MS, hand_over
from controller.core.image import SiteMode
from tests.dispatch_desk import Desk

ASKED = (SiteMode.ONLINE, SiteMode.CONNECTING)
SETPOINTS = (Kind.SET_ACTIVE_POWER, Kind.SET_REACTIVE_POWER)


class TestHeartbeat:
    def test_power_falls_back_when_it_stops_for_the_whole_time_and_not_before(self) -> None:
        desk = Desk()
        desk.asked(20e3, 9e3)
        desk.told(20e3, 0.0, 0.0)
        desk.keep(heartbeat_age_ms=9_800)
        power = desk.scan()
        assert (power.scada_lost, power.active_power_target_w) == (0, pytest.approx(20e3))
        assert power.scada_heartbeat_age_ms == 9_900
        power = desk.scan()
        assert (power.scada_lost, power.active_power_target_w) == (1, pytest.approx(15e3))
        assert power.reactive_power_target_var == 0.0
        assert desk.watts(4)[-1] == pytest.approx(3e3), "the fallback"

    def test_one_that_never_came_does_not_age(self) -> None:
        desk = Desk()
        desk.after(60_000)
        assert (desk.scan().scada_heartbeat_age_ms, desk.memory.heartbeat_age_ms) == (-1, -1)

    def test_one_that_came_in_this_scan_ages_from_the_next(self) -> None:
        desk = Desk()
        assert desk.say(Kind.HEARTBEAT, 5.0).reason == "heard"
        assert desk.memory.heartbeat_age_ms == 0
        assert desk.scan().scada_heartbeat_age_ms == 100

    def test_the_first_one_arms_it_even_with_the_number_that_stands_there(self) -> None:
        desk = Desk()
        desk.say(Kind.HEARTBEAT, 0.0)
        assert desk.memory.heartbeat_age_ms == 0

    def test_only_another_number_is_a_new_one(self) -> None:
        desk = Desk()
        desk.say(Kind.HEARTBEAT, 5.0)
        desk.say(Kind.HEARTBEAT, 5.0)
        assert desk.memory.heartbeat_age_ms == 100
        desk.say(Kind.HEARTBEAT, 4.0)
        assert (desk.memory.heartbeat, desk.memory.heartbeat_age_ms) == (4.0, 0)

    def test_it_is_heard_in_every_mode_and_bound_by_no_rating(self) -> None:
        desk = Desk(SiteMode.TRIPPED)
        assert desk.say(Kind.HEARTBEAT, 1e9).accepted


class TestJudge:
    @pytest.mark.parametrize("kind", SETPOINTS)
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_what_is_no_number_is_refused(self, kind: Kind, value: float) -> None:
        assert Desk().say(kind, value).reason == "not a number"

    @pytest.mark.parametrize(("kind", "rated", "unit"), [
        (Kind.SET_ACTIVE_POWER, 120e3, "W"), (Kind.SET_REACTIVE_POWER, 60e3, "var"),
    ])  # fmt: skip
    def test_what_is_rated_is_accepted_and_one_more_is_refused(self, kind: Kind, rated: float, unit: str) -> None:
        desk = Desk()
        for sign in (1, -1):
            answer = desk.say(kind, sign * rated)
            assert answer.accepted and answer.reason == f"{sign * rated:.0f} {unit} from now on"
            answer = desk.say(kind, sign * (rated + 1))
            assert not answer.accepted and "beyond the rated" in answer.reason
        kept = desk.memory.active_power_setpoint_w if unit == "W" else desk.memory.reactive_power_setpoint_var
        assert kept == -rated

    @pytest.mark.parametrize("kind", SETPOINTS)
    def test_an_observer_sets_nothing(self, kind: Kind) -> None:
        desk = Desk()
        answer = desk.say(kind, 5e3, role=Role.OBSERVER)
        assert not answer.accepted and not desk.memory.active_power_setpoint_w

    @pytest.mark.parametrize("kind", SETPOINTS)
    @pytest.mark.parametrize("site", SiteMode)
    def test_a_setpoint_takes_a_site_that_is_connected_or_connects_nought_takes_none(
        self, kind: Kind, site: SiteMode
    ) -> None:
        assert Desk(site).say(kind, 5e3).accepted is (site in ASKED)
        assert Desk(site).say(kind, 0.0).accepted

    def test_other_commands_are_not_answered_here(self) -> None:
        desk = Desk()
        desk.scan(Command(1, Kind.CONNECT, Origin.OPCUA, Role.ENGINEER, 0, 10**9))
        assert desk.answers == []

    def test_each_of_a_scan_is_answered_and_the_last_accepted_counts(self) -> None:
        desk = Desk()
        desk.scan(*(Command(i, Kind.SET_ACTIVE_POWER, Origin.OPCUA, Role.OPERATOR, 0, 10**9, value=v, user="scada")
                    for i, v in enumerate([1e3, 2e3, 9e9])))  # fmt: skip
        assert [a.accepted for a in desk.answers] == [True, True, False]
        assert [a.value for a in desk.answers] == [1e3, 2e3, 9e9]
        assert desk.memory.active_power_setpoint_w == 2e3


class TestQuarrel:
    def test_one_who_overrules_another_is_told_whom(self) -> None:
        desk = Desk()
        desk.say(Kind.SET_ACTIVE_POWER, 5e3, user="scada")
        answer = desk.say(Kind.SET_ACTIVE_POWER, 6e3, user="panel")
        assert answer.reason == "6000 W from now on; scada had set 5000 W"
        assert (desk.memory.overruled_ms, desk.memory.contested_ms) == (0, 0), "that is no fight yet"

    def test_who_changes_his_own_mind_overrules_nobody(self) -> None:
        desk = Desk()
        desk.say(Kind.SET_ACTIVE_POWER, 5e3)
        assert desk.say(Kind.SET_ACTIVE_POWER, 6e3).reason == "6000 W from now on"
        assert desk.memory.overruled_ms == -1

    def test_who_asks_for_what_is_in_force_leaves_it_to_the_one_who_set_it(self) -> None:
        desk = Desk()
        desk.say(Kind.SET_ACTIVE_POWER, 5e3, user="scada")
        assert desk.say(Kind.SET_ACTIVE_POWER, 5e3, user="standby").reason == "5000 W from now on"
        assert desk.memory.active_power_set_by == b"scada" and desk.memory.overruled_ms == -1

    def test_active_and_reactive_power_are_two_things(self) -> None:
        desk = Desk()
        desk.say(Kind.SET_ACTIVE_POWER, 5e3, user="scada")
        assert desk.say(Kind.SET_REACTIVE_POWER, 6e3, user="panel").reason == "6000 var from now on"
        assert (desk.memory.active_power_set_by, desk.memory.reactive_power_set_by) == (b"scada", b"panel")

    @pytest.mark.parametrize(("since_ms", "fight"), [
        (-1, False), (0, True), (CONTEST_MS - 101, True), (CONTEST_MS - 1, True), (CONTEST_MS, False),
    ])  # fmt: skip
    def test_the_second_within_a_minute_makes_it_a_fight(self, since_ms: int, fight: bool) -> None:
        desk = Desk()
        desk.say(Kind.SET_ACTIVE_POWER, 5e3, user="scada")
        desk.keep(overruled_ms=since_ms)
        desk.say(Kind.SET_ACTIVE_POWER, 6e3, user="panel")
        assert desk.memory.contested_ms == (CONTEST_MS if fight else 0)
        assert desk.memory.overruled_ms == 0

    def test_two_who_overrule_each_other_within_one_scan_fight(self) -> None:
        desk = Desk()
        desk.scan(*(Command(i, Kind.SET_ACTIVE_POWER, Origin.OPCUA, Role.OPERATOR, 0, 10**9, value=i * 1e3, user=who)
                    for i, who in enumerate(["scada", "panel", "scada"])))  # fmt: skip
        assert desk.memory.contested_ms == CONTEST_MS

    def test_time_passes_over_it_and_ends_it(self) -> None:
        desk = Desk()
        desk.keep(overruled_ms=0, contested_ms=150)
        desk.scan()
        assert (desk.memory.overruled_ms, desk.memory.contested_ms) == (100, 50)
        desk.scan()
        assert (desk.memory.overruled_ms, desk.memory.contested_ms) == (200, 0)
        desk.keep(overruled_ms=CONTEST_MS)
        desk.scan()
        assert desk.memory.overruled_ms == -1

    def test_a_fight_goes_on_for_a_minute_after_the_last_blow(self) -> None:
        desk = Desk()
        desk.say(Kind.SET_ACTIVE_POWER, 5e3, user="scada")
        desk.keep(overruled_ms=-1, contested_ms=30_000)
        desk.say(Kind.SET_ACTIVE_POWER, 6e3, user="panel")
        assert desk.memory.contested_ms == 29_900, "one who comes late does not end it"


class TestHandOver:
    """What another one's silence leaves to who takes control."""

    def desk(self, age_ms: int) -> Desk:
        desk = Desk()
        desk.asked(20e3, 9e3)
        desk.keep(heartbeat_age_ms=age_ms, overruled_ms=5, contested_ms=5, active_power_setter=7)
        return desk

    def test_no_quarrel_of_others(self) -> None:
        for beats in (True, False):
            desk = self.desk(100)
            kept = hand_over(desk.plan, desk.memory, beats)
            assert (kept.overruled_ms, kept.contested_ms) == (-1, 0)
            assert (kept.active_power_setpoint_w, kept.active_power_setter) == (20e3, 7)
            assert kept.heartbeat_age_ms == (100 if beats else -1)

    def test_power_stays_at_the_fallback_where_another_ones_heartbeat_had_stopped(self) -> None:
        desk = self.desk(10_000)
        kept = hand_over(desk.plan, desk.memory, beats=False)
        assert (kept.active_power_setpoint_w, kept.reactive_power_setpoint_var) == (3e3, 0.0)
        assert (kept.active_power_setter, kept.heartbeat_age_ms) == (0, -1)
