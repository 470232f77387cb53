"""The grid of scan starts: absolute deadlines at whole multiples of the cycle on CLOCK_MONOTONIC.

Every process of a site knows the grid without being told, so the I/O process can end its reads just before a scan.
"""

from __future__ import annotations

import time
from typing import Final

from controller.app.process import NS_PER_MS

SLEEP_AT_MOST_S: Final = 0.2
"""Longest single sleep, so that a signal is noticed."""


class Metronome:
    """Waits for the next grid point; a late caller skips what it missed, scans never pile up."""

    def __init__(self, cycle_ms: int) -> None:
        self.cycle_ns = cycle_ms * NS_PER_MS
        self.deadline_ns = (time.monotonic_ns() // self.cycle_ns + 2) * self.cycle_ns

    def wait(self) -> float:
        """Sleep until the deadline; returns how late the wake-up was, in ms."""
        while True:
            left = self.deadline_ns - time.monotonic_ns()
            if left <= 0:
                return -left / NS_PER_MS
            time.sleep(min(left / 1e9, SLEEP_AT_MOST_S))

    def advance(self) -> bool:
        """Move to the next grid point in the future; True when at least one was missed."""
        now = time.monotonic_ns()
        self.deadline_ns += self.cycle_ns
        missed = now > self.deadline_ns
        if missed:
            self.deadline_ns = (now // self.cycle_ns + 1) * self.cycle_ns
        return missed
