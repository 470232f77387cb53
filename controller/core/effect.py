"""What a protection row does, as flags that every stage reads and none can subtract."""

from __future__ import annotations

from enum import IntFlag
from typing import Final


class Effect(IntFlag):
    """What a row does; effects of all rows combine by OR and nothing can subtract one."""

    NONE = 0
    ALARM = 1
    DERATE = 2
    BLOCK_CHARGE = 4
    BLOCK_DISCHARGE = 8
    BLOCK_CLOSE = 16
    STOP = 32
    """Current to zero, then open."""
    TRIP = 64
    """Open now."""
    LOCKOUT = 128
    """Maintenance only."""


# As plain numbers, for the scan: looking a member up in an Enum costs as much as a small array operation.
STOP: Final = int(Effect.STOP)
TRIP: Final = int(Effect.TRIP)
LOCKOUT: Final = int(Effect.LOCKOUT)
OPEN_NOW: Final = TRIP | LOCKOUT
OPENING: Final = STOP | TRIP | LOCKOUT
NO_CLOSING: Final = int(Effect.BLOCK_CLOSE) | OPENING
