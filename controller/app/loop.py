"""The loop around the scan: read image, scan, write image, then tell. No network library is reachable from here."""

from __future__ import annotations

import dataclasses
import gc
import os
import time
import zlib
from typing import Any, Final

import numpy as np

from controller.app.metronome import Metronome
from controller.app.process import NS_PER_MS, monotonic_ms, utc_ms
from controller.core.command import COMMAND_DTYPE
from controller.core.event import Event, What
from controller.core.field_image import FieldImage, Points
from controller.core.image import InputImage, OutputImage, ProcessImage, SiteMode, System
from controller.core.layout import tags_of
from controller.core.memory import Memory
from controller.core.program import Program
from controller.core.retained import lost, restore, retain
from controller.core.scan import react, reflect
from controller.core.signal import Quality
from controller.core.topology import HISTOGRAM_BUCKETS, MAX_COMMANDS_PER_SCAN
from controller.core.unchanged import Unchanged
from controller.image.files import PRODUCERS, ScanRecord, SiteFiles
from controller.image.histogram import bucket
from controller.image.status import ScanStatus

COLLECT_EVERY_SCANS: Final = 10
AGE_BINS: Final = 4096
"""Ages are counted in whole ms up to this; older ones fall into the last bin."""
FIELD_PATIENCE_MS: Final = 5000
FIELD_FRESH_MS: Final = 1000
FIELD_POLL_S: Final = 0.02
WAKE: Final = (1).to_bytes(8, "little")
FRUGAL: Final = frozenset({"process", "memory", "retained"})
"""Images the scan writes whole: large, many arrays the same as in the scan before, never changed in place."""
POINT_TAGS: Final = tags_of(Points)
AGE_BUCKETS: Final = np.array([bucket(float(age)) for age in range(AGE_BINS)])


class Scanner:
    """Everything one scan touches outside the program: images in, images out."""

    def __init__(self, program: Program, files: SiteFiles, wake_fd: int, simulated: bool) -> None:
        self.program, self.files, self.wake_fd, self.simulated = program, files, wake_fd, simulated
        self.started_ms = monotonic_ms()
        self.field_reader = files.reader("field")
        self.field: FieldImage = files.layouts["field"].blank()
        self.commands = [files.command_reader(p) for p in PRODUCERS]
        self.status_readers = {p: files.reader(f"status.{p}") for p in ("io", "opcua", "store")}
        self.status: dict[str, Any] = {}
        self.io_started_ms = 0
        self.writers = {n: files.writer(n, n in FRUGAL) for n in ("output", "process", "record", "memory", "retained")}
        self.status_writer = files.writer("status.scan")
        self.events = files.event_writer("scan")
        self.memory, self.number = self._first_memory()
        self.last_ms = monotonic_ms() - program.cycle_ms
        self.figures = Figures()
        self.inputs: InputImage | None = None
        self.unchanged = Unchanged(program)

    def _first_memory(self) -> tuple[Memory, int]:
        """Contactors open, latches kept. Scan numbers go on, so that a heartbeat never jumps back."""
        retained = self.files.reader("retained").read()
        blank = self.program.blank_memory()
        if retained is None or retained.program != self.program.matrix.digest:
            # The supervisor writes one before every start, of a new site too: without it nothing is known.
            return lost(blank), 0
        return restore(blank, retained), retained.scan

    def read(self, lateness_ms: float) -> InputImage:
        """The input image of this scan, with the controller's own clocks and the waiting commands."""
        fresh = self.field_reader.read()
        if fresh is not None:
            self.field = fresh
        now = monotonic_ms()
        for name, reader in self.status_readers.items():
            self.status[name] = reader.read() or self.status.get(name)
        self.number += 1
        elapsed, self.last_ms = now - self.last_ms, now
        store = self.status["store"]
        system = System(
            scan=self.number,
            now_ms=now,
            utc_ms=utc_ms(),
            elapsed_ms=elapsed,
            overruns=self.figures.overruns,
            lateness_ms=lateness_ms,
            scan_duration_ms=self.figures.last_duration_ms,
            io_age_ms=self._age("io", now),
            io_restarted=self._another_io(),
            opcua_age_ms=self._age("opcua", now),
            store_age_ms=self._age("store", now),
            store_trouble=int(store.trouble) if store else 0,
            clock_sync=int(store.clock_sync) if store else 0,
            lost_records=sum(r.lost for r in self.commands) + (int(store.lost) if store else 0),
            simulated=int(self.simulated),
        )
        records = np.zeros(MAX_COMMANDS_PER_SCAN, COMMAND_DTYPE)
        taken: list[Any] = []
        for ring in self.commands:
            taken += ring.take(MAX_COMMANDS_PER_SCAN - len(taken))
        for i, record in enumerate(taken):
            records[i] = record
        return InputImage(self.field.points, self.field.links, system, len(taken), records)

    def _another_io(self) -> int:
        """1 once, when the I/O process that speaks is another one than the one that spoke before."""
        status = self.status["io"]
        before, self.io_started_ms = self.io_started_ms, int(status.started_ms) if status else 0
        return int(before not in (0, self.io_started_ms))

    def _age(self, process: str, now_ms: int) -> int:
        status = self.status[process]
        return now_ms - max(int(status.alive_ms) if status else 0, self.started_ms)

    def act(self, outputs: OutputImage) -> None:
        """Publish the outputs and wake the I/O process; this comes before anything is told."""
        self.writers["output"].write(outputs)
        if self.wake_fd >= 0:
            try:
                os.write(self.wake_fd, WAKE)
            except BlockingIOError:
                return

    def tell(self, inputs: InputImage, image: ProcessImage, events: list[Event]) -> None:
        """Everything for others: images, the record of this scan, retained state, events."""
        system = inputs.system
        writer = self.writers["process"]
        digest = zlib.crc32(writer.slot_data(writer.write(image)).data)
        self.writers["record"].write(ScanRecord(inputs, digest))
        self.writers["memory"].write(self.memory)
        kept = retain(self.memory, system.scan, system.utc_ms, self.program.matrix.digest)
        self.writers["retained"].write(kept)
        for event in events:
            self.events.put(event.record(system.scan, system.now_ms, system.utc_ms))

    def safe(self) -> None:
        """Everything open and zero, as the last word of this process."""
        outputs = dataclasses.replace(self.program.safe_outputs(), heartbeat=self.number + 1)
        self.act(outputs)

    def note(self, what: str) -> None:
        """A SYSTEM event of this process."""
        self.events.put(Event(What.SYSTEM, place="scan", text=what).record(self.number, monotonic_ms(), utc_ms()))

    def publish_status(self, realtime: bool) -> None:
        """The sign of life, and the figures so far."""
        self.status_writer.write(self.figures.status(monotonic_ms(), realtime))


