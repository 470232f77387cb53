"""Stage: alarm states per ISA-18.2 for every row and place, and what changed, for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from controller.core.command import Answer, Command, Kind, Role
from controller.core.event import Event, What
from controller.core.image import Alarms, AlarmState, System, Trips
from controller.core.memory import AnnunciationMemory
from controller.core.signal import Codes, Ints, among

UNACKED = tuple(int(s) for s in (AlarmState.UNACKNOWLEDGED, AlarmState.RETURNED, AlarmState.LATCHED_UNACKNOWLEDGED))
MAX_ALARM_EVENTS = 64
"""Most alarm transitions told in one scan; the rest are counted in one LOST event."""


@dataclasses.dataclass(frozen=True, slots=True)
class Annunciator:
    """What the annunciation is built from. `describe` words a slot's transition for people."""

    priority: Ints
    describe: Callable[[int, float, float, int, bool], tuple[str, str]]


def annunciate(
    plan: Annunciator, memory: AnnunciationMemory, trips: Trips, system: System, commands: Sequence[Command]
) -> tuple[Alarms, list[Answer], list[Event], AnnunciationMemory]:
    """The alarm states, the answers to acknowledgements, and one event per transition."""
    old = memory.state
    state = _next(old, trips)
    state, answers = _acknowledge(plan, state, commands)
    changed = np.flatnonzero(state != old)
    came = (state == AlarmState.UNACKNOWLEDGED) & (old != AlarmState.UNACKNOWLEDGED)
    occurrence = memory.occurrence + came
    utc = np.where(state != old, system.utc_ms, memory.utc_ms)
    events = [_event(plan, int(i), int(old[i]), int(state[i]), trips) for i in changed[:MAX_ALARM_EVENTS]]
    if len(changed) > MAX_ALARM_EVENTS:
        rest = len(changed) - MAX_ALARM_EVENTS
        events.append(Event(What.LOST, new=rest, text=f"{rest} more alarm transitions in this scan"))
    active = trips.slot_active
    alarms = Alarms(
        state,
        occurrence,
        utc,
        int(active.sum()),
        int(among(state, *UNACKED).sum()),
        int(np.where(active, plan.priority, 0).max(initial=0)),
    )
    return alarms, answers, events, AnnunciationMemory(state, occurrence, utc)


def _next(old: Codes, trips: Trips) -> Codes:
    """The state machine of ISA-18.2 over all slots at once."""
    held = trips.slot_active & trips.slot_latched & ~trips.slot_cause
    present = trips.slot_active & ~held
    known = among(old, AlarmState.ACKNOWLEDGED, AlarmState.LATCHED)
    unacked = among(old, *UNACKED)
    state = np.select(
        [present & known, present, held & known, held, unacked],
        [
            AlarmState.ACKNOWLEDGED,
            AlarmState.UNACKNOWLEDGED,
            AlarmState.LATCHED,
            AlarmState.LATCHED_UNACKNOWLEDGED,
            AlarmState.RETURNED,
        ],
        AlarmState.NORMAL,
    )
    return np.asarray(state, np.uint8)


ACKNOWLEDGED = {
    AlarmState.UNACKNOWLEDGED: AlarmState.ACKNOWLEDGED,
    AlarmState.RETURNED: AlarmState.NORMAL,
    AlarmState.LATCHED_UNACKNOWLEDGED: AlarmState.LATCHED,
}


def _acknowledge(plan: Annunciator, state: Codes, commands: Sequence[Command]) -> tuple[Codes, list[Answer]]:
    answers: list[Answer] = []
    for command in commands:
        if command.kind is not Kind.ACKNOWLEDGE:
            continue
        if command.role < Role.OPERATOR:
            answers.append(Answer(command, False, "needs the Operator role"))
            continue
        if command.target >= len(state):
            answers.append(Answer(command, False, f"no alarm {command.target}"))
            continue
        chosen = among(state, *UNACKED)
        if command.target >= 0:
            chosen &= np.arange(len(state)) == command.target
        count = int(chosen.sum())
        for before, after in ACKNOWLEDGED.items():
            state = np.where(chosen & (state == before), np.uint8(after), state)
        answers.append(Answer(command, True, f"{count} acknowledged" if count else "nothing to acknowledge"))
    return state, answers


def _event(plan: Annunciator, slot: int, old: int, new: int, trips: Trips) -> Event:
    value, limit = float(trips.slot_value[slot]), float(trips.slot_limit[slot])
    place, text = plan.describe(slot, value, limit, int(trips.slot_element[slot]), bool(trips.slot_active[slot]))
    return Event(What.ALARM, old, new, limit, value, slot, place=place, text=text)
