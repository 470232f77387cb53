"""The swarm itself: a short day is clean, the same seed is the same day, and a broken program is caught."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

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
