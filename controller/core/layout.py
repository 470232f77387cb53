"""How an image lies in memory, derived from its tags: used for shared images, recordings and digests."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from functools import cache
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from controller.core.signal import NEVER_MS, Dims, Quality, Samples, Tag

Image = TypeVar("Image")
ALIGN = 16

RECORDS: dict[str, np.dtype[Any]] = {}
"""Structured dtypes (commands, events) that a tag may name instead of a scalar type."""
RECORD: Final = " (record)"
"""Follows the path of a field of records in a described layout."""


@cache
def tags_of(cls: type) -> tuple[Tag, ...]:
    """All tags of an image dataclass and of the groups nested in it, in declaration order."""
    return tuple(_walk(cls, ""))


def _walk(cls: type, prefix: str) -> list[Tag]:
    hints = get_type_hints(cls)
    found: list[Tag] = []
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        meta = field.metadata.get("tag")
        if meta is not None:
            found.append(Tag(path=prefix + field.name, samples=kind is Samples, **meta))
        elif dataclasses.is_dataclass(kind) and isinstance(kind, type):
            found.extend(_walk(kind, f"{prefix}{field.name}."))
        else:
            raise TypeError(f"{cls.__name__}.{field.name}: an image field needs tag() or is a group of tags")
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """One array of one tag at a fixed offset."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int

    def of(self, buffer: NDArray[np.uint8]) -> NDArray[Any]:
        return np.ndarray(self.shape, self.dtype, buffer, self.offset)


class Layout(Generic[Image]):
    """Fixed offsets of every field of an image class for one plant.

    `size` is in bytes; `digest` changes with any change of tags or dimensions, so two programs that disagree
    about an image notice before they exchange a value.
    """

    def __init__(self, cls: type[Image], dims: Dims) -> None:
        self.cls = cls
        self.dims = dict(dims)
        self.parts: dict[str, tuple[_Part, ...]] = {}
        self.tags = {t.path: t for t in tags_of(cls)}  # type: ignore[arg-type]
        offset = 0
        described = [cls.__name__]
        for t in self.tags.values():
            main = RECORDS.get(t.dtype) or np.dtype(t.dtype)
            parts = []
            for dtype in (main, np.dtype("u1"), np.dtype("i8")) if t.samples else (main,):
                shape = t.shape(dims)
                nbytes = math.prod(shape) * dtype.itemsize
                parts.append(_Part(offset, shape, dtype, nbytes))
                offset += -(-nbytes // ALIGN) * ALIGN
                described.append(f"{t.path}:{dtype.descr}:{shape}")
            self.parts[t.path] = tuple(parts)
        self._fields = [(path, attrgetter(path), parts) for path, parts in self.parts.items()]
        self._plan = self._planned(cls, "")
        self.size = max(offset, ALIGN)
        self.digest = hashlib.sha256("|".join(described).encode()).hexdigest()[:16]

    def blank(self) -> Image:
        """A writable image on its own memory: zeros, every sample bad and never read."""
        image = self.view(np.zeros(self.size, np.uint8))
        for path, t in self.tags.items():
            if t.samples:
                s = self.get(image, path)
                s.quality[...] = int(Quality.BAD_COMM)
                s.time_ms[...] = NEVER_MS
        return image

    def view(self, buffer: NDArray[np.uint8]) -> Image:
        """The image lying in `buffer`; arrays are views on it, plain scalars are copied out."""
        image: Image = _built(self.cls, self._plan, buffer)
        return image

    def _planned(self, cls: type, prefix: str) -> list[Any]:
        """How an image of this class is put together: the parts of every field, and the plan of every group."""
        plan: list[Any] = []
        for name, kind in _hints(cls).items():
            parts = self.parts.get(prefix + name)
            plan.append((kind, self._planned(kind, f"{prefix}{name}.")) if parts is None else parts)
        return plan

    def write(self, image: Image, buffer: NDArray[np.uint8], written: dict[str, Any] | None = None) -> None:
        """Copy every field of `image` into `buffer` at its place.

        `written` holds the arrays that this buffer was given last: an array that is still the same object is not
        copied again, so it must never be changed in place.
        """
        for path, field, parts in self._fields:
            value = field(image)
            if written is not None and isinstance(value, np.ndarray):
                if written.get(path) is value:
                    continue
                written[path] = value
            if len(parts) == 3:
                for part, array in zip(parts, (value.value, value.quality, value.time_ms), strict=True):
                    part.of(buffer)[...] = array
            else:
                parts[0].of(buffer)[...] = value

    def describe(self) -> dict[str, tuple[Any, list[int], int]]:
        """Type, shape and offset of every field that is no sample: enough to read its bytes when this layout is long
        gone. Records stand under their path and `RECORD`: a version that knows plain fields only passes them over."""
        found: dict[str, tuple[Any, list[int], int]] = {}
        for path, (part, *more) in self.parts.items():
            if more:
                continue
            named = part.dtype.names is not None
            kind = part.dtype.descr if named else part.dtype.str
            found[path + RECORD * named] = (kind, list(part.shape), part.offset)
        return found

    def adopt(self, blob: bytes, described: Mapping[str, Any]) -> Image:
        """A blank image with the fields that `blob`, laid out as `described`, has in common with this layout.

        A record whose fields are others is not in common: what was left blank in it might not fit what was not.
        """
        buffer = np.zeros(self.size, np.uint8)
        for path, (kind, shape, offset) in described.items():
            part = self.parts.get(path.removesuffix(RECORD), (None,))[0]
            if part is not None and part.dtype == _dtype(kind) and list(part.shape) == list(shape):
                part.of(buffer)[...] = np.ndarray(part.shape, part.dtype, blob, offset)
        return self.view(buffer)

    def to_bytes(self, image: Image) -> bytes:
        """The image as bytes, padding zero: equal images give equal bytes."""
        buffer = np.zeros(self.size, np.uint8)
        self.write(image, buffer)
        return buffer.tobytes()

    @staticmethod
    def get(image: Any, path: str) -> Any:
        """The field at a dotted path."""
        return attrgetter(path)(image)


def _dtype(kind: Any) -> np.dtype[Any]:
    """The type that `Layout.describe` told, also after JSON has made lists of its tuples."""
    if isinstance(kind, str):
        return np.dtype(kind)
    return np.dtype([(name, _dtype(of), *map(tuple, shape)) for name, of, *shape in kind])


def _built(cls: type, plan: list[Any], buffer: NDArray[np.uint8]) -> Any:
    values: list[Any] = []
    for step in plan:
        if len(step) == 3:
            value, quality, time_ms = step
            values.append(Samples(value.of(buffer), quality.of(buffer), time_ms.of(buffer)))
        elif len(step) == 2:
            values.append(_built(step[0], step[1], buffer))
        else:
            array = step[0].of(buffer)
            values.append(array if step[0].shape or array.dtype.names else array.item())
    return cls(*values)


@cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}
