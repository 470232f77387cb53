"""How much people are asked to take in: chatter, floods, stale alarms, rate (ISA-18.2, EEMUA 191)."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from controller.core.memory import AnnunciationMemory
from controller.core.signal import Bools, Ints, some

CHATTER_MS: Final = 60_000
"""Three times within this time is chatter."""
FLOOD_BEGINS: Final = 10
FLOOD_ENDS: Final = 5
BUCKET_MS: Final = 10_000
HOUR_MS: Final = 3_600_000
STALE_MS: Final = 24 * HOUR_MS


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """The counts of one scan, and what the next one needs."""

    in_ten_minutes: int
    per_hour: float
    flood: int
    clock_ms: int
    flood_count: Ints
    hour_count: Ints


def count(memory: AnnunciationMemory, sounded: int, elapsed_ms: int) -> Figures:
    """Alarms that sounded, in buckets of 10 s and of an hour: a window is exact to one bucket."""
    clock = memory.clock_ms + elapsed_ms
    recent = _shift(memory.flood_count, clock // BUCKET_MS - memory.clock_ms // BUCKET_MS, sounded)
    hours = _shift(memory.hour_count, clock // HOUR_MS - memory.clock_ms // HOUR_MS, sounded)
    in_ten = int(recent.sum())
    flood = in_ten > FLOOD_BEGINS or bool(memory.flood and in_ten >= FLOOD_ENDS)
    watched_h = max(min(clock / HOUR_MS, float(hours.size)), 1.0)
    return Figures(in_ten, int(hours.sum()) / watched_h, int(flood), clock, recent, hours)


def _shift(buckets: Ints, by: int, new: int) -> Ints:
    """The buckets moved on, the newest first; the same object when nothing changes."""
    if not by and not new:
        return buckets
    moved = np.zeros_like(buckets)
    if by < buckets.size:
        moved[by:] = buckets[: buckets.size - by]
    moved[0] += new
    return moved


def chatter(memory: AnnunciationMemory, sounded: Bools, clock_ms: int, elapsed_ms: int) -> tuple[Ints, Ints]:
    """(time left as a chattering alarm, the last two times each slot sounded)."""
    left: Any = np.maximum(memory.chatter_ms - elapsed_ms, 0)
    if not some(sounded):
        return left, memory.sounded_ms
    last, before = memory.sounded_ms
    third = sounded & (before > 0) & (clock_ms - before <= CHATTER_MS)
    left = np.where(third, CHATTER_MS, left)
    return left, np.stack([np.where(sounded, clock_ms, last), np.where(sounded, last, before)])
