"""Events and audit: every event of every process, durable; the audit rows chained so that an edit shows."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sqlite3
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlite_utils import Database

from controller.core.command import Kind, Origin
from controller.core.event import What, text_of
from controller.historian.database import Durable, connect_readonly
from controller.historian.samples import file_bytes

MAX_PENDING: Final = 20_000
"""Events kept in memory while the disk refuses them; of these the audit rows go last."""
JOURNAL_BYTES_MAX: Final = 500_000_000
TRIM_EVERY_MS: Final = 60_000
TRIM_ROWS: Final = 5_000
"""Rows that one pass may delete when the journal has become too large: events first, then the oldest audit rows."""
REMEMBERED: Final = 40_000
"""Rows of an earlier run that are looked at, so that what still lies in the rings is not written twice."""
AUDITED: Final = frozenset({"ANSWER", "SESSION", "CONTROL"})

COLUMNS: Final = (
    "utc_ms", "scan", "process", "ring", "what", "slot", "place", "old", "new", "limit", "user", "origin", "kind",
    "accepted", "command", "text",
)  # fmt: skip
NAMES: Final = ", ".join(f'"{c}"' for c in COLUMNS)
GENESIS: Final = "0" * 64

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY AUTOINCREMENT, utc_ms INTEGER NOT NULL,
    scan INTEGER NOT NULL, process TEXT NOT NULL, ring INTEGER NOT NULL, what TEXT NOT NULL, slot INTEGER NOT NULL,
    place TEXT NOT NULL, old REAL, new REAL, "limit" REAL, user TEXT NOT NULL, origin TEXT NOT NULL,
    kind TEXT NOT NULL, accepted INTEGER NOT NULL, command INTEGER NOT NULL, text TEXT NOT NULL, hash TEXT);
CREATE INDEX IF NOT EXISTS events_by_time ON events (utc_ms);
CREATE INDEX IF NOT EXISTS events_audited ON events (id) WHERE hash IS NOT NULL;
CREATE VIEW IF NOT EXISTS audit AS SELECT id, utc_ms, scan, user AS who, origin,
    CASE what WHEN 'ANSWER' THEN kind ELSE what END AS what, place, old, new,
    CASE accepted WHEN 1 THEN 'accepted' ELSE 'refused' END AS result, text, hash
    FROM events WHERE hash IS NOT NULL;
CREATE TABLE IF NOT EXISTS chain (id INTEGER PRIMARY KEY CHECK (id = 1), anchor TEXT NOT NULL, head TEXT NOT NULL,
    rows INTEGER NOT NULL);
INSERT OR IGNORE INTO chain VALUES (1, '{genesis}', '{genesis}', 0);
""".replace("{genesis}", GENESIS)

Row = tuple[Any, ...]


def row_of(record: Any, process: str, ring: int) -> Row | None:
    """An event record as a row of `events`; None for what need not be kept: a heartbeat that was accepted."""
    kind, origin, what = int(record["kind"]), int(record["origin"]), int(record["what"])
    accepted = int(bool(record["accepted"]))
    if what == What.ANSWER and kind == Kind.HEARTBEAT and accepted:
        return None
    # The token of an armed shutdown is a secret between the controller and who armed it.
    new = None if what == What.ANSWER and kind == Kind.ARM_SHUTDOWN else float(record["new"])
    return (
        int(record["utc_ms"]),
        int(record["scan"]),
        process,
        ring,
        What(what).name if what in What._value2member_map_ else str(what),
        int(record["slot"]),
        text_of(record, "place"),
        float(record["old"]),
        new,
        float(record["limit"]),
        text_of(record, "user"),
        Origin(origin).name if origin in Origin._value2member_map_ else "",
        Kind(kind).name if kind in Kind._value2member_map_ and kind else "",
        accepted,
        int(record["command"]),
        text_of(record, "text"),
    )


def link(previous: str, row: Row) -> str:
    """The hash of an audit row: over the row before it and all of its own columns."""
    # SQLite stores NaN as NULL, so the chain has to be made over what can be read back.
    plain = [None if isinstance(v, float) and v != v else v for v in row]
    return hashlib.sha256(f"{previous}{json.dumps(plain, ensure_ascii=False)}".encode()).hexdigest()


