"""Register faces of devices, built from the polling plan: whatever the profile says, and nothing else.

All devices of one profile are one `DeviceGroup`: their tables lie in one array each, so that a point of all of them is
encoded in one stroke, and a reply is a slice of bytes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from plc_config import library
from plc_config.compile import Compiled
from plc_config.plan import DevicePlan, PointRef, PointType, ReadBlock, WriteBlock
from plc_config.schema.profile import Profile
from tools.simulator.encode import (
    BYTE_TYPES,
    PACKED,
    RANGE,
    WORDS,
    bad_pattern,
    codes_of,
    pattern_words,
    raw_of,
    value_of,
    words_of,
)
from tools.simulator.places import TAGS
from tools.simulator.sunspec import sunspec_heads

COILS: Final = 1
DISCRETE: Final = 2
HOLDING: Final = 3
INPUT: Final = 4
BIT_TABLES: Final = (COILS, DISCRETE)
EXTRA: Final = "extras."
"""In front of a vendor register's name, where a point's name may stand."""

LEAST_EXPONENT, MOST_EXPONENT = -4, 10
Rows = tuple[NDArray[np.int64], ...]


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
    """Where one point lies: column in its table, elements, and how to gather its rows from the plant's array.

    `type` is the reference's, with the scale factor that this face shows worked in.
    """

    point: str
    function: int
    column: int
    ref: PointRef
    rows: Rows
    whole: bool
    type: PointType

    def elements(self, device: tuple[int, ...], index: tuple[int, ...]) -> list[int]:
        """Which of its elements, at a device of that place, lie at or below a place in the plant."""
        depth = len(device)
        if device[: len(index)] != index[:depth]:
            return []
        wanted, own = index[depth:], self.ref.place[depth:]
        if len(self.ref.place) == len(TAGS[self.point].dims):
            return [0] if own[: len(wanted)] == wanted else []
        return [e for e in range(self.ref.count) if (*own, e)[: len(wanted)] == wanted]


@dataclasses.dataclass(frozen=True, slots=True)
class OutputSlot:
    """Where one output is written: table, column, columns, the block that describes it, and each device's place."""

    function: int
    column: int
    width: int
    block: WriteBlock
    places: tuple[tuple[int, ...], ...]

    @property
    def constant(self) -> bool:
        """A fixed value of the profile, not an output of the controller."""
        return self.block.modulo == 1


