"""Every trip becomes one file with its minute before and two minutes after, which replays and renders by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.core.command import Kind
from controller.historian import recorder, trips
from controller.historian.reader import HistoryStore
from controller.historian.replay import Replay
from controller.historian.segment import Segment
from tests.store_rig import Rig
from tests.story import REST_V
from tools.cli import main
from tools.report import trip as report
from tools.report.trip import find, noted

BEFORE_MS, AFTER_MS, SEGMENT_MS = 6_000, 12_000, 5_000
"""A tenth of the real times: the story is the same."""


def test_a_minute_before_and_two_after() -> None:
    assert (trips.BEFORE_MS, trips.AFTER_MS) == (60_000, 120_000)


@pytest.fixture(autouse=True)
def a_tenth_of_the_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "rig" not in request.fixturenames:
        return
    for module in (trips, report):
        monkeypatch.setattr(module, "BEFORE_MS", BEFORE_MS)
        monkeypatch.setattr(module, "AFTER_MS", AFTER_MS)
    monkeypatch.setattr(recorder, "SEGMENT_MS", SEGMENT_MS)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.finish()


def files(rig: Rig) -> list[Path]:
    return sorted((rig.state / "trips").glob("*.cwr"))


def trip(rig: Rig) -> int:
    """A cell goes over its limit; the scan of the trip."""
    rig.points.cell_voltage_v.value[0, 1, 4] = 3.7
    while not rig.active("cell_overvoltage"):
        rig.scans()
    return rig.number


def heal(rig: Rig) -> None:
    rig.points.cell_voltage_v.value[0, 1, 4] = REST_V
    rig.seconds(1)
    rig.tell(Kind.RESET_TRIPS)
    rig.seconds(1)


def test_a_trip_is_one_file_that_replays_bit_for_bit(rig: Rig, tmp_path: Path) -> None:
    rig.online()
    rig.seconds(13)
    at = trip(rig)
    rig.seconds(AFTER_MS / 1000)
    assert not files(rig), "its two minutes are not over"
    rig.seconds(10)
    (file,) = files(rig)
    result = Replay([file]).run()
    assert result.difference is None and result.gaps == 0 and result.skipped == 0
    assert result.first_scan is not None and result.first_scan <= at - BEFORE_MS // 100
    assert result.last_scan == at + AFTER_MS // 100
    assert result.keyframes_checked >= 2, "several segments were put behind each other"
    assert noted(file)["first_out"] == "cell_overvoltage R01/M02"
    assert main(["replay", str(file)]) == 0
    page = tmp_path / "trip.html"
    assert main(["report", "trip", str(file), "--out", str(page)]) == 0
    assert "cell_overvoltage" in page.read_text() and "every scan identical" in page.read_text()


def test_what_opened_after_the_first_is_named_on_its_page(
    rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A weld half a minute after a lost link must not hide behind it."""
    rig.online()
    rig.seconds(1)
    trip(rig)
    rig.seconds(2)
    rig.points.rack_current_a.value[1] = 400.0
    rig.seconds(AFTER_MS / 1000 + 10)
    (file,) = files(rig)
    page = tmp_path / "trip.html"
    assert main(["report", "trip", str(file), "--out", str(page)]) == 0
    told = capsys.readouterr().out
    assert "cell_overvoltage at R01/M02" in told and "s later: discharge_overcurrent at R02" in told
    assert "discharge_overcurrent at R02 (+2." in page.read_text().partition("<figure>")[0]


def test_an_orderly_end_writes_what_there_is(rig: Rig) -> None:
    rig.online()
    at = trip(rig)
    rig.seconds(5)
    last = rig.number
    rig.finish()
    (file,) = files(rig)
    result = Replay([file]).run()
    assert result.difference is None and result.last_scan == last > at


def test_a_killed_store_makes_up_for_the_file(rig: Rig) -> None:
    rig.online()
    at = trip(rig)
    rig.seconds(3)
    rig.restart_store()
    rig.seconds(AFTER_MS / 1000 + 4)
    (file,) = files(rig)
    assert noted(file)["scan"] in (at, at + 1)
    assert Replay([file]).run().difference is None


