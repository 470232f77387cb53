"""A Modbus server that misbehaves on request, on TCP and on a pty: the device a driver must survive."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import socket
import struct
import termios
import tty
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from pymodbus.framer import FramerRTU


def crc(data: bytes) -> bytes:
    """The CRC in wire order, from pymodbus: not the code under test."""
    return FramerRTU.compute_CRC(data).to_bytes(2, "big")


@dataclass
class Fault:
    """What goes wrong, for which requests, how often (-1 for ever), and a number for those that need one."""

    kind: str
    units: frozenset[int] | None = None
    times: int = 1
    number: float = 0.0
    functions: frozenset[int] | None = None
    hits: int = 0
    every: int = 1
    seen: int = 0

    def applies(self, unit: int, function: int) -> bool:
        """Whether this request is hit; counts it."""
        if self.times >= 0 and self.hits >= self.times:
            return False
        if (self.units and unit not in self.units) or (self.functions and function not in self.functions):
            return False
        self.seen += 1
        if self.seen % self.every:
            return False
        self.hits += 1
        return True


@dataclass
class Write:
    """A write that the device executed."""

    time_s: float
    unit: int
    function: int
    address: int
    data: bytes


@dataclass
class Memory:
    """Registers and bits of all units of one server. `counters`: (unit, address) counts up at every read."""

    inputs: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    holding: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    coils: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    bits: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    counters: set[tuple[int, int]] = field(default_factory=set)
    writes: list[Write] = field(default_factory=list)
    reads: list[tuple[float, int, int, int]] = field(default_factory=list)
    on_write: Callable[[Write], None] | None = None

    def answer(self, unit: int, pdu: bytes) -> bytes:
        """The correct reply PDU."""
        function = pdu[0]
        address, value = struct.unpack(">HH", pdu[1:5])
        if function in (1, 2, 3, 4):
            self.reads.append((monotonic(), unit, function, address))
            table = {1: self.coils, 2: self.bits, 3: self.holding, 4: self.inputs}[function][unit]
            if function > 2:
                for at in range(address, address + value):
                    if (unit, at) in self.counters:
                        table[at] = (table.get(at, 0) + 1) & 0xFFFF
                data = b"".join(table.get(a, 0).to_bytes(2, "big") for a in range(address, address + value))
            else:
                bits = sum(table.get(address + i, 0) << i for i in range(value))
                data = bits.to_bytes((value + 7) // 8, "little")
            return bytes([function, len(data)]) + data
        if function == 23:
            address, value = struct.unpack(">HH", pdu[5:9])
        data = {5: pdu[3:5], 6: pdu[3:5], 22: pdu[3:7], 23: pdu[10:]}.get(function, pdu[6:])
        if function == 5:
            self.coils[unit][address] = int(data[0] == 0xFF)
        elif function == 15:
            for i in range(value):
                self.coils[unit][address + i] = data[i // 8] >> (i % 8) & 1
        elif function == 22:
            keep, add = struct.unpack(">HH", data)
            self.holding[unit][address] = (self.holding[unit].get(address, 0) & keep) | (add & ~keep)
        else:
            for i in range(len(data) // 2):
                self.holding[unit][address + i] = int.from_bytes(data[2 * i : 2 * i + 2], "big")
        write = Write(monotonic(), unit, function, address, data)
        self.writes.append(write)
        if self.on_write is not None:
            self.on_write(write)
        if function == 23:
            first, count = struct.unpack(">HH", pdu[1:5])
            table = self.holding[unit]
            return bytes([23, 2 * count]) + b"".join(table.get(first + i, 0).to_bytes(2, "big") for i in range(count))
        return pdu[:7] if function == 22 else pdu[:5]


Sender = Callable[[bytes], None]


class Hostile:
    """Answers from `memory`, spoiled by the first fault of `faults` that applies. `dead` units never answer."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.faults: list[Fault] = []
        self.dead: set[int] = set()
        self.requests = 0
        self.timers: list[asyncio.TimerHandle] = []

    def frame(self, head: bytes, unit: int, pdu: bytes) -> bytes:
        raise NotImplementedError

    def handle(self, head: bytes, unit: int, pdu: bytes, send: Sender, cut: Callable[[bool], None]) -> None:
        """One request."""
        self.requests += 1
        if unit in self.dead:
            return
        fault = next((f for f in self.faults if f.applies(unit, pdu[0])), None)
        if fault is None:
            send(self.frame(head, unit, self.memory.answer(unit, pdu)))
            return
        if fault.kind in ("close", "reset"):
            cut(fault.kind == "reset")
        elif fault.kind == "timeout":
            return
        elif fault.kind == "exception":
            send(self.frame(head, unit, bytes([pdu[0] | 0x80, int(fault.number)])))
        else:
            self.spoil(fault, head, unit, self.memory.answer(unit, pdu), send)

    def spoil(self, fault: Fault, head: bytes, unit: int, reply: bytes, send: Sender) -> None:
        """A reply that is not what it should be."""
        right = self.frame(head, unit, reply)
        match fault.kind:
            case "executed":  # the write was done, its confirmation is lost
                return
            case "late":
                self.timers.append(asyncio.get_running_loop().call_later(fault.number, send, right))
            case "duplicate":
                send(right + right)
            case "truncated":
                send(right[:-5])
            case "garbage":
                send(bytes(range(7, 60)))
            case "garbage_before":
                send(b"\xff\x13\x77" + right)
            case "wrong_unit":
                send(self.frame(head, unit + 1, reply))
            case "wrong_function":
                send(self.frame(head, unit, bytes([reply[0] ^ 7]) + reply[1:]))
            case "one_less":
                send(self.frame(head, unit, bytes([reply[0], (reply[1] - 2) & 0xFF]) + reply[2:-2]))
            case "one_more":
                send(self.frame(head, unit, bytes([reply[0], (reply[1] + 2) & 0xFF]) + reply[2:] + b"\x12\x34"))
            case "wrong_count":
                send(self.frame(head, unit, bytes([reply[0], (reply[1] - 2) & 0xFF]) + reply[2:]))
            case "crc":
                send(right[:-1] + bytes([right[-1] ^ 0x55]))
            case "bit_error":
                send(right[:5] + bytes([right[5] ^ 0x10]) + right[6:])
            case "wrong_tid":
                send(self.frame(bytes([head[0] ^ 0x80, head[1]]), unit, reply))
            case "zero_tid":
                send(self.frame(b"\0\0", unit, reply))
            case "wrong_protocol":
                send(right[:2] + b"\0\1" + right[4:])
            case "pieces":
                for i, byte in enumerate(right):
                    at = asyncio.get_running_loop().call_later(0.0003 * i, send, bytes([byte]))
                    self.timers.append(at)
            case _:
                raise ValueError(fault.kind)


