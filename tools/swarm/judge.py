"""Invariants judged by the plant's own state, never by what the controller believes."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from controller.core.effect import OPEN_NOW
from controller.core.image import ProcessImage
from controller.core.memory import Memory
from controller.core.signal import Bools, some
from tools.swarm.day import Day
from tools.swarm.truths import Watch

OPEN_MS: Final = 500
"""A contactor that is told to open and is not welded is open after this."""
RATING: Final = 1.05
SILENT_OPEN_MS: Final = 2600
"""A rack that hears no heartbeat opens by its own watchdog after two seconds."""
LIVE_RATIO: Final = 0.06
"""Of 1C: a current that no instrument can mistake for nothing."""
LOAD_RATIO: Final = 0.02
LIVE_MS, LIVE_CYCLES = 3000, 4
"""A bank may run on for so long with a rack on it that is told to open and carries current all the same."""


class Violation(AssertionError):
    """The plant was in a state that must never be."""


class Judge:
    """Looks at the plant after every cycle."""

    def __init__(self, day: Day) -> None:
        self.day = day
        self.told_open_ms = np.zeros(day.program.topology.racks, np.int64)
        self.told_before = np.array(day.outputs.rack_main_close, bool)
        self.deaf_before = np.zeros_like(self.told_before)
        self.live_ms = np.zeros(day.program.topology.racks, np.int64)
        self.watch = Watch(day)
        self.seen_event = 0

    def look(self, image: ProcessImage) -> None:
        """Violation with everything needed to replay it when an invariant is broken."""
        day, plant = self.day, self.day.plant
        cycle = day.program.cycle_ms
        told = image.outputs.rack_main_close
        main: Any = plant.racks.main
        closed = np.asarray(main.closed, bool)
        # What this scan says reaches the plant in the next cycle: the time that passed belongs to the one before.
        self.told_open_ms = np.where(self.told_before | self.deaf_before, 0, self.told_open_ms + cycle)
        against = closed & (self.told_open_ms > OPEN_MS)
        stuck = against & ~np.asarray(main.welded, bool)
        if some(stuck):
            self._fail(f"rack {np.flatnonzero(stuck) + 1} closed although told to open")
        power_w = plant.power_w()
        self._live(against, day.wires.deaf(day.now_ms - SILENT_OPEN_MS), power_w)
        self.told_before, self.deaf_before = told.copy(), day.wires.deaf(day.now_ms)
        rated = day.site.config.dispatch.rated_power
        if abs(power_w) > RATING * rated:
            self._fail(f"{power_w:.0f} W is beyond the rating of {rated:.0f} W")
        total = float(image.outputs.pcs_active_power_setpoint_w.sum())
        if not math.isfinite(total):
            self._fail("setpoint is not finite")
        forbidden = told & ((image.trips.rack_effect | image.trips.site_effect) & OPEN_NOW != 0)
        if some(forbidden):
            self._fail(f"rack {np.flatnonzero(forbidden) + 1} is told to close though it is tripped")
        low, high = -image.limits.charge_limit_w - 1e-6, image.limits.discharge_limit_w + 1e-6
        if not low <= total <= high:
            self._fail(f"setpoint {total:.0f} W outside {low:.0f}..{high:.0f} W")
        unanswered = self.watch.look(image)
        if unanswered:
            self._fail(unanswered)
        self._events()

    def restarted(self, before: Memory, image: ProcessImage) -> None:
        """Violation when the first scan after a restart forgot a latch or begins with a closed contactor."""
        forgotten = before.protection.latched & ~self.day.memory.protection.latched
        if some(forgotten):
            names = [self.day.program.matrix.slots[i] for i in np.flatnonzero(forgotten)]
            self._fail(f"the restart forgot {', '.join(f'{s.row.id} {s.place}' for s in names)}")
        if some(image.outputs.rack_main_close | image.outputs.rack_precharge_close):
            self._fail("the first scan after a restart closes a contactor")
        self.told_before = np.zeros_like(self.told_before)

    def _live(self, against: Bools, deaf: Bools, power_w: float) -> None:
        """A welded rack carries load though it is told to open. Only stopping its bank ends that, whatever its
        feedback says; unless the witnesses of it are taken away as well."""
        if not some(against):
            self.live_ms = np.zeros_like(self.live_ms)
            return
        day, plant = self.day, self.day.plant
        current = np.abs(plant.current_a) > LIVE_RATIO * day.program.limit.rack_1c_a
        load = abs(power_w) > LOAD_RATIO * day.site.config.dispatch.rated_power
        blind = any(f.point == "rack_current_a" for f in day.simulator.sensors.faults) or some(deaf)
        excused = blind or some(plant.pcs.ignores) or not load
        live = against & current & (not excused)
        self.live_ms = np.where(live, self.live_ms + day.program.cycle_ms, 0)
        if some(self.live_ms > LIVE_MS + LIVE_CYCLES * day.program.cycle_ms):
            self._fail(f"rack {np.flatnonzero(live) + 1} carries load although told to open, and its bank runs on")

    def _events(self) -> None:
        log = self.day.simulator.events
        for event in log.since(self.seen_event):
            self.seen_event = event["n"]
            if event["event"] == "inrush":
                self._fail(f"closed onto a difference: {event}")

    def _fail(self, what: str) -> None:
        tail = "\n".join(list(self.day.told)[-25:])
        raise Violation(f"seed {self.day.seed}, scan {self.day.number}: {what}\n{tail}")
