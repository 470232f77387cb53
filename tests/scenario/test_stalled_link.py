"""A link that stalls for a moment just when a contactor is told to move, and what is then said of the contactor."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from controller.core.command import Kind
from controller.core.field_image import Points
from controller.core.image import RackMode, SiteMode
from plc_config.compile import compile_site
from plc_config.library import DATA
from tests.story import Story

OF_RACKS = frozenset(f.name for f in dataclasses.fields(Points) if f.name.startswith("rack_"))
STALL_S = 0.4
"""Longer than a contactor is given to follow (0.3 s), shorter than what makes a value lost (0.5 s)."""
CONTACTORS = (
    "contactor_does_not_close", "contactor_does_not_open", "precharge_does_not_close", "precharge_does_not_open",
    "command_not_confirmed",
)  # fmt: skip


class Link(Story):
    """A bench whose rack controllers are heard over a link that may stall: values stand still, commands wait."""

    def stall(self) -> None:
        self.hold |= OF_RACKS
        self.silent |= OF_RACKS

    def go_on(self) -> None:
        self.hold -= OF_RACKS
        self.silent -= OF_RACKS

    def told(self) -> list[str]:
        return [row for row in CONTACTORS if self.active(row)]


def connecting(story: Link, until: RackMode) -> Link:
    """Until the first rack is on its way to be closed and has been in this mode for a scan."""
    story.until(SiteMode.STANDBY)
    story.tell(Kind.CONNECT)
    while story.rack() is not until:
        story.scans()
    return story


def leaving(story: Link) -> Link:
    story.online()
    story.tell(Kind.DISCONNECT)
    while story.memory.outputs.rack_main_close.any():
        story.scans()
    return story


def precharged(story: Link) -> Link:
    """The main is closed, and the precharge contactor has just been told to open."""
    connecting(story, RackMode.CLOSED)
    while story.memory.outputs.rack_precharge_close[0]:
        story.scans()
    return story


MOMENTS = {
    "told to precharge": lambda s: connecting(s, RackMode.PRECHARGE),
    "main told to close": lambda s: connecting(s, RackMode.CLOSED),
    "precharge told to open": precharged,
    "told to open": leaving,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_value_from_before_the_command_calls_no_contactor_broken(moment: str) -> None:
    story = MOMENTS[moment](Link("bench"))
    story.stall()
    story.seconds(STALL_S)
    assert story.told() == []
    story.go_on()
    story.seconds(2)
    assert story.told() == []
    assert not story.image.trips.rack_effect_latched.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("late_s", [0.1, 0.2])
def test_a_link_that_stalls_after_one_more_value_says_no_more_than_that_value(late_s: float) -> None:
    """Read before the contactor could have moved, and never again until it has."""
    story = leaving(Link("bench"))
    story.hold.add("rack_main_closed")
    story.seconds(late_s)
    story.stall()
    story.seconds(STALL_S)
    assert story.told() == []
    story.go_on()
    story.seconds(1)
    assert story.told() == []


def test_a_weld_is_told_when_its_time_to_follow_is_over_after_the_stall() -> None:
    story = leaving(Link("bench"))
    story.stall()
    story.seconds(STALL_S)
    story.go_on()
    story.hold.add("rack_main_closed")
    story.scans(3)
    assert not story.active("contactor_does_not_open")
    story.scans()
    assert story.active("contactor_does_not_open", "R01"), "heard again, and told to open, for 0.3 s"


def test_on_a_link_that_is_heard_the_time_counts_from_the_command() -> None:
    story = leaving(Link("bench"))
    story.hold.add("rack_main_closed")
    story.scans(3)
    assert not story.active("contactor_does_not_open")
    story.scans()
    assert story.active("contactor_does_not_open", "R01")


def test_a_value_that_stays_old_is_a_lost_rack_not_a_weld() -> None:
    story = leaving(Link("bench"))
    story.stall()
    story.seconds(3)
    assert story.active("rack_comm_lost", "R01")
    assert not story.active("contactor_does_not_open")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_command_that_the_stall_swallowed_gets_its_time_to_follow_once_the_link_goes_on(moment: str) -> None:
    """The first values after the stall are new, and show a contactor that has only just been told."""
    story = MOMENTS[moment](Link("bench"))
    story.stall()
    story.seconds(STALL_S)
    story.silent -= OF_RACKS
    story.scans(2)
    assert story.told() == []
    story.go_on()
    story.seconds(2)
    assert story.told() == []
    assert not story.image.trips.rack_effect_latched.any()  # type: ignore[union-attr]


def test_at_a_slow_cycle_one_value_between_two_stalls_calls_no_contactor_welded(tmp_path: Path) -> None:
    """One scan is longer than the time to follow: what was read once must not be held against it twice."""
    text = (DATA / "sites" / "bench.yaml").read_text("utf-8").replace("cycle: 100 ms", "cycle: 500 ms")
    (tmp_path / "site.yaml").write_text(text, "utf-8")
    story = leaving(Link(compile_site(str(tmp_path / "site.yaml"))))
    story.stall()
    story.scans()
    story.silent -= OF_RACKS
    story.scans()
    story.stall()
    story.scans()
    assert story.told() == []
    story.go_on()
    story.seconds(2)
    assert story.told() == []
