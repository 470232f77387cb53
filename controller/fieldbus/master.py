"""The queue of one bus: which request goes next, and what its reply means. Replies drive the next request directly.

What is guaranteed: at most `window` requests in flight; writes go first, at the next transaction end; a round reads
every FAST block of every answering unit once; slow blocks and probes of silent units only fill the slack.
There is no task and no timer object per read: one timer per bus looks after the oldest request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf
from time import monotonic
from typing import Final

from controller.fieldbus.blame import exception_text
from controller.fieldbus.link import Link
from controller.fieldbus.listener import Listener
from controller.fieldbus.outputs import Output
from controller.fieldbus.request import MS_PER_S, Failure, Request, fill
from controller.fieldbus.round import Round
from controller.fieldbus.slack import OUTPUT_WINDOW_S, Slack
from controller.fieldbus.statistics import REQUESTS, BusStatistics
from controller.fieldbus.unit import BUSY_CODES, FAILURES, GATEWAY_CODES, Pulse, Unit, refusal_pause
from controller.fieldbus.wires import wire_for
from plc_config.plan import CYCLE, BusPlan

BUSY_CYCLES: Final = 2
PROBE_PATIENCE: Final = 2.0
PROBE_PATIENCE_S: Final = 0.005
"""A probe is given up for a round after this many times its planned duration, and so long for the operating system."""

PATIENT_PROBES: Final = 4


class Master:
    """The one that asks, on one bus."""

    def __init__(self, plan: BusPlan, units: list[Unit], planned_ms: float, cycle_ms: int, listener: Listener) -> None:
        self.plan, self.units, self.listener = plan, units, listener
        self.cycle_s = cycle_ms / MS_PER_S
        self.round = Round(planned_ms)
        self.statistics = BusStatistics(units)
        self.link: Link | None = None
        self.wire = wire_for(plan, self)
        self.cycle = 0
        self.up = False
        self._slack = Slack(units, self.wire.doubtful)
        self._urgent: deque[Output] = deque()
        self._routine: deque[Output] = deque()
        self._pulse = Pulse(len(units))
        self._gap_until_s = 0.0
        self._pumping = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = inf
        self._patience_s = plan.timeout_ms / MS_PER_S
        self._loop = asyncio.get_running_loop()

    # -- the cycle -------------------------------------------------------------------------------------------

    def announce(self, cycle: int, scan_s: float, begin_s: float) -> None:
        """A scan starts at `scan_s`; the next round will begin at `begin_s`."""
        self.cycle, self._slack.scan_s, self._slack.begin_s = cycle, scan_s, begin_s
        if self.link is not None and self._slack.wanted:
            self._arm(scan_s + OUTPUT_WINDOW_S)

    def begin(self, next_scan_s: float) -> None:
        """Read all FAST blocks, so that they end before `next_scan_s`; a round that still runs goes on instead."""
        now_s = monotonic()
        self._slack.scan_s, self._slack.begin_s = next_scan_s, now_s + self.cycle_s
        if self.link is None:
            for unit in self.units:
                self._unit_failed(unit, Failure.LOST)
            self.listener.round_done()
        elif self.round.unfinished:
            if self.round.at == len(self.round.requests) and self.wire.deadline_s() == inf:
                left = self.round.unfinished
                raise RuntimeError(f"{self.plan.name}: {left} reads are neither in flight nor finished")
            self.round.behind = True
        else:
            self._stop_probing(now_s, begins_round=True)
            self._start_round(now_s)

    def _start_round(self, now_s: float) -> None:
        self._ask(self.round.begin(self.units, self.cycle, now_s), now_s)

    def _ask(self, wanted: list[Request], now_s: float) -> None:
        # A held reply is still to be judged: its request belongs to no round until then.
        chosen = [r for r in wanted if not self.wire.doubtful(r, now_s)] if self.wire.doubts else wanted
        self.round.ask(chosen)
        if chosen:
            self.pump(now_s)
        else:
            self.listener.round_done()

    def _stop_probing(self, now_s: float, begins_round: bool) -> None:
        """The probe of a silent unit gives way: to a write at once, to a round when the unit had time to answer.

        Every PATIENT_PROBES-th probe is not cut short by a round, or a unit that is slow would never be found again.
        """
        request = self.wire.in_flight()
        if request is None or request.row is None or request.in_round or not request.unit.failing:
            return
        patience_s = 0.0
        if begins_round and request.block is not None:
            if request.unit.probes % PATIENT_PROBES == 0:
                return
            patience_s = PROBE_PATIENCE * request.block.cost_ms / MS_PER_S + PROBE_PATIENCE_S
        self.wire.abandon(now_s, patience_s)

    def _finish_one(self, request: Request, now_s: float) -> None:
        request.in_round = False
        self.round.unfinished -= 1
        if not self.round.unfinished:
            self._round_over(now_s)

    def _round_over(self, now_s: float) -> None:
        self.round.over(now_s)
        self.listener.round_done()
        if self.round.behind:
            self._start_round(now_s)

    # -- the link --------------------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """A new link: nothing of the old one is left, and every unit is asked again."""
        self.link = link
        self.wire.write = link.write
        self.statistics.connected = 1
        self._pulse.heard()
        for unit in self.units:
            unit.hurry(self.cycle)
        rest = self.round.rest(self.cycle)
        if rest:
            self._ask(rest, monotonic())

    def lost(self) -> None:
        """The link is gone: what was in flight fails at once. Does nothing the second time."""
        self.link = None
        self.statistics.connected = 0
        now_s = monotonic()
        for output in (*self._urgent, *self._routine):
            output.queued = False
        self._urgent.clear()
        self._routine.clear()
        for request in self.wire.reset():
            self.failed(request, Failure.LOST, 0, now_s)
        if self.round.cut(self.cycle):
            self.listener.round_done()
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_s = None, inf

    def broken(self, reason: str, request: Request | None) -> None:
        """The stream is out of step: only a new link helps. Whoever was asked has failed, and is not excused."""
        link, self.link = self.link, None
        if request is None:
            self.statistics.bad += 1
        else:
            self.wire.blame.put(reason)
            self.failed(request, Failure.BAD, 0, monotonic())
        self.lost()
        if link is not None:
            link.close(reason)

    def _drop(self, reason: str) -> None:
        link = self.link
        if link is not None:
            self.lost()
            link.close(reason)

    # -- what goes next --------------------------------------------------------------------------------------

    def enqueue(self, output: Output) -> None:
        """Write an output at the next transaction end."""
        if output.queued or output.sending or self.link is None:
            return
        output.queued = True
        now_s = monotonic()
        (self._urgent if output.urgent else self._routine).append(output)
        if self._slack.wanted:
            self._stop_probing(now_s, begins_round=not output.urgent)
        self.pump(now_s)

    def pump(self, now_s: float) -> None:
        """Send as much as the window and the silences allow."""
        if self._pumping:
            # Asked from inside: what is chosen may end a round, and that may begin the next one or bring a write.
            return
        self._pumping = True
        wire = self.wire
        while self.link is not None:
            wait_s = wire.wait_s(now_s)
            if self._gap_until_s > now_s + wait_s:
                wait_s = self._gap_until_s - now_s
            if wait_s > 0.0:
                self._arm(now_s + wait_s)
                break
            request = self._choose(now_s)
            if request is None:
                break
            request.unit.counts[REQUESTS] += 1
            wire.send(request, now_s)
            if wire.single:
                break
        self._pumping = False
        # No time-out is shorter than the bus's: an alarm before that looks after this request too.
        if wire.doubts or self._timer_s > now_s + self._patience_s:
            self._arm(wire.deadline_s())

    def _choose(self, now_s: float) -> Request | None:
        wire, round_ = self.wire, self.round
        while self._urgent or self._routine:
            output = (self._urgent or self._routine).popleft()
            output.queued = False
            if self._ready(output, now_s):
                return output.request
        while round_.at < len(round_.requests):
            request = round_.requests[round_.at]
            round_.at += 1
            if request.unit.silent_round == round_.number or (wire.doubts and wire.doubtful(request, now_s)):
                # Its unit has already cost a time-out in this round, or a late reply of it may still come.
                self._finish_one(request, now_s)
            else:
                return request
        return self._slack.choose(now_s, self.cycle) if self._slack.wanted else None

    def _ready(self, output: Output, now_s: float) -> bool:
        if output.desired is None or output.uncertain_ms >= 0 or not self.listener.may_write(output):
            return False
        if self.wire.doubts and self.wire.doubtful(output.request, now_s):
            return False
        if output.known == output.desired and output.block.refresh_ms != CYCLE:
            return False
        if output.unit.failing and not (output.fresh and output.urgent) and not output.unit.due(self.cycle):
            return False
        output.fresh, output.sending = False, True
        fill(output.request, self.plan.serial, output.head, output.desired)
        self.statistics.writes += 1
        return True

    # -- timer -----------------------------------------------------------------------------------------------

    def _arm(self, when_s: float) -> None:
        """Wake up at `when_s` at the latest; an earlier alarm stays, and looks again then."""
        if when_s >= self._timer_s:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = when_s
        self._timer = self._loop.call_later(max(when_s - monotonic(), 0.0), self._wake)

    def _wake(self) -> None:
        self._timer, self._timer_s = None, inf
        now_s = monotonic()
        self.wire.expire(now_s)
        self.pump(now_s)

    # -- what came of it -------------------------------------------------------------------------------------

    def good(self, request: Request, payload: bytes, now_s: float) -> None:
        """The reply that was asked for. This and `pump` are done for every read: few calls, and none without need."""
        now_ms = int(now_s * MS_PER_S)
        unit, row = request.unit, request.row
        self.statistics.answered(unit, now_s - request.sent_s, now_ms)
        if unit.gap_s:
            self._gap_until_s = now_s + unit.gap_s
        if self._pulse.count:
            self._pulse.heard()
        if not self.up:
            self.up = True
            self.listener.first_reply()
        if row is not None:
            row.store(payload, now_ms)
            request.refused = 0
            if unit.failures:
                self._unit_answered(unit)
            if request.in_round:
                request.in_round = False
                self.round.unfinished -= 1
                if not self.round.unfinished:
                    self._round_over(now_s)
        elif request.output is not None:
            request.output.sending = False
            self.statistics.written(unit, now_ms)
            self.listener.written(request.output, payload, now_ms)
            if unit.failures:
                self._unit_answered(unit)
        self.pump(now_s)

    def failed(self, request: Request, failure: Failure, code: int, now_s: float) -> None:
        """No correct reply; the request is over."""
        unit = request.unit
        self.statistics.failed(unit, failure, code)
        now_ms = int(now_s * MS_PER_S)
        self.round.clean = False
        if unit.gap_s:
            self._gap_until_s = now_s + unit.gap_s
        if failure is Failure.EXCEPTION:
            self._pulse.heard()
            if code in GATEWAY_CODES:
                self.wire.blame.put(exception_text(code))
                self._unit_failed(unit, failure)
            else:
                if unit.failures:
                    self._unit_answered(unit)
                self._refused(request, code)
        elif failure is not Failure.LOST:
            if failure is Failure.TIMEOUT:
                unit.silent_round = self.round.number
            else:
                self._pulse.heard()
            self._unit_failed(unit, failure)
            if not unit.failing:
                self._set_aside(request, 0)
        if request.output is not None:
            request.output.sending = False
            self.listener.write_failed(request.output, failure, code, now_ms)
        if request.in_round:
            self._finish_one(request, now_s)
        if failure is Failure.TIMEOUT and self._pulse.missed(unit) and self.plan.kind != "rtu":
            self._drop("no unit replies")
        self.pump(now_s)

    def held(self, request: Request, now_s: float) -> None:
        """A reply that must prove itself: the round goes on without it."""
        self.round.clean = False
        if request.in_round:
            self._finish_one(request, now_s)
        self.pump(now_s)

    def stray(self, late: bool, unit: int) -> None:
        """A reply nobody waits for: it is thrown away."""
        self._pulse.heard()
        self.statistics.stray(late, unit)

    def _refused(self, request: Request, code: int) -> None:
        if code in BUSY_CODES:
            request.due_cycle = self.cycle + BUSY_CYCLES
            request.refused += 1
            if request.refused == FAILURES:
                self.listener.refused(request, code)
        else:
            self._set_aside(request, code)

    def _set_aside(self, request: Request, code: int) -> None:
        """A read that failed often enough, on a unit that answers others, is asked less often."""
        if request.row is None:
            return
        request.refused += 1
        if request.refused < FAILURES:
            return
        request.due_cycle = self.cycle + refusal_pause(code, request.refused)
        request.row.lose()
        if request.refused == FAILURES:
            self.listener.refused(request, code)

    def _unit_failed(self, unit: Unit, failure: Failure) -> None:
        alone = all(other.failing for other in self.units if other is not unit)
        if unit.failed(self.cycle, alone):
            self.up = self.up and not alone
            self.listener.unit_changed(unit, False, failure)

    def _unit_answered(self, unit: Unit) -> None:
        alone = all(other.failing for other in self.units)
        if unit.answered():
            if alone:
                for other in self.units:
                    other.hurry(self.cycle)
            self.listener.unit_changed(unit, True, None)
