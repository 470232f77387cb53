"""Replay: the program of a recording, rebuilt from the recording alone, fed with the recorded inputs."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from controller.core.image import ProcessImage
from controller.core.layout import Layout
from controller.core.memory import Memory
from controller.core.program import Program
from controller.core.scan import scan
from controller.historian.raw import Bytes, number
from controller.historian.recorder import WAITING_MAX
from controller.historian.segment import FRAME, KEYFRAME, SUFFIX, BadRecording, NoHeader, Segment, in_order
from controller.image.files import RECORD_SLOTS, ScanRecord
from controller.image.release import release
from plc_config import library
from plc_config.compile import Compiled, compile_site
from plc_config.problem import ConfigError

VERSION: Final = 1
SITE_FILE: Final = "site.yaml"


def header_of(site: Compiled) -> dict[str, Any]:
    """What a recording says of its program: enough text to compile it again on another machine."""
    beside = site.path.parent
    files = {SITE_FILE: site.path.read_text("utf-8")}
    wanted = [("cells", site.config.cell_type)] + [("profiles", d.profile) for d in site.config.devices.values()]
    for kind, name in wanted:
        path = library.find(kind, name, beside)
        if path is not None:
            files[f"{kind}/{name}.yaml"] = path.read_text("utf-8")
    program = site.program
    layouts = {cls.__name__: Layout(cls, program.dims).digest for cls in (ScanRecord, Memory, ProcessImage)}
    return {
        "version": VERSION,
        "release": release(),
        "site": program.site_id,
        "program": program.matrix.digest,
        "layouts": layouts,
        "dims": dict(program.dims),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "files": files,
    }


def rebuild(header: dict[str, Any]) -> Program:
    """The program of a header; BadRecording when this version of the controller makes another one of it."""
    if header.get("version") != VERSION:
        raise BadRecording(f"recording version {header.get('version')!r} is not known here")
    with tempfile.TemporaryDirectory(prefix="cellwarden-replay-") as folder:
        for name, text in header["files"].items():
            kind, _, file = str(name).rpartition("/")
            if kind not in ("", "cells", "profiles") or Path(file).name != file:
                raise BadRecording(f"{name!r} is no name for a file of a site")
            path = Path(folder) / kind / file
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        try:
            program = compile_site(str(Path(folder) / SITE_FILE)).program
        except ConfigError as error:
            raise BadRecording(f"its site cannot be compiled by this version:\n{error}") from error
    theirs: dict[str, str] = header.get("layouts") or {}
    layouts = {cls.__name__: Layout(cls, program.dims).digest for cls in (ScanRecord, Memory, ProcessImage)}
    other = ["the table of protection rows"] if program.matrix.digest != header.get("program") else []
    other += [f"the fields of {name}" for name, digest in layouts.items() if digest != theirs.get(name)]
    if other:
        raise BadRecording(
            f"it was recorded by another build (release {header.get('release', 'not told')}): here, in release "
            f"{release()}, other than there: {', '.join(other)}; replay it with the build that recorded it"
        )
    return program


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One replayed scan. same: the image has the recorded digest; memory_same: so has the memory at a keyframe."""

    scan: int
    same: bool
    image: ProcessImage
    memory_same: bool = True


@dataclasses.dataclass(slots=True)
class Result:
    """What came of a replay. skipped: scans without a memory to start from; gaps: restarts and lost scans."""

    site: str = ""
    replayed: int = 0
    first_scan: int | None = None
    last_scan: int | None = None
    skipped: int = 0
    gaps: int = 0
    keyframes_checked: int = 0
    torn: int = 0
    difference: Step | None = None


def segments_of(path: Path) -> list[Path]:
    """The segment files of a path: itself, or all in a folder, oldest first."""
    found = in_order(path) if path.is_dir() else [path]
    if not found:
        raise BadRecording(f"{path}: no recording ({SUFFIX}) in this folder")
    return found


def worth_reading(paths: list[Path], first: int | None) -> list[Path]:
    """Without the segments that end well before scan `first`, as their names tell; all when the names do not."""
    if first is None:
        return paths
    begins = [p.stem.rpartition("-")[2] for p in paths]
    if not all(b.isdigit() for b in begins):
        return paths
    start = 0
    for i, begin in enumerate(begins):
        if int(begin) + WAITING_MAX < first:
            start = i
    return paths[start:]


