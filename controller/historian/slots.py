"""Two slots in a preallocated file: latches reach the disk even when it is full, and a torn write loses only one."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import struct
import zlib
from pathlib import Path
from typing import Final

MAGIC: Final = b"CWRETAIN"
HEADER: Final = struct.Struct("<8sQqQ16sII")
"""Magic, sequence, wall time, program digest, layout digest, length, CRC-32 of all before it and of the data."""
SLOTS: Final = 2
BLOCK: Final = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """A retained image as it lies on disk. sequence: rises with every commit, over restarts."""

    sequence: int
    utc_ms: int
    program: int
    layout: str
    blob: bytes

    def crc(self) -> int:
        """CRC-32 over everything: SQLite's own check does not notice a changed value."""
        head = HEADER.pack(MAGIC, self.sequence, self.utc_ms, self.program, self.layout.encode(), len(self.blob), 0)
        return zlib.crc32(self.blob, zlib.crc32(head))


def slot_bytes(size: int) -> int:
    """Room for one slot, in whole blocks."""
    return -(-(HEADER.size + size) // BLOCK) * BLOCK


class SlotFile:
    """The writer. The file has its full size from the beginning, so writing needs no space on the disk."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.stride = path, slot_bytes(size)
        self._fd: int | None = None

    def _open(self) -> int:
        if self._fd is None:
            if not self.path.exists() or self.path.stat().st_size != SLOTS * self.stride:
                self._create()
            self._fd = os.open(self.path, os.O_RDWR)
        return self._fd

    def _create(self) -> None:
        temporary = self.path.with_suffix(".new")
        with temporary.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, SLOTS * self.stride)
            os.fsync(file.fileno())
        temporary.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def write(self, stored: Stored) -> None:
        """Durable when it returns; OSError otherwise. Odd and even sequences take turns."""
        fd = self._open()
        head = HEADER.pack(
            MAGIC,
            stored.sequence,
            stored.utc_ms,
            stored.program,
            stored.layout.encode(),
            len(stored.blob),
            stored.crc(),
        )
        os.pwrite(fd, head + stored.blob, (stored.sequence % SLOTS) * self.stride)
        os.fdatasync(fd)

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)


def read_slots(path: Path) -> tuple[list[Stored], list[str]]:
    """The valid slots, newest first, and what is wrong with the others; a slot never written is no problem."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{path.name}: {error.strerror}"]
    found: list[Stored] = []
    problems: list[str] = []
    stride = len(raw) // SLOTS
    for slot in range(SLOTS):
        part = raw[slot * stride : (slot + 1) * stride]
        if not any(part):
            continue
        stored = _slot(part)
        if stored is None:
            problems.append(f"{path.name}: slot {slot} is damaged")
        else:
            found.append(stored)
    return sorted(found, key=lambda s: -s.sequence), problems


def _slot(part: bytes) -> Stored | None:
    if len(part) < HEADER.size:
        return None
    magic, sequence, utc_ms, program, layout, length, crc = HEADER.unpack_from(part)
    blob = part[HEADER.size : HEADER.size + length]
    if magic != MAGIC or len(blob) != length:
        return None
    stored = Stored(sequence, utc_ms, program, layout.decode("ascii", "replace"), blob)
    return stored if stored.crc() == crc else None
