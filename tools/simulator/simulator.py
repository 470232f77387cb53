"""The running simulator of one site: plant, sensors, buses, and the clock that moves them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from controller.core.topology import place_name
from controller.image.folder import run_folder as default_run_folder
from plc_config.compile import Compiled
from tools.simulator import play
from tools.simulator.bus import EVERY_UNIT, Bus
from tools.simulator.control import SOCKET_NAME, AlreadyRunning, ControlServer
from tools.simulator.device import DeviceGroup, OutputSlot, build_groups
from tools.simulator.events import EventLog, now_ms
from tools.simulator.modbus import Device
from tools.simulator.options import ENCODE_MS, STEP_MS, Options
from tools.simulator.places import LEVEL_DIMS
from tools.simulator.plant import Plant
from tools.simulator.sensors import Sensors
from tools.simulator.serial_line import SerialLine
from tools.simulator.tcp import BusServer
from tools.simulator.tls import server_context, unusable
from tools.simulator.udp import UdpServer

CATCH_UP_STEPS: Final = 25
"""Steps the clock may be behind before it gives up the lost time (and says so)."""

MAX_SCHEDULED: Final = 1000

log = logging.getLogger(__name__)


class CannotListen(OSError):
    """A port or serial name of the site is taken by somebody else, or a TLS bus has no certificate to show."""


class Endpoint(Protocol):
    """Where a bus is reached."""

    bus: Bus

    async def start(self) -> None:
        """Begin to listen."""

    async def stop(self) -> None:
        """Stop listening and drop connections."""

    def drop(self) -> None:
        """Drop connections only."""


class Simulator:
    """Everything of one simulated site. `start` binds all buses or raises; `stop` leaves nothing behind."""

    def __init__(self, compiled: Compiled, options: Options | None = None, folder: Path | None = None) -> None:
        self.compiled = compiled
        self.options = options or Options()
        self.folder = folder or default_run_folder(compiled.config.site.id)
        self.events = EventLog()
        self.player = _player(compiled, self.options)
        self.plant = Plant(compiled, self.options, self.events, self.player)
        self.sensors = Sensors(self.plant)
        self.groups = build_groups(compiled)
        self.module_groups = [g for g in self.groups if g.level == "module"]
        self.other_groups = [g for g in self.groups if g.level != "module"]
        self.buses = {b.name: Bus(b.name, b.kind, self.events) for b in compiled.plan.buses}
        self.endpoints = self._endpoints()
        self.control = ControlServer(self, self.folder / SOCKET_NAME)
        self.scheduled: list[tuple[int, dict[str, Any]]] = []
        self.clock: asyncio.Task[None] | None = None
        self.skipped_steps = 0
        self._place_devices()
        self.encode_all()

    def _endpoints(self) -> list[Endpoint]:
        endpoints: list[Endpoint] = []
        for plan in self.compiled.plan.buses:
            bus = self.buses[plan.name]
            if plan.kind == "rtu":
                line = SerialLine(bus, plan, self.folder, self.options.paced)
                line.turnaround_ms = max((d.turnaround_ms for d in self._devices_of(plan.index)), default=0)
                endpoints.append(line)
            elif plan.kind == "udp":
                endpoints.append(UdpServer(bus, plan.host, plan.port))
            else:
                endpoints.append(BusServer(bus, plan.host, plan.port))
        return endpoints

    def _devices_of(self, bus: int) -> Iterator[Any]:
        return (d for d in self.compiled.plan.devices if d.bus == bus)

    def _place_devices(self) -> None:
        buses = self.compiled.plan.buses
        for group in self.groups:
            for row, plan in enumerate(group.devices):
                self.buses[buses[plan.bus].name].devices[plan.unit] = Device(group, row, self._written, self._refresh)

    # -- the wire --------------------------------------------------------------------------------------------

    def _written(self, device: Device, slot: OutputSlot, values: list[float]) -> None:
        plan = device.plan
        changed = self.plant.command(plan.level, slot.block.output, plan.place, values)
        if changed:
            for group in self.other_groups:
                group.dirty = True
            value: Any = values[0] if len(values) == 1 else [int(v) for v in values]
            place = place_name(LEVEL_DIMS[plan.level], plan.place)
            self.events.add("write", place, unit=plan.unit, output=slot.block.output, value=value)

    def _refresh(self, group: DeviceGroup) -> None:
        self.encode_others()

    def encode_all(self) -> None:
        """Every register shows the plant as it is now."""
        self.encode_modules()
        self.encode_others()

    def encode_modules(self) -> None:
        """New samples of every module."""
        self.sensors.refresh_modules()
        for group in self.module_groups:
            group.encode(self.sensors.faces)
        self._put_raw(self.module_groups)

    def encode_others(self) -> None:
        """New values of racks, converters and the enclosure."""
        self.sensors.refresh_rest()
        for group in self.other_groups:
            group.encode(self.sensors.faces)
        self._put_raw(self.other_groups)

    def _put_raw(self, groups: list[DeviceGroup]) -> None:
        for fault in self.sensors.faults:
            if fault.kind not in ("raw", "nan"):
                continue
            raw = int(fault.amount) if fault.kind == "raw" else None
            for group in groups:
                for slot in group.points:
                    if slot.point != fault.point:
                        continue
                    for row, plan in enumerate(group.devices):
                        for element in slot.elements(plan.place, fault.index):
                            group.put_raw(slot, row, element, raw)

    def find_device(self, bus: str, unit: int) -> Device | None:
        """The device of a unit on a bus."""
        return self.buses[bus].devices.get(unit) if unit != EVERY_UNIT else None

    # -- time ------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One plant step and the encoding that is due."""
        self.plant.step()
        now = self.plant.time_ms
        if self.scheduled and self.scheduled[0][0] <= now:
            self._run_scheduled(now)
        if now % ENCODE_MS == 0:
            self.encode_modules()
        self.encode_others()

    def advance(self, seconds: float) -> None:
        """Let plant time pass at once; for tests with `real_time=False`."""
        for _ in range(round(seconds * 1000 / STEP_MS)):
            self.step()

    def schedule(self, delay_ms: float, request: dict[str, Any]) -> None:
        """Do a request when plant time has advanced by `delay_ms`."""
        if len(self.scheduled) >= MAX_SCHEDULED:
            raise ValueError(f"{MAX_SCHEDULED} requests are scheduled already")
        self.scheduled.append((self.plant.time_ms + round(delay_ms), request))
        self.scheduled.sort(key=lambda item: item[0])

    def _run_scheduled(self, now: int) -> None:
        while self.scheduled and self.scheduled[0][0] <= now:
            _, request = self.scheduled.pop(0)
            answer = self.control.perform(request)
            if not answer.get("ok"):
                self.events.add("schedule_failed", "", error=answer.get("error"), request=request)

    async def _run_clock(self) -> None:
        next_ms = now_ms()
        while True:
            next_ms += STEP_MS
            wait_ms = next_ms - now_ms()
            if wait_ms > 0:
                await asyncio.sleep(wait_ms / 1000)
            elif wait_ms < -CATCH_UP_STEPS * STEP_MS:
                lost = int(-wait_ms // STEP_MS)
                self.skipped_steps += lost
                next_ms += lost * STEP_MS
                self.events.add("clock_skipped", "", steps=lost)
            else:
                await asyncio.sleep(0)
            self.step()
            await self._tend_endpoints()

    async def _tend_endpoints(self) -> None:
        for endpoint in self.endpoints:
            if not isinstance(endpoint, BusServer) or (not endpoint.bus.faults and endpoint.server is not None):
                continue
            endpoint.bus.expire()
            if endpoint.bus.down():
                if endpoint.server is not None:
                    await endpoint.stop()
                    self.events.add("refusing", endpoint.bus.name)
            elif endpoint.server is None:
                try:
                    await endpoint.start()
                except OSError as error:
                    log.warning("%s cannot listen again: %s", endpoint.bus.name, error)
                else:
                    self.events.add("listening", endpoint.bus.name)

    # -- life ------------------------------------------------------------------------------------------------

    async def start(self, real_time: bool = True) -> None:
        """Bind every bus and the control socket, then let time run; AlreadyRunning or CannotListen otherwise."""
        for plan, endpoint in zip(self.compiled.plan.buses, self.endpoints, strict=True):
            if plan.kind == "tls" and isinstance(endpoint, BusServer):
                try:
                    endpoint.tls = server_context(plan)
                except OSError as error:
                    raise CannotListen(unusable(plan, error)) from error
        await self.control.start()
        try:
            for endpoint in self.endpoints:
                try:
                    await endpoint.start()
                except OSError as error:
                    raise CannotListen(_why(endpoint, error)) from error
        except CannotListen:
            await self.stop()
            raise
        if real_time:
            self.clock = asyncio.create_task(self._run_clock(), name="plant clock")

    async def stop(self) -> None:
        """Stop time, close every bus, remove symlinks and the control socket; a clock that had failed raises here."""
        clock, self.clock = self.clock, None
        if clock is not None:
            clock.cancel()
            await asyncio.wait([clock])
        for endpoint in self.endpoints:
            await endpoint.stop()
        await self.control.stop()
        if clock is not None and not clock.cancelled():
            clock.result()


def _why(endpoint: Endpoint, error: OSError) -> str:
    if isinstance(endpoint, BusServer):
        return f"bus {endpoint.bus.name}: cannot listen on {endpoint.host}:{endpoint.port}: {error.strerror or error}"
    return f"bus {endpoint.bus.name}: cannot open its line: {error.strerror or error}"


def _player(compiled: Compiled, options: Options) -> play.Player | None:
    if not options.play:
        return None
    cell = compiled.cell
    generated = options.play == play.GENERATED
    recording = play.generate(cell, options.seed) if generated else play.read(play.find(options.play))
    t = compiled.topology
    shape = (t.racks, t.modules, t.cells)
    player = play.Player(recording, cell, compiled.config.topology.parallel, shape, options.seed, options.play_speed)
    player.move_to(options.play_from_s)
    return player


@asynccontextmanager
async def running_simulator(
    compiled: Compiled, run_folder: Path | None = None, options: Options | None = None, real_time: bool = True
) -> AsyncIterator[Simulator]:
    """A simulator in this event loop: all buses bound on entry, nothing left on exit."""
    simulator = Simulator(compiled, options, run_folder)
    await simulator.start(real_time)
    try:
        yield simulator
    finally:
        await simulator.stop()


__all__ = ["AlreadyRunning", "CannotListen", "Simulator", "running_simulator"]
