"""What a bus does between its rounds: slow blocks where they fit, and probes of units that do not answer.

A scan's outputs come right after it starts. So that they need not wait, nothing is begun in the output window, and
before the scan only what ends before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from controller.fieldbus.request import MS_PER_S, Request
from controller.fieldbus.unit import PROBE_CYCLES_MIN, Unit

OUTPUT_WINDOW_S: Final = 0.010
"""After a scan's start the bus is kept free of slow reads for this long."""

OVERDUE_PERIODS: Final = 2
"""A slow block that is late by this many of its periods is read even where there is no room."""

PROBE_LATE_CYCLES: Final = 5
"""A probe that found no place after the scan for this many cycles is sent before it."""


class Slack:
    """Chooses the next request between rounds. `scan_s`: the nearest scan; `begin_s`: when the next round begins."""

    def __init__(self, units: list[Unit], doubtful: Callable[[Request, float], bool]) -> None:
        self.units, self._doubtful = units, doubtful
        self.slow = [request for unit in units for request in unit.slow]
        self.scan_s = self.begin_s = 0.0

    @property
    def wanted(self) -> bool:
        """Something may be to do between the rounds."""
        return bool(self.slow) or any(unit.failures for unit in self.units)

    def choose(self, now_s: float, cycle: int) -> Request | None:
        """A probe, or the slow block that is most overdue; None where nothing is due or fits."""
        before_scan = now_s < self.scan_s
        if not before_scan and now_s < self.scan_s + OUTPUT_WINDOW_S:
            return None
        probe = self._probe(cycle - PROBE_LATE_CYCLES if before_scan else cycle, cycle, now_s)
        if probe is not None:
            return probe
        return self._slow((self.scan_s if before_scan else self.begin_s) - now_s, now_s, cycle)

    def _probe(self, due_cycle: int, cycle: int, now_s: float) -> Request | None:
        for unit in self.units:
            if unit.failing and unit.probe_cycle <= due_cycle and (unit.fast or unit.slow):
                request = (unit.fast or unit.slow)[0]
                if self._doubtful(request, now_s):
                    continue
                unit.probe_cycle = cycle + PROBE_CYCLES_MIN
                unit.probes += 1
                return request
        return None

    def _slow(self, room_s: float, now_s: float, cycle: int) -> Request | None:
        best, most, now_ms = None, 0.0, now_s * MS_PER_S
        for request in self.slow:
            block = request.block
            if block is None or request.unit.failing or request.due_cycle > cycle or self._doubtful(request, now_s):
                continue
            overdue = (now_ms - request.due_ms) / block.every_ms
            if overdue >= most and (block.cost_ms <= room_s * MS_PER_S or overdue >= OVERDUE_PERIODS):
                best, most = request, overdue
        if best is not None and best.block is not None:
            best.due_ms = int(now_ms) + best.block.every_ms
        return best
