"""Rings of fixed records between processes: one writer, any number of readers, gaps counted, never blocking."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAGIC: Final = b"CWRING01"
HEADER: Final = struct.Struct("<8sQQ")
NEXT_AT: Final = HEADER.size
HEADER_BYTES: Final = 64
COMMAND_CAPACITY: Final = 256
EVENT_CAPACITY: Final = 4096


def create_ring(path: Path, dtype: np.dtype[Any], capacity: int) -> None:
    """Make sure the ring exists with this record and capacity; an equal one is kept with its contents."""
    if path.exists():
        with path.open("rb") as file:
            raw = file.read(HEADER.size)
        if len(raw) == HEADER.size and HEADER.unpack(raw) == (MAGIC, dtype.itemsize, capacity):
            return
    temporary = path.with_suffix(path.suffix + ".new")
    with temporary.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, HEADER_BYTES + capacity * (8 + dtype.itemsize))
        file.write(HEADER.pack(MAGIC, dtype.itemsize, capacity))
    temporary.replace(path)


class _Ring:
    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        with path.open("r+b") as file:
            magic, size, capacity = HEADER.unpack(file.read(HEADER.size))
            if magic != MAGIC or size != dtype.itemsize:
                raise ValueError(f"{path}: not a ring of {dtype.itemsize} byte records")
            self._map = mmap.mmap(file.fileno(), 0)
        self.capacity = int(capacity)
        buffer = np.frombuffer(self._map, np.uint8)
        self._next = buffer[NEXT_AT : NEXT_AT + 8].view("<u8")
        self._records = buffer[HEADER_BYTES:].view(np.dtype([("seq", "<u8"), ("record", dtype)]))

    @property
    def written(self) -> int:
        """How many records were ever written."""
        return int(self._next[0])


class RingWriter(_Ring):
    """The one writer of a ring; it never waits, the oldest records are overwritten."""

    def put(self, record: NDArray[Any]) -> int:
        """Append a record; returns its sequence number, counted from 1."""
        number = self.written + 1
        place = self._records[(number - 1) % self.capacity : (number - 1) % self.capacity + 1]
        place["seq"] = 0
        place["record"] = record
        place["seq"] = number
        self._next[0] = number
        return number


class RingReader(_Ring):
    """One reader with its own cursor. `lost` counts records that were overwritten before they were read."""

    def __init__(self, path: Path, dtype: np.dtype[Any], from_start: bool = False) -> None:
        super().__init__(path, dtype)
        self.cursor = 0 if from_start else self.written
        self.lost = 0

    def take(self, most: int) -> list[Any]:
        """Up to `most` new records, oldest first, copied."""
        newest = self.written
        oldest = max(newest - self.capacity + 1, 1)
        if self.cursor + 1 < oldest:
            self.lost += oldest - self.cursor - 1
            self.cursor = oldest - 1
        taken: list[Any] = []
        while self.cursor < newest and len(taken) < most:
            number = self.cursor + 1
            entry = self._records[(number - 1) % self.capacity].copy()
            self.cursor = number
            if int(entry["seq"]) == number:
                taken.append(entry["record"])
            else:
                self.lost += 1
        return taken