class DeviceGroup:
    """All devices of one profile that serve equally many places."""

    def __init__(self, compiled: Compiled, profile: str, devices: list[DevicePlan]) -> None:
        self.profile, self.devices = profile, devices
        self.level = devices[0].level
        found = library.find("profiles", profile, compiled.path.parent)
        described = library.profile_at(found)[0] if found else None
        self.step = described.wire.address_step if described else 1
        self.dirty = True
        self.frozen: dict[int, dict[int, NDArray[Any]]] = {}
        self.row_of = {d.place: i for i, d in enumerate(devices)}
        plan, indices = compiled.plan, [d.index for d in devices]
        reads = [[r for r in plan.reads if r.device == i] for i in indices]
        extras = [[r for r in plan.extras if r.device == i] for i in indices]
        writes = [[w for w in plan.writes if w.device == i] for i in indices]
        self.reads, self.extras, self.writes = reads[0], extras[0], writes[0]
        self.divisors = {ref.point: (r, ref) for r in self.reads for ref in r.divisors}
        self.reply_offset = self.reads[0].reply_unit - self.reads[0].unit if self.reads else 0
        places = max(len({ref.place[:2] for r in self.reads for ref in r.points if len(ref.place) >= 2}), 1)
        chain = sunspec_heads(described, places, compiled.topology.cells) if described is not None else {}
        self.tables = self._tables(chain)
        self.points = self._slots(compiled, reads, "") + self._slots(compiled, extras, EXTRA)
        pinned = self._show_expected(described) if described is not None else {}
        pinned |= self._show_divisors(compiled.config.dispatch.rated_power / max(compiled.topology.pcs, 1), pinned)
        self.points = self._show_helpers(pinned)
        for address, words in chain.items():
            column = address - self.tables[HOLDING].first
            self.tables[HOLDING].data[:, column : column + len(words)] = words
        self.outputs = [self._output_slot(w, tuple(ws[i].place for ws in writes)) for i, w in enumerate(self.writes)]

    def _tables(self, chain: dict[int, tuple[int, ...]]) -> dict[int, Table]:
        spans: dict[int, list[tuple[int, int]]] = {}
        for address, words in chain.items():
            spans.setdefault(HOLDING, []).append((address, address + len(words)))
        for r in (*self.reads, *self.extras):
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

    def _slots(self, compiled: Compiled, blocks: list[list[ReadBlock]], prefix: str) -> list[PointSlot]:
        t = compiled.topology
        axes = {"module": (t.racks, t.modules), "rack": (t.racks,), "pcs": (t.pcs,), "site": ()}[self.level]
        everything = [tuple(int(i) for i in place) for place in np.ndindex(*axes)]
        slots = []
        for at, block in enumerate(blocks[0]):
            start = block.address // self.step - self.tables[block.function].first
            for i, ref in enumerate(block.points):
                places = [own[at].points[i].place for own in blocks]
                rows: Rows = tuple(np.array(axis, np.int64) for axis in zip(*places, strict=True))
                column, name = start + ref.offset, prefix + ref.point
                slots.append(PointSlot(name, block.function, column, ref, rows, places == everything, ref.type))
        return slots

    def _show_helpers(self, pinned: dict[tuple[int, int], int]) -> list[PointSlot]:
        """Scale factors fine enough for each instrument (or as pinned), and counts of elements, in their registers."""
        exponents: dict[tuple[int, int], int] = {}
        for slot in self.points:
            if slot.type.scale_from is not None:
                key = (slot.function, slot.column + slot.type.scale_from)
                exponents[key] = pinned.get(key, max(exponents.get(key, LEAST_EXPONENT), _exponent(slot)))
            if slot.type.count_from is not None:
                self.tables[slot.function].data[:, slot.column + slot.type.count_from] = slot.ref.count
        for (function, column), exponent in exponents.items():
            self.tables[function].data[:, column] = exponent & 0xFFFF
        slots = []
        for slot in self.points:
            kind = slot.type
            if kind.scale_from is not None:
                power = float(f"1e{exponents[slot.function, slot.column + kind.scale_from]}")
                slot = dataclasses.replace(slot, type=dataclasses.replace(kind, scale=kind.scale * power))
            slots.append(slot)
        return slots

    def _show_expected(self, profile: Profile) -> dict[tuple[int, int], int]:
        """Fill the registers by which a device is recognised; what they hold, by table and column."""
        pinned = {}
        for slot in self.points:
            extra = profile.extras.get(slot.point.removeprefix(EXTRA)) if slot.point.startswith(EXTRA) else None
            if extra is not None and extra.expect is not None:
                pinned[slot.function, slot.column] = extra.expect
                for row in range(len(self.devices)):
                    self.put_raw(slot, row, 0, extra.expect)
        return pinned

    def _show_divisors(self, rated_w: float, pinned: dict[tuple[int, int], int]) -> dict[tuple[int, int], int]:
        """Fill ratings, and scale factors fine enough for the outputs; what the latter hold, by table and column."""
        shown: dict[tuple[int, int], int] = {}
        for block, ref in self.divisors.values():
            column = self._column(block, ref)
            table = self.tables[block.function].data
            if ref.type.power:
                users = [w for w in self.writes if ref.point in w.divisors]
                shown[block.function, column] = pinned.get((block.function, column), max(map(_step, users)))
                continue
            exponent = 0
            if ref.type.scale_from is not None:
                most = RANGE.get(ref.type.type, (0, 65535))[1] * ref.type.scale
                exponent = max(math.ceil(math.log10(rated_w / most)), 0)
                shown[block.function, column + ref.type.scale_from] = exponent
            words = words_of(raw_of(np.array([rated_w / 10.0**exponent]), ref.type), ref.type).reshape(-1)
            table[:, column : column + len(words)] = words
        for (function, column), exponent in shown.items():
            self.tables[function].data[:, column] = exponent & 0xFFFF
        return shown

    def divisor(self, block: WriteBlock, row: int) -> float:
        """By what a value is divided before it is written to a device, as the registers of this face say."""
        product = 1.0
        for read, ref in (self.divisors[name] for name in block.divisors):
            words = self.tables[read.function].data[row, self._column(read, ref) :]
            if ref.type.power:
                product *= 10.0 ** int(words[:1].astype(">i2")[0])
                continue
            product *= value_of([int(w) for w in words[: words_each(ref.type)]], ref.type)
            if ref.type.scale_from is not None:
                product *= 10.0 ** int(words[ref.type.scale_from : ref.type.scale_from + 1].astype(">i2")[0])
        return product

    def _column(self, block: ReadBlock, ref: PointRef) -> int:
        return block.address // self.step - self.tables[block.function].first + ref.offset

    def _output_slot(self, block: WriteBlock, places: tuple[tuple[int, ...], ...]) -> OutputSlot:
        function = _table_of(block)
        column = block.address // self.step - self.tables[function].first
        return OutputSlot(function, column, _width(block), block, places)

    # -- encoding --------------------------------------------------------------------------------------------

    def encode(self, faces: dict[str, NDArray[Any]]) -> None:
        """All registers of all devices from the plant's arrays; frozen devices keep what they had."""
        for slot in self.points:
            face = faces.get(slot.point)
            if face is None:
                continue
            taken = face if slot.whole or not slot.rows else face[slot.rows]
            self._put(slot, taken.reshape(len(self.devices), -1)[:, : slot.ref.count])
        for row, kept in self.frozen.items():
            for function, registers in kept.items():
                self.tables[function].data[row] = registers
        self.dirty = False

    def _put(self, slot: PointSlot, values: NDArray[Any]) -> None:
        data, kind, count = self.tables[slot.function].data, slot.type, values.shape[1]
        step = kind.registers_each
        columns = slice(slot.column, slot.column + count * step, step)
        if slot.function in BIT_TABLES:
            data[:, columns] = (values != 0) ^ kind.active_low
        elif kind.bit >= 0:
            _put_bits(data, slot, (values != 0) ^ kind.active_low)
        elif kind.type == "bit":
            data[:, columns] = (values != 0) ^ kind.active_low
        elif kind.type != "string":
            self._put_numbers(slot, self._codes(slot, values) if kind.equals else raw_of(values, kind))

    def _codes(self, slot: PointSlot, values: NDArray[Any]) -> NDArray[Any]:
        """Codes of a state register; what it shows already stays where it says the same about this point."""
        codes = codes_of(values, slot.type)
        if WORDS.get(slot.type.type, 1) > 1 or slot.type.type in (*PACKED, *BYTE_TYPES):
            return codes
        step = slot.type.registers_each
        now = self.tables[slot.function].data[:, slot.column : slot.column + values.shape[1] * step : step]
        same = np.isin(now, slot.type.equals) == np.isin(codes, slot.type.equals)
        return np.where(same & (slot.type.mask == 0), now, codes)

    def _put_numbers(self, slot: PointSlot, raw: NDArray[Any]) -> None:
        data, kind, count = self.tables[slot.function].data, slot.type, raw.shape[1]
        step = kind.registers_each
        columns = slice(slot.column, slot.column + count * step, step)
        if kind.type in PACKED:
            _bytes_of(data)[:, 2 * slot.column : 2 * slot.column + count] = raw & 0xFF
        elif kind.type in BYTE_TYPES:
            shift = BYTE_TYPES[kind.type]
            data[:, columns] = (data[:, columns] & (0xFF00 >> shift)) | ((raw & 0xFF) << shift)
        elif kind.type in WORDS:
            words = words_of(raw, kind)
            for i in range(WORDS[kind.type]):
                data[:, slot.column + i : slot.column + i + count * step : step] = words[..., i]
        elif kind.mask:
            data[:, columns] = (data[:, columns] & (0xFFFF ^ kind.mask)) | (raw & kind.mask)
        else:
            data[:, columns] = words_of(raw, kind)

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
        pattern = bad_pattern(kind) if raw is None else raw
        column = slot.column + element * kind.registers_each
        if slot.function in BIT_TABLES:
            data[row, column] = 1 if raw else 0
        elif kind.type in PACKED:
            _bytes_of(data)[row, 2 * slot.column + element] = pattern & 0xFF
        else:
            words = pattern_words(pattern, kind)
            data[row, column : column + len(words)] = words