class Replay:
    """Runs recorded scans, from a keyframe on, until something differs."""

    def __init__(self, paths: list[Path], first: int | None = None, last: int | None = None) -> None:
        self.paths = worth_reading(paths, first)
        self.first, self.last = first, last
        self.result = Result()
        self._program_of: tuple[Any, Program] | None = None
        self._memory: Memory | None = None
        self._image: ProcessImage | None = None
        self._at = -1
        self._at_ms: int | None = None
        self._seen: deque[tuple[int, int]] = deque(maxlen=2 * RECORD_SLOTS)

    def run(self, tell: Callable[[Step], None] | None = None) -> Result:
        """Replay all; stops at the first difference. `tell` hears of every scan in range."""
        for path in self.paths:
            try:
                segment = Segment(path)
            except NoHeader:
                if len(self.paths) == 1:
                    raise
                self.result.torn += 1
                continue
            for step in self._segment(segment):
                if tell is not None:
                    tell(step)
                if not (step.same and step.memory_same):
                    self.result.difference = step
                    return self.result
            self.result.torn += segment.torn
            if self.last is not None and self._at >= self.last:
                break
        return self.result

    def _program(self, header: dict[str, Any]) -> Program:
        key = (header.get("program"), header.get("layouts"), header.get("files"))
        if self._program_of is None or self._program_of[0] != key:
            self._program_of = (key, rebuild(header))
            self._memory = None
        return self._program_of[1]

    def _segment(self, segment: Segment) -> Iterator[Step]:
        program = self._program(segment.header)
        self.result.site = program.site_id
        layout, memory_layout = Layout(ScanRecord, program.dims), Layout(Memory, program.dims)
        image_layout = Layout(ProcessImage, program.dims)
        elapsed, now = number(layout, "inputs.system.elapsed_ms"), number(layout, "inputs.system.now_ms")
        key: tuple[int, Bytes] | None = None
        for item in segment.items(layout.size):
            if item.kind == KEYFRAME:
                if len(item.data) != memory_layout.size:
                    raise BadRecording(f"{segment.path}: the keyframe has the wrong size")
                key = (item.scan, item.data)
                if self._memory is not None and self._image is not None and self._at == item.scan:
                    self.result.keyframes_checked += 1
                    if memory_layout.to_bytes(self._memory) != item.data.tobytes():
                        yield Step(item.scan, True, self._image, False)
                continue
            if item.kind != FRAME or (self.last is not None and item.scan > self.last):
                continue
            if not self._continue_at(item.scan, now(item.data), elapsed(item.data), key, memory_layout):
                continue
            record = layout.view(item.data)
            memory, image, _ = scan(program, self._memory, record.inputs)  # type: ignore[arg-type]
            same = zlib.crc32(image_layout.to_bytes(image)) == record.digest
            self._memory, self._image, self._at, self._at_ms = memory, image, item.scan, now(item.data)
            memory_same = True
            if key is not None and key[0] == item.scan:
                memory_same = memory_layout.to_bytes(memory) == key[1].tobytes()
                self.result.keyframes_checked += 1
            if self.first is None or item.scan >= self.first:
                self._count(item.scan)
                yield Step(item.scan, same, image, memory_same)

    def _count(self, number_of_scan: int) -> None:
        r = self.result
        r.replayed += 1
        r.first_scan = number_of_scan if r.first_scan is None else r.first_scan
        r.last_scan = number_of_scan

    def _continue_at(
        self, scan_number: int, now_ms: int, elapsed_ms: int, key: tuple[int, Bytes] | None, layout: Layout[Memory]
    ) -> bool:
        """True when the memory at hand is the one before this scan; after a gap the keyframe's is taken."""
        seen = (scan_number, now_ms) in self._seen
        self._seen.append((scan_number, now_ms))
        follows = scan_number == self._at + 1 and (self._at_ms is None or now_ms - self._at_ms == elapsed_ms)
        if self._memory is not None and follows:
            return True
        if self._memory is not None:
            if seen:
                # The ring was read again after a restart of the store: this scan is in the segment before.
                return False
            self.result.gaps += 1
            self._memory = None
        self._at_ms = None
        if key is not None and key[0] + 1 == scan_number:
            self._memory, self._at = layout.view(key[1].copy()), key[0]
            return True
        self.result.skipped += 1
        return False
