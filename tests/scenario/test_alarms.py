"""Alarms per ISA-18.2 as stories: every state, and who may do what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from controller.app.opcua_process import catalog_of
from controller.core.command import Kind, Role
from controller.core.image import AlarmState, RackMode
from controller.core.protect import ROWS
from opcua_model.acting import acting_alarms
from opcua_model.points import sample
from opcua_model.server import model_of
from opcua_model.view import Grade, Look
from tests.alarm_words import (
    ACKNOWLEDGED,
    LATCHED,
    NORMAL,
    OUT_OF_SERVICE,
    RETURNED,
    SHELVED,
    UNACKNOWLEDGED,
    WHY,
    acknowledge,
    ask,
    close_door,
    door,
    open_door,
    shelve,
    told,
)
from tests.story import REST_V, Story, connected, fork


def listed(story: Story) -> list[list[str]]:
    """The alarm list as SCADA reads it, each line in its fields."""
    model = model_of(story.site, catalog_of(story.program))
    reads = next(p for p in model.points if p.path == "Alarms/List")
    lines = sample(reads.spec, Look(story.image, Grade.FRESH, 0, 0, 0), reads.index).value
    return [line.split("|") for line in lines]


class TestStates:
    """Each line of the life of an alarm: what happens, and the state that follows."""

    def test_comes_is_seen_and_goes(self, story: Story) -> None:
        open_door(story)
        assert story.alarm("door_open") is UNACKNOWLEDGED
        acknowledge(story)
        assert story.alarm("door_open") is ACKNOWLEDGED
        close_door(story)
        assert story.alarm("door_open") is NORMAL

    def test_goes_before_it_is_seen(self, story: Story) -> None:
        open_door(story)
        close_door(story)
        assert story.alarm("door_open") is RETURNED
        open_door(story)
        assert story.alarm("door_open") is UNACKNOWLEDGED
        close_door(story)
        acknowledge(story)
        assert story.alarm("door_open") is NORMAL

    def test_a_latch_needs_to_be_seen_and_reset(self, online: Story) -> None:
        online.points.cell_voltage_v.value[0, 1, 4] = 3.7
        online.seconds(1)
        online.points.cell_voltage_v.value[0, 1, 4] = REST_V
        online.seconds(1)
        assert online.alarm("cell_overvoltage", "R01/M02") is AlarmState.LATCHED_UNACKNOWLEDGED
        acknowledge(online)
        assert online.alarm("cell_overvoltage", "R01/M02") is LATCHED
        online.tell(Kind.RESET_TRIPS)
        online.scans(2)
        assert online.alarm("cell_overvoltage", "R01/M02") is NORMAL

    def test_every_transition_tells_place_value_limit_and_user(self, online: Story) -> None:
        online.points.cell_voltage_v.value[0, 1, 4] = 3.7
        online.seconds(1)
        online.tell(Kind.ACKNOWLEDGE, user="mara")
        online.scans()
        came, seen = told(online, "cell_overvoltage:")
        assert (came.place, came.new, came.limit, came.came) == ("R01/M02/C05", UNACKNOWLEDGED, 3.65, True)
        assert came.value == pytest.approx(3.7, abs=0.01) and came.user == ""
        assert (seen.old, seen.new, seen.user, seen.came) == (UNACKNOWLEDGED, ACKNOWLEDGED, "mara", False)

    def test_an_alarm_that_returned_unseen_still_says_what_it_was_for(self, online: Story) -> None:
        online.points.cell_voltage_v.value[0, 1, 4] = 3.7
        online.seconds(1)
        online.points.cell_voltage_v.value[0, 1] = REST_V
        online.points.cell_voltage_v.value[0, 1, 7] += 0.01
        online.seconds(1)
        online.tell(Kind.RESET_TRIPS)
        online.seconds(5)
        assert online.alarm("cell_overvoltage", "R01/M02") is RETURNED
        (row,) = [fields for fields in listed(online) if fields[2] == "cell_overvoltage"]
        assert row[1:6] == ["RETURNED", "cell_overvoltage", "R01/M02/C05", "3.7 V", "3.65 V"]
        (over,) = [a for a in acting_alarms(online.program, online.image) if a.row == "cell_overvoltage"]
        assert (over.state, over.place, over.value, over.limit) == ("RETURNED", "R01/M02/C05", "3.7 V", "3.65 V")

    def test_what_acts_stands_before_what_is_over(self, online: Story) -> None:
        """Also when it was seen and the other was not: the first lines are all that a small screen shows."""
        online.points.cell_voltage_v.value[0, 1, 4] = 3.7
        online.seconds(1)
        online.points.cell_voltage_v.value[0, 1, 4] = REST_V
        online.seconds(1)
        online.tell(Kind.RESET_TRIPS)
        online.seconds(5)
        online.points.cell_voltage_v.value[1, 3, 9] = 3.7
        online.seconds(1)
        online.tell(Kind.ACKNOWLEDGE, target=online.slot("cell_overvoltage", "R02/M04"))
        online.scans(2)
        states = [fields[1] for fields in listed(online) if fields[2] == "cell_overvoltage"]
        assert states == ["ACKNOWLEDGED", "RETURNED"]

    def test_nobody_acknowledges_what_he_could_not_have_seen(self, story: Story) -> None:
        door(story, False)
        while story.alarm("door_open") is NORMAL if story.image is not None else True:
            story.tell(Kind.ACKNOWLEDGE)
            story.scans()
        assert story.alarm("door_open") is UNACKNOWLEDGED

    def test_a_short_return_is_no_return(self, story: Story) -> None:
        """The off-delay: a door that rattles is one alarm."""
        open_door(story)
        acknowledge(story)
        for _ in range(10):
            door(story, True)
            story.seconds(1)
            open_door(story)
        assert story.alarm("door_open") is ACKNOWLEDGED
        assert len([e for e in told(story, "door_open") if e.came]) == 1


class TestShelf:
    def test_a_shelved_alarm_is_off_the_list_and_comes_back_by_itself(self, story: Story) -> None:
        open_door(story)
        answer = shelve(story, "door_open", 60.0, user="mara")
        assert answer.accepted and "shelved for 1 min; its protection acts as before" in answer.text
        image = story.wait(58)
        assert story.alarm("door_open") is SHELVED
        assert (image.alarms.active_alarms, image.alarms.unacknowledged_alarms, image.alarms.shelved_alarms) == (
            0,
            0,
            1,
        )
        image = story.seconds(3)
        assert story.alarm("door_open") is UNACKNOWLEDGED, "it is still there and nobody acknowledged it"
        away, back = [e for e in told(story, "door_open") if SHELVED in (e.old, e.new)]
        assert away.user == "mara" and "lock is being repaired" in away.text
        assert back.user == "" and "its shelf time is over" in back.text

    def test_what_was_acknowledged_comes_back_acknowledged(self, story: Story) -> None:
        open_door(story)
        acknowledge(story)
        shelve(story, "door_open", 5.0)
        story.seconds(6)
        assert story.alarm("door_open") is ACKNOWLEDGED

    def test_what_came_and_went_on_the_shelf_leaves_nothing(self, story: Story) -> None:
        shelve(story, "door_open", 60.0)
        open_door(story)
        close_door(story)
        assert ask(story, Kind.UNSHELVE, "door_open", Role.OPERATOR).accepted
        assert story.alarm("door_open") is NORMAL
        assert [e.new for e in told(story, "door_open") if e.came] == [SHELVED], "it is in the journal all the same"

    @pytest.mark.parametrize(
        ("row", "seconds", "more", "why"),
        [
            ("door_open", 600.0, {"text": " "}, "needs a reason"),
            ("door_open", 600.0, {"role": Role.OBSERVER}, "needs the Operator role"),
            ("door_open", 0.5, {}, "at least 1 s"),
            ("door_open", float("nan"), {}, "at least 1 s"),
            ("door_open", 8 * 3600.0 + 1, {}, "longest shelf time here is 8 h"),
            ("cell_overvoltage", 600.0, {}, "trips are not shelved"),
            ("module_comm_lost", 600.0, {}, "trips are not shelved"),
            ("bus_lost", 600.0, {}, "stands for other alarms"),
        ],
    )
    def test_refused(self, row: str, seconds: float, more: dict[str, Any], why: str, story: Story) -> None:
        answer = shelve(story, row, seconds, **more)
        assert not answer.accepted and why in answer.text
        assert story.alarm(row) is NORMAL

    def test_no_row_that_opens_contactors_can_be_shelved(self, story: Story) -> None:
        for row in (r.id for r in ROWS if r.opens):
            assert not shelve(story, row).accepted, row

    def test_the_shelf_is_small_on_purpose(self) -> None:
        story = Story("container")
        slots = [s.index for s in story.program.matrix.slots if s.row.id == "cell_voltage_noisy"]
        answers = []
        for slot in slots[:33]:
            command = story.tell(Kind.SHELVE, 60.0, target=slot, **WHY)
            story.scans()
            answers.append(story.answer(command))
        assert [a.accepted for a in answers] == [True] * 32 + [False]
        assert "32 alarms are on the shelf" in answers[-1].text

    def test_out_of_service_is_an_engineer_s_and_lasts(self, story: Story) -> None:
        assert not ask(story, Kind.ALARM_OUT_OF_SERVICE, "door_open", Role.OPERATOR).accepted
        assert ask(story, Kind.ALARM_OUT_OF_SERVICE, "door_open", user="ines").accepted
        open_door(story)
        story.wait(60)
        assert story.alarm("door_open") is OUT_OF_SERVICE
        assert "is out of service" in shelve(story, "door_open").text
        assert not ask(story, Kind.ALARM_IN_SERVICE, "door_open", Role.OPERATOR).accepted
        assert ask(story, Kind.ALARM_IN_SERVICE, "door_open").accepted
        assert story.alarm("door_open") is UNACKNOWLEDGED

    def test_what_is_not_there_is_not_ended(self, story: Story) -> None:
        assert "is not shelved" in ask(story, Kind.UNSHELVE, "door_open").text
        assert "is not out of service" in ask(story, Kind.ALARM_IN_SERVICE, "door_open").text
        command = story.tell(Kind.SHELVE, 60.0, target=10**6, **WHY)
        story.scans()
        assert "no alarm" in story.answer(command).text


HIDE: dict[str, Callable[[Story], None]] = {
    "shelved": lambda s: shelve(s, "door_open", 3600.0) and None,
    "out of service": lambda s: ask(s, Kind.ALARM_OUT_OF_SERVICE, "cell_overvoltage") and None,
}


@pytest.mark.parametrize("how", HIDE)
def test_hiding_an_alarm_never_hides_the_hazard(how: str, online: Story) -> None:
    plain = fork(connected())
    HIDE[how](online)
    for story in (plain, online):
        story.points.cell_voltage_v.value[0, 0, 3] = 3.7
        open_door(story)
    assert plain.image is not None and online.image is not None
    assert online.rack(0) is plain.rack(0) is RackMode.TRIPPED
    for name in ("rack_effect", "slot_active", "slot_latched"):
        assert (getattr(online.image.trips, name) == getattr(plain.image.trips, name)).all()
    assert online.image.trips.site_effect == plain.image.trips.site_effect
    assert (online.image.outputs.rack_main_close == plain.image.outputs.rack_main_close).all()


def test_what_is_over_names_no_cell_that_it_was_not_for(story: Story) -> None:
    """The third cell was too high; when all are well again another one is the highest, and was never too high."""
    volts = story.points.cell_voltage_v.value
    volts[0, 1, 2] = 3.62
    story.seconds(2)
    volts[0, 1, 2], volts[0, 1, 3] = REST_V, REST_V + 0.02
    story.seconds(5)
    events = told(story, "cell_overvoltage_warning")
    assert [e.place for e in events] == ["R01/M02/C03", "R01/M02"]
    assert "back from 3.6 V" in events[-1].text
