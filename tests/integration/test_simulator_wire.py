"""The simulator on real sockets and a real pty, read by somebody else's Modbus client."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient, AsyncModbusUdpClient

from plc_config.compile import Compiled, compile_site
from tests.certificates import Authority
from tests.sites import free_site
from tools.simulator.options import Options
from tools.simulator.rtu import reply_frame
from tools.simulator.simulator import CannotListen, Simulator, running_simulator

PATIENCE_S = 60.0
CLIENT = {"timeout": PATIENCE_S, "retries": 0, "reconnect_delay": 0}
READ = struct.pack(">HHHBBHH", 7, 0, 6, 1, 4, 0, 4)


@pytest.fixture
def compiled(tmp_path: Path) -> Compiled:
    return compile_site(str(free_site(tmp_path)))


@pytest.fixture
async def simulator(compiled: Compiled, tmp_path: Path) -> AsyncIterator[Simulator]:
    async with running_simulator(compiled, tmp_path / "run", Options(noise=0.0)) as running:
        yield running


def port(simulator: Simulator, bus: str) -> int:
    return next(b.port for b in simulator.compiled.plan.buses if b.name == bus)


def do(simulator: Simulator, verb: str, **request: Any) -> None:
    answer = simulator.control.perform({"do": verb, **request})
    assert answer["ok"], answer


class Raw:
    """A client that sends and receives bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def frame(self) -> bytes:
        header = await asyncio.wait_for(self.reader.readexactly(6), PATIENCE_S)
        return header + await self.reader.readexactly(struct.unpack_from(">H", header, 4)[0])

    async def ask(self, request: bytes = READ) -> bytes:
        self.writer.write(request)
        return await self.frame()

    async def silent(self, request: bytes = READ, seconds: float = 0.15) -> bool:
        self.writer.write(request)
        try:
            return await asyncio.wait_for(self.reader.read(1), seconds) == b""
        except TimeoutError:
            return True


@pytest.fixture
async def raw(simulator: Simulator) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port(simulator, "GW01"))
    yield Raw(reader, writer)
    writer.close()


async def test_pymodbus_reads_and_writes_over_tcp(simulator: Simulator) -> None:
    client = AsyncModbusTcpClient("127.0.0.1", port=port(simulator, "GW01"), **CLIENT)
    assert await client.connect()
    try:
        cells = (await client.read_input_registers(0, count=16, device_id=1)).registers
        true = simulator.plant.cell_v[0, 0] * 10_000
        assert max(abs(a - b) for a, b in zip(cells, true, strict=True)) < 1
        assert not (await client.write_coil(1, True, device_id=100)).isError()
        status = (await client.read_input_registers(5, count=1, device_id=100)).registers[0]
        assert status & 0b1000
        missing = await client.read_input_registers(0, count=1, device_id=200)
        assert missing.exception_code == 0x0B
        assert (await client.read_input_registers(500, count=1, device_id=1)).exception_code == 2
    finally:
        client.close()


async def test_pymodbus_reads_and_writes_over_the_serial_line(simulator: Simulator, tmp_path: Path) -> None:
    line = tmp_path / "run" / "LINE1"
    assert line.is_symlink()
    client = AsyncModbusSerialClient(str(line), framer=FramerType.RTU, baudrate=115200, **CLIENT)
    assert await client.connect()
    try:
        for unit in range(1, 5):
            found = await client.read_input_registers(0, count=21, device_id=unit)
            true = simulator.plant.cell_v[1, unit - 1] * 10_000
            assert max(abs(a - b) for a, b in zip(found.registers[:16], true, strict=True)) < 1
        assert not (await client.write_coils(0, [True] * 16, device_id=2)).isError()
        assert simulator.plant.cells.bleed_on[1, 1].all()
        assert not (await client.write_register(0, 4711, device_id=100)).isError()
        assert simulator.plant.racks.heartbeat[1] == 4711
    finally:
        client.close()


async def test_rtu_over_tcp(tmp_path: Path) -> None:
    site = free_site(tmp_path)
    text = site.read_text()
    gateway = next(line for line in text.splitlines() if line.startswith("  GW01:"))
    site.write_text(text.replace(gateway, gateway.replace("kind: tcp,", "kind: rtu_over_tcp, baud: 4000000,")))
    async with running_simulator(compile_site(str(site)), tmp_path / "run", Options(noise=0.0)) as simulator:
        reader, writer = await asyncio.open_connection("127.0.0.1", port(simulator, "GW01"))
        request = reply_frame(3, bytes.fromhex("0400000001"))
        writer.write(request[:3])
        await asyncio.sleep(0)
        writer.write(request[3:])
        reply = await asyncio.wait_for(reader.readexactly(7), PATIENCE_S)
        value = round(float(simulator.plant.cell_v[0, 2, 0]) * 10_000)
        assert reply == reply_frame(3, bytes((4, 2)) + value.to_bytes(2, "big"))
        writer.close()


