"""What was recorded replays to the same image, bit for bit; what was harmed is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.core.command import Kind
from controller.core.image import SiteMode
from controller.historian import recorder as recorder_module
from controller.historian import replay as replay_module
from controller.historian.replay import Replay, Result, segments_of
from controller.historian.segment import BadRecording, Segment, pack_delta, unpack_delta
from controller.historian.shelf import Shelf
from tests.store_rig import Rig
from tools.cli import main

SEGMENT_MS = 5_000
SEGMENT_SCANS = 51
"""Segments of five seconds instead of a minute hold the scans of that time, and the one at its end."""


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "SEGMENT_MS", SEGMENT_MS)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.finish()


def folder(rig: Rig) -> Path:
    return rig.state / "recordings"


def replay(rig: Rig, **more: Any) -> Result:
    return Replay(segments_of(folder(rig)), **more).run()


def lively(rig: Rig, scans: int) -> None:
    """Noise on every cell, so that no two scans are alike."""
    rng = np.random.default_rng(rig.number)
    cells = rig.points.cell_voltage_v.value
    for _ in range(scans):
        cells[...] = 3.29 + np.round(rng.normal(0, 0.002, cells.shape), 3)
        rig.scans()


def test_a_day_in_the_life_replays_bit_for_bit(rig: Rig) -> None:
    rig.online()
    rig.tell(Kind.SET_ACTIVE_POWER, 60_000.0)
    lively(rig, 150)
    rig.points.cell_voltage_v.value[0, 1, 3] = 3.70
    rig.scans(30)
    assert rig.mode is SiteMode.ONLINE
    assert rig.active("cell_overvoltage")
    rig.points.cell_voltage_v.value[0, 1, 3] = 3.29
    rig.scans(20)
    rig.tell(Kind.RESET_TRIPS)
    rig.lose("rack_current_a")
    rig.scans(30)
    last = rig.number
    rig.finish()
    result = replay(rig)
    assert result.difference is None
    assert result.last_scan == last
    assert result.replayed + result.skipped == last
    assert result.skipped <= 3
    assert result.keyframes_checked == len(segments_of(folder(rig))) - 1 >= 3


def test_replay_begins_at_any_segment_and_counts_only_what_was_asked_for(rig: Rig) -> None:
    lively(rig, 130)
    rig.finish()
    first = segments_of(folder(rig))
    assert len(first) == 3
    result = replay(rig, first=118, last=128)
    assert (result.replayed, result.first_scan, result.last_scan) == (11, 118, 128)
    alone = Replay([first[1]]).run()
    assert alone.difference is None
    assert alone.replayed == SEGMENT_SCANS
    assert alone.skipped == 0


def test_a_wrong_digest_is_found_at_its_scan(rig: Rig) -> None:
    rig.flip_digest_of = 37
    lively(rig, 50)
    rig.finish()
    result = replay(rig)
    assert result.difference is not None
    assert result.difference.scan == 37
    assert result.difference.memory_same


def test_one_flipped_bit_of_an_input_is_found(rig: Rig) -> None:
    lively(rig, 40)
    record = rig.files.layouts["record"]
    part = record.parts["inputs.points.rack_voltage_v"][0]
    writer = rig.writers["record"]
    whole = rig.publish

    def flipped(image: Any) -> None:
        whole(image)
        slot = writer.slot_data(writer.latest)
        slot[part.offset] ^= 1

    rig.publish = flipped  # type: ignore[method-assign]
    rig.scans()
    rig.publish = whole  # type: ignore[method-assign]
    rig.scans(5)
    rig.finish()
    result = replay(rig)
    assert result.difference is not None
    assert result.difference.scan == 41


def test_damage_to_the_file_is_found_and_a_cut_off_end_is_told(rig: Rig, tmp_path: Path) -> None:
    lively(rig, 60)
    rig.finish()
    path = segments_of(folder(rig))[0]
    whole = path.read_bytes()
    for at in (3, 40, len(whole) // 2, len(whole) - 5):
        harmed = bytearray(whole)
        harmed[at] ^= 0x10
        (tmp_path / "harmed.cwr").write_bytes(harmed)
        with pytest.raises(BadRecording):
            Replay([tmp_path / "harmed.cwr"]).run()
    for rest in (0, 5, 100):
        (tmp_path / "begun.cwr").write_bytes(whole[:rest])
        assert Replay([tmp_path / "begun.cwr", path]).run().replayed == 50
        with pytest.raises(BadRecording):
            Replay([tmp_path / "begun.cwr"]).run()
    for cut in (1, 17, 90):
        (tmp_path / "cut.cwr").write_bytes(whole[:-cut])
        result = Replay([tmp_path / "cut.cwr"]).run()
        assert result.difference is None
        assert result.torn == 1
        assert 40 < result.replayed < 60


def test_a_restart_of_the_scan_is_a_gap_and_goes_on_at_the_next_keyframe(rig: Rig) -> None:
    lively(rig, 50)
    # As the real scan does it: numbers go on, the memory is blank, and the first cycle counts as one cycle.
    rig.memory = rig.program.blank_memory()
    rig.now_ms += 700
    lively(rig, 50)
    rig.finish()
    result = replay(rig)
    assert result.difference is None
    assert result.gaps == 1
    assert result.last_scan == 100
    assert result.replayed >= 94


def test_a_killed_store_loses_no_scan_that_lies_in_the_ring(rig: Rig) -> None:
    lively(rig, 50)
    store, rig.store = rig.store, None
    rig.store = store
    rig.restart_store()
    store, rig.store = rig.store, None
    lively(rig, 20)
    rig.store = store
    lively(rig, 30)
    rig.finish()
    result = replay(rig)
    assert result.difference is None
    assert result.last_scan == 100
    assert result.gaps == 0
    assert result.replayed + result.skipped == 100


def test_an_overrun_ring_is_counted_told_and_replay_goes_on_behind_it(rig: Rig) -> None:
    lively(rig, 20)
    store, rig.store = rig.store, None
    lively(rig, 100)
    rig.store = store
    lively(rig, 30)
    assert store is not None
    lost = store.status(rig.now_ms).lost
    rig.finish()
    assert 100 - 64 - 1 <= lost <= 100 - 64 + 3
    result = replay(rig)
    assert result.difference is None
    assert result.gaps == 1
    assert result.last_scan == 150


def test_segments_with_a_trip_outlive_their_age_but_not_the_size(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "SEGMENT_MS", 2_000)
    assert rig.store is not None
    rig.store.recorder.keep_ms = 5_000
    rig.online()
    lively(rig, 100)
    rig.points.cell_voltage_v.value[0, 1, 3] = 3.70
    rig.scans(10)
    tripped = next(e for e in rig.texts() if "cell_overvoltage:" in e)
    assert tripped
    rig.points.cell_voltage_v.value[0, 1, 3] = 3.29
    lively(rig, 200)
    index = json.loads((folder(rig) / "index.json").read_text("utf-8"))
    kept = [e for e in index if e["kept"]]
    trips = [e for e in index if e["trips"]]
    assert len(trips) == 1
    assert trips[0]["first_scan"] <= trips[0]["trips"][0]["scan"] <= trips[0]["last_scan"]
    assert len(kept) == 3
    assert kept[1] is trips[0]
    ages = [index[-1]["last_utc_ms"] - e["last_utc_ms"] for e in index if not e["kept"]]
    assert max(ages) <= 5_000 + 4_000
    rig.store.recorder.shelf.prune(2**62, 1)
    rig.finish()
    assert len(segments_of(folder(rig))) == 1


def test_the_size_bound_holds(rig: Rig) -> None:
    assert rig.store is not None
    rig.store.recorder.keep_bytes = 40_000
    sizes = []
    for _ in range(12):
        lively(rig, 20)
        sizes.append(sum(p.stat().st_size for p in folder(rig).glob("*.cwr")))
    rig.finish()
    assert max(sizes) <= 40_000
    assert sizes[-1] > 20_000
    assert replay(rig).difference is None


def test_a_lost_index_is_made_again_from_the_files(rig: Rig) -> None:
    rig.online()
    lively(rig, 45)
    rig.points.cell_voltage_v.value[0, 1, 3] = 3.70
    rig.scans(30)
    rig.finish()
    before = [(e.file, e.first_scan, e.last_scan, e.frames, bool(e.trips), e.kept) for e in Shelf(folder(rig)).entries]
    (folder(rig) / "index.json").write_text("{not json", "utf-8")
    after = [(e.file, e.first_scan, e.last_scan, e.frames, bool(e.trips), e.kept) for e in Shelf(folder(rig)).entries]
    assert after == before
    assert [e[-2] for e in after].count(True) == 1


def test_a_disk_that_refuses_stops_the_recording_not_the_store(rig: Rig) -> None:
    lively(rig, 20)
    kept = folder(rig).with_name("elsewhere")
    assert rig.store is not None
    recorder = rig.store.recorder
    assert recorder._writer is not None
    recorder._writer._file.close()
    recorder._writer._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    shutil.move(folder(rig), kept)
    folder(rig).write_text("a file where the folder was", "utf-8")
    lively(rig, 10)
    assert recorder.trouble
    assert rig.store.status(rig.now_ms).trouble == 1
    assert len([e for e in rig.store.journal._pending]) < 100
    folder(rig).unlink()
    shutil.move(kept, folder(rig))
    lively(rig, 70)
    assert not recorder.trouble
    assert recorder.lost > 0
    rig.finish()
    result = replay(rig)
    assert result.difference is None
    assert result.last_scan == 100


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000])
def test_deltas_are_exact(size: int) -> None:
    rng = np.random.default_rng(size)
    old, new = (rng.integers(0, 4, size, dtype=np.uint8) for _ in range(2))
    for pair in ((old, new), (old, old), (np.zeros(size, np.uint8), new)):
        assert np.array_equal(unpack_delta(pack_delta(pair[1], pair[0]), pair[0]), pair[1])


def test_the_recording_alone_is_enough(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site is rebuilt from the header: shipped cells and profiles of another version would not be used."""
    lively(rig, 20)
    rig.finish()
    header = Segment(segments_of(folder(rig))[0]).header
    assert set(header["files"]) == {
        "site.yaml", "cells/lfp-280.yaml", "profiles/cellwarden-module-16.yaml", "profiles/cellwarden-rack.yaml",
        "profiles/cellwarden-pcs.yaml", "profiles/cellwarden-aux.yaml",
    }  # fmt: skip
    assert replay(rig).difference is None
    memory = header["layouts"].pop("Memory")
    with pytest.raises(BadRecording, match="other than there: the fields of Memory; replay it with"):
        replay_module.rebuild(header)
    header["program"] += 1
    header["layouts"]["Memory"] = memory
    with pytest.raises(BadRecording, match=r"\(release 0\S+\).* other than there: the table of protection rows;"):
        replay_module.rebuild(header)
    header["files"]["../../evil.yaml"] = ""
    with pytest.raises(BadRecording, match="no name for a file"):
        replay_module.rebuild(header)


def test_the_command_tells_by_exit_code(rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig.online()
    rig.flip_digest_of = 80
    rig.scans(100 - rig.number)
    rig.finish()
    where = str(folder(rig))
    assert main(["replay", where, "--to", "79"]) == 0
    assert "scans replayed, all identical" in capsys.readouterr().out
    assert main(["replay", where]) == 1
    out = capsys.readouterr().out
    assert "scan 80 differs" in out
    assert "ONLINE" in out
    assert main(["replay", where, "--json"]) == 1
    plain = json.loads(capsys.readouterr().out)
    assert plain["difference"]["scan"] == 80
    assert plain["identical"] is False
    assert main(["replay", where, "--from", "20", "--to", "22", "--show"]) == 0
    assert capsys.readouterr().out.count(" same ") == 3
    (tmp_path / "no.cwr").write_text("no recording", "utf-8")
    assert main(["replay", str(tmp_path / "no.cwr")]) == 78
    assert main(["replay", str(tmp_path / "missing.cwr")]) == 78
    assert main(["replay", where, "--from", "9", "--to", "8"]) == 2
