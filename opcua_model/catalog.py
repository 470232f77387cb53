"""Names of what images know by number: alarm slots, reasons, limits. Filled by whoever starts the server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class SlotInfo:
    """One alarm slot: a row of the protection matrix at one place."""

    slot: int
    row: str
    place: str
    priority: int
    text: str
    advice: str
    unit: str


@dataclasses.dataclass(frozen=True)
class Catalog:
    """Everything named by an index in the process image."""

    slots: Sequence[SlotInfo] = ()
    reasons: Sequence[str] = ()
    limit_names: Sequence[str] = ()
    place_of: Callable[[int, int], str] | None = None
    """The place of a slot and its cell or sensor (from 0; -1 none); None: the slot's place alone."""

    def reason(self, index: int) -> str:
        """The text of a reason; its number where the catalog has none."""
        return self.reasons[index] if 0 <= index < len(self.reasons) else f"reason {index}"

    def limit(self, index: int) -> str:
        """The name of a limit; its number where the catalog has none, empty for none."""
        if index < 0:
            return ""
        return self.limit_names[index] if index < len(self.limit_names) else f"limit {index}"

    def slot(self, index: int) -> SlotInfo | None:
        """The slot of an index, None for none."""
        return self.slots[index] if 0 <= index < len(self.slots) else None


class AlarmNames:
    """Finds an alarm by what people call it."""

    def __init__(self, catalog: Catalog) -> None:
        self._slots = {f"{s.row} {s.place}": s.slot for s in catalog.slots}
        self._rows: dict[str, list[SlotInfo]] = {}
        for slot in catalog.slots:
            self._rows.setdefault(slot.row, []).append(slot)

    def find(self, text: str) -> int | str:
        """The slot of `row place`, of a row that has one place only, or of a slot's number; else what is wrong."""
        name = " ".join(text.replace("@", " ").split())
        # The list names the cell, the alarm is its module's or its rack's.
        known = name
        while known:
            if known in self._slots:
                return self._slots[known]
            known = known.rpartition("/")[0]
        if name.isascii() and name.isdigit() and int(name) < len(self._slots):
            return int(name)
        places = self._rows.get(name.partition(" ")[0])
        if places is None:
            return f"no alarm of the name {text!r}"
        if len(places) == 1 and name == places[0].row:
            return places[0].slot
        return f"{places[0].row} has {len(places)} places: name one, like '{places[0].row} {places[0].place}'"
