"""Modbus RTU framing: bytes in, verdicts out. No ports and no timers here.

RTU has no transaction id, so a late reply looks like the answer to the next request. What is guaranteed: `good` is
called only for a frame with a correct CRC and the unit id, function code and length asked for; after a time-out
the line is left silent until the reply could no longer come; and the first reply of that unit afterwards is believed
only once the line has stayed silent behind it, because a late reply would be followed by the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Final

from controller.fieldbus.frames import crc
from controller.fieldbus.request import (
    EXCEPTION_FLAG,
    RTU_EXCEPTION_BYTES,
    RTU_OVERHEAD_BYTES,
    Failure,
    Owner,
    Request,
)
from controller.fieldbus.wire import no_link

RESYNC_S: Final = 0.005
"""Silence that ends any damaged frame: longer than the gaps that operating systems put into one."""

BABBLE_S: Final = 1.0
"""A line that is never silent for this long is given up: something on it talks without being asked."""

QUIET_MAX_S: Final = 0.5
"""Longest silence kept after a time-out."""


class SerialWire:
    """The one request in flight on a serial line, and the silences around it."""

    def __init__(self, silence_s: float, owner: Owner) -> None:
        self.owner = owner
        self.silence_s = silence_s
        self.write: Callable[[bytes], None] = no_link
        self._pending: Request | None = None
        self._held: tuple[Request, bytes, float] | None = None
        self._buffer = b""
        self._free_s = 0.0
        self._extended_s = 0.0
        self._noise_s = inf
        self._suspects: set[int] = set()

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next request may leave; infinite while one is in flight."""
        if self._pending is not None or self._held is not None:
            return inf
        return max(self._free_s - now_s, 0.0)

    def send(self, request: Request, now_s: float) -> None:
        """Put a request on the wire."""
        request.sent_s = now_s
        self._noise_s = inf
        self._pending = request
        self._buffer = b""
        self.write(request.frame)

    def deadline_s(self) -> float:
        """When something must be decided: the request runs out of time, or the held reply has proved itself."""
        if self._pending is not None:
            return max(self._pending.sent_s + self._pending.timeout_s, self._extended_s)
        return self._free_s if self._held is not None else inf

    def expire(self, now_s: float) -> None:
        """Fail the request whose time has run out, or deliver the held reply behind which the line stayed silent."""
        if now_s < self.deadline_s():
            return
        request = self._pending
        if request is not None:
            damaged = bool(self._buffer)
            self._finish(now_s, self._quiet_s(request), suspect=request)
            self.owner.failed(request, Failure.BAD if damaged else Failure.TIMEOUT, 0, now_s)
        elif self._held is not None:
            request, payload, heard_s = self._held
            self._held = None
            self._suspects.discard(request.unit.unit)
            self.owner.good(request, payload, heard_s)

    def reset(self) -> list[Request]:
        """Forget the line; returns the request that was in flight."""
        lost = [r for r in (self._pending, self._held and self._held[0]) if r]
        self._pending, self._held, self._buffer, self._noise_s = None, None, b"", inf
        self.write = no_link
        return lost

    def feed(self, data: bytes) -> None:
        """Bytes from the line, in any pieces."""
        now_s = monotonic()
        request = self._pending
        if request is None:
            self._unasked(now_s)
            return
        # A frame that is still arriving is not silence: give each piece the time of its characters again.
        self._extended_s = now_s + RESYNC_S + self.silence_s
        self._buffer = buffer = self._buffer + data
        size = len(buffer)
        if size < RTU_EXCEPTION_BYTES:
            return
        refused = buffer[1] == request.function | EXCEPTION_FLAG
        want = RTU_EXCEPTION_BYTES if refused else request.size + RTU_OVERHEAD_BYTES
        ours = buffer[0] == request.reply_unit and (
            refused or (buffer[1] == request.function and buffer.startswith(request.head, 2))
        )
        if not ours:
            self._fail_bad(request, now_s, self._quiet_s(request))
        elif size >= want:
            if crc(buffer[:want]):
                self._fail_bad(request, now_s, RESYNC_S)
            elif refused:
                self._finish(now_s, self.silence_s)
                self.owner.failed(request, Failure.EXCEPTION, buffer[2], now_s)
            else:
                self._accept(request, buffer, want, now_s)

    def _accept(self, request: Request, buffer: bytes, want: int, now_s: float) -> None:
        payload = buffer[3 : want - 2]
        trailing = len(buffer) > want
        if trailing:
            self.owner.stray(True)
        if request.unit.unit not in self._suspects:
            self._finish(now_s, RESYNC_S if trailing else self.silence_s)
            self.owner.good(request, payload, now_s)
        elif trailing:
            self._fail_bad(request, now_s, self._quiet_s(request))
        else:
            self._finish(now_s, self._quiet_s(request))
            self._held = request, payload, now_s

    def _fail_bad(self, request: Request, now_s: float, quiet_s: float) -> None:
        self._finish(now_s, quiet_s, suspect=request if quiet_s > RESYNC_S else None)
        self.owner.failed(request, Failure.BAD, 0, now_s)

    def _finish(self, now_s: float, quiet_s: float, suspect: Request | None = None) -> None:
        self._pending, self._buffer, self._extended_s = None, b"", 0.0
        self._free_s = now_s + max(quiet_s, self.silence_s)
        if suspect is not None:
            self._suspects.add(suspect.unit.unit)

    def _unasked(self, now_s: float) -> None:
        """Bytes that nobody asked for: the line is not silent yet, and a held reply was not the one we wanted."""
        if now_s >= self._free_s:
            self._noise_s = now_s
        self._free_s = max(self._free_s, now_s + RESYNC_S)
        self.owner.stray(True)
        if self._held is not None:
            request, self._held = self._held[0], None
            self._free_s = now_s + self._quiet_s(request)
            self.owner.failed(request, Failure.BAD, 0, now_s)
        if now_s - self._noise_s > BABBLE_S:
            self.owner.broken("the line is never silent")

    @staticmethod
    def _quiet_s(request: Request) -> float:
        return min(request.timeout_s, QUIET_MAX_S)
