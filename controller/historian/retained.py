"""Retained state: latches and counters that outlive a kill, a power cut, a full disk and a changed program.

The database holds the last rows, `retained.slots` the last two states with a changed latch. Whoever reads them
merges all sources, and the worse one wins: a latch that any of them knows is in force.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlite_utils import Database

from controller.core.layout import Layout
from controller.core.program import Program
from controller.core.retained import Retained, worse
from controller.core.signal import Dims
from controller.historian.database import Corrupt, Durable, check, connect_readonly
from controller.historian.raw import Bytes, number
from controller.historian.slots import SlotFile, Stored, read_slots

DATABASE: Final = "state.db"
SLOT_FILE: Final = "retained.slots"
COUNTERS_EVERY_MS: Final = 10_000
ROWS_KEPT: Final = 4
CATALOGS_KEPT: Final = 16
AT_ONCE: Final = (
    "latched", "alarm_state", "alarm_shown", "shelf_changes", "first_out", "trip_count", "emergency_stop",
    "out_of_service", "program", "retained_state", "rack_weld_test", "rack_contactor_hot_openings",
)  # fmt: skip
"""Fields whose change is committed in the next pass; the rest follows every ten seconds."""

PER_RACK: Final = (
    "out_of_service", "rack_throughput_ah", "rack_contactor_operations", "rack_contactor_hot_openings",
    "rack_contactor_breaks", "rack_weld_test", "rack_weld_test_utc_ms", "rack_precharge_heat_wh",
    "rack", "ledger",
)  # fmt: skip
"""Fields that follow their rack into a program with another number of racks."""
CELL_STATE: Final = (
    "rack_known", "cell_charge_ratio", "cell_variance", "cell_lack", "cell_lack_variance", "cell_resistance",
    "cell_resistance_variance",
)  # fmt: skip
"""What is carried to another program only where the battery has the same size."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS retained (sequence INTEGER PRIMARY KEY, scan INTEGER NOT NULL, utc_ms INTEGER NOT NULL,
    program INTEGER NOT NULL, layout TEXT NOT NULL, crc INTEGER NOT NULL, blob BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS catalog (program INTEGER PRIMARY KEY, layout TEXT NOT NULL, dims TEXT NOT NULL,
    names TEXT NOT NULL, used INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS layouts (digest TEXT PRIMARY KEY, fields TEXT NOT NULL, used INTEGER NOT NULL);
"""


@dataclasses.dataclass(frozen=True)
class Catalog:
    """What the numbers of a retained image stand for in one program: slot names `row@place`, and dimensions."""

    program: int
    dims: Dims
    names: tuple[str, ...]

    @staticmethod
    def of(program: Program) -> Catalog:
        """The catalogue of a compiled site."""
        names = tuple(f"{s.row.id}@{s.place}" for s in program.matrix.slots)
        return Catalog(program.matrix.digest, program.dims, names)


class RetainedStore(Durable):
    """Commits retained images to `state.db` and the slot file. `saved_scan`: its latches are durable."""

    def __init__(self, folder: Path, layout: Layout[Retained], catalog: Catalog) -> None:
        super().__init__(folder / DATABASE, "FULL", checked=True)
        self.layout, self.catalog = layout, catalog
        self.slots = SlotFile(folder / SLOT_FILE, layout.size)
        self.slot_trouble = False
        self.saved_scan = 0
        self.sequence = max([0, *(s.sequence for s in read_slots(folder / SLOT_FILE)[0])])
        self._scan, self._utc_ms = number(layout, "scan"), number(layout, "utc_ms")
        self._program = number(layout, "program")
        self._key: bytes | None = None
        self._saved_key: bytes | None = None
        self._image: Bytes | None = None
        self._in_slots = self._in_database = True
        self._next_ms = 0

    def prepare(self, db: Database) -> None:
        """Tables, the catalogue of this program, and the sequence to go on from."""
        db.executescript(SCHEMA)
        c = self.catalog
        dims = json.dumps({k: v for k, v in c.dims.items()})
        with db.atomic():
            used = int(db.execute("SELECT coalesce(max(used), 0) + 1 FROM catalog").fetchone()[0])
            db.execute(
                "INSERT OR REPLACE INTO catalog VALUES (?, ?, ?, ?, ?)",
                [c.program, self.layout.digest, dims, json.dumps(c.names), used],
            )
            db.execute("DELETE FROM catalog WHERE used <= ?", [used - CATALOGS_KEPT])
            fields = json.dumps(self.layout.describe())
            db.execute("INSERT OR REPLACE INTO layouts VALUES (?, ?, ?)", [self.layout.digest, fields, used])
            db.execute("DELETE FROM layouts WHERE used <= ?", [used - CATALOGS_KEPT])
        stored = int(db.execute("SELECT coalesce(max(sequence), 0) FROM retained").fetchone()[0])
        self.sequence = max(self.sequence, stored)

    def offer(self, image: Bytes, now_ms: int, utc_ms: int) -> None:
        """Take the newest image; commit at once when a latch changed, else when the counters are due."""
        key = b"".join(self.layout.parts[p][0].of(image).tobytes() for p in AT_ONCE)
        self._image = image
        if key != self._key:
            self._key, self._in_slots, self._in_database = key, False, False
        elif now_ms >= self._next_ms:
            self._in_database = False
        self.commit(now_ms, utc_ms)
        if self._saved_key == key:
            self.saved_scan = self._scan(image)

    def commit(self, now_ms: int, utc_ms: int) -> None:
        """Write what is not durable yet; called every pass, so that a failed write is tried again."""
        if self._image is None or (self._in_slots and self._in_database):
            return
        db = self.ready(now_ms, utc_ms) if not self._in_database else None
        if db is None and self._in_slots:
            return
        stored = Stored(
            self.sequence + 1,
            self._utc_ms(self._image),
            self._program(self._image),
            self.layout.digest,
            self._image.tobytes(),
        )
        scan = self._scan(self._image)
        if not self._in_slots:
            self._write_slot(stored, scan)
        if db is not None:
            self._write_row(db, stored, scan, now_ms)

    def _write_slot(self, stored: Stored, scan: int) -> None:
        try:
            self.slots.write(stored)
        except OSError as error:
            self.slots.close()
            if not self.slot_trouble:
                self.news.append(f"{SLOT_FILE} cannot be written: {error.strerror}")
            self.slot_trouble = True
            return
        self.sequence = stored.sequence
        self.saved_scan, self._saved_key = scan, self._key
        self._in_slots, self.slot_trouble = True, False

    def _write_row(self, db: Database, stored: Stored, scan: int, now_ms: int) -> None:
        try:
            with db.atomic():
                db.conn.execute(
                    "INSERT OR REPLACE INTO retained VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [stored.sequence, scan, stored.utc_ms, stored.program, stored.layout, stored.crc(), stored.blob],
                )
                db.conn.execute("DELETE FROM retained WHERE sequence <= ?", [stored.sequence - ROWS_KEPT])
        except sqlite3.Error as error:
            self.failed(error, now_ms)
            return
        self.sequence = stored.sequence
        self.saved_scan, self._saved_key = scan, self._key
        self._in_database, self._next_ms = True, now_ms + COUNTERS_EVERY_MS
        self.worked()

    def finish(self, now_ms: int, utc_ms: int) -> None:
        """Commit the last image with its counters, whatever is due, and close."""
        if self._image is not None:
            self._in_slots = self._in_database = False
            self.commit(now_ms, utc_ms)
        self.slots.close()
        self.close()


# -- reading -------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """What could be read. source: which stores it comes from; problems: what a person should know; doubtful: the
    copies disagreed, or one of them was missing or damaged."""

    retained: Retained | None
    source: str
    problems: list[str]
    doubtful: bool = False


def load(
    folder: Path,
    layout: Layout[Retained],
    program_digest: int,
    image: Retained | None = None,
    names: Sequence[str] = (),
) -> Loaded:
    """The retained state of all sources merged, the worse winning; None when every one of them is lost.

    image: what still lies in shared memory, the newest of all. names: the slot catalogue of the program that will
    run (`Catalog.of(program).names`); with it latches of another program are carried over by name.
    """
    known = _read_database(folder / DATABASE)
    slots, slot_problems = read_slots(folder / SLOT_FILE)
    problems = known.problems + slot_problems
    rows, doubtful = known.rows, bool(problems)
    reader = _Reader(layout, program_digest, tuple(names), known)
    found: list[tuple[int, str, Retained]] = []
    for source, candidates in ((DATABASE, rows), (SLOT_FILE, slots)):
        for stored in candidates[:1]:
            retained = reader.understand(stored, source)
            if retained is not None:
                found.append((stored.sequence, source, retained))
    if image is not None:
        kept = reader.translate(image, layout, "shared memory")
        if kept is not None:
            found.append((max([0, *(f[0] for f in found)]) + 1, "shared memory", kept))
    problems += reader.problems
    for source in {DATABASE, SLOT_FILE} - {f[1] for f in found}:
        doubtful = True
        if found:
            problems.append(f"{source} holds no usable copy of the retained state")
    if not found:
        problems.append("no retained state: latches, counters and charge from before are unknown")
        return Loaded(None, "none", problems, doubtful)
    found.sort(key=lambda f: -f[0])
    merged = found[0][2]
    for _, source, other in found[1:]:
        if not np.array_equal(merged.latched, other.latched) or merged.emergency_stop != other.emergency_stop:
            problems.append(f"{found[0][1]} and {source} disagree about latches: every latch of both is in force")
            doubtful = True
        merged = worse(merged, other)
    return Loaded(merged, " + ".join(f[1] for f in found), problems, doubtful)


@dataclasses.dataclass(slots=True)
class _Known:
    """Contents of the database: valid rows, newest first, catalogues by program, layouts by digest, problems."""

    rows: list[Stored] = dataclasses.field(default_factory=list)
    catalogs: dict[int, Catalog] = dataclasses.field(default_factory=dict)
    layouts: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)


def _read_database(path: Path) -> _Known:
    known = _Known()
    if not path.exists():
        return known
    try:
        with closing(connect_readonly(path)) as db:
            check(db)
            for program, dims, names in db.execute("SELECT program, dims, names FROM catalog").fetchall():
                known.catalogs[int(program)] = Catalog(int(program), json.loads(dims), tuple(json.loads(names)))
            if db["layouts"].exists():
                for digest, fields in db.execute("SELECT digest, fields FROM layouts").fetchall():
                    known.layouts[str(digest)] = json.loads(fields)
            for sequence, utc_ms, program, layout, crc, blob in db.execute(
                "SELECT sequence, utc_ms, program, layout, crc, blob FROM retained ORDER BY sequence DESC"
            ).fetchall():
                stored = Stored(int(sequence), int(utc_ms), int(program), str(layout), bytes(blob))
                if stored.crc() == int(crc):
                    known.rows.append(stored)
                else:
                    known.problems.append(f"{path.name}: the row of sequence {sequence} is damaged")
    except (sqlite3.Error, Corrupt, ValueError, TypeError) as error:
        known.problems.append(f"{path.name} cannot be read: {error}")
    return known


OF_CELLS: Final = (
    "cell_told", "cell_told_value", "cell_told_sigmas", "cell_resistance_base", "cell_plating", "rack_based",
    "healthy_cell_days", "told_count", "withdrawn_count",
)  # fmt: skip
OF_SENSORS: Final = ("sensor_told", "sensor_told_value")
"""Early warning's part, kept where the battery has the same size."""


class _Reader:
    """Turns stored bytes of any known program into a retained image of the program that will run."""

    def __init__(self, layout: Layout[Retained], program: int, names: tuple[str, ...], known: _Known) -> None:
        self.layout, self.program, self.names = layout, program, names
        self.catalogs, self.layouts = known.catalogs, known.layouts
        self.problems: list[str] = []

    def understand(self, stored: Stored, source: str) -> Retained | None:
        """The image in `stored`, or None with a problem told."""
        layout = self.layout
        if stored.layout != layout.digest:
            catalog = self.catalogs.get(stored.program)
            if catalog is None:
                self.problems.append(f"{source}: written by another program whose catalogue is lost; not used")
                return None
            layout = Layout(Retained, {**self.layout.dims, **catalog.dims})
            if stored.layout != layout.digest:
                return self._other_version(stored, layout, source)
        if len(stored.blob) != layout.size:
            self.problems.append(f"{source}: has the wrong length; not used")
            return None
        return self.translate(layout.view(np.frombuffer(stored.blob, np.uint8).copy()), layout, source)

    def _other_version(self, stored: Stored, layout: Layout[Retained], source: str) -> Retained | None:
        """By the names of the fields, when the database says how that version laid them out."""
        described = self.layouts.get(stored.layout)
        if described is None:
            self.problems.append(f"{source}: written by another version of the controller; not used")
            return None
        try:
            old = layout.adopt(stored.blob, described)
        except (ValueError, TypeError) as error:
            self.problems.append(f"{source}: written by another version of the controller, unreadable: {error}")
            return None
        self.problems.append(f"{source}: written by another version of the controller; its fields are carried over")
        return self.translate(old, layout, source)

    def translate(self, old: Retained, layout: Layout[Retained], source: str) -> Retained | None:
        """The same state with the slots and racks of the program that will run."""
        if old.program == self.program and layout.digest == self.layout.digest:
            return old
        catalog = self.catalogs.get(old.program)
        if catalog is None or not self.names or len(catalog.names) != len(old.latched):
            self.problems.append(f"{source}: its slots belong to another program and cannot be named; not used")
            return None
        new = self.layout.blank()
        index = {name: i for i, name in enumerate(self.names)}
        here = np.array([index.get(n, -1) for n in catalog.names], np.int64)
        gone = np.flatnonzero(old.latched & (here < 0))
        self.problems += [f"{source}: the latch {catalog.names[i]} has no place in this program" for i in gone]
        kept = here >= 0
        for field in (
            "latched",
            "latched_value",
            "latched_element",
            "alarm_state",
            "alarm_shown",
            "alarm_age_ms",
            "occurrence",
        ):
            getattr(new, field)[here[kept]] = getattr(old, field)[kept]
        _shelf(old.shelf, new.shelf, here)
        racks = min(len(old.out_of_service), len(new.out_of_service))
        self.problems += [
            f"{source}: rack R{r + 1:02d} was out of service and is not in this program"
            for r in np.flatnonzero(old.out_of_service[racks:]) + racks
        ]
        return dataclasses.replace(
            new,
            scan=old.scan,
            utc_ms=old.utc_ms,
            program=self.program,
            shelf_changes=old.shelf_changes,
            first_out=int(here[old.first_out]) if old.first_out >= 0 else -1,
            first_out_utc_ms=old.first_out_utc_ms,
            trip_count=old.trip_count,
            emergency_stop=old.emergency_stop,
            retained_state=old.retained_state,
            **{name: _fitted(getattr(old, name), getattr(new, name)) for name in PER_RACK},
            **self._charge(old, new, source),
        )

    def _charge(self, old: Retained, new: Retained, source: str) -> dict[str, Any]:
        if old.cell_charge_ratio.shape == new.cell_charge_ratio.shape:
            same_sensors = old.sensor_told.shape == new.sensor_told.shape
            return {n: getattr(old, n) for n in (*CELL_STATE, *OF_CELLS, *(OF_SENSORS if same_sensors else ()))}
        self.problems.append(f"{source}: the battery has another size; its charge is unknown")
        return {
            "cell_charge_ratio": np.full(new.cell_charge_ratio.shape, 0.5),
            "cell_variance": np.ones(new.cell_variance.shape),
        }


def _shelf(old: Any, new: Any, here: Any) -> None:
    """The records of the shelf with the slots of this program; an alarm that is gone leaves it."""
    kept = [r for r in old if r["kind"] and 0 <= r["slot"] < len(here) and here[r["slot"]] >= 0]
    for i, record in enumerate(kept[: len(new)]):
        new[i] = record
        new[i]["slot"] = here[record["slot"]]


def _fitted(old: Any, new: Any) -> Any:
    """`old` per rack, cut or filled up to the racks of `new`."""
    count = min(len(old), len(new))
    new[:count] = old[:count]
    return new
