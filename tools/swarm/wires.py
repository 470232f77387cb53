"""What reaches the controller of one site, and what reaches the plant, while wires are cut.

A cut device neither hears nor is heard: its points keep their last sample and grow old, and nothing is written to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from controller.core.field_image import Points
from controller.core.image import OutputImage
from controller.core.layout import tags_of
from controller.core.signal import Bools, some
from plc_config.compile import Compiled
from tools.fat.fitting import master
from tools.simulator.bus import EVERY_UNIT
from tools.simulator.plant import Plant

POINTS: Final = tags_of(Points)
HEARTBEAT: Final = 65_536
HEARTBEAT_OUTPUT: Final = "heartbeat"


class Wires:
    """The devices of a site: which values each of them shows, and which outputs it takes."""

    def __init__(self, site: Compiled) -> None:
        self.plan = site.plan
        self.until_ms = np.zeros(len(self.plan.devices), np.int64)
        """Until when every device is cut; the end of a silence stays known."""
        shapes = {t.name: t.shape(site.topology.dims) for t in POINTS}
        self.shows: list[dict[str, Bools]] = [{} for _ in self.plan.devices]
        for block in self.plan.reads:
            for ref in block.points:
                mask = self.shows[block.device].setdefault(ref.point, np.zeros(shapes[ref.point], bool))
                if len(ref.place) == mask.ndim:
                    mask[ref.place] = True
                else:
                    mask[ref.place][: ref.count] = True
        self.writes = [(w.device, w.output, w.place) for w in self.plan.writes]
        self.masters = np.array([master(site, rack) for rack in range(site.topology.racks)])
        """The device that takes the commands of every rack."""

    def devices(self, bus: str, unit: int) -> list[int]:
        """One device, or all behind a bus."""
        number = next(b.index for b in self.plan.buses if b.name == bus)
        return [d.index for d in self.plan.devices if d.bus == number and unit in (EVERY_UNIT, d.unit)]

    def cut(self, devices: Iterable[int], until_ms: int) -> None:
        """Silence for these devices."""
        for device in devices:
            self.until_ms[device] = max(self.until_ms[device], until_ms)

    def mend(self, now_ms: int) -> None:
        """Every wire holds again."""
        np.minimum(self.until_ms, now_ms, out=self.until_ms)

    def deaf(self, now_ms: int) -> Bools:
        """Racks that no command reached at `now_ms` or since."""
        return np.asarray(self.until_ms[self.masters] > now_ms)

    def cut_at(self, level: str, now_ms: int, place: tuple[int, ...] = ()) -> bool:
        """Any device of that level and place is silent."""
        return any(self.until_ms[d.index] > now_ms for d in self.plan.devices if d.level == level and d.place == place)

    def points(self) -> set[str]:
        """Everything that is measured here."""
        return {point for shown in self.shows for point in shown}

    def heard(self, now_ms: int) -> dict[str, Bools]:
        """Where a point has a new sample; points of which all is heard are not among them."""
        silent = self.until_ms > now_ms
        fresh: dict[str, Bools] = {}
        if not some(silent):
            return fresh
        for device in np.flatnonzero(silent):
            for point, mask in self.shows[device].items():
                fresh[point] = fresh.get(point, True) & ~mask
        return fresh

    def write(self, plant: Plant, outputs: OutputImage, now_ms: int, zero: frozenset[str] | None = None) -> None:
        """The outputs reach their devices. `zero`: the scan is silent, only these outputs are written, as zero."""
        for number, output, place in self.writes:
            device = self.plan.devices[number]
            if self.until_ms[number] > now_ms or (zero is not None and output not in zero):
                continue
            if output == HEARTBEAT_OUTPUT:
                plant.command(device.level, output, device.place, [float(outputs.heartbeat % HEARTBEAT)])
                continue
            value: Any = getattr(outputs, output)
            value = value[place] if place else value
            if zero is not None:
                value = np.zeros_like(value)
            if output == "cell_bleed_on":
                plant.bleed(place, np.asarray(value, bool))
            else:
                plant.command(device.level, output, device.place, [float(value)])
