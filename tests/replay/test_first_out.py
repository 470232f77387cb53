"""Three causes within one second: which came first, and when, survives the store, its death and the controller's."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.core.image import AlarmState
from controller.core.retained import restore
from controller.historian import recorder, trips
from controller.historian.reader import HistoryStore
from controller.historian.restore import load
from controller.historian.retained import Catalog
from tests.store_rig import Rig
from tests.story import Story
from tools.cli import main
from tools.report import trip as report

CELL, EARTH, ESTOP = "cell_overvoltage", "insulation_low", "estop"
AFTER_MS, EVER = 12_000, (0, 2**60, 1000)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """The bench online, its store beside it; a tenth of the recorder's times, the story is the same."""
    for module in (trips, report):
        monkeypatch.setattr(module, "BEFORE_MS", 6_000)
        monkeypatch.setattr(module, "AFTER_MS", AFTER_MS)
    monkeypatch.setattr(recorder, "SEGMENT_MS", 5_000)
    made = Rig(tmp_path)
    monkeypatch.setenv("CELLWARDEN_STATE", str(made.state))
    made.online()
    made.seconds(8)
    yield made
    made.finish()


def three_causes(rig: Rig) -> dict[str, int]:
    """An over-charged cell in R01, 300 ms later an earth fault in R02, 400 ms later the E-stop: when each began.

    The E-stop acts at once and the earth fault after its second, so they act in another order than they came.
    """
    began = {}
    for name, value, where, row, scans in (
        ("cell_voltage_v", 3.7, (0, 1, 4), CELL, 3),
        ("rack_insulation_ohm", 40e3, 1, EARTH, 4),
        ("estop_channel_1_closed", 0.0, ..., ESTOP, 1),
    ):
        getattr(rig.points, name).value[where] = value
        began[row] = rig.now_ms + rig.cycle_ms
        rig.scans(scans)
    rig.points.estop_channel_2_closed.value[...] = 0.0
    rig.seconds(3)
    return began


def test_first_out_and_the_order_in_milliseconds_come_back_from_the_files(
    rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = three_causes(rig)
    rig.restart_store()
    rig.seconds(AFTER_MS / 1000 + 4)
    rig.finish()

    assert main(["report", "trip", "bench", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["row"], told["place"]) == (CELL, "R01/M02")
    page = tmp_path / "trip.html"
    assert main(["report", "trip", "bench", "--out", str(page)]) == 0
    text = page.read_text("utf-8")
    assert re.search(r"First out</th><td><span class=key>cell_overvoltage</span> at R01/M02/C05", text)
    assert "every scan identical to the recording" in text
    happened = re.findall(r"<td class=n>([+-]\d+) ms<td class=n>\d+<td>(cause|acts): (\w+)", text)
    cause = {row: int(at) for at, word, row in happened if word == "cause"}
    acts = {row: int(at) for at, word, row in happened if word == "acts"}
    # A cause carries the time at which its device answered, 10 ms before the scan; the E-stop is no quantity.
    assert cause[EARTH] - cause[CELL] == began[EARTH] - began[CELL] == 300
    assert cause[ESTOP] - cause[EARTH] == began[ESTOP] - began[EARTH] + 10 == 410
    assert [row for row in sorted(acts, key=lambda r: acts[r]) if row in began] == [CELL, ESTOP, EARTH]
    assert acts[CELL] == 0, "time counts from the first trip"


def test_the_journal_has_each_alarm_once_in_order_and_the_alarm_report_counts_them(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    three_causes(rig)
    rig.restart_store()
    rig.seconds(4)
    rig.finish()
    told = [e for e in HistoryStore(rig.state).alarms(*EVER) if e["new"] == AlarmState.UNACKNOWLEDGED]
    came = [(re.split("[:;]", e["text"])[0], e["utc_ms"], e["scan"]) for e in told]
    came = [c for c in came if c[0] in (CELL, EARTH, ESTOP)]
    assert [row for row, _, _ in came] == [CELL, ESTOP, EARTH]
    assert [utc for _, utc, _ in came] == sorted({utc for _, utc, _ in came}), "each at a time of its own"
    assert all((b[1] - a[1]) == (b[2] - a[2]) * rig.cycle_ms for a, b in itertools.pairwise(came))
    capsys.readouterr()
    assert main(["report", "alarms", "bench", "--last", "20000d", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert {t["row"]: t["count"] for t in counted["top"] if t["row"] in (CELL, EARTH, ESTOP)} == {
        CELL: 1, EARTH: 1, ESTOP: 1}  # fmt: skip


def test_a_restarted_controller_still_knows_which_was_first(rig: Rig) -> None:
    three_causes(rig)
    assert rig.image is not None
    first = rig.image.trips
    rig.finish()
    catalog = Catalog.of(rig.program)
    loaded = load(rig.state, rig.files.layouts["retained"], rig.program.matrix.digest, names=catalog.names)
    assert loaded.retained is not None
    after = Story(rig.site)
    after.memory = restore(after.memory, loaded.retained)
    after.now_ms, after.number = rig.now_ms + 60_000, rig.number
    again = after.seconds(1).trips
    assert again.first_out == first.first_out == rig.slot(CELL, "R01/M02")
    assert again.first_out_utc_ms == first.first_out_utc_ms
    assert again.trip_count == first.trip_count
