"""A file of time-stamped truth: one JSON object per line, every second and at every event."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from pathlib import Path
from typing import Any, Final

from tools.simulator.events import Event
from tools.simulator.queries import truth_of
from tools.simulator.simulator import Simulator

EVERY_S: Final = 1.0
PENDING_EVENTS: Final = 5000
"""Events between two writes; more are counted as lost in the file."""


class TruthFile:
    """Writes while `run` runs; what is pending is written when it is cancelled."""

    def __init__(self, simulator: Simulator, path: Path) -> None:
        self.simulator = simulator
        self.pending: deque[Event] = deque(maxlen=PENDING_EVENTS)
        self.lost = 0
        self.stream = path.open("w", encoding="utf-8")
        simulator.events.sinks.append(self._note)

    def _note(self, event: Event) -> None:
        if len(self.pending) == PENDING_EVENTS:
            self.lost += 1
        self.pending.append(event)

    async def run(self) -> None:
        """Write every second until cancelled."""
        try:
            while True:
                self._write()
                await asyncio.sleep(EVERY_S)
        finally:
            self._write()
            self.stream.close()
            self.simulator.events.sinks.remove(self._note)

    def _write(self) -> None:
        lines: list[dict[str, Any]] = [{"kind": "event", **e} for e in self.pending]
        self.pending.clear()
        if self.lost:
            lines.append({"kind": "lost_events", "count": self.lost})
            self.lost = 0
        lines.append({"kind": "truth", **truth_of(self.simulator)})
        self.stream.write("".join(json.dumps(line) + "\n" for line in lines))
        self.stream.flush()
