"""A clock that stands still while the machine lets a test's loop or its lines wait.

A rig runs devices and driver on one loop. When the machine holds that process up for a second, nobody in it is late:
nobody ran. On this clock the second has not passed, so no device was silent for it and no value grew old by it, and
whatever is late on it was made late by the code under test. It goes on as fast as beats come: in a beat the loop has
been round and a byte has gone through a pseudo-terminal, so everybody has had a turn.

What it cannot see: code that blocks the whole loop holds it up like a busy machine does.
"""

from __future__ import annotations

import asyncio
import os
import pty
import sys
import time
import tty
from math import inf
from typing import Any, Final

BEAT_S: Final = 0.002
MOST_S: Final = 0.005
"""Of the time between two beats, so much counts at most."""

OURS: Final = ("controller.", "tests.")


class SteadyClock:
    """Call it for the seconds of `time.monotonic` without the time in which this machine held us up.

    Between `start` and `stop` the running loop and every module of ours that has imported `monotonic` live by it; a
    loop that keeps its own time (uvloop) may wake people early by it, never late.
    """

    def __init__(self) -> None:
        self.held_s = 0.0
        """How long we were held up so far."""

        self._limit_s = inf
        self._ends: tuple[int, int] | None = None
        self._lent: list[Any] = []

    def __call__(self) -> float:
        now_s = time.monotonic() - self.held_s
        if now_s > self._limit_s:
            self.held_s += now_s - self._limit_s
            now_s = self._limit_s
        return now_s

    def start(self) -> None:
        """Live by this clock from now on."""
        self._loop: Any = asyncio.get_running_loop()
        self._lent = [
            m for n, m in sys.modules.items() if n.startswith(OURS) and vars(m).get("monotonic") is time.monotonic
        ]
        for module in self._lent:
            module.monotonic = self
        if isinstance(self._loop, asyncio.BaseEventLoop):
            self._loop.time = self  # type: ignore[method-assign]
        self._ends = pty.openpty()
        for end in self._ends:
            tty.setraw(end)
            os.set_blocking(end, False)
        self._loop.add_reader(self._ends[1], self._heard)
        self._beat()

    def stop(self) -> None:
        """Back to the clock of the machine."""
        if self._ends is not None:
            self._timer.cancel()
            self._loop.remove_reader(self._ends[1])
            for end in self._ends:
                os.close(end)
        self._ends, self._limit_s = None, inf
        for module in self._lent:
            module.monotonic = time.monotonic
        vars(self._loop).pop("time", None)

    def __enter__(self) -> SteadyClock:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _beat(self) -> None:
        # The alarm first: time must never stand still before it is due.
        self._timer = self._loop.call_later(BEAT_S, self._speak)
        self._limit_s = self() + MOST_S

    def _speak(self) -> None:
        if self._ends is not None:
            os.write(self._ends[0], b"?")

    def _heard(self) -> None:
        if self._ends is not None:
            os.read(self._ends[1], 64)
            self._beat()
