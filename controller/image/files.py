"""The files of one running site: which image lies where, who writes it, with which layout."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

from controller.core.command import COMMAND_DTYPE
from controller.core.event import EVENT_DTYPE
from controller.core.field_image import FieldImage
from controller.core.image import InputImage, OutputImage, ProcessImage
from controller.core.layout import Layout
from controller.core.memory import Memory
from controller.core.retained import Retained
from controller.core.signal import Dims, tag
from controller.image import slots
from controller.image.ring import COMMAND_CAPACITY, EVENT_CAPACITY, RingReader, RingWriter, create_ring
from controller.image.status import (
    COARSE_BUCKETS,
    EXCEPTION_CODES,
    IoStatus,
    OpcuaStatus,
    ScanStatus,
    StoreStatus,
    SupervisorStatus,
)

PROCESSES: Final = ("supervisor", "scan", "io", "opcua", "store")
PRODUCERS: Final = ("opcua", "supervisor")
RECORD_SLOTS: Final = 64


@dataclasses.dataclass(frozen=True, slots=True)
class ScanRecord:
    """The input copy a scan actually used, and the digest of what it made of it: enough to replay exactly."""

    inputs: InputImage
    digest: int = tag("1", doc="CRC-32 of the process image's bytes", dtype="u8")


IMAGES: Final[dict[str, tuple[type, int]]] = {
    "field": (FieldImage, 3),
    "record": (ScanRecord, RECORD_SLOTS),
    "process": (ProcessImage, 3),
    "output": (OutputImage, 3),
    "memory": (Memory, 3),
    "retained": (Retained, 3),
    "status.scan": (ScanStatus, 2),
    "status.io": (IoStatus, 2),
    "status.opcua": (OpcuaStatus, 2),
    "status.store": (StoreStatus, 2),
    "status.supervisor": (SupervisorStatus, 2),
}
"""Name -> (class, slots). `field` is written by io; the rest by scan; each status by its process."""


class SiteFiles:
    """Opens the images and rings of a site. `dims` holds every dimension that tags name."""

    def __init__(self, folder: Path, dims: Dims, extra: dict[str, tuple[type, int]] | None = None) -> None:
        self.folder = folder
        self.images = {**IMAGES, **(extra or {})}
        sizes = {**dims, "process": len(PROCESSES), "code": EXCEPTION_CODES, "coarse": COARSE_BUCKETS}
        self.layouts: dict[str, Layout[Any]] = {n: Layout(c, sizes) for n, (c, _) in self.images.items()}

    def create(self) -> None:
        """Make every file that is not there or has another layout; the supervisor does this before any child starts."""
        for name, (_, count) in self.images.items():
            slots.create(self.folder / f"{name}.image", self.layouts[name], count)
        for producer in PRODUCERS:
            create_ring(self.folder / f"commands.{producer}.ring", COMMAND_DTYPE, COMMAND_CAPACITY)
        for process in PROCESSES:
            create_ring(self.folder / f"events.{process}.ring", EVENT_DTYPE, EVENT_CAPACITY)

    def writer(self, name: str, frugal: bool = False) -> slots.SlotWriter[Any]:
        """The writer of an image; only its one owning process may ask for it. `frugal`: see `SlotWriter`."""
        return slots.SlotWriter(self.folder / f"{name}.image", self.layouts[name], frugal)

    def reader(self, name: str) -> slots.SlotReader[Any]:
        """A reader of an image."""
        return slots.SlotReader(self.folder / f"{name}.image", self.layouts[name])

    def command_writer(self, producer: str) -> RingWriter:
        """The writer of a producer's command ring."""
        return RingWriter(self.folder / f"commands.{producer}.ring", COMMAND_DTYPE)

    def command_reader(self, producer: str) -> RingReader:
        """A reader of a producer's commands, from now on."""
        return RingReader(self.folder / f"commands.{producer}.ring", COMMAND_DTYPE)

    def event_writer(self, process: str) -> RingWriter:
        """The writer of a process's event ring."""
        return RingWriter(self.folder / f"events.{process}.ring", EVENT_DTYPE)

    def event_reader(self, process: str, from_start: bool = False) -> RingReader:
        """A reader of a process's events, from now on or from the oldest kept."""
        return RingReader(self.folder / f"events.{process}.ring", EVENT_DTYPE, from_start)
