"""Registers <-> values, pure: many devices of one kind are decoded or encoded in one stroke.

A `Decoder` takes the raw reply bytes of all devices of a group, one row each, and gives SI values and a mask of
what is no value at all (sentinel, NaN, infinity). An `Encoder` gives the data bytes of a write and counts what had
to be clamped, because a value that wraps around silently is a wrong command. `text` is a string register.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from plc_config.plan import PointRef, PointType

Raw = NDArray[np.uint8]
BIT_FUNCTIONS: Final = (1, 2, 5, 15)
REGISTER_BYTES: Final = 2
SINGLE_COIL: Final = 5
MANY_COILS: Final = 15
COIL_ON: Final = 0xFF
MASK: Final = 22
"""Function that changes one bit of a register: its data are an AND mask and an OR mask."""


SIZES: Final = {"bit": 2, "u16": 2, "s16": 2, "u32": 4, "s32": 4, "u64": 8, "s64": 8, "f32": 4}
"""Bytes of an element that fills whole registers."""

PACKED: Final = {"u8": "u1", "s8": "i1"}
"""Rows of bytes, two in every register, the high byte first."""

HALVES: Final = {"u8_high": (0, "u1"), "u8_low": (1, "u1"), "s8_high": (0, "i1"), "s8_low": (1, "i1")}
"""Byte within the register and its dtype."""

LETTER: Final = {"b": "u", "u": "u", "s": "i", "f": "f"}
SEARCHED_BYTES: Final = 4096
"""Up to here a search for a sentinel's bytes costs less than a comparison of every element."""

LARGEST_EXPONENT: Final = 10
POWERS: Final = np.array([float(f"1e{e}") for e in range(-LARGEST_EXPONENT, LARGEST_EXPONENT + 1)])
"""What a run-time scale factor may be: SunSpec allows -10..10, anything else means that it is not implemented."""


