"""Many seeded runs of one site, in several processes, and what they added up to."""

from __future__ import annotations

import dataclasses
import gc
import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

from controller.core.command import Kind
from plc_config.compile import Compiled, compile_site
from tools.swarm.day import Day
from tools.swarm.judge import Judge, Violation

COMMANDS_PER_S: Final = 0.05
FAULTS_PER_S: Final = 0.01
MENDINGS_PER_S: Final = 0.02
"""Mean rates in plant time: a command every 20 s, a fault every 100 s, and every 50 s all is mended."""

RETURN: Final = (Kind.RESET_TRIPS, Kind.ACKNOWLEDGE, Kind.CONNECT)
RELEASE: Final = (
    *(Kind.DISCONNECT, Kind.ENTER_MAINTENANCE, Kind.RESET_TRIPS),
    *(Kind.LEAVE_MAINTENANCE, Kind.ACKNOWLEDGE, Kind.CONNECT),
)
"""What an operator asks for once everything is mended, the second when something is locked out."""

MENDED_S: Final = 5.0
"""From mending to the first of these commands; the others follow at the same distance."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """One run. `broken` is the story of the first broken invariant, or nothing."""

    seed: int
    scans: int
    online: int
    faults: int
    trips: int
    broken: str = ""


def live(day: Day, cycles: int) -> int:
    """Random commands and faults for so many cycles; returns how many faults were injected. Violation when broken."""
    judge, faults, cycle_s = Judge(day), 0, day.program.cycle_ms / 1000
    chance = day.rng.random
    waiting: list[tuple[int, Kind]] = []
    gap = max(round(MENDED_S / cycle_s), 1)
    for _ in range(cycles):
        commands = [day.random_command()] if chance() < COMMANDS_PER_S * cycle_s else []
        if chance() < FAULTS_PER_S * cycle_s:
            day.told.append(f"{day.number} FAULT {day.fault()}")
            faults += 1
        if chance() < MENDINGS_PER_S * cycle_s:
            day.heal()
            kinds = RELEASE if day.locked_out() else RETURN
            waiting = [(day.number + gap * (i + 1), kind) for i, kind in enumerate(kinds)]
        if waiting and waiting[0][0] <= day.number:
            commands.append(day.ask(waiting.pop(0)[1]))
        judge.look(day.cycle(commands))
    return faults


def one(site: str, cycle_ms: int | None, hours: float, seed: int) -> Outcome:
    """One run from its seed; the same arguments give the same run."""
    compiled = at_cycle(compile_site(site), cycle_ms)
    day = Day(compiled, seed)
    # What was built stays: the collector need not look at it again all day.
    gc.freeze()
    try:
        faults = live(day, round(hours * 3_600_000 / compiled.config.cycle))
        return Outcome(seed, day.number, day.online, faults, _trips(day))
    except Violation as violation:
        return Outcome(seed, day.number, day.online, 0, _trips(day), str(violation))
    finally:
        day.close()


def at_cycle(site: Compiled, cycle_ms: int | None) -> Compiled:
    """The same site at another scan cycle."""
    if cycle_ms is None:
        return site
    return dataclasses.replace(site, config=site.config.model_copy(update={"cycle": cycle_ms}))


def _trips(day: Day) -> int:
    return 0 if day.image is None else int(day.image.trips.trip_count)


class Campaign:
    """Runs of one site, added up as they finish."""

    def __init__(self, site: str, cycle_ms: int | None, hours: float) -> None:
        self.site, self.cycle_ms, self.hours_each = site, cycle_ms, hours
        self.finished = self.scans = self.online = self.faults = self.trips = 0
        self.broken = ""

    @property
    def hours(self) -> float:
        """Plant time of the runs that are finished."""
        return self.hours_each * self.finished

    def runs(self, seeds: Iterable[int], jobs: int) -> Iterator[int]:
        """The number of finished runs, after each; no more after the first that broke an invariant."""
        if jobs <= 1:
            for seed in seeds:
                yield self._add(one(self.site, self.cycle_ms, self.hours_each, seed))
            return
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
            futures = [pool.submit(one, self.site, self.cycle_ms, self.hours_each, seed) for seed in seeds]
            for future in futures:
                yield self._add(future.result())
                if self.broken:
                    pool.shutdown(cancel_futures=True)
                    return

    def _add(self, outcome: Outcome) -> int:
        self.finished += 1
        self.scans += outcome.scans
        self.online += outcome.online
        self.faults += outcome.faults
        self.trips += outcome.trips
        self.broken = self.broken or outcome.broken
        return self.finished

    def facts(self) -> dict[str, Any]:
        """What was run, for people and for JSON."""
        return {
            "site": self.site,
            "hours": self.hours,
            "scans": self.scans,
            "online_ratio": self.online / max(self.scans, 1),
            "faults": self.faults,
            "trips": self.trips,
        }
