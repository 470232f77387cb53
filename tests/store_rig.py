"""A scan process without a process: every scan of a story is published as the real loop does, beside a real store."""

from __future__ import annotations

import zlib
from pathlib import Path

from controller.core.image import ProcessImage
from controller.core.retained import retain
from controller.historian.store import Store
from controller.image.files import ScanRecord, SiteFiles
from plc_config.compile import Compiled
from tests.story import Story

PASS_MS = 20


class Rig(Story):
    """`scans` also publishes record, memory, process and retained images, and lets the store make its passes."""

    def __init__(self, folder: Path, site: str | Compiled = "bench", with_store: bool = True) -> None:
        super().__init__(site)
        self.state = folder / "state"
        self.state.mkdir(exist_ok=True)
        run = folder / "run"
        run.mkdir(exist_ok=True)
        self.files = SiteFiles(run, {**self.program.dims, "unit": 1})
        self.files.create()
        names = ("process", "record", "memory", "retained")
        self.writers = {n: self.files.writer(n) for n in names}
        self.ring = self.files.event_writer("scan")
        self.store = Store(self.site, self.files, self.state) if with_store else None
        self.flip_digest_of: int | None = None

    @property
    def utc_ms(self) -> int:
        return self.now_ms + self.utc_offset_ms

    def restart_store(self, orderly: bool = False) -> Store:
        """Another store process; the one before ended, or was killed."""
        if self.store is not None and orderly:
            self.store.finish(self.now_ms, self.utc_ms)
        elif self.store is not None:
            kill(self.store)
        self.store = Store(self.site, self.files, self.state)
        return self.store

    def finish(self) -> None:
        """The store's orderly end."""
        if self.store is not None:
            self.store.finish(self.now_ms, self.utc_ms)
        self.store = None

    def _one(self) -> None:
        told = len(self.events)
        super()._one()
        assert self.image is not None
        self.publish(self.image)
        for event in self.events[told:]:
            self.ring.put(event.record(self.number, self.now_ms, self.utc_ms))
        if self.store is not None:
            for step in range(0, self.cycle_ms, PASS_MS):
                self.store.step(self.now_ms + step, self.utc_ms + step)

    def publish(self, image: ProcessImage) -> None:
        """As `controller.app.loop` does it."""
        digest = zlib.crc32(self.files.layouts["process"].to_bytes(image))
        if self.flip_digest_of == self.number:
            digest ^= 1
        self.writers["process"].write(image)
        self.writers["record"].write(ScanRecord(self.inputs, digest))
        self.writers["memory"].write(self.memory)
        s = self.inputs.system
        self.writers["retained"].write(retain(self.memory, s.scan, s.utc_ms, self.program.matrix.digest))


def kill(store: Store) -> None:
    """What a SIGKILL leaves: files as they are, nothing flushed but what SQLite and the kernel already have."""
    store.history.close()
    store.journal.close()
    store.retained.close()
    store.retained.slots.close()
    writer = store.recorder._writer
    if writer is not None:
        raw = writer._file.raw  # type: ignore[attr-defined]
        writer._file.detach()  # type: ignore[attr-defined]
        raw.close()
