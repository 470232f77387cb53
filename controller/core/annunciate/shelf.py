"""The shelf: alarms that a person took from the list for a time, or that an engineer took out of service."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.annunciate.plan import Annunciator
from controller.core.command import TEXT_BYTES, USER_BYTES, Answer, Command, Kind, cut, missing_role
from controller.core.event import text_of
from controller.core.image import AlarmState
from controller.core.signal import Codes

SHELVED: Final = int(AlarmState.SHELVED)
OUT_OF_SERVICE: Final = int(AlarmState.OUT_OF_SERVICE)
KINDS: Final = (Kind.SHELVE, Kind.UNSHELVE, Kind.ALARM_OUT_OF_SERVICE, Kind.ALARM_IN_SERVICE)
UNTIL_ENDED: Final = -1
MS_PER_S: Final = 1000
LEAST_SHELF_S: Final = 1.0


@dataclasses.dataclass(slots=True)
class Shelf:
    """The places of the shelf in one scan; `who` are the slots that changed by a command, and by whom and why."""

    places: NDArray[Any]
    changes: int
    who: dict[int, tuple[str, str]]

    def taken(self, size: int) -> Codes:
        """Per slot SHELVED, OUT_OF_SERVICE or 0."""
        taken = np.zeros(size, np.uint8)
        for place in self.places[self.places["kind"] > 0]:
            taken[place["slot"]] = place["kind"]
        return taken

    def find(self, slot: int) -> int:
        """The place of a slot, -1 when it is not on the shelf."""
        found = np.flatnonzero((self.places["kind"] > 0) & (self.places["slot"] == slot))
        return int(found[0]) if found.size else -1


def pass_time(old: NDArray[Any], changes: int, elapsed_ms: int) -> Shelf:
    """The shelf one scan later: what has lain its time comes back by itself."""
    if not old["kind"].any():
        return Shelf(old, changes, {})
    places = old.copy()
    timed = (places["kind"] > 0) & (places["left_ms"] >= 0)
    places["left_ms"] = np.where(timed, np.maximum(places["left_ms"] - elapsed_ms, 0), places["left_ms"])
    shelf = Shelf(places, changes, {})
    for i in np.flatnonzero(timed & (places["left_ms"] == 0)):
        shelf.who[int(places[i]["slot"])] = ("", "its shelf time is over")
        places[i] = 0
        shelf.changes += 1
    return shelf


def judge(plan: Annunciator, shelf: Shelf, command: Command, utc_ms: int) -> Answer:
    """Does what a command asks of the shelf, or says why not."""
    refused = _refusal(plan, shelf, command)
    if refused:
        return Answer(command, False, refused)
    slot, place = command.target, shelf.find(command.target)
    shelf.places = shelf.places.copy()
    shelf.who[slot] = (command.user, command.text)
    shelf.changes += 1
    if command.kind in (Kind.UNSHELVE, Kind.ALARM_IN_SERVICE):
        shelf.places[place] = 0
        return Answer(command, True, f"{plan.name(slot)} is back on the list")
    place = place if place >= 0 else int(np.flatnonzero(shelf.places["kind"] == 0)[0])
    shelve = command.kind is Kind.SHELVE
    left_ms = round(command.value * MS_PER_S) if shelve else UNTIL_ENDED
    user, text = cut(command.user, USER_BYTES), cut(command.text, TEXT_BYTES)
    shelf.places[place] = (slot, SHELVED if shelve else OUT_OF_SERVICE, left_ms, utc_ms, user, text)
    how = f"shelved for {duration(left_ms)}" if shelve else "out of service until an engineer returns it"
    return Answer(command, True, f"{plan.name(slot)} {how}; its protection acts as before", command.value)


def _refusal(plan: Annunciator, shelf: Shelf, command: Command) -> str:
    """Why a command is refused; empty when it is not."""
    slot, shelve = command.target, command.kind is Kind.SHELVE
    missing = missing_role(command)
    if missing:
        return missing
    if not 0 <= slot < plan.priority.size:
        return f"no alarm {slot}"
    place = shelf.find(slot)
    kind = int(shelf.places[place]["kind"]) if place >= 0 else 0
    if command.kind is Kind.UNSHELVE:
        return "" if kind == SHELVED else f"{plan.name(slot)} is not shelved"
    if command.kind is Kind.ALARM_IN_SERVICE:
        return "" if kind == OUT_OF_SERVICE else f"{plan.name(slot)} is not out of service"
    if not command.text.strip():
        return "needs a reason"
    if shelve and plan.opens[slot]:
        return f"{plan.name(slot)} opens contactors: trips are not shelved"
    if shelve and plan.stands[slot]:
        return f"{plan.name(slot)} stands for other alarms: it is not shelved"
    if shelve and kind == OUT_OF_SERVICE:
        return f"{plan.name(slot)} is out of service"
    if shelve and not (math.isfinite(command.value) and command.value >= LEAST_SHELF_S):
        return "needs a time of at least 1 s"
    if shelve and command.value * MS_PER_S > plan.longest_shelf_ms:
        return f"longest shelf time here is {duration(plan.longest_shelf_ms)}"
    if place < 0 and shelf.places["kind"].all():
        return f"{len(shelf.places)} alarms are on the shelf: no more is allowed"
    return ""


def duration(ms: int) -> str:
    """A time for people: 90 s, 15 min, 2 h 30 min."""
    seconds = -(-ms // MS_PER_S)
    minutes = seconds // 60
    if seconds % 60 or minutes < 1:
        return f"{seconds} s" if seconds < 600 else f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if not hours else f"{hours} h" + (f" {rest} min" if rest else "")


def reason_of(places: NDArray[Any], slot: int) -> tuple[str, str]:
    """Who took a slot from the list, and why."""
    for place in places[places["kind"] > 0]:
        if int(place["slot"]) == slot:
            return text_of(place, "user"), text_of(place, "text")
    return "", ""
