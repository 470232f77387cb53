"""Alarms as plain variables, for clients without Alarms & Conditions. All state is in the image, none here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from controller.core.event import text_of
from controller.core.image import AlarmState
from controller.core.protect.row import Priority
from controller.core.signal import amount
from opcua_model.acting import told_for
from opcua_model.catalog import Catalog, SlotInfo
from opcua_model.points import Index, Point, Reading, Spec, image_time
from opcua_model.view import Look

LIST_LINES: Final = 100

SEVERITY: Final = {Priority.HIGH: 900, Priority.MEDIUM: 600, Priority.LOW: 300}
"""OPC UA severity, 1..1000, of a priority."""

ACTIVE: Final = np.array(
    [
        s in (AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED, AlarmState.LATCHED_UNACKNOWLEDGED, AlarmState.LATCHED)
        for s in AlarmState
    ]
)
UNACKED: Final = np.array(
    [s in (AlarmState.UNACKNOWLEDGED, AlarmState.RETURNED, AlarmState.LATCHED_UNACKNOWLEDGED) for s in AlarmState]
)


class AlarmPoints:
    """The list, the counts per priority, and one folder of latched flags per matrix row."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.priority = np.array([s.priority for s in catalog.slots], np.int64)

    def points(self) -> Iterator[Point]:
        """Everything under Alarms that the tags do not give."""
        doc = "Active or unacknowledged alarms, worst first: priority|state|row|place|value|limit|text"
        yield Point("Alarms/List", Spec("List", "String", doc, self._list, array=True))
        doc = "Alarms off the list by a person: state|row|place|seconds left|user|reason; empty time until ended"
        yield Point("Alarms/Shelf", Spec("Shelf", "String", doc, self._shelf, array=True))
        doc = "Alarms told as consequences: row|place|row and place of the alarm that explains it"
        yield Point("Alarms/Consequences", Spec("Consequences", "String", doc, self._suppressed, array=True))
        for priority in Priority:
            name = f"Active{priority.name.capitalize()}"
            doc = f"Active alarms of {priority.name.lower()} priority"
            yield Point(f"Alarms/{name}", Spec(name, "Int64", doc, self._count_of(priority)))
        flags = (
            Spec("Active", "Boolean", "The cause is present or latched", self._any(ACTIVE)),
            Spec("Unacked", "Boolean", "Nobody has acknowledged it", self._any(UNACKED)),
            Spec("Count", "Int64", "Places where it is active", self._count),
            Spec("Severity", "Int64", "OPC UA severity of the row", self._severity),
        )
        for row, slots in self._rows().items():
            for spec in flags:
                yield Point(f"Alarms/Rows/{row}/{spec.name}", spec, tuple(slots))

    def _rows(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for i, slot in enumerate(self.catalog.slots):
            rows.setdefault(slot.row, []).append(i)
        return rows

    def _states(self, look: Look) -> Any:
        return np.minimum(
            np.asarray(look.image.alarms.alarm_state, np.intp)[: len(self.catalog.slots)], len(ACTIVE) - 1
        )

    def _any(self, table: Any) -> Callable[[Look, Index], Reading]:
        def read(look: Look, index: Index) -> Reading:
            return Reading(bool(table[self._states(look)[list(index)]].any()), utc_ms=image_time(look))

        return read

    def _count(self, look: Look, index: Index) -> Reading:
        return Reading(int(ACTIVE[self._states(look)[list(index)]].sum()), utc_ms=image_time(look))

    def _count_of(self, priority: int) -> Callable[[Look, Index], Reading]:
        def read(look: Look, _index: Index) -> Reading:
            states = self._states(look)
            return Reading(
                int((ACTIVE[states] & (self.priority[: len(states)] == priority)).sum()), utc_ms=image_time(look)
            )

        return read

    def _severity(self, look: Look, index: Index) -> Reading:
        worst = Priority(max(self.catalog.slots[i].priority for i in index))
        return Reading(SEVERITY[worst], utc_ms=image_time(look))

    def _list(self, look: Look, _index: Index) -> Reading:
        states = self._states(look)
        shown = np.flatnonzero(ACTIVE[states] | UNACKED[states])
        # What still acts or is held comes before what is over: only the first lines are seen on a small screen.
        over = states == AlarmState.RETURNED
        order = sorted(shown.tolist(), key=lambda i: (over[i], -self.priority[i], not UNACKED[states[i]], i))
        alarms, trips = look.image.alarms, look.image.trips
        lines = []
        for i in order[:LIST_LINES]:
            slot = self.catalog.slots[i]
            value, element = told_for(look.image, i, bool(over[i]))
            place = self.catalog.place_of(slot.slot, element) if self.catalog.place_of else slot.place
            limit, more = float(trips.slot_limit[i]), int(alarms.alarm_consequences[i])
            lines.append(line(slot, place, int(states[i]), value, limit, more))
        return Reading(lines, utc_ms=image_time(look))

    def _shelf(self, look: Look, _index: Index) -> Reading:
        lines = []
        for place in look.image.alarms.shelf:
            slot = self.catalog.slot(int(place["slot"]))
            if not place["kind"] or slot is None:
                continue
            left = f"{int(place['left_ms']) / 1000:.0f}" if place["left_ms"] >= 0 else ""
            state = AlarmState(int(place["kind"])).name
            user, why = text_of(place, "user"), text_of(place, "text")
            lines.append(f"{state}|{slot.row}|{slot.place}|{left}|{user}|{why}")
        return Reading(lines, utc_ms=image_time(look))

    def _suppressed(self, look: Look, _index: Index) -> Reading:
        roots, slots = look.image.alarms.alarm_root[: len(self.catalog.slots)], self.catalog.slots
        shown = np.flatnonzero(self._states(look) == AlarmState.SUPPRESSED)[:LIST_LINES]
        lines = [
            f"{slots[i].row}|{slots[i].place}|{slots[roots[i]].row} {slots[roots[i]].place}"
            for i in shown
            if 0 <= roots[i] < len(slots)
        ]
        return Reading(lines, utc_ms=image_time(look))


def line(slot: SlotInfo, place: str, state: int, value: float, limit: float, consequences: int = 0) -> str:
    """One alarm as one line of fields that a client can split; a cause that is no quantity has no value and limit.

    `place` and `value` of an alarm that has returned are those it was for, not what is the worst now.
    """
    measured = slot.unit not in ("", "1")
    compared = f"{amount(value, slot.unit)}|{amount(limit, slot.unit)}" if measured else "|"
    text = f"({consequences} consequences) {slot.text}" if consequences else slot.text
    return f"{slot.priority}|{AlarmState(state).name}|{slot.row}|{place}|{compared}|{text}"