@dataclasses.dataclass
class Figures:
    """Lateness, duration and ages, as counts."""

    scans: int = 0
    overruns: int = 0
    last_duration_ms: float = 0.0
    lateness_max_ms: float = 0.0
    duration_max_ms: float = 0.0
    busy_max_ms: float = 0.0
    age_max_ms: float = 0.0

    def __post_init__(self) -> None:
        self.lateness = np.zeros(HISTOGRAM_BUCKETS, np.int64)
        self.duration = np.zeros(HISTOGRAM_BUCKETS, np.int64)
        self.busy = np.zeros(HISTOGRAM_BUCKETS, np.int64)
        self.ages = np.zeros(AGE_BINS, np.int64)

    def scanned(self, lateness_ms: float, duration_ms: float, busy_ms: float, overrun: bool) -> None:
        """Count one scan: from its start to its outputs, and to the end of all its work."""
        self.scans += 1
        self.overruns += overrun
        self.last_duration_ms = duration_ms
        self.lateness_max_ms = max(self.lateness_max_ms, lateness_ms)
        self.duration_max_ms = max(self.duration_max_ms, duration_ms)
        self.busy_max_ms = max(self.busy_max_ms, busy_ms)
        self.lateness[bucket(lateness_ms)] += 1
        self.duration[bucket(duration_ms)] += 1
        self.busy[bucket(busy_ms)] += 1

    def aged(self, image: ProcessImage) -> None:
        """Count the age of every fitted value; not while the site is STARTING, when nothing was read yet."""
        if image.modes.site_mode == SiteMode.STARTING:
            return
        for t in POINT_TAGS:
            samples = getattr(image.measured.points, t.name)
            fitted = samples.quality != Quality.NOT_FITTED
            age = np.clip(image.system.now_ms - samples.time_ms[fitted], 0, AGE_BINS - 1)
            if age.size:
                self.ages += np.bincount(age, minlength=AGE_BINS)
                self.age_max_ms = max(self.age_max_ms, float(age.max()))

    def status(self, now_ms: int, realtime: bool) -> ScanStatus:
        """As an image."""
        ages = np.bincount(AGE_BUCKETS, self.ages, HISTOGRAM_BUCKETS).astype(np.int64)
        return ScanStatus(
            now_ms,
            self.scans,
            self.overruns,
            int(realtime),
            self.lateness_max_ms,
            self.duration_max_ms,
            self.busy_max_ms,
            self.age_max_ms,
            self.lateness.copy(),
            self.duration.copy(),
            self.busy.copy(),
            ages,
        )


def await_field(scanner: Scanner, realtime: bool, stopping: list[int]) -> None:
    """Returns when every bus has answered once, or when patience ends: then what is missing is lost, and says so.

    Without this every start would raise the alarms of a plant that has not been looked at yet.
    """
    end = monotonic_ms() + FIELD_PATIENCE_MS
    while not stopping and monotonic_ms() < end:
        field = scanner.field_reader.read()
        links = field.links if field is not None else None
        if links is not None and links.bus_up.all() and monotonic_ms() - links.published_ms < FIELD_FRESH_MS:
            return
        scanner.publish_status(realtime)
        time.sleep(FIELD_POLL_S)


def _since_ms(begin_ns: int) -> float:
    return (time.monotonic_ns() - begin_ns) / NS_PER_MS


def run(scanner: Scanner, metronome: Metronome, realtime: bool, stopping: list[int]) -> None:
    """Scan on the grid until `stopping` is filled by a signal handler."""
    gc.collect()
    gc.freeze()
    gc.disable()
    scanner.last_ms = monotonic_ms() - scanner.program.cycle_ms
    while not stopping:
        lateness = metronome.wait()
        begin = time.monotonic_ns()
        inputs = scanner.read(lateness)
        scanner.inputs = inputs
        scanner.memory, image, events = react(scanner.program, scanner.memory, inputs)
        scanner.act(image.outputs)
        duration = _since_ms(begin)
        scanner.memory = reflect(scanner.program, scanner.memory, image)
        scanner.tell(inputs, image, events)
        scanner.figures.aged(image)
        scanner.unchanged.look()
        overrun = metronome.advance()
        scanner.figures.scanned(lateness, duration, _since_ms(begin), overrun)
        scanner.publish_status(realtime)
        if scanner.number % COLLECT_EVERY_SCANS == 0:
            gc.collect(0)
