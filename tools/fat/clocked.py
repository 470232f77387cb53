"""Rows that take longer than ten minutes: the pure scan and the plant in one process, on a clock that is only counted.

What is judged is the same as with the real processes: the row's own alarm at the injected place within its time, no
other suspicion, and a plant that goes on, or a place that stops where the row says so. Reported apart, because no
process and no wire takes part.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

import numpy as np

from controller.core.command import Command, Kind
from controller.core.image import SiteMode
from controller.core.protect.matrix import EARLY
from plc_config.compile import Compiled
from tools.simulator.verbs import parse_text
from tools.swarm.campaign import at_cycle
from tools.swarm.day import Day
from tools.swarm.judge import Judge, Violation

CYCLE_MS: Final = 1000
"""Early warning looks at rows ten seconds apart; a second is fast enough for the devices' own watchdogs."""
HOUR_MS: Final = 3_600_000
TOLD: Final = frozenset(r.id for r in EARLY)
LOWEST, HIGHEST = 0.25, 0.80
"""SOC between which the duty swings."""
LOAD_S: Final = 300
"""The power changes this often, at random between the next two, of the rating."""
LEAST_LOAD, MOST_LOAD = 0.25, 0.5
REST_S: Final = 1800
Tell = Callable[[str, float], None]


@dataclasses.dataclass(frozen=True, slots=True)
class LongCase:
    """One fault that shows over hours.

    row: the row that must tell it. inject: verbs as in `Case`; `{grown}` is a ratio that grows from 1 by `per_day`,
    injected anew every hour; `{watched}` is a cell that has a temperature sensor of its own. healthy_h: time of
    healthy life before; most_h: time in which it must be told. place: what kind of place tells it. stops: the racks of
    that place must open then; otherwise the site must stay online. also: early warning that may tell it first.
    """

    id: str
    row: str
    inject: tuple[str, ...]
    healthy_h: float
    most_h: float
    per_day: float = 0.0
    place: str = "rack"
    stops: bool = False
    also: tuple[str, ...] = ()


LONG: Final = (
    LongCase("stuck_sensor", "stuck_sensor_suspected", ("stick {sensor} cell_temperature_degc",), 2.0, 24.0),
    LongCase("voltage_sensor", "voltage_sensor_suspected", ("offset {cell} cell_voltage_v 0.02",), 13.0, 12.0),
    LongCase("temperature_sensor", "temperature_sensor_suspected", ("offset {sensor} cell_temperature_degc 6",), 6.0,
             12.0),
    LongCase("internal_short", "internal_short_suspected", ("leak {cell} {short_ohm}",), 24.0, 24.0),
    LongCase("busbar_step", "busbar_step_suspected", ("resistance {cell} 1.6",), 24.0, 24.0),
    LongCase("resistance_growth", "resistance_growth_suspected", ("resistance {cell} {grown}",), 24.0, 96.0, 0.08),
    LongCase("low_capacity", "low_capacity_suspected", ("capacity {cell} 0.85",), 0.0, 96.0),
    LongCase("self_discharge", "self_discharge_suspected", ("leak {cell} {leak_ohm}",), 24.0, 240.0),
    LongCase("cell_unwitnessed", "cell_unwitnessed", ("stick {cell} cell_voltage_v",), 0.1, 2.0, place="module",
             stops=True, also=("stuck_sensor_suspected",)),
    LongCase("module_unwitnessed", "module_unwitnessed", ("nan {module} module_bleeding_cells",), 0.1, 1.01,
             place="module", stops=True),
    LongCase("rack_unwitnessed", "rack_unwitnessed", ("nan {rack} rack_current_redundant_a",), 0.1, 1.01, stops=True),
    LongCase("pcs_unwitnessed", "pcs_unwitnessed", ("nan {pcs} pcs_dc_current_a",), 0.1, 1.01, place="pcs", stops=True),
)  # fmt: skip
"""Every row of early warning but `runaway`, which acts within seconds and is among the fast cases; and the rows that
stop a place of which something has not been seen for an hour."""
STOPPED_S: Final = 60
"""A place that is stopped has ramped down and opened after this long."""


