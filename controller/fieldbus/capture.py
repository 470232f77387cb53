"""Raw frames to a file, for when nobody believes the counters: JSON lines, bounded, written by a thread of its own.

First line: `{"cellwarden": "capture", "version": 1, "site": ..., "buses": {name: kind}}`. Then one line per piece of
bytes: `{"t": utc seconds, "bus": name, "dir": "tx" | "rx" | "note", "hex": ...}`; a note has `text` instead of `hex`.
What is guaranteed: the I/O loop never waits for the disk; what the disk cannot take is counted and noted; FILE and its
predecessor FILE.1 together never exceed the limit.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any, Final

from controller.fieldbus.link import Feed, Link
from plc_config.plan import PollingPlan

VERSION: Final = 1
LIMIT_BYTES: Final = 100_000_000
"""FILE and FILE.1 together; about 20 minutes of a container at a cycle of 100 ms."""

QUEUE_MOST: Final = 20_000
"""Frames that wait for the disk."""

JOIN_S: Final = 2.0
Record = tuple[float, str, str, bytes | str]


class Capture:
    """A capture file. `close` writes what still waits."""

    def __init__(self, path: Path, site: str, plan: PollingPlan, limit_bytes: int = LIMIT_BYTES) -> None:
        self.path, self.limit_bytes = path, limit_bytes
        self.lost = 0
        header = {"cellwarden": "capture", "version": VERSION, "site": site}
        self._header = json.dumps({**header, "buses": {b.name: b.kind for b in plan.buses}}).encode() + b"\n"
        self._queue: queue.Queue[Record | None] = queue.Queue(QUEUE_MOST)
        self._file = self._open("ab")
        self._thread = threading.Thread(target=self._write_all, name="capture", daemon=True)
        self._thread.start()

    def _open(self, mode: str) -> Any:
        file = open(self.path, mode)  # noqa: SIM115  # kept open, closed by the thread
        file.write(self._header)
        return file

    def put(self, bus: str, direction: str, data: bytes | str) -> None:
        """Keep some bytes; never waits."""
        try:
            self._queue.put_nowait((time(), bus, direction, data))
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """Write what waits, bounded in time."""
        try:
            self._queue.put(None, timeout=JOIN_S)
        except queue.Full:
            return
        self._thread.join(JOIN_S)

    # -- the thread ------------------------------------------------------------------------------------------

    def _write_all(self) -> None:
        told = 0
        while (record := self._queue.get()) is not None:
            try:
                if self.lost != told:
                    told = self.lost
                    self._file.write(line_of((record[0], "", "note", f"{told} pieces lost so far: the disk is slow")))
                if self._file.tell() >= self.limit_bytes // 2:
                    self._rotate()
                self._file.write(line_of(record))
                if self._queue.empty():
                    self._file.flush()
            except OSError:
                # A full disk must not stop the field: count, and try again with the next piece.
                self.lost += 1
        try:
            self._file.close()
        except OSError:
            self.lost += 1

    def _rotate(self) -> None:
        os.replace(self.path, f"{self.path}.1")
        full, self._file = self._file, self._open("wb")
        full.close()

    # -- where bytes pass ------------------------------------------------------------------------------------

    def feed(self, bus: str, feed: Feed) -> Feed:
        """The same receiver, overheard."""

        def overheard(data: bytes) -> None:
            self.put(bus, "rx", bytes(data))
            feed(data)

        return overheard

    def link(self, bus: str, link: Link) -> Link:
        """The same link, overheard."""
        self.put(bus, "note", "link open")
        return _Overheard(link, lambda data: self.put(bus, "tx", data))


class _Overheard:
    """A link whose writes are kept."""

    def __init__(self, link: Link, keep: Callable[[bytes], None]) -> None:
        self._link, self._keep = link, keep
        self.lost = link.lost

    def write(self, data: bytes) -> None:
        self._keep(bytes(data))
        self._link.write(data)

    def close(self, reason: str) -> None:
        self._link.close(reason)


def line_of(record: Record) -> bytes:
    """One line of the file."""
    t, bus, direction, data = record
    what = {"text": data} if isinstance(data, str) else {"hex": data.hex()}
    return json.dumps({"t": round(t, 6), "bus": bus, "dir": direction, **what}).encode() + b"\n"
