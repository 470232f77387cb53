"""What is told of changed alarms: a bounded number per scan, trips first, the rest in the scans after."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.annunciate.plan import Annunciator
from controller.core.annunciate.shelf import OUT_OF_SERVICE, SHELVED, Shelf, reason_of
from controller.core.annunciate.states import ACKNOWLEDGED, LATCHED, UNACKED
from controller.core.event import Event, What
from controller.core.image import AlarmState, Trips
from controller.core.memory import AnnunciationMemory
from controller.core.signal import Bools, Codes, Ints

MAX_ALARM_EVENTS: Final = 64
"""Most alarm transitions told in one scan; the others wait, trips never behind warnings."""
TRUE_STATE: Final = 16
"""The code of what was told: the shown state, and the true state times this."""


def code(shown: Codes, state: Codes) -> Codes:
    """What there is to tell of every slot."""
    return np.asarray(shown + TRUE_STATE * state, np.uint8)


@dataclasses.dataclass(frozen=True, slots=True)
class Teller:
    """Tells the transitions of one scan: place, value, limit, who did it and why."""

    plan: Annunciator
    trips: Trips
    shelf: Shelf
    root_of: Ints
    acknowledger: bytes

    def tell(
        self, memory: AnnunciationMemory, now: Codes, noted: Bools, since: Ints
    ) -> tuple[list[Event], Codes, Bools, int]:
        """(events, what is told with them, slots of which it is told that they came, how many transitions wait)."""
        waiting = np.flatnonzero(memory.told != now)
        if not waiting.size:
            return [], memory.told, memory.heard, 0
        slots = self._first(waiting)
        told, heard = memory.told.copy(), memory.heard.copy()
        events = []
        for slot in slots.tolist():
            came = bool(noted[slot]) and not heard[slot]
            events.append(self._words(slot, int(told[slot]), int(now[slot]), came, int(since[slot])))
        told[slots] = now[slots]
        heard[slots] |= noted[slots]
        return events, told, heard, int(waiting.size - slots.size)

    def _first(self, waiting: Any) -> Any:
        """What a person did is told first, then trips, then by priority."""
        rank = self.plan.rank[waiting]
        if self.shelf.who:
            rank = np.where(np.isin(waiting, list(self.shelf.who)), rank.min() - 1, rank)
        return waiting[np.argsort(rank, kind="stable")][:MAX_ALARM_EVENTS]

    def _words(self, slot: int, before: int, now: int, came: bool, ago_ms: int) -> Event:
        t = self.trips
        value, limit, active = float(t.slot_value[slot]), float(t.slot_limit[slot]), bool(t.slot_active[slot])
        # Of what is over no cell is named: the worst one by now is another than the alarm was for.
        place, text = self.plan.describe(slot, value, limit, int(t.slot_element[slot]) if active else -1, active)
        old, new = before % TRUE_STATE, now % TRUE_STATE
        user, why = self._who(slot, before, now)
        if new != old:
            text = f"{text}; {AlarmState(new).name.lower().replace('_', ' ')}"
        if why:
            text = f"{text}: {why}"
        return Event(
            What.ALARM, old, new, limit, value, slot, user=user, place=place, text=text, came=came, ago_ms=ago_ms
        )

    def _who(self, slot: int, before: int, now: int) -> tuple[str, str]:
        """Who caused a transition, and why; empty where the plant did."""
        if slot in self.shelf.who:
            return self.shelf.who[slot]
        old, new = before % TRUE_STATE, now % TRUE_STATE
        if new != old and new in (SHELVED, OUT_OF_SERVICE):
            return reason_of(self.shelf.places, slot)
        if new != old and new == AlarmState.SUPPRESSED and self.root_of[slot] >= 0:
            return "", f"told with {self.plan.name(int(self.root_of[slot]))}"
        was, becomes = before // TRUE_STATE, now // TRUE_STATE
        if old == was and was in UNACKED and becomes in (ACKNOWLEDGED, LATCHED, AlarmState.NORMAL):
            return self.acknowledger.decode("utf-8", "replace"), ""
        return "", ""


def overtaken(told: NDArray[Any], before: NDArray[Any], now: NDArray[Any]) -> int:
    """Transitions that were waiting and are now overtaken by another one, so that nobody will hear of them."""
    return int(np.count_nonzero((told != before) & (before != now)))


def since(acting_ms: Ints, came: NDArray[Any], elapsed_ms: int) -> Ints:
    """How long ago an alarm that is told now began to act."""
    return np.asarray(np.where(came, np.maximum(acting_ms - elapsed_ms, 0), 0))
