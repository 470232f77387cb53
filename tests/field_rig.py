"""The field side on a rig: the `bench` site's driver, hostile devices on its buses, and a scan played by hand."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from controller.core.event import EVENT_DTYPE, text_of
from controller.core.field_image import FieldImage
from controller.core.signal import Quality
from controller.fieldbus.driver import Driver
from controller.fieldbus.statistics import COUNTERS
from controller.image.files import SiteFiles
from plc_config.compile import compile_site
from tests.hostile import Hostile, RtuServer, TcpServer
from tests.sites import free_site
from tests.steady_clock import SteadyClock

PATIENCE_CYCLES = 600
"""Nothing is judged by it: a test that waits in vain ends."""

CELLS, TEMPERATURES, MODULES, RACK_UNIT = 16, 4, 4, 100


def cell_raw(rack: int, module: int, cell: int) -> int:
    """A cell voltage that tells where it belongs, in 0.1 mV."""
    return 30_000 + 1000 * rack + 100 * module + cell


class Rig:
    """`async with Rig(tmp_path) as rig`: everything runs; `wrong` collects good-looking wrong values."""

    def __init__(self, tmp_path: Path, text: Callable[[str], str] | None = None) -> None:
        site = free_site(tmp_path, "bench")
        if text is not None:
            site.write_text(text(site.read_text()))
        self.compiled = compile_site(str(site))
        self.folder = tmp_path
        self.files = SiteFiles(tmp_path, self.compiled.dims)
        self.files.create()
        self.servers: dict[str, Any] = {}
        for bus in self.compiled.plan.buses:
            if bus.kind == "rtu":
                self.servers[bus.name] = RtuServer(tmp_path / bus.device)
            else:
                self.servers[bus.name] = TcpServer(bus.port)
        for rack, bus_name in enumerate(("GW01", "LINE1")):
            fill_rack(self.servers[bus_name], rack)
        fill_rest(self.servers["PCS"], self.servers["AUX"])
        self.expected = expected_values()
        self.wrong: list[str] = []
        self.images: list[FieldImage] = []
        self.clock = SteadyClock()
        self.spoken_s = 0.0
        self.outputs = self.files.layouts["output"].blank()
        self.output_writer = self.files.writer("output")
        self.heartbeat = 0
        self.scanning = True
        self.driver: Any = None
        self.errors: list[dict[str, Any]] = []
        self._tasks: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> Rig:
        self.clock.start()
        # In the I/O process an error in a callback ends the process: here it fails the test.
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.errors.append(context))
        for server in self.servers.values():
            await server.start()
        self.start_driver()
        self._tasks = [asyncio.ensure_future(self._watch()), asyncio.ensure_future(self._scan())]
        return self

    def start_driver(self) -> None:
        """The driver, as the I/O process runs it."""
        self.driver = Driver(self.compiled.plan, self.files, self.folder)
        self.running = asyncio.ensure_future(self.driver.run())

    async def stop_driver(self) -> None:
        """As on SIGTERM."""
        self.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.running

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.stop_driver()
        for server in self.servers.values():
            await server.stop()
        await asyncio.sleep(0.01)
        self.clock.stop()
        asyncio.get_running_loop().set_exception_handler(None)
        assert not self.errors, self.errors

    # -- the scan, played ------------------------------------------------------------------------------------

    async def _scan(self) -> None:
        cycle_s = self.compiled.plan.cycle_ms / 1000
        while True:
            await asyncio.sleep(cycle_s - self.clock() % cycle_s)
            if self.scanning:
                self.publish()

    def publish(self, **values: Any) -> None:
        """One output image of a living scan."""
        self.heartbeat += 1
        self.spoken_s = self.clock()
        self.outputs = dataclasses.replace(self.outputs, heartbeat=self.heartbeat, **values)
        self.output_writer.write(self.outputs)

    def set(self, **values: Any) -> None:
        """Outputs from the next scan on."""
        self.outputs = dataclasses.replace(self.outputs, **values)

    # -- watching --------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        reader = self.files.reader("field")
        while True:
            image = reader.read()
            if image is not None:
                self.images.append(image)
                self._judge(image)
            await asyncio.sleep(0.005)

    def _judge(self, image: FieldImage) -> None:
        for name, want in self.expected.items():
            samples = getattr(image.points, name)
            good = samples.quality == Quality.GOOD
            off = good & ~np.isclose(samples.value, want, atol=1e-4) & ~np.isnan(want)
            if off.any():
                where = tuple(int(i[0]) for i in np.nonzero(off)) if off.ndim else ()
                self.wrong.append(f"{name}{where}: {samples.value[where]} for {want[where]}")

    @property
    def image(self) -> FieldImage:
        """The latest field image."""
        return self.images[-1]

    def good(self, rack: int | None = None, module: int | None = None) -> bool:
        """Whether all that this rig serves has been read and is good."""
        cells = self.image.points.cell_voltage_v.quality
        chosen = cells if rack is None else cells[rack] if module is None else cells[rack, module]
        return bool((chosen == Quality.GOOD).all())

    def age_ms(self, rack: int, module: int) -> int:
        """Age of a module's values at the moment of publishing."""
        image = self.image
        return int(image.links.published_ms - image.points.cell_voltage_v.time_ms[rack, module].min())

    def missed(self, rack: int, first: int, module: int | None = None) -> int:
        """The most cycles in a row in which a module of this rack was not read anew, as images since `first` tell."""
        times = np.array([i.points.cell_voltage_v.time_ms[rack].min(axis=-1) for i in self.images[first:]])
        worst = run = np.zeros(MODULES, int)
        for stale in times[1:] == times[:-1]:
            run = np.where(stale, run + 1, 0)
            worst = np.maximum(worst, run)
        return int(worst.max() if module is None else worst[module])

    def status(self) -> Any:
        """The latest I/O status."""
        return self.files.reader("status.io").read_again()

    def count(self, name: str, bus: str) -> int:
        """One counter of one bus."""
        names = [b.name for b in self.compiled.plan.buses]
        return int(getattr(self.driver.buses[names.index(bus)].master.statistics, name))

    def events(self) -> list[str]:
        """Texts of all events so far."""
        reader = self.files.event_reader("io", from_start=True)
        assert reader._records.dtype["record"] == EVENT_DTYPE
        return [text_of(r, "text") for r in reader.take(1000)]

    def situation(self) -> str:
        """What the field side looks like, for a failed test's message."""
        if not self.images:
            return f"no image; {self.events()}"
        links, points = self.image.links, self.image.points
        ages = (links.published_ms - points.cell_voltage_v.time_ms[..., 0]).tolist()
        buses = self.driver.buses if self.driver else []
        counts = {b.plan.name: {c: getattr(b.master.statistics, c) for c in COUNTERS} for b in buses}
        quality = {n: getattr(points, n).quality.ravel()[:1].tolist() for n in self.expected}
        held = f"held up {self.clock.held_s:.3f} s"
        return f"{held}, cell ages {ages}, up {links.bus_up.tolist()}, quality {quality}, {counts}, {self.events()}"

    async def until(self, condition: Callable[[], bool], what: str, most_cycles: int = PATIENCE_CYCLES) -> None:
        """Wait for a condition; fails when so many more images were published without it, or none for as long."""
        first, end_s = len(self.images), self.clock() + PATIENCE_CYCLES * self.compiled.plan.cycle_ms / 1000
        while not (self.images and condition()):
            if self.running.done():
                self.running.result()
            passed = len(self.images) - first
            assert passed <= most_cycles and self.clock() < end_s, f"not in {passed} cycles: {what}; {self.situation()}"
            await asyncio.sleep(0.002)

    async def healthy(self, most_cycles: int = PATIENCE_CYCLES) -> None:
        """Wait until everything is good, and every module was read anew."""
        begin = int(self.image.links.published_ms) if self.images else 0

        def all_good() -> bool:
            points = self.image.points
            fresh = points.cell_voltage_v.time_ms > begin
            others = (points.pcs_active_power_w, points.fire_alarm, points.rack_voltage_v, points.aux_supply_v)
            return self.good() and bool(fresh.all()) and all(bool((s.quality == 0).all()) for s in others)

        await self.until(all_good, "healthy", most_cycles)

    async def cycles(self, count: int) -> None:
        """Let this many images be published."""
        target = len(self.images) + count
        await self.until(lambda: len(self.images) >= target, f"{count} images")


