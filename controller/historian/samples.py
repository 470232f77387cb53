"""History: what changed beyond its deadband, one transaction per interval, bounded in memory and on disk.

Stamps are wall time, which is set back and forth; the order in which samples came is kept by eras. An era is a time in
which the stamps only grew, without a gap: a clock that is set begins another, and so does a controller that was away.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from sqlite_utils import Database

from controller.core.image import ProcessImage
from controller.core.signal import Codes, Floats, Ints, Quality
from controller.historian.database import Durable
from controller.historian.variables import Sampler

REWRITE_MS: Final = 60_000
"""A variable that does not change is written again after this time, so that silence can be told from rest."""
MAX_PENDING: Final = 200_000
"""Samples kept in memory while the disk refuses them."""
TRIM_EVERY_MS: Final = 60_000
TRIM_FRACTION: Final = 0.02
"""Part of the history's time span that goes at once when the file has become too large."""
TRIM_BUDGET_S: Final = 0.05
"""Time one pass may spend on deleting: the recorder's ring must be drained meanwhile."""
VACUUM_PAGES: Final = 256
LEAST_DEADBAND_SPAN: Final = 1e-9

ERA_GAP_MS: Final = 3_600_000
"""Stamps farther apart begin a new era: every variable is written once a minute while the store runs."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS variables (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, unit TEXT NOT NULL,
    doc TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS samples (variable INTEGER NOT NULL REFERENCES variables(id), utc_ms INTEGER NOT NULL,
    value REAL, quality INTEGER NOT NULL, era INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (variable, utc_ms))
    WITHOUT ROWID;
"""
ERAS: Final = """
CREATE TABLE IF NOT EXISTS eras (number INTEGER PRIMARY KEY, first_utc_ms INTEGER NOT NULL,
    last_utc_ms INTEGER NOT NULL);
"""
ERA_0: Final = """
INSERT INTO eras SELECT 0, min(first), max(last) FROM (SELECT
    (SELECT min(utc_ms) FROM samples WHERE variable = id) AS first,
    (SELECT max(utc_ms) FROM samples WHERE variable = id) AS last FROM variables) HAVING min(first) NOTNULL;
"""
"""What a file holds that was written without eras."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Batch:
    """The variables that were worth writing at one moment."""

    utc_ms: int
    index: Ints
    value: Floats
    quality: Codes

    def rows(self, ids: Ints, era: int) -> Iterator[tuple[int, int, float | None, int, int]]:
        for i, v, q in zip(ids[self.index].tolist(), self.value.tolist(), self.quality.tolist(), strict=True):
            yield i, self.utc_ms, (v if np.isfinite(v) else None), q, era


class Era(NamedTuple):
    """A time in which stamps only grew, and the stamps at its ends; a later one has a higher number."""

    number: int
    first_utc_ms: int
    last_utc_ms: int

    def at(self, utc_ms: int) -> Era:
        """The era of the next sample."""
        if self.last_utc_ms <= utc_ms <= self.last_utc_ms + ERA_GAP_MS:
            return self._replace(last_utc_ms=utc_ms)
        return Era(self.number + 1, utc_ms, utc_ms)


class History(Durable):
    """Writes `history.db`. `written` and `lost` count samples."""

    def __init__(self, path: Path, sampler: Sampler, deadband_ratio: float, size_bytes: int) -> None:
        super().__init__(path, "NORMAL")
        self.sampler, self.deadband_ratio, self.size_bytes = sampler, deadband_ratio, size_bytes
        count = len(sampler.variables)
        self.written = 0
        self.lost = 0
        self._pending: deque[_Batch] = deque()
        self._pending_count = 0
        self._last_value: Floats = np.zeros(count)
        self._last_quality: Codes = np.zeros(count, np.uint8)
        self._last_ms: Ints = np.full(count, -REWRITE_MS, np.int64)
        self._fresh = True
        self._ids: Ints = np.zeros(count, np.int64)
        self._trim_next_ms = 0
        self._trim: deque[int] = deque()
        self._trim_era = Era(0, 0, 0)
        self._era: Era | None = None
        self._shrinking = False

    # -- from the image to the queue ---------------------------------------------------------------------------

    def sample(self, image: ProcessImage) -> None:
        """Queue every variable that left its deadband, changed its quality or was silent for a minute."""
        value, quality = self.sampler.take(image)
        now_ms = image.system.now_ms
        span = np.where(np.isnan(self.sampler.span), np.abs(self._last_value), self.sampler.span)
        band = np.where(self.sampler.exact, 0.0, self.deadband_ratio * np.maximum(span, LEAST_DEADBAND_SPAN))
        with np.errstate(invalid="ignore"):
            moved = np.abs(value - self._last_value) > band
        wanted = moved | (quality != self._last_quality) | (now_ms - self._last_ms >= REWRITE_MS) | self._fresh
        index = np.flatnonzero(wanted & (quality != Quality.NOT_FITTED))
        self._fresh = False
        if not index.size:
            return
        self._last_value[index] = np.nan_to_num(value[index])
        self._last_quality[index] = quality[index]
        self._last_ms[index] = now_ms
        self._pending.append(_Batch(image.system.utc_ms, index, value[index], quality[index]))
        self._pending_count += index.size
        while self._pending_count > MAX_PENDING:
            self._drop()

    def _drop(self) -> None:
        oldest = self._pending.popleft()
        self._pending_count -= oldest.index.size
        self.lost += oldest.index.size

    # -- from the queue to the disk ----------------------------------------------------------------------------

    def prepare(self, db: Database) -> None:
        """Tables, and the number of every variable in this file."""
        db.executescript(SCHEMA)
        if "era" not in {row[1] for row in db.execute("PRAGMA table_info(samples)").fetchall()}:
            db.execute("ALTER TABLE samples ADD COLUMN era INTEGER NOT NULL DEFAULT 0")
        # A reader that finds this table may rely on the column.
        db.executescript(ERAS)
        with db.atomic():
            if not db.execute("SELECT 1 FROM eras").fetchone():
                db.execute(ERA_0)
            found = db.execute("SELECT number, first_utc_ms, last_utc_ms FROM eras ORDER BY number DESC").fetchone()
            self._era = None if found is None else Era(*found)
            db.conn.executemany(
                "INSERT INTO variables (name, unit, doc) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET unit = excluded.unit, doc = excluded.doc",
                [dataclasses.astuple(v) for v in self.sampler.variables],
            )
        ids = dict(db.execute("SELECT name, id FROM variables").fetchall())
        self._ids = np.array([ids[v.name] for v in self.sampler.variables], np.int64)

    def begun_anew(self) -> None:
        """The file is empty again: the next sample is written whole."""
        self._fresh = True

    def flush(self, now_ms: int, utc_ms: int) -> None:
        """Write the queue in one transaction; what the disk refuses waits, up to the bound."""
        if not self._pending:
            return
        db = self.ready(now_ms, utc_ms)
        if db is None:
            return
        era, eras = self._era, dict[int, Era]()
        try:
            with db.atomic():
                for batch in self._pending:
                    utc = batch.utc_ms
                    era = Era(1, utc, utc) if era is None else era.at(utc)
                    eras[era.number] = era
                    rows = batch.rows(self._ids, era.number)
                    db.conn.executemany("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?)", rows)
                db.conn.executemany(
                    "INSERT INTO eras VALUES (?, ?, ?)"
                    " ON CONFLICT (number) DO UPDATE SET last_utc_ms = excluded.last_utc_ms",
                    list(eras.values()),
                )
        except sqlite3.Error as error:
            self.failed(error, now_ms)
            return
        self._era = era
        self.written += self._pending_count
        self._pending.clear()
        self._pending_count = 0
        self.worked()

    # -- retention ---------------------------------------------------------------------------------------------

    def trim(self, now_ms: int) -> None:
        """Keep the file within its size: once a minute look, then delete the oldest samples in small steps."""
        db = self.db
        if db is None:
            return
        try:
            if self._trim:
                self._delete_some(db)
            elif self._shrinking:
                self._shrink(db)
            elif now_ms >= self._trim_next_ms:
                self._trim_next_ms = now_ms + TRIM_EVERY_MS
                if file_bytes(db) > self.size_bytes:
                    self._plan_trim(db)
        except sqlite3.Error as error:
            self.failed(error, now_ms)

    def _plan_trim(self, db: Database) -> None:
        """Which part of the oldest era goes: so much of it as is a share of all eras, or all of it."""
        eras = [Era(*r) for r in db.execute("SELECT number, first_utc_ms, last_utc_ms FROM eras ORDER BY number")]
        if not eras:
            self._shrinking = False
            return
        share = max(int(sum(e.last_utc_ms - e.first_utc_ms for e in eras) * TRIM_FRACTION), 1)
        first = eras[0].first_utc_ms
        self._trim_era = eras[0]._replace(last_utc_ms=min(first + share - 1, eras[0].last_utc_ms))
        self._trim.extend(int(r[0]) for r in db.execute("SELECT id FROM variables").fetchall())

    def _delete_some(self, db: Database) -> None:
        until, (era, first, last) = time.monotonic() + TRIM_BUDGET_S, self._trim_era
        with db.atomic():
            while self._trim and time.monotonic() < until:
                db.execute(
                    "DELETE FROM samples WHERE variable = ? AND utc_ms BETWEEN ? AND ? AND era = ?",
                    [self._trim.popleft(), first, last, era],
                )
            if not self._trim:
                db.execute("UPDATE eras SET first_utc_ms = ? WHERE number = ?", [last + 1, era])
                db.execute("DELETE FROM eras WHERE first_utc_ms > last_utc_ms")
        self._shrinking = not self._trim

    def _shrink(self, db: Database) -> None:
        """Give freed pages back to the disk; delete more when that is not enough."""
        free = int(db.execute("PRAGMA freelist_count").fetchone()[0])
        self._shrinking = file_bytes(db) > self.size_bytes
        if self._shrinking and free:
            db.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
        elif self._shrinking:
            self._plan_trim(db)


def file_bytes(db: Database) -> int:
    """Size of the database file, in whole pages."""
    pages, size = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "page_size"))
    return pages * size
