"""The figures of the alarm list, from journals as short as a person can count them."""

from __future__ import annotations

from typing import Any

import pytest

from controller.core.image import AlarmState
from plc_config.compile import compile_site
from tools.report.alarms import Kpis, as_text, flood_ms, kpis, peak

S, MIN, HOUR = 1_000, 60_000, 3_600_000
PROGRAM = compile_site("bench").program
NORMAL, UNACKNOWLEDGED, ACKNOWLEDGED = AlarmState.NORMAL, AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED


def event(at: int, row: str, old: int, new: int, place: str = "site", user: str = "") -> dict[str, Any]:
    return {"utc_ms": at, "old": float(old), "new": float(new), "place": place, "user": user,
            "text": f"{row}: 3.7 V beyond 3.65 V; {AlarmState(new).name.lower()}"}  # fmt: skip


def of(events: list[dict[str, Any]], hours: float = 10.0) -> Kpis:
    return kpis(events, 0, round(hours * HOUR), PROGRAM)


def test_rate_and_wait() -> None:
    found = of([
        event(0, "door_open", NORMAL, UNACKNOWLEDGED),
        event(30 * S, "door_open", UNACKNOWLEDGED, ACKNOWLEDGED, user="mara"),
        event(60 * S, "door_open", ACKNOWLEDGED, NORMAL),
        event(HOUR, "door_open", NORMAL, UNACKNOWLEDGED),
    ])  # fmt: skip
    assert (found.sounded, found.figures["per_hour"], found.ack_median_s) == (2, 0.2, 30.0)
    assert found.top == [{"row": "door_open", "place": "site", "count": 2, "share": 100.0}]
    assert found.priorities["low"]["sounded"] == 100.0


def test_an_alarm_is_its_module_s_whichever_cell_leads() -> None:
    found = of(
        [
            event(0, "cell_overvoltage", NORMAL, UNACKNOWLEDGED, "R01/M02/C05"),
            event(S, "cell_overvoltage", UNACKNOWLEDGED, NORMAL, "R01/M02/C07"),
        ],
        30,
    )
    assert not found.stale and found.top[0]["place"] == "R01/M02"


def test_stale_and_chattering() -> None:
    found = of([event(i * 20 * S, "door_open", NORMAL, UNACKNOWLEDGED) for i in range(3)], 25)
    assert found.chattering == found.stale == ["door_open site"]
    assert not of([event(i * 31 * S, "door_open", NORMAL, UNACKNOWLEDGED) for i in range(3)], 23).chattering


def test_consequences_and_shelves_are_no_load() -> None:
    found = of([
        event(0, "module_comm_lost", NORMAL, AlarmState.SUPPRESSED, "R01/M01"),
        event(0, "door_open", NORMAL, AlarmState.SHELVED),
    ])  # fmt: skip
    assert (found.sounded, found.suppressed, found.shelved) == (0, 1, 1)
    assert found.ack_median_s is None and "nobody acknowledged" in as_text(found, "bench")


@pytest.mark.parametrize(
    ("times", "most", "flood"),
    [
        ([], 0, 0),
        ([i * MIN for i in range(10)], 10, 0),
        ([i * 6 * S for i in range(11)], 11, 10 * MIN - 60 * S + 36 * S),
        ([0, 11 * MIN, 22 * MIN], 1, 0),
    ],
)
def test_peak_and_flood(times: list[int], most: int, flood: int) -> None:
    """Eleven alarms within a minute: a flood from the eleventh until, ten minutes later, fewer than five are left."""
    assert peak(times) == most
    assert flood_ms(times, 10 * HOUR) == flood


def test_a_flood_that_goes_on_counts_to_the_end() -> None:
    assert flood_ms([i * S for i in range(20)], 5 * MIN) == 5 * MIN - 10 * S
