"""Register faces of devices, built from the polling plan: whatever the profile says, and nothing else.

All devices of one profile are one `DeviceGroup`: their tables lie in one array each, so that a point of all of them is
encoded in one stroke, and a reply is a slice of bytes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from plc_config import library
from plc_config.compile import Compiled
from plc_config.plan import DevicePlan, PointRef, PointType, WriteBlock
from tools.simulator.encode import BYTE_TYPES, WORDS, bad_pattern, pattern_words, raw_of, words_of

COILS: Final = 1
DISCRETE: Final = 2
HOLDING: Final = 3
INPUT: Final = 4
BIT_TABLES: Final = (COILS, DISCRETE)


@dataclasses.dataclass(slots=True)
class Table:
    """One register table of all devices of a group: `data[row, register]`; `first` is the lowest address."""

    first: int
    data: NDArray[Any]
    view: memoryview

    @property
    def width(self) -> int:
        """Registers (bits) per device."""
        return int(self.data.shape[1])


@dataclasses.dataclass(frozen=True, slots=True)
class PointSlot:
    """Where one point lies: column in its table, elements, and how to gather its rows from the plant's array."""

    point: str
    function: int
    column: int
    ref: PointRef
    rows: tuple[NDArray[np.int64], ...]
    whole: bool


@dataclasses.dataclass(frozen=True, slots=True)
class OutputSlot:
    """Where one output is written: table, column, columns, and the block that describes it."""

    function: int
    column: int
    width: int
    block: WriteBlock


