"""The journal's lines: one JSON object per event, nothing for heartbeats, losses told."""

from __future__ import annotations

import json
from pathlib import Path

from controller.app.journal import Journal
from controller.core.command import Kind
from controller.core.event import Event, What
from controller.image.files import SiteFiles
from tests.story import Story


def test_events_become_lines_and_heartbeats_do_not(tmp_path: Path) -> None:
    files = SiteFiles(tmp_path, Story("bench").site.dims)
    files.create()
    lines: list[str] = []
    journal = Journal(files, lines.append)
    ring = files.event_writer("scan")
    ring.put(Event(What.SITE_MODE, place="site", text="STARTING -> STANDBY: inputs judged").record(7, 1, 0))
    ring.put(Event(What.ANSWER, kind=int(Kind.HEARTBEAT), accepted=True).record(8, 2, 0))
    ring.put(Event(What.ANSWER, kind=int(Kind.CONNECT), user="käthe", place="connect", text="no").record(9, 3, 1500))
    journal.follow()
    journal.follow()
    first, second = map(json.loads, lines)
    assert (first["scan"], first["what"], first["process"]) == (7, "site_mode", "scan")
    assert first["time"] == "1970-01-01T00:00:00.000+00:00"
    assert second == {**second, "user": "käthe", "accepted": False, "place": "connect", "text": "no"}


def test_what_was_lost_is_told_once(tmp_path: Path) -> None:
    files = SiteFiles(tmp_path, Story("bench").site.dims)
    files.create()
    lines: list[str] = []
    journal = Journal(files, lines.append)
    ring = files.event_writer("io")
    for _ in range(ring.capacity + 10):
        ring.put(Event(What.BUS, place="GW01", text="down").record(0, 0, 0))
    for _ in range(ring.capacity // 100):
        journal.follow()
    assert sum("10 events were lost" in line for line in lines) == 1
