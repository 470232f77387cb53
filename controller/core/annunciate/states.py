"""The states of ISA-18.2 over all slots at once: the true state, and what is shown of it."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from controller.core.annunciate.plan import Annunciator
from controller.core.image import AlarmState, Trips
from controller.core.memory import AnnunciationMemory
from controller.core.signal import Bools, Codes, Ints, among

NORMAL: Final = int(AlarmState.NORMAL)
UNACKNOWLEDGED: Final = int(AlarmState.UNACKNOWLEDGED)
ACKNOWLEDGED: Final = int(AlarmState.ACKNOWLEDGED)
RETURNED: Final = int(AlarmState.RETURNED)
LATCHED_UNACKNOWLEDGED: Final = int(AlarmState.LATCHED_UNACKNOWLEDGED)
LATCHED: Final = int(AlarmState.LATCHED)
SUPPRESSED: Final = int(AlarmState.SUPPRESSED)
UNACKED: Final = (UNACKNOWLEDGED, RETURNED, LATCHED_UNACKNOWLEDGED)
SOUNDING: Final = (UNACKNOWLEDGED, LATCHED_UNACKNOWLEDGED)
ACTIVE: Final = (UNACKNOWLEDGED, ACKNOWLEDGED, LATCHED_UNACKNOWLEDGED, LATCHED)


@dataclasses.dataclass(frozen=True, slots=True)
class Timers:
    """How long each row acts, acts unexplained, and is over; in ms, 0 while it does not."""

    acting: Ints
    due: Ints
    over: Ints


def explained(plan: Annunciator, acting: Bools, taken: Codes) -> Ints:
    """The outermost root of every consequence, -1 for none. What a person took off the list explains nothing."""
    root_of = np.full(acting.size, -1, np.int64)
    if not plan.root.size:
        return root_of
    hot = (acting & plan.stands & (taken == 0))[plan.root]
    # Of several roots the last one stays, which is the outermost (see `Annunciator`).
    root_of[plan.consequence[hot]] = plan.root[hot]
    return root_of


def timers(memory: AnnunciationMemory, active: Bools, explained_: Bools, elapsed_ms: int) -> Timers:
    """The timers of this scan."""
    return Timers(
        np.where(active, memory.acting_ms + elapsed_ms, 0),
        np.where(active & ~explained_, memory.due_ms + elapsed_ms, 0),
        np.where(active, 0, memory.over_ms + elapsed_ms),
    )


def true_states(plan: Annunciator, memory: AnnunciationMemory, trips: Trips, time: Timers, hidden: Bools) -> Codes:
    """The true state of every slot.

    hidden: shelved, suppressed or out of service; what came and went there leaves nothing to acknowledge. A row that
    opens contactors and was over before it was told is told nevertheless, as returned.
    """
    old, active = memory.state, trips.slot_active
    held = active & trips.slot_latched & ~trips.slot_cause
    was_active = among(old, *ACTIVE)
    lasting = ~active & among(old, UNACKNOWLEDGED, ACKNOWLEDGED) & (time.over <= plan.until_ms)
    present = (active & ~held & (was_active | (time.due > plan.after_ms))) | lasting
    known = among(old, ACKNOWLEDGED, LATCHED)
    missed = ~active & (memory.acting_ms > 0) & plan.opens & ~memory.noted
    gone = np.where(~hidden & (among(old, *UNACKED) | missed), RETURNED, NORMAL)
    latched = np.where(held, np.where(known, LATCHED, LATCHED_UNACKNOWLEDGED), gone)
    state = np.where(present, np.where(known, ACKNOWLEDGED, UNACKNOWLEDGED), latched)
    return np.asarray(state, np.uint8)


def shown_states(
    plan: Annunciator, memory: AnnunciationMemory, state: Codes, time: Timers, root_of: Ints, taken: Codes
) -> Codes:
    """What people see: taken off the list by a person, else told with its root, else the true state."""
    lasting = (memory.shown == SUPPRESSED) & (time.over <= plan.until_ms)
    consequence = (root_of >= 0) & ((time.acting > 0) | (state != NORMAL) | lasting)
    return np.asarray(np.where(taken > 0, taken, np.where(consequence, SUPPRESSED, state)), np.uint8)


def consequences(shown: Codes, root_of: Ints) -> Ints:
    """How many alarms each root stands for."""
    roots = root_of[(shown == SUPPRESSED) & (root_of >= 0)]
    return np.asarray(np.bincount(roots, minlength=shown.size), np.int64)


def acknowledge(state: Codes, chosen: Bools) -> Codes:
    """The true states after `chosen` were acknowledged."""
    new: Any = state
    for before, after in (
        (UNACKNOWLEDGED, ACKNOWLEDGED),
        (RETURNED, NORMAL),
        (LATCHED_UNACKNOWLEDGED, LATCHED),
    ):
        new = np.where(chosen & (state == before), np.uint8(after), new)
    return np.asarray(new, np.uint8)