class DeviceGroup:
    """All devices of one profile."""

    def __init__(self, compiled: Compiled, profile: str, devices: list[DevicePlan]) -> None:
        self.profile, self.devices = profile, devices
        self.level = devices[0].level
        self.step = _address_step(compiled, profile)
        self.dirty = True
        self.frozen: dict[int, dict[int, NDArray[Any]]] = {}
        self.row_of = {d.place: i for i, d in enumerate(devices)}
        first = devices[0].index
        self.reads = [r for r in compiled.plan.reads if r.device == first]
        self.writes = [w for w in compiled.plan.writes if w.device == first]
        self.tables = self._tables()
        rows = tuple(np.array(axis, np.int64) for axis in zip(*(d.place for d in devices), strict=True))
        self.points = [
            self._point_slot(r.function, r.address // self.step, ref, rows, compiled)
            for r in self.reads
            for ref in r.points
        ]
        self.outputs = [self._output_slot(w) for w in self.writes]

    def _tables(self) -> dict[int, Table]:
        spans: dict[int, list[tuple[int, int]]] = {}
        for r in self.reads:
            spans.setdefault(r.function, []).append((r.address // self.step, r.address // self.step + r.count))
        for w in self.writes:
            start = w.address // self.step
            spans.setdefault(_table_of(w), []).append((start, start + _width(w)))
        tables = {}
        for function, parts in spans.items():
            low, high = min(p[0] for p in parts), max(p[1] for p in parts)
            kind = np.uint8 if function in BIT_TABLES else np.dtype(">u2")
            data = np.zeros((len(self.devices), high - low), kind)
            tables[function] = Table(low, data, data.view(np.uint8).reshape(-1).data)
        return tables

    def _point_slot(
        self, function: int, start: int, ref: PointRef, rows: tuple[NDArray[np.int64], ...], compiled: Compiled
    ) -> PointSlot:
        t = compiled.topology
        axes = {"module": (t.racks, t.modules), "rack": (t.racks,), "pcs": (t.pcs,), "site": ()}[self.level]
        everything = [tuple(int(i) for i in place) for place in np.ndindex(*axes)]
        whole = [d.place for d in self.devices] == everything
        return PointSlot(ref.point, function, start + ref.offset - self.tables[function].first, ref, rows, whole)

    def _output_slot(self, block: WriteBlock) -> OutputSlot:
        function = _table_of(block)
        return OutputSlot(function, block.address // self.step - self.tables[function].first, _width(block), block)

    # -- encoding --------------------------------------------------------------------------------------------

    def encode(self, faces: dict[str, NDArray[Any]]) -> None:
        """All registers of all devices from the plant's arrays; frozen devices keep what they had."""
        for slot in self.points:
            face = faces[slot.point]
            taken = face if slot.whole or not slot.rows else face[slot.rows]
            self._put(slot, taken.reshape(len(self.devices), -1)[:, : slot.ref.count])
        for row, kept in self.frozen.items():
            for function, registers in kept.items():
                self.tables[function].data[row] = registers
        self.dirty = False

    def _put(self, slot: PointSlot, values: NDArray[Any]) -> None:
        data, kind, count = self.tables[slot.function].data, slot.ref.type, values.shape[1]
        step = kind.registers_each
        columns = slice(slot.column, slot.column + count * step, step)
        if slot.function in BIT_TABLES:
            data[:, columns] = (values != 0) ^ kind.active_low
        elif kind.bit >= 0:
            _put_bits(data, slot, (values != 0) ^ kind.active_low)
        elif kind.type == "bit":
            data[:, columns] = (values != 0) ^ kind.active_low
        elif kind.type in BYTE_TYPES:
            shift = BYTE_TYPES[kind.type]
            raw = (raw_of(values, kind) & 0xFF) << shift
            data[:, columns] = (data[:, columns] & (0xFF00 >> shift)) | raw
        elif kind.type in WORDS:
            words = words_of(raw_of(values, kind), kind)
            for i in range(WORDS[kind.type]):
                data[:, slot.column + i : slot.column + i + count * step : step] = words[..., i]
        elif kind.type != "string":
            data[:, columns] = words_of(raw_of(values, kind), kind)

    def freeze(self, row: int, on: bool) -> None:
        """Let a device's measured registers stand still, or move again."""
        if not on:
            self.frozen.pop(row, None)
            return
        measured = {slot.function for slot in self.points}
        self.frozen[row] = {f: self.tables[f].data[row].copy() for f in measured}

    def find(self, point: str) -> PointSlot | None:
        """The slot of a point, if devices of this group report it."""
        return next((s for s in self.points if s.point == point), None)

    def put_raw(self, slot: PointSlot, row: int, element: int, raw: int | None) -> None:
        """An exact register pattern (None: the device's own `no value`) for one element of one device."""
        kind, data = slot.ref.type, self.tables[slot.function].data
        column = slot.column + element * kind.registers_each
        if slot.function in BIT_TABLES:
            data[row, column] = 1 if raw else 0
            return
        words = pattern_words(bad_pattern(kind) if raw is None else raw, kind)
        data[row, column : column + len(words)] = words


def _put_bits(data: NDArray[Any], slot: PointSlot, on: NDArray[Any]) -> None:
    step, bit = slot.ref.type.registers_each, slot.ref.type.bit
    words = WORDS.get(slot.ref.type.type, 1)
    word = words - 1 - bit // 16 if not slot.ref.type.little_words else bit // 16
    first = slot.column + word
    columns = slice(first, first + on.shape[1] * step, step)
    mask = 1 << (bit % 16)
    data[:, columns] = (data[:, columns] & (0xFFFF ^ mask)) | (on.astype(np.uint16) * np.uint16(mask))


def _address_step(compiled: Compiled, profile: str) -> int:
    found = library.find("profiles", profile, compiled.path.parent)
    return library.profile_at(found)[0].wire.address_step if found else 1


def _table_of(block: WriteBlock) -> int:
    return COILS if block.function in (5, 15) else HOLDING


def _width(block: WriteBlock) -> int:
    if block.function in (5, 15):
        return block.count
    return block.count * words_each(block.type)


def words_each(kind: PointType) -> int:
    """Registers of one element of an output."""
    return WORDS.get(kind.type, 1)


def build_groups(compiled: Compiled) -> list[DeviceGroup]:
    """One group per profile, devices in the order of the plan."""
    by_profile: dict[str, list[DevicePlan]] = {}
    for device in compiled.plan.devices:
        by_profile.setdefault(device.profile, []).append(device)
    return [DeviceGroup(compiled, profile, devices) for profile, devices in by_profile.items()]
