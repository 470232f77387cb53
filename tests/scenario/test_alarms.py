"""Alarms per ISA-18.2 as stories: every state, who may do what, one alarm for many causes, floods, restarts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from controller.core.annunciate import MAX_ALARM_EVENTS
from controller.core.command import Kind, Role
from controller.core.event import Event, What
from controller.core.image import AlarmState, RackMode
from controller.core.layout import Layout
from controller.core.protect import ROWS
from controller.core.protect.relations import ANY_TRIP, EXPLAINED_BY
from controller.core.retained import Retained, restore, retain
from controller.core.signal import Quality
from tests.story import REST_V, Story

NORMAL, UNACKNOWLEDGED, ACKNOWLEDGED = AlarmState.NORMAL, AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED
RETURNED, SHELVED, SUPPRESSED = AlarmState.RETURNED, AlarmState.SHELVED, AlarmState.SUPPRESSED
LATCHED, OUT_OF_SERVICE = AlarmState.LATCHED, AlarmState.OUT_OF_SERVICE
WHY = {"text": "lock is being repaired"}


def door(story: Story, closed: bool) -> None:
    story.points.door_closed.value[...] = float(closed)


def open_door(story: Story) -> None:
    door(story, False)
    story.seconds(1.5)


def close_door(story: Story) -> None:
    door(story, True)
    story.seconds(3.5)


def told(story: Story, row: str) -> list[Event]:
    return [e for e in story.events if e.what is What.ALARM and e.text.startswith(row)]


def shelve(story: Story, row: str, seconds: float = 600.0, **more: Any) -> Event:
    command = story.tell(Kind.SHELVE, seconds, target=story.slot(row), **{**WHY, **more})
    story.scans()
    return story.answer(command)


def ask(story: Story, kind: Kind, row: str, role: Role = Role.ENGINEER, **more: Any) -> Event:
    command = story.tell(kind, role=role, target=story.slot(row), **{**WHY, **more})
    story.scans()
    return story.answer(command)


def acknowledge(story: Story) -> None:
    story.tell(Kind.ACKNOWLEDGE)
    story.scans()


def lose_rack_bus(story: Story, rack: int = 0) -> None:
    """Everything behind a rack's gateway falls silent; the other rack stays fresh."""
    for name in ("rack_voltage_v", "rack_current_a", "rack_main_closed", "rack_insulation_ohm"):
        getattr(story.points, name).quality[rack] = int(Quality.BAD_COMM)
    story.points.cell_voltage_v.quality[rack] = int(Quality.BAD_COMM)
    story.points.cell_temperature_degc.quality[rack] = int(Quality.BAD_COMM)


def hear_again(story: Story, rack: int = 0) -> None:
    for name in ("rack_voltage_v", "rack_current_a", "rack_main_closed", "rack_insulation_ohm", "cell_voltage_v",
                 "cell_temperature_degc"):  # fmt: skip
        getattr(story.points, name).quality[rack] = 0


def restarted(story: Story) -> Story:
    """The same plant under a controller that was restarted with its retained state."""
    layout = Layout(Retained, story.program.dims)
    raw = layout.to_bytes(retain(story.memory, story.number, story.now_ms, story.program.matrix.digest))
    after = Story(story.site)
    for field in after.points.__dataclass_fields__:
        for part in ("value", "quality"):
            getattr(getattr(after.points, field), part)[...] = getattr(getattr(story.points, field), part)
    after.memory = restore(after.memory, layout.view(np.frombuffer(bytearray(raw), np.uint8)))
    after.number, after.now_ms, after.command_id = story.number, story.now_ms + 60_000, story.command_id + 100
    return after


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
        image = story.seconds(58)
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
        story.seconds(60)
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
    plain = Story("bench").online()
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


