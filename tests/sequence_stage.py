"""A site of four racks around both tables of moves, scan by scan without a plant."""

from __future__ import annotations

import dataclasses
from typing import Any

from controller.core.effect import Effect
from controller.core.image import Modes, RackMode, SiteMode
from controller.core.sequence import sequence
from controller.core.sequence.stage import REASONS, Sequences
from tests.sequence_bench import Racks

OPEN, PRECHARGE, CLOSED, STOPPING = RackMode.OPEN, RackMode.PRECHARGE, RackMode.CLOSED, RackMode.STOPPING
FUSE_WAIT, TRIPPED = RackMode.FUSE_WAIT, RackMode.TRIPPED


class Site(Racks):
    """Asked to connect, with every rack open and wanted; nothing follows unless a test says so."""

    def __init__(self, site: SiteMode = SiteMode.CONNECTING) -> None:
        super().__init__()
        self.modes = dataclasses.replace(self.modes, site_mode=int(site), connect_wanted=1)
        self.memory.join[:] = True

    def scan(self, count: int = 1) -> Modes:
        sequences = Sequences(self.topology, self.settings)
        for _ in range(count):
            self.modes, _, self.memory = sequence(
                sequences, self.memory, self.modes, self.measured, self.trips, self.system, []
            )
        return self.modes

    def racks(self, count: int = 1) -> list[RackMode]:
        return [RackMode(int(m)) for m in self.scan(count).rack_mode]

    def since(self, rack: int, mode: RackMode, ms: int) -> None:
        self.modes.rack_mode[rack], self.modes.rack_mode_ms[rack] = int(mode), ms

    def why(self, rack: int) -> str:
        return REASONS[int(self.modes.rack_reason[rack])]

    def acts(self, effect: Effect, rack: int = 0) -> None:
        self.trips.rack_effect[rack] = int(effect)

    def site(self, since_ms: int = 0, **modes: Any) -> SiteMode:
        """The site's mode one scan later."""
        self.modes = dataclasses.replace(self.modes, site_mode_ms=since_ms, **modes)
        return SiteMode(self.scan().site_mode)


def closed(amps: float = 0.0) -> Site:
    site = Site(SiteMode.ONLINE)
    for rack in range(4):
        site.since(rack, CLOSED, 0)
    site.put("rack_main_closed", 1.0)
    site.put("rack_link_voltage_v", 200.0)
    site.put("rack_current_a", amps)
    return site
