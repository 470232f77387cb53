"""The trip report: what led to a trip, in the order of scans, found by replaying the recording."""

from __future__ import annotations

import dataclasses
from collections import deque
from pathlib import Path
from typing import Any, Final

import numpy as np

from controller.core.image import ProcessImage, RackMode, SiteMode
from controller.core.program import Program
from controller.core.signal import USABLE, Samples
from controller.core.topology import place_name
from controller.historian.replay import Replay, Step, rebuild, segments_of
from controller.historian.segment import Segment
from controller.historian.trips import AFTER_MS, BEFORE_MS

MOST_TRIPS: Final = 100
MOST_HAPPENINGS: Final = 500
MOST_AGE_MS: Final = 1000
"""An older value did not bring a cause just now."""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One scan in numbers; None where there was no usable value."""

    scan: int
    now_ms: int
    power_w: float
    target_w: float
    charge_limit_w: float
    discharge_limit_w: float
    cell_min_v: float | None
    cell_max_v: float | None
    hottest_degc: float | None
    rack_current_a: tuple[float | None, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Happening:
    """One change between two scans."""

    now_ms: int
    scan: int
    text: str


@dataclasses.dataclass(slots=True)
class Trip:
    """One trip with its surroundings. t0_ms is the monotonic time of the scan that tripped."""

    t0_ms: int
    utc_ms: int
    scan: int
    slot: int
    value: float
    limit: float
    place: str
    rows: list[Row]
    happenings: list[Happening]
    identical: bool = True
    later: dict[str, Happening] = dataclasses.field(default_factory=dict)
    """Rows that opened something after the first, by name: each where it did so first."""


class Collector:
    """Listens to a replay and cuts out every trip. A new trip inside another's 120 s belongs to that one."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.recent: deque[Row] = deque()
        self.changes: deque[Happening] = deque(maxlen=MOST_HAPPENINGS)
        self.trips: list[Trip] = []
        self.last: ProcessImage | None = None
        self.same = True

    def __call__(self, step: Step) -> None:
        """One replayed scan."""
        image = step.image
        self.same = self.same and step.same
        row = _row(step.scan, image)
        if self.recent and row.now_ms < self.recent[-1].now_ms:
            # The machine was started again: what was before has no place on this time axis.
            self.recent.clear()
            self.changes.clear()
        self.recent.append(row)
        while row.now_ms - self.recent[0].now_ms > BEFORE_MS:
            self.recent.popleft()
        new = list(self._changes(step.scan, image)) if self.last is not None else []
        self.changes.extend(new)
        going = self.trips[-1] if self.trips and 0 <= row.now_ms - self.trips[-1].t0_ms <= AFTER_MS else None
        tripped = self.last is not None and image.trips.trip_count > self.last.trips.trip_count
        if going is not None:
            going.rows.append(row)
            going.happenings.extend(new[: MOST_HAPPENINGS - len(going.happenings)])
            going.identical = going.identical and step.same
            if tripped:
                self._later(going, step.scan, image)
        elif tripped and len(self.trips) < MOST_TRIPS:
            self.trips.append(self._trip(step.scan, image, row))
        self.last = image

    def _later(self, trip: Trip, scan: int, image: ProcessImage) -> None:
        before = self.last.trips.slot_active if self.last is not None else image.trips.slot_active
        for slot in np.flatnonzero(image.trips.slot_active & ~before & self.program.matrix.opening).tolist():
            row = self.program.matrix.slots[slot]
            if row.row.id != self.program.matrix.slots[trip.slot].row.id:
                trip.later.setdefault(row.row.id, Happening(image.system.now_ms, scan, f"{row.row.id} at {row.place}"))

    def _trip(self, scan: int, image: ProcessImage, row: Row) -> Trip:
        t = image.trips
        slot = t.first_out if t.first_out >= 0 else int(np.flatnonzero(t.slot_active)[0])
        value, limit = float(t.slot_value[slot]), float(t.slot_limit[slot])
        place, _ = self.program.describe(slot, value, limit, int(t.slot_element[slot]), True)
        begin = row.now_ms - BEFORE_MS
        known = [h for h in self.changes if h.now_ms >= begin]
        system = image.system
        return Trip(system.now_ms, system.utc_ms, scan, slot, value, limit, place, list(self.recent), known, self.same)

    def _changes(self, scan: int, image: ProcessImage) -> Any:
        last = self.last
        if last is None:
            return
        now, trips = image.system.now_ms, image.trips
        for mask, word in (
            (trips.slot_cause & ~last.trips.slot_cause, "cause"),
            (trips.slot_active & ~last.trips.slot_active, "acts"),
        ):
            # Within a scan causes come in the order in which the devices answered.
            sampled = {int(s): _sampled_ms(self.program, image, int(s)) for s in np.flatnonzero(mask)}
            for slot in sorted(sampled, key=lambda s: sampled[s]):
                place, text = self.program.describe(
                    int(slot),
                    float(trips.slot_value[slot]),
                    float(trips.slot_limit[slot]),
                    int(trips.slot_element[slot]),
                    True,
                )
                at = sampled[slot] if word == "cause" else now
                yield Happening(at, scan, f"{word}: {text} at {place}")
        if last.modes.site_mode != image.modes.site_mode:
            yield Happening(
                now, scan, f"site {SiteMode(last.modes.site_mode).name} -> {SiteMode(image.modes.site_mode).name}"
            )
        for r in np.flatnonzero(last.modes.rack_mode != image.modes.rack_mode):
            name = place_name(("rack",), (int(r),))
            old, new = RackMode(int(last.modes.rack_mode[r])).name, RackMode(int(image.modes.rack_mode[r])).name
            yield Happening(now, scan, f"{name} {old} -> {new}")
        yield from _contactors(now, scan, last, image)


