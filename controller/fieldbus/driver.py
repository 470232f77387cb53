"""The driver: all buses on the scan's grid, one field image per cycle, outputs on the wire, silence noticed.

What is guaranteed: an image is published in every cycle before the next scan starts, and no bus is waited for; outputs
are looked at as soon as the scan wakes us and every 10 ms besides; a scan that does not advance for max(2 cycles,
200 ms) has its setpoints zeroed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic, time_ns
from typing import Any, Final

import numpy as np

from controller.core.event import Event, What
from controller.fieldbus.bus import Bus
from controller.fieldbus.capture import Capture
from controller.fieldbus.divisors import DivisorRow, Divisors
from controller.fieldbus.field import Field
from controller.fieldbus.outputs import Output, Outputs
from controller.fieldbus.request import MS_PER_S, read_request
from controller.fieldbus.statistics import COUNTERS, UNIT_COUNTERS, UnitStatistics
from controller.fieldbus.unit import Unit
from controller.fieldbus.walk import Guard, GuardedRow, Walk
from controller.image.files import SiteFiles
from plc_config.plan import CYCLE, PollingPlan

STARTED_MS: Final = int(monotonic() * MS_PER_S)
"""Of this process: a driver that is built anew within it is no restart."""
PUBLISH_MARGIN_S: Final = 0.003
"""The image is published this long before the scan starts, whatever is still missing."""

READ_MARGIN_S: Final = 0.005
"""Rounds are planned to end this long before the scan starts."""

POLL_S: Final = 0.010
"""Outputs are looked at this often even when nobody wakes us."""

SILENCE_MIN_MS: Final = 200
SILENCE_CYCLES: Final = 2
STOP_S: Final = 0.3
"""Longest wait for the zeroed setpoints to be confirmed when stopping."""

STOP_POLL_S: Final = 0.005
TIMER_EARLY_S: Final = 0.002


class Driver:
    """The field side of a site. Construct inside the running loop, then `await run()`; cancel to stop."""

    def __init__(
        self,
        plan: PollingPlan,
        files: SiteFiles,
        serial_folder: Path,
        wake_fd: int | None = None,
        walks: Mapping[int, Walk] | None = None,
        capture: Capture | None = None,
    ) -> None:
        # A device whose SunSpec models are still being read is asked for nothing else, and written nothing.
        self._walks = walks or {}
        plan = dataclasses.replace(plan, writes=tuple(w for w in plan.writes if w.device not in self._walks))
        self.plan, self._folder, self._wake_fd = plan, serial_folder, wake_fd
        self.cycle_s = plan.cycle_ms / MS_PER_S
        self.silence_ms = max(SILENCE_CYCLES * plan.cycle_ms, SILENCE_MIN_MS)
        self.field = Field(plan, files.layouts["field"])
        self._field_writer = files.writer("field")
        self._output_reader = files.reader("output")
        self._events = files.event_writer("io")
        units = self._build_units()
        self.unit_statistics = UnitStatistics(units)
        self.buses = [
            Bus(b, [u for u, d in zip(units, plan.devices, strict=True) if d.bus == b.index],
                plan.load_ms(b.index), plan.cycle_ms, self.tell, self._round_done, capture)
            for b in plan.buses
        ]  # fmt: skip
        self.outputs = Outputs(plan, files.layouts["output"], units, self._send, self.divisors)
        for bus in self.buses:
            bus.outputs = self.outputs
        self._status_writer = files.writer("status.io")
        self._status_buffer = np.zeros(files.layouts["status.io"].size, np.uint8)
        self._status = {
            path: parts[0].of(self._status_buffer) for path, parts in files.layouts["status.io"].parts.items()
        }
        self._heartbeat: int | None = None
        self._stopping = False
        self._alive_ms = 0
        self._told_ms = 0
        self._clamped = 0
        self._waiting: set[int] = set()
        self._published = True
        self._loop = asyncio.get_running_loop()

    def _build_units(self) -> list[Unit]:
        plan = self.plan
        self.divisors: dict[int, Divisors] = {}
        self.guards = {d.index: Guard(d.guard) for d in plan.devices if d.guard[0] and d.index not in self._walks}
        units = [Unit(d.name, d.unit, d.gap_ms / MS_PER_S) for d in plan.devices]
        for block, row in zip(plan.reads, self.field.rows, strict=True):
            unit = units[block.device]
            if block.device in self._walks:
                continue
            guard = self.guards.get(block.device)
            target: Any = row
            if block.divisors:
                known = self.divisors.setdefault(block.device, Divisors(partial(self._relearn, unit)))
                target = DivisorRow(known, block.divisors, block.function)
            if guard is not None:
                target = GuardedRow(target, guard) if block.points or block.divisors else guard
            request = read_request(plan.buses[block.bus], block, unit, target)
            (unit.fast if block.every_ms == CYCLE else unit.slow).append(request)
            if guard is not None and block.every_ms != CYCLE:
                guard.slow.append(request)
        for device, walk in self._walks.items():
            walk.begin(plan.buses[plan.devices[device].bus], units[device])
        return units

    # -- running ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until cancelled; then zero the setpoints on the wire, bounded in time, and close every link."""
        if self._wake_fd is not None:
            self._loop.add_reader(self._wake_fd, self._woken)
        output = self._output_reader.read_again()
        self._heartbeat = output.heartbeat if output is not None else None
        tasks = [asyncio.ensure_future(bus.run(self._folder)) for bus in self.buses]
        tasks += [asyncio.ensure_future(self._poll()), asyncio.ensure_future(self._tick())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            # The buses still run: the zeros must get through before they are closed.
            await self._zero()
            if self._wake_fd is not None:
                self._loop.remove_reader(self._wake_fd)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._publish()
            self._publish_status(int(monotonic() * MS_PER_S))

    async def _zero(self) -> None:
        if not self.outputs.live:
            return
        self._stopping = True
        self.outputs.silence()
        for _ in range(int(STOP_S / STOP_POLL_S)):
            if self.outputs.zeroed():
                return
            await asyncio.sleep(STOP_POLL_S)

    async def _tick(self) -> None:
        """At every scan start: plan the coming cycle."""
        cycle = 0
        while True:
            now_s = monotonic()
            # A timer may fire a little early; the same cycle must not be planned twice.
            cycle = max(int((now_s + TIMER_EARLY_S) / self.cycle_s), cycle + 1)
            self._plan_cycle(cycle, now_s)
            await asyncio.sleep(max((cycle + 1) * self.cycle_s - monotonic(), 0.0))

    def _plan_cycle(self, cycle: int, now_s: float) -> None:
        scan_s, next_scan_s = cycle * self.cycle_s, (cycle + 1) * self.cycle_s
        self._waiting = {bus.plan.index for bus in self.buses}
        self._published = False
        for bus in self.buses:
            master = bus.master
            begin_s = max(next_scan_s - READ_MARGIN_S - master.round.expected_s, scan_s)
            master.announce(cycle, scan_s, begin_s)
            self._loop.call_later(max(begin_s - now_s, 0.0), master.begin, next_scan_s)
        self._loop.call_later(max(next_scan_s - PUBLISH_MARGIN_S - now_s, 0.0), self._publish_due, cycle)

    def _round_done(self, bus: int) -> None:
        self._waiting.discard(bus)
        if not self._waiting and not self._published:
            self._publish()

    def _publish_due(self, cycle: int) -> None:
        if not self._published:
            self._publish()

    def _publish(self) -> None:
        self._published = True
        now_ms = int(monotonic() * MS_PER_S)
        self._field_writer.write_raw(self.field.refresh(now_ms, [bool(bus.up) for bus in self.buses]))
        self.outputs.settle(self.field.points)
        if self.outputs.clamped != self._clamped:
            self.tell(Event(What.SYSTEM, new=self.outputs.clamped, text="an output did not fit its register: clamped"))
            self._clamped = self.outputs.clamped
        if now_ms - self._told_ms >= self.plan.cycle_ms // 2:
            self._publish_status(now_ms)

    def _publish_status(self, now_ms: int) -> None:
        """What we say of ourselves; behind the image, which the scan waits for."""
        self._told_ms = now_ms
        status = self._status
        status["alive_ms"][...] = now_ms
        status["started_ms"][...] = STARTED_MS
        status["silenced"][...] = self.outputs.silenced
        for i, bus in enumerate(self.buses):
            statistics = bus.master.statistics
            for name in COUNTERS:
                status[name][i] = getattr(statistics, name)
            status["latency_histogram"][i] = statistics.histogram
            status["exception_codes"][i] = statistics.exception_codes
        units = self.unit_statistics
        units.settle(self.outputs.unconfirmed())
        for i, name in enumerate(UNIT_COUNTERS):
            status[f"unit_{name}"][: len(units.counts)] = units.counts[:, i]
        status["unit_latency_histogram"][: len(units.counts)] = units.histogram
        status["unit_exception_codes"][: len(units.counts)] = units.exception_codes
        self._status_writer.write_raw(self._status_buffer)

    # -- outputs ---------------------------------------------------------------------------------------------

    def _woken(self) -> None:
        if self._wake_fd is not None:
            with suppress(BlockingIOError):
                os.eventfd_read(self._wake_fd)
        self._look()

    async def _poll(self) -> None:
        while True:
            self._look()
            self.outputs.tick(int(monotonic() * MS_PER_S))
            await asyncio.sleep(POLL_S)

    def _look(self) -> None:
        """Take a new output image; notice that none came for too long."""
        if self._stopping:
            return
        now_ms = int(monotonic() * MS_PER_S)
        image = self._output_reader.read()
        if image is not None and image.heartbeat != self._heartbeat:
            if self.outputs.silenced:
                self.tell(Event(What.SYSTEM, old=1.0, new=0.0, text="the scan lives again: its setpoints are written"))
            self._heartbeat, self._alive_ms = image.heartbeat, now_ms
            self.outputs.update(image, now_ms)
        elif self.outputs.live and not self.outputs.silenced and now_ms - self._alive_ms > self.silence_ms:
            self.outputs.silence()
            self.tell(Event(What.SYSTEM, old=0.0, new=1.0, text="the scan is silent: power setpoints are set to zero"))

    def _send(self, output: Output) -> None:
        guard = self.guards.get(output.block.device)
        if guard is not None and not guard.stands:
            # It stays wanted, and is sent when the device's map has been seen.
            return
        self.buses[output.block.bus].master.enqueue(output)

    def _relearn(self, unit: Unit, divisors: Divisors) -> None:
        self.outputs.relearn(divisors)
        if divisors.unusable:
            what = f"{unit.name}: not a usable number: {divisors.unusable}; what is scaled by it is not written"
            self.tell(Event(What.SYSTEM, new=1.0, text=what))

    def tell(self, event: Event) -> None:
        """Put an event into the ring of this process."""
        record: Any = event.record(self._heartbeat or 0, int(monotonic() * MS_PER_S), time_ns() // 1_000_000)
        self._events.put(record)
