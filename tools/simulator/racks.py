"""Racks: contactors that take time, stick and weld, and a rack controller that opens them by itself."""

from __future__ import annotations

import numpy as np

from controller.core.signal import Bools, Floats, Ints, some
from tools.simulator.events import EventLog
from tools.simulator.options import Constants

NEVER_MS = 1e12


class Contactors:
    """One kind of contactor in every rack. `closed` is the position, `feedback` what its auxiliary contact shows."""

    def __init__(self, name: str, racks: int, close_ms: float, open_ms: float) -> None:
        self.name = name
        self.close_ms, self.open_ms = close_ms, open_ms
        self.command: Bools = np.zeros(racks, bool)
        self.closed: Bools = np.zeros(racks, bool)
        self.blocked: Bools = np.zeros(racks, bool)
        self.welded: Bools = np.zeros(racks, bool)
        self.fails_to_close: Bools = np.zeros(racks, bool)
        self.lying: Bools = np.zeros(racks, bool)
        """The auxiliary contact has come off the main contacts and follows the coil alone."""
        self.moving_ms: Floats = np.zeros(racks)

    def write(self, rack: int, close: bool) -> None:
        """A command from the wire, taken as a level; open lifts the block that the rack controller set."""
        self.command[rack] = close
        if not close:
            self.blocked[rack] = False

    def feedback(self) -> Bools:
        """What the auxiliary contacts show."""
        return np.where(self.lying, self.command & ~self.blocked, self.closed)

    def at_rest(self) -> bool:
        """Every contactor is where its command wants it."""
        return not some((self.command != self.closed) | self.blocked)

    def step(self, dt_ms: float) -> Ints:
        """Advance the mechanics; racks whose contactor arrived in its new position."""
        # The block lasts while the close command stands: the command must go to open before it closes again.
        self.blocked &= self.command
        wanted = self.command & ~self.blocked & ~(self.fails_to_close & ~self.closed)
        wanted |= self.welded & self.closed
        differs = wanted != self.closed
        if not some(differs):
            self.moving_ms[:] = 0
            return np.zeros(0, np.int64)
        self.moving_ms = np.where(differs, self.moving_ms + dt_ms, 0.0)
        arrived = differs & (self.moving_ms >= np.where(wanted, self.close_ms, self.open_ms))
        self.closed = np.where(arrived, wanted, self.closed)
        self.moving_ms[arrived] = 0
        return np.flatnonzero(arrived)


class Racks:
    """The rack controllers: commands, watchdog, hardware trip chain and insulation."""

    def __init__(self, racks: int, constants: Constants, events: EventLog, watched: Bools | None = None) -> None:
        self.constants, self.events = constants, events
        self.watched: Bools = np.ones(racks, bool) if watched is None else watched
        self.main = Contactors("main", racks, constants.main_close_ms, constants.main_open_ms)
        self.precharge = Contactors("precharge", racks, constants.main_close_ms, constants.main_open_ms)
        self.heartbeat: Ints = np.zeros(racks, np.int64)
        self.heartbeat_age_ms: Floats = np.full(racks, NEVER_MS)
        self.foreign: Bools = np.zeros(racks, bool)
        """Racks that a second controller beats, too."""
        self.told: dict[str, Bools] = {}
        self.insulation_ohm: Floats = np.full(racks, constants.insulation_ohm)

    def beat(self, rack: int, value: int) -> None:
        """A heartbeat write; only a new value counts as life."""
        if value != self.heartbeat[rack]:
            self.heartbeat[rack] = value
            self.heartbeat_age_ms[rack] = 0.0

    def quiet(self, ms: float) -> bool:
        """No contactor moves, and no watchdog of a rack under command ends within `ms`."""
        if not (self.main.at_rest() and self.precharge.at_rest()):
            return False
        active = self.main.command | self.precharge.command
        return not some(active & self.watched & (self.heartbeat_age_ms + ms > self.constants.rack_watchdog_ms))

    def step(self, dt_ms: float, current_a: Floats, chain_closed: bool) -> Ints:
        """Advance watchdogs and contactors; racks whose main contactor has just closed."""
        self.heartbeat_age_ms += dt_ms
        active = self.main.command | self.precharge.command | self.main.closed | self.precharge.closed
        if some(active):
            silent = active & self.watched & (self.heartbeat_age_ms > self.constants.rack_watchdog_ms)
            self._block(silent, "rack_watchdog_trip")
            self._block(active & (not chain_closed), "hardware_trip")
        else:
            self.told.clear()
        moved = {c.name: c.step(dt_ms) for c in (self.main, self.precharge)}
        for contactors in (self.main, self.precharge):
            for rack in moved[contactors.name]:
                what = "closed" if contactors.closed[rack] else "opened"
                self.events.add(
                    f"{contactors.name}_{what}", f"R{rack + 1:02d}", current_a=round(float(current_a[rack]), 3)
                )
        return np.asarray([r for r in moved["main"] if self.main.closed[r]], np.int64)

    def _block(self, who: Bools, event: str) -> None:
        before = self.told.get(event)
        self.told[event] = who
        if not some(who):
            return
        fresh = who if before is None else who & ~before
        for rack in fresh.nonzero()[0]:
            self.events.add(event, f"R{rack + 1:02d}", heartbeat_age_ms=float(self.heartbeat_age_ms[rack]))
        self.main.blocked |= who
        self.precharge.blocked |= who