SOURCES: Final = {
    ("module", "V"): "cell_voltage_v",
    ("module", "degC"): "cell_temperature_degc",
    ("rack", "A"): "rack_current_a",
    ("rack", "ohm"): "rack_insulation_ohm",
    ("site", "V"): "aux_supply_v",
    ("site", "degC"): "ambient_temperature_degc",
}
"""The point that rows of a place compare, by the row's unit."""


def _sampled_ms(program: Program, image: ProcessImage, slot: int) -> int:
    """When the device answered with the value that a row compared; the scan's time where the cause is no quantity."""
    row, matrix = program.matrix.slots[slot].row, program.matrix
    number = int(matrix.row_of[slot])
    name = SOURCES.get((row.place, row.unit))
    if name is None:
        return image.system.now_ms
    samples: Samples = getattr(image.measured.points, name)
    where = tuple(int(i) for i in np.unravel_index(slot - matrix.start[number], matrix.shape[number] or (1,)))
    element = int(image.trips.slot_element[slot])
    index = (where if matrix.shape[number] else ()) + ((element,) if element >= 0 else ())
    at = int(samples.time_ms[index])
    return at if 0 <= image.system.now_ms - at <= MOST_AGE_MS else image.system.now_ms


def _contactors(now: int, scan: int, last: ProcessImage, image: ProcessImage) -> Any:
    for r in np.flatnonzero(last.outputs.rack_main_close & ~image.outputs.rack_main_close):
        yield Happening(now, scan, f"{place_name(('rack',), (int(r),))} open command given")
    before, after = last.measured.points.rack_main_closed, image.measured.points.rack_main_closed
    both = (before.quality <= USABLE) & (after.quality <= USABLE)
    for r in np.flatnonzero(both & (before.value >= 0.5) & (after.value < 0.5)):
        yield Happening(now, scan, f"{place_name(('rack',), (int(r),))} feedback open")


def _row(scan: int, image: ProcessImage) -> Row:
    e, p = image.measured.extremes, image.measured.points.rack_current_a
    currents = tuple(float(v) if q <= USABLE else None for v, q in zip(p.value, p.quality, strict=True))
    return Row(
        scan,
        image.system.now_ms,
        float(image.measured.active_power_w.value),
        image.power.active_power_target_w,
        image.limits.charge_limit_w,
        image.limits.discharge_limit_w,
        _usable(e.cell_voltage_min_v),
        _usable(e.cell_voltage_max_v),
        _usable(e.temperature_max_degc),
        currents,
    )


def _usable(s: Samples) -> float | None:
    return float(s.value) if int(s.quality) <= USABLE else None


def find(path: Path) -> tuple[Program, list[Trip]]:
    """Every trip in a recording (a file or a folder of them); BadRecording when it cannot be replayed.

    Of a trip file only its own trip counts: its lead-in may hold the end of an earlier one.
    """
    paths = segments_of(path)
    header = Segment(paths[0]).header
    program = rebuild(header)
    collector = Collector(program)
    Replay(paths).run(collector)
    own = header.get("trip") if len(paths) == 1 else None
    if own is None or not collector.trips:
        return program, collector.trips
    return program, [min(collector.trips, key=lambda t: abs(t.scan - int(own["scan"])))]


def noted(path: Path) -> dict[str, Any]:
    """What a trip file says of its trip without being replayed: scan, utc_ms, first_out."""
    return dict(Segment(path).header.get("trip") or {})