def fill_rack(server: Hostile, rack: int) -> None:
    """Modules 1..4 and the rack controller."""
    for module in range(MODULES):
        table = server.memory.inputs[module + 1]
        for cell in range(CELLS):
            table[cell] = cell_raw(rack, module, cell)
        for sensor in range(TEMPERATURES):
            table[CELLS + sensor] = 200 + 10 * module + sensor
        server.memory.counters.add((module + 1, 20))
    table = server.memory.inputs[RACK_UNIT]
    table.update({0: 8123 + rack, 1: (-125) & 0xFFFF, 2: (-7) & 0xFFFF, 3: 0x0007, 4: 0xA120, 5: 0b0000, 6: 7})


def fill_rest(pcs: Hostile, aux: Hostile) -> None:
    """Converter and auxiliaries."""
    power = (-54_321) & 0xFFFFFFFF
    pcs.memory.inputs[1].update({0: power >> 16, 1: power & 0xFFFF, 3: 777, 4: 8000, 6: 250, 7: 1})
    aux.memory.bits[1].update({0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1})
    aux.memory.inputs[1].update({0: 2400, 1: (-55) & 0xFFFF})


def expected_values() -> dict[str, Any]:
    """What a good value must be; NaN where it moves by itself."""
    cells = np.array([[[cell_raw(r, m, c) / 1e4 for c in range(CELLS)] for m in range(MODULES)] for r in range(2)])
    sensors = np.array([[(200 + 10 * m + s) / 10 for s in range(TEMPERATURES)] for m in range(MODULES)])
    return {
        "cell_voltage_v": cells,
        "cell_temperature_degc": np.broadcast_to(sensors, (2, MODULES, TEMPERATURES)),
        "rack_voltage_v": np.array([812.3, 812.4]),
        "rack_current_a": np.array([12.5, 12.5]),
        "rack_link_voltage_v": np.array([-0.7, -0.7]),
        "rack_insulation_ohm": np.array([500_000.0, 500_000.0]),
        "pcs_active_power_w": np.array([-54_321.0]),
        "pcs_reactive_power_var": np.array([777.0]),
        "pcs_dc_voltage_v": np.array([800.0]),
        "pcs_dc_current_a": np.array([25.0]),
        "pcs_running": np.array([1.0]),
        "estop_channel_1_closed": np.array(1.0),
        "fire_alarm": np.array(0.0),
        "hvac_healthy": np.array(1.0),
        "aux_supply_v": np.array(24.0),
        "ambient_temperature_degc": np.array(-5.5),
    }
