"""Modbus RTU framing: bytes in, verdicts out. No ports and no timers here.

RTU has no transaction id, so a late reply looks like the answer to the next request of its kind: same unit, function
and length. What is guaranteed: `good` is called only for a frame with a correct CRC and the unit id, function code and
length asked for. After a time-out that kind is doubted: it is not asked again until the reply could no longer come, and
its first reply then is held back until nothing followed it, because a late reply would be followed by the real one.
All the while the line is free for every other kind, whose replies cannot be mistaken.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Final

from controller.fieldbus.blame import TOO_LATE, Blame
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

SELF_PROVING: Final = (5, 6, 22)
"""Writes whose reply repeats address and value: a late one says the same as the one that was waited for."""

QUIET_MAX_S: Final = 0.5
"""Longest time for which a late reply is waited for."""


Kind = tuple[int, int, bytes]
"""Unit id, function and first data bytes: the byte count of a read, address and count of a write."""


def kind_of(request: Request) -> Kind:
    """What a reply to this request looks like."""
    return request.reply_unit, request.function, request.head


class Doubt:
    """A kind of reply that may still come; `held` is the first one since, which is not believed before `end_s`."""

    __slots__ = ("bytes_wanted", "end_s", "held", "payload", "span_s")

    def __init__(self, request: Request, now_s: float) -> None:
        self.span_s = min(request.timeout_s, QUIET_MAX_S)
        self.end_s = now_s + self.span_s
        self.bytes_wanted = request.size + RTU_OVERHEAD_BYTES
        self.held: Request | None = None
        self.payload: tuple[bytes, float] = (b"", 0.0)


class SerialWire:
    """The one request in flight on a serial line, the silences around it, and what is doubted."""

    def __init__(self, silence_s: float, owner: Owner, echo: bool = False) -> None:
        self.owner, self.blame, self.echo = owner, Blame(), echo
        self.silence_s, self.single = silence_s, True
        self.write: Callable[[bytes], None] = no_link
        self.doubts: dict[Kind, Doubt] = {}
        self._pending: Request | None = None
        self._echo = b""
        self._buffer = b""
        self._free_s = 0.0
        self._extended_s = 0.0
        self._noise_s = inf

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next request may leave; infinite while one is in flight."""
        return inf if self._pending is not None else max(self._free_s - now_s, 0.0)

    def doubtful(self, request: Request, now_s: float) -> bool:
        """Whether a reply to this request could be one to an older request, so that it must not be sent now."""
        return self.doubt_s(request, now_s) > 0.0

    def doubt_s(self, request: Request, now_s: float) -> float:
        """Seconds for which this request must not be sent; infinite while its last reply is held back."""
        doubt = None if request.function in SELF_PROVING else self.doubts.get(kind_of(request))
        if doubt is None:
            return 0.0
        return inf if doubt.held is not None else max(doubt.end_s - now_s, 0.0)

    def send(self, request: Request, now_s: float) -> None:
        """Put a request on the wire."""
        request.sent_s = now_s
        self._noise_s = inf
        self._pending = request
        self._buffer = b""
        if self.echo:
            self._echo = request.frame
        self.write(request.frame)

    def deadline_s(self) -> float:
        """When something must be decided: the request runs out of time, or a held reply has proved itself."""
        end_s = inf
        if self._pending is not None:
            end_s = max(self._pending.sent_s + self._pending.timeout_s, self._extended_s)
        if self.doubts:
            end_s = min([end_s, *(d.end_s for d in self.doubts.values() if d.held is not None)])
        return end_s

    def expire(self, now_s: float) -> None:
        """Fail the request whose time has run out, and deliver held replies behind which nothing came."""
        for key, doubt in tuple(self.doubts.items()):
            if doubt.held is not None and doubt.end_s <= now_s:
                del self.doubts[key]
                self.owner.good(doubt.held, *doubt.payload)
        request = self._pending
        if request is not None and now_s >= max(request.sent_s + request.timeout_s, self._extended_s):
            self._give_up(request, now_s)

    def abandon(self, now_s: float, patience_s: float) -> bool:
        """Give up what is in flight when it had `patience_s` and nothing has come: something more important waits."""
        request = self._pending
        if request is None or self._buffer or now_s - request.sent_s < patience_s:
            return False
        self._give_up(request, now_s)
        return True

    def in_flight(self) -> Request | None:
        """The request that is waited for."""
        return self._pending

    def _give_up(self, request: Request, now_s: float) -> None:
        if self._echo and self.echo:
            self.blame.put("own request not heard: is `echo: true` right?")
        damaged = bool(self._buffer)
        if damaged:
            self.blame.put(f"a reply ended after {len(self._buffer)} bytes")
        self._finish(now_s, RESYNC_S if damaged else 0.0, doubted=request)
        self.owner.failed(request, Failure.BAD if damaged else Failure.TIMEOUT, 0, now_s)

    def reset(self) -> list[Request]:
        """Forget the stream; returns the requests that were in flight or held, whose replies a new link may bring."""
        lost = [r for r in (self._pending, *(d.held for d in self.doubts.values())) if r is not None]
        self._pending, self._buffer, self._echo, self._noise_s = None, b"", b"", inf
        now_s = monotonic()
        self.doubts |= {kind_of(r): Doubt(r, now_s) for r in lost if r.function not in SELF_PROVING}
        self.write = no_link
        return lost

    # -- bytes -----------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Bytes from the line, in any pieces."""
        now_s = monotonic()
        request = self._pending
        if request is None:
            self._unasked(data, now_s)
            return
        # A frame that is still arriving is not silence: give each piece the time of its characters again.
        self._extended_s = now_s + RESYNC_S + self.silence_s
        if self._echo:
            data = self._without_echo(request, data, now_s)
        self._buffer = buffer = self._buffer + data
        size = len(buffer)
        if size < RTU_EXCEPTION_BYTES or self._pending is None:
            return
        refused = buffer[1] == request.function | EXCEPTION_FLAG
        want = RTU_EXCEPTION_BYTES if refused else request.size + RTU_OVERHEAD_BYTES
        if buffer[0] != request.reply_unit or not (
            refused or (buffer[1] == request.function and buffer.startswith(request.head, 2))
        ):
            self._not_ours(request, buffer, now_s)
        elif size >= want:
            if crc(buffer[:want]):
                self.blame.put("CRC error: noise, collision, baud rate or parity")
                self._fail_bad(request, now_s)
            elif refused:
                self._finish(now_s, 0.0)
                self.owner.failed(request, Failure.EXCEPTION, buffer[2], now_s)
            else:
                self._accept(request, buffer, want, now_s)

    def _without_echo(self, request: Request, data: bytes, now_s: float) -> bytes:
        """What came behind our own words; words that differ from what was sent are a collision."""
        echo = self._echo
        heard = min(len(echo), len(data))
        if data[:heard] != echo[:heard]:
            self.blame.put("own request heard differs: collision, or `echo: true` is wrong")
            self._fail_bad(request, now_s)
            return b""
        self._echo = echo[heard:]
        return data[heard:]

    def _accept(self, request: Request, buffer: bytes, want: int, now_s: float) -> None:
        payload = buffer[3 : want - 2]
        trailing = len(buffer) > want
        if trailing:
            self.owner.stray(True, buffer[0])
        doubt = self.doubts.get(kind_of(request))
        if doubt is None or request.function in SELF_PROVING:
            self._finish(now_s, RESYNC_S if trailing else 0.0)
            self.owner.good(request, payload, now_s)
        elif trailing:
            self._fail_bad(request, now_s)
        else:
            self._finish(now_s, 0.0)
            doubt.held, doubt.payload, doubt.end_s = request, (payload, now_s), now_s + doubt.span_s
            self.owner.held(request, now_s)

    def _not_ours(self, request: Request, buffer: bytes, now_s: float) -> None:
        """A late reply of somebody we doubt is taken out of the way; anything else spoils the request."""
        for kind, doubt in self.doubts.items():
            refused = buffer[:2] == bytes([kind[0], kind[1] | EXCEPTION_FLAG])
            if not refused and not buffer.startswith(bytes(kind[:2]) + kind[2]):
                continue
            want = RTU_EXCEPTION_BYTES if refused else doubt.bytes_wanted
            if len(buffer) < want:
                return
            if not crc(buffer[:want]):
                self._came_late(kind, doubt, buffer[want:], now_s)
                return
        self.blame.put(self._difference(request, buffer))
        self._fail_bad(request, now_s)

    def _came_late(self, kind: Kind, doubt: Doubt, rest: bytes, now_s: float) -> None:
        self.blame.put(TOO_LATE)
        self.owner.stray(True, kind[0])
        del self.doubts[kind]
        self._drop_held(doubt, now_s)
        self._buffer = b""
        if rest:
            self.feed(rest)

    @staticmethod
    def _difference(request: Request, buffer: bytes) -> str:
        if request.frame.startswith(buffer[: len(request.frame)]):
            return "our own request came back: set `echo: true`"
        if buffer[0] != request.reply_unit:
            return f"unit {buffer[0]} spoke instead: another master, or noise"
        if buffer[1] != request.function:
            return f"function {buffer[1]} came for function {request.function}"
        return f"{buffer[2]} data bytes came for {request.head[0]}"

    def _fail_bad(self, request: Request, now_s: float) -> None:
        self._finish(now_s, RESYNC_S, doubted=request)
        self.owner.failed(request, Failure.BAD, 0, now_s)

    def _finish(self, now_s: float, quiet_s: float, doubted: Request | None = None) -> None:
        self._pending, self._buffer, self._echo, self._extended_s = None, b"", b"", 0.0
        self._free_s = now_s + max(quiet_s, self.silence_s)
        if doubted is not None and doubted.function not in SELF_PROVING:
            self.doubts[kind_of(doubted)] = Doubt(doubted, now_s)

    def _drop_held(self, doubt: Doubt, now_s: float) -> None:
        """Something followed the held reply, so it may have been the late one and this the real one."""
        request, doubt.held = doubt.held, None
        if request is not None:
            doubt.end_s = now_s + doubt.span_s
            self.owner.failed(request, Failure.BAD, 0, now_s)

    def _unasked(self, data: bytes, now_s: float) -> None:
        """Bytes that nobody asked for: the line is not silent yet, and a held reply was not the one we wanted."""
        if now_s >= self._free_s:
            self._noise_s = now_s
        self._free_s = max(self._free_s, now_s + RESYNC_S)
        late = any(unit == data[0] for unit, _, _ in self.doubts)
        unasked = f"unasked bytes ({data[:6].hex(' ')}): another master, or noise"
        self.blame.put(TOO_LATE if late else unasked)
        self.owner.stray(late, data[0])
        for doubt in tuple(self.doubts.values()):
            self._drop_held(doubt, now_s)
        if now_s - self._noise_s > BABBLE_S:
            self.owner.broken("the line is never silent", None)
