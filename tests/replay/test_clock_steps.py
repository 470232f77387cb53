"""A wall clock that is set, backward or forward, costs no recording, no trip file, and no order among them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.historian import recorder, trips
from controller.historian.replay import Replay, segments_of
from controller.historian.segment import in_order
from controller.historian.shelf import INDEX, Shelf
from tests.replay.test_trip_files import AFTER_MS, BEFORE_MS, SEGMENT_MS, heal, trip
from tests.store_rig import Rig
from tools.cli import main
from tools.report import trip as report
from tools.report.trip import noted

DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS
STEPS = (-YEAR_MS, YEAR_MS)


@pytest.fixture(autouse=True)
def a_tenth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (trips, report):
        monkeypatch.setattr(module, "BEFORE_MS", BEFORE_MS)
        monkeypatch.setattr(module, "AFTER_MS", AFTER_MS)
    monkeypatch.setattr(recorder, "SEGMENT_MS", SEGMENT_MS)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    made = Rig(tmp_path)
    monkeypatch.setenv("CELLWARDEN_STATE", str(made.state))
    yield made
    made.finish()


def files(rig: Rig) -> list[Path]:
    return in_order(rig.state / "trips")


def whole(file: Path, at: int) -> bool:
    """The file holds its minute before and its two minutes after, and replays."""
    result = Replay([file]).run()
    assert result.difference is None and result.first_scan is not None
    return result.first_scan <= at - BEFORE_MS // 100 and result.last_scan == at + AFTER_MS // 100


@pytest.mark.parametrize("step_ms", STEPS)
def test_every_trip_has_its_file_and_the_newest_written_stay(
    rig: Rig, step_ms: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rig.store is not None
    rig.store.trips.most_files = 2
    rig.online()
    rig.seconds(13)
    at = []
    for step in (0, 0, step_ms):
        rig.utc_offset_ms += step
        at.append(trip(rig))
        rig.seconds(AFTER_MS / 1000 + 5)
        heal(rig)
    rig.finish()
    assert [noted(f)["scan"] for f in files(rig)] == at[1:]
    assert all(whole(f, scan) for f, scan in zip(files(rig), at[1:], strict=True))
    assert main(["report", "trip", "bench", "--json"]) == 0
    assert [t["scan"] for t in json.loads(capsys.readouterr().out)] == at[1:]


@pytest.mark.parametrize("step_ms", STEPS)
def test_a_step_between_a_trip_and_its_file_changes_nothing_in_it(rig: Rig, step_ms: int) -> None:
    rig.online()
    rig.seconds(13)
    at = trip(rig)
    rig.seconds(2)
    rig.utc_offset_ms += step_ms
    rig.seconds(AFTER_MS / 1000 - 2)
    assert not files(rig), "its two minutes are not over"
    rig.seconds(10)
    (file,) = files(rig)
    assert whole(file, at)


@pytest.mark.parametrize("step_ms", STEPS)
def test_the_newest_recordings_stay_after_a_restart(rig: Rig, step_ms: int) -> None:
    rig.seconds(11)
    rig.utc_offset_ms += step_ms
    rig.seconds(6)
    store = rig.restart_store()
    store.recorder.keep_ms = 15_000
    rig.seconds(6)
    rig.finish()
    result = Replay(segments_of(rig.state / "recordings")).run()
    assert result.difference is None and result.last_scan == rig.number and result.gaps == 0
    assert result.first_scan is not None and 50 < result.first_scan < rig.number - 60, "only the oldest went"
    names = [e.file for e in Shelf(rig.state / "recordings").entries]
    (rig.state / "recordings" / INDEX).unlink()
    assert [e.file for e in Shelf(rig.state / "recordings").entries] == names == sorted(names)


def test_a_clock_set_right_by_a_year_leaves_the_minutes_before_it(rig: Rig) -> None:
    rig.online()
    rig.seconds(20)
    rig.utc_offset_ms += YEAR_MS
    rig.seconds(6)
    at = trip(rig)
    rig.seconds(AFTER_MS / 1000 + 10)
    (file,) = files(rig)
    assert whole(file, at)


def test_a_trip_right_after_a_restart_has_its_own_file(rig: Rig) -> None:
    """The file of the trip before was written when the store ended, within its two minutes."""
    rig.online()
    rig.seconds(7)
    first = trip(rig)
    heal(rig)
    rig.restart_store(orderly=True)
    second = trip(rig)
    rig.seconds(3)
    rig.restart_store()
    rig.seconds(AFTER_MS / 1000 + 5)
    assert [noted(f)["scan"] for f in files(rig)] == [first, second]


def test_trips_that_share_a_file_are_not_filed_again(rig: Rig) -> None:
    rig.online()
    first = trip(rig)
    heal(rig)
    trip(rig)
    rig.seconds(AFTER_MS / 1000 + 5)
    for orderly in (True, False):
        rig.restart_store(orderly)
        rig.seconds(AFTER_MS / 1000 + 5)
    assert [noted(f)["scan"] for f in files(rig)] == [first]


def test_recordings_without_a_number_are_older_than_all_others(rig: Rig) -> None:
    rig.seconds(12)
    rig.restart_store(orderly=True)
    for path in in_order(rig.state / "recordings"):
        path.rename(path.with_name(path.name.partition("-")[2]))
    rig.utc_offset_ms -= YEAR_MS
    rig.restart_store(orderly=True)
    rig.seconds(7)
    rig.finish()
    result = Replay(segments_of(rig.state / "recordings")).run()
    assert result.difference is None and result.last_scan == rig.number
