"""The site's and the racks' sequences as stories."""

from __future__ import annotations

import pytest

from controller.core.command import Kind, Role
from controller.core.event import What
from controller.core.image import RackMode, SiteMode
from tests.story import Story


def test_every_start_begins_with_contactors_open(story: Story) -> None:
    for _ in range(30):
        image = story.scans()
        assert not image.outputs.rack_main_close.any()
        assert not image.outputs.rack_precharge_close.any()
    assert story.mode is SiteMode.STANDBY


def test_connect_precharges_one_rack_of_a_bank_at_a_time(story: Story) -> None:
    story.until(SiteMode.STANDBY)
    story.tell(Kind.CONNECT)
    for _ in range(100):
        image = story.scans()
        assert int((image.modes.rack_mode == RackMode.PRECHARGE).sum()) <= 1
        closing = image.outputs.rack_main_close
        assert not (closing & (image.modes.rack_mode == RackMode.PRECHARGE)).any()
    assert story.mode is SiteMode.ONLINE


def test_the_main_never_closes_before_the_link_is_up(story: Story) -> None:
    story.until(SiteMode.STANDBY)
    story.hold.add("rack_link_voltage_v")
    story.tell(Kind.CONNECT)
    for _ in range(200):
        image = story.scans()
        assert not image.outputs.rack_main_close.any()


def test_the_main_never_closes_unless_the_precharge_contactor_was_seen_closed(story: Story) -> None:
    story.until(SiteMode.STANDBY)
    story.hold.add("rack_precharge_closed")
    story.tell(Kind.CONNECT)
    for _ in range(200):
        assert not story.scans().outputs.rack_main_close.any()


def test_a_rack_of_another_voltage_is_not_joined(story: Story) -> None:
    story.points.rack_voltage_v.value[1] -= 3.0
    story.points.cell_voltage_v.value[1] -= 3.0 / 64
    story.until(SiteMode.STANDBY)
    story.tell(Kind.CONNECT)
    story.until(SiteMode.ONLINE)
    story.seconds(20)
    assert story.rack(1) is RackMode.CLOSED
    far = Story("bench")
    far.points.rack_voltage_v.value[1] += 12.0
    far.points.cell_voltage_v.value[1] += 12.0 / 64
    far.until(SiteMode.STANDBY)
    far.tell(Kind.CONNECT)
    far.until(SiteMode.ONLINE)
    far.seconds(20)
    assert sorted([far.rack(0), far.rack(1)]) == [RackMode.OPEN, RackMode.CLOSED]


def test_disconnect_ramps_to_zero_before_it_opens(online: Story) -> None:
    online.tell(Kind.SET_ACTIVE_POWER, 80e3)
    online.seconds(4)
    assert online.image is not None and online.image.outputs.pcs_active_power_setpoint_w.sum() == pytest.approx(80e3)
    online.points.rack_current_a.value[...] = 150.0
    online.tell(Kind.DISCONNECT)
    online.seconds(1)
    assert online.rack() is RackMode.STOPPING
    assert online.image.outputs.rack_main_close.all(), "not under current"
    online.seconds(2)
    assert online.image.outputs.pcs_active_power_setpoint_w.sum() == 0.0
    online.points.rack_current_a.value[...] = 0.0
    online.until(SiteMode.STANDBY)
    assert not online.image.outputs.rack_main_close.any()


def test_a_rack_that_keeps_its_current_is_opened_all_the_same_in_time(online: Story) -> None:
    online.points.rack_current_a.value[...] = 50.0
    online.tell(Kind.DISCONNECT)
    online.seconds(10.5)
    assert online.rack() is RackMode.OPEN


