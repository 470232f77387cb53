"""What a bus counts; copied into the I/O status once per cycle."""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.core.topology import HISTOGRAM_BUCKETS
from controller.image.histogram import bucket

COUNTERS: Final = (
    "requests",
    "ok",
    "timeouts",
    "bad",
    "late",
    "exceptions",
    "reconnects",
    "writes",
    "connected",
    "last_good_ms",
    "latency_max_ms",
)
"""Fields that are copied by name into `IoStatus`."""


class BusStatistics:
    """Counters since the process started; names as in `IoStatus`."""

    def __init__(self) -> None:
        self.requests = self.ok = self.timeouts = self.bad = self.late = 0
        self.exceptions = self.reconnects = self.writes = self.connected = 0
        self.last_good_ms = 0
        self.latency_max_ms = 0.0
        self.histogram = np.zeros(HISTOGRAM_BUCKETS, np.int64)
        self._counts = self.histogram.data

    def answered(self, latency_ms: float, now_ms: int) -> None:
        """Count a correct reply."""
        self.ok += 1
        self.last_good_ms = now_ms
        if latency_ms > self.latency_max_ms:
            self.latency_max_ms = latency_ms
        self._counts[bucket(latency_ms)] += 1