@dataclasses.dataclass(frozen=True, slots=True)
class LongVerdict:
    """What one case showed; it passed when nothing is wrong. Times in h of plant time and s of this machine's."""

    case: LongCase
    place: str
    injected: tuple[str, ...]
    detect_h: float | None
    plant_h: float
    took_s: float
    wrong: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Nothing was wrong."""
        return not self.wrong


class Duty:
    """The operator of a simulated site: connects it, and lets it swing between two states of charge."""

    def __init__(self, day: Day) -> None:
        self.day, self.random = day, Random(day.seed)
        self.sign, self.next_ms, self.rest_until_ms = 1.0, 0, 0

    def commands(self) -> list[Command]:
        """What this cycle's scan is asked for."""
        day, image = self.day, self.day.image
        if image is None or day.now_ms < self.next_ms:
            return []
        self.next_ms = day.now_ms + LOAD_S * 1000
        if image.modes.site_mode != SiteMode.ONLINE:
            self.next_ms = day.now_ms + 10 * CYCLE_MS
            return [day.ask(Kind.CONNECT)]
        soc = float(np.mean(image.estimates.rack_soc_ratio))
        if (soc <= LOWEST and self.sign > 0) or (soc >= HIGHEST and self.sign < 0):
            self.sign, self.rest_until_ms = -self.sign, day.now_ms + REST_S * 1000
        load = self.random.uniform(LEAST_LOAD, MOST_LOAD) if day.now_ms >= self.rest_until_ms else 0.0
        return [day.ask(Kind.SET_ACTIVE_POWER, self.sign * load * day.site.config.dispatch.rated_power)]


def run_long(case: LongCase, site: Compiled, seed: int, tell: Tell) -> LongVerdict:
    """The case on a fresh plant. `tell` hears the case and the plant's hours, once per hour."""
    begun = time.monotonic()
    day = Day(at_cycle(site, CYCLE_MS), Random(f"{seed}/{case.id}").randrange(2**31))
    try:
        return _Run(case, day, tell).verdict(begun)
    finally:
        day.close()