async def test_many_requests_in_one_segment_and_one_in_pieces(raw: Raw) -> None:
    requests = [struct.pack(">HHHBBHH", i, 0, 6, 1 + i % 4, 4, 0, 1 + i % 20) for i in range(50)]
    raw.writer.write(b"".join(requests))
    for i in range(50):
        reply = await raw.frame()
        assert struct.unpack_from(">H", reply)[0] == i and reply[6] == 1 + i % 4 and reply[8] == 2 * (1 + i % 20)
    for byte in READ:
        raw.writer.write(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await raw.frame())[:2] == READ[:2]


async def test_broken_header_ends_the_connection(raw: Raw) -> None:
    raw.writer.write(b"\x00\x01\x00\x09\x00\x06\x01\x04\x00\x00\x00\x01")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await raw.frame()


async def test_injection_is_on_the_wire_before_it_is_answered(simulator: Simulator, raw: Raw) -> None:
    do(simulator, "override", place="R01/M01/C02", value=3.7)
    reply = await raw.ask()
    assert struct.unpack_from(">H", reply, 11)[0] == 37_000


async def test_wire_faults(simulator: Simulator, raw: Raw) -> None:
    healthy = await raw.ask()
    assert healthy[:9] == READ[:4] + b"\x00\x0b" + b"\x01\x04\x08"
    do(simulator, "wrong_unit", target="GW01")
    assert (await raw.ask())[6] == 2
    do(simulator, "restore", target="GW01")
    do(simulator, "wrong_function", target="GW01/1")
    assert (await raw.ask())[7] == 3
    do(simulator, "restore", target="GW01/1")
    do(simulator, "short", target="R01/M01")
    short = await raw.ask()
    assert short[8] == 6 and len(short) == len(healthy) - 2
    do(simulator, "clear")
    do(simulator, "wrong_transaction", target="GW01")
    assert (await raw.ask())[:2] == b"\x00\x08"
    do(simulator, "clear")
    do(simulator, "exception", target="GW01/1", code=6)
    assert (await raw.ask())[7:] == b"\x84\x06"
    do(simulator, "clear")
    do(simulator, "duplicate", target="GW01")
    assert await raw.ask() == await raw.frame()
    do(simulator, "clear")
    do(simulator, "drop", target="GW01/1")
    assert await raw.silent()
    assert (await raw.ask(READ[:6] + b"\x02" + READ[7:]))[6] == 2, "the other units still answer"
    do(simulator, "clear")
    do(simulator, "garbage", target="GW01")
    raw.writer.write(READ)
    assert (await raw.reader.readexactly(6))[2:4] != b"\x00\x00"


async def test_a_dropped_unit_hears_nothing(simulator: Simulator, raw: Raw) -> None:
    do(simulator, "drop", target="R01")
    assert await raw.silent(struct.pack(">HHHBBHH", 1, 0, 6, 100, 6, 0, 99))
    assert simulator.plant.racks.heartbeat[0] == 0


async def test_delayed_reply(simulator: Simulator, raw: Raw) -> None:
    do(simulator, "delay", target="GW01", delay_ms=120)
    loop = asyncio.get_running_loop()
    start = loop.time()
    await raw.ask()
    assert loop.time() - start >= 0.11


async def test_close_and_reboot(simulator: Simulator, raw: Raw) -> None:
    do(simulator, "close", target="GW01")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await raw.ask()
    since = simulator.events.last
    do(simulator, "reboot", target="GW01", duration_ms=3_600_000)
    assert await simulator.events.wait("refusing", "GW01", since, 1000 * PATIENCE_S)
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port(simulator, "GW01"))
    do(simulator, "restore", target="GW01")
    assert await simulator.events.wait("listening", "GW01", since, 1000 * PATIENCE_S)
    reader, writer = await asyncio.open_connection("127.0.0.1", port(simulator, "GW01"))
    assert await Raw(reader, writer).ask()
    writer.close()
    since = simulator.events.last
    do(simulator, "reboot", target="GW01", duration_ms=150)
    assert await simulator.events.wait("listening", "GW01", since, 1000 * PATIENCE_S), "it comes back by itself"


