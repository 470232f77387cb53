"""How often every block will really be read: from baud rate, turnaround and what else happens on its bus."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from plc_config.plan import CYCLE, PollingPlan, ReadBlock

BUS_LOAD: Final = 0.9
"""Largest part of a cycle that the every-cycle traffic of one bus may take; what is left of it is for slow blocks."""


@dataclasses.dataclass(frozen=True, slots=True)
class BusTime:
    """Wire time of one bus per cycle, in ms: what every cycle costs, what slow blocks and refreshed writes add on
    average, what there is for them, and the longest slow block."""

    cycle_ms: int
    fast_ms: float
    slow_ms: float
    room_ms: float
    longest_ms: float

    @property
    def stretch(self) -> float:
        """Factor by which the periods of slow blocks grow; 1.0 where the wire keeps up."""
        return max(self.slow_ms / self.room_ms, 1.0) if self.room_ms > 0 else math.inf

    @property
    def fits(self) -> bool:
        """The longest slow block goes between two rounds of the every-cycle blocks."""
        return self.longest_ms <= max(self.cycle_ms - self.fast_ms, 0.0)

    def refresh_ms(self, block: ReadBlock) -> int:
        """Longest expected time between two readings of a block; a whole number of cycles."""
        if block.every_ms == CYCLE:
            return self.cycle_ms * max(math.ceil(self.fast_ms / self.cycle_ms), 1)
        if math.isinf(self.stretch):
            return -1
        return self.cycle_ms * math.ceil(block.every_ms * self.stretch / self.cycle_ms)


def bus_time(plan: PollingPlan, bus: int) -> BusTime:
    """The wire time of one bus."""
    reads, writes = plan.of_bus(bus)
    fast = plan.load_ms(bus)
    slow = sum(r.cost_ms * plan.cycle_ms / r.every_ms for r in reads if r.every_ms != CYCLE)
    slow += sum(w.cost_ms * plan.cycle_ms / w.refresh_ms for w in writes if w.refresh_ms > 0)
    longest = max((r.cost_ms for r in reads if r.every_ms != CYCLE), default=0.0)
    return BusTime(plan.cycle_ms, fast, slow, max(BUS_LOAD * plan.cycle_ms - fast, 0.0), longest)


def speed_class(block: ReadBlock, normal_ms: int) -> str:
    """FAST, NORMAL or SLOW, as people name it."""
    return "FAST" if block.every_ms == CYCLE else "NORMAL" if block.every_ms <= normal_ms else "SLOW"
