"""What a value is: number, quality and time together, declared once by `tag()`.

Every variable of the controller is a field of an image dataclass, declared with `tag(unit, *dims, doc=...)`.
The layouts of the shared images, the OPC UA nodes, the historian's columns and the panel's labels all come
from these declarations, so adding a field in one place makes the variable appear everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.uint8]

Dims = Mapping[str, int]
"""Length of every named dimension, e.g. {"rack": 12, "module": 8, "cell": 52}."""

NEVER_MS: Final = -(2**40)
"""Sample time of a value that was never read: any age computed from it is far beyond every limit."""


KILO: Final = 1000.0
PERCENT: Final = 100.0


class Quality(IntEnum):
    """How far a value can be trusted; the worse of two is their maximum."""

    GOOD = 0
    STALE = 1
    SUBSTITUTED = 2
    BAD_RANGE = 3
    BAD_SENSOR = 4
    BAD_COMM = 5
    NOT_FITTED = 6


USABLE: Final = np.uint8(Quality.SUBSTITUTED)
"""The worst quality with which a value may still be used; everything above it is no value at all."""

NOT_FITTED: Final = np.uint8(Quality.NOT_FITTED)
"""Both are numbers of the codes' own type: a member of an Enum, or a plain number, costs more than the comparison."""


def amount(value: float, unit: str) -> str:
    """A quantity for people, four digits: `3.651 V`, `80 kohm`, never `8e+04 ohm`; a ratio in percent."""
    if unit == "ratio":
        return f"{PERCENT * value:.4g} %"
    if unit == "ohm" and abs(value) >= KILO:
        return f"{value / KILO:.4g} k{unit}" if abs(value) < KILO**2 else f"{value / KILO**2:.4g} M{unit}"
    return f"{value:.4g} {unit}"


def some(mask: Any) -> bool:
    """Anything in it is true: `mask.any()`, which on the short arrays of a scan takes ten times as long."""
    return bool(np.count_nonzero(mask))


def every(mask: Any) -> bool:
    """All of it is true."""
    return bool(np.count_nonzero(mask) == mask.size)


def usable(s: Samples) -> Bools:
    """Where there is a value to work with."""
    return np.asarray(s.quality <= USABLE)


def lost(s: Samples) -> Bools:
    """Where something is fitted and has no value to work with."""
    return np.asarray((s.quality > USABLE) & (s.quality != NOT_FITTED))


def shows(s: Samples, on: bool) -> Bools:
    """Where a contact or flag is usable and at this level."""
    return np.asarray((s.quality <= USABLE) & ((s.value >= 0.5) == on))


def seen_on(s: Samples) -> Bools:
    """Where a contact or flag is usable and on."""
    return shows(s, True)


def among(codes: NDArray[Any], *wanted: int) -> Bools:
    """True where a code is one of a few.

    Faster than `np.isin` on short arrays, and than `==` with a member of an Enum, which NumPy takes ten times as long
    to look at as a plain number.
    """
    found = codes == int(wanted[0])
    for code in wanted[1:]:
        found = found | (codes == int(code))
    return np.asarray(found)


@dataclasses.dataclass(frozen=True, slots=True)
class Samples:
    """An array of measured values that cannot be separated from its quality and its sample time.

    value: SI, one unit per quantity; quality: `Quality` codes; time_ms: CLOCK_MONOTONIC when the device answered.
    All three have the same shape.
    """

    value: NDArray[Any]
    quality: Codes
    time_ms: Ints

    def age_ms(self, now_ms: int) -> Ints:
        """Age of every value at `now_ms`, in ms."""
        return np.asarray(now_ms - self.time_ms)

    def usable(self) -> Bools:
        """True where a value may be used (GOOD, STALE or SUBSTITUTED)."""
        return np.asarray(self.quality <= USABLE)


@dataclasses.dataclass(frozen=True, slots=True)
class Tag:
    """One declared variable: where it lives in its image, what it measures, and over which dimensions."""

    path: str
    unit: str
    dims: tuple[str, ...]
    dtype: str
    doc: str
    samples: bool
    low: float | None = None
    high: float | None = None
    zero_on_silence: bool = False

    @property
    def name(self) -> str:
        """The field's own name, without the groups it is nested in."""
        return self.path.rpartition(".")[2]

    @property
    def is_text(self) -> bool:
        """True for a tag that holds words."""
        return self.dtype.startswith("S")

    def shape(self, dims: Dims) -> tuple[int, ...]:
        """Array shape for a given plant."""
        return tuple(dims[d] for d in self.dims)


UNIT_SUFFIX: Final[Mapping[str, str]] = {
    "V": "v",
    "A": "a",
    "W": "w",
    "var": "var",
    "Wh": "wh",
    "Ah": "ah",
    "ohm": "ohm",
    "degC": "degc",
    "ratio": "ratio",
    "ms": "ms",
    "h": "h",
    "Hz": "hz",
}
"""Units and the suffix that a field name must carry for them; unit "1" (counts, codes, flags) carries none."""


def tag(
    unit: str,
    *dims: str,
    doc: str,
    dtype: str = "f8",
    low: float | None = None,
    high: float | None = None,
    zero_on_silence: bool = False,
) -> Any:
    """Declare an image field: unit, dimensions, one line of documentation, and its instrument range.

    `low`/`high` bound what a working sensor can report (engineering range); outside is BAD_RANGE.
    `zero_on_silence` marks outputs that the I/O process must zero when the scan falls silent.
    """
    meta = {
        "unit": unit,
        "dims": dims,
        "doc": doc,
        "dtype": dtype,
        "low": low,
        "high": high,
        "zero_on_silence": zero_on_silence,
    }
    return dataclasses.field(metadata={"tag": meta})


def never(shape: tuple[int, ...], quality: Quality = Quality.BAD_COMM, dtype: str = "f8") -> Samples:
    """Samples that were never read: zero value, bad quality, infinitely old."""
    return Samples(
        np.zeros(shape, dtype),
        np.full(shape, int(quality), np.uint8),
        np.full(shape, NEVER_MS, np.int64),
    )
