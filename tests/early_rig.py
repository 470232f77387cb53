"""Racks for early warning whose estimator is a table of plain numbers."""

from __future__ import annotations

import dataclasses
from typing import Self

import numpy as np

from controller.core.estimate.faults import Finding
from controller.core.estimate.watch import Watch
from controller.core.field_image import Points
from controller.core.image import Measured
from controller.core.image_warnings import Fault
from controller.core.layout import RECORD, Layout
from controller.core.memory import EstimationMemory, Memory
from controller.core.memory_watch import WatchMemory
from controller.core.retained import Retained, restore, retain
from controller.core.topology import Topology
from tests.estimate_rig import sheet
from tools.score.bench import sheet_of

CELLS = 32
STEP_MS = 120_000
MS_PER_HOUR = 3_600_000
ONE_OF = ("bus", "slot", "shelf", "bank", "pcs", "flood", "hour", "recent", "told")


class String:
    """Racks whose estimator is a table of plain numbers, looked at every `step_ms`."""

    def __init__(self, racks: int = 1, seed: int = 0, cells: int = CELLS, sensors: int | None = None) -> None:
        sensors = cells if sensors is None else sensors
        topology = Topology.regular(racks, 1, cells, sensors)
        self.dims = dims = {**dict.fromkeys(ONE_OF, 1), **topology.dims}
        self.watch = Watch(topology, sheet_of(sheet()), spread=False)
        self.memory = Layout(WatchMemory, dims).blank()
        self.estimation = Layout(EstimationMemory, dims).blank()
        self.estimation.string["ready"] = 1
        self.estimation.string["x"][:, 0] = 0.5
        self.points: Points = Layout(Measured, dims).blank().points
        for field in dataclasses.fields(self.points):
            getattr(self.points, field.name).quality[...] = 0
        self.random = np.random.default_rng(seed)
        self.ohm = np.full((racks, 1, cells), 2.5e-4)
        self.offset_v = np.zeros((racks, 1, cells))
        self.warm_k = np.zeros((racks, 1, sensors))
        self.leak_per_h = np.zeros((racks, 1, cells))
        self.stuck_v: dict[int, float] = {}
        self.stuck_degc: dict[int, float] = {}
        self.found: list[Finding] = []
        self.step_ms = STEP_MS

    def hours(self, hours: float, load_a: float = 80.0, steady_a: float = 0.0) -> list[Finding]:
        """The onsets found meanwhile, under a current of this scatter about `steady_a`."""
        before, r, e = len(self.found), self.random, self.estimation
        per_hour = MS_PER_HOUR / self.step_ms
        for _ in range(round(hours * per_hour)):
            current = r.normal(steady_a, load_a, len(self.ohm))
            volts = 3.3 - self.ohm * current[:, None, None] + self.offset_v + r.normal(0, 5e-4, self.ohm.shape)
            for cell, v in self.stuck_v.items():
                volts[0, 0, cell] = v
            self.points.rack_current_a.value[...] = current
            self.points.cell_voltage_v.value[...] = volts
            warm = 25.0 + self.warm_k + r.normal(0, 0.05, self.warm_k.shape)
            for sensor, t in self.stuck_degc.items():
                warm[0, 0, sensor] = t
            self.points.cell_temperature_degc.value[...] = np.round(warm, 1)
            e.cell_shift_ratio[...] -= self.leak_per_h / per_hour
            e.cell_offset_v[...] = self.offset_v
            self.memory, found = self.watch.step(self.memory, self.points, e, self.step_ms)
            self.found += found
        return self.found[before:]

    def healthy_day(self) -> WatchMemory:
        """What is remembered after 26 healthy hours."""
        assert self.hours(26) == []
        return self.memory

    def restarted(self, other_version: bool = False) -> Self:
        """With what is kept over a stop and nothing else; by another version, whose records are others."""
        blank, layout = Layout(Memory, self.dims).blank(), Layout(Retained, self.dims)
        kept = layout.to_bytes(retain(dataclasses.replace(blank, watching=self.memory), 1, 1, 1))
        plain = {path: told for path, told in layout.describe().items() if not path.endswith(RECORD)}
        found = layout.adopt(kept, plain) if other_version else layout.view(np.frombuffer(kept, np.uint8))
        self.memory = restore(blank, found).watching
        return self

    def going_on(self, day: WatchMemory) -> Self:
        """With the past of another day."""
        self.memory = day
        return self


def kinds(found: list[Finding]) -> set[tuple[int, Fault]]:
    return {(f.element, f.fault) for f in found}
