"""One scan of the annunciation: states, shelf, figures, and what is told of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controller.core.annunciate import figures, shelf, states, telling
from controller.core.annunciate.plan import Annunciator
from controller.core.command import USER_BYTES, Answer, Command, Kind, cut, missing_role
from controller.core.event import Event
from controller.core.frozen import replace
from controller.core.image import Alarms, System, Trips
from controller.core.memory import AnnunciationMemory
from controller.core.signal import Codes, Ints, among, some

MINE = frozenset({Kind.ACKNOWLEDGE, *shelf.KINDS})
Result = tuple[Alarms, list[Answer], list[Event], AnnunciationMemory]


def annunciate(
    plan: Annunciator, memory: AnnunciationMemory, trips: Trips, system: System, commands: Sequence[Command]
) -> Result:
    """The alarm states, the answers to what was asked of them, and the events that this scan may tell."""
    mine = [c for c in commands if c.kind in MINE]
    if not (mine or memory.busy or some(trips.slot_active)):
        return _at_rest(memory, system)
    elapsed, active = system.elapsed_ms, trips.slot_active
    lying = shelf.pass_time(memory.shelf, memory.shelf_changes, elapsed)
    answers = [shelf.judge(plan, lying, c, system.utc_ms) for c in mine if c.kind is not Kind.ACKNOWLEDGE]
    taken = lying.taken(active.size)
    acting = active | among(memory.state, *states.ACTIVE)
    root_of = states.explained(plan, acting, taken)
    time = states.timers(memory, active, root_of >= 0, elapsed)
    state = states.true_states(plan, memory, trips, time, (taken > 0) | (root_of >= 0))
    shown = states.shown_states(plan, memory, state, time, root_of, taken)
    sounded = among(shown, *states.SOUNDING) & ~among(memory.shown, *states.SOUNDING)
    state, acknowledger, told_back = _acknowledge(memory, state, shown, [c for c in mine if c.kind is Kind.ACKNOWLEDGE])
    if told_back:
        answers += told_back
        shown = states.shown_states(plan, memory, state, time, root_of, taken)

    visible = (shown != states.NORMAL) & (active | among(state, *states.UNACKED))
    came = visible & ~memory.noted
    moved = (shown != memory.shown) | (state != memory.state)
    since = telling.since(time.acting, came, elapsed)
    now = telling.code(shown, state)
    noted = memory.noted | came
    tell = telling.Teller(plan, trips, lying, root_of, acknowledger).tell
    events, told, heard, waiting = tell(memory, now, noted, since)
    count = figures.count(memory, int(np.count_nonzero(sounded)), elapsed)
    chatter_ms, sounded_ms = figures.chatter(memory, sounded, count.clock_ms, elapsed)
    lasts = active | (state != states.NORMAL) | (shown == states.SUPPRESSED)
    after = AnnunciationMemory(
        state=state,
        shown=shown,
        told=told,
        noted=noted & lasts,
        heard=heard & lasts,
        occurrence=memory.occurrence + came,
        utc_ms=np.where(moved, system.utc_ms - since, memory.utc_ms),
        value=np.where(active, trips.slot_value, memory.value),
        element=np.where(active, trips.slot_element + 1, memory.element),
        acting_ms=time.acting,
        due_ms=time.due,
        over_ms=time.over,
        age_ms=np.where(among(shown, *states.ACTIVE), memory.age_ms + elapsed, 0),
        chatter_ms=chatter_ms,
        sounded_ms=sounded_ms,
        shelf=lying.places,
        shelf_changes=lying.changes,
        busy=int(bool(waiting or some(active) or some(shown) or some(state) or some(chatter_ms))),
        clock_ms=count.clock_ms,
        flood_count=count.flood_count,
        hour_count=count.hour_count,
        flood=count.flood,
        dropped=memory.dropped + telling.overtaken(memory.told, telling.code(memory.shown, memory.state), now),
        acknowledger=acknowledger,
    )
    return _image(plan, after, root_of, waiting, count), answers, events, after


def _at_rest(memory: AnnunciationMemory, system: System) -> Result:
    """Nothing acts and nobody asks: only time passes."""
    count = figures.count(memory, 0, system.elapsed_ms)
    memory = replace(
        memory, clock_ms=count.clock_ms, flood_count=count.flood_count, hour_count=count.hour_count, flood=count.flood
    )
    nothing = np.zeros_like(memory.occurrence)
    alarms = Alarms(
        memory.shown, memory.state, memory.occurrence, memory.utc_ms, memory.value, memory.element, nothing - 1,
        nothing, memory.shelf, 0, 0, 0, 0, 0, 0, count.in_ten_minutes, count.per_hour, count.flood, 0, 0, 0,
        memory.dropped,
    )  # fmt: skip
    return alarms, [], [], memory


def _acknowledge(
    memory: AnnunciationMemory, state: Codes, shown: Codes, commands: Sequence[Command]
) -> tuple[Codes, bytes, list[Answer]]:
    """Acknowledges what people could see: not what is shelved or told with its root, nor what came in this scan."""
    answers: list[Answer] = []
    who: bytes = memory.acknowledger
    for command in commands:
        missing = missing_role(command)
        if missing:
            answers.append(Answer(command, False, missing))
            continue
        if command.target >= len(state):
            answers.append(Answer(command, False, f"no alarm {command.target}"))
            continue
        chosen = among(shown, *states.UNACKED) & among(memory.shown, *states.UNACKED)
        if command.target >= 0:
            chosen &= np.arange(len(state)) == command.target
        count = int(chosen.sum())
        if count:
            state, who = states.acknowledge(state, chosen), cut(command.user, USER_BYTES)
        answers.append(Answer(command, True, f"{count} acknowledged" if count else "nothing to acknowledge"))
    return state, who, answers


def _image(plan: Annunciator, m: AnnunciationMemory, root_of: Ints, waiting: int, count: figures.Figures) -> Alarms:
    on_list = among(m.shown, *states.ACTIVE)
    return Alarms(
        alarm_state=m.shown,
        alarm_true_state=m.state,
        alarm_occurrence=m.occurrence,
        alarm_utc_ms=m.utc_ms,
        alarm_value=m.value,
        alarm_element=m.element,
        alarm_root=np.where(m.shown == states.SUPPRESSED, root_of, -1),
        alarm_consequences=states.consequences(m.shown, root_of),
        shelf=m.shelf,
        active_alarms=int(np.count_nonzero(on_list)),
        unacknowledged_alarms=int(np.count_nonzero(among(m.shown, *states.UNACKED))),
        highest_priority=int(np.where(on_list, plan.priority, 0).max(initial=0)),
        shelved_alarms=int(np.count_nonzero(m.shown == shelf.SHELVED)),
        suppressed_alarms=int(np.count_nonzero(m.shown == states.SUPPRESSED)),
        out_of_service_alarms=int(np.count_nonzero(m.shown == shelf.OUT_OF_SERVICE)),
        alarms_in_ten_minutes=count.in_ten_minutes,
        alarms_per_hour=count.per_hour,
        alarm_flood=count.flood,
        chattering_alarms=int(np.count_nonzero(m.chatter_ms > 0)),
        stale_alarms=int(np.count_nonzero(m.age_ms > figures.STALE_MS)),
        untold_alarms=waiting,
        dropped_transitions=m.dropped,
    )
