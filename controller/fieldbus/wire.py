"""Modbus TCP framing: bytes in, verdicts out. No sockets and no timers here.

What is guaranteed: `good` is called only for a reply with the transaction id, unit id, function code, length and
byte count that the request asked for, from a stream that is in step behind it. A stream that cannot be in step any
more is reported as broken, because hunting for the next header could find one inside the data.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Final

from controller.fieldbus.blame import TOO_LATE, Blame
from controller.fieldbus.request import EXCEPTION_FLAG, TCP_HEAD_BYTES, Failure, Owner, Request

HEAD: Final = struct.Struct(">HHHBB")
TCP_DATA_AT: Final = TCP_HEAD_BYTES + 1
"""Behind the byte count of a read, or the first byte of an echo."""

LENGTH_MIN: Final = 3
LENGTH_MAX: Final = 254
LATE_WINDOW: Final = 4096
"""Transaction ids this far back were ours and are late; any other is a wrong id."""


def no_link(_: bytes) -> None:
    """Where bytes go while the link is down."""


class TcpWire:
    """Requests in flight on one TCP link, found again by transaction id; up to `window` at a time."""

    def __init__(self, window: int, owner: Owner) -> None:
        self.window, self.owner, self.blame = window, owner, Blame()
        self.single = window == 1
        self.doubts: dict[tuple[int, int, bytes], object] = {}
        self.write: Callable[[bytes], None] = no_link
        self.pending: dict[bytes, Request] = {}
        self._last = random.randrange(0xFFFF)
        self._rest = b""

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next request may leave; infinite while the window is full."""
        return 0.0 if len(self.pending) < self.window else inf

    def doubtful(self, request: Request, now_s: float) -> bool:
        """Never: a transaction id tells which request a reply belongs to."""
        return False

    def doubt_s(self, request: Request, now_s: float) -> float:
        """Zero: nothing is doubted."""
        return 0.0

    def abandon(self, now_s: float, patience_s: float) -> bool:
        """Never: a gateway would go on with the old request and be late with the new one."""
        return False

    def in_flight(self) -> Request | None:
        """The oldest request that is waited for."""
        return next(iter(self.pending.values()), None)

    def send(self, request: Request, now_s: float) -> None:
        """Put a request on the wire."""
        self._last = self._last % 0xFFFF + 1
        request.sent_s = now_s
        number = self._last.to_bytes(2, "big")
        self.pending[number] = request
        self.write(number + request.frame)

    def deadline_s(self) -> float:
        """When the oldest request in flight runs out of time; infinite when none is in flight."""
        for request in self.pending.values():
            return request.sent_s + request.timeout_s
        return inf

    def expire(self, now_s: float) -> None:
        """Fail every request whose time has run out."""
        while self.pending and self.deadline_s() <= now_s:
            request = self.pending.pop(next(iter(self.pending)))
            if self._rest:
                # Whatever comes next would be taken for the missing end of this frame.
                self.owner.broken("a reply ended in the middle", request)
                return
            self.owner.failed(request, Failure.TIMEOUT, 0, now_s)

    def reset(self) -> list[Request]:
        """Forget the stream; returns the requests that were in flight."""
        lost = list(self.pending.values())
        self.pending.clear()
        self._rest = b""
        self.write = no_link
        return lost

    def feed(self, data: bytes) -> None:
        """Bytes from the link, in any pieces."""
        if self._rest:
            data = self._rest + data
        else:
            # Nearly every piece is one whole reply that is as it shall be: the checks of `_judge`, in two comparisons.
            request = self.pending.get(data[:2])
            if request is not None and len(data) == request.reply_bytes and data.startswith(request.reply_head, 2):
                del self.pending[data[:2]]
                self.owner.good(request, data[TCP_DATA_AT:], monotonic())
                return
        self._judge(data)

    def _judge(self, data: bytes) -> None:
        """Any number of replies, right or wrong, and a beginning of one."""
        at, size = 0, len(data)
        pending, owner = self.pending, self.owner
        while size - at >= TCP_HEAD_BYTES:
            number, protocol, length, unit, function = HEAD.unpack_from(data, at)
            if protocol or not LENGTH_MIN <= length <= LENGTH_MAX:
                self._rest = b""
                culprit = pending.pop(next(iter(pending)), None) if pending else None
                owner.broken("out of step: not a Modbus TCP header", culprit)
                return
            start, end = at + TCP_HEAD_BYTES, at + 6 + length
            if end > size:
                break
            request = pending.pop(data[at : at + 2], None)
            at = end
            if request is not None and at < size and not self._in_step(data, at):
                owner.broken("a reply ended early and runs into the next one", request)
                return
            if request is None:
                late = number != 0 and (self._last - number) & 0xFFFF < LATE_WINDOW
                self.blame.put(TOO_LATE if late else f"transaction id {number} came, never asked for")
                owner.stray(late, unit)
            # `size` counts the PDU, `length` one more for the unit id.
            elif (
                unit == request.reply_unit
                and function == request.function
                and length == request.size + 1
                and data.startswith(request.head, start)
            ):
                owner.good(request, data[start + 1 : end], monotonic())
            elif unit == request.reply_unit and function == request.function | EXCEPTION_FLAG and length == LENGTH_MIN:
                owner.failed(request, Failure.EXCEPTION, data[start], monotonic())
            else:
                self.blame.put(_difference(request, unit, function, length))
                owner.failed(request, Failure.BAD, 0, monotonic())
        self._rest = data[at:] if at < size else b""

    def _in_step(self, data: bytes, at: int) -> bool:
        """Whether what follows a reply is more replies of ours, up to the end.

        A reply that was cut short is made complete by the head of whatever comes behind it, and TCP has no checksum of
        ours: the remains of that second reply are the only sign.
        """
        size = len(data)
        while size - at >= TCP_HEAD_BYTES:
            number, protocol, length, _, _ = HEAD.unpack_from(data, at)
            if protocol or not LENGTH_MIN <= length <= LENGTH_MAX or (self._last - number) & 0xFFFF >= LATE_WINDOW:
                return False
            at += 6 + length
        return not any(data[at + 2 : at + 5])


class UdpWire(TcpWire):
    """The same frames, one in every datagram: what is no whole frame is lost alone, and nothing can be out of step."""

    def feed(self, data: bytes) -> None:
        """One datagram."""
        if len(data) < TCP_HEAD_BYTES or data[2:4] != b"\0\0" or int.from_bytes(data[4:6], "big") != len(data) - 6:
            self.blame.put(f"a datagram of {len(data)} bytes that is no Modbus frame")
            self.owner.stray(False, -1)
        else:
            super().feed(data)


def _difference(request: Request, unit: int, function: int, length: int) -> str:
    """Why a reply is not the one asked for, in words."""
    if unit != request.reply_unit:
        return f"unit {unit} replied for unit {request.reply_unit}"
    if function & ~EXCEPTION_FLAG != request.function:
        return f"function {function} came for function {request.function}"
    wanted = LENGTH_MIN if function & EXCEPTION_FLAG else request.size + 1
    if length != wanted:
        return f"{length - LENGTH_MIN} data bytes came for {wanted - LENGTH_MIN}"
    return "wrong byte count, or wrong echo of a write"
