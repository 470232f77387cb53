"""The queue of a bus against the clock: order, rounds that overrun, and no second request on a busy line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Any

import pytest

from controller.core.signal import NEVER_MS
from controller.fieldbus.frames import crc
from controller.fieldbus.master import Master
from controller.fieldbus.outputs import Output
from controller.fieldbus.request import Failure, Request, read_request
from controller.fieldbus.unit import FAILURES, Unit
from plc_config.plan import CYCLE, BusPlan, ReadBlock
from tests.steady_clock import SteadyClock

DEADLINE_S = 60.0
LINE = BusPlan(0, "LINE", "rtu", baud=115200, timeout_ms=10)


@pytest.fixture(autouse=True)
async def steady() -> AsyncIterator[None]:
    """No time-out comes because this machine let the test wait."""
    with SteadyClock():
        yield


class Place:
    """Where replies go."""

    def __init__(self) -> None:
        self.time_ms, self.data, self.lost = NEVER_MS, b"", False

    def store(self, payload: bytes, now_ms: int) -> None:
        self.time_ms, self.data, self.lost = now_ms, payload, False

    def lose(self) -> None:
        self.lost = True


class Device:
    """The other end of the link: answers what `answers` lets through, and counts requests that came too early."""

    def __init__(self, feed: Callable[[bytes], None]) -> None:
        self.feed, self.answers = feed, True
        self.requests: list[tuple[int, int]] = []
        self.deaf_to: set[int] = set()
        self.waiting = self.early = 0
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def write(self, data: bytes) -> None:
        self.early += self.waiting
        self.requests.append((data[0], int.from_bytes(data[2:4], "big")))
        if self.answers and self.requests[-1][1] not in self.deaf_to:
            self.waiting = 1
            count = 2 * int.from_bytes(data[4:6], "big")
            body = bytes([data[0], 4, count]) + data[2:4] + b"ok" + bytes(count - 4)
            asyncio.get_running_loop().call_later(0.001, self._reply, body + crc(body).to_bytes(2, "little"))

    def _reply(self, frame: bytes) -> None:
        self.waiting = 0
        self.feed(frame)

    def close(self, reason: str) -> None:
        self.lost.set_result(reason)


class Notes:
    """Listens to the master."""

    def __init__(self) -> None:
        self.rounds = 0
        self.changes: list[tuple[int, bool]] = []

    def round_done(self) -> None:
        self.rounds += 1

    def first_reply(self) -> None: ...

    def written(self, output: Output, payload: bytes, now_ms: int) -> None: ...

    def write_failed(self, output: Output, failure: Failure, code: int, now_ms: int) -> None: ...

    def may_write(self, output: Output) -> bool:
        return True

    def unit_changed(self, unit: Unit, up: bool, failure: Failure | None) -> None:
        self.changes.append((unit.unit, up))

    def refused(self, request: Request, code: int) -> None: ...


def build(blocks_of: dict[int, int], alike: bool = True) -> tuple[Master, Device, Notes, list[Any]]:
    """A line with units of so many FAST blocks of two registers each, or of 2, 3, 4... registers."""
    units, places = [], []
    for number, blocks in blocks_of.items():
        unit = Unit(f"unit {number}", number, 0.0)
        for address in range(blocks):
            place: Any = Place()
            block = ReadBlock(0, 0, number, number, 4, address, 2 if alike else 2 + address, CYCLE, 0, (), 1.0)
            unit.fast.append(read_request(LINE, block, unit, place))
            places.append(place)
        units.append(unit)
    notes = Notes()
    master = Master(LINE, units, 1.0, 100, notes)
    device = Device(master.wire.feed)
    master.opened(device)
    return master, device, notes, places


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    end = monotonic() + DEADLINE_S
    while not condition():
        assert monotonic() < end
        await asyncio.sleep(0.001)


async def test_a_round_reads_every_block_once_in_order() -> None:
    master, device, notes, places = build({1: 2, 2: 1})
    master.begin(monotonic() + 0.1)
    await until(lambda: notes.rounds == 1)
    assert device.requests == [(1, 0), (1, 1), (2, 0)]
    assert device.early == 0
    assert [p.data for p in places] == [b"\0\0ok", b"\0\1ok", b"\0\0ok"]


async def test_a_round_that_ends_by_skipping_begins_the_next_without_a_second_request() -> None:
    """The last block is skipped because its unit has just cost a time-out, while the next round is already due."""
    master, device, notes, _ = build({1: 2, 2: 2})
    device.answers = False
    master.begin(monotonic() + 0.1)
    for _ in range(20):
        await asyncio.sleep(0.004)
        master.begin(monotonic() + 0.1)
        device.answers = len(device.requests) >= 2
    await until(lambda: device.waiting == 0)
    rounds = notes.rounds
    for _ in range(3):
        master.begin(monotonic() + 0.1)
        await until(lambda seen=notes.rounds: notes.rounds > seen)  # type: ignore[misc]
    assert notes.rounds >= rounds + 3
    assert device.early == 0
    assert master.statistics.requests == len(device.requests)


async def test_a_lost_link_fails_its_units_after_three_cycles_and_never_before() -> None:
    master, device, notes, places = build({1: 1})
    master.begin(monotonic() + 0.1)
    await until(lambda: notes.rounds == 1)
    master.lost()
    for cycle in range(FAILURES):
        assert not places[0].lost, cycle
        master.begin(monotonic() + 0.1)
    assert places[0].lost
    assert notes.changes == [(1, False)]
    assert notes.rounds == 1 + FAILURES, "nobody waits for a bus without a link"
    assert len(device.requests) == 1


async def test_one_dead_block_of_a_living_unit_costs_no_time_out_per_round() -> None:
    master, device, notes, places = build({1: 3}, alike=False)
    device.deaf_to = {2}
    for cycle in range(1, 25):
        master.announce(cycle, monotonic() - 1.0, monotonic() + 1.0)
        seen = notes.rounds
        master.begin(monotonic() + 0.1)
        await until(lambda seen=seen: notes.rounds > seen)  # type: ignore[misc]
    assert places[2].lost
    assert not places[0].lost
    assert not places[1].lost
    assert notes.changes == [], "the unit itself is well"
    assert sum(address == 2 for _, address in device.requests) <= 8
    device.deaf_to = set()
    for cycle in range(25, 90):
        master.announce(cycle, monotonic() - 1.0, monotonic() + 1.0)
        seen = notes.rounds
        master.begin(monotonic() + 0.1)
        await until(lambda seen=seen: notes.rounds > seen)  # type: ignore[misc]
    assert not places[2].lost


async def test_a_unit_that_breaks_the_stream_is_blamed_and_the_rest_of_the_round_is_made_up() -> None:
    """The link is lost twice: when the stream breaks, and when its owner is told. Nobody is counted twice."""
    master, device, notes, places = build({1: 1, 2: 1, 3: 1})
    device.answers = False
    master.begin(monotonic() + 0.1)
    await until(lambda: device.requests == [(1, 0)])
    asked = master.wire.in_flight()
    assert asked is not None
    master.wire.reset()
    master.broken("out of step", asked)
    master.lost()
    assert notes.rounds == 1
    assert master.units[0].failures == 1
    again = Device(master.wire.feed)
    master.opened(again)
    await until(lambda: len(again.requests) == 2)
    await until(lambda: notes.rounds == 2)
    assert again.requests == [(2, 0), (3, 0)]
    assert [p.data != b"" for p in places] == [False, True, True]
    await asyncio.sleep(2 * LINE.timeout_ms / 1000)
    master.begin(monotonic() + 0.1)
    await until(lambda: notes.rounds == 3)
    assert again.requests[2:4] == [(2, 0), (3, 0)], "whoever failed lately is asked last"
