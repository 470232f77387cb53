"""Trip files: every trip with its minute before and its two minutes after, as one file that replays by itself.

A file is a copy of the recorded segments around the trip, from the last keyframe at least 60 s before it. It lies
beside the recordings, so it stays when they rotate. Nothing is unpacked: what was recorded is what is kept.
Minutes are counted in scans and files in the order of writing: wall time names them, and may be set at any moment.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from controller.historian.database import Backoff
from controller.historian.segment import SUFFIX, BadRecording, Segment, SegmentWriter, in_order, label, next_path
from controller.historian.shelf import Entry, Shelf

FOLDER: Final = "trips"
FILED: Final = "filed"
"""In the shelf's note of a trip: a trip file holds it, as its own or within another's two minutes."""
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
        folder.mkdir(parents=True, exist_ok=True)
        for torn in folder.glob("*.new"):
            torn.unlink()
        self._resume()

    def files(self) -> list[Path]:
        """The trip files, oldest first."""
        return in_order(self.folder)

    def total_bytes(self) -> int:
        """Bytes of all trip files."""
        return sum(p.stat().st_size for p in self.files())

    def tripped(self, note: dict[str, Any]) -> None:
        """A trip was recorded; its file follows when its two minutes are over. note: the one in the shelf."""
        if not (self._waiting and self._within(self._waiting[-1], note)):
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
        notes = []
        for entry in self.shelf.entries:
            for note in entry.trips:
                note.setdefault("utc_ms", entry.first_utc_ms)
                notes.append(note)
        # They are written in turn: what lies before one that has its file has had its turn.
        done = [i for i, note in enumerate(notes) if filed(note, self.folder)]
        for note in notes[done[-1] + 1 if done else 0 :]:
            self.tripped(note)

    def _scans(self, ms: int) -> int:
        return ms // self.cycle_ms

    def _within(self, first: dict[str, Any], note: dict[str, Any]) -> bool:
        return 0 <= int(note["scan"]) - int(first["scan"]) <= self._scans(AFTER_MS)

    def _place(self, note: dict[str, Any]) -> int:
        """Where in the shelf a trip's segment stands; -1 when it is gone."""
        places = (i for i, e in enumerate(self.shelf.entries) if any(t is note for t in e.trips))
        return next(places, -1)

    def _due(self, note: dict[str, Any]) -> bool:
        """Enough is recorded behind it, or its segment is gone and will not come back."""
        entries, at = self.shelf.entries, self._place(note)
        if at < 0:
            return True
        behind = entries[at].last_scan - int(note["scan"]) + sum(e.frames for e in entries[at + 1 :])
        return behind >= self._scans(AFTER_MS + SETTLE_MS)

    def _around(self, note: dict[str, Any]) -> list[Entry]:
        """The segments from the last one that begins a minute before, to the last that begins two minutes after."""
        entries, at, scan = self.shelf.entries, self._place(note), int(note["scan"])
        if at < 0:
            return []
        first, lead = at, scan - entries[at].first_scan
        while first > 0 and lead < self._scans(BEFORE_MS):
            first -= 1
            lead += entries[first].frames
        last, behind = at, entries[at].last_scan - scan
        while last + 1 < len(entries) and behind < self._scans(AFTER_MS):
            last += 1
            behind += entries[last].frames
        return entries[first : last + 1]

    def _write(self, note: dict[str, Any]) -> Iterator[None]:
        """Copies one segment per step; the file appears under its name when it is whole.

        What is damaged of the recording is left out and told; BadRecording when nothing is left.
        """
        last_scan = int(note["scan"]) + self._scans(AFTER_MS)
        around = self._around(note)
        path = next_path(self.folder, int(note["utc_ms"]), int(note["scan"]))
        temporary = path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        writer: SegmentWriter | None = None
        try:
            for entry in around:
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
            self._filed(note, around)
        except BaseException:
            if writer is not None:
                writer.discard()
            raise

    def _filed(self, note: dict[str, Any], around: list[Entry]) -> None:
        for held in (t for e in around for t in e.trips if self._within(note, t)):
            held[FILED] = True
        # The name of the file says it too; without the index only what came within the two minutes gets one more.
        with contextlib.suppress(OSError):
            self.shelf.save()

    def _prune(self) -> None:
        """Within number and size the newest stay; the newest one always."""
        files = self.files()
        sizes = {p: p.stat().st_size for p in files}
        while len(files) > 1 and (len(files) > self.most_files or sum(sizes[p] for p in files) > self.most_bytes):
            files.pop(0).unlink(missing_ok=True)


def filed(note: dict[str, Any], folder: Path) -> bool:
    """A file in the folder of trips holds this trip of the shelf."""
    own = label(int(note.get("utc_ms", 0)), int(note["scan"]))
    return bool(note.get(FILED)) or any(p.stem.endswith(own) for p in folder.glob(f"*{SUFFIX}"))
