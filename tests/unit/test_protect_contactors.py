"""Contactors against their commands: the boundary of each cause, and from which age on a feedback says nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from controller.core.image import RackMode
from controller.core.protect import ROWS
from controller.core.protect import contactors as c
from controller.core.protect.row import When
from tests.protect_bench import Bench, Change, all_of, lose, out, own_precharge, put, rack_mode, trend

OPENED = out("rack_main_close", False, 0)
ALONE = all_of(out("rack_precharge_close", True, 0), OPENED)


def sound(b: Bench) -> None:
    """Nothing is changed."""


def told(ms: int, age_ms: int) -> Change:
    """Every command was given `ms` ago, every feedback read `age_ms` ago."""

    def change(b: Bench) -> None:
        trend(main_told_ms=ms, precharge_told_ms=ms)(b)
        for name in ("rack_main_closed", "rack_precharge_closed", "rack_main_confirmed"):
            getattr(b.points, name).time_ms[...] = b.system.now_ms - age_ms

    return change


BOUNDARY: list[tuple[Any, Change, Change]] = [
    (c.main_does_not_close, put("rack_main_closed", 0.5), put("rack_main_closed", 0.49)),
    (c.main_does_not_close, all_of(OPENED, put("rack_main_closed", 0.0)), put("rack_main_closed", 0.0)),
    (c.main_does_not_close, lose("rack_main_closed"), put("rack_main_closed", 0.0)),
    (
        c.main_does_not_close,
        all_of(own_precharge, rack_mode(RackMode.PRECHARGE), put("rack_main_closed", 0.0)),
        all_of(own_precharge, rack_mode(RackMode.CLOSED), put("rack_main_closed", 0.0)),
    ),
    (c.main_does_not_close, sound, all_of(rack_mode(RackMode.PRECHARGE), put("rack_main_closed", 0.0))),
    (c.main_does_not_open, all_of(OPENED, put("rack_main_closed", 0.49)), all_of(OPENED, put("rack_main_closed", 0.5))),
    (c.main_does_not_open, all_of(OPENED, lose("rack_main_closed")), OPENED),
    (
        c.precharge_does_not_open,
        all_of(out("rack_precharge_close", True, 0), put("rack_precharge_closed", 1.0)),
        put("rack_precharge_closed", 1.0),
    ),
    (
        c.precharge_does_not_open,
        all_of(own_precharge, put("rack_precharge_closed", 1.0)),
        all_of(own_precharge, OPENED, put("rack_precharge_closed", 1.0)),
    ),
    (c.command_not_confirmed, sound, put("rack_main_confirmed", 0.0)),
    (c.command_not_confirmed, all_of(OPENED, put("rack_main_confirmed", 0.0)), OPENED),
    (c.command_not_confirmed, lose("rack_main_confirmed"), put("rack_main_confirmed", 0.49)),
    (
        c.precharge_does_not_close,
        all_of(out("rack_precharge_close", True, 0), put("rack_precharge_closed", 1.0)),
        all_of(ALONE, put("rack_precharge_closed", 0.0)),
    ),
    (
        c.precharge_does_not_close,
        all_of(
            out("rack_precharge_close", True, 0), out("rack_main_close", True, 0), put("rack_precharge_closed", 0.0)
        ),
        all_of(ALONE, put("rack_precharge_closed", 0.0)),
    ),
]
SHOWN: list[tuple[Any, Change]] = [(cause, beyond) for cause, _, beyond in BOUNDARY]


@pytest.mark.parametrize(("cause", "before", "beyond"), BOUNDARY, ids=lambda x: getattr(x, "__name__", ""))
def test_a_cause_has_its_boundary_where_it_says(cause: Any, before: Change, beyond: Change) -> None:
    for change, present in ((before, False), (beyond, True)):
        bench = Bench()
        change(bench)
        assert cause(bench.facts()).tolist() == [present, False], change


@pytest.mark.parametrize(("cause", "beyond"), SHOWN, ids=lambda x: getattr(x, "__name__", ""))
@pytest.mark.parametrize(
    ("ms", "age_ms", "counts"),
    [
        (100, 90, True),
        (100, 100, True),
        (100, 101, False),
        (300, 300, True),
        (300, 301, False),
        (301, 77, False),
        (301, 76, True),
        (500, 276, False),
        (500, 275, True),
        (60_000, 400, True),
    ],
)
def test_a_feedback_counts_while_the_time_runs_and_then_from_three_quarters_of_it(
    cause: Any, beyond: Change, ms: int, age_ms: int, counts: bool
) -> None:
    """A contactor of the bench is given 300 ms."""
    bench = Bench()
    all_of(beyond, told(ms, age_ms))(bench)
    assert cause(bench.facts()).tolist() == [counts, False]


@pytest.mark.parametrize(
    ("commanded", "before_ms", "age_ms", "ms"),
    [
        ("now", 5000, 15, 100),
        ("now", 5000, 100, 100),
        ("now", 5000, 115, -100),
        ("before", 100, 15, 200),
        ("before", 300, 350, 400),
        ("before", -100, 215, -200),
        ("before", -100, 115, 115),
        ("before", -400, 15, 15),
        ("before", 15, 215, -115),
    ],
)
def test_the_time_to_follow_begins_with_the_first_value_after_a_stall(
    commanded: str, before_ms: int, age_ms: int, ms: int
) -> None:
    """Each scan comes 100 ms after the one before."""
    bench = Bench()
    told(0, age_ms)(bench)
    facts, told_open = bench.facts(), np.array([False, False])
    before = ~told_open if commanded == "now" else told_open
    feedback = facts.measured.points.rack_main_closed
    assert c.told_ms(facts, told_open, before, np.full(2, before_ms), feedback, 100).tolist() == [ms, ms]


def test_every_cause_of_this_module_has_a_boundary() -> None:
    named = {r.cause.condition for r in ROWS if isinstance(r.cause, When)}
    assert {cause for cause in named if cause.__module__ == c.__name__} == {cause for cause, _, _ in BOUNDARY}


@pytest.mark.parametrize("cause", {cause for cause, _, _ in BOUNDARY}, ids=lambda cause: cause.__name__)
def test_a_healthy_plant_shows_nothing(cause: Any) -> None:
    assert not np.any(cause(Bench().facts()))