class Journal(Durable):
    """Writes `journal.db`. `written` and `lost` count events; events wait in memory while the disk refuses."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "FULL")
        self.written = 0
        self.lost = 0
        self._pending: deque[Row] = deque()
        self._seen: set[Row] | None = None
        self._trim_next_ms = 0

    def prepare(self, db: Database) -> None:
        """Tables; and what an earlier run has already taken from the rings."""
        db.executescript(SCHEMA)
        if self._seen is None:
            last = db.execute(
                "SELECT process, ring, utc_ms FROM events ORDER BY id DESC LIMIT ?", [REMEMBERED]
            ).fetchall()
            self._seen = {tuple(r) for r in last}

    def add(self, row: Row) -> None:
        """Queue a row; beyond the bound the oldest event that is not audited is lost, and counted."""
        self._pending.append(row)
        if len(self._pending) <= MAX_PENDING:
            return
        for i, waiting in enumerate(self._pending):
            if waiting[4] not in AUDITED:
                del self._pending[i]
                break
        else:
            self._pending.popleft()
        self.lost += 1

    def flush(self, now_ms: int, utc_ms: int) -> None:
        """Commit the queue in one transaction, chained."""
        if not self._pending:
            return
        db = self.ready(now_ms, utc_ms)
        if db is None:
            return
        seen = self._seen or set()
        rows = [r for r in self._pending if (r[2], r[3], r[0]) not in seen]
        try:
            with db.atomic():
                self._insert(db, rows)
        except sqlite3.Error as error:
            self.failed(error, now_ms)
            return
        self.written += len(rows)
        self._pending.clear()
        self.worked()

    def caught_up(self) -> None:
        """The rings are drained once: from now on nothing can come twice."""
        if not self._pending:
            self._seen = set()

    @staticmethod
    def _insert(db: Database, rows: list[Row]) -> None:
        head, count = db.execute("SELECT head, rows FROM chain").fetchone()
        hashed = []
        for row in rows:
            mark = None
            if row[4] in AUDITED:
                mark = head = link(head, row)
                count += 1
            hashed.append((*row, mark))
        marks = ", ".join("?" * (len(COLUMNS) + 1))
        db.conn.executemany(f"INSERT INTO events ({NAMES}, hash) VALUES ({marks})", hashed)  # noqa: S608
        db.execute("UPDATE chain SET head = ?, rows = ?", [head, count])

    def trim(self, now_ms: int) -> None:
        """Keep the file within its size, looking once a minute."""
        if self.db is None or now_ms < self._trim_next_ms:
            return
        self._trim_next_ms = now_ms + TRIM_EVERY_MS
        try:
            free = int(self.db.execute("PRAGMA freelist_count").fetchone()[0])
            if file_bytes(self.db) > JOURNAL_BYTES_MAX and not free:
                with self.db.atomic():
                    self._delete_oldest(self.db)
                self._trim_next_ms = now_ms
        except sqlite3.Error as error:
            self.failed(error, now_ms)

    @staticmethod
    def _delete_oldest(db: Database) -> None:
        oldest = "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE hash IS NULL ORDER BY id LIMIT ?)"
        if db.execute(oldest, [TRIM_ROWS]).rowcount:
            return
        kept = db.execute(
            "SELECT id, hash FROM events WHERE hash IS NOT NULL ORDER BY id LIMIT 1 OFFSET ?", [TRIM_ROWS - 1]
        ).fetchone()
        if kept is None:
            return
        gone = db.execute("DELETE FROM events WHERE hash IS NOT NULL AND id <= ?", [kept[0]]).rowcount
        db.execute("UPDATE chain SET anchor = ?, rows = rows - ?", [kept[1], gone])


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """The audit trail's state: how many rows were followed, and what is wrong with the first bad one."""

    rows: int
    problem: str = ""

    @property
    def intact(self) -> bool:
        """No row was edited, cut out or added beside the store."""
        return not self.problem


def verify_audit(folder: Path) -> Verdict:
    """Follow the audit chain of a state folder from its anchor to its head."""
    path = folder / "journal.db"
    if not path.exists():
        return Verdict(0)
    with closing(connect_readonly(path)) as db, db.atomic():
        anchor, head, count = db.execute("SELECT anchor, head, rows FROM chain").fetchone()
        followed, previous = 0, str(anchor)
        audited = ", ".join(f"'{w}'" for w in sorted(AUDITED))
        for row in db.execute(
            f"SELECT {NAMES}, hash, id FROM events WHERE hash IS NOT NULL OR what IN ({audited}) ORDER BY id"  # noqa: S608
        ):
            if link(previous, tuple(row[:-2])) != row[-2]:
                return Verdict(followed, f"row {row[-1]} was edited, added, or follows a row that was cut out")
            previous = str(row[-2])
            followed += 1
    if previous != head or followed != count:
        return Verdict(followed, f"{count} rows were written, {followed} are there: the newest were cut off")
    return Verdict(followed)
