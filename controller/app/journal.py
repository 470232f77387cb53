"""The journal: events of all processes as JSON lines, on change only. The recorder is separate and complete."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from controller.core.command import Kind
from controller.core.event import What, text_of
from controller.image.files import PROCESSES, SiteFiles

LINES_AT_A_TIME: Final = 200
"""Most lines of one process in one go; what comes faster waits in its ring, which counts its losses."""


class Journal:
    """Follows the event rings from the start of the run and hands on one line per event."""

    def __init__(self, files: SiteFiles, write: Callable[[str], None]) -> None:
        self.readers = {name: files.event_reader(name, from_start=True) for name in PROCESSES}
        self.lost = dict.fromkeys(PROCESSES, 0)
        self.write = write

    def follow(self) -> None:
        """Write what is new."""
        for process, reader in self.readers.items():
            for record in reader.take(LINES_AT_A_TIME):
                line = line_of(process, record)
                if line:
                    self.write(line)
            if reader.lost > self.lost[process]:
                missing, self.lost[process] = reader.lost - self.lost[process], reader.lost
                self.write(json.dumps({"process": process, "what": "lost", "text": f"{missing} events were lost"}))


def line_of(process: str, record: Any) -> str:
    """One event as a JSON object; empty for an accepted heartbeat, which comes every second and says nothing."""
    what = What(int(record["what"]))
    answer = what is What.ANSWER
    if answer and int(record["kind"]) == Kind.HEARTBEAT and int(record["accepted"]):
        return ""
    time = datetime.fromtimestamp(int(record["utc_ms"]) / 1000, UTC).isoformat(timespec="milliseconds")
    line: dict[str, Any] = {"time": time, "process": process, "scan": int(record["scan"]), "what": what.name.lower()}
    line["place"] = text_of(record, "place")
    line["text"] = text_of(record, "text")
    if answer:
        line |= {"user": text_of(record, "user"), "accepted": bool(record["accepted"])}
    return json.dumps(line, ensure_ascii=False)
