"""Alarms survive a restart of the controller without being told again."""

from __future__ import annotations

import pytest

from controller.core.event import What
from tests.alarm_words import (
    ACKNOWLEDGED,
    RETURNED,
    SHELVED,
    UNACKNOWLEDGED,
    acknowledge,
    door,
    lose_rack_bus,
    open_door,
    restarted,
    shelve,
)
from tests.story import REST_V, Story, connected, fork


class TestRestart:
    def test_states_survive_and_nothing_is_told_again(self, story: Story) -> None:
        open_door(story)
        acknowledge(story)
        story.points.hvac_healthy.value[...] = 0
        story.seconds(3)
        story.points.cell_voltage_v.value[0, 1, 4] = 3.7
        story.seconds(1)
        after = restarted(story)
        after.seconds(4)
        assert after.alarm("door_open") is ACKNOWLEDGED
        assert after.alarm("cooling_failed") is UNACKNOWLEDGED
        assert after.alarm("cell_overvoltage", "R01/M02") is UNACKNOWLEDGED
        assert not [e for e in after.events if e.what is What.ALARM], after.texts()
        assert after.image is not None and after.image.alarms.alarms_in_ten_minutes == 0

    def test_a_latch_still_names_its_cell_and_value(self, online: Story) -> None:
        online.points.cell_voltage_v.value[0, 1, 4] = 3.7
        online.seconds(1)
        online.points.cell_voltage_v.value[0, 1, 4] = REST_V
        online.points.estop_channel_1_closed.value[...] = 0
        online.seconds(1)
        online.points.estop_channel_1_closed.value[...] = 1
        online.scans(2)
        after = restarted(online)
        trips = after.scans().trips
        slot, estop = after.slot("cell_overvoltage", "R01/M02"), after.slot("estop")
        assert (int(trips.slot_element[slot]), int(trips.slot_element[estop])) == (4, -1)
        assert trips.slot_value[slot] == pytest.approx(3.7, abs=0.01)

    def test_a_shelf_survives_with_its_time(self, story: Story) -> None:
        open_door(story)
        shelve(story, "door_open", 60.0, user="mara")
        story.seconds(20)
        after = restarted(story)
        image = after.wait(38)
        assert after.alarm("door_open") is SHELVED
        assert bytes(image.alarms.shelf[0]["user"]) == b"mara"
        after.seconds(4)
        assert after.alarm("door_open") is UNACKNOWLEDGED

    def test_consequences_stay_with_their_root(self) -> None:
        story = fork(connected("container"))
        lose_rack_bus(story)
        story.seconds(6)
        acknowledge(story)
        after = restarted(story)
        image = after.seconds(6)
        assert after.alarm("bus_lost", "GW01") is ACKNOWLEDGED
        assert image.alarms.active_alarms == 2 and image.alarms.suppressed_alarms >= 11
        told = [e.slot for e in after.events if e.what is What.ALARM and e.new == UNACKNOWLEDGED]
        assert told == [after.slot("controller_interrupted")], "racks were connected; nothing else is told again"

    def test_a_cause_that_went_meanwhile_returns(self, story: Story) -> None:
        open_door(story)
        door(story, True)
        after = restarted(story)
        after.seconds(4)
        assert after.alarm("door_open") is RETURNED
