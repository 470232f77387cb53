"""Four racks of plain numbers for the parts of the sequences: R01 to R03 on the first bank, R04 on the second.

All racks are open at 200 V and in order, the links are empty, and every value is heard.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from controller.core.image import Measured, Modes, RackMode, System, Trips
from controller.core.layout import Layout
from controller.core.memory import SequencingMemory
from controller.core.settings import ContactorSettings, SequenceSettings
from controller.core.signal import Quality
from controller.core.topology import Topology

SETTINGS = SequenceSettings(
    precharge_voltage_v=5.0, precharge_current_a=2.0, precharge_timeout_ms=3000, precharge_attempts=3,
    cool_down_ms=1000, rack_voltage_v=8.0, open_current_a=5.0, inrush_a=100.0,
    rack_resistance_ohm=0.02, rack_nominal_ohm=0.03, interval_ms=5000, precharge_energy_wh=2.0,
    precharge_recovery_ms=60_000,
    contactor=ContactorSettings(
        breaking_current_a=200.0, fuse_wait_ms=3000, reference_current_a=280.0, life_operations=100_000.0,
        life_breaks=100.0, weld_test_ms=1000,
    ),
)  # fmt: skip


class Racks:
    """What the sequences look at, to be changed by hand."""

    def __init__(self) -> None:
        self.topology = Topology.regular(4, 1, 4, 2, 2, np.array([0, 0, 0, 1]), np.array([0, 1]))
        self.settings = SETTINGS
        dims = {**self.topology.dims, "slot": 1}
        self.measured: Measured = Layout(Measured, dims).blank()
        self.modes: Modes = Layout(Modes, dims).blank()
        self.memory: SequencingMemory = Layout(SequencingMemory, dims).blank()
        self.trips: Trips = Layout(Trips, dims).blank()
        self.system: System = dataclasses.replace(Layout(System, dims).blank(), elapsed_ms=100, utc_ms=10**12)
        self.points = self.measured.points
        for field in dataclasses.fields(self.points):
            getattr(self.points, field.name).quality[...] = 0
        self.points.rack_voltage_v.value[...] = 200.0
        self.modes.rack_mode[...] = int(RackMode.OPEN)

    def put(self, name: str, value: Any, where: Any = ...) -> None:
        getattr(self.points, name).value[where] = value

    def lose(self, name: str, where: Any = ..., quality: Quality = Quality.BAD_COMM) -> None:
        getattr(self.points, name).quality[where] = int(quality)

    def mode(self, mode: RackMode, *racks: int) -> None:
        """These racks, numbered from 0, are in this mode."""
        self.modes.rack_mode[list(racks)] = int(mode)

    def set(self, **values: Any) -> None:
        """Other settings."""
        self.settings = dataclasses.replace(self.settings, **values)

    def precharge_by_themselves(self, *racks: int) -> None:
        own = np.zeros(4, bool)
        own[list(racks)] = True
        self.topology = dataclasses.replace(self.topology, self_precharging=own)
