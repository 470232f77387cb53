"""What standards ask for and more than one row gives: a latch over a restart, a hazard behind a faulty sensor."""

from __future__ import annotations

import numpy as np
import pytest

from controller.core.command import Kind, Role
from controller.core.image import RackMode, SiteMode
from controller.core.signal import Quality
from tests.alarm_words import restarted
from tests.scenario.hazards import skip_to_the_last_two_seconds
from tests.story import REST_V, Story

CELL, NEIGHBOUR = np.s_[0, 1, 4], np.s_[0, 1, 5]
MODULE, SENSOR = np.s_[0, 1], np.s_[0, 1, 2]
FAULTS = ("open", "short", "stuck", "drifting", "exchanged")
STOPPED_S = 15.0
"""A delay of ten seconds, a ramp to zero, and the contactors."""


def test_deep_discharge_outlasts_a_restart_and_nothing_charges_until_an_engineer_released_it(online: Story) -> None:
    online.points.cell_voltage_v.value[CELL] = 1.9
    online.seconds(1)
    assert online.active("deep_discharge", "R01/M02") and online.mode is SiteMode.ONLINE
    online.points.cell_voltage_v.value[CELL] = 3.0
    online.seconds(2)

    story = restarted(online)
    story.seconds(3)
    assert story.active("deep_discharge", "R01/M02")
    for kind, value in ((Kind.RESET_TRIPS, 0.0), (Kind.CONNECT, 0.0), (Kind.SET_ACTIVE_POWER, -20e3)):
        story.tell(kind, value, Role.OPERATOR)
        story.seconds(5)
    story.seconds(20)
    assert story.active("deep_discharge", "R01/M02")
    assert story.rack(0) is RackMode.LOCKED_OUT and not story.memory.outputs.rack_main_close[0]

    story.tell(Kind.DISCONNECT)
    story.until(SiteMode.STANDBY)
    for kind in (Kind.ENTER_MAINTENANCE, Kind.RESET_TRIPS, Kind.LEAVE_MAINTENANCE):
        story.tell(kind, role=Role.ENGINEER)
        story.seconds(1)
    assert not story.active("deep_discharge", "R01/M02")
    story.tell(Kind.CONNECT)
    story.until(SiteMode.ONLINE)
    story.seconds(30)
    assert story.memory.outputs.rack_main_close[0]


def test_a_controller_that_ended_under_load_says_so_until_an_operator_has_read_it(online: Story) -> None:
    story = restarted(online)
    story.seconds(2)
    assert story.active("controller_interrupted") and not story.memory.outputs.rack_main_close.any()
    story.tell(Kind.RESET_TRIPS)
    story.seconds(1)
    assert not story.active("controller_interrupted")
    assert not [s for s in (restarted(story),) if s.scans(5) and s.active("controller_interrupted")], "none was closed"


def show(story: Story, fault: str, name: str, at: object, truth: float, before: float) -> None:
    """What a sensor with this fault shows of the truth."""
    samples = getattr(story.points, name)
    if fault == "open":
        samples.quality[at] = int(Quality.BAD_SENSOR)
    samples.value[at] = {"short": 0.0, "stuck": before, "drifting": 0.98 * truth}.get(fault, truth)


def cell(story: Story, fault: str, truth: float, others: float) -> None:
    """One cell goes where it must not, the others go their way, and the cell's sensor has the fault."""
    value = story.points.cell_voltage_v.value
    value[...] = others
    show(story, fault, "cell_voltage_v", CELL, truth, REST_V)
    if fault == "exchanged":
        value[CELL], value[NEIGHBOUR] = others, truth


def too_full(story: Story, fault: str) -> None:
    cell(story, fault, 3.75, REST_V + 0.03)


def too_empty(story: Story, fault: str) -> None:
    cell(story, fault, 2.4, REST_V - 0.03)


def too_hot(story: Story, fault: str) -> None:
    story.points.cell_temperature_degc.value[MODULE] = 65.0
    show(story, fault, "cell_temperature_degc", SENSOR, 65.0, 25.0)


def too_much_current(story: Story, fault: str) -> None:
    story.points.rack_current_redundant_a.value[0] = 500.0
    show(story, fault, "rack_current_a", 0, 500.0, 50.0)


@pytest.mark.parametrize("hazard", [too_full, too_empty, too_hot, too_much_current], ids=lambda h: h.__name__)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_hazard_behind_a_faulty_sensor_still_ends(online: Story, hazard: object, fault: str) -> None:
    """At once where a neighbour or a second sensor shows it; by the stated hour where one cell stands still unseen."""
    online.seconds(2)
    assert online.rack(0) is RackMode.CLOSED and callable(hazard)
    hazard(online, fault)
    if fault == "stuck" and hazard in (too_full, too_empty):
        online.seconds(2)
        assert online.rack(0) is RackMode.CLOSED, "one cell of many: its rack is given an hour"
        skip_to_the_last_two_seconds(online, "cell_unwitnessed")
    online.seconds(STOPPED_S)
    assert online.rack(0) is not RackMode.CLOSED
    assert not online.memory.outputs.rack_main_close[0]
