"""Links: a connection or a serial port that delivers bytes to a wire and tells once when it is gone.

`open_link` never leaves anything open when it fails, and a link that was closed delivers nothing more.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import serial

from plc_config.plan import BusPlan

CONNECT_TIMEOUT_S: Final = 1.0
KEEPALIVE_IDLE_S: Final = 5
USER_TIMEOUT_MS: Final = 2000
"""TCP gives up on unacknowledged data after this time: a half-open connection is noticed."""

READ_BYTES: Final = 4096
PARITY: Final = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}
PSEUDO_TERMINALS: Final = Path("/dev/pts")
"""They carry whole bytes and refuse a parity bit: the simulator's end of a line, a serial server's driver."""

Feed = Callable[[bytes], None]


class LinkLost(Exception):
    """The link could not be opened; the text says why, for people."""


class Link(Protocol):
    """An open link."""

    lost: asyncio.Future[str]

    def write(self, data: bytes) -> None:
        """Send bytes, or give up the link."""

    def close(self, reason: str) -> None:
        """Close at once; `lost` then carries the reason."""


class _Stream(asyncio.Protocol):
    """One TCP connection."""

    def __init__(self, feed: Feed, loop: asyncio.AbstractEventLoop) -> None:
        self.lost: asyncio.Future[str] = loop.create_future()
        self.data_received = feed  # type: ignore[assignment, method-assign]  # no call in between: this is the hot path
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.write = self._transport.write  # type: ignore[method-assign]
        peer = transport.get_extra_info("socket")
        if peer is not None:  # half-open links are found by TCP itself, besides by the silence of all units
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._tell(_why(exc) if exc else "closed by the other side")

    def write(self, data: bytes) -> None:
        """Replaced by the transport's own once connected."""

    def close(self, reason: str) -> None:
        """Close at once, dropping what was not sent."""
        self._tell(reason)
        self._transport.abort()

    def _tell(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)


class _Datagrams(asyncio.DatagramProtocol):
    """One connected UDP socket: only the peer's datagrams come in."""

    def __init__(self, feed: Feed, loop: asyncio.AbstractEventLoop) -> None:
        self.lost: asyncio.Future[str] = loop.create_future()
        self._feed = feed
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not self.lost.done():
            self._feed(data)

    def error_received(self, exc: Exception) -> None:
        self.close(_why(exc))

    def write(self, data: bytes) -> None:
        """Send one frame."""
        self._transport.sendto(data)

    def close(self, reason: str) -> None:
        """Close at once."""
        if not self.lost.done():
            self.lost.set_result(reason)
        self._transport.abort()


class SerialPort:
    """One serial port, opened for this process alone and read without waiting."""

    def __init__(self, plan: BusPlan, path: Path, feed: Feed, loop: asyncio.AbstractEventLoop) -> None:
        self.lost: asyncio.Future[str] = loop.create_future()
        self._loop, self._feed = loop, feed
        self._port = serial.Serial(
            str(path),
            baudrate=plan.baud,
            parity=PARITY["none" if path.resolve().parent == PSEUDO_TERMINALS else plan.parity],
            stopbits=plan.stop_bits,
            timeout=0,
            exclusive=True,
        )
        self._fd: int = self._port.fileno()
        os.set_blocking(self._fd, False)
        loop.add_reader(self._fd, self._readable)

    def write(self, data: bytes) -> None:
        """Send a frame; a port that cannot take 256 bytes at once is not working."""
        try:
            sent = os.write(self._fd, data)
        except OSError as error:
            self.close(_why(error))
            return
        if sent != len(data):
            self.close("the port takes no more data")

    def close(self, reason: str) -> None:
        """Close at once."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._fd = -1
            self._port.close()
        if not self.lost.done():
            self.lost.set_result(reason)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(_why(error))
            return
        if data:
            self._feed(data)
        else:
            self.close("the port is gone")


async def open_link(plan: BusPlan, serial_folder: Path, feed: Feed) -> Link:
    """The open link of a bus; LinkLost with a reason when it cannot be opened now."""
    loop = asyncio.get_running_loop()
    try:
        if plan.kind == "rtu":
            path = Path(plan.device) if "/" in plan.device else serial_folder / plan.device
            return SerialPort(plan, path, feed, loop)
        if plan.kind == "udp":
            peer = (plan.host, plan.port)
            _, datagrams = await loop.create_datagram_endpoint(lambda: _Datagrams(feed, loop), remote_addr=peer)
            return datagrams
        secure: dict[str, Any] = {}
        if plan.kind == "tls":
            secure = {"ssl": _tls(plan), "server_hostname": plan.server_name}
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, stream = await loop.create_connection(lambda: _Stream(feed, loop), plan.host, plan.port, **secure)
    except TimeoutError as error:
        raise LinkLost("no answer to the connection request") from error
    except termios.error as error:
        form = f"{plan.baud} baud, parity {plan.parity}, stop bits {plan.stop_bits}"
        raise LinkLost(f"the port does not take {form}") from error
    except (OSError, ValueError) as error:
        unspoken = plan.kind == "tls" and isinstance(error, ConnectionError) and error.errno is None
        more = " in the TLS handshake: no TLS on this port?" if unspoken else ""
        raise LinkLost(_why(error) + more) from error
    return stream


def _tls(plan: BusPlan) -> ssl.SSLContext:
    """Both sides show a certificate, TLS 1.2 at least; the files are read anew, so that they may be renewed."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=plan.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(plan.certificate, plan.key)
    return context


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the device's certificate is not accepted: {error.verify_message or error.reason}"
    if isinstance(error, ssl.SSLError):
        reason = str(error.reason or error).lower().replace("_", " ")
        # An alert is what the other side says of us.
        return f"TLS: the device refuses us: {reason}" if "alert" in reason else f"TLS: {reason}"
    number = getattr(error, "errno", None)
    if number == errno.EAGAIN:
        return "another program holds the port"
    if isinstance(error, ConnectionError) and number is None:
        return "closed by the other side"
    text = os.strerror(number) if isinstance(number, int) and number > 0 else str(error)
    return text[:1].lower() + text[1:] if text else type(error).__name__
