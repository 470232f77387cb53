"""The folder of recordings: which segments there are, which of them hold a trip, and which have to go."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any, Final

from controller.historian.segment import FRAME, MARK, BadRecording, Segment, in_order, note_of

INDEX: Final = "index.json"


@dataclasses.dataclass(slots=True)
class Entry:
    """One segment: what lies in it. kept: it holds a trip or stands next to one, and goes last.

    Wall times are for people: a clock that is set makes them run backwards.
    """

    file: str
    first_scan: int
    last_scan: int
    first_utc_ms: int
    last_utc_ms: int
    frames: int = 0
    bytes: int = 0
    trips: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    kept: bool = False


class Shelf:
    """The segments of a folder, oldest first, with an index file that people and tools can read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.entries = self._load()

    def _load(self) -> list[Entry]:
        known: dict[str, Entry] = {}
        with contextlib.suppress(OSError, ValueError, TypeError):
            for plain in json.loads((self.folder / INDEX).read_text("utf-8")):
                entry = Entry(**plain)
                known[entry.file] = entry
        entries: list[Entry] = []
        for path in in_order(self.folder):
            found = known.get(path.name)
            entries.append(found if found and found.bytes == path.stat().st_size else survey(path))
        for before, here in itertools.pairwise(entries):
            before.kept, here.kept = before.kept or bool(here.trips), here.kept or bool(before.trips)
        return entries

    def total_bytes(self) -> int:
        """Bytes of all segments."""
        return sum(e.bytes for e in self.entries)

    def add(self, entry: Entry) -> None:
        """A new segment is begun; it is kept when the one before it holds a trip."""
        entry.kept = bool(self.entries and self.entries[-1].trips)
        self.entries.append(entry)

    def trip(self, note: dict[str, Any]) -> None:
        """A trip in the newest segment: it and the one before it are kept."""
        self.entries[-1].trips.append(note)
        for entry in self.entries[-2:]:
            entry.kept = True

    def prune(self, most_scans: int, most_bytes: int) -> None:
        """Delete what `most_scans` newer scans follow, and while the folder is too large the oldest; segments with
        trips go last. Age is counted in scans: a clock that is set right by a year must not cost the last minutes.

        The newest segment is being written and stays.
        """
        finished = self.entries[:-1]
        gone: list[Entry] = []
        newer = sum(e.frames for e in self.entries[-1:])
        for entry in reversed(finished):
            if newer >= most_scans and not entry.kept:
                gone.append(entry)
            newer += entry.frames
        excess = self.total_bytes() - sum(e.bytes for e in gone) - most_bytes
        for entry in sorted((e for e in finished if e not in gone), key=lambda e: e.kept):
            if excess <= 0:
                break
            gone.append(entry)
            excess -= entry.bytes
        for entry in gone:
            (self.folder / entry.file).unlink(missing_ok=True)
            self.entries.remove(entry)

    def save(self) -> None:
        """Write the index."""
        temporary = self.folder / f"{INDEX}.new"
        temporary.write_text(json.dumps([dataclasses.asdict(e) for e in self.entries], indent=1), "utf-8")
        temporary.replace(self.folder / INDEX)


def survey(path: Path) -> Entry:
    """The entry of a segment that the index does not know: it was being written when its writer was killed."""
    utc_ms = int(path.stat().st_mtime * 1000)
    entry = Entry(path.name, -1, -1, utc_ms, utc_ms, bytes=path.stat().st_size)
    with contextlib.suppress(BadRecording):
        segment = Segment(path)
        entry.first_utc_ms = int(segment.header.get("utc_ms", utc_ms))
        for kind, scan, packed in segment.heads():
            if kind == FRAME:
                entry.first_scan = scan if entry.first_scan < 0 else entry.first_scan
                entry.last_scan = scan
                entry.frames += 1
            elif kind == MARK:
                entry.trips.append({"scan": scan, **note_of(packed)})
                entry.kept = True
    return entry
