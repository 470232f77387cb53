"""The peer of `cellwarden bench io`: answers reads of registers as fast as asyncio allows; prints its port.

One process on its own, so that a client's processor time is the client's alone. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

HEAD_BYTES: Final = 12
"""A read request: MBAP header, function, address, count."""


class Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.rest = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is here."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Requests, in any pieces."""
        data = self.rest + data
        at = 0
        while len(data) - at >= HEAD_BYTES:
            count = int.from_bytes(data[at + 10 : at + 12], "big")
            length = (3 + 2 * count).to_bytes(2, "big")
            head = data[at : at + 4] + length + data[at + 6 : at + 8] + bytes([2 * count])
            self.transport.write(head + b"\x82\x35" * count)
            at += HEAD_BYTES
        self.rest = data[at:]


async def serve() -> None:
    """Serve until standard input is closed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Peer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    try:
        from uvloop import run
    except ImportError:
        from asyncio import run  # type: ignore[assignment]
    run(serve())
