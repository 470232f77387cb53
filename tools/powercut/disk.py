"""What a disk holds after a power cut: all that was synced, and of the rest whatever the drive happened to write.

The shim's log says what was written and synced. A write that was not followed by a sync of its file may be on the disk
whole, in part (sectors of 512 bytes) or not at all, each on its own: drives reorder. A changed length counts as such a
write. Renames and deletions are taken as done at once, as a journalling file system keeps them in order.
"""

from __future__ import annotations

import dataclasses
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

HEAD: Final = struct.Struct("<IIQQ")
WRITE, SYNC, LENGTH, RENAME, UNLINK, ALLOCATE = range(1, 7)
SECTOR: Final = 512
NOT_ON_DISK: Final = "-shm"
"""SQLite's shared index is rebuilt from the log; a power cut leaves none."""


@dataclasses.dataclass
class File:
    """Synced bytes, and what was written since: (offset, data), or (length, None) for a changed length."""

    synced: bytearray
    pending: list[tuple[int, bytes | None]] = dataclasses.field(default_factory=list)

    def sync(self) -> None:
        """Everything so far is on the disk."""
        for offset, data in self.pending:
            self._apply(offset, data)
        self.pending.clear()

    def _apply(self, offset: int, data: bytes | None) -> None:
        if data is None:
            del self.synced[offset:]
            self.synced.extend(bytes(offset - len(self.synced)))
            return
        self.synced.extend(bytes(max(offset + len(data) - len(self.synced), 0)))
        self.synced[offset : offset + len(data)] = data

    def cut(self, random: Random) -> bytes:
        """The bytes after the cut."""
        for offset, data in self.pending:
            luck = random.random()
            if data is None or luck < 0.3:
                if luck < 0.6:
                    self._apply(offset, data)
                continue
            if luck < 0.6:
                continue
            for at in range(0, len(data), SECTOR):
                if random.random() < 0.5:
                    self._apply(offset + at, data[at : at + SECTOR])
        return bytes(self.synced)


def compiler() -> str | None:
    """The C compiler, which power cuts need; None when there is none."""
    return shutil.which("cc") or shutil.which("gcc")


def build(folder: Path) -> Path:
    """The shim as a shared library."""
    cc = compiler()
    if cc is None:
        raise FileNotFoundError("no C compiler")
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([cc, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def after_cut(folder: Path, before: Path, log: Path, random: Random) -> None:
    """Make `folder` what the disk holds when the power went: `before` is a copy of it from the start of the log."""
    files = {p.name: File(bytearray(p.read_bytes())) for p in before.iterdir() if p.is_file()}
    for kind, path, number, data in records(log.read_bytes()):
        name = Path(path).name
        if kind == RENAME:
            files[Path(data.decode()).name] = files.pop(name, File(bytearray()))
        elif kind == UNLINK:
            files.pop(name, None)
        elif kind == SYNC:
            if name in files:
                files[name].sync()
        else:
            file = files.setdefault(name, File(bytearray()))
            if kind == WRITE:
                file.pending.append((number, data))
            elif kind == LENGTH or number > _length(file):
                file.pending.append((number, None))
    for old in folder.iterdir():
        if old.is_file():
            old.unlink()
    for name, file in files.items():
        if not name.endswith(NOT_ON_DISK):
            (folder / name).write_bytes(file.cut(random))


def _length(file: File) -> int:
    length = len(file.synced)
    for offset, data in file.pending:
        length = offset if data is None else max(length, offset + len(data))
    return length


def records(raw: bytes) -> Iterator[tuple[int, str, int, bytes]]:
    """(kind, path, offset or length, data) of every whole record."""
    at = 0
    while at + HEAD.size <= len(raw):
        kind, path, number, length = HEAD.unpack_from(raw, at)
        end = at + HEAD.size + path + length
        if end > len(raw):
            return
        start = at + HEAD.size
        yield kind, raw[start : start + path].decode(), number, raw[start + path : end]
        at = end
