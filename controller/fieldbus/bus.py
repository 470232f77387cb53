"""One bus: the task that owns its link, and what people are told of it.

What is guaranteed: one socket or port at most, opened and closed only here; back-off 0.1 to 0.5 s with jitter, reset by
a correct reply and not by a mere connection; at most a few events per minute however much the bus flaps.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final

from controller.core.event import Event, What
from controller.fieldbus.blame import exception_text
from controller.fieldbus.capture import Capture
from controller.fieldbus.link import Feed, LinkLost, open_link
from controller.fieldbus.master import Master
from controller.fieldbus.outputs import Output, Outputs
from controller.fieldbus.request import READ_WRITE, Failure, Request
from controller.fieldbus.unit import FAILURES, Unit
from plc_config.plan import BusPlan

BACKOFF_MIN_S: Final = 0.1
BACKOFF_MAX_S: Final = 0.5
QUICK_MAX: Final = 5
QUICK_WINDOW_S: Final = 10.0
"""This often in this time a link that had worked is opened again at once."""

JITTER: Final = 0.2
STAGGER_S: Final = 0.005
STAGGER_MAX_S: Final = 0.25
EVENTS_MAX: Final = 10
EVENTS_WINDOW_S: Final = 60.0
PATIENT_AFTER_S: Final = 60.0
PATIENT_MIN_S: Final = 2.0
PATIENT_MAX_S: Final = 5.0
"""After a minute without a correct reply the link is tried this seldom: a device that is switched off stays so."""


def pause_s(backoff_s: float, down_s: float) -> float:
    """How long to wait before the next attempt to open a link that has brought nothing for `down_s`."""
    if down_s > PATIENT_AFTER_S:
        return random.uniform(PATIENT_MIN_S, PATIENT_MAX_S)
    return backoff_s * random.uniform(1 - JITTER, 1 + JITTER)


class Bus:
    """A bus of the plan; `run` is its one task."""

    def __init__(
        self,
        plan: BusPlan,
        units: list[Unit],
        planned_ms: float,
        cycle_ms: int,
        tell: Callable[[Event], None],
        done: Callable[[int], None],
        capture: Capture | None = None,
    ) -> None:
        self._capture = capture
        self.plan, self._tell, self._done = plan, tell, done
        self.outputs: Outputs | None = None
        self.master = Master(plan, units, planned_ms, cycle_ms, self)
        self.up: bool | None = None
        self._reason = "not connected yet"
        self._told_reason = ""
        self._told: deque[float] = deque(maxlen=EVENTS_MAX)
        self._untold = 0
        self._quick: deque[float] = deque(maxlen=QUICK_MAX)

    async def run(self, serial_folder: Path) -> None:
        """Keep the link open until cancelled."""
        await asyncio.sleep(min(self.plan.index * STAGGER_S, STAGGER_MAX_S))
        master, backoff_s, opened, well_s = self.master, BACKOFF_MIN_S, 0, monotonic()
        capture, name = self._capture, self.plan.name
        feed: Feed = master.wire.feed
        if capture is not None:
            feed = capture.feed(name, feed)
        try:
            while True:
                ok = master.statistics.ok
                try:
                    link = await open_link(self.plan, serial_folder, feed)
                except LinkLost as error:
                    self._trouble(f"cannot connect: {error}")
                else:
                    master.statistics.reconnects = opened
                    opened += 1
                    master.opened(link if capture is None else capture.link(name, link))
                    self._all_fresh()
                    why = await link.lost
                    master.lost()
                    if self.plan.kind == "tls" and master.statistics.ok == ok:
                        why += " before any reply; certificate not accepted?"
                    self._trouble(f"connection lost: {why}")
                if master.statistics.ok > ok:
                    backoff_s, well_s = BACKOFF_MIN_S, monotonic()
                    if self._at_once(well_s):
                        continue
                await asyncio.sleep(pause_s(backoff_s, monotonic() - well_s))
                backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)
        finally:
            self.close()

    def _at_once(self, now_s: float) -> bool:
        """Whether a link that had worked may be opened again without a pause: a few times, or it would be a storm."""
        quick = self._quick
        if self.plan.kind == "rtu" or (len(quick) == QUICK_MAX and now_s - quick[0] < QUICK_WINDOW_S):
            return False
        quick.append(now_s)
        return True

    def close(self) -> None:
        """Close the link now."""
        link = self.master.link
        self.master.lost()
        if link is not None:
            link.close("stopped")

    def _all_fresh(self) -> None:
        if self.outputs is not None:
            self.outputs.forget(output for unit in self.master.units for output in unit.outputs)
        self.master.pump(monotonic())

    # -- what the master tells -------------------------------------------------------------------------------

    def round_done(self) -> None:
        """See `Listener`."""
        self._done(self.plan.index)

    def first_reply(self) -> None:
        """See `Listener`."""
        self._told_reason = ""
        self._set_up(True, "replies")

    def written(self, output: Output, payload: bytes, now_ms: int) -> None:
        """See `Listener`. Function 23 has read back: a device that took another value is told of, not fought."""
        request = output.request
        if request.function == READ_WRITE and payload != request.payload:
            what = f"{output.block.output} reads back as {payload.hex()}, {request.payload.hex()} was written"
            self._event(True, f"unit {output.unit.unit} ({output.unit.name}): {what}")
        if self.outputs is not None:
            self.outputs.written(output, now_ms)

    def write_failed(self, output: Output, failure: Failure, code: int, now_ms: int) -> None:
        """See `Listener`."""
        if self.outputs is not None:
            self.outputs.failed(output, failure, code, now_ms)

    def may_write(self, output: Output) -> bool:
        """See `Listener`."""
        return self.outputs is not None and self.outputs.permitted(output)

    def unit_changed(self, unit: Unit, up: bool, failure: Failure | None) -> None:
        """See `Listener`."""
        who = f"unit {unit.unit} ({unit.name})"
        if up:
            self._event(up, f"{who} replies again")
            if self.outputs is not None:
                self.outputs.forget(output for output in unit.outputs if output.known is None)
            return
        for output in unit.outputs:
            output.known = None
        if failure is not Failure.LOST:
            what = self._with_blame(f"{failure.value if failure is not None else 'no reply'} for {FAILURES} requests")
            self._event(up, f"{who}: {what}")
        if all(other.failing for other in self.master.units):
            lost = failure is Failure.LOST
            self._set_up(False, self._reason if lost else "no unit replies")

    def refused(self, request: Request, code: int) -> None:
        """See `Listener`."""
        block = request.block
        if block is not None:
            why = f"refused with {exception_text(code)}" if code else self._with_blame("not answered")
            what = f"unit {block.unit}, function {block.function}, address {block.address}, count {block.count}"
            self._event(False, f"{what}: {why}")

    def _with_blame(self, what: str) -> str:
        blame = self.master.wire.blame.take()
        return f"{what}: {blame}" if blame else what

    # -- events ----------------------------------------------------------------------------------------------

    def _trouble(self, reason: str) -> None:
        """The link is not there; said again only when the reason is another, or after it had worked."""
        self._reason = reason
        if self._capture is not None:
            self._capture.put(self.plan.name, "note", reason)
        if reason != self._told_reason:
            self._told_reason = reason
            self._event(False, reason)

    def _set_up(self, up: bool, why: str) -> None:
        if self.up is not up:
            self.up = up
            self._event(up, why, bus=True)

    def _event(self, up: bool, text: str, bus: bool = False) -> None:
        """Tell people, a bounded number of times per minute; what was held back is counted in the next text."""
        now_s = monotonic()
        if len(self._told) == EVENTS_MAX and now_s - self._told[0] < EVENTS_WINDOW_S and not bus:
            self._untold += 1
            return
        if len(self._told) == EVENTS_MAX and now_s - self._told[0] < EVENTS_WINDOW_S / EVENTS_MAX:
            self._untold += 1
            return
        self._told.append(now_s)
        more = f" (and {self._untold} more messages)" if self._untold else ""
        self._untold = 0
        self._tell(
            Event(
                What.BUS, old=float(not up), new=float(up), place=self.plan.name, text=f"{self.plan.name}: {text}{more}"
            )
        )
