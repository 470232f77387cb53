"""How a bus opens its link, paces its requests and tells of trouble: back-off, one owner, gaps, few events."""

from __future__ import annotations

import asyncio
import os
import pty
import socket
import termios
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, cast

import pytest

from controller.core.event import Event
from controller.fieldbus import bus as bus_module
from controller.fieldbus.bus import EVENTS_MAX, Bus
from controller.fieldbus.link import LinkLost, open_link
from controller.fieldbus.master import Master
from controller.fieldbus.request import Failure, Request, read_request
from controller.fieldbus.statistics import BusStatistics
from controller.fieldbus.unit import Unit
from plc_config.plan import CYCLE, BusPlan, ReadBlock
from tests.steady_clock import SteadyClock
from tests.unit.test_fieldbus_master import LINE, Device, Notes, Place, until

SOCKET = BusPlan(3, "GW04", "tcp", "127.0.0.1", 1)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        if self.now_s > 1100.0:
            raise asyncio.CancelledError

    def monotonic(self) -> float:
        return self.now_s


async def test_a_link_that_never_opens_is_tried_quickly_first_and_seldom_after_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, told = Clock(), list[Event]()

    async def refused(*_: Any) -> None:
        raise LinkLost("connection refused")

    bus = Bus(SOCKET, [Unit("unit 1", 1, 0.0)], 1.0, 100, told.append, lambda _: None)
    monkeypatch.setattr(bus_module, "open_link", refused)
    monkeypatch.setattr(bus_module, "monotonic", clock.monotonic)
    monkeypatch.setattr(bus_module, "asyncio", clock)
    with pytest.raises(asyncio.CancelledError):
        await bus.run(Path())
    stagger, *pauses = clock.slept
    assert stagger == pytest.approx(3 * 0.005), "buses start one after the other"
    for pause, planned in zip(pauses, [0.1, 0.2, 0.4, *[0.5] * 60], strict=False):
        assert 0.8 * planned <= pause <= 1.2 * planned
    patient = [p for p in pauses if p > 0.6]
    assert len(patient) >= 6 and all(2.0 <= p <= 5.0 for p in patient)
    assert sum(pauses[: len(pauses) - len(patient)]) == pytest.approx(60.0, abs=1.0)
    assert len({round(p, 6) for p in pauses[10:40]}) > 20, "with jitter"
    assert [e.text for e in told] == ["GW04: cannot connect: connection refused"], "said once"


async def test_people_are_told_ten_things_a_minute_and_how_many_were_held_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, told = Clock(), list[Event]()
    unit = Unit("R01/M01 battery", 1, 0.0)
    block = ReadBlock(0, 0, 1, 1, 4, 0, 2, CYCLE, 0, (), 1.0)
    request = read_request(LINE, block, unit, cast(Any, Place()))
    monkeypatch.setattr(bus_module, "monotonic", clock.monotonic)
    bus = Bus(SOCKET, [unit], 1.0, 100, told.append, lambda _: None)
    for _ in range(50):
        bus.refused(request, 2)
        clock.now_s += 0.1
    assert len(told) == EVENTS_MAX
    assert told[0].text == "GW04: unit 1, function 4, address 0, count 2: refused with exception 2: illegal address"
    clock.now_s += 60.0
    bus.refused(request, 4)
    assert len(told) == EVENTS_MAX + 1
    assert told[-1].text.endswith("exception 4: device failure (and 40 more messages)")


async def test_a_serial_port_has_one_owner() -> None:
    master, slave = pty.openpty()
    path = Path(os.ttyname(slave))
    plan = BusPlan(0, "LINE", "rtu", device=str(path), baud=115200)
    link = await open_link(plan, path.parent, lambda _: None)
    try:
        with pytest.raises(LinkLost, match="another program holds the port"):
            await open_link(plan, path.parent, lambda _: None)
    finally:
        link.close("done")
    again = await open_link(plan, path.parent, lambda _: None)
    again.close("done")
    os.close(master)
    os.close(slave)


async def test_the_simulators_end_of_a_line_opens_at_any_parity_as_often_as_asked() -> None:
    master, slave = pty.openpty()
    path = Path(os.ttyname(slave))
    for parity in ("even", "even", "odd", "none"):
        plan = BusPlan(0, "LINE", "rtu", device=str(path), baud=115200, parity=parity)
        link = await open_link(plan, path.parent, lambda _: None)
        link.write(b"\x01\x04")
        assert os.read(master, 2) == b"\x01\x04"
        link.close("done")
    os.close(master)
    os.close(slave)