class TestGrouping:
    def test_a_lost_gateway_is_one_alarm_with_a_count(self) -> None:
        story = Story("container").online()
        lose_rack_bus(story)
        image = story.seconds(6)
        assert story.alarm("bus_lost", "GW01") is UNACKNOWLEDGED
        assert (image.alarms.active_alarms, image.alarms.unacknowledged_alarms) == (1, 1)
        consequences = int(image.alarms.alarm_consequences[story.slot("bus_lost", "GW01")])
        assert consequences == image.alarms.suppressed_alarms == 12, (
            "8 modules, rack, its current, insulation, not joined"
        )
        assert story.alarm("rack_comm_lost", "R01") is SUPPRESSED
        assert story.rack(0) is RackMode.TRIPPED, "its protection acted"
        first = story.program.matrix.slots[image.trips.first_out]
        assert first.place.startswith("R01"), "the first-out is kept"
        listed = [e for e in told(story, "module_comm_lost") if e.new == SUPPRESSED]
        assert len(listed) == 8 and "told with bus_lost GW01" in listed[0].text
        assert not [
            e for e in story.events if e.what is What.ALARM and e.new == UNACKNOWLEDGED and "bus_" not in e.text
        ]

    def test_what_stays_after_the_root_has_gone_is_an_alarm_of_its_own(self) -> None:
        story = Story("container").online()
        lose_rack_bus(story)
        story.seconds(6)
        hear_again(story)
        story.points.cell_voltage_v.quality[0, 2] = int(Quality.BAD_COMM)
        story.seconds(6)
        assert story.alarm("bus_lost", "GW01") is RETURNED
        assert story.alarm("module_comm_lost", "R01/M03") is UNACKNOWLEDGED
        assert story.alarm("module_comm_lost", "R01/M01") is NORMAL
        assert story.alarm("rack_comm_lost", "R01") is NORMAL

    def test_the_io_process_stands_for_all_its_buses(self) -> None:
        story = Story("container").online()
        story.system["io_age_ms"] = 2500
        for rack in range(12):
            lose_rack_bus(story, rack)
        image = story.seconds(6)
        assert story.alarm("io_process_lost") is UNACKNOWLEDGED
        assert image.alarms.active_alarms == 1
        assert image.alarms.alarm_consequences[story.slot("io_process_lost")] == image.alarms.suppressed_alarms > 140

    def test_a_trip_explains_its_own_warning(self, online: Story) -> None:
        online.points.cell_voltage_v.value[0, 1, 4] = 3.7
        online.seconds(3)
        assert online.alarm("cell_overvoltage", "R01/M02") is UNACKNOWLEDGED
        assert online.alarm("cell_overvoltage_warning", "R01/M02") is SUPPRESSED

    def test_a_spread_is_told_with_its_hot_module_and_by_itself_without_one(self, online: Story) -> None:
        online.points.cell_temperature_degc.value[:, 1, 0] = (51.0, 42.0)
        online.seconds(65)
        assert online.active("temperature_spread", "R01") and online.alarm("temperature_spread", "R01") is SUPPRESSED
        assert online.alarm("temperature_spread", "R02") is UNACKNOWLEDGED

    def test_another_rack_s_alarm_explains_nothing(self, online: Story) -> None:
        online.points.cell_voltage_v.value[0, 1, 4] = 3.7
        online.points.cell_voltage_v.value[1, 1, 4] = 3.61
        online.seconds(3)
        assert online.alarm("cell_overvoltage_warning", "R02/M02") is UNACKNOWLEDGED

    def test_a_root_out_of_service_explains_nothing(self) -> None:
        story = Story("bench").online()
        ask(story, Kind.ALARM_OUT_OF_SERVICE, "bus_lost")
        lose_rack_bus(story)
        story.seconds(6)
        assert story.alarm("bus_lost", "GW01") is OUT_OF_SERVICE
        assert story.alarm("rack_comm_lost", "R01") is UNACKNOWLEDGED

    def test_a_short_loss_that_opened_contactors_is_not_kept_quiet(self, online: Story) -> None:
        online.points.rack_voltage_v.quality[0] = int(Quality.BAD_COMM)
        online.scans(3)
        online.points.rack_voltage_v.quality[0] = 0
        online.scans(3)
        assert online.alarm("rack_comm_lost", "R01") is RETURNED
        assert [e.came for e in told(online, "rack_comm_lost")] == [True]

    def test_the_relation_names_rows_and_no_alarm_hides_behind_a_milder_one(self) -> None:
        rows = {r.id: r for r in ROWS}
        assert set(EXPLAINED_BY) <= set(rows)
        assert {n for names in EXPLAINED_BY.values() for n in names} <= {*rows, ANY_TRIP}
        for row in ROWS:
            for root in row.explained_by:
                assert rows[root].priority >= row.priority, f"{row.id} behind {root}"


