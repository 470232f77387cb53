"""What happened in the plant, time-stamped, in order, bounded."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

EVENTS_KEPT: Final = 20_000
"""Oldest events fall out; `since` then answers how many are missing."""

Event = dict[str, Any]
Sink = Callable[[Event], None]


def now_ms() -> float:
    """CLOCK_MONOTONIC in ms: the clock of the controller's images on the same machine."""
    return time.monotonic_ns() / 1e6


class EventLog:
    """A ring of events numbered from 1 without gaps."""

    def __init__(self) -> None:
        self.ring: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self.last = 0
        self.sinks: list[Sink] = []
        self.waiters: set[asyncio.Future[None]] = set()

    def add(self, event: str, place: str = "", **values: Any) -> None:
        """Append an event; whoever waits is woken."""
        self.last += 1
        record: Event = {"n": self.last, "time_ms": now_ms(), "event": event, "place": place, **values}
        self.ring.append(record)
        for sink in self.sinks:
            sink(record)
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.waiters.clear()

    def since(self, number: int, limit: int = EVENTS_KEPT) -> list[Event]:
        """Events with a number greater than `number`, oldest first, at most `limit`."""
        first = self.ring[0]["n"] if self.ring else self.last + 1
        skip = max(0, number + 1 - first)
        return [self.ring[i] for i in range(skip, min(len(self.ring), skip + limit))]

    async def wait(self, event: str, place: str, since: int, timeout_ms: float) -> Event | None:
        """The first event of that name (and place, if given) after number `since`; None when none came in time."""
        deadline = now_ms() + timeout_ms
        while True:
            for record in self.since(since):
                since = record["n"]
                if record["event"] == event and place in ("", record["place"]):
                    return record
            left = deadline - now_ms()
            if left <= 0:
                return None
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiters.add(waiter)
            try:
                await asyncio.wait_for(waiter, left / 1000)
            except TimeoutError:
                self.waiters.discard(waiter)
