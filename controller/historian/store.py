"""All of the store in one object, stepped from outside: it has no clock and no loop of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from controller.core.event import Event, What
from controller.core.image import DISK_FULL, STORE_FAULT, ClockSync
from controller.historian import kernel_clock
from controller.historian.database import Durable
from controller.historian.journal import Journal, row_of
from controller.historian.raw import number, raw_reader
from controller.historian.recorder import Recorder
from controller.historian.replay import header_of
from controller.historian.retained import Catalog, RetainedStore
from controller.historian.samples import History
from controller.historian.trips import FOLDER, TripFiles
from controller.historian.variables import Sampler
from controller.image.files import PROCESSES, SiteFiles
from controller.image.status import StoreStatus
from plc_config.compile import Compiled

JOURNAL_EVERY_MS: Final = 200
STATUS_EVERY_MS: Final = 200
SIZE_EVERY_MS: Final = 10_000
CLOCK_EVERY_MS: Final = 10_000
EVENTS_PER_PASS: Final = 1_000
"""Events taken from one ring in one pass, so that a storm in one process does not starve the recorder."""
LOST_EVERY_MS: Final = 10_000
"""Losses are told at once, and then together for this time: a full disk must not fill the journal with itself."""
LEAST_FREE_BYTES: Final = 64_000_000
"""Below it the disk counts as full: latches still find room, history soon does not."""
RECORDINGS: Final = "recordings"


class Store:
    """Drains images and rings of one site into its state folder. `step` is one pass, `finish` the orderly end.

    It also asks whether the clock that stamps all this is synchronised (`ask_clock`), where the site requires it.
    """

    def __init__(
        self, site: Compiled, files: SiteFiles, folder: Path, ask_clock: Callable[[], ClockSync] = kernel_clock.ask
    ) -> None:
        h, program = site.config.historian, site.program
        self.files, self.folder = files, folder
        self.every_ms = h.every
        self.history = History(folder / "history.db", Sampler(program.dims), h.deadband, int(h.size))
        self.journal = Journal(folder / "journal.db")
        self.retained = RetainedStore(folder, files.layouts["retained"], Catalog.of(program))
        self.recorder = Recorder(
            files, folder / RECORDINGS, header_of(site), program.cycle_ms, h.recording, int(h.recording_size)
        )
        self.recorder.trips_before = self.retained.trips_before
        self.trips = TripFiles(
            folder / FOLDER, self.recorder.shelf, program.cycle_ms, h.trip_files, int(h.recording_size)
        )
        self._names = [f"{s.row.id} {s.place}" for s in program.matrix.slots]
        self._process = files.reader("process")
        self._retained = raw_reader(files, "retained")
        self._status = files.writer("status.store")
        self._own_events = files.event_writer("store")
        self._events = {p: files.event_reader(p, from_start=True) for p in PROCESSES}
        for ring in self._events.values():
            # What was overwritten before this process began was the business of the one before it, not a loss.
            ring.cursor = max(ring.written - ring.capacity, 0)
        layout = files.layouts["retained"]
        self._scan, self._utc = number(layout, "scan"), number(layout, "utc_ms")
        self._trip_count, self._first_out = number(layout, "trip_count"), number(layout, "first_out")
        self._lost_told = 0
        self._bytes = 0
        self._ask_clock = ask_clock if site.config.time.synchronised == "required" else None
        self._clock = ClockSync.NOT_ASKED
        self._next = dict.fromkeys(("history", "journal", "status", "size", "lost", "clock"), 0)

    # -- the pass ----------------------------------------------------------------------------------------------

    def step(self, now_ms: int, utc_ms: int) -> None:
        """One pass; cheap when nothing is new."""
        self._latches(now_ms, utc_ms)
        self.recorder.step(now_ms)
        self._trip_files(now_ms)
        self._drain()
        if self._due("journal", JOURNAL_EVERY_MS, now_ms):
            self._tell(now_ms, utc_ms)
            self.journal.flush(now_ms, utc_ms)
            self.journal.caught_up()
            self.journal.trim(now_ms)
        if self._due("history", self.every_ms, now_ms):
            self._sample()
            self.history.flush(now_ms, utc_ms)
        self.history.trim(now_ms)
        if self._due("size", SIZE_EVERY_MS, now_ms):
            self._bytes = self._bytes_used()
        if self._ask_clock is not None and self._due("clock", CLOCK_EVERY_MS, now_ms):
            self._clock_is(self._ask_clock(), now_ms, utc_ms)
        if self._due("status", STATUS_EVERY_MS, now_ms):
            self._status.write(self.status(now_ms))

    def finish(self, now_ms: int, utc_ms: int) -> None:
        """Take and write all that is still there, and close every file."""
        self._latches(now_ms, utc_ms)
        self.recorder.finish(now_ms)
        self._trip_files(now_ms)
        self.trips.finish(now_ms)
        while self._drain():
            self.journal.flush(now_ms, utc_ms)
        self._sample()
        self.history.flush(now_ms, utc_ms)
        self.retained.finish(now_ms, utc_ms)
        self._tell(now_ms, utc_ms)
        self._drain()
        self.journal.flush(now_ms, utc_ms)
        self._status.write(self.status(now_ms))
        self.history.close()
        self.journal.close()

    def _due(self, what: str, every_ms: int, now_ms: int) -> bool:
        if now_ms < self._next[what]:
            return False
        # Kept on the grid, but after a stall the missed turns are not made up for.
        self._next[what] = max(self._next[what] + every_ms, now_ms + 1)
        return True

    def _latches(self, now_ms: int, utc_ms: int) -> None:
        image = self._retained.read()
        if image is None:
            self.retained.commit(now_ms, utc_ms)
            return
        self.retained.offer(image, now_ms, utc_ms)
        slot = self._first_out(image)
        name = self._names[slot] if 0 <= slot < len(self._names) else ""
        self.recorder.trips(self._trip_count(image), self._scan(image), self._utc(image), name)

    def _trip_files(self, now_ms: int) -> None:
        while self.recorder.tripped:
            self.trips.tripped(self.recorder.tripped.popleft())
        self.trips.step(now_ms)

    def _sample(self) -> None:
        image = self._process.read()
        if image is not None:
            self.history.sample(image)

    def _clock_is(self, now: ClockSync, now_ms: int, utc_ms: int) -> None:
        if now is not self._clock:
            text = f"clock of this machine: {now.name}, before {self._clock.name}"
            self._put(Event(What.SYSTEM, place="store", text=text), now_ms, utc_ms)
        self._clock = now

    # -- events ------------------------------------------------------------------------------------------------

    def _drain(self) -> int:
        taken = 0
        for process, ring in self._events.items():
            for _ in range(EVENTS_PER_PASS):
                if ring.cursor >= ring.written:
                    break
                taken += 1
                # One at a time, because only then the cursor is the record's own number.
                for record in ring.take(1):
                    row = row_of(record, process, ring.cursor)
                    if row is not None:
                        self.journal.add(row)
        return taken

    def _tell(self, now_ms: int, utc_ms: int) -> None:
        """What the parts of the store have to say, and what was lost, as events of the store."""
        parts: tuple[Durable | Recorder | TripFiles, ...] = (
            self.history, self.journal, self.retained, self.recorder, self.trips,
        )  # fmt: skip
        for part in parts:
            for text in part.news:
                self._put(Event(What.SYSTEM, place="store", text=text), now_ms, utc_ms)
            part.news.clear()
        lost = self.lost
        if lost > self._lost_told and self._due("lost", LOST_EVERY_MS, now_ms):
            text = f"{lost - self._lost_told} records lost before they were written, {lost} since start"
            self._put(Event(What.LOST, self._lost_told, lost, place="store", text=text), now_ms, utc_ms)
            self._lost_told = lost

    def _put(self, event: Event, now_ms: int, utc_ms: int) -> None:
        self._own_events.put(event.record(self.retained.saved_scan, now_ms, utc_ms))

    @property
    def lost(self) -> int:
        """Records that were overwritten or dropped before they were written, since start."""
        rings = sum(r.lost for r in self._events.values())
        return rings + self.journal.lost + self.history.lost + self.recorder.lost

    # -- status ------------------------------------------------------------------------------------------------

    @property
    def trouble(self) -> bool:
        """Something cannot be written durably."""
        parts = (self.history, self.journal, self.retained, self.recorder, self.trips)
        return any(p.trouble for p in parts) or self.retained.slot_trouble

    @property
    def disk_full(self) -> bool:
        """The disk of the state folder has hardly any room left."""
        try:
            return shutil.disk_usage(self.folder).free < LEAST_FREE_BYTES
        except OSError:
            return False

    def status(self, now_ms: int) -> StoreStatus:
        """What the store says of itself."""
        return StoreStatus(
            alive_ms=now_ms,
            trouble=STORE_FAULT * self.trouble | DISK_FULL * self.disk_full,
            clock_sync=int(self._clock),
            samples=self.history.written,
            events=self.journal.written,
            lost=self.lost,
            recorded_scans=self.recorder.recorded,
            latch_sequence=self.retained.saved_scan,
            bytes_used=self._bytes,
        )

    def _bytes_used(self) -> int:
        databases = sum(d.bytes_used() for d in (self.history, self.journal, self.retained))
        return databases + self.recorder.shelf.total_bytes() + self.trips.total_bytes()
