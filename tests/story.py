"""Tells scans as a story: a plant of plain numbers around the pure program, stepped by hand, no process, no clock."""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import Any

import numpy as np

from controller.core.command import COMMAND_DTYPE, Command, Kind, Origin, Role
from controller.core.event import Event, What
from controller.core.image import AlarmState, InputImage, ProcessImage, RackMode, SiteMode
from controller.core.layout import Layout
from controller.core.scan import scan
from controller.core.signal import Quality
from controller.core.topology import MAX_COMMANDS_PER_SCAN
from controller.core.unchanged import Unchanged
from plc_config.compile import Compiled, compile_site
from plc_config.coverage import points_read

REST_V = 3.29
CELL_OHM = 2e-5
"""Enough to see that a cell answers, too little to matter."""
WAITING_MS = 1000
PRECHARGE_TAU_MS = 280.0
"""Time constant with which a link fills through the precharge resistor."""


SHARED: dict[str, Unchanged] = {}
"""How every shared site was when it was compiled; looked at again when all tests have run."""


@functools.cache
def shipped(name: str) -> Compiled:
    """A shipped site, compiled once per test run, for all who change nothing of it."""
    site = compile_site(name)
    SHARED[name] = Unchanged(site.program)
    return site


def shared_sites_are_as_compiled() -> None:
    """ProgramChanged where a test has changed a site that others use."""
    for unchanged in SHARED.values():
        # A look ends early after so many bytes; then it has seen one part at least.
        for _ in range(unchanged.size):
            unchanged.look()


