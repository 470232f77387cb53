"""The compiled site: everything a scan needs that does not change from scan to scan."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np

from controller.core.annunciate import Annunciator
from controller.core.balance import Balancing
from controller.core.dispatch import Dispatch
from controller.core.estimate import Estimator, Watch
from controller.core.image import Modes, OutputImage, RackMode, SiteMode
from controller.core.image_warnings import Fault
from controller.core.layout import Layout
from controller.core.memory import Memory
from controller.core.protect import NAMES, Derating, Matrix, Warned, pairs
from controller.core.sequence import REASONS, Sequences
from controller.core.settings import AlarmSettings, AuthoritySettings, LimitSettings
from controller.core.signal import Dims, amount
from controller.core.topology import Topology, place_name
from controller.core.validate import Sensors

ELEMENT_LETTER = {"V": "C", "degC": "T"}
EXTREMES = ("highest", "lowest")


@dataclasses.dataclass(frozen=True)
class Program:
    """One site, ready to scan. `dims` names every dimension that tags use."""

    site_id: str
    cycle_ms: int
    topology: Topology
    buses: int
    sensors: Sensors
    estimator: Estimator
    watch: Watch
    limit: LimitSettings
    matrix: Matrix
    derating: Derating
    sequences: Sequences
    dispatch: Dispatch
    balancing: Balancing
    alarm: AlarmSettings = AlarmSettings()
    authority: AuthoritySettings = AuthoritySettings()
    limit_names: tuple[str, ...] = NAMES
    reasons: tuple[str, ...] = REASONS

    @cached_property
    def dims(self) -> Dims:
        """Lengths of every dimension that tags name."""
        return {**self.topology.dims, "bus": self.buses, "slot": self.matrix.size}

    @cached_property
    def alarms(self) -> Annunciator:
        """The annunciation of this program's slots."""
        m, slots = self.matrix, self.matrix.slots
        consequence, root = pairs(m)
        stands = np.zeros(m.size, bool)
        stands[root] = True
        return Annunciator(
            describe=self.describe,
            name=lambda slot: f"{slots[slot].row.id} {slots[slot].place}",
            priority=m.priority,
            opens=m.opening,
            stands=stands,
            after_ms=np.array([s.row.alarm_after_ms for s in slots], np.int64),
            # A row that lets go by itself needs its delay to come back: until then people are not told twice.
            until_ms=np.where(m.holds, 0, m.delay_ms + np.array([s.row.alarm_until_ms for s in slots], np.int64)),
            consequence=consequence,
            root=root,
            longest_shelf_ms=self.alarm.longest_shelf_ms,
        )

    def describe(self, slot: int, value: float, limit: float, element: int, active: bool) -> tuple[str, str]:
        """(place, text) of a slot for people: where, what, value and limit."""
        s, place = self.matrix.slots[slot], self.place_of(slot, element)
        if not s.row.unit:
            return place, s.row.id
        sign = "beyond" if active else "back from"
        return place, f"{s.row.id}: {amount(value, s.row.unit)} {sign} {amount(limit, s.row.unit)}"

    def place_of(self, slot: int, element: int) -> str:
        """The place of a slot, down to the cell or sensor where `element` names one (from 0; -1 none)."""
        s = self.matrix.slots[slot]
        if element < 0:
            return s.place
        if isinstance(s.row.cause, Warned):
            sensor = s.row.cause.fault is Fault.TEMPERATURE_SENSOR
            per, letter = (self.topology.temperatures, "T") if sensor else (self.topology.cells, "C")
            return f"{s.place}/M{element // per + 1:02d}/{letter}{element % per + 1:02d}"
        return f"{s.place}/{self._element(s.row.unit, s.place, element)}"

    @cached_property
    def _extreme_places(self) -> frozenset[str]:
        found = np.argwhere(self.topology.extremes_only).tolist()
        return frozenset(place_name(("rack", "module"), (rack, module)) for rack, module in found)

    def _element(self, unit: str, place: str, element: int) -> str:
        """The cell or sensor of a place; where only extremes are reported, which of the two."""
        if unit == "V" and place in self._extreme_places:
            return EXTREMES[min(element, 1)]
        return f"{ELEMENT_LETTER.get(unit, 'E')}{element + 1:02d}"

    def blank_memory(self) -> Memory:
        """The memory of a site that starts for the first time: contactors open, nothing latched, SOC unknown."""
        memory = Layout(Memory, self.dims).blank()
        t, replace = self.topology, dataclasses.replace
        shape = (t.racks, t.modules, t.cells)
        return replace(
            memory,
            estimation=replace(
                memory.estimation, cell_charge_ratio=np.full(shape, 0.5), cell_variance=np.full(shape, 1.0)
            ),
            protection=replace(memory.protection, first_out=-1),
            dispatching=replace(memory.dispatching, heartbeat_age_ms=-1, overruled_ms=-1),
            modes=self.first_modes(),
            outputs=self.safe_outputs(),
        )

    def first_modes(self) -> Modes:
        """Every start begins with contactors open."""
        modes = Layout(Modes, self.dims).blank()
        return dataclasses.replace(
            modes,
            site_mode=int(SiteMode.STARTING),
            rack_mode=np.full(self.topology.racks, int(RackMode.OPEN), np.int64),
        )

    def safe_outputs(self) -> OutputImage:
        """Everything open and zero."""
        return Layout(OutputImage, self.dims).blank()
