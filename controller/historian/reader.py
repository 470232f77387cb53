"""Reads what the store has written, from any process, while it writes."""

from __future__ import annotations

import dataclasses
import math
import sqlite3
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from controller.core.history import HistoryPoint
from controller.historian.database import connect_readonly

EVENT_COLUMNS: Final = (
    "utc_ms", "scan", "process", "what", "place", "old", "new", "limit", "user", "origin", "kind", "accepted",
    "command", "text",
)  # fmt: skip
AUDIT_COLUMNS: Final = ("utc_ms", "who", "origin", "what", "place", "old", "new", "result", "text")


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A variable in the history and how much of it there is."""

    name: str
    unit: str
    doc: str
    first_utc_ms: int | None
    last_utc_ms: int | None


class HistoryStore:
    """The history of a site's state folder. A database that is not there yet is an empty history."""

    def __init__(self, folder: Path) -> None:
        self.history, self.journal = folder / "history.db", folder / "journal.db"

    def read(self, variable: str, start_utc_ms: int, end_utc_ms: int, most: int) -> list[HistoryPoint]:
        """At most `most` points of a variable, oldest first, both ends included; NaN where there was no value."""
        found = _rows(
            self.history,
            "SELECT utc_ms, value, quality FROM samples WHERE variable = (SELECT id FROM variables WHERE name = ?)"
            " AND utc_ms BETWEEN ? AND ? ORDER BY utc_ms LIMIT ?",
            [variable, start_utc_ms, end_utc_ms, most],
        )
        return [_point(*r) for r in found]

    def newest(self, variable: str, start_utc_ms: int, end_utc_ms: int, most: int) -> list[HistoryPoint]:
        """The last `most` points of a time, oldest first."""
        found = _rows(
            self.history,
            "SELECT utc_ms, value, quality FROM samples WHERE variable = (SELECT id FROM variables WHERE name = ?)"
            " AND utc_ms BETWEEN ? AND ? ORDER BY utc_ms DESC LIMIT ?",
            [variable, start_utc_ms, end_utc_ms, most],
        )
        return [_point(*r) for r in reversed(found)]

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
        rows = _rows(
            self.history,
            "SELECT name, unit, doc, (SELECT min(utc_ms) FROM samples WHERE variable = id),"
            " (SELECT max(utc_ms) FROM samples WHERE variable = id) FROM variables ORDER BY id",
            [],
        )
        return [Known(*r) for r in rows if not patterns or any(_matches(str(r[0]), p) for p in patterns)]

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
