"""Whether the compiled site still is in memory what was compiled: thresholds, delays, tables, settings."""

from __future__ import annotations

import enum
import marshal
import zlib
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from itertools import compress
from operator import attrgetter
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final

import numpy as np

from controller.core.program import Program

PARTS_PER_LOOK: Final = 32
BYTES_PER_LOOK: Final = 256 * 1024
"""Bounds of one look, whichever is reached first: a fraction of a millisecond beside a scan."""
PLAIN: Final = 2
"""Version of marshal that writes a value by what it is alone, not by who else refers to it."""
NO_SUM: Final = -1
"""Where a plain value was exchanged for something else: no sum is negative."""
CODE: Final = (FunctionType, BuiltinFunctionType, MethodType, ModuleType, type, enum.Enum)


class ProgramChanged(RuntimeError):
    """A part of the compiled site is not what it was: memory is damaged, or something wrote where nothing may."""


class Unchanged:
    """Every part of a program is summed once; each look sums some again, so that every part has its turn.

    What a scan puts aside and nothing decides by (the guards' views, what is worked out on first use) is left out.
    """

    def __init__(self, program: Program) -> None:
        self._parts = [(path, _bytes_of(part), _summer(part)) for path, part in _parts(program)]
        self._sums = [read() for _, _, read in self._parts]
        self._next = 0

    @property
    def size(self) -> int:
        """How many parts there are; after `size / PARTS_PER_LOOK` looks or a few more every part was looked at."""
        return len(self._parts)

    def look(self) -> None:
        """Look at the next parts; ProgramChanged, with the path of the part, when one has changed."""
        done = 0
        for _ in range(min(PARTS_PER_LOOK, len(self._parts))):
            path, size, read = self._parts[self._next]
            if read() != self._sums[self._next]:
                raise ProgramChanged(f"{path} changed in memory")
            self._next = (self._next + 1) % len(self._parts)
            done += size
            if done > BYTES_PER_LOOK:
                return


def _parts(program: Program) -> Iterator[tuple[str, Any]]:
    """Everything that the program is made of, once each, with the path that leads to it."""
    views = program.sequences.rack_view, program.sequences.site_view
    seen = {id(view) for view in views}
    waiting: list[tuple[str, Any]] = [("program", program)]
    while waiting:
        path, part = waiting.pop()
        if _is_value(part) or id(part) in seen:
            continue
        seen.add(id(part))
        yield path, part
        waiting += [(f"{path}{name}", inner) for name, inner in _inside(part)]


def _inside(part: Any) -> list[tuple[str, Any]]:
    if isinstance(part, np.ndarray):
        return []
    if isinstance(part, dict):
        return [(f"[{key!r}]", value) for key, value in part.items()]
    if isinstance(part, list | tuple | set | frozenset):
        return [(f"[{i}]", value) for i, value in enumerate(part)]
    return [(f".{name}", getattr(part, name)) for name in _names(part)]


def _names(part: Any) -> tuple[str, ...]:
    """The attributes of an object as it stands now: what is worked out and kept later is no part of it."""
    if isinstance(part, np.ndarray | dict | list | tuple | set | frozenset):
        return ()
    slots = [name for kind in type(part).__mro__ for name in getattr(kind, "__slots__", ()) if hasattr(part, name)]
    return tuple(slots) + tuple(getattr(part, "__dict__", ()))


def _bytes_of(part: Any) -> int:
    return int(part.nbytes) if isinstance(part, np.ndarray) else 0


def _summer(part: Any) -> Callable[[], int]:
    """Sums this part whenever it is called. How it is read is settled once: a look comes after every scan."""
    if isinstance(part, np.ndarray):
        if part.ndim and part.flags.c_contiguous:
            raw = part.view(np.uint8).data
            return lambda: zlib.crc32(raw)
        return lambda: zlib.crc32(np.ascontiguousarray(part).view(np.uint8).data)
    read = _reader(part)
    plain = [_is_plain(value) for value in read()]

    def total() -> int:
        values = read()
        which = zlib.crc32(array("Q", map(id, values)))
        try:
            return zlib.crc32(marshal.dumps(tuple(compress(values, plain)), PLAIN), which)
        except ValueError:
            return NO_SUM

    return total


def _reader(part: Any) -> Callable[[], tuple[Any, ...]]:
    """Reads everything a part holds, in its order."""
    if isinstance(part, dict):
        return lambda: (*part, *part.values())
    if isinstance(part, list | tuple | set | frozenset):
        return lambda: tuple(part)
    names = _names(part)
    if len(names) > 1:
        return partial(attrgetter(*names), part)
    return lambda: tuple(getattr(part, name) for name in names)


def _is_value(part: Any) -> bool:
    return part is None or isinstance(part, (int, float, str, bytes, np.generic, *CODE))


def _is_plain(value: Any) -> bool:
    """A value that is summed as it is; of anything else, which one it is: what that holds is summed for itself."""
    return value is None or (
        isinstance(value, int | float | str | bytes | np.generic) and not isinstance(value, enum.Enum)
    )
