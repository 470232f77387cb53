"""Trip files: every trip with its minute before and its two minutes after, as one file that replays by itself.

A file is a copy of the recorded segments around the trip, from the last keyframe at least 60 s before it. It lies
beside the recordings, so it stays when they rotate. Nothing is unpacked: what was recorded is what is kept.
"""

from __future__ import annotations

import datetime
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from controller.historian.database import Backoff
from controller.historian.segment import SUFFIX, BadRecording, Segment, SegmentWriter
from controller.historian.shelf import Entry, Shelf

FOLDER: Final = "trips"
BEFORE_MS: Final = 60_000
AFTER_MS: Final = 120_000
SETTLE_MS: Final = 3_000
"""The recorder hands its last frames to the disk every second; a copy is not begun before that."""
MOST_WAITING: Final = 16
"""Trips that wait for their two minutes; one within the two minutes of another belongs to that one."""


class TripFiles:
    """Writes the trip files of one site, a segment per step. `written` counts them; `news` is for people."""

    def __init__(self, folder: Path, shelf: Shelf, cycle_ms: int, most_files: int, most_bytes: int) -> None:
        self.folder, self.shelf = folder, shelf
        self.cycle_ms, self.most_files, self.most_bytes = cycle_ms, most_files, most_bytes
        self.news: list[str] = []
        self.trouble = False
        self.written = 0
        self._backoff = Backoff()
        self._copy: Iterator[None] | None = None
        self._waiting: deque[dict[str, Any]] = deque(maxlen=MOST_WAITING)
        self._last_utc_ms = -AFTER_MS
        folder.mkdir(parents=True, exist_ok=True)
        for torn in folder.glob("*.new"):
            torn.unlink()
        self._resume()

    def files(self) -> list[Path]:
        """The trip files, oldest first."""
        return sorted(self.folder.glob(f"*{SUFFIX}"))

    def total_bytes(self) -> int:
        """Bytes of all trip files."""
        return sum(p.stat().st_size for p in self.files())

    def tripped(self, note: dict[str, Any]) -> None:
        """A trip was recorded; its file follows when its two minutes are over."""
        utc_ms = int(note.get("utc_ms", 0))
        if utc_ms - self._last_utc_ms > AFTER_MS:
            self._last_utc_ms = utc_ms
            self._waiting.append(note)

    def step(self, now_ms: int, at_once: bool = False) -> None:
        """At most one segment's work. at_once: do not wait for the two minutes, the recording ends here."""
        if self._copy is None:
            if not self._waiting or not (at_once or self._due(self._waiting[0])) or not self._backoff.due(now_ms):
                return
            self._copy = self._write(self._waiting[0])
        try:
            next(self._copy)
            return
        except StopIteration:
            self.written += 1
            self.trouble = False
            self._backoff.worked()
        except BadRecording as error:
            # Another attempt would find the same, and the trips behind this one must not wait for it.
            self.news.append(f"no trip file of scan {self._waiting[0]['scan']}: {error}")
        except OSError as error:
            self._backoff.failed(now_ms)
            if not self.trouble:
                self.news.append(f"a trip file cannot be written: {error.strerror}")
            self.trouble = True
            self._copy = None
            return
        self._copy = None
        self._waiting.popleft()
        self._prune()

    def finish(self, now_ms: int) -> None:
        """Write what still waits with what there is of it; the first failure ends it."""
        while (self._waiting or self._copy) and not self.trouble:
            self.step(now_ms, at_once=True)

    def _resume(self) -> None:
        """Trips of an earlier run whose file was not written: it was killed within their two minutes."""
        files = self.files()
        self._last_utc_ms = max((_stamp(p) for p in files), default=-AFTER_MS)
        for entry in self.shelf.entries:
            for note in entry.trips:
                self.tripped({"utc_ms": entry.first_utc_ms, **note})

    def _due(self, note: dict[str, Any]) -> bool:
        entries = self.shelf.entries
        return bool(entries) and entries[-1].last_utc_ms >= int(note["utc_ms"]) + AFTER_MS + SETTLE_MS

    def _around(self, utc_ms: int) -> list[Entry]:
        """The segments from the last one that begins a minute before, to the last that begins two minutes after."""
        entries = [e for e in self.shelf.entries if e.first_utc_ms <= utc_ms + AFTER_MS]
        begun = [i for i, e in enumerate(entries) if e.first_utc_ms <= utc_ms - BEFORE_MS]
        return entries[begun[-1] if begun else 0 :]

    def _write(self, note: dict[str, Any]) -> Iterator[None]:
        """Copies one segment per step; the file appears under its name when it is whole.

        What is damaged of the recording is left out and told; BadRecording when nothing is left.
        """
        utc_ms = int(note["utc_ms"])
        last_scan = int(note["scan"]) + AFTER_MS // self.cycle_ms
        path = self.folder / f"{_name(utc_ms)}-{int(note['scan']):010d}{SUFFIX}"
        temporary = path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        writer: SegmentWriter | None = None
        try:
            for entry in self._around(utc_ms):
                try:
                    segment = Segment(self.shelf.folder / entry.file)
                    if writer is None:
                        writer = SegmentWriter(temporary, {**segment.header, "trip": note}, 0)
                    else:
                        writer.reset()
                    for kind, scan, size, packed in segment.raw():
                        if scan <= last_scan:
                            writer.copy(kind, scan, size, packed)
                except BadRecording:
                    self.news.append(f"the trip file of scan {note['scan']} lacks a part: {entry.file} is damaged")
                yield
            if writer is None:
                raise BadRecording("nothing of it is recorded any more")
            writer.close()
            temporary.replace(path)
        except BaseException:
            if writer is not None:
                writer.discard()
            raise

    def _prune(self) -> None:
        """Within number and size the newest stay; the newest one always."""
        files = self.files()
        sizes = {p: p.stat().st_size for p in files}
        while len(files) > 1 and (len(files) > self.most_files or sum(sizes[p] for p in files) > self.most_bytes):
            files.pop(0).unlink(missing_ok=True)


def _name(utc_ms: int) -> str:
    when = datetime.datetime.fromtimestamp(utc_ms / 1000, datetime.UTC)
    return f"{when:%Y%m%dT%H%M%S}{utc_ms % 1000:03d}Z"


def _stamp(path: Path) -> int:
    """The wall time in a trip file's name; 0 where it is not one of ours."""
    try:
        when = datetime.datetime.strptime(path.name[:18] + "000", "%Y%m%dT%H%M%S%f").replace(tzinfo=datetime.UTC)
    except ValueError:
        return 0
    return round(when.timestamp() * 1000)
