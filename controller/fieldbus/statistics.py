"""What a bus and each of its units count; copied into the I/O status once per cycle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.topology import HISTOGRAM_BUCKETS
from controller.fieldbus.request import MS_PER_S, Failure
from controller.fieldbus.unit import Unit
from controller.image.histogram import COARSE, bucket, bucket_each
from controller.image.status import COARSE_BUCKETS, EXCEPTION_CODES

if TYPE_CHECKING:
    from controller.fieldbus.outputs import Output

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

UNIT_COUNTERS: Final = (
    "requests",
    "ok",
    "timeouts",
    "bad",
    "late",
    "exceptions",
    "last_exception",
    "last_good_ms",
    "last_write_ms",
    "unconfirmed",
)
"""Columns of the units' counters; `unit_<name>` in `IoStatus`."""

REQUESTS, OK, TIMEOUTS, BAD, LATE, EXCEPTIONS, LAST_EXCEPTION, LAST_GOOD_MS, LAST_WRITE_MS, UNCONFIRMED = range(10)

US_PER_S, US_PER_MS = 1e6, 1e3
BUCKET_OF_US: Final = bytes(bucket_each((np.arange(1 << 15) + 0.5) / US_PER_MS).tolist())
"""The histogram's bucket of the usual latencies, by whole microseconds: a logarithm per reply would cost more."""


class UnitStatistics:
    """Counters of all units of a site, a row each: units write into them, one copy per column publishes them."""

    def __init__(self, units: list[Unit]) -> None:
        self.counts = np.zeros((len(units), len(UNIT_COUNTERS)), np.int64)
        self.histogram = np.zeros((len(units), COARSE_BUCKETS), np.int64)
        self.exception_codes = np.zeros((len(units), EXCEPTION_CODES), np.int64)
        for i, unit in enumerate(units):
            unit.counts, unit.histogram = self.counts[i].data, self.histogram[i].data
            unit.exception_codes = self.exception_codes[i].data

    def settle(self, outputs: Iterable[Output]) -> None:
        """What is not counted reply by reply: correct replies, and `outputs` that are not known to be as they shall."""
        self.counts[:, OK] = self.histogram.sum(axis=1)
        self.counts[:, UNCONFIRMED] = 0
        for output in outputs:
            output.unit.counts[UNCONFIRMED] += 1


class BusStatistics:
    """Counters since the process started; names as in `IoStatus`.

    A request is counted once, in its unit's row, and a correct reply once, in the histograms: sums are made when asked.
    """

    def __init__(self, units: list[Unit]) -> None:
        if any(not unit.counts for unit in units):
            self.own = UnitStatistics(units)
        self._units = {unit.unit: unit for unit in units}
        self.timeouts = self.bad = self.late = 0
        self.exceptions = self.reconnects = self.writes = self.connected = 0
        self.last_good_ms = 0
        self.latency_max_s = 0.0
        self.histogram: NDArray[np.int64] = np.zeros(HISTOGRAM_BUCKETS, np.int64)
        self.exception_codes = np.zeros(EXCEPTION_CODES, np.int64)
        self._counts = self.histogram.data

    @property
    def requests(self) -> int:
        """Requests sent to all units."""
        return sum(unit.counts[REQUESTS] for unit in self._units.values())

    @property
    def ok(self) -> int:
        """Correct replies of all units."""
        return int(self.histogram.sum())

    def answered(self, unit: Unit, latency_s: float, now_ms: int) -> None:
        """Count a correct reply."""
        self.last_good_ms = now_ms
        if latency_s > self.latency_max_s:
            self.latency_max_s = latency_s
        us = int(latency_s * US_PER_S)
        at = BUCKET_OF_US[us] if us < len(BUCKET_OF_US) else bucket(us / US_PER_MS)
        self._counts[at] += 1
        unit.histogram[COARSE[at]] += 1
        unit.counts[LAST_GOOD_MS] = now_ms

    @property
    def latency_max_ms(self) -> float:
        """Longest time from request to correct reply."""
        return self.latency_max_s * MS_PER_S

    def written(self, unit: Unit, now_ms: int) -> None:
        """Count a confirmed write."""
        unit.counts[LAST_WRITE_MS] = now_ms

    def failed(self, unit: Unit, failure: Failure, code: int) -> None:
        """Count what brought no correct reply; a lost link is counted as such, not for its units."""
        if failure is Failure.EXCEPTION:
            self.exceptions += 1
            named = code if code < EXCEPTION_CODES else 0
            self.exception_codes[named] += 1
            unit.exception_codes[named] += 1
            unit.counts[EXCEPTIONS] += 1
            unit.counts[LAST_EXCEPTION] = code
        elif failure is Failure.TIMEOUT:
            self.timeouts += 1
            unit.counts[TIMEOUTS] += 1
        elif failure is Failure.BAD:
            self.bad += 1
            unit.counts[BAD] += 1

    def stray(self, late: bool, number: int) -> None:
        """Count a reply nobody waits for, for the unit id that it carries."""
        unit = self._units.get(number)
        if late:
            self.late += 1
        else:
            self.bad += 1
        if unit is not None:
            unit.counts[LATE if late else BAD] += 1