class Story:
    """A site that does as it is told, until the test says otherwise.

    `points` may be changed between scans; `hold` names points that no longer follow the outputs; `silent`
    names points whose sample time stands still.
    """

    def __init__(self, site: str | Compiled = "bench", **memory: Any) -> None:
        if isinstance(site, str):
            site = shipped(site) if "/" not in site else compile_site(site)
        self.site = site
        self.program = self.site.program
        self.layout = Layout(InputImage, self.program.dims)
        self.memory = self.program.blank_memory()
        self.raw = np.zeros(self.layout.size, np.uint8)
        self.layout.write(self.layout.blank(), self.raw)
        self.input = self.layout.view(self.raw)
        self.points = self.input.points
        self.hold: set[str] = set()
        self.silent: set[str] = set()
        self.number, self.now_ms, self.command_id = 0, 1_000_000, 0
        self.cycle_ms = self.program.cycle_ms
        self.image: ProcessImage | None = None
        self.events: list[Event] = []
        self.waiting: list[Command] = []
        self.system: dict[str, Any] = {}
        self.utc_offset_ms = 10**12
        self.followed: dict[str, Any] = {}
        self._healthy()

    def _healthy(self) -> None:
        t, p = self.program.topology, self.points
        read = points_read(self.site.plan)
        for field in dataclasses.fields(p):
            getattr(p, field.name).quality[...] = int(Quality.GOOD if field.name in read else Quality.NOT_FITTED)
        p.cell_voltage_v.value[...] = REST_V
        p.cell_temperature_degc.value[...] = 25.0
        p.rack_voltage_v.value[...] = REST_V * t.modules * t.cells
        p.rack_insulation_ohm.value[...] = 1e6
        for name in ("estop_channel_1_closed", "estop_channel_2_closed", "hvac_healthy", "door_closed"):
            getattr(p, name).value[...] = 1.0
        p.aux_supply_v.value[...] = 24.0
        p.ambient_temperature_degc.value[...] = 22.0
        names = ("cell_voltage_v", "rack_current_a", "rack_current_redundant_a", "pcs_dc_current_a")
        self.followed = {name: getattr(p, name).value.copy() for name in names}

    # -- what happens --------------------------------------------------------------------------------------

    def tell(self, kind: Kind, value: float = 0.0, role: Role = Role.OPERATOR, **more: Any) -> Command:
        """A command that the next scan sees."""
        self.command_id += 1
        fields = {"id": self.command_id, "expires_ms": self.now_ms + 1000, "user": "operator", **more}
        command = Command(kind=kind, origin=Origin.OPCUA, role=role, issued_ms=self.now_ms, value=value, **fields)
        self.waiting.append(command)
        return command

    def scans(self, count: int = 1) -> ProcessImage:
        """`count` scans, one cycle apart."""
        for _ in range(count):
            self._one()
        assert self.image is not None
        return self.image

    def seconds(self, seconds: float) -> ProcessImage:
        """As many scans as fit."""
        return self.scans(round(seconds * 1000 / self.cycle_ms))

    def wait(self, seconds: float) -> ProcessImage:
        """Whole seconds in which nothing is told: the first and the last at the site's cycle, a scan a second between.

        For what only time does, or must not do; whatever moves from scan to scan needs `seconds`.
        """
        usual_ms = self.cycle_ms
        self.seconds(1)
        self.cycle_ms = max(WAITING_MS, usual_ms)
        self.seconds(seconds - 2)
        self.cycle_ms = usual_ms
        return self.seconds(1)

    def until(self, mode: SiteMode, most_s: float = 120.0) -> ProcessImage:
        """Scans until the site is in `mode`; fails when that takes too long."""
        for _ in range(round(most_s * 1000 / self.cycle_ms)):
            if self.scans().modes.site_mode == mode:
                assert self.image is not None
                return self.image
        raise AssertionError(f"not {mode.name} within {most_s} s but {self.mode.name}; {self.texts()[-5:]}")

    def online(self) -> Story:
        """Connected and ready for power."""
        self.until(SiteMode.STANDBY)
        self.tell(Kind.CONNECT)
        self.until(SiteMode.ONLINE)
        return self

    def contactors(self, **values: Any) -> None:
        """Write values into the life ledger, as years of operation would have."""
        ledger = dataclasses.replace(self.memory.modes.contactors, **values)
        self.memory = dataclasses.replace(self.memory, modes=dataclasses.replace(self.memory.modes, contactors=ledger))

    def lose(self, name: str, where: Any = ..., quality: Quality = Quality.BAD_COMM) -> None:
        """A point is no longer heard."""
        self.silent.add(name)
        getattr(self.points, name).quality[where] = int(quality)

    def forget_soc(self) -> None:
        """The SOC rests on nothing, and voltages that would give it back are missing."""
        e = self.memory.estimation
        unknown = dataclasses.replace(
            e, rack_known=np.zeros_like(e.rack_known), cell_variance=np.ones_like(e.cell_variance)
        )
        self.memory = dataclasses.replace(self.memory, estimation=unknown)
        self.lose("cell_voltage_v", np.s_[0, 0, 0], Quality.BAD_SENSOR)

    def know_soc(self, reported: float) -> None:
        """Our SOC is 0.5 and sure; the rack's own BMS says something else."""
        e = self.memory.estimation
        sure = dataclasses.replace(
            e, rack_known=np.ones_like(e.rack_known), cell_variance=np.full_like(e.cell_variance, 1e-4),
            cell_charge_ratio=np.full_like(e.cell_charge_ratio, 0.5), string=np.zeros_like(e.string),
        )  # fmt: skip
        self.memory = dataclasses.replace(self.memory, estimation=sure)
        self.points.rack_soc_reported_ratio.value[...] = reported
        self.points.rack_soc_reported_ratio.quality[...] = int(Quality.GOOD)

    def _one(self) -> None:
        self.number += 1
        self.now_ms += self.cycle_ms
        with np.errstate(all="ignore"):
            self._follow()
        for field in dataclasses.fields(self.points):
            if field.name not in self.silent:
                getattr(self.points, field.name).time_ms[...] = self.now_ms - 10
        records = np.zeros(MAX_COMMANDS_PER_SCAN, COMMAND_DTYPE)
        for i, command in enumerate(self.waiting):
            records[i] = command.record()
        system = dataclasses.replace(
            self.input.system, scan=self.number, now_ms=self.now_ms, utc_ms=self.now_ms + self.utc_offset_ms,
            elapsed_ms=self.cycle_ms, **self.system,
        )  # fmt: skip
        # A scan sees the instruments as they stand now, whatever becomes of them later.
        fresh = dataclasses.replace(
            self.layout.view(self.raw.copy()), system=system, command_count=len(self.waiting), command_records=records
        )
        self.inputs = fresh
        self.memory, self.image, events = scan(self.program, self.memory, fresh)
        self.events += events
        self.waiting = []

    def _follow(self) -> None:
        """The plant does what the last outputs said."""
        p, o = self.points, self.memory.outputs
        bank = self.program.topology.rack_bank
        p.module_sample_counter.value[...] += "module_sample_counter" not in self.hold
        link = np.zeros(len(bank))
        filled = 1.0 - np.exp(-self.cycle_ms / PRECHARGE_TAU_MS)
        for r in np.flatnonzero(o.rack_precharge_close)[::-1]:
            was = p.rack_link_voltage_v.value[r]
            link[bank == bank[r]] = was + filled * (p.rack_voltage_v.value[r] - was)
        for r in np.flatnonzero(o.rack_main_close)[::-1]:
            link[bank == bank[r]] = p.rack_voltage_v.value[r]
        self._flow()
        follows = {
            "rack_main_closed": o.rack_main_close,
            "rack_main_confirmed": o.rack_main_close,
            "rack_precharge_closed": o.rack_precharge_close,
            "rack_precharge_confirmed": o.rack_precharge_close,
            "rack_link_voltage_v": link,
            "rack_heartbeat_echo": np.full(len(bank), o.heartbeat % 65536),
            "pcs_dc_voltage_v": p.rack_link_voltage_v.value[[np.flatnonzero(bank == b)[0] for b in self._pcs_bank]],
            "pcs_active_power_w": o.pcs_active_power_setpoint_w,
            "pcs_active_power_confirmed_w": o.pcs_active_power_setpoint_w,
            "pcs_running": o.pcs_run,
        }
        for name, value in follows.items():
            if name not in self.hold:
                getattr(p, name).value[...] = value

    @property
    def _pcs_bank(self) -> Any:
        return self.program.topology.pcs_bank

    def _flow(self) -> None:
        """Currents follow the power, racks of a bank share evenly. What a test has set stays as it set it."""
        p, o, bank = self.points, self.memory.outputs, self.program.topology.rack_bank
        volts = np.maximum(p.rack_voltage_v.value, 1.0)
        watts = np.bincount(self._pcs_bank, p.pcs_active_power_w.value, self.program.topology.banks)
        racks = np.bincount(bank, o.rack_main_close, self.program.topology.banks)
        share = np.where(o.rack_main_close, (watts / np.maximum(racks, 1))[bank] / volts, 0.0)
        self._unless_set("rack_current_a", share)
        self._unless_set("rack_current_redundant_a", p.rack_current_a.value)
        drop = CELL_OHM * p.rack_current_a.value[:, None, None]
        self._unless_set("cell_voltage_v", (REST_V - drop + np.zeros(p.cell_voltage_v.value.shape)).astype(np.float32))
        self._unless_set("pcs_dc_current_a", p.pcs_active_power_w.value / np.maximum(p.pcs_dc_voltage_v.value, 1.0))

    def _unless_set(self, name: str, value: Any) -> None:
        now, before = getattr(self.points, name).value, self.followed[name]
        now[...] = np.where(now == before, value, now)
        self.followed[name] = np.where(now == value, value, before)

    # -- what can be seen ----------------------------------------------------------------------------------

    @property
    def mode(self) -> SiteMode:
        """The site's mode."""
        assert self.image is not None
        return SiteMode(self.image.modes.site_mode)

    def rack(self, index: int = 0) -> RackMode:
        """A rack's mode."""
        assert self.image is not None
        return RackMode(int(self.image.modes.rack_mode[index]))

    def slot(self, row: str, place: str | None = None) -> int:
        """Slot of a row, at its first place unless one is named."""
        return next(s.index for s in self.program.matrix.slots if s.row.id == row and place in (None, s.place))

    def active(self, row: str, place: str | None = None) -> bool:
        """The row acts at the place, or anywhere."""
        assert self.image is not None
        return any(
            bool(self.image.trips.slot_active[s.index])
            for s in self.program.matrix.slots
            if s.row.id == row and place in (None, s.place)
        )

    def alarm(self, row: str, place: str | None = None) -> AlarmState:
        """The alarm's state."""
        assert self.image is not None
        return AlarmState(int(self.image.alarms.alarm_state[self.slot(row, place)]))

    def answer(self, command: Command) -> Event:
        """What was answered to a command."""
        return next(e for e in self.events if e.what is What.ANSWER and e.command == command.id)

    def texts(self) -> list[str]:
        """All events as text."""
        return [f"{e.place}: {e.text}" for e in self.events]


def fork(base: Story) -> Story:
    """A story that goes on from where `base` stands, without changing it."""
    story = Story(base.site)
    story.memory, story.number, story.now_ms = copy.deepcopy(base.memory), base.number, base.now_ms
    story.command_id, story.cycle_ms = base.command_id + 1000, base.cycle_ms
    for field in dataclasses.fields(story.points):
        for part in ("value", "quality", "time_ms"):
            getattr(getattr(story.points, field.name), part)[...] = getattr(getattr(base.points, field.name), part)
    story.followed = {name: value.copy() for name, value in base.followed.items()}
    story.image, story.events = base.image, list(base.events)
    return story


@functools.cache
def connected(site: str = "bench") -> Story:
    """A shipped site, connected once per test run; to be forked, never told."""
    return Story(site).online()
