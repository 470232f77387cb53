"""Devices that configure themselves: the I/O process reads their models and polls them where they are.

What is guaranteed: a device is polled and written only where its own chain of models says; until then its points are
BAD_COMM. A newly read device is taken in at once while the process starts, later only while no contactor is commanded
closed, because taking it in renews every link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final

from controller.core.event import Event, What
from controller.fieldbus.capture import Capture
from controller.fieldbus.driver import Driver
from controller.fieldbus.walk import Walk
from controller.image.files import SiteFiles
from plc_config.compile import Compiled, compile_site
from plc_config.plan import DevicePlan
from plc_config.problem import ConfigError
from plc_config.sunspec import Chain

LOOK_S: Final = 0.05
START_S: Final = 5.0
"""So long after its start the process may take devices in whatever the contactors do: nothing was read before."""

SETTLE_S: Final = 0.5
"""Devices found within this time of each other are taken in together."""

EXPECTED_S: Final = 3.0
"""A device that has not been read after this time is told once, and walked on."""


class SelfConfig:
    """Runs the driver again and again, each time with the devices that were read meanwhile."""

    def __init__(
        self,
        compiled: Compiled,
        files: SiteFiles,
        folder: Path,
        wake_fd: int | None,
        capture: Capture | None = None,
    ) -> None:
        self.compiled, self.files, self.folder, self.wake_fd = compiled, files, folder, wake_fd
        self.capture = capture
        self.chains: dict[tuple[str, int], Chain] = {}
        self.begun_s = monotonic()
        self.told: set[str] = set()

    def _key(self, device: DevicePlan) -> tuple[str, int]:
        return self.compiled.plan.buses[device.bus].name, device.unit

    def _walks(self) -> dict[int, Walk]:
        """A walk for every device that was not read yet; one whose models do not fit stays held, read already."""
        walks: dict[int, Walk] = {}
        for device in self.compiled.plan.devices:
            if not device.models:
                continue
            chain = self.chains.get(self._key(device))
            if chain is None or device.misfit:
                walks[device.index] = walk = Walk()
                walk.chain = chain
        return walks

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            walks = self._walks()
            driver = Driver(self.compiled.plan, self.files, self.folder, self.wake_fd, walks, self.capture)
            self._tell_misfits(driver.tell)
            waiting = {i: w for i, w in walks.items() if w.chain is None}
            if not waiting and not driver.guards:
                await driver.run()
                return
            await self._until_found(driver, waiting)

    async def _until_found(self, driver: Driver, waiting: dict[int, Walk]) -> None:
        running = asyncio.ensure_future(driver.run())
        watching = asyncio.ensure_future(self._watch(driver, waiting))
        try:
            await asyncio.wait((running, watching), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (running, watching):
                task.cancel()
            results = await asyncio.gather(running, watching, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _watch(self, driver: Driver, waiting: dict[int, Walk]) -> None:
        """Returns when something new was read and may be taken in, or when a map has moved and is to be read anew."""
        found_s, tell = 0.0, driver.tell
        while True:
            await asyncio.sleep(LOOK_S)
            now_s = monotonic()
            moved = [self.compiled.plan.devices[i] for i, g in driver.guards.items() if g.moved]
            for device in moved:
                self._once(tell, f"{device.name}: its SunSpec map is not where it was: no value of it is good")
            if moved and not self._energised():
                self._forget(moved)
                return
            new = [i for i, w in waiting.items() if w.chain is not None]
            if not new:
                self._tell_late(tell, waiting, now_s)
                continue
            found_s = found_s or now_s
            if len(new) < len(waiting) and now_s - found_s < SETTLE_S:
                continue
            if now_s - self.begun_s > START_S and self._energised():
                self._once(tell, "a device was read and is taken in when the racks are open")
                continue
            found = {i: c for i in new if (c := waiting.pop(i).chain) is not None}
            if await self._take_in(tell, found):
                return

    async def _take_in(self, tell: Callable[[Event], None], found: dict[int, Chain]) -> bool:
        """Compile the site with these chains; False when it cannot run with them, and the devices stay held."""
        devices = {i: self.compiled.plan.devices[i] for i in found}
        chains = self.chains | {self._key(devices[i]): c for i, c in found.items()}
        for index, chain in found.items():
            shown = ", ".join(str(m.id) for m in chain.models)
            self._once(tell, f"{devices[index].name}: SunSpec map at {chain.base}, models {shown}")
        try:
            # Some hundred milliseconds for a large site: the buses go on meanwhile.
            self.compiled = await asyncio.to_thread(compile_site, str(self.compiled.path), chains)
        except ConfigError as error:
            for problem in error.problems:
                self._once(tell, f"{', '.join(d.name for d in devices.values())}: not configured: {problem.what}")
            return False
        self.chains = chains
        return True

    def _forget(self, devices: list[DevicePlan]) -> None:
        """Let these devices be read anew."""
        for device in devices:
            self.chains.pop(self._key(device), None)
            self.told = {text for text in self.told if not text.startswith(f"{device.name}:")}
        self.compiled = compile_site(str(self.compiled.path), self.chains)

    def _energised(self) -> bool:
        output = self.files.reader("output").read_again()
        return output is not None and bool(output.rack_main_close.any() or output.rack_precharge_close.any())

    def _tell_late(self, tell: Callable[[Event], None], waiting: dict[int, Walk], now_s: float) -> None:
        if now_s - self.begun_s < EXPECTED_S:
            return
        for index, walk in waiting.items():
            name = self.compiled.plan.devices[index].name
            why = walk.trouble or "no SunSpec map at 40000, 50000 or 0 so far"
            self._once(tell, f"{name}: not configured: {why}")

    def _tell_misfits(self, tell: Callable[[Event], None]) -> None:
        for device in self.compiled.plan.devices:
            if device.misfit:
                self._once(tell, f"{device.name}: not configured: {device.misfit}")

    def _once(self, tell: Callable[[Event], None], text: str) -> None:
        if text not in self.told:
            self.told.add(text)
            tell(Event(What.SYSTEM, text=text))
