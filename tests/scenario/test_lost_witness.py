"""One sensor alone falls silent: it is told, what it last said stands, and the place stops when nobody repairs it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from controller.core.command import Kind
from controller.core.field_image import Points
from controller.core.image import RackMode
from controller.core.protect import ROWS, Effect
from controller.core.signal import Quality
from tests.alarm_words import restarted
from tests.scenario.hazards import an_hour_without, power, set_, stuck_cell
from tests.story import Story, connected, fork

NOBODY_LOOKS: dict[str, str] = {
    "pcs_reactive_power_var": "shown and dispatched; no row judges it",
    "rack_precharge_confirmed": "shown; the contactor's own feedback contradicts the command",
    "rack_soc_reported_ratio": "only compared with our own estimate, which goes on",
}
FIRST: dict[int, Any] = {0: ..., 1: 0, 2: np.s_[0, 1], 3: np.s_[0, 1, 2]}
AT_ONCE = Effect.TRIP | Effect.STOP | Effect.DERATE


@pytest.fixture(scope="module")
def begun() -> Story:
    story = fork(connected())
    power(60e3)(story)
    return story


@pytest.fixture
def story(begun: Story) -> Story:
    return fork(begun)


def acting(story: Story, row: str) -> bool:
    image = story.scans()
    return any(image.trips.slot_active[s.index] for s in story.program.matrix.slots if s.row.id == row)


def blind(story: Story, name: str, where: Any) -> None:
    """This one reads bad, its sisters do not."""
    getattr(story.points, name).quality[where] = int(Quality.BAD_SENSOR)


def effect(story: Story, rack: int = 0) -> Effect:
    assert story.image is not None
    return Effect(int(story.image.trips.rack_effect[rack]))


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Points)])
def test_every_point_that_is_lost_alone_is_told_and_reduces_or_opens(name: str, story: Story) -> None:
    samples = getattr(story.points, name)
    if name in NOBODY_LOOKS or (samples.quality == int(Quality.NOT_FITTED)).all():
        assert name in NOBODY_LOOKS or name.startswith(("rack_alarm", "rack_charge", "rack_discharge"))
        return
    story.hold.add(name)
    samples.quality[FIRST[samples.quality.ndim]] = int(Quality.BAD_SENSOR)
    image = story.seconds(2.6)
    rows = {story.program.matrix.slots[i].row.id for i in np.flatnonzero(image.trips.slot_active)}
    assert any(r.endswith("_lost") for r in rows), rows
    assert effect(story) & AT_ONCE


class TestTheSecondCurrentSensor:
    def test_alone_it_alarms_and_reduces_and_the_rack_runs_on(self, story: Story) -> None:
        blind(story, "rack_current_redundant_a", 0)
        story.seconds(0.4)
        assert not acting(story, "rack_witness_lost")
        assert acting(story, "rack_witness_lost")
        assert effect(story) & Effect.DERATE and effect(story) & Effect.BLOCK_CLOSE
        assert not effect(story) & (Effect.STOP | Effect.TRIP) and not effect(story, 1)
        image = story.seconds(3)
        assert image.modes.rack_mode[0] == RackMode.CLOSED

    def test_after_an_hour_the_rack_stops_and_a_repaired_one_may_join_again(self, story: Story) -> None:
        an_hour_without("rack_current_redundant_a", 0, "rack_unwitnessed")(story)
        image = story.seconds(1.5)
        assert image.modes.rack_mode[0] == RackMode.CLOSED
        image = story.seconds(3)
        assert image.modes.rack_mode[0] == RackMode.OPEN and image.modes.rack_mode[1] == RackMode.CLOSED
        story.points.rack_current_redundant_a.quality[0] = int(Quality.GOOD)
        story.scans(3)
        assert not effect(story) & (Effect.STOP | Effect.BLOCK_CLOSE)

    def test_an_over_current_that_it_showed_still_trips(self, story: Story) -> None:
        """Its last word was far too much; the first sensor says that all is well, and nobody can tell who is right."""
        set_("rack_current_redundant_a", -400.0, 0, hold=True)(story)
        story.scans()
        blind(story, "rack_current_redundant_a", 0)
        story.scans(3)
        assert acting(story, "charge_overcurrent") and effect(story) & Effect.TRIP

    def test_what_it_said_is_forgotten_when_the_rack_is_told_to_open(self, story: Story) -> None:
        blind(story, "rack_current_redundant_a", 0)
        story.scans(2)
        assert story.memory.protection.trend.last_redundant_current_a[0] == pytest.approx(141.0, abs=5.0)
        story.tell(Kind.DISCONNECT)
        story.seconds(30)
        assert not story.memory.protection.trend.last_redundant_current_a.any()

    def test_a_difference_that_it_showed_stands_until_it_is_heard_again(self, story: Story) -> None:
        set_("rack_current_redundant_a", 100.0, 0, hold=True)(story)
        story.seconds(1.5)
        assert acting(story, "rack_currents_differ")
        blind(story, "rack_current_redundant_a", 0)
        story.seconds(60)
        assert acting(story, "rack_currents_differ")
        set_("rack_current_redundant_a", float(story.points.rack_current_a.value[0]), 0)(story)
        story.points.rack_current_redundant_a.quality[0] = int(Quality.GOOD)
        story.scans(2)
        assert not acting(story, "rack_currents_differ")

    def test_a_sensor_that_never_contradicted_leaves_no_difference_behind(self, story: Story) -> None:
        blind(story, "rack_current_redundant_a", 0)
        story.seconds(10)
        assert not acting(story, "rack_currents_differ") and not acting(story, "charge_overcurrent")


class TestOneOfSeveralTemperatureSensors:
    def test_what_the_hottest_said_before_it_broke_still_trips(self, story: Story) -> None:
        hot = float(story.program.limit.discharge_overtemperature.trip) + 3.0
        story.points.cell_temperature_degc.value[0, 1, 2] = hot
        story.scans(2)
        blind(story, "cell_temperature_degc", np.s_[0, 1, 2])
        story.seconds(2)
        assert acting(story, "discharge_overtemperature") and acting(story, "temperature_sensor_lost")
        slot = next(
            s.index
            for s in story.program.matrix.slots
            if (s.row.id, s.place) == ("discharge_overtemperature", "R01/M02")
        )
        assert story.memory.protection.element[slot] == 2 and story.memory.protection.value[slot] >= hot

    def test_its_neighbour_s_warning_ends_when_the_neighbour_has_cooled(self, story: Story) -> None:
        """Only the sensor that showed it holds it: a broken one beside it does not."""
        warm = float(story.program.limit.charge_overtemperature.warn) + 1.0
        t = story.points.cell_temperature_degc
        t.quality[0, 1, 1] = int(Quality.BAD_SENSOR)
        t.value[0, 1, 2] = warm
        story.seconds(2)
        assert acting(story, "overtemperature_warning")
        t.value[0, 1, 2] = 25.0
        story.scans(2)
        assert not acting(story, "overtemperature_warning")

    def test_with_less_power_the_rack_runs_on_until_the_next_occasion(self, story: Story) -> None:
        """Its neighbours watch the module: no hour runs that would stop the rack."""
        blind(story, "cell_temperature_degc", np.s_[0, 1, 2])
        image = story.seconds(5)
        assert acting(story, "temperature_sensor_lost") and effect(story) & Effect.DERATE
        assert not effect(story) & (Effect.STOP | Effect.TRIP | Effect.BLOCK_CLOSE)
        assert image.modes.rack_mode[0] == RackMode.CLOSED
        hour = [s.index for s in story.program.matrix.slots if s.row.id.endswith("_unwitnessed")]
        assert hour and not story.memory.protection.timer_ms[hour].any()


class TestOtherWitnesses:
    @pytest.mark.parametrize("name", ["module_sample_counter", "module_bleeding_cells"])
    def test_after_an_hour_without_one_of_a_module_its_rack_stops(self, name: str, story: Story) -> None:
        an_hour_without(name, np.s_[0, 1], "module_unwitnessed")(story)
        image = story.seconds(1.5)
        assert image.modes.rack_mode[0] == RackMode.CLOSED
        image = story.seconds(3)
        assert image.modes.rack_mode[0] == RackMode.OPEN and image.modes.rack_mode[1] == RackMode.CLOSED

    @pytest.mark.parametrize(
        ("name", "value", "row", "seconds"),
        [
            ("rack_link_voltage_v", 100.0, "closed_without_contact", 0.5),
            ("rack_main_confirmed", 0.0, "command_not_confirmed", 0.7),
            ("pcs_fault", 1.0, "pcs_fault", 0.4),
            ("pcs_active_power_confirmed_w", 0.0, "pcs_command_not_confirmed", 1.2),
            ("rack_insulation_ohm", 1.0, "insulation_low", 3.0),
            ("cell_voltage_v", 3.9, "cell_overvoltage", 0.3),
            ("module_bleeding_cells", 1.0, "bleed_switch_stuck", 10.2),
        ],
    )
    def test_what_it_said_last_acts_in_its_time(
        self, name: str, value: float, row: str, seconds: float, story: Story
    ) -> None:
        where = FIRST[getattr(story.points, name).quality.ndim]
        set_(name, value, where, hold=True)(story)
        story.scans()
        blind(story, name, where)
        story.seconds(seconds)
        assert acting(story, row)

    def test_a_rack_that_is_silent_as_a_whole_has_a_row_of_its_own(self, story: Story) -> None:
        """What it last said of its contactors is old by then: they open by themselves."""
        set_("rack_main_confirmed", 0.0, 0, hold=True)(story)
        story.scans()
        for field in dataclasses.fields(Points):
            if field.name.startswith("rack_"):
                getattr(story.points, field.name).quality[0] |= int(Quality.BAD_COMM)
        story.seconds(1)
        assert acting(story, "rack_comm_lost") and not acting(story, "command_not_confirmed")
        assert not acting(story, "rack_witness_lost")

    def test_a_module_that_is_silent_as_a_whole_does_not_accuse_its_bleed_switches(self, story: Story) -> None:
        """What it last counted is older than the command that switched them off when it was lost."""
        set_("module_bleeding_cells", 1.0, np.s_[0, 1], hold=True)(story)
        story.scans()
        for field in dataclasses.fields(Points):
            if field.name.startswith(("cell_", "module_")):
                getattr(story.points, field.name).quality[0, 1] |= int(Quality.BAD_COMM)
        story.seconds(15)
        assert acting(story, "module_comm_lost") and not acting(story, "bleed_switch_stuck")

    def test_what_racks_said_against_their_pcs_stands_while_one_of_them_is_silent(self, story: Story) -> None:
        set_("rack_current_a", 60.0, hold=True)(story)
        story.seconds(1.5)
        assert acting(story, "dc_power_differs")
        blind(story, "rack_current_a", 0)
        story.scans(3)
        assert acting(story, "dc_power_differs")
        power(0.0)(story)
        set_("rack_current_a", 0.0)(story)
        story.points.rack_current_a.quality[0] = int(Quality.GOOD)
        assert not acting(story, "dc_power_differs")

    def test_a_silent_rack_that_has_opened_contradicts_nobody_any_longer(self, story: Story) -> None:
        set_("rack_current_a", 60.0, hold=True)(story)
        story.seconds(1.5)
        blind(story, "rack_current_a", 0)
        story.scans(3)
        assert acting(story, "dc_power_differs")
        story.points.rack_main_closed.value[0] = 0.0
        story.hold.add("rack_main_closed")
        story.scans(2)
        assert not acting(story, "dc_power_differs")

    def test_a_pcs_at_rest_may_say_nothing_of_its_dc_side(self, story: Story) -> None:
        story.tell(Kind.DISCONNECT)
        story.seconds(30)
        story.hold.update(("pcs_dc_voltage_v", "pcs_dc_current_a"))
        for name in ("pcs_dc_voltage_v", "pcs_dc_current_a"):
            blind(story, name, ...)
        story.seconds(2)
        assert not acting(story, "pcs_witness_lost")


class TestTheSite:
    """E-stop chain, fire panel and smoke detector: a latch needs them heard, over a restart too."""

    SHOWN = (
        ("estop", "estop_channel_1_closed", 0.0),
        ("fire_alarm", "fire_alarm", 1.0),
        ("smoke_detected", "smoke_detected", 1.0),
    )

    @pytest.mark.parametrize(("row", "point", "shown"), SHOWN)
    @pytest.mark.parametrize("again", [False, True])
    def test_no_reset_while_what_showed_it_is_silent(
        self, row: str, point: str, shown: float, again: bool, story: Story
    ) -> None:
        getattr(story.points, point).value[...] = shown
        story.seconds(0.3)
        assert acting(story, row)
        getattr(story.points, point).quality[...] = int(Quality.BAD_COMM)
        if again:
            story = restarted(story)
        command = story.tell(Kind.RESET_TRIPS, target=self._slot(story, row))
        story.scans(1)
        answer = story.answer(command)
        assert not answer.accepted
        assert f"{row} site: what showed it is silent" in answer.text
        assert acting(story, row)
        getattr(story.points, point).quality[...] = 0
        getattr(story.points, point).value[...] = 1.0 - shown
        story.seconds(2)
        story.tell(Kind.RESET_TRIPS, target=self._slot(story, row))
        story.scans(1)
        assert not acting(story, row)

    @staticmethod
    def _slot(story: Story, row: str) -> int:
        return next(s.index for s in story.program.matrix.slots if s.row.id == row)


def extremes_qualities(story: Story) -> list[Quality]:
    """Of the lowest cell of R01/M01, R01/M02, R01, R02 and the site."""
    assert story.image is not None
    e = story.image.measured.extremes
    found = (
        *e.module_cell_voltage_min_v.quality[0, :2],
        *e.rack_cell_voltage_min_v.quality,
        e.cell_voltage_min_v.quality,
    )
    return [Quality(int(q)) for q in found]


def test_a_lowest_and_a_highest_are_doubtful_while_one_of_their_cells_stands_still() -> None:
    story = fork(connected())
    assert extremes_qualities(story) == [Quality.GOOD] * 5
    stuck_cell(story)
    story.seconds(12)
    good, doubtful = Quality.GOOD, Quality.SUBSTITUTED
    assert story.active("cell_voltage_stuck", "R01/M02")
    assert extremes_qualities(story) == [good, doubtful, doubtful, good, doubtful]
    story.points.cell_voltage_v.value[0, 1, 4] += 0.02
    story.seconds(2)
    assert extremes_qualities(story) == [Quality.GOOD] * 5
    assert story.active("cell_voltage_stuck", "R01/M02"), "a person has to reset that"


def test_every_place_that_warns_of_a_lost_witness_stops_after_a_stated_time() -> None:
    rows = {r.id: r for r in ROWS}
    for level in ("module", "rack", "pcs"):
        warns, stops = rows[f"{level}_witness_lost"], rows[f"{level}_unwitnessed"]
        assert warns.effect & Effect.DERATE and not warns.opens
        assert stops.effect & Effect.STOP and stops.delay == 3_600_000
