"""What each process says of itself: one image each, `alive_ms` is its sign of life."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from numpy.typing import NDArray

from controller.core.signal import tag

EXCEPTION_CODES: Final = 12
"""Modbus exception codes 1 to 11; at 0 all others."""

COARSE_BUCKETS: Final = 16
COARSE_LOWEST_PER_MS: Final = 4
"""Latency of a unit: bucket 0 below 0.25 ms, each next one twice as wide, the last one open."""


@dataclasses.dataclass(frozen=True, slots=True)
class ScanStatus:
    """The scan process. Histograms as in `image.histogram`."""

    alive_ms: int = tag("ms", doc="Monotonic time of the last sign of life", dtype="i8")
    scans: int = tag("1", doc="Scans since the process started", dtype="i8")
    overruns: int = tag("1", doc="Scans that ended after their next start", dtype="i8")
    realtime: int = tag("1", doc="Runs with real-time priority: 1 yes", dtype="i8")
    lateness_max_ms: float = tag("ms", doc="Largest lateness of a scan")
    duration_max_ms: float = tag("ms", doc="Longest time from the start of a scan to its outputs")
    busy_max_ms: float = tag("ms", doc="Longest time from the start of a scan until all of its work was done")
    age_max_ms: float = tag("ms", doc="Oldest fitted value met")
    lateness_histogram: NDArray[Any] = tag("1", "bucket", doc="Lateness of scans", dtype="i8")
    duration_histogram: NDArray[Any] = tag("1", "bucket", doc="Scans from start to outputs", dtype="i8")
    busy_histogram: NDArray[Any] = tag("1", "bucket", doc="Scans from start to the end of all work", dtype="i8")
    age_histogram: NDArray[Any] = tag("1", "bucket", doc="Age of every fitted value at every scan", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class IoStatus:
    """The I/O process, per bus."""

    alive_ms: int = tag("ms", doc="Monotonic time of the last sign of life", dtype="i8")
    started_ms: int = tag("ms", doc="Monotonic time of the start", dtype="i8")
    silenced: int = tag("1", doc="Setpoints are held at zero because the scan is silent: 1 yes", dtype="i8")
    requests: NDArray[Any] = tag("1", "bus", doc="Requests sent", dtype="i8")
    ok: NDArray[Any] = tag("1", "bus", doc="Correct replies", dtype="i8")
    timeouts: NDArray[Any] = tag("1", "bus", doc="Requests without a reply in time", dtype="i8")
    bad: NDArray[Any] = tag("1", "bus", doc="Replies that were not the answer asked for", dtype="i8")
    late: NDArray[Any] = tag("1", "bus", doc="Replies that came after their timeout, discarded", dtype="i8")
    exceptions: NDArray[Any] = tag("1", "bus", doc="Exception replies", dtype="i8")
    reconnects: NDArray[Any] = tag("1", "bus", doc="Connections made after the first", dtype="i8")
    writes: NDArray[Any] = tag("1", "bus", doc="Write requests sent", dtype="i8")
    connected: NDArray[Any] = tag("1", "bus", doc="The link is open: 1 yes", dtype="u1")
    last_good_ms: NDArray[Any] = tag("ms", "bus", doc="Monotonic time of the last correct reply", dtype="i8")
    latency_max_ms: NDArray[Any] = tag("ms", "bus", doc="Longest time from request to reply")
    latency_histogram: NDArray[Any] = tag("1", "bus", "bucket", doc="Time from request to reply", dtype="i8")
    exception_codes: NDArray[Any] = tag("1", "bus", "code", doc="Exception replies by code; at 0 others", dtype="i8")
    unit_requests: NDArray[Any] = tag("1", "unit", doc="Requests sent to this unit", dtype="i8")
    unit_ok: NDArray[Any] = tag("1", "unit", doc="Correct replies of this unit", dtype="i8")
    unit_timeouts: NDArray[Any] = tag("1", "unit", doc="Requests without a reply of this unit in time", dtype="i8")
    unit_bad: NDArray[Any] = tag("1", "unit", doc="Replies of this unit that were not the answer asked for", dtype="i8")
    unit_late: NDArray[Any] = tag("1", "unit", doc="Replies of this unit after their timeout, discarded", dtype="i8")
    unit_exceptions: NDArray[Any] = tag("1", "unit", doc="Exception replies of this unit", dtype="i8")
    unit_last_exception: NDArray[Any] = tag("1", "unit", doc="Latest exception code of this unit; 0 none", dtype="i8")
    unit_exception_codes: NDArray[Any] = tag(
        "1", "unit", "code", doc="Exception replies of this unit by code; at 0 others", dtype="i8"
    )
    unit_last_good_ms: NDArray[Any] = tag(
        "ms", "unit", doc="Monotonic time of this unit's last correct reply", dtype="i8"
    )
    unit_last_write_ms: NDArray[Any] = tag(
        "ms", "unit", doc="Monotonic time of the last write that this unit confirmed", dtype="i8"
    )
    unit_unconfirmed: NDArray[Any] = tag(
        "1", "unit", doc="Outputs of this unit that it has not confirmed as they shall be", dtype="i8"
    )
    unit_latency_histogram: NDArray[Any] = tag(
        "1", "unit", "coarse", doc="Time from request to reply of this unit", dtype="i8"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class OpcuaStatus:
    """The OPC UA process."""

    alive_ms: int = tag("ms", doc="Monotonic time of the last sign of life", dtype="i8")
    listening: int = tag("1", doc="The server accepts connections: 1 yes", dtype="i8")
    sessions: int = tag("1", doc="Activated sessions", dtype="i8")
    subscriptions: int = tag("1", doc="Subscriptions", dtype="i8")
    monitored_items: int = tag("1", doc="Monitored items", dtype="i8")
    items_pushed: int = tag("1", doc="Value changes pushed to monitored items", dtype="i8")
    items_per_s: float = tag("1", doc="Value changes pushed per second")
    refused: int = tag("1", doc="Requests and log-ins refused", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class StoreStatus:
    """The store process."""

    alive_ms: int = tag("ms", doc="Monotonic time of the last sign of life", dtype="i8")
    trouble: int = tag("1", doc="Durable writing: 1 fails, 2 disk full, 3 both", dtype="i8")
    clock_sync: int = tag("1", doc="The machine's clock: 0 not asked, 1 synchronised, 2 not, 3 not known", dtype="i8")
    samples: int = tag("1", doc="History samples written", dtype="i8")
    events: int = tag("1", doc="Events written", dtype="i8")
    lost: int = tag("1", doc="Records lost before they were read", dtype="i8")
    recorded_scans: int = tag("1", doc="Scans in the recording", dtype="i8")
    latch_sequence: int = tag("1", doc="Retained state committed durably, by scan number", dtype="i8")
    bytes_used: int = tag("1", doc="Bytes used on disk", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class SupervisorStatus:
    """The supervisor, per process in the order of `files.PROCESSES`."""

    alive_ms: int = tag("ms", doc="Monotonic time of the last sign of life", dtype="i8")
    started_ms: int = tag("ms", doc="Monotonic time of the start", dtype="i8")
    pid: NDArray[Any] = tag("1", "process", doc="Process id; 0 not running", dtype="i8")
    restarts: NDArray[Any] = tag("1", "process", doc="Restarts since start", dtype="i8")
    cpu_percent: NDArray[Any] = tag("1", "process", doc="Processor time, percent of one core, last second")
    rss_mb: NDArray[Any] = tag("1", "process", doc="Resident memory, MB")
    watchdog_kicks: int = tag("1", doc="Watchdog kicks", dtype="i8")
