"""Rack controllers that close by themselves: after one command they precharge, compare voltages and close the main."""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.core.signal import Bools, Floats, some
from tools.simulator.events import EventLog
from tools.simulator.racks import Contactors

CLOSE_RATIO: Final = 0.01
"""The main contactor closes when the link is this near to the rack's voltage."""

PATIENCE_MS: Final = 8000
"""A precharge that takes longer is given up until the command has been taken back."""


class OwnPrecharge:
    """Turns the one command of `racks` (a mask) into the two contactors' commands."""

    def __init__(self, racks: Bools, main: Contactors, precharge: Contactors, events: EventLog) -> None:
        self.racks, self.main, self.precharge, self.events = racks, main, precharge, events
        self.wanted: Bools = np.zeros(len(racks), bool)
        self.given_up: Bools = np.zeros(len(racks), bool)
        self.since_ms: Floats = np.zeros(len(racks))

    def write(self, rack: int, close: bool) -> bool:
        """The command from the wire; True when it changed."""
        changed = bool(self.wanted[rack]) != close
        self.wanted[rack] = close
        if not close:
            self.given_up[rack] = False
            self.main.write(rack, False)
            self.precharge.write(rack, False)
        return changed

    def quiet(self) -> bool:
        """No device is in its own precharge."""
        return not some(self.racks & self.wanted & ~self.given_up & (~self.main.closed | self.precharge.command))

    def step(self, dt_ms: float, rack_v: Floats, link_v: Floats) -> None:
        """Advance the device's own sequence."""
        for rack in np.flatnonzero(self.racks & self.wanted & ~self.given_up):
            if self.main.closed[rack]:
                self.precharge.write(int(rack), False)
                self.since_ms[rack] = 0.0
                continue
            self.since_ms[rack] += dt_ms
            near = abs(rack_v[rack] - link_v[rack]) <= CLOSE_RATIO * rack_v[rack]
            if self.since_ms[rack] > PATIENCE_MS:
                self.given_up[rack], self.since_ms[rack] = True, 0.0
                self.main.write(int(rack), False)
                self.precharge.write(int(rack), False)
                self.events.add("own_precharge_gave_up", f"R{rack + 1:02d}", link_v=round(float(link_v[rack]), 1))
            elif self.precharge.closed[rack] and near:
                self.main.write(int(rack), True)
            elif not self.main.command[rack]:
                self.precharge.write(int(rack), True)
