"""Invariants judged by the plant's own state, never by what the controller believes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.image import ProcessImage
from tools.swarm.day import Day

OPEN_MS: Final = 500
"""A contactor that is told to open and is not welded is open after this."""
RATING: Final = 1.05
SILENT_OPEN_MS: Final = 2600
"""A rack that hears no heartbeat opens by its own watchdog after two seconds."""


class Violation(AssertionError):
    """The plant was in a state that must never be."""


class Judge:
    """Looks at the plant after every cycle."""

    def __init__(self, day: Day) -> None:
        self.day = day
        self.told_open_ms = np.zeros(day.program.topology.racks, np.int64)
        self.told_before = np.array(day.outputs.rack_main_close, bool)
        self.seen_event = 0

    def look(self, image: ProcessImage) -> None:
        """Violation with everything needed to replay it when an invariant is broken."""
        day, plant = self.day, self.day.plant
        cycle = day.program.cycle_ms
        told = image.outputs.rack_main_close
        main: Any = plant.racks.main
        closed = np.asarray(main.closed, bool)
        # What this scan says reaches the plant in the next cycle: the time that passed belongs to the one before.
        self.told_open_ms = np.where(self.told_before, 0, self.told_open_ms + cycle)
        deaf = np.array([day.silent.get(r, 0) > day.now_ms - SILENT_OPEN_MS for r in range(len(told))])
        stuck = closed & (self.told_open_ms > OPEN_MS) & ~np.asarray(main.welded, bool) & ~deaf
        if stuck.any():
            self._fail(f"rack {np.flatnonzero(stuck) + 1} closed although told to open")
        self.told_before = told.copy()
        rated = day.site.config.dispatch.rated_power
        if abs(plant.power_w()) > RATING * rated:
            self._fail(f"{plant.power_w():.0f} W is beyond the rating of {rated:.0f} W")
        total = float(image.outputs.pcs_active_power_setpoint_w.sum())
        low, high = -image.limits.charge_limit_w - 1e-6, image.limits.discharge_limit_w + 1e-6
        if not low <= total <= high:
            self._fail(f"setpoint {total:.0f} W outside {low:.0f}..{high:.0f} W")
        if not np.isfinite(total):
            self._fail("setpoint is not finite")
        self._events()

    def _events(self) -> None:
        log = self.day.simulator.events
        for event in log.since(self.seen_event):
            self.seen_event = event["n"]
            if event["event"] == "inrush":
                self._fail(f"closed onto a difference: {event}")

    def _fail(self, what: str) -> None:
        tail = "\n".join(list(self.day.told)[-25:])
        raise Violation(f"seed {self.day.seed}, scan {self.day.number}: {what}\n{tail}")
