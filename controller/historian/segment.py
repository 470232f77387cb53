"""The file format of recordings: a header that names the program, then keyframes, frames and marks, each checked.

    magic | header length | header CRC | header (zlib, JSON)
    kind | scan | number of bytes unpacked | packed | CRC | packed bytes        and so on

A keyframe (K) is the memory after its scan. A frame (F) is the scan record XOR the frame before it (the first one
of a file stands for itself): most bytes are zero then, and what is packed is the map of the others and the others.
A mark (T) is a trip. After a reset (R) the next frame stands for itself again: files were put behind each other.
Everything is little-endian.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from controller.historian.raw import Bytes

MAGIC: Final = b"CWREC001"
SUFFIX: Final = ".cwr"
START: Final = struct.Struct("<8sII")
ITEM: Final = struct.Struct("<sqIII")
KEYFRAME: Final = b"K"
FRAME: Final = b"F"
MARK: Final = b"T"
RESET: Final = b"R"
LEVEL: Final = 1
BYTES_MAX: Final = 1 << 28
"""No header, frame or keyframe is larger; a damaged length must not make a reader ask for all memory."""


class BadRecording(Exception):
    """The file is no recording, is damaged, or belongs to another program."""


class NoHeader(BadRecording):
    """The file ends within its header: its writer was killed, or its disk was full, just as it was begun."""


def in_order(folder: Path) -> list[Path]:
    """The recordings of a folder in the order in which they were begun, whatever the wall clock did meanwhile.

    Their number says it; a file without one is older than all that have one.
    """
    return sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: (_number(path), path.name))


def next_path(folder: Path, utc_ms: int, scan: int) -> Path:
    """The name of a recording that is begun now: its number orders it, wall time and scan are for people."""
    number = 1 + max((_number(path) for path in folder.glob(f"*{SUFFIX}")), default=0)
    return folder / f"{number:08d}-{label(utc_ms, scan)}{SUFFIX}"


def label(utc_ms: int, scan: int) -> str:
    """The part of a name that tells wall time and first scan, or those of the trip."""
    when = datetime.datetime.fromtimestamp(utc_ms / 1000, datetime.UTC)
    return f"{when:%Y%m%dT%H%M%S}{utc_ms % 1000:03d}Z-{scan:010d}"


def _number(path: Path) -> int:
    head, *rest = path.stem.split("-")
    return int(head) if len(rest) == 2 and head.isdecimal() else 0


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One keyframe, frame or mark, unpacked."""

    kind: bytes
    scan: int
    data: Bytes


def note_of(packed: bytes) -> dict[str, Any]:
    """What a mark says of its trip; BadRecording when it says nothing that can be read."""
    try:
        note = json.loads(_inflate(packed, BYTES_MAX))
    except ValueError as error:
        raise BadRecording(f"a mark of a trip cannot be read: {error}") from error
    return note if isinstance(note, dict) else {}


def pack_delta(new: Bytes, old: Bytes) -> bytes:
    """What changed from `old` to `new`, compressed."""
    changed = new ^ old
    where = changed != 0
    return zlib.compress(np.packbits(where).tobytes() + changed[where].tobytes(), LEVEL)


