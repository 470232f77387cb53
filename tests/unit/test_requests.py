"""Every command that steers the sequences: what it is answered, and what it changes, without a plant."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from controller.core.command import Answer, Command, Kind, Origin, Role
from controller.core.effect import Effect
from controller.core.image import RackMode, SiteMode
from controller.core.sequence.requests import judge
from controller.core.signal import seen_on
from tests.sequence_bench import Racks

ANYWHERE = tuple(SiteMode)
RUNNING = (SiteMode.CONNECTING, SiteMode.ONLINE)


class Desk(Racks):
    """Where commands are given; the site is in STANDBY, and no rack has been asked to join."""

    def __init__(self, site: SiteMode = SiteMode.STANDBY) -> None:
        super().__init__()
        self.modes = dataclasses.replace(self.modes, site_mode=int(site))
        self.number = 0

    def say(self, kind: Kind, role: Role = Role.ENGINEER, user: str = "operator", **more: Any) -> Answer:
        self.number += 1
        origin = more.pop("origin", Origin.OPCUA)
        command = Command(self.number, kind, origin, role, 0, 10**9, user=user, **more)
        seen = seen_on(self.points.rack_main_closed)
        self.modes, self.memory, (answer,) = judge(self.modes, self.memory, self.trips, self.system, [command], seen)
        return answer

    def told(self, kind: Kind, **more: Any) -> tuple[bool, str]:
        answer = self.say(kind, **more)
        return answer.accepted, answer.reason


class TestConnect:
    @pytest.mark.parametrize("site", ANYWHERE)
    def test_it_connects_from_standby_and_brings_racks_back_while_it_runs(self, site: SiteMode) -> None:
        desk = Desk(site)
        accepted, reason = desk.told(Kind.CONNECT)
        assert accepted is (site in (SiteMode.STANDBY, *RUNNING)) is bool(desk.modes.connect_wanted)
        wanted = {SiteMode.STANDBY: "connecting"} | dict.fromkeys(RUNNING, "4 more to connect")
        assert reason == wanted.get(site, f"the site is {site.name}, not STANDBY")

    def test_racks_that_an_alarm_keeps_open_are_left_out(self) -> None:
        desk = Desk(SiteMode.ONLINE)
        desk.memory.join[0] = True
        desk.trips.rack_effect[2] = int(Effect.BLOCK_CLOSE)
        desk.trips.rack_effect[3] = int(Effect.DERATE)
        assert desk.told(Kind.CONNECT) == (True, "2 more to connect; alarms keep 1 out")
        assert desk.memory.join.tolist() == [True, True, False, True]

    def test_a_rack_out_of_service_is_not_asked_to_join(self) -> None:
        """Else it would close by itself as soon as it is put back."""
        desk = Desk(SiteMode.ONLINE)
        desk.memory.join[0], desk.memory.out_of_service[1] = True, True
        assert desk.told(Kind.CONNECT) == (True, "2 more to connect; 1 out of service")
        assert desk.memory.join.tolist() == [True, False, True, True]
        desk.memory.out_of_service[:] = True
        assert desk.told(Kind.CONNECT) == (False, "every rack is blocked by an alarm or out of service; Why names them")

    def test_who_waited_for_a_person_has_one_and_may_rejoin_as_often_as_before(self) -> None:
        desk = Desk()
        desk.memory.needs_person[:], desk.memory.rejoins[:] = True, 3
        desk.say(Kind.CONNECT)
        assert not desk.memory.needs_person.any() and not desk.memory.rejoins.any()

    def test_an_alarm_of_the_site_refuses_it_and_so_does_one_at_every_rack(self) -> None:
        desk = Desk()
        desk.trips.rack_effect[:] = int(Effect.BLOCK_CLOSE)
        assert desk.told(Kind.CONNECT) == (False, "every rack is blocked by an alarm; Why names them")
        desk.trips = dataclasses.replace(desk.trips, site_effect=int(Effect.STOP))
        assert desk.told(Kind.CONNECT) == (False, "an alarm blocks closing; Why names it")
        assert not desk.modes.connect_wanted and not desk.memory.join.any()

    def test_what_blocks_nothing_refuses_nothing(self) -> None:
        desk = Desk()
        desk.trips = dataclasses.replace(desk.trips, site_effect=int(Effect.ALARM | Effect.DERATE))
        assert desk.told(Kind.CONNECT) == (True, "connecting")


@pytest.mark.parametrize("kind", [Kind.DISCONNECT, Kind.STOP])
@pytest.mark.parametrize("site", ANYWHERE)
def test_nobody_is_ever_refused_a_disconnect(kind: Kind, site: SiteMode) -> None:
    desk = Desk(site)
    desk.modes = dataclasses.replace(desk.modes, connect_wanted=1)
    nothing = f"the site is {site.name}, nothing is connected"
    assert desk.told(kind, role=Role.SYSTEM) == (True, "disconnecting" if site in RUNNING else nothing)
    assert desk.modes.connect_wanted == 0


class TestShutdown:
    def armed(self) -> tuple[Desk, int]:
        desk = Desk(SiteMode.ONLINE)
        desk.modes = dataclasses.replace(desk.modes, connect_wanted=1)
        answer = desk.say(Kind.ARM_SHUTDOWN)
        assert (answer.accepted, answer.reason, desk.memory.armed_ms) == (True, "armed for 30 s", 30_000)
        assert 0 < answer.value < 2**52 and answer.value == desk.memory.armed_token
        assert 0 <= desk.memory.armed_user < 2**64, "it must fit its place in the memory"
        return desk, int(answer.value)

    def test_the_same_user_with_the_token_shuts_down_once(self) -> None:
        desk, token = self.armed()
        assert desk.told(Kind.EXECUTE_SHUTDOWN, token=token) == (True, "shutting down")
        assert (desk.modes.connect_wanted, desk.memory.armed_ms, desk.memory.armed_token) == (0, 0, 0)
        assert desk.told(Kind.EXECUTE_SHUTDOWN, token=token) == (False, "no shutdown is armed")

    @pytest.mark.parametrize(
        ("more", "why"),
        [
            ({"user": "somebody"}, "armed by another user"),
            ({"origin": Origin.SUPERVISOR}, "armed by another user"),
            ({"token": 1}, "wrong token"),
        ],
    )
    def test_anything_else_is_refused_and_leaves_it_armed(self, more: dict[str, Any], why: str) -> None:
        desk, token = self.armed()
        assert desk.told(Kind.EXECUTE_SHUTDOWN, **{"token": token, **more}) == (False, why)
        assert desk.memory.armed_ms == 30_000 and desk.modes.connect_wanted == 1

    @pytest.mark.parametrize(("left_ms", "accepted"), [(1, True), (0, False)])
    def test_it_ends_with_its_time(self, left_ms: int, accepted: bool) -> None:
        desk, token = self.armed()
        desk.memory = dataclasses.replace(desk.memory, armed_ms=left_ms)
        assert desk.say(Kind.EXECUTE_SHUTDOWN, token=token).accepted is accepted

    def test_no_two_tokens_are_alike_and_every_one_survives_a_trip_through_a_double(self) -> None:
        desk = Desk()
        tokens = {desk.say(Kind.ARM_SHUTDOWN).value for _ in range(40)}
        assert len(tokens) == 40 and 2**40 < max(tokens) < 2**52


@pytest.mark.parametrize("site", ANYWHERE)
def test_maintenance_is_entered_where_nothing_is_connected_and_left_from_anywhere(site: SiteMode) -> None:
    desk = Desk(site)
    quiet = site in (SiteMode.STANDBY, SiteMode.TRIPPED, SiteMode.LOCKED_OUT)
    inside = site is SiteMode.MAINTENANCE
    desk.memory = dataclasses.replace(desk.memory, maintenance_wanted=int(inside))
    first = "disconnect first" if site in RUNNING else "ask again once it is in STANDBY"
    refused = "the site is in MAINTENANCE already" if inside else f"the site is {site.name}; {first}"
    assert desk.told(Kind.ENTER_MAINTENANCE) == ((True, "entering maintenance") if quiet else (False, refused))
    assert desk.memory.maintenance_wanted == int(quiet or inside)
    nothing = f"the site is {site.name}, and nobody asked for maintenance"
    assert desk.told(Kind.LEAVE_MAINTENANCE) == (True, "leaving maintenance" if quiet or inside else nothing)
    assert desk.memory.maintenance_wanted == 0


def test_nobody_connects_while_maintenance_waits() -> None:
    desk = Desk()
    desk.memory = dataclasses.replace(desk.memory, maintenance_wanted=1)
    assert desk.told(Kind.CONNECT) == (False, "an engineer asked for maintenance; leave it first")
    assert not desk.modes.connect_wanted and not desk.memory.join.any()


class TestWhatMaintenanceWaitsFor:
    def told(self, desk: Desk) -> str:
        accepted, reason = desk.told(Kind.ENTER_MAINTENANCE)
        assert accepted and desk.memory.maintenance_wanted == 1
        return reason

    @pytest.mark.parametrize("site", [SiteMode.STANDBY, SiteMode.TRIPPED])
    def test_a_contactor_that_is_seen_closed_is_named(self, site: SiteMode) -> None:
        desk = Desk(site)
        desk.put("rack_main_closed", 1.0, 1)
        assert self.told(desk) == "maintenance begins once seen open: R02"
        desk.lose("rack_main_closed", 1)
        assert self.told(desk) == "entering maintenance", "what is not heard is not waited for"

    @pytest.mark.parametrize("mode", list(RackMode))
    def test_so_is_a_rack_whose_mode_is_not_open(self, mode: RackMode) -> None:
        desk = Desk(SiteMode.TRIPPED)
        desk.mode(mode, 3)
        waits = mode in (RackMode.PRECHARGE, RackMode.CLOSED, RackMode.STOPPING, RackMode.FUSE_WAIT)
        assert self.told(desk) == ("maintenance begins once seen open: R04" if waits else "entering maintenance")

    def test_three_are_named_and_the_others_counted(self) -> None:
        desk = Desk()
        desk.put("rack_main_closed", 1.0, slice(3))
        assert self.told(desk).endswith(": R01, R02, R03")
        desk.put("rack_main_closed", 1.0)
        assert self.told(desk).endswith(": R01, R02, R03 and 1 more")

    def test_a_locked_out_site_waits_for_nothing(self) -> None:
        desk = Desk(SiteMode.LOCKED_OUT)
        desk.put("rack_main_closed", 1.0)
        assert self.told(desk) == "entering maintenance"


class TestService:
    def test_a_rack_goes_out_of_service_and_comes_back(self) -> None:
        desk = Desk()
        before = desk.memory.out_of_service
        assert desk.told(Kind.RACK_OUT_OF_SERVICE, target=3) == (True, "R04 goes out of service")
        assert desk.told(Kind.RACK_OUT_OF_SERVICE, target=0) == (True, "R01 goes out of service")
        assert desk.memory.out_of_service.tolist() == [True, False, False, True]
        assert desk.told(Kind.RACK_IN_SERVICE, target=3) == (True, "R04 goes back in service")
        assert desk.memory.out_of_service.tolist() == [True, False, False, False]
        assert not before.any(), "what was remembered before is not written over"

    def test_a_tripped_rack_is_said_to_look_tripped_until_it_is_reset(self) -> None:
        desk = Desk()
        desk.modes.rack_mode[0] = int(RackMode.TRIPPED)
        assert desk.told(Kind.RACK_OUT_OF_SERVICE, target=0)[1].endswith("shown so once its trip is reset")
        assert desk.told(Kind.RACK_OUT_OF_SERVICE, target=1)[1] == "R02 goes out of service"

    @pytest.mark.parametrize(("target", "name"), [(4, 5), (-1, 0)])
    def test_a_rack_that_does_not_exist_is_refused(self, target: int, name: int) -> None:
        assert Desk().told(Kind.RACK_OUT_OF_SERVICE, target=target) == (False, f"no rack {name}")


@pytest.mark.parametrize(
    ("kind", "role", "needs"),
    [(Kind.CONNECT, Role.OBSERVER, "Operator"), (Kind.DISCONNECT, Role.OBSERVER, "Operator"),
     (Kind.ENTER_MAINTENANCE, Role.OPERATOR, "Engineer"), (Kind.RACK_OUT_OF_SERVICE, Role.OPERATOR, "Engineer"),
     (Kind.STOP, Role.ENGINEER, "System")],
)  # fmt: skip
def test_who_may_not_is_told_who_may(kind: Kind, role: Role, needs: str) -> None:
    desk = Desk()
    assert desk.told(kind, role=role, target=0) == (False, f"needs the {needs} role")
    assert not desk.modes.connect_wanted and not desk.memory.out_of_service.any()


def test_who_just_may_may() -> None:
    assert Desk().say(Kind.CONNECT, role=Role.OPERATOR).accepted


def test_a_command_of_another_stage_is_left_to_it_and_the_next_one_is_judged() -> None:
    desk = Desk()
    commands = [
        Command(n, kind, Origin.OPCUA, Role.OPERATOR, 0, 10**9)
        for n, kind in enumerate((Kind.SET_ACTIVE_POWER, Kind.CONNECT), 1)
    ]
    modes, _, answers = judge(desk.modes, desk.memory, desk.trips, desk.system, commands, np.zeros(4, bool))
    assert [a.command.kind for a in answers] == [Kind.CONNECT] and modes.connect_wanted == 1
