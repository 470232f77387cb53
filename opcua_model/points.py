"""What a variable is: a path, a specification shared by all its like, and how to read it from an image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from controller.core.command import words
from controller.core.layout import Layout
from controller.core.signal import NEVER_MS, USABLE, Samples
from opcua_model.quality import (
    BY_CODE,
    GOOD,
    LAST_USABLE,
    NO_COMMUNICATION,
    OUT_OF_RANGE,
    WAITING,
    array_status,
    is_bad,
)
from opcua_model.view import Grade, Look

Index = tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """A value, its status and its source time. `value` is None whenever the status is Bad."""

    value: Any
    status: int = GOOD
    utc_ms: int | None = None


Reader = Callable[[Look, Index], Reading]


@dataclasses.dataclass(frozen=True, slots=True)
class Spec:
    """What all variables of one kind share.

    kind: OPC UA built-in type; source: `process`, the name of a process for its status image, or `` for what the
    server itself knows; graded: the image's age worsens the status; enum: name of the enumeration behind a code.
    """

    name: str
    kind: str
    doc: str
    read: Reader
    source: str = "process"
    unit: str = "1"
    array: bool = False
    low: float | None = None
    high: float | None = None
    writable: bool = False
    graded: bool = True
    enum: str = ""

    @property
    def analog(self) -> bool:
        """True where units and range belong."""
        return self.unit != "1" and self.kind in ("Float", "Double", "Int64")


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """One variable: its path below the root, what it is, and which element of the image it shows."""

    path: str
    spec: Spec
    index: Index = ()


def sample(spec: Spec, look: Look, index: Index) -> Reading:
    """The reading of a variable; an image that is late makes it uncertain, one that is dead takes the value away."""
    if spec.graded and look.grade is not Grade.FRESH:
        if look.grade is Grade.NEVER:
            return Reading(None, WAITING)
        if look.grade is Grade.DEAD:
            return Reading(None, NO_COMMUNICATION, look.now_ms - look.age_ms + look.utc_offset_ms)
        reading = spec.read(look, index)
        return reading if is_bad(reading.status) else Reading(reading.value, LAST_USABLE, reading.utc_ms)
    return spec.read(look, index)


def image_time(look: Look) -> int:
    """Wall time at which the image was made."""
    return look.now_ms - look.age_ms + look.utc_offset_ms


CONVERT: Final[dict[str, Callable[[Any], Any]]] = {
    "Boolean": lambda v: bool(v >= 0.5),
    "Int32": int,
    "Int64": int,
    "Double": float,
    "Float": float,
    "String": str,
}


def samples_reader(path: str, kind: str) -> Reader:
    """Reads one element of a Samples tag with its quality and its sample time."""
    convert = CONVERT[kind]

    def read(look: Look, index: Index) -> Reading:
        s: Samples = Layout.get(look.image, path)
        quality, time_ms = int(s.quality[index]), int(s.time_ms[index])
        utc = time_ms + look.utc_offset_ms if time_ms > NEVER_MS else None
        if quality > USABLE:
            return Reading(None, BY_CODE[quality], utc)
        return Reading(convert(s.value[index]), BY_CODE[quality], utc)

    return read


def samples_array_reader(path: str) -> Reader:
    """Reads a module's row of a Samples tag; elements without a usable value are NaN, the oldest time counts."""

    def read(look: Look, index: Index) -> Reading:
        s: Samples = Layout.get(look.image, path)
        quality, times = s.quality[index], s.time_ms[index]
        status = array_status(quality)
        oldest = int(times.min(initial=2**62, where=times > NEVER_MS))
        utc = oldest + look.utc_offset_ms if oldest < 2**62 else None
        if is_bad(status):
            return Reading(None, status, utc)
        values = np.where(quality <= USABLE, s.value[index], np.nan)
        return Reading(values.tolist(), status, utc)

    return read


def plain_reader(path: str, kind: str) -> Reader:
    """Reads a tag that has no quality of its own: it is as good and as old as its image."""
    convert = CONVERT[kind]

    def read(look: Look, index: Index) -> Reading:
        found = Layout.get(look.image, path)
        value = convert(found[index] if index else found)
        if isinstance(value, float) and not math.isfinite(value):
            return Reading(None, OUT_OF_RANGE, image_time(look))
        return Reading(value, GOOD, image_time(look))

    return read


def plain_array_reader(path: str) -> Reader:
    """Reads a module's row of a tag that has no quality of its own."""

    def read(look: Look, index: Index) -> Reading:
        return Reading(Layout.get(look.image, path)[index].tolist(), GOOD, image_time(look))

    return read


def wall_time_reader(path: str) -> Reader:
    """Reads a wall clock time in ms; zero means that it never happened."""

    def read(look: Look, index: Index) -> Reading:
        found = Layout.get(look.image, path)
        return Reading(int(found[index] if index else found), GOOD, image_time(look))

    return read


def words_reader(path: str) -> Reader:
    """Reads a tag that holds words."""

    def read(look: Look, _index: Index) -> Reading:
        return Reading(words(Layout.get(look.image, path)), GOOD, image_time(look))

    return read


def text_reader(path: str, text: Callable[[int], str]) -> Reader:
    """Reads a code and gives its text."""

    def read(look: Look, index: Index) -> Reading:
        found = Layout.get(look.image, path)
        return Reading(text(int(found[index] if index else found)), GOOD, image_time(look))

    return read


def fixed(value: Any) -> Reader:
    """Always this value."""
    reading = Reading(value)
    return lambda _look, _index: reading