def unpack_delta(packed: bytes, old: Bytes) -> Bytes:
    """The `new` of `pack_delta`; BadRecording when the packed bytes do not fit."""
    plain = np.frombuffer(_inflate(packed, 2 * len(old) + 64), np.uint8)
    mask_bytes = -(-len(old) // 8)
    where = np.unpackbits(plain[:mask_bytes], count=len(old)).view(bool) if len(plain) >= mask_bytes else None
    if where is None or len(plain) - mask_bytes != int(where.sum()):
        raise BadRecording("a frame does not fit its size")
    new = old.copy()
    new[where] ^= plain[mask_bytes:]
    return new


def _inflate(packed: bytes, most: int) -> bytes:
    engine = zlib.decompressobj()
    try:
        plain = engine.decompress(packed, most)
    except zlib.error as error:
        raise BadRecording(f"compressed data is damaged: {error}") from error
    if not engine.eof:
        raise BadRecording("compressed data is incomplete or too large")
    return plain


class SegmentWriter:
    """Writes one segment file. OSError when the disk refuses."""

    def __init__(self, path: Path, header: dict[str, Any], frame_bytes: int) -> None:
        self.path = path
        self.bytes = 0
        self._previous: Bytes = np.zeros(frame_bytes, np.uint8)
        packed = zlib.compress(json.dumps(header).encode(), LEVEL)
        self._file: BinaryIO = path.open("xb")
        try:
            self._write(START.pack(MAGIC, len(packed), zlib.crc32(packed)) + packed)
            self._file.flush()
        except OSError:
            self.discard()
            raise

    def keyframe(self, scan: int, memory: Bytes) -> None:
        """The memory after `scan`."""
        self._item(KEYFRAME, scan, len(memory), zlib.compress(memory.tobytes(), LEVEL))

    def frame(self, scan: int, record: Bytes) -> None:
        """The record of `scan`."""
        self._item(FRAME, scan, len(record), pack_delta(record, self._previous))
        self._previous = record

    def mark(self, scan: int, note: dict[str, Any]) -> None:
        """A trip that happened at `scan`."""
        plain = json.dumps(note).encode()
        self._item(MARK, scan, len(plain), zlib.compress(plain, LEVEL))

    def reset(self) -> None:
        """The next frame stands for itself."""
        self._item(RESET, 0, 0, b"")

    def copy(self, kind: bytes, scan: int, size: int, packed: bytes) -> None:
        """An item of another file, as it is packed there."""
        self._item(kind, scan, size, packed)

    def _item(self, kind: bytes, scan: int, size: int, packed: bytes) -> None:
        head = ITEM.pack(kind, scan, size, len(packed), 0)
        self._write(ITEM.pack(kind, scan, size, len(packed), zlib.crc32(packed, zlib.crc32(head))) + packed)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.bytes += len(data)

    def flush(self) -> None:
        """Hand everything to the operating system: it survives the end of this process."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()

    def discard(self) -> None:
        """Close and delete a file in which nothing of use was written."""
        with contextlib.suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)


class Segment:
    """A segment file opened for reading. `torn` is set when the end of the file was cut off by a kill."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = False
        try:
            self._raw = path.read_bytes()
        except OSError as error:
            raise BadRecording(f"{path}: {error.strerror}") from error
        if len(self._raw) < START.size and MAGIC.startswith(self._raw[: len(MAGIC)]):
            raise NoHeader(f"{path}: ends within its header")
        magic, length, crc = START.unpack_from(self._raw.ljust(START.size))
        packed = self._raw[START.size : START.size + length]
        if magic == MAGIC and len(packed) < length <= BYTES_MAX:
            raise NoHeader(f"{path}: ends within its header")
        if magic != MAGIC or zlib.crc32(packed) != crc:
            raise BadRecording(f"{path}: is no recording, or its header is damaged")
        self.header: dict[str, Any] = json.loads(_inflate(packed, BYTES_MAX))
        self._at = START.size + length

    def heads(self) -> Iterator[tuple[bytes, int, bytes]]:
        """Kind, scan and packed bytes of every item, checked but not unpacked."""
        for kind, scan, _, packed in self._items():
            yield kind, scan, packed

    def raw(self) -> Iterator[tuple[bytes, int, int, bytes]]:
        """Kind, scan, unpacked size and packed bytes of every item, checked but not unpacked."""
        yield from self._items()

    def items(self, frame_bytes: int) -> Iterator[Item]:
        """Every item, unpacked. BadRecording at the first damage that is not merely a cut-off end."""
        previous: Bytes = np.zeros(frame_bytes, np.uint8)
        for kind, scan, size, packed in self._items():
            if kind == RESET:
                previous = np.zeros(frame_bytes, np.uint8)
            elif kind == FRAME:
                if size != frame_bytes:
                    raise BadRecording(f"{self.path}: a frame has {size} bytes, {frame_bytes} are right")
                previous = unpack_delta(packed, previous)
                yield Item(kind, scan, previous)
            else:
                plain = np.frombuffer(_inflate(packed, BYTES_MAX), np.uint8)
                if len(plain) != size:
                    raise BadRecording(f"{self.path}: an item does not fit its size")
                yield Item(kind, scan, plain)

    def _items(self) -> Iterator[tuple[bytes, int, int, bytes]]:
        raw, at = self._raw, self._at
        while at < len(raw):
            if len(raw) - at < ITEM.size:
                self.torn = True
                return
            kind, scan, size, length, crc = ITEM.unpack_from(raw, at)
            packed = raw[at + ITEM.size : at + ITEM.size + length]
            if len(packed) < length and kind in (KEYFRAME, FRAME, MARK, RESET) and max(size, length) <= BYTES_MAX:
                self.torn = True
                return
            if crc != zlib.crc32(packed, zlib.crc32(ITEM.pack(kind, scan, size, length, 0))):
                raise BadRecording(f"{self.path}: damaged at byte {at}")
            yield kind, scan, size, packed
            at += ITEM.size + length
