"""A latch that any store knows survives; what is lost is said, never guessed."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from controller.core.layout import Layout, tags_of
from controller.core.retained import Retained
from controller.historian.raw import Bytes
from controller.historian.restore import load
from controller.historian.retained import COUNTERS_EVERY_MS, Catalog, RetainedStore

DIMS = {"rack": 2, "module": 3, "cell": 4, "temperature": 2, "slot": 6, "shelf": 2}
LAYOUT: Layout[Retained] = Layout(Retained, DIMS)
NAMES = tuple(f"{row}@R{r:02d}" for row in ("overcurrent", "welded", "door") for r in (1, 2))
CATALOG = Catalog(77, DIMS, NAMES)
UTC = 1_700_000_000_000


def state(scan: int, latched: tuple[int, ...] = (), **more: object) -> Retained:
    image = LAYOUT.blank()
    image.latched[list(latched)] = True
    image.cell_charge_ratio[...] = scan / 1000
    values = {"scan": scan, "utc_ms": UTC + scan, "program": 77, "first_out": min(latched, default=-1)}
    return dataclasses.replace(image, **{**values, **more})  # type: ignore[arg-type]


def raw(image: Retained) -> Bytes:
    return np.frombuffer(LAYOUT.to_bytes(image), np.uint8)


def latches(retained: Retained | None) -> list[int]:
    assert retained is not None
    return [int(i) for i in np.flatnonzero(retained.latched)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RetainedStore]:
    made = RetainedStore(tmp_path, LAYOUT, CATALOG)
    yield made
    made.slots.close()
    made.close()


def test_a_changed_latch_is_durable_at_once_and_counters_every_ten_seconds(store: RetainedStore) -> None:
    def on_disk() -> int:
        with closing(sqlite3.connect(store.path)) as db:
            return int(db.execute("SELECT max(scan) FROM retained").fetchone()[0])

    committed = []
    for scan, image in enumerate([state(1), state(2), state(3, (4,)), state(4, (4,), trip_count=1)], 1):
        store.offer(raw(image), scan * 100, UTC)
        assert store.saved_scan == scan
        committed.append(on_disk())
    assert committed == [1, 1, 3, 4]
    store.offer(raw(state(5, (4,), trip_count=1)), 400 + COUNTERS_EVERY_MS - 1, UTC)
    assert on_disk() == 4
    store.offer(raw(state(6, (4,), trip_count=1)), 400 + COUNTERS_EVERY_MS, UTC)
    assert on_disk() == 6


def test_all_comes_back(store: RetainedStore, tmp_path: Path) -> None:
    image = state(9, (1, 5), trip_count=3, emergency_stop=1, first_out_utc_ms=UTC)
    image.out_of_service[1] = True
    image.rack_throughput_ah[...] = (12.5, 13.5)
    store.offer(raw(image), 0, UTC)
    store.finish(0, UTC)
    loaded = load(tmp_path, LAYOUT, 77)
    assert loaded.problems == []
    assert loaded.retained is not None
    assert LAYOUT.to_bytes(loaded.retained) == LAYOUT.to_bytes(image)


def test_nothing_at_all_is_said(tmp_path: Path) -> None:
    loaded = load(tmp_path, LAYOUT, 77)
    assert loaded.retained is None
    assert loaded.source == "none"
    assert "unknown" in loaded.problems[-1]


@pytest.mark.parametrize(("begin", "end"), [(0, 100), (40, 55)], ids=["all of the header", "the format of the schema"])
def test_good_slots_stand_in_for_a_corrupt_database_which_is_kept(
    store: RetainedStore, tmp_path: Path, begin: int, end: int
) -> None:
    store.offer(raw(state(5, (2,))), 0, UTC)
    store.finish(0, UTC)
    path = tmp_path / "state.db"
    data = path.read_bytes()
    path.write_bytes(data[:begin] + b"\xff" * (end - begin) + data[end:])
    loaded = load(tmp_path, LAYOUT, 77)
    assert latches(loaded.retained) == [2]
    assert loaded.source == "retained.slots"
    assert any("state.db" in p for p in loaded.problems)
    again = RetainedStore(tmp_path, LAYOUT, CATALOG)
    again.offer(raw(state(6, (2, 3))), 0, UTC)
    again.finish(0, UTC)
    assert len(list(tmp_path.glob("state.db.corrupt-*"))) == 1
    assert "corrupt" in again.news[0]
    assert latches(load(tmp_path, LAYOUT, 77).retained) == [2, 3]


def test_a_changed_byte_in_the_database_is_found_though_sqlite_does_not(store: RetainedStore, tmp_path: Path) -> None:
    store.offer(raw(state(5, (2,))), 0, UTC)
    store.finish(0, UTC)
    with closing(sqlite3.connect(tmp_path / "state.db")) as db, db:
        blob = bytearray(db.execute("SELECT blob FROM retained ORDER BY sequence DESC").fetchone()[0])
        blob[LAYOUT.parts["latched"][0].offset + 2] = 0
        db.execute("UPDATE retained SET blob = ?", [bytes(blob)])
        assert db.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    loaded = load(tmp_path, LAYOUT, 77)
    assert latches(loaded.retained) == [2]
    assert loaded.source == "retained.slots"
    assert any("damaged" in p for p in loaded.problems)


def test_a_torn_slot_leaves_the_other_and_both_lost_leave_the_database(store: RetainedStore, tmp_path: Path) -> None:
    for scan, latched in ((1, (0,)), (2, (0, 1))):
        store.offer(raw(state(scan, latched)), scan, UTC)
    store.slots.close()
    store.close()
    path = tmp_path / "retained.slots"
    whole = path.read_bytes()
    half = len(whole) // 2
    newest = store.sequence % 2
    torn = bytearray(whole)
    torn[newest * half + 40 : newest * half + 80] = bytes(40)
    path.write_bytes(torn)
    loaded = load(tmp_path, LAYOUT, 77)
    assert latches(loaded.retained) == [0, 1]
    assert any(f"slot {newest} is damaged" in p for p in loaded.problems)
    path.write_bytes(b"\1" * len(whole))
    assert latches(load(tmp_path, LAYOUT, 77).retained) == [0, 1]
    (tmp_path / "state.db").unlink()
    assert load(tmp_path, LAYOUT, 77).retained is None


def test_the_worse_wins_between_all_sources(store: RetainedStore, tmp_path: Path) -> None:
    image = state(5, (2,), trip_count=7, emergency_stop=1)
    image.rack_throughput_ah[...] = (100.0, 50.0)
    image.out_of_service[0] = True
    store.offer(raw(image), 0, UTC)
    store.finish(0, UTC)
    newer = state(9, (3,), trip_count=6)
    newer.rack_throughput_ah[...] = (90.0, 60.0)
    loaded = load(tmp_path, LAYOUT, 77, newer)
    merged = loaded.retained
    assert latches(merged) == [2, 3]
    assert merged is not None
    assert (merged.trip_count, merged.emergency_stop) == (7, 1)
    assert merged.rack_throughput_ah.tolist() == [100.0, 60.0]
    assert merged.out_of_service.tolist() == [True, False]
    assert merged.cell_charge_ratio[0, 0, 0] == 0.009
    assert any("disagree" in p for p in loaded.problems)


def test_a_reset_that_was_committed_stays_reset(store: RetainedStore, tmp_path: Path) -> None:
    for scan, latched in ((1, ()), (2, (4,)), (3, ())):
        store.offer(raw(state(scan, latched)), scan * 100, UTC)
    store.offer(raw(state(200)), 300 + COUNTERS_EVERY_MS, UTC)
    loaded = load(tmp_path, LAYOUT, 77)
    assert latches(loaded.retained) == []
    assert loaded.problems == []


def test_latches_follow_their_names_into_another_program(store: RetainedStore, tmp_path: Path) -> None:
    image = state(5, (1, 3, 4), trip_count=2, first_out=3)
    image.out_of_service[1] = True
    store.offer(raw(image), 0, UTC)
    store.finish(0, UTC)
    names = ("door@R03", "welded@R02", "new@R01", "overcurrent@R02")
    other: Layout[Retained] = Layout(Retained, {**DIMS, "rack": 3, "slot": 4})
    loaded = load(tmp_path, other, 88, names=names)
    assert [names[i] for i in latches(loaded.retained)] == ["welded@R02", "overcurrent@R02"]
    assert loaded.retained is not None
    assert loaded.retained.first_out == 1
    assert loaded.retained.program == 88
    assert loaded.retained.out_of_service.tolist() == [False, True, False]
    assert any("door@R01 has no place" in p for p in loaded.problems)
    assert any("charge is unknown" in p for p in loaded.problems)
    assert not loaded.retained.rack_known.any()


def test_every_field_follows_into_a_program_with_one_more_row(store: RetainedStore, tmp_path: Path) -> None:
    """The accepted limits among them: who changes rows and limits at once is told so like anybody else."""
    image = state(5, (1,), first_out=1)
    for tag in tags_of(Retained):
        if not tag.dims and tag.name not in ("program", "first_out"):
            image = dataclasses.replace(image, **{tag.name: 7})
        elif tag.dims and tag.name not in ("latched", "shelf"):
            number = getattr(image, tag.name)
            number[...] = np.ones_like(number)
    store.offer(raw(image), 0, UTC)
    store.finish(0, UTC)
    names = ("new@R01", *CATALOG.names)
    found = load(tmp_path, Layout(Retained, {**DIMS, "slot": len(names)}), 88, names=names).retained
    assert found is not None
    assert (found.program, found.first_out) == (88, 2)
    for tag in tags_of(Retained):
        before, after = getattr(image, tag.name), getattr(found, tag.name)
        if tag.dims == ("slot",):
            after = after[1:]
        if tag.name not in ("program", "first_out"):
            assert np.array_equal(before, after), tag.name


def test_slots_of_an_unknown_program_are_not_guessed(store: RetainedStore, tmp_path: Path) -> None:
    store.offer(raw(state(5, (1,))), 0, UTC)
    store.finish(0, UTC)
    loaded = load(tmp_path, LAYOUT, 99)
    assert loaded.retained is None
    assert any("cannot be named" in p for p in loaded.problems)


def test_a_full_disk_still_takes_latches_in_the_slots(store: RetainedStore, tmp_path: Path) -> None:
    store.offer(raw(state(1)), 0, UTC)
    assert store.db is not None
    store.db.execute("CREATE TABLE filler (x)")
    store.db.execute("CREATE TRIGGER full BEFORE INSERT ON retained BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    store.offer(raw(state(2, (5,))), 100, UTC)
    assert store.trouble
    assert not store.slot_trouble
    assert store.saved_scan == 2
    assert latches(load(tmp_path, LAYOUT, 77).retained) == [5]
    for now_ms in range(100, 5000, 20):
        store.commit(now_ms, UTC)
    assert len([n for n in store.news if "cannot be written" in n]) == 1
    with closing(sqlite3.connect(tmp_path / "state.db")) as db, db:
        db.execute("DROP TRIGGER full")
    store.commit(60_000, UTC)
    assert not store.trouble
    assert load(tmp_path, LAYOUT, 77).problems == []


@pytest.mark.parametrize("seed", range(12))
def test_whatever_one_store_suffers_the_last_latches_come_back(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    store = RetainedStore(tmp_path, LAYOUT, CATALOG)
    last: tuple[int, ...] = ()
    now_ms = 0
    for scan in range(1, 30):
        now_ms += int(rng.choice([100, 100, COUNTERS_EVERY_MS]))
        if rng.random() < 0.5:
            last = tuple(int(i) for i in np.flatnonzero(rng.random(6) < 0.4))
        store.offer(raw(state(scan, last, trip_count=scan // 3)), now_ms, UTC)
        if rng.random() < 0.1:
            store.slots.close()
            store.close()
            store = RetainedStore(tmp_path, LAYOUT, CATALOG)
    store.slots.close()
    store.close()
    harmed = tmp_path / ("state.db" if seed % 2 else "retained.slots")
    data = bytearray(harmed.read_bytes())
    for at in rng.integers(0, len(data), 400):
        data[int(at)] ^= int(rng.integers(1, 256))
    harmed.write_bytes(data)
    loaded = load(tmp_path, LAYOUT, 77)
    assert set(last) <= set(latches(loaded.retained))
    assert loaded.retained is not None
    assert loaded.retained.trip_count == 29 // 3


WRITER = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.unit.test_retained import CATALOG, LAYOUT, UTC, raw, state
from controller.historian.retained import RetainedStore
store = RetainedStore(Path(sys.argv[1]), LAYOUT, CATALOG)
scan = int(sys.argv[2])
while True:
    scan += 1
    latched = tuple(i for i in range(6) if scan >> i & 1)
    store.offer(raw(state(scan, latched, trip_count=scan)), scan * 100, UTC)
    if store.saved_scan == scan:
        os.write(1, (json.dumps([scan, latched]) + chr(10)).encode())
"""
KILLS = 8


def test_no_acknowledged_latch_is_lost_by_kill_9(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    scan = 0
    for kill in range(KILLS):
        code = WRITER.format(root=root)
        with subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(scan)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(5 + 7 * kill)]
            os.kill(writer.pid, 9)
            lines += writer.stdout.read().splitlines()
        scan, latched = json.loads([line for line in lines if line.strip().endswith(b"]")][-1])
        loaded = load(tmp_path, LAYOUT, 77)
        assert loaded.retained is not None
        assert loaded.retained.scan >= scan
        assert loaded.retained.trip_count >= scan
        if loaded.retained.scan == scan:
            assert set(latched) <= set(latches(loaded.retained))
        else:
            # The next state may be durable before it was acknowledged, but nothing later than that.
            assert loaded.retained.scan == scan + 1
            expected = {i for i in range(6) if (scan + 1) >> i & 1}
            assert expected <= set(latches(loaded.retained))
        for aside in tmp_path.glob("*.corrupt-*"):
            pytest.fail(f"{aside} was made by a kill")