class Decoder:
    """One point of a block, for every device of the group."""

    def __init__(self, ref: PointRef, function: int) -> None:
        kind = ref.type
        if kind.type not in SIZES and kind.type not in HALVES and kind.type not in PACKED:
            raise ValueError(f"{ref.point}: type {kind.type} has no numeric value")
        self.point, self.count, self.type = ref.point, ref.count, kind
        self.coils = function in BIT_FUNCTIONS
        self.offset = ref.offset
        self.factor = -kind.scale if kind.negate else kind.scale
        self.shift = max(kind.bit, 0) if kind.type == "bit" else kind.bit
        self.is_bit = self.coils or self.shift >= 0
        self.float = kind.type == "f32" and not self.coils
        self.dtype, self.unsigned, self.take = _gather(kind, ref.offset, ref.count)
        bits = 8 * self.unsigned.itemsize
        self.equals = [e & ((1 << bits) - 1) for e in kind.equals]
        self.sentinels = () if self.coils else tuple(s & ((1 << bits) - 1) for s in kind.sentinel)
        straight = not kind.little_words or bits <= 8 * REGISTER_BYTES
        self.patterns = tuple(s.to_bytes(bits // 8, "big") for s in self.sentinels) if straight else (b"",)
        self._seen: tuple[Raw | None, Any, Any] = (None, None, None)

    def __call__(self, raw: Raw) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Values of shape (devices, count), and where they are no values; None when all are."""
        if self.coils:
            bits = np.unpackbits(raw, axis=1, bitorder="little")[:, self.offset : self.offset + self.count]
            return self._bits(bits), None
        same, codes, numbers = self._seen
        if same is not raw:
            codes, numbers = self._look(raw)
        bad: NDArray[np.bool_] | None = None
        if self.sentinels and (raw.size > SEARCHED_BYTES or self._may_contain(raw)):
            for sentinel in self.sentinels:
                hit = codes == sentinel
                bad = hit if bad is None else bad | hit
        if self.is_bit:
            return self._bits((codes >> self.shift) & 1), _any(bad)
        if self.type.mask:
            codes = (codes & self.type.mask).astype(self.unsigned)
            numbers = codes.view(self.dtype)
        if self.type.equals:
            return self._bits(np.isin(codes, self.equals)), self._counted(raw, bad)
        if self.float:
            broken = ~np.isfinite(numbers)
            bad = broken if bad is None else bad | broken
            numbers = np.where(broken, 0.0, numbers)
        if self.type.power:
            wild = np.abs(numbers.astype(np.int64)) > LARGEST_EXPONENT
            return POWERS[np.where(wild, 0, numbers) + LARGEST_EXPONENT], _any(wild)
        if self.type.raw_offset:
            values = (numbers.astype(np.float64) + self.type.raw_offset) * self.factor
        else:
            values = numbers.astype(np.float64)
            values *= self.factor
        if self.type.scale_from is not None:
            exponent = self._register(raw, self.type.scale_from, ">i2")
            wild = np.abs(exponent.astype(np.int64)) > LARGEST_EXPONENT
            values *= POWERS[np.where(wild, 0, exponent) + LARGEST_EXPONENT][:, None]
            bad = wild[:, None] | (np.zeros(values.shape, bool) if bad is None else bad)
        return values, self._counted(raw, bad)

    def _may_contain(self, raw: Raw) -> bool:
        """Whether a sentinel's bytes are anywhere in a few replies: mostly they are not, and this is soon seen."""
        everything = raw.tobytes()
        return any(pattern in everything for pattern in self.patterns)

    def _look(self, raw: Raw) -> tuple[Any, Any]:
        """The elements as codes and as numbers. What lies in the raw bytes as it is, is looked at there every time."""
        straight = isinstance(self.take, slice)
        # Not raw[:, take]: of several devices that gives the elements of each far apart.
        data = raw[:, self.take] if straight else raw.take(self.take, axis=1)
        codes, numbers = data.view(self.unsigned), data.view(self.dtype)
        if straight:
            self._seen = raw, codes, numbers
        return codes, numbers

    def _counted(self, raw: Raw, bad: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Elements beyond the count that the device itself gives are no values."""
        if self.type.count_from is not None:
            beyond = np.arange(self.count) >= self._register(raw, self.type.count_from, ">u2")[:, None]
            bad = beyond if bad is None else bad | beyond
        return _any(bad)

    def _register(self, raw: Raw, away: int, dtype: str) -> NDArray[Any]:
        start = REGISTER_BYTES * (self.offset + away)
        return np.ascontiguousarray(raw[:, start : start + REGISTER_BYTES]).view(dtype)[:, 0]

    def _bits(self, bits: NDArray[Any]) -> NDArray[Any]:
        return 1 - bits.astype(np.int8) if self.type.active_low else bits


def _any(mask: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    return mask if mask is not None and bool(mask.any()) else None


def _gather(kind: PointType, offset: int, count: int) -> tuple[np.dtype[Any], np.dtype[Any], Any]:
    """The element's dtype, the unsigned one of its width, and which bytes of the reply to take in which order."""
    start = REGISTER_BYTES * offset
    if kind.type in PACKED:
        return np.dtype(PACKED[kind.type]), np.dtype("u1"), slice(start, start + count)
    if kind.type in HALVES:
        half, name = HALVES[kind.type]
        index = start + half + REGISTER_BYTES * kind.registers_each * np.arange(count)
        return np.dtype(name), np.dtype("u1"), index
    size = SIZES[kind.type]
    dtype, unsigned = np.dtype(f">{LETTER[kind.type[0]]}{size}"), np.dtype(f">u{size}")
    stride = REGISTER_BYTES * kind.registers_each
    swapped = kind.little_words and size > REGISTER_BYTES
    if stride == size and not swapped:
        return dtype, unsigned, slice(start, start + count * size)
    order = np.arange(size)
    if swapped:
        order = order.reshape(-1, REGISTER_BYTES)[::-1].ravel()
    return dtype, unsigned, (start + stride * np.arange(count)[:, None] + order).ravel()


class Encoder:
    """One kind of output: values of shape (devices, count) become the data bytes of one write each."""

    def __init__(self, kind: PointType, function: int, count: int, modulo: int = 0) -> None:
        if kind.type not in SIZES:
            raise ValueError(f"type {kind.type} cannot be written")
        self.type, self.function, self.count, self.modulo = kind, function, count, modulo
        self.coils = function in BIT_FUNCTIONS
        self.factor = (-1.0 if kind.negate else 1.0) / kind.scale
        size = SIZES[kind.type]
        self.dtype = np.dtype(f">{LETTER[kind.type[0]]}{size}")
        self.words = size // REGISTER_BYTES
        self.low, self.high = _range(self.dtype)

    @property
    def data_bytes(self) -> int:
        """Bytes of data in each write."""
        if self.function == SINGLE_COIL:
            return REGISTER_BYTES
        if self.function == MASK:
            return 2 * REGISTER_BYTES
        return (self.count + 7) // 8 if self.coils else REGISTER_BYTES * self.words * self.count

    def __call__(self, values: NDArray[Any]) -> tuple[Raw, int]:
        """The bytes of every row, and how many values did not fit and were clamped."""
        if self.coils:
            on = values != 0
            if self.function == SINGLE_COIL:
                coil = np.zeros((len(on), REGISTER_BYTES), np.uint8)
                coil[:, 0] = np.where(on[:, 0], COIL_ON, 0)
                return coil, 0
            return np.packbits(on, axis=1, bitorder="little"), 0
        if self.function == MASK:
            bit = 1 << self.type.bit
            masks = np.empty((len(values), 2), ">u2")
            masks[:, 0], masks[:, 1] = 0xFFFF ^ bit, np.where(values[:, 0] != 0, bit, 0)
            return masks.view(np.uint8).reshape(len(values), -1), 0
        numbers = np.asarray(values, np.float64)
        if self.modulo:
            numbers = np.mod(numbers, self.modulo)
        finite = np.isfinite(numbers)
        scaled = np.where(finite, numbers, 0.0) * self.factor - self.type.raw_offset
        if self.dtype.kind != "f":
            scaled = np.rint(scaled)
        fitting = np.clip(scaled, self.low, self.high)
        wrong = int(np.count_nonzero((fitting != scaled) | ~finite))
        raw = np.ascontiguousarray(fitting.astype(self.dtype)).view(np.uint8)
        if self.type.little_words and self.words > 1:
            raw = np.ascontiguousarray(raw.reshape(-1, self.words, REGISTER_BYTES)[:, ::-1])
        return raw.reshape(len(values), -1), wrong


def _range(dtype: np.dtype[Any]) -> tuple[float, float]:
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return float(limits.min), float(limits.max)
    whole = np.iinfo(dtype)
    high = float(whole.max)
    # The float nearest to 2**64-1 is 2**64, which does not fit: take the one below.
    return float(whole.min), float(np.nextafter(high, 0.0)) if high > whole.max else high


def text(raw: bytes, little: bool = False) -> str:
    """A string register's text: bytes in order (or swapped in every register), up to the first NUL, without blanks."""
    data = bytearray(raw)
    if little:
        data[0::2], data[1::2] = raw[1::2], raw[0::2]
    return bytes(data).split(b"\0", 1)[0].decode("ascii", "replace").strip()