def _bytes_of(data: NDArray[Any]) -> NDArray[np.uint8]:
    """The same registers as bytes, the high byte of each first."""
    return data.view(np.uint8).reshape(len(data), -1)


def _exponent(slot: PointSlot) -> int:
    """The finest power of ten with which a point's whole instrument range fits its registers."""
    tag, high = TAGS.get(slot.point), RANGE.get(slot.type.type, (0, 65535))[1]
    if tag is None or tag.low is None or tag.high is None:
        return 0
    largest = max(abs(tag.low), abs(tag.high), 1e-9) / slot.type.scale
    return min(max(math.ceil(math.log10(largest / high)), LEAST_EXPONENT), MOST_EXPONENT)


def _step(block: WriteBlock) -> int:
    """The finest power of ten with which a written register reaches its instrument range, or all of a rating."""
    tag, high = TAGS.get(block.output), RANGE.get(block.type.type, (0, 65535))[1]
    whole = 1.0 if len(block.divisors) > 1 else tag.high if tag is not None and tag.high is not None else 1e6
    return min(max(math.ceil(math.log10(whole / block.type.scale / high)), LEAST_EXPONENT), MOST_EXPONENT)


def _put_bits(data: NDArray[Any], slot: PointSlot, on: NDArray[Any]) -> None:
    step, bit = slot.ref.type.registers_each, slot.ref.type.bit
    words = WORDS.get(slot.ref.type.type, 1)
    word = words - 1 - bit // 16 if not slot.ref.type.little_words else bit // 16
    first = slot.column + word
    columns = slice(first, first + on.shape[1] * step, step)
    mask = 1 << (bit % 16)
    data[:, columns] = (data[:, columns] & (0xFFFF ^ mask)) | (on.astype(np.uint16) * np.uint16(mask))


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
    """One group per profile and number of places served, devices in the order of the plan."""
    alike: dict[tuple[str, int], list[DevicePlan]] = {}
    plan = compiled.plan
    blocks: dict[int, int] = dict.fromkeys((d.index for d in plan.devices), 0)
    for block in (*plan.reads, *plan.extras):
        blocks[block.device] += len(block.points)
    for device in plan.devices:
        alike.setdefault((device.profile, blocks[device.index]), []).append(device)
    return [DeviceGroup(compiled, profile, devices) for (profile, _), devices in alike.items()]