class TcpServer(Hostile):
    """On a TCP port; `stop` and `start` make it refuse and come back."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.connections: set[Any] = set()
        self.accepted = 0
        self._server: asyncio.Server | None = None

    def frame(self, head: bytes, unit: int, pdu: bytes) -> bytes:
        return head[:2] + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes([unit & 0xFF]) + pdu

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse, and drop what is connected."""
        for timer in self.timers:
            timer.cancel()
        if self._server is not None:
            self._server.close()
            self._server = None
        for transport in tuple(self.connections):
            transport.abort()
        await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    def __init__(self, server: TcpServer) -> None:
        self.server, self.buffer = server, b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.accepted += 1
        self.server.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self.transport)

    def send(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def cut(self, reset: bool) -> None:
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= 8:
            end = 6 + int.from_bytes(self.buffer[4:6], "big")
            if end < 8:  # not Modbus at all
                self.buffer = b""
                self.transport.close()
            if len(self.buffer) < end:
                return
            frame, self.buffer = self.buffer[:end], self.buffer[end:]
            self.server.handle(frame[:2], frame[6], frame[7:], self.send, self.cut)


def request_size(buffer: bytes) -> int:
    """Length of the RTU request that begins here, as far as can be told."""
    if buffer[1] in (15, 16):
        return 9 + buffer[6]
    if buffer[1] == 23:
        return 13 + buffer[10] if len(buffer) > 10 else 13
    return 10 if buffer[1] == 22 else 8


class RtuServer(Hostile):
    """On a pty whose port appears as `path`; `window_s` records pauses between a reply and the next request."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.gaps_s: list[float] = []
        self._sent_s = 0.0
        self._master = self._slave = -1
        self._buffer = b""

    def frame(self, head: bytes, unit: int, pdu: bytes) -> bytes:
        body = bytes([unit & 0xFF]) + pdu
        return body + crc(body)

    async def start(self) -> None:
        """Open the pty and lay the link."""
        self._master, slave = pty.openpty()
        tty.setraw(self._master)
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        os.set_blocking(self._master, False)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(slave))
        self._slave = slave  # kept open: a pty without one reports a hang-up for ever
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    async def stop(self) -> None:
        """Pull the adapter out."""
        for timer in self.timers:
            timer.cancel()
        if self._master >= 0:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
            os.close(self._slave)
            self._master = -1
        self.path.unlink(missing_ok=True)

    def send(self, data: bytes) -> None:
        """Bytes to the line, asked for or not."""
        if self._master >= 0:
            with contextlib.suppress(OSError):
                os.write(self._master, data)
        self._sent_s = monotonic()

    def heard(self, data: bytes) -> None:
        """Everything that the master says passes here first."""

    def cut(self, reset: bool) -> None:
        """A line cannot be closed."""

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except OSError:  # EIO: nobody has the port open
            return
        self.heard(data)
        if self._sent_s and not self._buffer:
            self.gaps_s.append(monotonic() - self._sent_s)
        self._buffer += data
        while len(self._buffer) >= 8:
            size = request_size(self._buffer)
            if len(self._buffer) < size:
                return
            frame, self._buffer = self._buffer[:size], self._buffer[size:]
            if crc(frame[:-2]) == frame[-2:]:
                self.handle(b"", frame[0], frame[1:-2], self.send, self.cut)


class RtuTcpServer(TcpServer):
    """RTU frames over a TCP socket."""

    def frame(self, head: bytes, unit: int, pdu: bytes) -> bytes:
        body = bytes([unit & 0xFF]) + pdu
        return body + crc(body)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _RtuConnection(self), "127.0.0.1", self.port, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]


class _RtuConnection(_Connection):
    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= 8:
            size = request_size(self.buffer)
            if len(self.buffer) < size:
                return
            frame, self.buffer = self.buffer[:size], self.buffer[size:]
            if crc(frame[:-2]) == frame[-2:]:
                self.server.handle(b"", frame[0], frame[1:-2], self.send, self.cut)
