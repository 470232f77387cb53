"""Commands that steer the sequences: each is accepted or refused with the reason, once."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from controller.core.command import Answer, Command, Kind, missing_role
from controller.core.effect import NO_CLOSING
from controller.core.frozen import replace
from controller.core.image import FEEDING, Modes, RackMode, SiteMode, System, Trips
from controller.core.memory import SequencingMemory
from controller.core.signal import Bools, Ints, among, some
from controller.core.topology import few

ARMED_MS: Final = 30_000
TOKEN_BITS: Final = 52
"""A token must survive a trip through a double, so it stays below 2**53."""
RACKS_NAMED: Final = 3
"""Of those that a command waits for; an answer has no room for all of a large site."""
MODES_TO_LEAVE: Final = (SiteMode.CONNECTING, SiteMode.ONLINE)


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What a command leads to."""

    accepted: bool
    reason: str
    modes: dict[str, Any] = dataclasses.field(default_factory=dict)
    memory: dict[str, Any] = dataclasses.field(default_factory=dict)
    value: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Situation:
    """What a verdict may rest on."""

    modes: Modes
    memory: SequencingMemory
    trips: Trips
    system: System
    seen: Bools

    @property
    def site(self) -> SiteMode:
        """The site's mode."""
        return SiteMode(self.modes.site_mode)


def energised(rack_mode: Ints, seen: Bools) -> Bools:
    """Racks that maintenance waits for: by their mode, or because their contactor is seen closed (`seen`)."""
    return among(rack_mode, RackMode.PRECHARGE, *FEEDING) | seen


def judge(
    modes: Modes,
    memory: SequencingMemory,
    trips: Trips,
    system: System,
    commands: Sequence[Command],
    seen: Bools,
) -> tuple[Modes, SequencingMemory, list[Answer]]:
    """Modes and memory with the accepted commands applied, and an answer to every command this stage owns.

    seen: over rack, its main contactor is seen closed.
    """
    answers: list[Answer] = []
    for command in commands:
        handler = HANDLERS.get(command.kind)
        if handler is None:
            continue
        missing = missing_role(command)
        if missing:
            answers.append(Answer(command, False, missing))
            continue
        verdict = handler(command, Situation(modes, memory, trips, system, seen))
        modes = replace(modes, **verdict.modes)
        memory = replace(memory, **verdict.memory)
        answers.append(Answer(command, verdict.accepted, verdict.reason, verdict.value))
    return modes, memory, answers


def _connect(command: Command, now: Situation) -> Verdict:
    """From STANDBY the site connects; when online, racks that were taken out join again. One that is out of service
    is not asked: whoever puts it back must not close it by that. Nor does a site connect in which an engineer asked
    for maintenance that only waits for the last contactor to be seen open."""
    if now.site not in (SiteMode.STANDBY, *MODES_TO_LEAVE):
        return Verdict(False, f"the site is {now.site.name}, not STANDBY")
    if now.memory.maintenance_wanted:
        return Verdict(False, "an engineer asked for maintenance; leave it first")
    if now.trips.site_effect & NO_CLOSING:
        return Verdict(False, "an alarm blocks closing; Why names it")
    blocked, out = (now.trips.rack_effect & NO_CLOSING) != 0, now.memory.out_of_service
    if bool((blocked | out).all()):
        also = " or out of service" if some(out) else ""
        return Verdict(False, f"every rack is blocked by an alarm{also}; Why names them")
    asked = ~blocked & ~out
    missing = int((~now.memory.join & asked).sum())
    reason = "connecting" if now.site is SiteMode.STANDBY else f"{missing} more to connect"
    if some(held := blocked & ~out & ~now.memory.join):
        reason += f"; alarms keep {int(held.sum())} out"
    if some(out):
        reason += f"; {int(out.sum())} out of service"
    nobody = np.zeros_like(blocked)
    memory = {"join": asked, "needs_person": nobody, "rejoins": np.zeros_like(now.memory.rejoins)}
    return Verdict(True, reason, modes={"connect_wanted": 1}, memory=memory)


