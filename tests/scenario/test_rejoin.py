"""A rack that protection took out joins again by itself only where the site says so, and only after what ends by
itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.core.command import Kind, Role
from controller.core.image import RackMode, SiteMode
from controller.core.signal import Quality
from plc_config.compile import compile_site
from plc_config.library import DATA
from plc_config.problem import ConfigError
from tests.story import Story

WAIT_S = 20.0


def rejoining(tmp_path: Path, connection: str = "{rejoin_after: 20 s, rejoins: 2}", cycle: str = "500 ms") -> Story:
    """The bench at a slow cycle, ONLINE, with automatic rejoining."""
    text = (DATA / "sites" / "bench.yaml").read_text("utf-8").replace("cycle: 100 ms", f"cycle: {cycle}")
    text = text.replace("aux_supply: {warn", "stale_after: 2 s\n  lost_after: 3 s\n  aux_supply: {warn")
    path = tmp_path / "site.yaml"
    path.write_text(f"{text}connection: {connection}\n" if connection else text, "utf-8")
    return Story(compile_site(str(path))).online()


def heard(story: Story, racks: int | slice = 1, *, yes: bool) -> None:
    """The current of a rack is heard, or not."""
    story.points.rack_current_a.quality[racks] = int(Quality.GOOD if yes else Quality.BAD_COMM)


def lose_rack(story: Story, seconds: float = 6.0) -> None:
    """R02 is not heard for a while, is taken out, and is heard again."""
    heard(story, yes=False)
    story.seconds(seconds)
    assert story.rack(1) in (RackMode.OPEN, RackMode.STOPPING, RackMode.TRIPPED)
    heard(story, yes=True)


def left_ms(story: Story) -> int:
    return int(story.scans().modes.rack_rejoin_ms[1])


class TestWhoRejoins:
    def test_without_the_setting_nobody_does(self, tmp_path: Path) -> None:
        story = rejoining(tmp_path, "")
        lose_rack(story)
        story.wait(120)
        assert (story.rack(0), story.rack(1)) == (RackMode.CLOSED, RackMode.OPEN)
        assert left_ms(story) == -1

    def test_what_ends_by_itself_is_forgiven_after_the_wait(self, tmp_path: Path) -> None:
        story = rejoining(tmp_path)
        lose_rack(story)
        story.seconds(WAIT_S - 2)
        assert story.rack(1) is RackMode.OPEN
        assert 0 < left_ms(story) <= 4000
        assert story.scans().modes.rack_rejoin_ms[0] == -1, "a connected rack waits for nothing"
        story.seconds(10)
        assert story.rack(1) is RackMode.CLOSED
        assert story.mode is SiteMode.ONLINE and left_ms(story) == -1
        assert any("R02" in e.place and "joins again by itself" in e.text for e in story.events)

    def test_a_latched_trip_needs_its_reset_and_connect(self, tmp_path: Path) -> None:
        story = rejoining(tmp_path)
        story.points.cell_voltage_v.value[1, 0, 0] = 3.9
        story.seconds(3)
        story.points.cell_voltage_v.value[1, 0, 0] = 3.29
        story.seconds(3)
        assert story.rack(1) is RackMode.TRIPPED
        story.tell(Kind.RESET_TRIPS)
        story.wait(120)
        assert story.rack(1) is RackMode.OPEN, "the reset says that somebody looked, not that it may close"
        story.tell(Kind.CONNECT)
        story.seconds(10)
        assert story.rack(1) is RackMode.CLOSED

    def test_a_latched_trip_while_it_waits_ends_the_waiting(self, tmp_path: Path) -> None:
        story = rejoining(tmp_path)
        lose_rack(story)
        story.seconds(10)
        story.points.cell_voltage_v.value[1, 0, 0] = 3.9
        story.seconds(3)
        story.points.cell_voltage_v.value[1, 0, 0] = 3.29
        story.seconds(1)
        story.tell(Kind.RESET_TRIPS)
        story.wait(120)
        assert story.rack(1) is RackMode.OPEN

    def test_a_rack_out_of_service_waits_for_a_person(self, tmp_path: Path) -> None:
        story = rejoining(tmp_path)
        story.tell(Kind.RACK_OUT_OF_SERVICE, role=Role.ENGINEER, target=1)
        story.seconds(20)
        story.tell(Kind.RACK_IN_SERVICE, role=Role.ENGINEER, target=1)
        story.wait(120)
        assert story.rack(1) is RackMode.OPEN

    def test_a_rack_that_was_not_heard_at_connect_joins_when_it_is(self, tmp_path: Path) -> None:
        story = rejoining(tmp_path)
        story.tell(Kind.DISCONNECT)
        story.until(SiteMode.STANDBY)
        heard(story, yes=False)
        story.seconds(6)
        story.tell(Kind.CONNECT)
        story.until(SiteMode.ONLINE)
        assert story.rack(1) is RackMode.OPEN
        heard(story, yes=True)
        story.seconds(WAIT_S + 10)
        assert story.rack(1) is RackMode.CLOSED


class TestHowOften:
    def test_a_flapping_link_starts_the_wait_anew(self, tmp_path: Path) -> None:
        story = rejoining(tmp_path)
        for _ in range(4):
            lose_rack(story)
            story.seconds(WAIT_S - 5)
            assert story.rack(1) is RackMode.OPEN

    def test_so_often_and_then_somebody_must_ask(self, tmp_path: Path) -> None:
        story = rejoining(tmp_path)
        for _ in range(2):
            lose_rack(story)
            story.seconds(WAIT_S + 10)
            assert story.rack(1) is RackMode.CLOSED
        lose_rack(story)
        story.wait(120)
        assert story.rack(1) is RackMode.OPEN
        story.tell(Kind.CONNECT)
        story.seconds(10)
        assert story.rack(1) is RackMode.CLOSED
        lose_rack(story)
        story.seconds(WAIT_S + 10)
        assert story.rack(1) is RackMode.CLOSED, "asking gives all of them back"

    def test_an_hour_in_peace_gives_them_back(self, tmp_path: Path) -> None:
        story = rejoining(tmp_path, "{rejoin_after: 20 s, rejoins: 1}")
        lose_rack(story)
        story.seconds(WAIT_S + 10)
        assert story.rack(1) is RackMode.CLOSED
        modes = story.memory.modes
        modes.rack_mode_ms[1] = 3_600_000
        story.seconds(1)
        lose_rack(story)
        story.seconds(WAIT_S + 10)
        assert story.rack(1) is RackMode.CLOSED


class TestOnlyWhereItMay:
    def test_the_voltages_must_allow(self, tmp_path: Path) -> None:
        story = rejoining(tmp_path)
        lose_rack(story)
        story.points.rack_voltage_v.value[1] -= 12.0
        story.points.cell_voltage_v.value[1] -= 12.0 / 64
        story.seconds(WAIT_S + 30)
        assert story.rack(1) is RackMode.OPEN
        story.points.rack_voltage_v.value[1] += 12.0
        story.points.cell_voltage_v.value[1] += 12.0 / 64
        story.seconds(20)
        assert story.rack(1) is RackMode.CLOSED

    def test_a_site_that_was_disconnected_stays_so(self, tmp_path: Path) -> None:
        story = rejoining(tmp_path)
        lose_rack(story)
        story.tell(Kind.DISCONNECT)
        story.wait(120)
        assert story.mode is SiteMode.STANDBY
        assert (story.rack(0), story.rack(1)) == (RackMode.OPEN, RackMode.OPEN)

    def test_the_last_rack_takes_the_site_with_it(self, tmp_path: Path) -> None:
        story = rejoining(tmp_path)
        heard(story, slice(None), yes=False)
        story.seconds(20)
        heard(story, slice(None), yes=True)
        story.wait(120)
        assert story.mode is SiteMode.STANDBY


def test_the_key_says_what_it_wants(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rejoin_after"):
        rejoining(tmp_path, "{rejoin_after: 0 s}")