class _Run:
    def __init__(self, case: LongCase, day: Day, tell: Tell) -> None:
        self.case, self.day, self.tell = case, day, tell
        self.duty, self.judge = Duty(day), Judge(day)
        self.names = _places(day)
        self.injected: list[str] = []
        self.slots = [s for s in day.program.matrix.slots if s.row.id in (TOLD - {*case.also}) | {case.row}]

    def verdict(self, begun: float) -> LongVerdict:
        """Healthy life, the fault, and what was told of it."""
        wrong: list[str] = []
        detect_h: float | None = None
        try:
            if self._live(self.case.healthy_h, inject=False) is not None:
                wrong.append(f"false alarm while all was healthy: {', '.join(sorted(self._told()))}")
            detect_h = self._live(self.case.most_h, inject=True)
            wrong += self._wrong(detect_h)
        except Violation as violation:
            wrong.append(str(violation).partition("\n")[0])
        hours = self.day.number * CYCLE_MS / HOUR_MS
        took = time.monotonic() - begun
        return LongVerdict(
            self.case,
            self.names[self.case.place],
            tuple(self.injected),
            detect_h,
            round(hours, 1),
            round(took, 1),
            tuple(wrong),
        )

    def _live(self, hours: float, inject: bool) -> float | None:
        """So many hours, or until something is suspected: after how many that was."""
        cycles, per_hour = round(hours * HOUR_MS / CYCLE_MS), HOUR_MS // CYCLE_MS
        for i in range(cycles):
            if i % per_hour == 0:
                self.tell(self.case.id, self.day.number * CYCLE_MS / HOUR_MS)
                if inject and (i == 0 or self.case.per_day):
                    self._inject(i / per_hour)
            self.judge.look(self.day.cycle(self.duty.commands()))
            if self._told():
                return (i + 1) * CYCLE_MS / HOUR_MS
        return None

    def _inject(self, hours: float) -> None:
        grown = 1.0 + self.case.per_day * hours / 24.0
        for text in self.case.inject:
            words = text.format(**self.names, grown=f"{grown:.4f}")
            answer = self.day.simulator.control.perform(parse_text(words))
            if not answer.get("ok"):
                raise Violation(f"{words}: {answer.get('error')}")
            if not self.case.per_day or not self.injected:
                self.injected.append(words)

    def _told(self) -> set[str]:
        image = self.day.image
        if image is None:
            return set()
        return {f"{s.row.id} {s.place}" for s in self.slots if image.trips.slot_active[s.index]}

    def _wrong(self, detect_h: float | None) -> list[str]:
        if detect_h is None:
            return [f"nothing was told within {self.case.most_h:g} h"]
        told, expected = sorted(self._told()), f"{self.case.row} {self.names[self.case.place]}"
        if told != [expected]:
            wrong = [f"told {', '.join(told)} instead of {expected}"]
        elif not self.case.stops and not _names_the_cell(self.day, self.case, self.names):
            wrong = ["another cell or sensor is named"]
        else:
            wrong = []
        return wrong + (self._stops() if self.case.stops else self._stays())

    def _stays(self) -> list[str]:
        image = self.day.image
        if image is None or image.modes.site_mode == SiteMode.ONLINE:
            return []
        return [f"the site is {SiteMode(image.modes.site_mode).name}"]

    def _stops(self) -> list[str]:
        """The plant's main contactors of the place, once it had its time to stop."""
        day = self.day
        for _ in range(STOPPED_S * 1000 // CYCLE_MS):
            self.judge.look(day.cycle([]))
        t, number = day.program.topology, int(self.names[self.case.place][1:3]) - 1
        racks = t.fed_by[number] if self.case.place == "pcs" else np.arange(t.racks) == number
        closed = np.flatnonzero(day.plant.racks.main.closed & racks)
        return [f"R{r + 1:02d} is still connected" for r in closed]


def _places(day: Day) -> dict[str, str]:
    t, random = day.program.topology, Random(day.seed + 1)
    rack, module = random.randrange(t.racks) + 1, random.randrange(t.modules) + 1
    cell, sensor = random.randrange(t.cells) + 1, random.randrange(t.temperatures) + 1
    place = f"R{rack:02d}/M{module:02d}"
    capacity_ah = float(day.plant.cells.capacity_as.mean()) / 3600
    volts = day.plant.nominal_v / (t.modules * t.cells)
    return {
        "rack": f"R{rack:02d}",
        "module": place,
        "pcs": f"P{random.randrange(t.pcs) + 1:02d}",
        "cell": f"{place}/C{cell:02d}",
        "sensor": f"{place}/T{sensor:02d}",
        "watched": f"{place}/C{int(day.simulator.sensors.spots[sensor - 1]) + 1:02d}",
        # C/1000 is a short of some watts in a large cell; C/15,000 is a loss that balancing hides.
        "short_ohm": f"{volts / (capacity_ah / 1000):.4g}",
        "leak_ohm": f"{volts / (capacity_ah / 15_000):.4g}",
    }


def _names_the_cell(day: Day, case: LongCase, names: dict[str, str]) -> bool:
    """The slot's element is the place of the injected fault."""
    image, t = day.image, day.program.topology
    slot = next(s for s in day.program.matrix.slots if s.row.id == case.row and s.place == names["rack"])
    sensor = "{sensor}" in case.inject[0]
    _, module, last = names["sensor" if sensor else "cell"].split("/")
    if "{watched}" in case.inject[0]:
        last = names["watched"].split("/")[2]
    wide = t.temperatures if sensor else t.cells
    wanted = (int(module[1:]) - 1) * wide + int(last[1:]) - 1
    if image is None:
        return False
    if case.row == "stuck_sensor_suspected" and sensor:
        # This row names cells; of a sensor it says only that there is one.
        return bool(image.warnings.temperature_warning.any())
    return int(image.trips.slot_element[slot.index]) == wanted


def as_data(verdict: LongVerdict) -> dict[str, Any]:
    """One line of the report's part on the simulated clock."""
    return {
        "case": verdict.case.id,
        "row": verdict.case.row,
        "where": verdict.place,
        "injected": list(verdict.injected),
        "healthy_h": verdict.case.healthy_h,
        "bound_h": verdict.case.most_h,
        "detection_h": None if verdict.detect_h is None else round(verdict.detect_h, 2),
        "plant_h": verdict.plant_h,
        "took_s": verdict.took_s,
        "passed": verdict.passed,
        "wrong": list(verdict.wrong),
    }
