"""TLS and UDP against pymodbus' servers, RS-485 with echo on a pty, and what people are told when TLS is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusTlsServer, ModbusUdpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from plc_config.compile import compile_site
from plc_config.problem import ConfigError
from tests.certificates import Authority
from tests.field_rig import RACK_UNIT, Rig
from tests.hostile import Fault, Memory, RtuServer
from tests.sites import free_site
from tools.cli import main

SPAN = 32


class Peer:
    """Somebody else's server in the place of GW01, serving what the rig's memory holds at its start."""

    def __init__(self, memory: Memory, port: int, context: ssl.SSLContext | None = None) -> None:
        self.memory, self.port, self.context = memory, port, context
        self.server: Any = None
        self.connections: set[Any] = set()

    def _device(self, unit: int) -> SimDevice:
        table = self.memory.inputs[unit]
        inputs = [SimData(0, values=[table.get(a, 0) for a in range(SPAN)], datatype=DataType.REGISTERS)]
        bits = [SimData(0, count=SPAN, values=False, datatype=DataType.BITS)]
        holding = [SimData(0, count=SPAN, values=0, datatype=DataType.REGISTERS)]
        return SimDevice(unit, (bits, bits, holding, inputs))

    async def start(self) -> None:
        """Listen."""
        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
        devices, where = [self._device(u) for u in (1, 2, 3, 4, RACK_UNIT)], ("127.0.0.1", self.port)
        if self.context is not None:
            # The framing of the standard: the MBAP header stays inside TLS. pymodbus' own TLS framing leaves it out.
            self.server = ModbusTlsServer(devices, framer=FramerType.SOCKET, address=where, sslctx=self.context)
        else:
            self.server = ModbusUdpServer(devices, address=where)
        await self.server.serve_forever(background=True)

    async def stop(self) -> None:
        """Gone."""
        if self.server is not None:
            await self.server.shutdown()
            self.server = None


def gateway(line: str) -> Callable[[str], str]:
    """The site with another kind of bus as GW01."""

    def replace(text: str) -> str:
        old = next(x for x in text.splitlines() if x.strip().startswith("GW01:"))
        port = old.split("port: ")[1].split(",")[0]
        return text.replace(old, f"  GW01: {{{line.replace('PORT', port)}}}")

    return replace


def tls_line(timeout: str = "100 ms", **files: str) -> str:
    named = {"ca": "ca.pem", "certificate": "us.pem", "key": "us.key"} | files
    given = ", ".join(f"{k}: {v}" for k, v in named.items())
    return f"kind: tls, host: 127.0.0.1, port: PORT, timeout: {timeout}, {given}"


def server_context(certificate: tuple[Path, Path], ca: Path) -> ssl.SSLContext:
    """A device that demands a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def with_peer(folder: Path, line: str, context: ssl.SSLContext | None) -> Rig:
    """A rig whose GW01 is pymodbus."""
    rig = Rig(folder, gateway(line))
    old = rig.servers["GW01"]
    rig.servers["GW01"] = Peer(old.memory, old.port, context)
    return rig


async def test_tls_with_certificates_on_both_sides(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.sign("us")
    async with with_peer(tmp_path, tls_line(), server_context(authority.sign("device"), authority.path)) as rig:
        await rig.healthy()
        await rig.until(lambda: rig.count("writes", "GW01") > 5, "writes")
        await rig.servers["GW01"].stop()
        await rig.until(lambda: not rig.image.links.bus_up[0], "down")
        await rig.servers["GW01"].start()
        await rig.healthy()
        assert rig.wrong == []
        assert rig.count("bad", "GW01") == 0


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("other authority", "the device's certificate is not accepted: unable to get local issuer certificate"),
        ("expired device", "the device's certificate is not accepted: certificate has expired"),
        ("other name", "the device's certificate is not accepted: Hostname mismatch"),
        ("untrusted us", "certificate not accepted?"),
        ("no tls", "no TLS on this port?"),
    ],
)
async def test_tls_that_is_wrong_says_why_and_never_reads(tmp_path: Path, case: str, said: str) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    (stranger if case == "untrusted us" else authority).sign("us")
    signer = stranger if case == "other authority" else authority
    device = signer.sign("device", last=-1 if case == "expired device" else 30, first=-5)
    line = tls_line() + (", server_name: elsewhere.site" if case == "other name" else "")
    rig = with_peer(tmp_path, line, server_context(device, authority.path))
    if case == "no tls":
        rig = Rig(tmp_path, gateway(line))
    async with rig:
        await rig.until(lambda: any(said in t for t in rig.events()), "told")
        await rig.until(lambda: rig.good(1), "the other bus is well")
        assert not rig.image.links.bus_up[0]
        assert not rig.good(0)


async def test_udp_against_somebody_elses_server(tmp_path: Path) -> None:
    async with with_peer(tmp_path, "kind: udp, host: 127.0.0.1, port: PORT, timeout: 50 ms", None) as rig:
        await rig.healthy()
        await rig.until(lambda: rig.count("writes", "GW01") > 5, "writes")
        await rig.servers["GW01"].stop()
        await rig.until(lambda: not rig.image.links.bus_up[0], "down")
        await rig.servers["GW01"].start()
        await rig.healthy()
        assert rig.wrong == []


