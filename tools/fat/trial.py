"""One trial: bring the site to its start, break something at a random moment, watch the plant, put it right."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import os
import time
from random import Random
from typing import Any, Final

from opcua_model.client import CallResult
from opcua_model.library import ua
from tools.fat.cases import Reaction
from tools.fat.judge import Event, Trial, detected_ms, origin_ms, reacted_ms
from tools.fat.plan import Planned
from tools.fat.rig import TROUBLE, Rig, RigError
from tools.simulator.verbs import parse_text

WATCH_S: Final = 0.02
DWELL_S: Final = 0.5
QUIET_S: Final = 1.5
SLACK_MS: Final = 1500.0
SETTLE_S: Final = 0.3
ORIGIN_S: Final = 90.0
STOPPED_AT, LET_GO_AT = 0.6, 0.05
"""Parts of a cycle: by the first a scan has ended, by the second the next but one would have begun."""
CONNECTING: Final = ("connect", "connect_alone")
"""The plant stands as it was injected, and has been read so, before it is connected."""
MORE_POWER: Final = 0.6
HEARTBEAT: Final = 1.0


class NotReady(RigError):
    """The trial could not begin."""


class Observer:
    """What the plant and the scan tell from now on."""

    def __init__(self, rig: Rig, before_w: float) -> None:
        self.rig, self.before_w = rig, before_w
        rig.alarms()
        self.since = rig.plant_client.last_event()
        self.events: list[Event] = []
        self.overruns = rig.overruns()
        self.seen: list[Any] = []

    def look(self) -> Trial:
        """Everything so far, without the state of the plant."""
        new = self.rig.plant_client.events(self.since)
        if new:
            self.since = new[-1]["n"]
            self.events += new
        self.seen += self.rig.alarms()
        self.events.sort(key=lambda e: float(e["time_ms"]))
        return Trial(self.events, self.seen, self.before_w, {})

    def end(self) -> Trial:
        """Everything, with the state of the plant now."""
        self.look()
        overruns = max(self.rig.overruns() - self.overruns, 0)
        return Trial(self.events, self.seen, self.before_w, self.rig.truth(), overruns, os.getloadavg()[0])

    def own(self, what: str, place: str) -> None:
        """An injection that the plant knows nothing of."""
        event = {"n": 0, "time_ms": time.monotonic_ns() / 1e6, "event": "injected", "place": place, "what": what}
        self.events.append(event)


@dataclasses.dataclass(frozen=True, slots=True)
class Before:
    """What the plant told since the last trial ended, and how long the site took to get ready for this one."""

    events: tuple[Event, ...]
    ready_s: float
    again: tuple[str, ...]


async def prepare(rig: Rig, planned: Planned) -> Before:
    """The site at the start of the trial; NotReady when it cannot be brought there."""
    begin = time.monotonic()
    try:
        alone = planned.rack if planned.opens <= {planned.rack} and planned.within_rack else ""
        if planned.power_w is None:
            await rig.standby(alone)
        else:
            await rig.online(planned.power_w, alone)
        if planned.opens and planned.case.reaction is Reaction.ZERO:
            await rig.balanced()
        await rig.rested(planned.case.row)
        if planned.case.act == "connect_alone":
            await _alone(rig, planned.rack, out=True)
    except TROUBLE as error:
        raise NotReady(str(error) or repr(error)) from error
    again, rig.again = tuple(rig.again), []
    return Before(tuple(rig.plant_client.events(rig.mark)), round(time.monotonic() - begin, 1), again)


async def run_trial(rig: Rig, planned: Planned, random: Random) -> Trial:
    """What was recorded from the injection on; the plant is healed afterwards."""
    case = planned.case
    await asyncio.sleep(SETTLE_S + random.random() * rig.site.config.cycle / 1000)
    observer = Observer(rig, planned.power_w or 0.0)
    holding = [asyncio.create_task(task) for text in planned.inject if (task := _inject(rig, observer, text))]
    try:
        if case.act in CONNECTING:
            await asyncio.sleep(SETTLE_S)
        await _act(rig, observer, case.act)
        await _watch(planned, observer)
        if case.then:
            await _act(rig, observer, case.then)
            await asyncio.sleep(QUIET_S)
        trial = observer.end()
    finally:
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)
    rig.mark = observer.since
    await _heal(rig, planned)
    return trial


def _inject(rig: Rig, observer: Observer, text: str) -> Any:
    """Does it at once; what takes time is returned as a coroutine."""
    words = text.split()
    if words[0] == "signal":
        observer.own(text, words[1])
        rig.signal(words[1], words[2])
        return None
    if words[0] == "hold":
        observer.own(text, words[1])
        return _stutter(rig, int(words[2])) if words[1] == "scan" else _hold(rig, words[1], float(words[2]))
    rig.plant_client.do(**parse_text(text))
    return None


async def _stutter(rig: Rig, times: int) -> None:
    """Let so many scans in a row end after their next start. Scans start at whole cycles of the monotonic clock."""
    cycle_s = rig.site.config.cycle / 1000
    for _ in range(times):
        await _part_of_cycle(cycle_s, STOPPED_AT)
        rig.signal("scan", "STOP")
        await _part_of_cycle(cycle_s, LET_GO_AT, more=1)
        rig.signal("scan", "CONT")


async def _part_of_cycle(cycle_s: float, part: float, more: int = 0) -> None:
    now = time.monotonic() / cycle_s
    await asyncio.sleep(((part - now) % 1.0 + more) * cycle_s)


async def _hold(rig: Rig, process: str, seconds: float) -> None:
    """Stop a process, and every successor that the supervisor starts for it."""
    end, held = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        pid = rig.pid(process)
        if pid != held and pid:
            rig.signal(process, "STOP")
            held = pid
        await asyncio.sleep(WATCH_S)


async def _act(rig: Rig, observer: Observer, act: str) -> None:
    """What an operator or SCADA does."""
    if act in CONNECTING:
        await rig.operator.call("Connect")
    elif act == "more":
        await rig.operator.call("SetActivePower", MORE_POWER * rig.site.config.dispatch.rated_power)
    elif act == "reverse":
        # As far as every cell's voltage tells: what moves by less than a coarse monitor's step has no witness.
        most = math.copysign(MORE_POWER * rig.site.config.dispatch.rated_power, observer.before_w)
        await rig.operator.call("SetActivePower", -most)
    elif act == "emergency_stop":
        observer.own("EmergencyStop over OPC UA", "site")
        await rig.operator.call("EmergencyStop", "factory acceptance test")
    elif act == "two_masters":
        await _two_masters(rig, observer)
    elif act == "take_control":
        await _take_control(rig)
    elif act == "beat":
        observer.own("ScadaHeartbeat once, then silence", "site")
        await rig.operator.write("Control/ScadaHeartbeat", HEARTBEAT)


async def _two_masters(rig: Rig, observer: Observer) -> None:
    """The engineer asks for other power than the operator, who asks for the first again: that makes it a quarrel."""
    _granted(await rig.engineer("SetActivePower", MORE_POWER * rig.site.config.dispatch.rated_power), "other power")
    observer.own("SetActivePower by the operator, whom the engineer has just overruled", "site")
    _granted(await rig.operator.call("SetActivePower", observer.before_w), "the first power again")


async def _take_control(rig: Rig) -> None:
    """What the row advises: the quarrel is over at once, and the other master is refused."""
    _granted(await rig.operator.call("TakeControl", "factory acceptance test"), "control")
    quarrel = [s.index for s in rig.site.program.matrix.slots if s.row.id == "setpoints_contested"]

    def over() -> bool:
        image = rig.image()
        return image is not None and not image.trips.slot_active[quarrel].any()

    await rig.until(over, "the end of the quarrel", QUIET_S)
    other = await rig.engineer("SetActivePower", MORE_POWER * rig.site.config.dispatch.rated_power)
    if other.accepted:
        raise RigError(f"another master than the holder of control sets power: {other.reason}")


def _granted(answer: CallResult, what: str) -> None:
    if not answer.accepted:
        raise RigError(f"{what} refused: {answer.reason}")


async def _watch(planned: Planned, observer: Observer) -> None:
    """Until all has happened that must, or its time is over; then a little longer for what must not."""
    begin = time.monotonic()
    origin: float | None = None
    while True:
        await asyncio.sleep(WATCH_S)
        trial = observer.look()
        now_ms = time.monotonic_ns() / 1e6
        if origin is None:
            origin = origin_ms(planned, trial)
            if origin is None and time.monotonic() - begin > ORIGIN_S:
                return
        elif _complete(planned, trial, origin) or now_ms > origin + planned.deadline_ms + SLACK_MS:
            break
    calm = planned.case.reaction in (Reaction.KEPT, Reaction.BLOCKED)
    await asyncio.sleep(QUIET_S if calm else DWELL_S)


def _complete(planned: Planned, trial: Trial, origin: float) -> bool:
    detected = planned.detect_ms is None or detected_ms(planned, trial, origin) is not None
    reacted = planned.react_ms is None or reacted_ms(planned, trial, origin) is not None
    if not (detected and reacted):
        return False
    if planned.case.reaction is not Reaction.ZERO or not planned.opens:
        return True
    opened = {e["place"] for e in trial.events if e["event"] == "main_opened"}
    return planned.opens <= opened


async def _heal(rig: Rig, planned: Planned) -> None:
    rig.resume()
    rig.plant_client.do("clear")
    for text in planned.heal:
        rig.plant_client.do(**parse_text(text))
    if any(text.startswith("hold opcua") for text in planned.inject):
        await rig.reconnect()
    if planned.case.then == "take_control":
        _granted(await rig.operator.call("ReleaseControl"), "giving control back")
    if planned.case.act == "connect_alone":
        await rig.operator.call("Disconnect")
        await _alone(rig, planned.rack, out=False)


async def _alone(rig: Rig, rack: str, *, out: bool) -> None:
    """Take every rack but one out of service, or bring them back."""
    for number in range(1, rig.site.topology.racks + 1):
        if f"R{number:02d}" != rack:
            argument = ua.Variant(number, ua.VariantType.Int32)
            answer = await rig.engineer("RackOutOfService" if out else "RackInService", argument)
            if not answer.accepted:
                raise RigError(f"R{number:02d}: {answer.reason}")