def test_a_trip_while_the_store_was_away_has_its_file(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in truth more than the ring holds: what is read again from it begins without a keyframe.
    monkeypatch.setattr(trips, "BEFORE_MS", 8_000)
    rig.online()
    rig.seconds(8)
    store, rig.store = rig.store, None
    at = trip(rig)
    rig.seconds(2)
    rig.store = store
    rig.restart_store()
    rig.seconds(AFTER_MS / 1000 + 4)
    rig.restart_store()
    rig.seconds(1)
    (file,) = files(rig)
    assert noted(file)["first_out"] == "cell_overvoltage R01/M02"
    _, (found,) = find(file)
    assert found.scan == at and Replay([file]).run().difference is None


def test_a_trip_within_another_s_two_minutes_belongs_to_it_and_the_number_of_files_is_bounded(rig: Rig) -> None:
    assert rig.store is not None
    rig.store.trips.most_files = 2
    rig.online()
    first = trip(rig)
    heal(rig)
    trip(rig)
    for _ in range(3):
        heal(rig)
        rig.seconds(AFTER_MS / 1000 + 5)
        last = trip(rig)
    heal(rig)
    rig.finish()
    found = [noted(f)["scan"] for f in files(rig)]
    assert len(found) == 2 and first not in found and found[-1] in (last, last + 1)
    _, reported = find(files(rig)[-1])
    assert [t.scan for t in reported] == [last], "the lead-in may hold an earlier trip, the file is of this one"


def test_a_full_disk_is_told_once_and_tried_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rig.store is not None
    rig.online()
    trip(rig)
    rig.seconds(AFTER_MS / 1000)
    with monkeypatch.context() as patch:
        patch.setattr("controller.historian.trips.SegmentWriter", _full)
        rig.seconds(10)
        assert rig.store.trips.trouble and not files(rig)
    rig.seconds(30)
    assert not rig.store.trips.trouble and len(files(rig)) == 1
    assert Segment(files(rig)[0]).header["site"] == "bench"


def told(rig: Rig) -> list[str]:
    """What the store says of trip files."""
    return [e["text"] for e in HistoryStore(rig.state).events(0, 2**60, 10_000) if "trip file" in e["text"]]


def test_a_damaged_recording_costs_the_trip_file_no_more_than_its_part(rig: Rig) -> None:
    assert rig.store is not None
    rig.online()
    rig.seconds(SEGMENT_MS / 1000 + 3)
    at = trip(rig)
    rig.seconds(SEGMENT_MS / 1000 + 1)
    before = [e for e in rig.store.recorder.shelf.entries if e.last_scan < at][-1]
    lead_in = rig.store.recorder.shelf.folder / before.file
    lead_in.write_bytes(lead_in.read_bytes()[:-20] + b"\xff" * 20)
    rig.seconds(AFTER_MS / 1000 + 10)
    (file,) = files(rig)
    result = Replay([file]).run()
    assert result.difference is None and (result.first_scan or 0) < at < (result.last_scan or 0)
    (text,) = told(rig)
    assert "lacks a part" in text and before.file in text


def test_a_trip_of_which_nothing_is_left_is_given_up_and_the_next_one_gets_its_file(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rig.store is not None
    rig.online()
    trip(rig)
    heal(rig)
    around, pruned = rig.store.trips._around, rig.number
    monkeypatch.setattr(rig.store.trips, "_around", lambda note: [] if note["scan"] < pruned else around(note))
    rig.seconds(AFTER_MS / 1000 + 5)
    assert not files(rig)
    last = trip(rig)
    rig.seconds(AFTER_MS / 1000 + 10)
    (file,) = files(rig)
    assert noted(file)["scan"] in (last, last + 1)
    assert not rig.store.trips.trouble, "nothing waits to be written"
    (text,) = told(rig)
    assert "nothing of it is recorded any more" in text


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")
