"""Values to registers, for many devices at once. `PointType` says how; registers are big-endian 16 bit words."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from plc_config.plan import PointType

Words = NDArray[Any]
"""Unsigned 16 bit words in sending order, last axis = words of one element."""

RANGE: Final[dict[str, tuple[int, int]]] = {
    "u16": (0, 2**16 - 1),
    "s16": (-(2**15), 2**15 - 1),
    "u32": (0, 2**32 - 1),
    "s32": (-(2**31), 2**31 - 1),
    "u64": (0, 2**53),
    "s64": (-(2**53), 2**53),
    "u8": (0, 255),
    "s8": (-128, 127),
    "u8_high": (0, 255),
    "u8_low": (0, 255),
    "s8_high": (-128, 127),
    "s8_low": (-128, 127),
}
"""64 bit values are clipped to what a float can carry exactly."""

WORDS: Final = {"u32": 2, "s32": 2, "u64": 4, "s64": 4, "f32": 2}
PACKED: Final = ("u8", "s8")
BYTE_TYPES: Final = {"u8_high": 8, "s8_high": 8, "u8_low": 0, "s8_low": 0}
LARGEST_FLOAT: Final = 3.4e38
FLOAT_NAN: Final = 0x7FC00000


def raw_of(values: NDArray[Any], kind: PointType) -> NDArray[Any]:
    """Raw numbers of SI values: sign, scale and offset undone, rounded, kept inside the type's range."""
    factor = (-1.0 if kind.negate else 1.0) / kind.scale
    raw = np.multiply(values, factor, dtype=float)
    if kind.raw_offset:
        raw -= kind.raw_offset
    if kind.type == "f32":
        return np.asarray(np.clip(raw, -LARGEST_FLOAT, LARGEST_FLOAT))
    low, high = RANGE.get(kind.type, (0, 2**16 - 1))
    np.rint(raw, out=raw)
    np.clip(raw, low, high, out=raw)
    return np.asarray(raw.astype(np.int64))


def codes_of(values: NDArray[Any], kind: PointType) -> NDArray[Any]:
    """Raw numbers of a point that the device shows as a code: the first that means yes, or one that does not."""
    other = next(n for n in range(len(kind.equals) + 1) if n not in kind.equals)
    return np.where((values != 0) ^ kind.active_low, kind.equals[0], other).astype(np.int64)


def words_of(raw: NDArray[Any], kind: PointType) -> Words:
    """Raw numbers as words; the shape gains a last axis unless an element is one word."""
    if kind.type == "f32":
        words = raw.astype(">f4").view(">u2").reshape(*raw.shape, 2)
    else:
        count = WORDS.get(kind.type, 1)
        if count == 1:
            return np.asarray(raw & 0xFFFF).astype(">u2")
        shifts = np.arange(count - 1, -1, -1) * 16
        words = np.asarray((raw[..., None] >> shifts) & 0xFFFF).astype(">u2")
    return words[..., ::-1] if kind.little_words else words


def bad_pattern(kind: PointType) -> int:
    """The raw number with which a device of this profile says `no value`."""
    if kind.sentinel:
        return kind.sentinel[0]
    if kind.type == "f32":
        return FLOAT_NAN
    low, high = RANGE.get(kind.type, (0, 2**16 - 1))
    return low if low < 0 else high


def pattern_words(raw: int, kind: PointType) -> Words:
    """An exact raw bit pattern as the words of one element."""
    count = WORDS.get(kind.type, 1)
    words = np.array([(raw >> (16 * (count - 1 - i))) & 0xFFFF for i in range(count)], ">u2")
    return words[::-1] if kind.little_words else words


def value_of(words: list[int], kind: PointType, modulo: int = 0) -> float:
    """The SI value that a controller wrote as these words (in sending order)."""
    if kind.little_words:
        words = words[::-1]
    raw = 0
    for word in words:
        raw = raw << 16 | word
    if kind.type == "f32":
        number = float(np.array([raw], np.uint32).view(np.float32)[0])
    else:
        bits = 16 * len(words)
        signed = kind.type.startswith("s") and raw >= 1 << (bits - 1)
        number = float(raw - (1 << bits) if signed else raw)
    value = (number + kind.raw_offset) * kind.scale
    return -value if kind.negate and not modulo else value
