"""Modbus over UDP: every datagram is a connection of its own that asks once."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from tools.simulator.bus import Bus
from tools.simulator.tcp import BusServer, TcpProtocol


class _Answer:
    """What the framing of TCP writes to: one datagram back."""

    def __init__(self, transport: asyncio.DatagramTransport, peer: Any) -> None:
        self.transport, self.peer = transport, peer

    def write(self, data: bytes) -> None:
        """Send the answer."""
        self.transport.sendto(data, self.peer)

    def is_closing(self) -> bool:
        """Never by itself."""
        return self.transport.is_closing()

    def abort(self) -> None:
        """There is nothing to close: the answer is left out."""


class UdpServer(asyncio.DatagramProtocol):
    """Listens for one bus."""

    def __init__(self, bus: Bus, host: str, port: int) -> None:
        self.bus, self.host, self.port = bus, host, port
        self.framing = BusServer(bus, host, port)
        self.transport: asyncio.DatagramTransport | None = None

    async def start(self) -> None:
        """Listen; OSError when somebody else does."""
        if self.transport is None:
            loop = asyncio.get_running_loop()
            self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.host, self.port))

    async def stop(self) -> None:
        """Stop listening."""
        if self.transport is not None:
            self.transport.abort()
            self.transport = None

    def drop(self) -> None:
        """There is no connection to drop."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Answer one datagram."""
        if self.transport is not None:
            once = TcpProtocol(self.bus, self.framing)
            once.transport = cast(asyncio.Transport, _Answer(self.transport, addr))
            once.data_received(data)
