"""The swarm itself: a short day is clean, the same seed is the same day, and a broken program is caught."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from controller.core.command import Kind
from controller.core.image import SiteMode
from plc_config.compile import compile_site
from tools.swarm.campaign import live
from tools.swarm.day import Day
from tools.swarm.judge import Judge, Violation


def test_a_short_day_breaks_nothing_and_the_same_seed_is_the_same_day() -> None:
    told = []
    for _ in range(2):
        day = Day(compile_site("bench"), 11)
        live(day, 600)
        told.append(list(day.told))
        day.close()
    assert told[0] == told[1]
    assert any("FAULT" in line or "connect" in line for line in told[0])


def test_a_bank_that_runs_on_with_a_welded_rack_under_load_is_caught() -> None:
    """The bench without the row that stops it: the rack is locked out, and nothing more happens."""
    day = Day(compile_site("bench"), 13)
    judge = Judge(day)
    slots = [s.index for s in day.program.matrix.slots if s.row.id == "open_rack_live"]
    day.program.matrix.delay_ms[slots] = day.program.matrix.due_ms[slots] = 10**9
    while day.image is None or day.image.modes.site_mode != SiteMode.STANDBY:
        day.cycle([])
    day.cycle([day.ask(Kind.CONNECT)])
    for _ in range(150):
        judge.look(day.cycle([]))
    day.cycle([day.ask(Kind.SET_ACTIVE_POWER, 30e3)])
    day.simulator.control.perform({"do": "weld_unseen", "place": "R01"})
    day.simulator.control.perform({"do": "insulation", "place": "R01", "ohm": 2e4})

    def go_on() -> None:
        for _ in range(150):
            judge.look(day.cycle([]))

    with pytest.raises(Violation, match="told to open, and its bank runs on"):
        go_on()
    day.close()


def test_a_contactor_that_stays_closed_against_its_command_is_caught() -> None:
    day = Day(compile_site("bench"), 12)
    judge = Judge(day)
    image = day.cycle([])
    day.plant.racks.main.closed[0] = True
    lying = dataclasses.replace(image, outputs=dataclasses.replace(image.outputs, rack_main_close=np.zeros(2, bool)))
    for _ in range(5):
        judge.look(lying)
    with pytest.raises(Violation, match="seed 12"):
        judge.look(lying)
    day.close()
