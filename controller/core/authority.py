"""Stage: control, the right to set power and to connect while others may not.

Who has it is the holder: a user at a client, known by its certificate. It ends when the holder gives it back, when
somebody who may takes it over, when the holder stays silent, and with every restart. Stopping never needs it:
Disconnect, both steps of a shutdown and EmergencyStop are no concern of this stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from controller.core.command import Answer, Command, Kind, Role, missing_role, words
from controller.core.event import Event, What
from controller.core.frozen import replace
from controller.core.image import Authority, System
from controller.core.memory import AuthorityMemory
from controller.core.settings import AuthoritySettings

GOVERNED: Final = frozenset({Kind.CONNECT, Kind.SET_ACTIVE_POWER, Kind.SET_REACTIVE_POWER, Kind.HEARTBEAT})
"""What only the holder may ask for. A heartbeat belongs to it: it watches over the one whose setpoint is in force."""
FIRST_WRITER, REQUIRED = "first_writer", "required"
NOBODY: Final[dict[str, Any]] = {
    "holder": b"", "holder_digest": 0, "holder_user": 0, "holder_role": 0, "since_utc_ms": 0, "silent_ms": 0,
}  # fmt: skip


def authorise(
    settings: AuthoritySettings, memory: AuthorityMemory, unheard: bool, system: System, commands: Sequence[Command]
) -> tuple[list[Command], list[Answer], list[Event], AuthorityMemory]:
    """The commands that other stages may see, the answers to the others, what is told, and who has control now.

    unheard: the armed SCADA heartbeat stopped; a holder who wrote it is not waited for any longer.
    """
    before = memory.holder_digest
    memory, events = _lapse(settings, memory, unheard, system)
    passed: list[Command] = []
    answers: list[Answer] = []
    for command in commands:
        if memory.holder_digest and command.master_digest == memory.holder_digest:
            memory = replace(memory, silent_ms=0)
        if command.kind in (Kind.TAKE_CONTROL, Kind.RELEASE_CONTROL):
            judge = _take if command.kind is Kind.TAKE_CONTROL else _release
            accepted, reason, memory = judge(settings, memory, system, command)
            answers.append(Answer(command, accepted, reason))
            continue
        refusal = _refusal(settings, memory, command) if command.kind in GOVERNED else ""
        if refusal:
            answers.append(Answer(command, False, refusal))
            continue
        passed.append(command)
        if command.kind is Kind.HEARTBEAT:
            memory = replace(memory, beater=command.master_digest)
        elif command.kind in GOVERNED and _takes_by_asking(settings, memory, command):
            memory = _given(memory, system, command)
            events.append(_told(command.master, "has control, as the first who asked"))
    if memory.holder_digest not in (0, before):
        # A beat from just before would arm the watch over a holder who does not beat.
        late = [c for c in passed if c.kind is Kind.HEARTBEAT and c.master_digest != memory.holder_digest]
        answers += [Answer(c, False, _held(settings, memory, c)) for c in late]
        passed = [c for c in passed if c not in late]
    return passed, answers, events, memory


def publish(settings: AuthoritySettings, memory: AuthorityMemory) -> Authority:
    """Who has control, as others see it."""
    left_ms = _left_ms(settings, memory) if memory.holder_digest else 0
    return Authority(memory.holder, memory.since_utc_ms, left_ms)


def _left_ms(settings: AuthoritySettings, memory: AuthorityMemory) -> int:
    """Time until a holder who stays silent loses control."""
    return max(settings.silence_ms - memory.silent_ms, 0)


def _lapse(
    settings: AuthoritySettings, memory: AuthorityMemory, unheard: bool, system: System
) -> tuple[AuthorityMemory, list[Event]]:
    if not memory.holder_digest:
        return memory, []
    silent = memory.silent_ms + system.elapsed_ms
    if unheard and memory.beater == memory.holder_digest:
        why = "lost control: its heartbeat stopped"
    elif silent >= settings.silence_ms:
        why = f"lost control: silent for {settings.silence_ms // 1000} s"
    else:
        return replace(memory, silent_ms=silent), []
    return replace(memory, **NOBODY), [_told(_text(memory), why)]


def _told(who: str, what: str) -> Event:
    user = who.rpartition(" at ")[0] or who
    return Event(What.CONTROL, accepted=True, user=user, place="control", text=f"{who} {what}")


def _text(memory: AuthorityMemory) -> str:
    return words(memory.holder)


def _given(memory: AuthorityMemory, system: System, command: Command) -> AuthorityMemory:
    return replace(
        memory, holder=command.master.encode(), holder_digest=command.master_digest, silent_ms=0,
        holder_user=command.user_digest, holder_role=int(command.role), since_utc_ms=system.utc_ms,
    )  # fmt: skip


def _takes_by_asking(settings: AuthoritySettings, memory: AuthorityMemory, command: Command) -> bool:
    return settings.rule == FIRST_WRITER and not memory.holder_digest and command.role >= Role.OPERATOR


def _refusal(settings: AuthoritySettings, memory: AuthorityMemory, command: Command) -> str:
    """Why a command that needs control is refused, and what to do; empty when it is not."""
    if not memory.holder_digest:
        if settings.rule == REQUIRED and command.kind is not Kind.HEARTBEAT:
            return "nobody has control: take control first"
        return ""
    return "" if command.master_digest == memory.holder_digest else _held(settings, memory, command)


def _held(settings: AuthoritySettings, memory: AuthorityMemory, command: Command) -> str:
    """Who has control, and how one comes by it: short, because an answer has little room."""
    left_s = -(-_left_ms(settings, memory) // 1000)
    who = _text(memory)
    same = " (another client)" if who == command.master else ""
    if _may_take_over(memory, command):
        return f"{who}{same} has control; take control if it shall be yours"
    engineer = ", or an Engineer takes it" if memory.holder_role < Role.ENGINEER else ""
    return f"{who}{same} has control until it releases it, is silent for {left_s} s{engineer}"


def _may_take_over(memory: AuthorityMemory, command: Command) -> bool:
    """The same user from elsewhere, or a stronger role."""
    return command.user_digest == memory.holder_user or command.role > memory.holder_role


def _take(
    settings: AuthoritySettings, memory: AuthorityMemory, system: System, command: Command
) -> tuple[bool, str, AuthorityMemory]:
    missing = missing_role(command)
    if missing:
        return False, missing, memory
    if memory.holder_digest == command.master_digest:
        return True, "you have control already", memory
    if not memory.holder_digest:
        return True, "you have control", _given(memory, system, command)
    if not _may_take_over(memory, command):
        return False, _held(settings, memory, command), memory
    return True, f"you have control, taken over from {_text(memory)}", _given(memory, system, command)


def _release(
    settings: AuthoritySettings, memory: AuthorityMemory, system: System, command: Command
) -> tuple[bool, str, AuthorityMemory]:
    missing = missing_role(command)
    if missing:
        return False, missing, memory
    if not memory.holder_digest:
        return True, "nobody has control", memory
    mine = memory.holder_digest == command.master_digest
    if not mine and not _may_take_over(memory, command):
        return False, _held(settings, memory, command), memory
    whose = "" if mine else f", {_text(memory)} has lost it"
    return True, f"control is free{whose}", replace(memory, **NOBODY)
