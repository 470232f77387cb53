"""What an operator asks for at the wrong time: refused, or done without effect, and each time with the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller.core.command import Kind, Role
from controller.core.image import SiteMode
from tests.story import Story


def _smoke(story: Story) -> None:
    story.online()
    story.points.smoke_detected.value[...] = 1.0
    story.seconds(1)


def _door(story: Story) -> None:
    story.until(SiteMode.STANDBY)
    story.points.door_closed.value[...] = 0.0
    story.seconds(2)


def _standby(story: Story) -> None:
    story.until(SiteMode.STANDBY)


def _online(story: Story) -> None:
    story.online()


def _maintenance(story: Story) -> None:
    _standby(story)
    story.tell(Kind.ENTER_MAINTENANCE, role=Role.ENGINEER)
    story.seconds(1)


def _maintenance_asked_for(story: Story) -> None:
    """It waits: a contactor is seen closed."""
    _standby(story)
    story.hold.add("rack_main_closed")
    story.points.rack_main_closed.value[0] = 1.0
    story.tell(Kind.ENTER_MAINTENANCE, role=Role.ENGINEER)
    story.scans(2)


TABLE: list[tuple[Callable[[Story], None], Kind, bool, str]] = [
    (_smoke, Kind.CONNECT, False, "the site is TRIPPED, not STANDBY"),
    (_door, Kind.CONNECT, False, "an alarm blocks closing; Why names it"),
    (_standby, Kind.DISCONNECT, True, "the site is STANDBY, nothing is connected"),
    (_online, Kind.ENTER_MAINTENANCE, False, "the site is ONLINE; disconnect first"),
    (_maintenance, Kind.CONNECT, False, "the site is MAINTENANCE, not STANDBY"),
    (_maintenance, Kind.ENTER_MAINTENANCE, False, "the site is in MAINTENANCE already"),
    (_maintenance_asked_for, Kind.ENTER_MAINTENANCE, True, "maintenance begins once seen open: R01"),
    (_maintenance_asked_for, Kind.CONNECT, False, "an engineer asked for maintenance; leave it first"),
    (_standby, Kind.LEAVE_MAINTENANCE, True, "the site is STANDBY, and nobody asked for maintenance"),
    (_standby, Kind.RESET_TRIPS, True, "nothing to reset"),
    (_standby, Kind.EXECUTE_SHUTDOWN, False, "no shutdown is armed"),
]


@pytest.mark.parametrize(("before", "kind", "accepted", "reason"), TABLE)
def test_the_answer_says_why(
    before: Callable[[Story], None], kind: Kind, accepted: bool, reason: str, story: Story
) -> None:
    before(story)
    mode = story.mode
    command = story.tell(kind, role=Role.ENGINEER)
    story.scans(2)
    answer = story.answer(command)
    assert (bool(answer.accepted), answer.text) == (accepted, reason)
    assert story.mode is mode


def test_a_reset_of_one_alarm_that_is_not_latched_does_nothing(story: Story) -> None:
    _smoke(story)
    command = story.tell(Kind.RESET_TRIPS, target=story.slot("door_open"))
    story.scans(2)
    assert story.answer(command).text == "nothing to reset"
    assert story.active("smoke_detected")
