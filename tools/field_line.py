"""One bus, asked by a person: one request at a time, over the controller's own transports.

What is guaranteed: never more than one request in flight, the least gap between two of them kept, and every answer
checked as the controller checks it (unit, function, length, CRC or transaction id).
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any, Final, cast

from controller.app import driving, lock
from controller.fieldbus.blame import exception_text
from controller.fieldbus.link import Link, LinkLost, open_link
from controller.fieldbus.request import Failure, Request, fill, head_of, read_request, write_request
from controller.fieldbus.unit import Unit
from controller.fieldbus.wires import wire_for
from controller.image.folder import run_folder
from plc_config.compile import Compiled
from plc_config.plan import CYCLE, BusPlan, ReadBlock, WriteBlock

LEAST_GAP_S: Final = 0.005
LEAST_WAIT_S: Final = 0.001


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: data, or why there are none. `code` is the exception's."""

    data: bytes = b""
    failure: Failure | None = None
    code: int = 0
    took_ms: float = 0.0

    @property
    def ok(self) -> bool:
        """A correct reply came."""
        return self.failure is None

    @property
    def why(self) -> str:
        """The failure in words."""
        if self.failure is Failure.EXCEPTION:
            return f"refused, {exception_text(self.code)}"
        return self.failure.value if self.failure else ""


class Line:
    """An open bus; use it with `async with`. LinkLost when it cannot be opened."""

    def __init__(self, bus: BusPlan, folder: Path) -> None:
        self.bus, self.folder = bus, folder
        self.wire = wire_for(bus, self)
        self.link: Link | None = None
        self.waiting: asyncio.Future[Answer] | None = None
        self.free_s = 0.0

    async def __aenter__(self) -> Line:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close("done")

    async def _open(self) -> None:
        self.link = await open_link(self.bus, self.folder, self.wire.feed)
        self.wire.write = self.link.write

    def _close(self, reason: str) -> None:
        link, self.link = self.link, None
        for request in self.wire.reset():
            self.failed(request, Failure.LOST, 0, monotonic())
        if link is not None:
            link.close(reason)

    # -- asking ----------------------------------------------------------------------------------------------

    async def read(self, block: ReadBlock, gap_ms: int = 0) -> Answer:
        """Ask for one block."""
        unit = Unit("", block.unit, gap_ms / 1000)
        return await self._ask(read_request(self.bus, block, unit, cast(Any, None)), gap_ms)

    async def read_at(self, unit: int, function: int, address: int, count: int) -> Answer:
        """Ask for registers that no plan names."""
        return await self.read(ReadBlock(0, 0, unit, unit, function, address, count, CYCLE, 0, (), 0.0))

    async def write(self, block: WriteBlock, data: bytes, gap_ms: int = 0) -> Answer:
        """Write one block's data, once."""
        request = write_request(self.bus, block, Unit("", block.unit, gap_ms / 1000), len(data))
        fill(request, self.bus.serial, head_of(block, len(data)), data)
        return await self._ask(request, gap_ms)

    async def _ask(self, request: Request, gap_ms: int) -> Answer:
        if self.link is None or self.link.lost.done():
            self._close("lost")
            try:
                await self._open()
            except LinkLost:
                return Answer(failure=Failure.LOST)
        now_s = monotonic()
        await asyncio.sleep(max(self.wire.wait_s(now_s), self.free_s - now_s, 0.0))
        await asyncio.sleep(self.wire.doubt_s(request, monotonic()))
        self.waiting = future = asyncio.get_running_loop().create_future()
        self.wire.send(request, monotonic())
        while not future.done():
            wait_s = self.wire.deadline_s() - monotonic()
            if wait_s == inf or (self.link is not None and self.link.lost.done()):
                self._close("lost")
                break
            await asyncio.wait([future], timeout=max(wait_s, LEAST_WAIT_S))
            if not future.done():
                self.wire.expire(monotonic())
        self.free_s = monotonic() + max(gap_ms / 1000, LEAST_GAP_S)
        return future.result() if future.done() else Answer(failure=Failure.LOST)

    # -- what the wire tells ---------------------------------------------------------------------------------

    def good(self, request: Request, payload: bytes, now_s: float) -> None:
        """See `Owner`."""
        self._settle(Answer(payload, took_ms=1000 * (now_s - request.sent_s)))

    def failed(self, request: Request, failure: Failure, code: int, now_s: float) -> None:
        """See `Owner`."""
        self._settle(Answer(failure=failure, code=code, took_ms=1000 * (now_s - request.sent_s)))

    def held(self, request: Request, now_s: float) -> None:
        """See `Owner`: it is waited for."""

    def stray(self, late: bool, unit: int) -> None:
        """See `Owner`: a reply nobody waits for is thrown away."""

    def broken(self, reason: str, request: Request | None) -> None:
        """See `Owner`: the next request opens a new link."""
        if request is not None:
            self.failed(request, Failure.BAD, 0, monotonic())
        self._close(reason)

    def _settle(self, answer: Answer) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(answer)


def owner_of(site: Compiled) -> str:
    """Who holds the site's buses now, in words; empty when nobody does."""
    folder = run_folder(site.config.site.id)
    path = folder / "io.lock"
    try:
        if path.exists():
            os.close(lock.take(path))
        driving.release(driving.take(site.plan, folder))
    except lock.AlreadyRunning as error:
        return str(error)
    return ""
