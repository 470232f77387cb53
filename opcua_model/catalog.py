"""Names of what images know by number: alarm slots, reasons, limits. Filled by whoever starts the server."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


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
