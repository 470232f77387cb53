"""The door through which a server asks for the past, so that adapters need not know each other."""

from __future__ import annotations

import dataclasses
from typing import Protocol


@dataclasses.dataclass(frozen=True, slots=True)
class HistoryPoint:
    """One stored value: wall time in ms, value, quality code."""

    utc_ms: int
    value: float
    quality: int


class HistoryReader(Protocol):
    """Reads what the store has written; safe to call from another process than the store's."""

    def read(self, variable: str, start_utc_ms: int, end_utc_ms: int, most: int) -> list[HistoryPoint]:
        """At most `most` points of a variable (`tag name` or `tag name[place]`), oldest first."""
        ...