def _disconnect(command: Command, now: Situation) -> Verdict:
    if now.site in MODES_TO_LEAVE:
        return Verdict(True, "disconnecting", modes={"connect_wanted": 0})
    return Verdict(True, f"the site is {now.site.name}, nothing is connected", modes={"connect_wanted": 0})


def _arm(command: Command, now: Situation) -> Verdict:
    token = _token(command, now.system)
    memory = {"armed_ms": ARMED_MS, "armed_token": token, "armed_user": _who(command)}
    return Verdict(True, f"armed for {ARMED_MS // 1000} s", memory=memory, value=float(token))


def _execute(command: Command, now: Situation) -> Verdict:
    if now.memory.armed_ms <= 0:
        return Verdict(False, "no shutdown is armed")
    if command.token != now.memory.armed_token:
        return Verdict(False, "wrong token")
    if _who(command) != now.memory.armed_user:
        return Verdict(False, "armed by another user")
    return Verdict(True, "shutting down", modes={"connect_wanted": 0}, memory={"armed_ms": 0, "armed_token": 0})


def _enter_maintenance(command: Command, now: Situation) -> Verdict:
    if now.site is SiteMode.MAINTENANCE:
        return Verdict(False, "the site is in MAINTENANCE already")
    if now.site in MODES_TO_LEAVE:
        return Verdict(False, f"the site is {now.site.name}; disconnect first")
    if now.site not in (SiteMode.STANDBY, SiteMode.TRIPPED, SiteMode.LOCKED_OUT):
        return Verdict(False, f"the site is {now.site.name}; ask again once it is in STANDBY")
    waits_for = [f"R{r + 1:02d}" for r in energised(now.modes.rack_mode, now.seen).nonzero()[0]]
    reason = "entering maintenance"
    if waits_for and now.site is not SiteMode.LOCKED_OUT:
        reason = f"maintenance begins once seen open: {few(waits_for, RACKS_NAMED)}"
    return Verdict(True, reason, memory={"maintenance_wanted": 1})


def _leave_maintenance(command: Command, now: Situation) -> Verdict:
    if not now.memory.maintenance_wanted:
        return Verdict(True, f"the site is {now.site.name}, and nobody asked for maintenance")
    return Verdict(True, "leaving maintenance", memory={"maintenance_wanted": 0})


def _service(out: bool, command: Command, now: Situation) -> Verdict:
    racks = now.memory.out_of_service
    if not 0 <= command.target < len(racks):
        return Verdict(False, f"no rack {command.target + 1}")
    changed = racks.copy()
    changed[command.target] = out
    word = "out of" if out else "back in"
    held = out and now.modes.rack_mode[command.target] in (RackMode.TRIPPED, RackMode.LOCKED_OUT)
    when = ", and is shown so once its trip is reset" if held else ""
    return Verdict(True, f"R{command.target + 1:02d} goes {word} service{when}", memory={"out_of_service": changed})


def _token(command: Command, system: System) -> int:
    seed = f"{command.id}/{command.user}/{system.scan}/{system.utc_ms}/{system.lateness_ms}".encode()
    return int.from_bytes(hashlib.sha256(seed).digest()[:8], "big") % (1 << TOKEN_BITS) or 1


def _who(command: Command) -> int:
    return int.from_bytes(hashlib.sha256(f"{command.origin}/{command.user}".encode()).digest()[:8], "big")


HANDLERS: Final[dict[Kind, Callable[[Command, Situation], Verdict]]] = {
    Kind.CONNECT: _connect,
    Kind.DISCONNECT: _disconnect,
    Kind.STOP: _disconnect,
    Kind.ARM_SHUTDOWN: _arm,
    Kind.EXECUTE_SHUTDOWN: _execute,
    Kind.ENTER_MAINTENANCE: _enter_maintenance,
    Kind.LEAVE_MAINTENANCE: _leave_maintenance,
    Kind.RACK_OUT_OF_SERVICE: functools.partial(_service, True),
    Kind.RACK_IN_SERVICE: functools.partial(_service, False),
}
