"""What the scan tells: transitions and answers as fixed records, told after the outputs are written."""

from __future__ import annotations

import dataclasses
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.command import TEXT_BYTES, USER_BYTES, cut, words
from controller.core.layout import RECORDS


class What(IntEnum):
    """The kinds of event."""

    ANSWER = 1
    ALARM = 2
    SITE_MODE = 3
    RACK_MODE = 4
    SETPOINT = 5
    SYSTEM = 6
    BUS = 7
    SESSION = 8
    LOST = 9
    CONTROL = 10


EVENT_DTYPE: Final = np.dtype(
    [
        ("what", "i4"),
        ("slot", "i4"),
        ("scan", "u8"),
        ("time_ms", "i8"),
        ("utc_ms", "i8"),
        ("old", "f8"),
        ("new", "f8"),
        ("limit", "f8"),
        ("command", "u8"),
        ("kind", "i4"),
        ("origin", "i4"),
        ("accepted", "i4"),
        ("came", "i4"),
        ("value", "f8"),
        ("user", f"S{USER_BYTES}"),
        ("place", "S24"),
        ("text", f"S{TEXT_BYTES}"),
    ]
)
RECORDS["event"] = EVENT_DTYPE


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    slot: alarm slot for ALARM, else -1; old, new: states or values; for ALARM these are alarm states
    as people see them and `value`, `limit` what was compared; came: the row began to act, also where nobody is
    told of it by itself; ago_ms: so much earlier than the scan that tells it. command, kind, origin, accepted: for
    ANSWER.
    """

    what: What
    old: float = 0.0
    new: float = 0.0
    limit: float = 0.0
    value: float = 0.0
    slot: int = -1
    command: int = 0
    kind: int = 0
    origin: int = 0
    accepted: bool = False
    user: str = ""
    place: str = ""
    text: str = ""
    came: bool = False
    ago_ms: int = 0

    def record(self, scan: int, time_ms: int, utc_ms: int) -> NDArray[Any]:
        """As one fixed record of EVENT_DTYPE."""
        r = np.zeros((), EVENT_DTYPE)
        for name in ("what", "slot", "old", "new", "limit", "value", "command", "kind", "origin", "accepted", "came"):
            r[name] = getattr(self, name)
        r["scan"], r["time_ms"], r["utc_ms"] = scan, time_ms - self.ago_ms, utc_ms - self.ago_ms
        r["user"], r["place"] = cut(self.user, USER_BYTES), cut(self.place, 24)
        r["text"] = cut(self.text, TEXT_BYTES)
        return r


def text_of(record: Any, field: str) -> str:
    """A text field of an event or command record."""
    return words(record[field])
