"""SCADA and an operator's panel both want to set power: who may, who is refused, when it is told that they fight."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from controller.core.command import Command, Kind, Origin, Role
from controller.core.event import What
from controller.core.image import AlarmState, SiteMode
from controller.core.settings import AuthoritySettings
from tests.story import Story, connected, fork

SCADA: dict[str, Any] = {"user": "scada", "client": 1, "station": "10.0.0.7"}
PANEL: dict[str, Any] = {"user": "operator", "client": 2, "station": "10.0.0.9"}
ENGINEER: dict[str, Any] = {"user": "engineer", "client": 2, "station": "10.0.0.9", "role": Role.ENGINEER}
STOPS = (Kind.DISCONNECT, Kind.ARM_SHUTDOWN, Kind.EMERGENCY_STOP)


def slow() -> Story:
    """The bench site, connected, in steps of half a second: what is waited for here are minutes."""
    story = fork(connected())
    story.cycle_ms = 500
    return story


@pytest.fixture
def online() -> Story:
    return slow()


def with_rule(rule: str, silence_ms: int = 300_000) -> Story:
    story = slow()
    story.program = dataclasses.replace(story.program, authority=AuthoritySettings(rule, silence_ms))
    return story


def ask(s: Story, who: dict[str, Any], kind: Kind, value: float = 0.0, **more: Any) -> tuple[bool, str]:
    command = s.tell(kind, value, **{**who, **more})
    s.scans()
    answer = s.answer(command)
    return answer.accepted, answer.text


def power(s: Story, who: dict[str, Any], watts: float) -> tuple[bool, str]:
    return ask(s, who, Kind.SET_ACTIVE_POWER, watts)


def take(s: Story, who: dict[str, Any]) -> tuple[bool, str]:
    return ask(s, who, Kind.TAKE_CONTROL)


def holder(s: Story) -> str:
    assert s.image is not None
    return bytes(s.image.authority.control_holder).decode()


def setpoint(s: Story) -> float:
    assert s.image is not None
    return s.image.power.active_power_setpoint_w


def changes(s: Story) -> list[str]:
    return [e.text for e in s.events if e.what is What.CONTROL]


class TestControl:
    def test_whoever_has_it_is_named_to_the_other_with_what_can_be_done(self, online: Story) -> None:
        assert take(online, SCADA) == (True, "you have control")
        assert power(online, SCADA, 20e3)[0]
        accepted, why = power(online, PANEL, -20e3)
        assert not accepted and setpoint(online) == 20e3
        assert why == "scada at 10.0.0.7 has control until it releases it, is silent for 300 s, or an Engineer takes it"
        assert holder(online) == "scada at 10.0.0.7"
        assert online.image is not None and online.image.authority.control_since_utc_ms > 0

    @pytest.mark.parametrize(
        ("kind", "value"), [(Kind.SET_REACTIVE_POWER, 1e3), (Kind.CONNECT, 0.0), (Kind.HEARTBEAT, 7.0)]
    )
    def test_reactive_power_connecting_and_the_heartbeat_belong_to_it(
        self, online: Story, kind: Kind, value: float
    ) -> None:
        take(online, SCADA)
        assert "has control" in ask(online, PANEL, kind, value)[1]
        assert ask(online, SCADA, kind, value)[0]

    @pytest.mark.parametrize("rule", ["on_request", "first_writer", "required"])
    def test_everybody_may_stop_the_plant(self, rule: str) -> None:
        s = with_rule(rule)
        assert take(s, ENGINEER)[0]
        for kind in STOPS:
            assert ask(s, PANEL, kind, text="smoke in row 3")[0], kind
        assert holder(s) == "engineer at 10.0.0.9", "a stop takes nothing from anybody"

    def test_a_stop_in_the_scan_in_which_somebody_takes_control_is_heard(self, online: Story) -> None:
        stop = online.tell(Kind.DISCONNECT, **PANEL)
        online.tell(Kind.TAKE_CONTROL, **SCADA)
        beat = online.tell(Kind.HEARTBEAT, 1.0, **SCADA)
        online.scans()
        assert online.answer(stop).accepted and online.answer(beat).accepted
        online.until(SiteMode.STANDBY)

    def test_a_shutdown_runs_through_against_the_holder(self, online: Story) -> None:
        take(online, SCADA)
        armed = online.tell(Kind.ARM_SHUTDOWN, **PANEL)
        online.scans()
        token = int(online.answer(armed).new)
        assert ask(online, PANEL, Kind.EXECUTE_SHUTDOWN, token=token)[0]
        online.until(SiteMode.STANDBY)

    def test_the_supervisor_stops_it_too(self, online: Story) -> None:
        take(online, SCADA)
        online.waiting.append(Command(1, Kind.STOP, Origin.SUPERVISOR, Role.SYSTEM, online.now_ms, online.now_ms + 999))
        online.until(SiteMode.STANDBY)

    def test_given_back_it_is_free(self, online: Story) -> None:
        take(online, SCADA)
        assert not ask(online, PANEL, Kind.RELEASE_CONTROL)[0]
        assert ask(online, SCADA, Kind.RELEASE_CONTROL) == (True, "control is free")
        assert online.image is not None and online.image.authority.control_lapse_ms == 0
        assert holder(online) == "" and power(online, PANEL, 5e3)[0]
        assert ask(online, PANEL, Kind.RELEASE_CONTROL) == (True, "nobody has control")

    def test_an_engineer_frees_it_from_one_who_has_gone_home(self, online: Story) -> None:
        take(online, SCADA)
        assert ask(online, ENGINEER, Kind.RELEASE_CONTROL) == (True, "control is free, scada at 10.0.0.7 has lost it")
        assert holder(online) == "" and power(online, PANEL, 5e3)[0]

    def test_who_asks_again_keeps_it(self, online: Story) -> None:
        take(online, SCADA)
        told = changes(online)
        assert take(online, SCADA) == (True, "you have control already")
        assert holder(online) == "scada at 10.0.0.7" and changes(online) == told

    def test_an_operator_does_not_take_it_from_another_but_an_engineer_does(self, online: Story) -> None:
        take(online, SCADA)
        assert not take(online, PANEL)[0] and holder(online) == "scada at 10.0.0.7"
        assert "take control if it shall be yours" in power(online, ENGINEER, 5e3)[1]
        assert take(online, ENGINEER) == (True, "you have control, taken over from scada at 10.0.0.7")
        assert power(online, SCADA, 5e3)[1].endswith("until it releases it, is silent for 300 s"), "nobody stronger"

    def test_the_same_user_moves_it_to_another_station(self, online: Story) -> None:
        """The second of a redundant pair takes over at once, without waiting for the silence of the first."""
        twin = {**SCADA, "client": 3, "station": "10.0.0.8"}
        take(online, SCADA)
        assert not power(online, twin, 5e3)[0]
        assert take(online, twin)[0] and power(online, twin, 5e3)[0]
        assert not power(online, SCADA, 5e3)[0]

    def test_two_clients_of_one_user_on_one_machine_are_told_apart(self, online: Story) -> None:
        take(online, SCADA)
        assert "scada at 10.0.0.7 (another client) has control" in power(online, {**SCADA, "client": 3}, 5e3)[1]

    def test_the_holder_is_known_behind_another_address(self, online: Story) -> None:
        take(online, SCADA)
        assert power(online, {**SCADA, "station": "192.168.4.4"}, 5e3)[0]

    def test_an_observer_takes_nothing(self, online: Story) -> None:
        watcher = {**PANEL, "role": Role.OBSERVER}
        assert take(online, watcher) == (False, "needs the Operator role")
        take(online, SCADA)
        assert ask(online, watcher, Kind.RELEASE_CONTROL) == (False, "needs the Operator role")
        assert holder(online) == "scada at 10.0.0.7"

    def test_the_answer_fits_a_record_for_the_longest_names(self, online: Story) -> None:
        long = {"user": "u" * 32, "client": 9, "station": "fe80::1234:5678:9abc:def0:1234:5678:9abc"}
        take(online, long)
        _, why = power(online, PANEL, 5e3)
        assert why.startswith(f"{'u' * 32} at {long['station']} has control")


class TestSilence:
    def test_a_silent_holder_loses_it_and_that_is_told(self) -> None:
        s = with_rule("on_request", 60_000)
        take(s, SCADA)
        s.wait(59)
        assert holder(s) and s.image is not None and s.image.authority.control_lapse_ms <= 1000
        s.seconds(1.1)
        assert holder(s) == "" and changes(s) == ["scada at 10.0.0.7 lost control: silent for 60 s"]
        assert [(e.user, e.accepted) for e in s.events if e.what is What.CONTROL] == [("scada", True)]
        assert power(s, PANEL, 5e3)[0]

    def test_the_whole_time_runs_anew_with_taking_it_and_with_every_word(self, online: Story) -> None:
        for kind in (Kind.TAKE_CONTROL, Kind.ACKNOWLEDGE, Kind.SET_ACTIVE_POWER):
            ask(online, SCADA, kind)
            assert online.image is not None and online.image.authority.control_lapse_ms == 300_000, kind
            assert online.seconds(7).authority.control_lapse_ms == 293_000, kind

    def test_the_time_that_the_other_is_told_is_rounded_up(self, online: Story) -> None:
        take(online, SCADA)
        online.wait(99)
        assert "is silent for 201 s" in power(online, PANEL, 5e3)[1], "200.5 s are left"

    def test_any_word_of_the_holder_keeps_it_and_no_word_of_others_does(self) -> None:
        s = with_rule("on_request", 60_000)
        take(s, SCADA)
        for beat in range(4):
            s.wait(40)
            ask(s, SCADA, Kind.HEARTBEAT, float(beat))
            ask(s, PANEL, Kind.SET_ACTIVE_POWER, 1e3)
            s.tell(Kind.ACKNOWLEDGE, **PANEL)
            if beat < 3:
                assert holder(s), beat
            s.memory = dataclasses.replace(
                s.memory, dispatching=dataclasses.replace(s.memory.dispatching, heartbeat_age_ms=-1)
            )
        s.wait(60)
        assert holder(s) == ""

    def test_a_holder_whose_heartbeat_stopped_is_not_waited_for(self, online: Story) -> None:
        take(online, SCADA)
        ask(online, SCADA, Kind.HEARTBEAT, 1.0)
        power(online, SCADA, 50e3)
        online.seconds(12)
        assert online.active("scada_heartbeat_lost") and setpoint(online) == 50e3
        assert changes(online) == ["scada at 10.0.0.7 lost control: its heartbeat stopped"]

    def test_who_takes_over_from_a_dead_scada_does_not_get_its_power_back(self, online: Story) -> None:
        """The fallback stays until the new holder sets something; the heartbeat of the dead one bothers it no more."""
        ask(online, SCADA, Kind.HEARTBEAT, 1.0)
        power(online, SCADA, 50e3)
        online.seconds(15)
        assert online.image is not None and online.image.power.active_power_target_w == 0.0
        take(online, PANEL)
        online.seconds(15)
        assert not online.active("scada_heartbeat_lost")
        assert setpoint(online) == 0.0 and online.image.power.active_power_target_w == 0.0
        power(online, PANEL, 30e3)
        online.seconds(15)
        assert online.image.power.active_power_target_w == pytest.approx(30e3)

    def test_taking_control_in_its_first_beat_does_not_bring_the_old_power_back(self, online: Story) -> None:
        ask(online, SCADA, Kind.HEARTBEAT, 1.0)
        power(online, SCADA, 50e3)
        online.seconds(15)
        online.tell(Kind.TAKE_CONTROL, **PANEL)
        ask(online, PANEL, Kind.HEARTBEAT, 2.0)
        online.seconds(5)
        assert setpoint(online) == 0.0 and not online.active("scada_heartbeat_lost")

    def test_a_beat_of_the_former_holder_in_the_same_scan_does_not_watch_over_the_new_one(self, online: Story) -> None:
        ask(online, SCADA, Kind.HEARTBEAT, 1.0)
        take(online, SCADA)
        late = online.tell(Kind.HEARTBEAT, 2.0, **SCADA)
        online.tell(Kind.TAKE_CONTROL, **ENGINEER)
        online.scans()
        assert not online.answer(late).accepted
        power(online, ENGINEER, 30e3)
        online.seconds(15)
        assert not online.active("scada_heartbeat_lost")
        assert online.image is not None and online.image.power.active_power_target_w == pytest.approx(30e3)

    def test_the_last_beat_of_one_who_gives_control_back_counts(self, online: Story) -> None:
        take(online, SCADA)
        beat = online.tell(Kind.HEARTBEAT, 1.0, **SCADA)
        online.tell(Kind.RELEASE_CONTROL, **SCADA)
        online.scans()
        assert online.answer(beat).accepted and holder(online) == ""

    def test_the_heartbeat_goes_on_watching_whoever_wrote_it(self, online: Story) -> None:
        ask(online, SCADA, Kind.HEARTBEAT, 1.0)
        take(online, SCADA)
        power(online, SCADA, 50e3)
        online.seconds(12)
        assert online.active("scada_heartbeat_lost")

    def test_a_heartbeat_of_another_does_not_hide_the_silence_of_the_holder(self, online: Story) -> None:
        take(online, SCADA)
        ask(online, SCADA, Kind.HEARTBEAT, 1.0)
        for beat in range(6):
            online.seconds(1)
            assert not ask(online, PANEL, Kind.HEARTBEAT, float(beat))[0]
        online.seconds(1.5)
        assert online.active("scada_heartbeat_lost")


class TestRules:
    def test_the_first_who_writes_has_it(self) -> None:
        s = with_rule("first_writer")
        assert power(s, SCADA, 20e3)[0] and holder(s) == "scada at 10.0.0.7"
        assert changes(s) == ["scada at 10.0.0.7 has control, as the first who asked"]
        assert not power(s, PANEL, -20e3)[0]

    def test_of_two_in_one_scan_the_first_has_it(self) -> None:
        s = with_rule("first_writer")
        first = s.tell(Kind.SET_ACTIVE_POWER, 20e3, **SCADA)
        second = s.tell(Kind.SET_ACTIVE_POWER, -20e3, **PANEL)
        s.scans()
        assert s.answer(first).accepted and not s.answer(second).accepted and setpoint(s) == 20e3

    def test_neither_a_heartbeat_nor_an_observer_takes_it(self) -> None:
        s = with_rule("first_writer")
        assert ask(s, SCADA, Kind.HEARTBEAT, 1.0)[0]
        assert not ask(s, PANEL, Kind.SET_ACTIVE_POWER, 1e3, role=Role.OBSERVER)[0]
        assert holder(s) == ""

    def test_where_it_is_required_nobody_sets_power_without(self) -> None:
        s = with_rule("required")
        assert power(s, SCADA, 20e3) == (False, "nobody has control: take control first")
        assert ask(s, SCADA, Kind.CONNECT) == (False, "nobody has control: take control first")
        assert ask(s, SCADA, Kind.HEARTBEAT, 1.0)[0] and ask(s, SCADA, Kind.DISCONNECT)[0]
        s.until(SiteMode.STANDBY)
        take(s, SCADA)
        assert ask(s, SCADA, Kind.CONNECT)[0]

    def test_a_start_of_the_controller_begins_with_nobody(self, online: Story) -> None:
        from controller.core.retained import restore, retain

        take(online, SCADA)
        digest = online.program.matrix.digest
        again = restore(online.program.blank_memory(), retain(online.memory, online.number, 0, digest))
        assert again.authority.holder_digest == 0


class TestQuarrel:
    def contested(self, s: Story) -> bool:
        s.scans()
        return s.active("setpoints_contested")

    def test_one_who_takes_over_is_no_quarrel(self, online: Story) -> None:
        power(online, SCADA, 20e3)
        assert power(online, PANEL, 30e3)[1] == "30000 W from now on; scada at 10.0.0.7 had set 20000 W"
        power(online, PANEL, 40e3)
        assert not self.contested(online)
        assert online.image is not None
        assert bytes(online.image.power.active_power_set_by) == b"operator at 10.0.0.9"

    def test_back_and_forth_is_told_until_it_has_been_over_for_a_minute(self, online: Story) -> None:
        for who, watts in ((SCADA, 20e3), (PANEL, 30e3), (SCADA, 20e3)):
            power(online, who, watts)
            online.seconds(20)
        assert self.contested(online)
        assert online.alarm("setpoints_contested") is AlarmState.UNACKNOWLEDGED
        online.wait(39)
        assert self.contested(online)
        online.seconds(2)
        assert not self.contested(online)

    def test_taking_turns_slowly_is_none(self, online: Story) -> None:
        for who, watts in ((SCADA, 20e3), (PANEL, 30e3), (SCADA, 20e3), (PANEL, 30e3)):
            power(online, who, watts)
            online.wait(61)
        assert not self.contested(online)

    def test_a_redundant_pair_that_says_the_same_is_none(self, online: Story) -> None:
        twin = {**SCADA, "client": 3, "station": "10.0.0.8"}
        for step in range(10):
            power(online, SCADA, 1e3 * step)
            power(online, twin, 1e3 * step)
        assert not self.contested(online)

    def test_one_for_active_and_one_for_reactive_power_is_none(self, online: Story) -> None:
        for step in range(10):
            power(online, SCADA, 1e3 * step)
            ask(online, PANEL, Kind.SET_REACTIVE_POWER, 1e3 * step)
        assert not self.contested(online)

    def test_reactive_power_is_fought_over_too(self, online: Story) -> None:
        for who, var in ((SCADA, 1e3), (PANEL, 2e3), (SCADA, 1e3)):
            ask(online, who, Kind.SET_REACTIVE_POWER, var)
        assert self.contested(online)

    def test_a_refused_setpoint_overrules_nobody(self, online: Story) -> None:
        power(online, SCADA, 20e3)
        for _ in range(5):
            power(online, PANEL, 1e9)
        assert not self.contested(online)

    def test_it_ends_when_one_of_them_takes_control(self, online: Story) -> None:
        for who, watts in ((SCADA, 20e3), (PANEL, 30e3), (SCADA, 20e3)):
            power(online, who, watts)
        assert self.contested(online)
        take(online, PANEL)
        assert not self.contested(online)
        power(online, PANEL, 30e3)
        for _ in range(5):
            assert not power(online, SCADA, 20e3)[0]
        ask(online, PANEL, Kind.RELEASE_CONTROL)
        power(online, SCADA, 20e3)
        assert not self.contested(online), "control was handed over, nobody overruled anybody"

    def test_after_a_stop_nobody_has_set_anything(self, online: Story) -> None:
        power(online, SCADA, 20e3)
        power(online, PANEL, 30e3)
        ask(online, PANEL, Kind.DISCONNECT)
        online.until(SiteMode.STANDBY)
        assert online.image is not None and online.image.power.active_power_set_by == b""
