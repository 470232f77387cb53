"""Modbus TCP and RTU over TCP: one protocol object per connection, many requests per segment, no copies to spare."""

from __future__ import annotations

import asyncio
import ssl
from struct import Struct
from typing import Final, cast

from tools.simulator.bus import GARBAGE, Bus, Reply
from tools.simulator.rtu import RtuReceiver, reply_frame

HEADER: Final = Struct(">HHHB")
HEADER_BYTES: Final = 7
MAX_ADU: Final = 260
MAX_CONNECTIONS: Final = 32
"""Per bus; more are closed at once, as small gateways do."""


class BusProtocol(asyncio.Protocol):
    """What both framings share: connection counting, and sending what a faulty wire makes of a reply."""

    def __init__(self, bus: Bus, server: BusServer) -> None:
        self.bus, self.server = bus, server
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        stream = cast(asyncio.Transport, transport)
        self.bus.stats.accepted += 1
        if len(self.server.open) >= MAX_CONNECTIONS:
            stream.abort()
            return
        self.transport = stream
        self.server.open.add(self)
        self.bus.stats.connections = len(self.server.open)

    def connection_lost(self, error: Exception | None) -> None:
        """The client went."""
        self.transport = None
        self.server.open.discard(self)
        self.bus.stats.connections = len(self.server.open)

    def pause_writing(self) -> None:
        """A client that asks and does not read is hung up on, before its replies pile up."""
        if self.transport is not None:
            self.transport.abort()

    def send_faulty(self, reply: Reply, frame: bytes) -> None:
        """Send a frame the way its faults say."""
        if reply.garbage:
            frame = GARBAGE
        if reply.delay_ms > 0:
            asyncio.get_running_loop().call_later(reply.delay_ms / 1000, self._send, reply, frame)
        else:
            self._send(reply, frame)

    def _send(self, reply: Reply, frame: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if reply.close:
            self.transport.abort()
            return
        for _ in range(reply.copies):
            self.transport.write(frame)


class TcpProtocol(BusProtocol):
    """Modbus TCP."""

    def __init__(self, bus: Bus, server: BusServer) -> None:
        super().__init__(bus, server)
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        """Answer every complete request; keep the begun one."""
        if self.rest:
            data = self.rest + data
        at, end, replies, bus = 0, len(data), [], self.bus
        while end - at >= HEADER_BYTES:
            transaction, protocol, length, unit = HEADER.unpack_from(data, at)
            if protocol != 0 or not 2 <= length <= MAX_ADU - 6:
                bus.stats.bad_frames += 1
                if self.transport is not None:
                    self.transport.abort()
                return
            stop = at + 6 + length
            if stop > end:
                break
            pdu = data[at + HEADER_BYTES : stop]
            at = stop
            if bus.faults:
                self._answer_faulty(transaction, unit, pdu)
                continue
            reply = bus.answer(unit, pdu)
            if reply is not None:
                replies.append(HEADER.pack(transaction, 0, len(reply) + 1, unit) + reply)
        self.rest = data[at:] if at < end else b""
        if replies and self.transport is not None:
            self.transport.write(replies[0] if len(replies) == 1 else b"".join(replies))

    def _answer_faulty(self, transaction: int, unit: int, pdu: bytes) -> None:
        reply = self.bus.answer_faulty(unit, pdu)
        if reply.copies == 0:
            return
        number = (transaction + 1) & 0xFFFF if reply.foreign else transaction
        self.send_faulty(reply, HEADER.pack(number, 0, len(reply.pdu) + 1, reply.unit) + reply.pdu)


class RtuOverTcpProtocol(BusProtocol):
    """RTU frames on a TCP connection."""

    def __init__(self, bus: Bus, server: BusServer) -> None:
        super().__init__(bus, server)
        self.receiver = RtuReceiver()

    def data_received(self, data: bytes) -> None:
        """Answer every complete frame."""
        for unit, pdu in self.receiver.feed(data):
            if self.bus.faults:
                reply = self.bus.answer_faulty(unit, pdu)
                if reply.copies:
                    self.send_faulty(reply, reply_frame(reply.unit, reply.pdu, reply.corrupt))
                continue
            answered = self.bus.answer(unit, pdu)
            if answered is not None and self.transport is not None:
                self.transport.write(reply_frame(unit, answered))
        self.bus.stats.bad_frames = self.receiver.bad


class BusServer:
    """Listens for one bus; can stop listening and start again, as a rebooting gateway does."""

    def __init__(self, bus: Bus, host: str, port: int) -> None:
        self.bus, self.host, self.port = bus, host, port
        self.open: set[BusProtocol] = set()
        self.server: asyncio.Server | None = None
        self.tls: ssl.SSLContext | None = None

    async def start(self) -> None:
        """Listen; OSError when somebody else does."""
        if self.server is None:
            kind = TcpProtocol if self.bus.kind != "rtu_over_tcp" else RtuOverTcpProtocol
            loop = asyncio.get_running_loop()
            self.server = await loop.create_server(lambda: kind(self.bus, self), self.host, self.port, ssl=self.tls)

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self.server is not None:
            self.server.close()
            self.server = None
        self.drop()

    def drop(self) -> None:
        """Close every open connection."""
        for protocol in list(self.open):
            if protocol.transport is not None:
                protocol.transport.abort()
