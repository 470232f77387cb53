"""Racks that protection took out and that join again by themselves, where `connection.rejoin_after` says so.

Only what ends by itself is forgiven: a lost link, a missing value. A latched row, or a rack taken out of service, asks
for a person: after that only Connect brings the rack back. The rest is the ordinary policy: voltages, in-rush, turn.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from controller.core.effect import NO_CLOSING
from controller.core.image import Modes, RackMode, System, Trips
from controller.core.memory import SequencingMemory
from controller.core.settings import SequenceSettings
from controller.core.signal import Bools, Ints, among

FORGOTTEN_MS: Final = 3_600_000
"""A rack that has stayed connected for an hour may rejoin as often as before: its fault was no flapping one."""


class Rejoin(NamedTuple):
    """join: racks that shall join. left_ms: time until a rack joins by itself, -1 where it will not; the rest is
    memory."""

    join: Bools
    left_ms: Ints
    needs_person: Bools
    clear_ms: Ints
    rejoins: Ints


def rejoin(
    s: SequenceSettings, modes: Modes, memory: SequencingMemory, trips: Trips, system: System, site_wants: bool
) -> Rejoin:
    """Who joins by itself in this scan; nobody without `rejoin_after`. A cause that returns starts the wait anew."""
    person = memory.needs_person | ((trips.rack_effect_latched & NO_CLOSING) != 0) | memory.out_of_service
    settled = among(modes.rack_mode, RackMode.CLOSED) & (modes.rack_mode_ms >= FORGOTTEN_MS)
    rejoins = np.where(settled, 0, memory.rejoins)
    if s.rejoin_after_ms is None:
        never = np.full_like(rejoins, -1)
        return Rejoin(memory.join, never, person, np.zeros_like(rejoins), rejoins)
    waits = ~memory.join & ~person & (rejoins < s.most_rejoins) & site_wants
    blocked = (trips.rack_effect & NO_CLOSING) != 0
    clear_ms = np.where(waits & ~blocked, memory.rejoin_clear_ms + system.elapsed_ms, 0)
    now = waits & (clear_ms >= s.rejoin_after_ms)
    left_ms = np.where(waits & ~now, s.rejoin_after_ms - clear_ms, -1)
    return Rejoin(memory.join | now, left_ms, person, np.where(now, 0, clear_ms), rejoins + now)
