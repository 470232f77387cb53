"""Reads what the store has written, from any process, while it writes."""

from __future__ import annotations

import dataclasses
import itertools
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from sqlite_utils import Database

from controller.core.history import HistoryPoint
from controller.historian.database import connect_readonly
from controller.historian.samples import Era

EVENT_COLUMNS: Final = (
    "utc_ms", "scan", "process", "what", "place", "old", "new", "limit", "user", "origin", "kind", "accepted",
    "command", "text",
)  # fmt: skip
EVER_MS: Final = 2**60
AUDIT_COLUMNS: Final = ("utc_ms", "who", "origin", "what", "place", "old", "new", "result", "text")


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A variable in the history and how much of it there is."""

    name: str
    unit: str
    doc: str
    first_utc_ms: int | None
    last_utc_ms: int | None


class _Samples:
    """The samples of an open file, era by era; none where the store has just made the file."""

    def __init__(self, db: Database | None) -> None:
        self.db, self.eras, self._same = db, list[Era](), ""
        tables = set() if db is None else {r[0] for r in db.execute("SELECT name FROM sqlite_master").fetchall()}
        if db is not None and "eras" in tables:
            found = db.execute("SELECT number, first_utc_ms, last_utc_ms FROM eras ORDER BY number").fetchall()
            self.eras, self._same = [Era(*r) for r in found], " AND era = :era"
        elif "samples" in tables:
            self.eras = [Era(0, 0, EVER_MS)]

    def points(
        self, variable: str, era: Era, start_utc_ms: int, end_utc_ms: int, most: int, way: str
    ) -> list[HistoryPoint]:
        """At most `most` points of one era, the first ones (`ASC`) or the last ones, in that direction."""
        start, end = max(start_utc_ms, era.first_utc_ms), min(end_utc_ms, era.last_utc_ms)
        if self.db is None or start > end:
            return []
        sql = (
            "SELECT utc_ms, value, quality FROM samples WHERE variable = (SELECT id FROM variables WHERE name = :name)"  # noqa: S608
            f" AND utc_ms BETWEEN :start AND :end{self._same} ORDER BY utc_ms {way} LIMIT :most"
        )
        given = {"name": variable, "start": start, "end": end, "era": era.number, "most": most}
        return [_point(*r) for r in self.db.execute(sql, given).fetchall()]

    def end(self, variable: str, way: str) -> int | None:
        """Stamp of the first (`ASC`) or the last point; None without any."""
        for era in self.eras if way == "ASC" else reversed(self.eras):
            for point in self.points(variable, era, 0, EVER_MS, 1, way):
                return point.utc_ms
        return None


class HistoryStore:
    """The history of a site's state folder. A database that is not there yet is an empty history."""

    def __init__(self, folder: Path) -> None:
        self.history, self.journal = folder / "history.db", folder / "journal.db"

    def read(self, variable: str, start_utc_ms: int, end_utc_ms: int, most: int) -> list[HistoryPoint]:
        """At most `most` points of a variable as they came, oldest first, both ends included; NaN where there was no
        value."""
        points = itertools.chain.from_iterable(self.pages(variable, start_utc_ms, end_utc_ms, most))
        return list(itertools.islice(points, most))

    def newest(self, variable: str, start_utc_ms: int, end_utc_ms: int, most: int) -> list[HistoryPoint]:
        """The last `most` points of a time to come, oldest first: what a clock that was ahead has stamped is not newest
        for ever."""
        found: list[HistoryPoint] = []
        with self._open() as history:
            for era in reversed(history.eras):
                if len(found) < most:
                    found += history.points(variable, era, start_utc_ms, end_utc_ms, most - len(found), "DESC")
        return found[::-1]

    def pages(self, variable: str, start_utc_ms: int, end_utc_ms: int, size: int) -> Iterator[list[HistoryPoint]]:
        """All points of a time as they came, oldest first, at most `size` at once."""
        with self._open() as history:
            for era in history.eras:
                at = start_utc_ms
                while page := history.points(variable, era, at, end_utc_ms, size, "ASC"):
                    yield page
                    at = page[-1].utc_ms + 1

    def before(self, variable: str, utc_ms: int) -> HistoryPoint | None:
        """The last point before a time: the value that was in force then."""
        found = _rows(
            self.history,
            "SELECT utc_ms, value, quality FROM samples WHERE variable = (SELECT id FROM variables WHERE name = ?)"
            " AND utc_ms < ? ORDER BY utc_ms DESC LIMIT 1",
            [variable, utc_ms],
        )
        return _point(*found[0]) if found else None

    def variables(self, patterns: list[str] | None = None) -> list[Known]:
        """The variables whose names match one of the patterns, all without patterns, in the order of the tags."""
        rows = _rows(self.history, "SELECT name, unit, doc FROM variables ORDER BY id", [])
        names = [r for r in rows if not patterns or any(_matches(str(r[0]), p) for p in patterns)]
        with self._open() as history:
            return [Known(n, unit, doc, history.end(n, "ASC"), history.end(n, "DESC")) for n, unit, doc in names]

    @contextmanager
    def _open(self) -> Iterator[_Samples]:
        if not self.history.exists():
            yield _Samples(None)
            return
        with closing(connect_readonly(self.history)) as db:
            yield _Samples(db)

    def events(self, start_utc_ms: int, end_utc_ms: int, most: int, newest: bool = False) -> list[dict[str, Any]]:
        """At most `most` events, oldest first; with `newest` the last ones of the time instead of the first."""
        return _records(self.journal, "events", EVENT_COLUMNS, start_utc_ms, end_utc_ms, most, newest)

    def alarms(self, start_utc_ms: int, end_utc_ms: int, most: int) -> list[dict[str, Any]]:
        """At most `most` transitions of alarms, oldest first."""
        return _records(self.journal, "events", EVENT_COLUMNS, start_utc_ms, end_utc_ms, most, False, "ALARM")

    def audit(self, start_utc_ms: int, end_utc_ms: int, most: int, newest: bool = False) -> list[dict[str, Any]]:
        """As `events`, only who did what, and the result."""
        return _records(self.journal, "audit", AUDIT_COLUMNS, start_utc_ms, end_utc_ms, most, newest)


def _point(utc_ms: int, value: float | None, quality: int) -> HistoryPoint:
    return HistoryPoint(utc_ms, math.nan if value is None else value, quality)


def _matches(name: str, pattern: str) -> bool:
    """Shell patterns, in which the brackets of a place mean themselves; a bare tag name means all its places."""
    literal = pattern.replace("[", "[[]")
    return fnmatchcase(name, literal) or ("[" not in pattern and fnmatchcase(name.partition("[")[0], literal))


def _records(
    path: Path, table: str, columns: tuple[str, ...], start: int, end: int, most: int, newest: bool, what: str = ""
) -> list[dict[str, Any]]:
    names = ", ".join(f'"{c}"' for c in columns)
    order = "DESC" if newest else "ASC"
    only = " AND what = ?" if what else ""
    sql = f"SELECT {names} FROM {table} WHERE utc_ms BETWEEN ? AND ?{only} ORDER BY id {order} LIMIT ?"  # noqa: S608
    given = [start, end, *([what] if what else []), most]
    found = [dict(zip(columns, r, strict=True)) for r in _rows(path, sql, given)]
    return found[::-1] if newest else found


def _rows(path: Path, sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
    if not path.exists():
        return []
    with closing(connect_readonly(path)) as db:
        try:
            return list(db.execute(sql, parameters).fetchall())
        except sqlite3.OperationalError as error:
            # The store makes the file first and its tables a moment later.
            if "no such table" in str(error):
                return []
            raise
