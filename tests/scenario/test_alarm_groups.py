"""One alarm for many causes, and the figures that tell a flood from a chatter."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from controller.core.annunciate import MAX_ALARM_EVENTS
from controller.core.command import Kind
from controller.core.event import What
from controller.core.image import RackMode
from controller.core.protect import ROWS
from controller.core.protect.relations import ANY_TRIP, EXPLAINED_BY
from controller.core.signal import Quality
from plc_config.compile import compile_site
from plc_config.library import DATA
from tests.alarm_words import (
    LATCHED_UNACKNOWLEDGED,
    NORMAL,
    OUT_OF_SERVICE,
    RETURNED,
    SUPPRESSED,
    UNACKNOWLEDGED,
    acknowledge,
    ask,
    close_door,
    hear_again,
    lose_rack_bus,
    open_door,
    told,
)
from tests.story import REST_V, Story, connected, fork


class TestGrouping:
    def test_a_lost_gateway_is_one_alarm_with_a_count(self) -> None:
        story = fork(connected("container"))
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
        story = fork(connected("container"))
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
        story = fork(connected("container"))
        story.system["io_age_ms"] = 2500
        for rack in range(12):
            lose_rack_bus(story, rack)
        image = story.seconds(6)
        assert story.alarm("io_process_lost") is UNACKNOWLEDGED
        assert image.alarms.active_alarms == 1
        assert image.alarms.alarm_consequences[story.slot("io_process_lost")] == image.alarms.suppressed_alarms > 140

    def test_an_io_process_that_was_back_before_it_was_missed_is_told_all_the_same(self) -> None:
        story = fork(connected())
        story.points.estop_channel_1_closed.quality[...] = int(Quality.BAD_COMM)
        story.scans(4)
        story.points.estop_channel_1_closed.quality[...] = int(Quality.GOOD)
        story.system["io_restarted"] = 1
        image = story.scans()
        assert story.active("io_process_lost") and not image.outputs.rack_main_close.any()
        story.system["io_restarted"] = 0
        story.scans(3)
        assert story.alarm("io_process_lost") is UNACKNOWLEDGED
        assert story.alarm("estop_lost") is SUPPRESSED, "it is a consequence"
        story.seconds(5)
        assert story.alarm("io_process_lost") is RETURNED, "until somebody has seen it"
        assert story.alarm("estop_lost") is LATCHED_UNACKNOWLEDGED

    def test_a_loss_of_records_is_told_once_and_has_ended_when_no_more_are_lost(self) -> None:
        story = fork(connected())
        story.system["lost_records"] = 7
        story.seconds(1)
        assert story.alarm("records_lost") is UNACKNOWLEDGED
        story.seconds(4)
        assert story.alarm("records_lost") is RETURNED

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
        story = fork(connected())
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
        assert story.wait(70).alarms.chattering_alarms == 0

    def test_a_flood_begins_above_ten_and_ends_below_five(self, tmp_path: Path) -> None:
        text = (DATA / "sites" / "container.yaml").read_text("utf-8").replace("cycle: 100 ms", "cycle: 1 s")
        text = text.replace("  aux_supply:", "  stale_after: 3 s\n  lost_after: 5 s\n  aux_supply:")
        path = tmp_path / "container.yaml"
        path.write_text(text, "utf-8")
        story = Story(compile_site(str(path))).online()
        story.points.rack_insulation_ohm.value[:8] = 190e3
        assert not story.seconds(12).alarms.alarm_flood
        story.points.rack_insulation_ohm.value[8:11] = 190e3
        image = story.seconds(12)
        assert (image.alarms.alarms_in_ten_minutes, image.alarms.alarm_flood) == (11, 1)
        story.cycle_ms = 10_000
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
        story = fork(connected("container"))
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
