"""Retained state, written: latches and counters that outlive a kill, a power cut and a full disk.

The database holds the last rows, `retained.slots` the last two states with a changed latch. `restore` reads them.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from pathlib import Path
from typing import Final

import numpy as np
from sqlite_utils import Database

from controller.core.layout import Layout
from controller.core.program import Program
from controller.core.retained import Retained
from controller.core.signal import Dims
from controller.historian.database import Durable
from controller.historian.raw import Bytes, number
from controller.historian.slots import SlotFile, Stored, read_slots

DATABASE: Final = "state.db"
SLOT_FILE: Final = "retained.slots"
COUNTERS_EVERY_MS: Final = 10_000
ROWS_KEPT: Final = 4
CATALOGS_KEPT: Final = 16
AT_ONCE: Final = (
    "latched", "alarm_state", "alarm_shown", "shelf_changes", "first_out", "trip_count", "emergency_stop",
    "maintenance", "out_of_service", "program", "retained_state", "connected", "rack_weld_test",
    "rack_contactor_hot_openings",
)  # fmt: skip
"""Fields whose change is committed in the next pass; the rest follows every ten seconds."""

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
        kept = read_slots(folder / SLOT_FILE)[0]
        self.sequence = max([0, *(s.sequence for s in kept)])
        self.trips_before = _trips(kept[0], layout) if kept else -1
        """Trips that were durable when this store began; -1 unknown."""
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


def _trips(stored: Stored, layout: Layout[Retained]) -> int:
    known = stored.layout == layout.digest and len(stored.blob) == layout.size
    return int(number(layout, "trip_count")(np.frombuffer(stored.blob, np.uint8))) if known else -1
