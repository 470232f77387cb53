"""Durations as counts in 240 logarithmic buckets, 1 us to 100 s in steps of 8 %: bounded, and additive."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.topology import HISTOGRAM_BUCKETS
from controller.image.status import COARSE_BUCKETS, COARSE_LOWEST_PER_MS

PER_DECADE: Final = 30
LOWEST_MS: Final = 1e-3


def bucket(ms: float) -> int:
    """The bucket of a duration; shorter and longer ones fall into the first and the last."""
    if ms <= LOWEST_MS:
        return 0
    return min(int(math.log10(ms / LOWEST_MS) * PER_DECADE), HISTOGRAM_BUCKETS - 1)


def buckets(ms: NDArray[Any]) -> NDArray[np.int64]:
    """How many of many durations fall into each bucket."""
    return np.bincount(bucket_each(ms).ravel(), minlength=HISTOGRAM_BUCKETS)


def bucket_each(ms: NDArray[Any]) -> NDArray[np.int64]:
    """The bucket of each of many durations."""
    index = np.log10(np.maximum(ms, LOWEST_MS) / LOWEST_MS) * PER_DECADE
    return np.asarray(np.clip(index.astype(np.int64), 0, HISTOGRAM_BUCKETS - 1))


def upper_ms(index: int) -> float:
    """The upper edge of a bucket."""
    return float(LOWEST_MS * 10 ** ((index + 1) / PER_DECADE))


def percentile(counts: NDArray[Any], ratio: float) -> float:
    """The duration below which `ratio` of all lie, to the bucket's upper edge; 0 when nothing was counted."""
    total = int(counts.sum())
    if total == 0:
        return 0.0
    return upper_ms(int(np.searchsorted(np.cumsum(counts), math.ceil(ratio * total))))


COARSE: Final = [
    min(int(upper_ms(i) * COARSE_LOWEST_PER_MS).bit_length(), COARSE_BUCKETS - 1) for i in range(HISTOGRAM_BUCKETS)
]
"""A unit's bucket of every fine one: below 0.25 ms the first, then each twice as wide, the last one open."""


def coarse(counts: NDArray[Any]) -> NDArray[np.int64]:
    """The counts of many fine buckets in a unit's few."""
    return np.bincount(COARSE, weights=counts, minlength=COARSE_BUCKETS).astype(np.int64)


def coarse_percentile(counts: NDArray[Any], ratio: float) -> float:
    """As `percentile`, for a unit's buckets."""
    total = int(counts.sum())
    if total == 0:
        return 0.0
    return float((1 << int(np.searchsorted(np.cumsum(counts), math.ceil(ratio * total)))) / COARSE_LOWEST_PER_MS)
