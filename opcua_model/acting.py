"""The alarms that an answer to "why" may rest on: every row that acts, whatever people see of it."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from controller.core.image import AlarmState
from controller.core.program import Program
from controller.core.signal import amount

NOT_ACTING: Final = ("NORMAL", "RETURNED")


@dataclasses.dataclass(frozen=True, slots=True)
class ActiveAlarm:
    """A row that acts: how its alarm is shown, where, the value compared, and the alarm that explains it."""

    state: str
    row: str
    place: str
    value: str = ""
    limit: str = ""
    root: str = ""


def told_for(image: Any, slot: int, over: bool) -> tuple[float, int]:
    """Value and element (-1 none) that an alarm is shown with: of what is over those that it was for, for the worst now
    is another one."""
    alarms, trips = image.alarms, image.trips
    if over:
        return float(alarms.alarm_value[slot]), int(alarms.alarm_element[slot]) - 1
    return float(trips.slot_value[slot]), int(trips.slot_element[slot])


def acting_alarms(program: Program, image: Any) -> list[ActiveAlarm]:
    """Every row that acts, also where its alarm is shelved, out of service or told with another one; worst first.

    With them every row that has opened something and is over, until somebody has acknowledged it: RETURNED.
    """
    t, alarms, slots = image.trips, image.alarms, program.matrix.slots
    over = ~t.slot_active & program.matrix.opening & (alarms.alarm_state == AlarmState.RETURNED)
    found = []
    for slot in sorted((t.slot_active | over).nonzero()[0].tolist(), key=lambda i: -int(program.matrix.priority[i])):
        row, root = slots[slot].row, int(alarms.alarm_root[slot])
        value, element = told_for(image, slot, bool(over[slot]))
        limit = float(t.slot_limit[slot])
        held = bool(t.slot_latched[slot] and not t.slot_cause[slot])
        place, _ = program.describe(slot, value, limit, element, True)
        found.append(
            ActiveAlarm(
                AlarmState.RETURNED.name if over[slot] else _state(int(alarms.alarm_state[slot]), held),
                row.id,
                place,
                amount(value, row.unit) if row.unit else "",
                amount(limit, row.unit) if row.unit else "",
                f"{slots[root].row.id} {slots[root].place}" if root >= 0 else "",
            )
        )
    return found


def _state(shown: int, held: bool) -> str:
    """The state as people see it; a row that acts before it is told counts as acting."""
    name = AlarmState(shown).name
    if name in NOT_ACTING:
        return "LATCHED" if held else "UNACKNOWLEDGED"
    return name
