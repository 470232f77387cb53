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


def acting_alarms(program: Program, image: Any) -> list[ActiveAlarm]:
    """Every row that acts, also where its alarm is shelved, out of service or told with another one; worst first.

    With them every row that has opened something and is over, until somebody has acknowledged it: RETURNED.
    """
    t, alarms, slots = image.trips, image.alarms, program.matrix.slots
    over = ~t.slot_active & program.matrix.opening & (alarms.alarm_state == AlarmState.RETURNED)
    found = []
    for slot in sorted((t.slot_active | over).nonzero()[0].tolist(), key=lambda i: -int(program.matrix.priority[i])):
        row, root = slots[slot].row, int(alarms.alarm_root[slot])
        # Of what is over, the value and the cell that it was for: the worst now is another one.
        value = float((alarms.alarm_value if over[slot] else t.slot_value)[slot])
        element = int(alarms.alarm_element[slot]) - 1 if over[slot] else int(t.slot_element[slot])
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
