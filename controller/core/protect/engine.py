"""Evaluates any table of rows: delays, latches, resets and the sum of effects, vectorised over all places.

A delay is used up at the speed of time while the cause is present and given back at a quarter of it, so chatter
still trips and one spike does not. One scan never counts for more than two cycles.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from controller.core.command import Answer, Command, Kind, Role, missing_role
from controller.core.effect import STOP
from controller.core.frozen import replace
from controller.core.image import SiteMode, Trips
from controller.core.memory import ProtectionMemory
from controller.core.protect.facts import suspected
from controller.core.protect.look import Facts, Quantity
from controller.core.protect.row import Evaluation, Reset, Row, Threshold, Warned, When
from controller.core.protect.trend import follow
from controller.core.protect.witness import standing
from controller.core.settings import LimitSettings
from controller.core.signal import Bools, Ints, some
from controller.core.topology import Topology, place_name

GIVE_BACK: Final = 4
"""A delay is given back this many times slower than it is used up."""
EARLY_SHARE: Final = 4
"""A delay is over when less than this part of a cycle (or of a shorter delay) is left: a scan that starts a moment
after its time shortens the next one, and a millisecond that is missing must not cost a whole cycle."""
PLACE_DIMS: Final[dict[str, tuple[str, ...]]] = {
    "module": ("rack", "module"),
    "rack": ("rack",),
    "pcs": ("pcs",),
    "bus": ("bus",),
    "site": (),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """One row at one place."""

    index: int
    row: Row
    place: str


class Matrix:
    """A table of rows laid out for one plant: every row has one slot per place, slots are numbered through."""

    def __init__(self, rows: Sequence[Row], topology: Topology, limit: LimitSettings, cycle_ms: int) -> None:
        self.rows = tuple(rows)
        self.topology = topology
        self.most_elapsed_ms = 2 * cycle_ms
        self.slots: list[Slot] = []
        self.start: list[int] = []
        self.stop: list[int] = []
        self.shape: list[tuple[int, ...]] = []
        for row in self.rows:
            dims = PLACE_DIMS[row.place]
            shape = tuple(topology.dims[d] for d in dims)
            self.start.append(len(self.slots))
            self.shape.append(shape)
            for index in np.ndindex(*shape):
                place = topology.wires.names[index[0]] if row.place == "bus" else place_name(dims, index)
                self.slots.append(Slot(len(self.slots), row, place))
            self.stop.append(len(self.slots))
        self.size = len(self.slots)
        self.row_of = np.repeat(np.arange(len(self.rows)), np.subtract(self.stop, self.start))
        self.delay_ms: Ints = np.array([s.row.delay_ms(limit) for s in self.slots], np.int64)
        self.due_ms: Ints = _due_ms(self.delay_ms, cycle_ms)
        self.acts_after_ms: Ints = acts_after_ms(self.delay_ms, cycle_ms)
        self.holds: Bools = np.array([s.row.reset is not Reset.SELF for s in self.slots])
        self.maintenance: Bools = np.array([s.row.reset is Reset.MAINTENANCE for s in self.slots])
        self.opening: Bools = np.array([s.row.opens for s in self.slots])
        self.priority: Ints = np.array([int(s.row.priority) for s in self.slots], np.int64)
        stops = [a for row, a in zip(self.rows, self.start, strict=True) if row.place == "pcs" and row.effect & STOP]
        self.pcs_stops: Ints = np.add.outer(np.array(stops, np.int64), np.arange(topology.pcs))
        self._lay_out(limit)
        self.configuration = zlib.crc32(repr(limit).encode()) or 1
        self.digest = zlib.crc32("|".join(f"{s.row.id}@{s.place}" for s in self.slots).encode())

    def _lay_out(self, limit: LimitSettings) -> None:
        """Where each cause's places stand in slot order, so that one comparison judges all rows at all places."""
        self.blank_element: Ints = np.full(self.size, -1, np.int64)
        self.limit_at = np.ones(self.size)
        causes = [(r.cause, np.arange(a, b)) for r, a, b in zip(self.rows, self.start, self.stop, strict=True)]
        self.faults = [(cause.fault, where) for cause, where in causes if isinstance(cause, Warned)]
        self.conditions = [cause.condition for cause, _ in causes if isinstance(cause, When)]
        self.condition_at = _joined(where for cause, where in causes if isinstance(cause, When))

        thresholds = [(cause, where) for cause, where in causes if isinstance(cause, Threshold)]
        self.quantities: list[Quantity] = list(dict.fromkeys(cause.quantity for cause, _ in thresholds))
        size = {cause.quantity: len(where) for cause, where in thresholds}
        first = dict(zip(self.quantities, np.cumsum([0, *(size[q] for q in self.quantities)]).tolist(), strict=False))
        self.threshold_at = _joined(where for _, where in thresholds)
        self.source = _joined(first[cause.quantity] + np.arange(len(where)) for cause, where in thresholds)
        self.no_element = {q: np.full(size[q], -1, np.int64) for q in self.quantities}
        sign, clear = np.ones(self.size), np.zeros(self.size)
        for cause, where in thresholds:
            band = getattr(limit, cause.band)
            sign[where] = 1.0 if cause.over else -1.0
            self.limit_at[where], clear[where] = getattr(band, cause.at), band.clear
        self.sign = sign[self.threshold_at]
        self.beyond_at = self.sign * self.limit_at[self.threshold_at]
        self.back_at = self.sign * clear[self.threshold_at]

    def evaluate(self, facts: Facts) -> Evaluation:
        """All causes at all places, in slot order. A quantity that several rows look at is worked out once."""
        present, element = np.zeros(self.size, bool), self.blank_element.copy()
        if self.conditions:
            present[self.condition_at] = np.concatenate([look(facts) for look in self.conditions], axis=None)
        if some(facts.warnings.rack_warning):
            for fault, where in self.faults:
                present[where], element[where] = suspected(facts, fault)
        clear, value = ~present, present.astype(np.float64)
        if self.quantities:
            at, source = self.threshold_at, self.source
            readings = [(look(facts), self.no_element[look]) for look in self.quantities]
            measured = np.concatenate([r.value for r, _ in readings], axis=None)[source]
            known = np.concatenate([r.known for r, _ in readings], axis=None)[source]
            elements = [blank if r.element is None else r.element for r, blank in readings]
            signed = self.sign * measured
            present[at], clear[at] = known & (signed > self.beyond_at), known & (signed < self.back_at)
            value[at], element[at] = measured, np.concatenate(elements, axis=None)[source]
        return Evaluation(present, clear, value, self.limit_at, element)

    def effects(self, active: Bools) -> tuple[Ints, int]:
        """Effects per rack and for the whole site: OR over everything active, nothing subtracts."""
        rack = np.zeros(self.topology.racks, np.int64)
        site = 0
        for number in np.bincount(self.row_of[active]).nonzero()[0].tolist():
            row = self.rows[number]
            if row.place == "site":
                site |= int(row.effect)
                continue
            at_racks = self._racks(row, active[self.start[number] : self.stop[number]].reshape(self.shape[number]))
            rack |= np.where(at_racks, int(row.effect), 0)
            if row.bank_effect:
                rack |= np.where(self._of_banks(self.topology.rack_bank[at_racks]), int(row.bank_effect), 0)
        return rack | site, site

    def astray(self, active: Bools) -> Bools:
        """Over PCS: one of its own rows stops it, so what it gives is not what it is told."""
        return np.asarray(active[self.pcs_stops].any(axis=0))

    def _racks(self, row: Row, active: Bools) -> Bools:
        if row.place == "module":
            return np.asarray(active.any(axis=1))
        if row.place == "rack":
            return active
        if row.place == "bus":
            wires = self.topology.wires
            return np.asarray((wires.racks | wires.modules.any(axis=2))[active].any(axis=0))
        return self._of_banks(self.topology.pcs_bank[active])

    def _of_banks(self, banks: Ints) -> Bools:
        """Racks of these banks."""
        chosen = np.zeros(self.topology.banks, bool)
        chosen[banks] = True
        return np.asarray(chosen[self.topology.rack_bank])


