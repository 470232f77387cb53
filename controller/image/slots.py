"""Shared images: one writer, two or more slots each; a reader takes the last complete slot and never spins.

A spinning reader at real-time priority would starve the writer, so a reader that meets a half-written or
overtaken slot keeps its previous copy and lets the age of the values tell.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from controller.core.layout import Layout

Image = TypeVar("Image")

MAGIC: Final = b"CWIMAGE1"
HEADER: Final = struct.Struct("<8s16sQQ")
LATEST_AT: Final = HEADER.size
HEADER_BYTES: Final = 64
SLOT_HEADER_BYTES: Final = 16
DEFAULT_SLOTS: Final = 2


class ImageMismatch(Exception):
    """The file was written by a program with other tags or another plant."""


class _Mapping(Generic[Image]):
    """The mapped file: header, then `slots` times (sequence number, data)."""

    def __init__(self, path: Path, layout: Layout[Image], slots: int) -> None:
        self.path, self.layout, self.slots = path, layout, slots
        self.stride = SLOT_HEADER_BYTES + layout.size
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), HEADER_BYTES + slots * self.stride)
        self._buffer = np.frombuffer(self._map, np.uint8)
        self._latest = self._buffer[LATEST_AT : LATEST_AT + 8].view("<u8")
        self._seq = []
        self._data = []
        for slot in range(slots):
            at = HEADER_BYTES + slot * self.stride
            self._seq.append(self._buffer[at : at + 8].view("<u8"))
            self._data.append(self._buffer[at + SLOT_HEADER_BYTES : at + self.stride])

    @property
    def latest(self) -> int:
        """Sequence number of the last complete slot; 0 when nothing was written."""
        return int(self._latest[0])


def create(path: Path, layout: Layout[Any], slots: int = DEFAULT_SLOTS) -> None:
    """Make sure the image file exists with this layout; an equal one is kept with its contents."""
    if path.exists() and _header(path) == (layout.digest.encode(), slots, layout.size):
        return
    size = HEADER_BYTES + slots * (SLOT_HEADER_BYTES + layout.size)
    temporary = path.with_suffix(path.suffix + ".new")
    with temporary.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)  # a sparse file on a full disk would end its writer with SIGBUS
        file.write(HEADER.pack(MAGIC, layout.digest.encode(), slots, layout.size))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _header(path: Path) -> tuple[bytes, int, int] | None:
    with path.open("rb") as file:
        raw = file.read(HEADER.size)
    if len(raw) < HEADER.size:
        return None
    magic, digest, slots, size = HEADER.unpack(raw)
    return (digest, slots, size) if magic == MAGIC else None


def _check(path: Path, layout: Layout[Any]) -> int:
    found = _header(path)
    if found is None or found[0] != layout.digest.encode() or found[2] != layout.size:
        raise ImageMismatch(f"{path}: this image belongs to another site or program version")
    return found[1]


class SlotWriter(_Mapping[Image]):
    """The one writer of an image. Sequence numbers go on where the previous writer stopped."""

    def __init__(self, path: Path, layout: Layout[Image], frugal: bool = False) -> None:
        """`frugal`: arrays that are the same object as in the slot's last image are not copied again."""
        super().__init__(path, layout, _check(path, layout))
        self._next = self.latest + 1
        self._written: list[dict[str, Any] | None] = [{} if frugal else None for _ in range(self.slots)]

    def write(self, image: Image) -> int:
        """Publish `image` as the latest; returns its sequence number."""
        return self.finish(self._write_data(image))

    def _write_data(self, image: Image) -> int:
        slot = self._next % self.slots
        self._seq[slot][0] = 0
        self.layout.write(image, self._data[slot], self._written[slot])
        return slot

    def write_raw(self, data: NDArray[np.uint8] | bytes) -> int:
        """Publish an image that is already in bytes."""
        slot = self._next % self.slots
        self._seq[slot][0] = 0
        self._data[slot][:] = np.frombuffer(data, np.uint8)
        written = self._written[slot]
        if written is not None:
            written.clear()
        return self.finish(slot)

    def finish(self, slot: int) -> int:
        """Mark the slot complete and make it the latest."""
        number = self._next
        self._seq[slot][0] = number
        self._latest[0] = number
        self._next = number + 1
        return number

    def slot_data(self, number: int) -> NDArray[np.uint8]:
        """The bytes of a slot this writer has just published."""
        return self._data[number % self.slots]


class SlotReader(_Mapping[Image]):
    """One of any number of readers. `last` is the sequence number of the copy in hand, 0 for none."""

    def __init__(self, path: Path, layout: Layout[Image]) -> None:
        super().__init__(path, layout, _check(path, layout))
        self.last = 0

    def read(self) -> Image | None:
        """The latest complete image on its own memory, or None when there is no newer one than the last read."""
        number = self.latest
        return self._take(number) if number != self.last else None

    def read_again(self) -> Image | None:
        """The latest complete image even when it was read before; None when none is complete."""
        return self._take(self.latest)

    def read_next(self) -> tuple[Image, int] | None:
        """The image after the last one taken, and how many were missed before it; for readers that want every one."""
        newest = self.latest
        if newest <= self.last:
            return None
        wanted = max(self.last + 1, newest - self.slots + 2)
        missed = wanted - self.last - 1 if self.last else 0
        image = self._take(wanted)
        if image is None:
            self.last, missed = wanted, missed + 1
            image = self._take(newest)
            if image is None:
                return None
            missed += newest - wanted - 1
        return image, missed

    def _take(self, number: int) -> Image | None:
        if number == 0:
            return None
        slot = number % self.slots
        if int(self._seq[slot][0]) != number:
            return None
        copy = self._data[slot].copy()
        if int(self._seq[slot][0]) != number:
            return None
        self.last = number
        return self.layout.view(copy)