async def test_damaged_and_silent_serial_replies(simulator: Simulator, tmp_path: Path) -> None:
    line = str(tmp_path / "run" / "LINE1")
    for fault in ("corrupt_crc", "drop", "garbage", "refuse"):
        client = AsyncModbusSerialClient(line, baudrate=115200, **{**CLIENT, "timeout": 0.1})
        assert await client.connect()
        do(simulator, fault, target="LINE1")
        with pytest.raises(Exception, match="No response"):
            await client.read_input_registers(0, count=4, device_id=1)
        client.close()
        do(simulator, "clear")
        await asyncio.sleep(0.05)
    client = AsyncModbusSerialClient(line, baudrate=115200, **CLIENT)
    assert await client.connect()
    try:
        assert not (await client.read_input_registers(0, count=4, device_id=1)).isError()
    finally:
        client.close()


async def test_paced_line_takes_the_time_of_its_baud_rate(compiled: Compiled, tmp_path: Path) -> None:
    async with running_simulator(compiled, tmp_path / "run", Options(paced=True)):
        client = AsyncModbusSerialClient(str(tmp_path / "run" / "LINE1"), baudrate=115200, **CLIENT)
        assert await client.connect()
        loop = asyncio.get_running_loop()
        start = loop.time()
        await client.read_input_registers(0, count=21, device_id=1)
        elapsed_ms = (loop.time() - start) * 1000
        client.close()
        assert elapsed_ms >= (8 + 47) * 10 / 115.2 + 1.75


async def test_time_runs_and_counters_count(simulator: Simulator, raw: Raw) -> None:
    for _ in range(20):
        await raw.ask()
    do(simulator, "fire", after_ms=200)
    assert await simulator.events.wait("injected", "site", simulator.events.last, 1000 * PATIENCE_S)
    stats = simulator.buses["GW01"].stats
    assert (stats.connections, stats.requests, stats.ok, stats.exceptions) == (1, 20, 20, 0)


async def test_nothing_is_left_behind(compiled: Compiled, tmp_path: Path) -> None:
    run = tmp_path / "run"
    async with running_simulator(compiled, run):
        assert {p.name for p in run.iterdir()} == {"simulator.sock", "LINE1"}
    assert list(run.iterdir()) == []


async def test_a_real_serial_port_is_never_replaced(compiled: Compiled, tmp_path: Path) -> None:
    line = tmp_path / "ports" / "LINE1"
    line.parent.mkdir()
    line.write_text("a device node, say")
    with pytest.raises(CannotListen, match="LINE1"):
        async with running_simulator(compiled, line.parent):
            pass
    assert line.read_text() == "a device node, say" and [p.name for p in line.parent.iterdir()] == ["LINE1"]


async def test_a_client_that_does_not_read_is_hung_up_on(simulator: Simulator, raw: Raw) -> None:
    raw.writer.transport.pause_reading()

    async def ask_for_ever() -> None:
        while True:
            raw.writer.write(READ * 500)
            await raw.writer.drain()
            await asyncio.sleep(0)

    with pytest.raises(ConnectionError):
        await ask_for_ever()
    assert simulator.buses["GW01"].stats.connections == 0


async def test_a_bus_on_udp_answers_somebody_elses_client_and_keeps_its_faults(tmp_path: Path) -> None:
    site = free_site(tmp_path)
    site.write_text(site.read_text().replace("GW01: {kind: tcp,", "GW01: {kind: udp,"))
    async with running_simulator(compile_site(str(site)), tmp_path / "run", Options(noise=0.0)) as simulator:
        client = AsyncModbusUdpClient("127.0.0.1", port=port(simulator, "GW01"), **CLIENT)
        await client.connect()
        reply = await client.read_input_registers(0, count=16, device_id=2)
        assert not reply.isError() and len(reply.registers) == 16
        do(simulator, "exception", target="GW01/2", code=4)
        reply = await client.read_input_registers(0, count=16, device_id=2)
        assert reply.isError() and reply.exception_code == 4
        client.close()


async def test_a_bus_with_tls_needs_a_certificate_to_show(tmp_path: Path) -> None:
    Authority(tmp_path).sign("us")
    site, line = free_site(tmp_path), "kind: tls, ca: ca.pem, certificate: us.pem, key: us.key,"
    site.write_text(site.read_text().replace("GW01: {kind: tcp,", f"GW01: {{{line}"))
    with pytest.raises(CannotListen, match=r"bus GW01: no certificate to show .*device\.pem.*No such file.*cert trial"):
        await Simulator(compile_site(str(site)), Options(), tmp_path / "run").start()
