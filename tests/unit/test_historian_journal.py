"""The journal keeps every event once, and an edited audit trail gives itself away."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from controller.core.command import Kind, Origin
from controller.core.event import Event, What
from controller.historian import journal as module
from controller.historian.journal import Journal, row_of, verify_audit
from controller.historian.reader import HistoryStore

UTC = 1_700_000_000_000


def answer(number: int, kind: Kind = Kind.SET_ACTIVE_POWER, accepted: bool = True, **more: Any) -> Any:
    event = Event(
        What.ANSWER, old=1000.0 * number, new=1000.0 * number, command=number, kind=int(kind),
        origin=int(Origin.OPCUA), accepted=accepted, user="anna", place=kind.name.lower(), text="accepted", **more,
    )  # fmt: skip
    return event.record(number, number, UTC + number)


def alarm(number: int) -> Any:
    event = Event(What.ALARM, 0, 1, limit=3.65, slot=7, place="R01/M02/C04", text="cell_overvoltage: 3.7 V")
    return event.record(number, number, UTC + number)


def fill(journal: Journal, records: list[Any], process: str = "scan", first: int = 1) -> None:
    for i, record in enumerate(records):
        row = row_of(record, process, first + i)
        if row is not None:
            journal.add(row)
    journal.flush(0, UTC)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.db")
    yield made
    made.close()


def test_events_and_audit_are_readable_by_name(journal: Journal, tmp_path: Path) -> None:
    fill(journal, [alarm(1), answer(2), answer(3, Kind.RESET_TRIPS, False)])
    store = HistoryStore(tmp_path)
    events = store.events(0, 2**60, 10)
    assert [(e["what"], e["place"], e["kind"]) for e in events] == [
        ("ALARM", "R01/M02/C04", ""),
        ("ANSWER", "set_active_power", "SET_ACTIVE_POWER"),
        ("ANSWER", "reset_trips", "RESET_TRIPS"),
    ]
    assert events[0]["limit"] == 3.65
    audit = store.audit(0, 2**60, 10)
    assert [(a["who"], a["what"], a["old"], a["result"]) for a in audit] == [
        ("anna", "SET_ACTIVE_POWER", 2000.0, "accepted"),
        ("anna", "RESET_TRIPS", 3000.0, "refused"),
    ]
    assert [e["scan"] for e in store.events(0, 2**60, 2, newest=True)] == [2, 3]


def test_heartbeats_are_no_news_unless_refused_and_tokens_stay_secret(journal: Journal, tmp_path: Path) -> None:
    fill(journal, [answer(1, Kind.HEARTBEAT), answer(2, Kind.HEARTBEAT, False), answer(3, Kind.ARM_SHUTDOWN)])
    audit = HistoryStore(tmp_path).audit(0, 2**60, 10)
    assert [(a["what"], a["result"], a["new"]) for a in audit] == [
        ("HEARTBEAT", "refused", 2000.0),
        ("ARM_SHUTDOWN", "accepted", None),
    ]


def test_what_still_lies_in_the_rings_after_a_restart_is_not_written_twice(journal: Journal, tmp_path: Path) -> None:
    records = [answer(n) for n in range(1, 6)]
    fill(journal, records[:3])
    journal.close()
    again = Journal(tmp_path / "journal.db")
    fill(again, records)
    again.caught_up()
    # A later run has a fresh ring: the same number, another time.
    fill(again, [alarm(500)], first=1)
    again.close()
    found = HistoryStore(tmp_path).events(0, 2**60, 100)
    assert [e["scan"] for e in found] == [1, 2, 3, 4, 5, 500]
    assert verify_audit(tmp_path).intact


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE events SET user = 'bert' WHERE id = 3",
        "UPDATE events SET old = old + 0.001 WHERE id = 3",
        "UPDATE events SET accepted = 0 WHERE id = 1",
        "DELETE FROM events WHERE id = 2",
        "DELETE FROM events WHERE id = 5",
        "DELETE FROM events WHERE id = 1",
        "UPDATE events SET hash = NULL WHERE id = 3",
        "UPDATE events SET what = 'ALARM' WHERE id = 3",
        "UPDATE events SET utc_ms = utc_ms - 1 WHERE id = 4",
        "INSERT INTO events SELECT 99, utc_ms, scan, process, 99, what, slot, place, old, new, \"limit\", 'eve',"
        " origin, kind, accepted, command, text, hash FROM events WHERE id = 5",
    ],
)
def test_an_edit_a_cut_and_an_insertion_show(journal: Journal, tmp_path: Path, harm: str) -> None:
    fill(journal, [answer(n) for n in range(1, 6)])
    journal.close()
    assert verify_audit(tmp_path).rows == 5
    assert verify_audit(tmp_path).intact
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db, db:
        assert db.execute(harm).rowcount == 1
    assert not verify_audit(tmp_path).intact


def test_the_oldest_go_first_and_the_chain_still_holds(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(journal, [r for n in range(1, 101) for r in (alarm(n), answer(n))])
    monkeypatch.setattr(module, "JOURNAL_BYTES_MAX", 1)
    monkeypatch.setattr(module, "TRIM_ROWS", 60)
    monkeypatch.setattr(module, "file_bytes", lambda _: 2)
    kept = []
    for minute in range(3):
        journal.trim(minute * module.TRIM_EVERY_MS)
        assert journal.db is not None
        journal.db.execute("PRAGMA incremental_vacuum").fetchall()
        with closing(sqlite3.connect(journal.path)) as db:
            kept.append(db.execute("SELECT count(*) - count(hash), count(hash) FROM events").fetchone())
        assert verify_audit(tmp_path).intact
    assert kept == [(40, 100), (0, 100), (0, 40)]
    fill(journal, [answer(500)], first=1000)
    assert verify_audit(tmp_path) == module.Verdict(41)


def test_a_full_disk_keeps_events_in_memory_audit_longest(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 40)
    fill(journal, [alarm(1)])
    assert journal.db is not None
    pages = journal.db.execute("PRAGMA page_count").fetchone()[0]
    journal.db.execute(f"PRAGMA max_page_count={pages}")
    wide = "x" * 110
    fill(journal, [Event(What.ALARM, text=wide).record(n, n, UTC + n) for n in range(2, 400)], first=2)
    assert journal.trouble
    assert journal.lost == 398 - 40
    fill(journal, [answer(n) for n in range(400, 406)], first=400)
    assert journal.lost == 398 - 34
    journal.flush(60_000, UTC)
    assert not journal.trouble
    found = HistoryStore(tmp_path).events(0, 2**60, 100)
    assert [e["scan"] for e in found] == [1, *range(366, 406)]
    assert verify_audit(tmp_path).intact