class TestShutdown:
    def test_two_steps_by_the_same_user(self, online: Story) -> None:
        armed = online.tell(Kind.ARM_SHUTDOWN, user="scada", text="storm")
        online.scans()
        token = int(online.answer(armed).new)
        assert online.answer(armed).accepted and token > 0
        execute = online.tell(Kind.EXECUTE_SHUTDOWN, user="scada", token=token)
        online.until(SiteMode.STANDBY)
        assert online.answer(execute).accepted

    @pytest.mark.parametrize(
        ("token", "user", "wait_s", "why"),
        [(-1, "scada", 0, "wrong token"), (0, "other", 0, "another user"), (0, "scada", 31, "no shutdown is armed")],
    )
    def test_anything_else_is_refused(self, online: Story, token: int, user: str, wait_s: int, why: str) -> None:
        armed = online.tell(Kind.ARM_SHUTDOWN, user="scada")
        online.scans()
        good = int(online.answer(armed).new)
        online.seconds(wait_s)
        execute = online.tell(Kind.EXECUTE_SHUTDOWN, user=user, token=good + token)
        online.scans()
        assert not online.answer(execute).accepted and why in online.answer(execute).text
        assert online.mode is SiteMode.ONLINE

    def test_a_token_works_once(self, online: Story) -> None:
        armed = online.tell(Kind.ARM_SHUTDOWN)
        online.scans()
        token = int(online.answer(armed).new)
        online.tell(Kind.EXECUTE_SHUTDOWN, token=token)
        online.until(SiteMode.STANDBY)
        again = online.tell(Kind.EXECUTE_SHUTDOWN, token=token)
        online.scans()
        assert not online.answer(again).accepted


class TestCommands:
    def test_an_expired_command_is_refused(self, story: Story) -> None:
        story.until(SiteMode.STANDBY)
        late = story.tell(Kind.CONNECT, expires_ms=story.now_ms - 1)
        story.scans()
        assert "expired" in story.answer(late).text
        assert story.mode is SiteMode.STANDBY

    def test_a_replayed_command_is_refused(self, story: Story) -> None:
        story.until(SiteMode.STANDBY)
        story.tell(Kind.CONNECT, id=7)
        story.until(SiteMode.ONLINE)
        story.tell(Kind.DISCONNECT, id=8)
        story.until(SiteMode.STANDBY)
        story.events.clear()
        again = story.tell(Kind.CONNECT, id=7)
        story.seconds(1)
        assert not story.answer(again).accepted and "already" in story.answer(again).text
        assert story.mode is SiteMode.STANDBY

    def test_every_command_gets_exactly_one_answer(self, online: Story) -> None:
        asked, before = [], len(online.events)
        for kind in Kind:
            asked.append(online.tell(kind, role=Role.ENGINEER).id)
            online.scans(2)
        assert sorted(e.command for e in online.events[before:] if e.what == What.ANSWER) == asked

    def test_an_observer_moves_nothing(self, story: Story) -> None:
        story.until(SiteMode.STANDBY)
        for kind in Kind:
            if kind is Kind.EMERGENCY_STOP:
                continue
            command = story.tell(kind, role=Role.OBSERVER)
            story.scans()
            assert not story.answer(command).accepted, kind
        assert story.mode is SiteMode.STANDBY


def test_out_of_service_needs_an_engineer_and_keeps_the_rack_open(online: Story) -> None:
    refused = online.tell(Kind.RACK_OUT_OF_SERVICE, target=0)
    online.scans()
    assert "Engineer" in online.answer(refused).text
    online.tell(Kind.RACK_OUT_OF_SERVICE, target=0, role=Role.ENGINEER)
    online.seconds(2)
    assert online.rack() is RackMode.OUT_OF_SERVICE
    online.tell(Kind.CONNECT)
    online.seconds(20)
    assert online.rack() is RackMode.OUT_OF_SERVICE


def test_a_site_that_lost_its_last_rack_stops(online: Story) -> None:
    online.points.rack_current_a.value[...] = 400.0
    online.seconds(1)
    online.points.rack_current_a.value[...] = 0.0
    online.until(SiteMode.STANDBY)