async def test_an_adapter_that_cannot_do_the_form_of_a_line_is_a_lost_link_and_not_the_end_of_all_buses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unable(*_: Any, **__: Any) -> None:
        raise termios.error(22, "Invalid argument")

    monkeypatch.setattr("controller.fieldbus.link.serial.Serial", unable)
    plan = BusPlan(0, "LINE", "rtu", device="/dev/ttyUSB0", baud=14400, parity="odd", stop_bits=2)
    with pytest.raises(LinkLost, match="the port does not take 14400 baud, parity odd, stop bits 2"):
        await open_link(plan, Path(), lambda _: None)


@pytest.mark.parametrize(
    ("plan", "wire_ms"),
    [
        (BusPlan(0, "L", "rtu", baud=9600, timeout_ms=100), (8 + 5 + 20) * 10 / 9.6),
        (BusPlan(0, "L", "rtu", baud=9600, timeout_ms=100, latency_ms=16), (8 + 5 + 20) * 10 / 9.6 + 16),
        (BusPlan(0, "L", "rtu", baud=115200, parity="even", timeout_ms=100), (8 + 5 + 20) * 11 / 115.2),
        (BusPlan(0, "L", "tcp", timeout_ms=100), 0.0),
    ],
    ids=["slow-line", "usb-converter", "fast-line", "tcp"],
)
def test_a_slow_line_or_converter_is_not_a_silent_device(plan: BusPlan, wire_ms: float) -> None:
    block = ReadBlock(0, 0, 1, 1, 3, 0, 10, CYCLE, 0, (), 0.0)
    request = read_request(plan, block, Unit("", 1, 0.0), cast(Any, None))
    assert 1000 * request.timeout_s == pytest.approx(100 + wire_ms, abs=0.5)


class Stopwatch(Device):
    """Notes how long the line was quiet between a reply and the request after it."""

    def __init__(self, feed: Callable[[bytes], None]) -> None:
        super().__init__(feed)
        self.replied_s, self.pauses_s = 0.0, list[tuple[int, float]]()

    def write(self, data: bytes) -> None:
        if self.replied_s:
            self.pauses_s.append((self.requests[-1][0], monotonic() - self.replied_s))
        super().write(data)

    def _reply(self, frame: bytes) -> None:
        self.replied_s = monotonic()
        super()._reply(frame)


async def test_a_device_that_needs_a_pause_gets_it_and_the_others_do_not_wait_for_theirs() -> None:
    gap_s, units, requests = 0.03, list[Unit](), list[Request]()
    for number, gap in ((1, gap_s), (2, 0.0)):
        unit = Unit(f"unit {number}", number, gap)
        for address in range(2):
            block = ReadBlock(0, 0, number, number, 4, address, 2, CYCLE, 0, (), 1.0)
            requests.append(read_request(LINE, block, unit, cast(Any, Place())))
            unit.fast.append(requests[-1])
        units.append(unit)
    notes = Notes()
    master = Master(LINE, units, 1.0, 100, notes)
    device = Stopwatch(master.wire.feed)
    master.opened(device)
    with SteadyClock():
        master.begin(monotonic() + 0.1)
        await until(lambda: notes.rounds == 1)
    assert [r[0] for r in device.requests] == [1, 1, 2, 2]
    after_first = [pause for unit, pause in device.pauses_s if unit == 1]
    assert len(after_first) == 2 and min(after_first) >= gap_s, "also before somebody else is asked"
    assert device.early == 0


async def test_tcp_itself_finds_a_half_open_link() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    link = await open_link(BusPlan(0, "GW01", "tcp", "127.0.0.1", server.getsockname()[1]), Path(), lambda _: None)
    try:
        peer = cast(Any, link)._transport.get_extra_info("socket")
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 2000
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    finally:
        link.close("done")
        await asyncio.sleep(0)
        server.close()


def test_a_unit_counts_its_exceptions_by_code() -> None:
    units = [Unit("a", 1, 0.0), Unit("b", 2, 0.0)]
    statistics = BusStatistics(units)
    for unit, code in ((0, 2), (0, 2), (0, 0x0B), (1, 6), (1, 99)):
        statistics.failed(units[unit], Failure.EXCEPTION, code)
    assert [dict(enumerate(u.exception_codes.tolist())) for u in units] == [
        {**dict.fromkeys(range(12), 0), 2: 2, 11: 1},
        {**dict.fromkeys(range(12), 0), 6: 1, 0: 1},
    ]
    assert statistics.exception_codes.tolist() == [1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 1]