class TestFigures:
    def test_chatter(self, story: Story) -> None:
        for _ in range(3):
            open_door(story)
            close_door(story)
            acknowledge(story)
        image = story.scans()
        assert image.alarms.chattering_alarms == 1
        assert story.seconds(70).alarms.chattering_alarms == 0

    def test_a_flood_begins_above_ten_and_ends_below_five(self) -> None:
        story = Story("container").online()
        story.points.rack_insulation_ohm.value[:8] = 190e3
        assert not story.seconds(12).alarms.alarm_flood
        story.points.rack_insulation_ohm.value[8:11] = 190e3
        image = story.seconds(12)
        assert (image.alarms.alarms_in_ten_minutes, image.alarms.alarm_flood) == (11, 1)
        assert story.seconds(500).alarms.alarm_flood
        image = story.seconds(120)
        assert (image.alarms.alarms_in_ten_minutes, image.alarms.alarm_flood) == (0, 0)
        assert image.alarms.alarms_per_hour == 11.0

    def test_stale_after_a_day(self) -> None:
        story = Story("bench")
        story.cycle_ms = 100
        open_door(story)
        memory = story.memory.annunciation
        memory.age_ms[story.slot("door_open")] += 24 * 3_600_000
        assert story.scans().alarms.stale_alarms == 1

    def test_a_storm_is_told_in_full_trips_first(self) -> None:
        """Hundreds of transitions per scan: each tells its share, what opens contactors first, and counts the rest."""
        story = Story("container").online()
        told_before = len(story.events)
        story.points.cell_temperature_degc.value[...] = 51.0
        story.points.cell_voltage_v.value[5, 3, 1] = 3.9
        image = story.scans(8)
        assert story.program.matrix.slots[image.trips.first_out].row.id == "cell_overvoltage"
        for toggle in range(10):
            story.points.cell_temperature_degc.value[...] = 61.0 if toggle % 2 else 25.0
            story.points.cell_voltage_v.value[...] = 3.9 if toggle % 2 else REST_V
            for _ in range(5):
                story.tell(Kind.ACKNOWLEDGE)
                before = len(story.events)
                image = story.scans()
                assert len([e for e in story.events[before:] if e.what is What.ALARM]) <= MAX_ALARM_EVENTS
        story.points.cell_temperature_degc.value[...] = 25.0
        story.points.cell_voltage_v.value[...] = REST_V
        image = story.seconds(20)
        assert image.alarms.untold_alarms == 0
        events = [e for e in story.events[told_before:] if e.what is What.ALARM]
        tripped = np.flatnonzero(image.trips.slot_latched)
        assert tripped.size > 90
        assert set(tripped) <= {e.slot for e in events if e.came}, "no trip is lost"
        first = next(e for e in events if e.came and story.program.matrix.opening[e.slot])
        assert first.place == "R06/M04/C02"
        assert image.alarms.dropped_transitions > 0, "what was overtaken is counted"


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
        image = after.seconds(38)
        assert after.alarm("door_open") is SHELVED
        assert bytes(image.alarms.shelf[0]["user"]) == b"mara"
        after.seconds(4)
        assert after.alarm("door_open") is UNACKNOWLEDGED

    def test_consequences_stay_with_their_root(self) -> None:
        story = Story("container").online()
        lose_rack_bus(story)
        story.seconds(6)
        acknowledge(story)
        after = restarted(story)
        image = after.seconds(6)
        assert after.alarm("bus_lost", "GW01") is ACKNOWLEDGED
        assert image.alarms.active_alarms == 1 and image.alarms.suppressed_alarms >= 11
        assert not [e for e in after.events if e.what is What.ALARM and e.new == UNACKNOWLEDGED]

    def test_a_cause_that_went_meanwhile_returns(self, story: Story) -> None:
        open_door(story)
        door(story, True)
        after = restarted(story)
        after.seconds(4)
        assert after.alarm("door_open") is RETURNED