class _Bad(asyncio.DatagramProtocol):
    """Answers every datagram with each of several that are no answer."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        other = (int.from_bytes(data[:2], "big") ^ 0x5555).to_bytes(2, "big")
        for wrong in (
            b"",
            b"\0",
            data[:7],
            data[:-1],
            other + data[2:],
            data[:2] + b"\0\1" + data[4:],
            data + b"\0",
            data,
        ):
            self.transport.sendto(wrong, addr)


async def test_udp_datagrams_that_are_no_frames_are_never_values(tmp_path: Path) -> None:
    rig = Rig(tmp_path, gateway("kind: udp, host: 127.0.0.1, port: PORT, timeout: 50 ms"))
    port = rig.servers.pop("GW01").port
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Bad, local_addr=("127.0.0.1", port))
    with contextlib.closing(transport):
        async with rig:
            await rig.until(lambda: rig.count("bad", "GW01") > 50, "spoiled")
            await rig.until(lambda: rig.good(1), "the other bus is well")
            assert not rig.good(0)
            assert rig.wrong == []


class EchoServer(RtuServer):
    """An RS-485 adapter that hears what it sends."""

    deaf = False

    def heard(self, data: bytes) -> None:
        """The echo, before the reply."""
        if not self.deaf:
            self.send(data)


@pytest.mark.parametrize("configured", [True, False])
async def test_an_adapter_with_echo(tmp_path: Path, configured: bool) -> None:
    def echo(text: str) -> str:
        return text.replace("LINE1: {kind: rtu,", "LINE1: {kind: rtu, echo: true,") if configured else text

    rig = Rig(tmp_path, echo)
    old = rig.servers["LINE1"]
    rig.servers["LINE1"] = EchoServer(old.path)
    rig.servers["LINE1"].memory = old.memory
    async with rig:
        if configured:
            await rig.healthy()
            rig.servers["LINE1"].faults += [Fault("crc", times=2), Fault("late", number=0.08)]
            await rig.until(lambda: all(f.hits for f in rig.servers["LINE1"].faults), "hit")
            await rig.healthy()
            # The late reply may also fall upon our own words, and then it is a collision.
            assert rig.count("bad", "LINE1") in (2, 3)
        else:
            await rig.until(lambda: any("set `echo: true`" in t for t in rig.events()), "told")
            assert not rig.good(1)
        assert rig.wrong == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"ca": "missing.pem"}, "missing.pem: no such file or directory"),
        ({"certificate": "us.key"}, "us.key: not what it should be"),
        ({"key": "us.pem"}, "us.pem: not what it should be"),
        ({"key": "other.key"}, "other.key does not belong to"),
    ],
)
def test_check_refuses_files_that_can_never_work(tmp_path: Path, spoil: dict[str, str], said: str) -> None:
    authority = Authority(tmp_path)
    authority.sign("us"), authority.sign("other")
    site = free_site(tmp_path)
    site.write_text(gateway(tls_line(**spoil))(site.read_text()))
    with pytest.raises(ConfigError) as caught:
        compile_site(str(site))
    assert len(caught.value.problems) == 1
    text = str(caught.value)
    assert said in text and "would" not in text and f"{site}:" in text


@pytest.mark.parametrize(("first", "last", "said"), [(-9, -1, "expired on"), (1, 9, "is valid only from")])
def test_check_and_run_refuse_what_is_not_valid_today_but_a_restart_does_not(
    tmp_path: Path, first: int, last: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Authority(tmp_path).sign("us", first, last)
    site = free_site(tmp_path)
    site.write_text(gateway(tls_line())(site.read_text()))
    for command in ("check", "run"):
        assert main([command, str(site)]) == 78
        assert said in capsys.readouterr().err
    assert compile_site(str(site)).plan.buses[0].kind == "tls"


@pytest.mark.parametrize("kind", ["tls", "udp", "stranger"])
def test_the_same_on_uvloop(tmp_path: Path, kind: str) -> None:
    """The I/O process runs on uvloop where it is installed."""
    uvloop = pytest.importorskip("uvloop")
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    authority.sign("us")

    async def story() -> None:
        if kind == "udp":
            line, context = "kind: udp, host: 127.0.0.1, port: PORT, timeout: 50 ms", None
        else:
            device = (stranger if kind == "stranger" else authority).sign("device")
            line, context = tls_line(), server_context(device, authority.path)
        async with with_peer(tmp_path, line, context) as rig:
            if kind == "stranger":
                said = "the device's certificate is not accepted"
                await rig.until(lambda: any(said in t for t in rig.events()), "told")
                return
            await rig.healthy()
            await rig.servers["GW01"].stop()
            await rig.until(lambda: not rig.image.links.bus_up[0], "down")
            await rig.servers["GW01"].start()
            await rig.healthy()
            assert rig.wrong == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())
