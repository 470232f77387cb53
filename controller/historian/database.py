"""SQLite files that may fail: opened with back-off, set aside when corrupt, never a reason to stop."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Final, Literal

from sqlite_utils import Database

LOCK_TIMEOUT_S: Final = 1.0
RETRY_FIRST_MS: Final = 250
RETRY_LONGEST_MS: Final = 30_000
JOURNAL_BYTES: Final = 16 << 20
"""Size to which SQLite shortens its write-ahead log after a checkpoint."""
ASIDE_KEPT: Final = 3
"""Damaged files that are kept of each database: a disk that damages again and again must not fill with them, too."""
LOG: Final = ("-wal", "-shm")
PRIMARY_CODE: Final = 0xFF
"""The part of an extended SQLite result code that says what kind of error it is."""
DAMAGED_HEADER: Final = ("unsupported file format",)
"""What SQLite says, without a code of its own, of a file whose header holds nonsense for the format of its schema."""

Synchronous = Literal["FULL", "NORMAL"]


class Corrupt(Exception):
    """The file is no database, or SQLite's quick check found damage in it."""


class Backoff:
    """Says when to try again: at once, then after 250 ms, doubling up to 30 s."""

    def __init__(self) -> None:
        self.wait_ms = 0
        self.next_ms = 0

    def due(self, now_ms: int) -> bool:
        """True when the next attempt may be made."""
        return now_ms >= self.next_ms or self.wait_ms == 0

    def failed(self, now_ms: int) -> None:
        """An attempt failed: wait longer."""
        self.wait_ms = min(max(self.wait_ms * 2, RETRY_FIRST_MS), RETRY_LONGEST_MS)
        self.next_ms = now_ms + self.wait_ms

    def worked(self) -> None:
        """An attempt worked: the next one may come at once."""
        self.wait_ms = 0


def connect(path: Path, synchronous: Synchronous) -> Database:
    """A writable database in WAL mode, page reuse on; sqlite3.Error when the disk or the file refuses."""
    conn = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)
    try:
        db = Database(conn)
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.enable_wal()
        db.execute(f"PRAGMA synchronous={synchronous}")
        db.execute(f"PRAGMA journal_size_limit={JOURNAL_BYTES}")
    except BaseException:
        conn.close()
        raise
    return db


def connect_readonly(path: Path) -> Database:
    """A database for reading beside its writer; sqlite3.OperationalError when there is none."""
    conn = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=LOCK_TIMEOUT_S)
    try:
        return Database(conn, recursive_triggers=False)
    except BaseException:
        conn.close()
        raise


def check(db: Database) -> None:
    """Raises Corrupt with what SQLite's quick check complains about."""
    found = [str(row[0]) for row in db.execute("PRAGMA quick_check(3)").fetchall()]
    if found != ["ok"]:
        raise Corrupt("; ".join(found))


def is_corruption(error: Exception) -> bool:
    """True for damage that a new attempt cannot cure; a full or read-only disk may recover."""
    if isinstance(error, Corrupt):
        return True
    if not isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & PRIMARY_CODE
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or str(error) in DAMAGED_HEADER


def set_aside(path: Path, utc_ms: int) -> Path:
    """Rename a damaged database with its log, so that it stays as evidence; of earlier ones the oldest go. Returns the
    new name: its number is the time, or more than all others where a clock was set back."""
    prefix = _aside(path, "").name
    named = [p.name.removeprefix(prefix) for p in path.parent.glob(f"{prefix}*")]
    earlier = sorted(int(number) for number in named if number.isdecimal())
    aside = _aside(path, max([utc_ms, *(number + 1 for number in earlier[-1:])]))
    for suffix in LOG:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    path.rename(aside)
    for number in earlier[: max(len(earlier) - ASIDE_KEPT + 1, 0)]:
        old = _aside(path, number)
        for suffix in ("", *LOG):
            with contextlib.suppress(OSError):
                old.with_name(old.name + suffix).unlink(missing_ok=True)
    return aside


def _aside(path: Path, number: int | str) -> Path:
    return path.with_name(f"{path.name}.corrupt-{number}")


class Durable:
    """A database file that is opened when needed and survives its disk. `news` tells what changed, once each.

    A subclass gives `prepare` (schema) and calls `ready`, `failed` and `worked` around its transactions.
    """

    def __init__(self, path: Path, synchronous: Synchronous, checked: bool = False) -> None:
        self.path, self.synchronous, self.checked = path, synchronous, checked
        self.db: Database | None = None
        self.trouble = False
        self.news: list[str] = []
        self._backoff = Backoff()
        self._damaged = False

    def prepare(self, db: Database) -> None:
        """Make the tables that are missing."""
        raise NotImplementedError

    def begun_anew(self) -> None:
        """A damaged file was set aside and the new one is empty."""

    def ready(self, now_ms: int, utc_ms: int) -> Database | None:
        """The open database, or None while it cannot be opened or is waiting for its next attempt."""
        if self.db is not None:
            return self.db
        if not self._backoff.due(now_ms):
            return None
        try:
            if self._damaged and self.path.exists():
                self._set_aside(utc_ms, "damaged while in use")
            self._damaged = False
            try:
                self.db = self._open()
            except (sqlite3.Error, Corrupt) as error:
                if not is_corruption(error):
                    raise
                self._set_aside(utc_ms, str(error))
                self.db = self._open()
        except (sqlite3.Error, Corrupt, OSError) as error:
            self.failed(error, now_ms)
            return None
        return self.db

    def _open(self) -> Database:
        db = connect(self.path, self.synchronous)
        try:
            if self.checked:
                check(db)
            self.prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _set_aside(self, utc_ms: int, why: str) -> None:
        aside = set_aside(self.path, utc_ms)
        self.news.append(f"{self.path.name} is corrupt ({why}): kept as {aside.name}, a new file is begun")
        self.begun_anew()

    def failed(self, error: Exception, now_ms: int) -> None:
        """A transaction failed: close, tell once, try again later."""
        self.close()
        self._damaged = is_corruption(error)
        self._backoff.failed(now_ms)
        if not self.trouble:
            self.news.append(f"{self.path.name} cannot be written: {error}")
        self.trouble = True

    def worked(self) -> None:
        """A transaction was committed."""
        self._backoff.worked()
        if self.trouble:
            self.news.append(f"{self.path.name} is written again")
        self.trouble = False

    def close(self) -> None:
        """Close the file; what was committed stays."""
        db, self.db = self.db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    def bytes_used(self) -> int:
        """Bytes of the file and its log on disk."""
        total = 0
        for suffix in ("", "-wal"):
            with contextlib.suppress(OSError):
                total += self.path.with_name(self.path.name + suffix).stat().st_size
        return total
