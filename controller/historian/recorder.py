"""The recorder: every scan's inputs and the digest of its result, on disk, ready to be replayed bit for bit."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any, Final

from controller.historian.database import Backoff
from controller.historian.raw import Bytes, number, raw_reader
from controller.historian.segment import SegmentWriter, next_path
from controller.historian.shelf import Entry, Shelf
from controller.image.files import RECORD_SLOTS, SiteFiles

SEGMENT_MS: Final = 60_000
FLUSH_EVERY_MS: Final = 1_000
OLDEST_MS: Final = 15_000
"""A record that lay in the ring longer than the ring can last is left over from an earlier run."""
WAITING_MAX: Final = 2 * RECORD_SLOTS
"""Scans held in memory until the first keyframe comes; it follows within a scan or two."""
NOTES_MAX: Final = 64
SEGMENT_FRACTION: Final = 8
"""A segment ends early when it fills this part of the space; as much is left free when one is begun."""


class Recorder:
    """Drains the ring of scan records into segment files of a minute, each with a keyframe of the memory.

    A segment begins with the memory after scan N and is replayed from scan N + 1 on. Scan numbers that do not
    follow each other, or a clock step that the scan does not account for, are a restart and begin a new segment.
    """

    def __init__(
        self, files: SiteFiles, folder: Path, header: dict[str, Any], cycle_ms: int, keep_ms: int, keep_bytes: int
    ) -> None:
        self.shelf = Shelf(folder)
        self.cycle_ms, self.keep_ms, self.keep_bytes = cycle_ms, keep_ms, keep_bytes
        self.header = header
        self.news: list[str] = []
        self.tripped: deque[dict[str, Any]] = deque(maxlen=NOTES_MAX)
        """Trips that are in the recording and that nobody has taken from here."""
        self.trouble = False
        self.lost = 0
        self._records, self._memory = raw_reader(files, "record"), raw_reader(files, "memory")
        record, memory = files.layouts["record"], files.layouts["memory"]
        self._frame_bytes = record.size
        self._scan, self._now_ms = number(record, "inputs.system.scan"), number(record, "inputs.system.now_ms")
        self._utc_ms, self._elapsed_ms = (
            number(record, "inputs.system.utc_ms"),
            number(record, "inputs.system.elapsed_ms"),
        )
        self._memory_scan = number(memory, "outputs.heartbeat")
        self._backoff = Backoff()
        self._writer: SegmentWriter | None = None
        self._entry: Entry | None = None
        self._waiting: deque[Bytes] = deque()
        self._key: tuple[int, Bytes] | None = None
        self._key_after = self._memory.latest
        self._last_scan = self._last_now_ms = -1
        self.trips_before = -1
        """Trips before the first that is heard of here: of the store that was killed, so that none falls between."""
        self._notes: deque[dict[str, Any]] = deque(maxlen=NOTES_MAX)
        self._rotate_ms = self._flush_ms = 0

    @property
    def recorded(self) -> int:
        """Scans in the recording."""
        return sum(e.frames for e in self.shelf.entries)

    # -- every pass --------------------------------------------------------------------------------------------

    def step(self, now_ms: int) -> None:
        """Take what is new in the ring."""
        while (taken := self._records.read_next()) is not None:
            record, missed = taken
            self.lost += missed
            if now_ms - self._now_ms(record) > OLDEST_MS:
                continue
            try:
                self._take(record, now_ms)
            except OSError as error:
                self._failed(error, now_ms)
        if self._writer is not None and now_ms >= self._flush_ms:
            self._flush_ms = now_ms + FLUSH_EVERY_MS
            try:
                self._writer.flush()
            except OSError as error:
                self._failed(error, now_ms)

    def trips(self, count: int, scan: int, utc_ms: int, first_out: str = "") -> None:
        """The trip counter after `scan`: when it rises, this segment and its neighbours are kept."""
        if 0 <= self.trips_before < count:
            self._notes.append({"scan": scan, "utc_ms": utc_ms, "count": count, "first_out": first_out})
        self.trips_before = count

    # -- records -----------------------------------------------------------------------------------------------

    def _take(self, record: Bytes, now_ms: int) -> None:
        scan, at_ms = self._scan(record), self._now_ms(record)
        follows = scan == self._last_scan + 1 and at_ms - self._last_now_ms == self._elapsed_ms(record)
        if not follows:
            self._finish(now_ms)
            # Only a memory published from now on is sure to be of this run.
            self._key, self._key_after = None, self._memory.latest
        self._last_scan, self._last_now_ms = scan, at_ms
        if not self._backoff.due(now_ms):
            self.lost += 1
            return
        if self._writer is None:
            self._wait(record, now_ms)
            return
        full = self._writer.bytes * SEGMENT_FRACTION > self.keep_bytes
        if (full or now_ms >= self._rotate_ms) and self._key is None:
            self._key = self._keyframe(self._entry.last_scan if self._entry else -1)
        if self._key is not None and scan > self._key[0]:
            self._finish(now_ms)
            self._begin(record, now_ms)
        self._write(record)

    def _wait(self, record: Bytes, now_ms: int) -> None:
        self._waiting.append(record)
        self._key = self._key or self._keyframe(-1)
        if self._key is None and len(self._waiting) < WAITING_MAX:
            return
        waiting = list(self._waiting)
        self._waiting.clear()
        self._begin(waiting[0], now_ms)
        for each in waiting:
            self._write(each)

    def _keyframe(self, least_scan: int) -> tuple[int, Bytes] | None:
        if self._memory.latest <= self._key_after:
            return None
        memory = self._memory.read_again()
        if memory is None:
            return None
        scan = self._memory_scan(memory)
        return (scan, memory) if scan >= least_scan else None

    def _begin(self, record: Bytes, now_ms: int) -> None:
        utc_ms, scan = self._utc_ms(record), self._scan(record)
        path = next_path(self.shelf.folder, utc_ms, scan)
        self._writer = SegmentWriter(path, {**self.header, "scan": scan, "utc_ms": utc_ms}, self._frame_bytes)
        self._entry = Entry(path.name, scan, scan, utc_ms, utc_ms)
        self.shelf.add(self._entry)
        self._prune()
        self.shelf.save()
        self._rotate_ms = now_ms + SEGMENT_MS
        if self._key is not None:
            self._writer.keyframe(*self._key)
            # Header and keyframe may alone be more than the room left for them.
            self._entry.bytes = self._writer.bytes
            self._prune()
        else:
            self._rotate_ms = now_ms
        self._key = None

    def _prune(self) -> None:
        self.shelf.prune(self.keep_ms // self.cycle_ms, self.keep_bytes - self.keep_bytes // SEGMENT_FRACTION)

    def _write(self, record: Bytes) -> None:
        if self._writer is None or self._entry is None:
            return
        scan = self._scan(record)
        self._writer.frame(scan, record)
        while self._notes and self._notes[0]["scan"] <= scan:
            self._writer.mark(scan, self._notes[0])
            self._writer.flush()
            self.tripped.append(self._notes[0])
            self.shelf.trip(self._notes.popleft())
            self.shelf.save()
        e = self._entry
        e.last_scan, e.last_utc_ms, e.frames, e.bytes = scan, self._utc_ms(record), e.frames + 1, self._writer.bytes
        self._backoff.worked()
        if self.trouble:
            self.news.append("recording goes on")
        self.trouble = False

    # -- ends --------------------------------------------------------------------------------------------------

    def _finish(self, now_ms: int) -> None:
        waiting, self._waiting = self._waiting, deque()
        if waiting and self._writer is None:
            self._begin(waiting[0], now_ms)
            for each in waiting:
                self._write(each)
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            if self._entry is not None:
                self._entry.bytes = writer.bytes
            self.shelf.save()

    def _failed(self, error: OSError, now_ms: int) -> None:
        self.lost += len(self._waiting) + 1
        self._waiting.clear()
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except OSError:
                self.lost += 1
        self._key, self._key_after = None, self._memory.latest
        self._backoff.failed(now_ms)
        if not self.trouble:
            self.news.append(f"recording stopped: {error.strerror}")
        self.trouble = True

    def finish(self, now_ms: int) -> None:
        """Take the rest of the ring and close the segment."""
        self.step(now_ms)
        try:
            self._finish(now_ms)
        except OSError as error:
            self._failed(error, now_ms)