def _due_ms(delay_ms: Ints, cycle_ms: int) -> Ints:
    """Time used up with which a delay is over."""
    return np.asarray(delay_ms - np.minimum(delay_ms, cycle_ms) // EARLY_SHARE)


def acts_after_ms(delay_ms: Ints | int, cycle_ms: int) -> Ints:
    """From the scan that first sees a lasting cause to the one in which its row acts: whole cycles, also if a delay
    is set that is none."""
    return np.asarray(-(-_due_ms(np.asarray(delay_ms), cycle_ms) // cycle_ms) * cycle_ms)


def _joined(places: Iterable[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *places])


def protect(
    matrix: Matrix, memory: ProtectionMemory, facts: Facts, commands: Sequence[Command]
) -> tuple[Trips, list[Answer], ProtectionMemory]:
    """The matrix's verdict for this scan, and the answers to EMERGENCY_STOP and RESET_TRIPS."""
    resets = [c for c in commands if c.kind is Kind.RESET_TRIPS]
    stops = [c for c in commands if c.kind is Kind.EMERGENCY_STOP]
    answers = [Answer(c, True, "emergency stop in force") for c in stops]
    emergency = 1 if stops else 0 if _asked(matrix, resets, "remote_emergency_stop") else memory.emergency_stop
    overrun = facts.system.overruns > memory.overruns_seen
    in_a_row = memory.overruns_in_a_row + 1 if overrun else 0
    seen = _asked(matrix, resets, "configuration_changed")
    accepted = matrix.configuration if seen or not memory.configuration else memory.configuration
    trend = follow(memory.trend, facts)
    facts = replace(
        facts, emergency_stop=emergency, overruns_in_a_row=in_a_row, trend=trend, utc_before_ms=memory.trend.utc_ms,
        lost_before=memory.lost_seen, configuration_changed=accepted != matrix.configuration,
        interrupted=memory.interrupted > 0,
    )  # fmt: skip
    cause = matrix.evaluate(facts)
    stands = standing(matrix, memory.present, memory.element, cause.present, facts)
    cause = replace(cause, present=cause.present | stands, clear=cause.clear & ~stands)

    elapsed = min(facts.system.elapsed_ms, matrix.most_elapsed_ms)
    reached = cause.present & (memory.timer_ms >= matrix.due_ms)
    change = np.where(cause.present, elapsed, -max(elapsed // GIVE_BACK, 1))
    timer = (memory.timer_ms + change).clip(0, matrix.delay_ms)
    latched = memory.latched | (reached & matrix.holds)
    for command in resets:
        # Nobody sees that it is over where what showed it is silent; a restart forgets what was present before.
        unseen = standing(matrix, latched, memory.element, cause.present & ~stands, facts)
        latched, answer = _reset(matrix, facts, cause, unseen, reached, latched, command)
        answers.append(answer)
    active = reached | latched | (memory.active & ~cause.clear & ~matrix.holds)

    rack_effect, site_effect = matrix.effects(active)
    rack_effect_latched, _ = matrix.effects(latched)
    trips = active & matrix.opening
    new = trips & ~(memory.active & matrix.opening)
    first_out, first_utc = _first_out(memory, facts, cause, trips, new)
    count = memory.trip_count + int(new.sum())
    held = (active & ~cause.present) | stands
    value, element = np.where(held, memory.value, cause.value), np.where(held, memory.element, cause.element)
    memory = ProtectionMemory(
        trend, timer, cause.present, active, latched, value, element, first_out, first_utc, count, emergency,
        facts.system.overruns, in_a_row, facts.system.lost_records, accepted, 0,
    )  # fmt: skip
    verdict = Trips(
        active, cause.present, latched, value, cause.limit, element, rack_effect, rack_effect_latched, site_effect,
        first_out, first_utc, count,
    )  # fmt: skip
    return verdict, answers, memory


def _asked(matrix: Matrix, resets: Sequence[Command], row: str) -> bool:
    """An operator resets all, or this row by name: with these two rows being asked is what ends the cause."""
    at = [-1, *(s.index for s in matrix.slots if s.row.id == row)] if resets else []
    return any(c.role >= Role.OPERATOR and c.target in at for c in resets)


def _first_out(memory: ProtectionMemory, facts: Facts, cause: Evaluation, trips: Bools, new: Bools) -> tuple[int, int]:
    """The first trip since all was well. Of several in the same scan the one farthest beyond its limit leads.

    When the first is over, those that were there before this scan come before those that are new.
    """
    if not some(trips):
        return -1, 0
    if memory.first_out >= 0 and trips[memory.first_out]:
        return memory.first_out, memory.first_out_utc_ms
    older = trips & ~new
    among = older if some(older) else trips
    excess = np.abs(cause.value - cause.limit) / np.maximum(np.abs(cause.limit), 1e-9)
    return int(np.where(among, excess, -1.0).argmax()), facts.system.utc_ms


def _reset(
    matrix: Matrix, facts: Facts, cause: Evaluation, unseen: Bools, reached: Bools, latched: Bools, command: Command
) -> tuple[Bools, Answer]:
    """Releases every latch whose cause is clear and whose reset rule allows it; refused when none can go."""
    missing = missing_role(command)
    if missing:
        return latched, Answer(command, False, missing)
    engineer = command.role >= Role.ENGINEER and facts.modes.site_mode == SiteMode.MAINTENANCE
    wanted = latched if command.target < 0 else latched & (np.arange(matrix.size) == command.target)
    if not wanted.any():
        return latched, Answer(command, True, "nothing to reset")
    clear = cause.clear & ~unseen
    may = wanted & clear & ~reached & (~matrix.maintenance | engineer)
    left = wanted & ~may
    latched = latched & ~may
    if left.any():
        slot = matrix.slots[int(np.flatnonzero(left)[0])]
        why = "needs an engineer in MAINTENANCE mode"
        if not clear[slot.index]:
            why = "what showed it is silent" if unseen[slot.index] else "cause still present"
        done = f"{int(may.sum())} reset, " if may.any() else ""
        return latched, Answer(
            command, bool(may.any()), f"{done}{int(left.sum())} held: {slot.row.id} {slot.place}: {why}"
        )
    return latched, Answer(command, True, f"{int(may.sum())} reset")
