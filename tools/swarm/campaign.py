"""Many seeded runs of one site, in several processes, and what they added up to."""

from __future__ import annotations

import dataclasses
import gc
import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

import numpy as np

from controller.core.command import Command, Kind
from controller.core.memory import Memory
from plc_config.compile import Compiled, compile_site
from tools.swarm.day import Day
from tools.swarm.faults import Faults
from tools.swarm.judge import Judge, Violation
from tools.swarm.requests import Requests

COMMANDS_PER_S: Final = 0.05
FAULTS_PER_S: Final = 0.01
MENDINGS_PER_S: Final = 0.02
"""Mean rates in plant time: a command every 20 s, a fault every 100 s, and every 50 s all is mended."""
SEASONS_PER_S: Final = 1 / 3600
"""Each hour another weather, and power that leans to another direction."""
HOLDS_PER_S: Final = 1 / 1200
RESTARTS_PER_S: Final = 1 / 2400
CLOCKS_PER_S: Final = 1 / 7200
HOLD_MS: Final = (100, 5_000)
AWAY_MS: Final = (500, 60_000)
CLOCK_MS: Final = 86_400_000
"""A scan is late, the scan or the whole controller begins again, the clock is set by up to a day."""
BEAT_S: Final = 5.0
AWAY: Final = 0.02
"""Share of its heartbeats after which SCADA falls silent until all is mended."""
LOADED: Final = 0.05
"""Of the rated power: more than this is work."""

RETURN: Final = (Kind.RESET_TRIPS, Kind.ACKNOWLEDGE, Kind.LEAVE_MAINTENANCE, Kind.CONNECT)
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
    loaded: int
    faults: int
    trips: int
    broken: str = ""


class Life:
    """What happens to a site, drawn cycle by cycle from the day's own generator, and its judge."""

    def __init__(self, day: Day) -> None:
        self.day, self.judge, self.faults, self.requests = day, Judge(day), Faults(day), Requests(day)
        self.cycle_s = day.program.cycle_ms / 1000
        self.gap = max(round(MENDED_S / self.cycle_s), 1)
        self.beat = max(round(BEAT_S / self.cycle_s), 1)
        self.waiting: list[tuple[int, Kind, int]] = []
        self.scada_here = True
        self.injected = self.loaded = 0

    def live(self, cycles: int) -> None:
        """So many cycles. Violation when an invariant is broken."""
        for _ in range(cycles):
            before = self._befall()
            # Nobody asks anything of the first scan: a reset would be no forgetting.
            image = self.day.cycle(self._commands() if before is None else [])
            self.judge.look(image)
            self.loaded += abs(self.day.plant.power_w()) > LOADED * self.day.site.config.dispatch.rated_power
            if before is not None:
                self.judge.restarted(before, image)

    def outcome(self, broken: str = "") -> Outcome:
        """What this life added up to."""
        day = self.day
        return Outcome(day.seed, day.number, day.online, self.loaded, self.injected, day.trips, broken)

    def _often(self, per_s: float) -> bool:
        return self.day.rng.random() < per_s * self.cycle_s

    def _befall(self) -> Memory | None:
        """What happens before this cycle; the memory that ended when it was a restart."""
        day = self.day
        if self._often(FAULTS_PER_S):
            day.told.append(f"{day.number} FAULT {self.faults.inject()}")
            self.injected += 1
        if self._often(MENDINGS_PER_S):
            self.faults.heal()
            if self.faults.unequal():
                return self._restart(io=False, service=True)
            self._put_right()
        if self._often(SEASONS_PER_S):
            self.faults.weather()
            self.requests.turn()
        if self._often(CLOCKS_PER_S):
            day.set_clock(int(day.rng.integers(-CLOCK_MS, CLOCK_MS)))
        if self._often(HOLDS_PER_S):
            day.hold(int(day.rng.integers(*HOLD_MS)))
        if self._often(RESTARTS_PER_S):
            return self._restart(io=bool(day.rng.random() < 0.5))
        return None

    def _restart(self, io: bool, service: bool = False) -> Memory:
        """The scan or everything begins again, after a service with racks that were made equal."""
        day = self.day
        day.told.append(
            f"{day.number} RESTART of {'the scan' if io else 'everything'}{', serviced' if service else ''}"
        )
        before = day.restart(int(day.rng.integers(*AWAY_MS)), io)
        if service:
            self.faults.equalise()
            self._put_right()
        return before

    def _put_right(self) -> None:
        """What people do once everything is mended: racks back in service, reset, connect, power."""
        day, self.scada_here = self.day, True
        out = np.flatnonzero(day.memory.sequencing.out_of_service).tolist()
        asked = [(Kind.RACK_IN_SERVICE, rack) for rack in out]
        asked += [(kind, -1) for kind in (RELEASE if day.locked_out() else RETURN)]
        self.waiting = [(day.number + self.gap * (i + 1), kind, target) for i, (kind, target) in enumerate(asked)]

    def _commands(self) -> list[Command]:
        day = self.day
        commands = [self.requests.one()] if self._often(COMMANDS_PER_S) else []
        if self.waiting and self.waiting[0][0] <= day.number:
            _, kind, target = self.waiting.pop(0)
            commands.append(day.ask(kind, target=target))
        if self.scada_here and day.number % self.beat == 0:
            commands.append(day.ask(Kind.HEARTBEAT, float(day.number)))
            self.scada_here = day.rng.random() >= AWAY
        return commands


def one(site: str, cycle_ms: int | None, hours: float, seed: int) -> Outcome:
    """One run from its seed; the same arguments give the same run."""
    compiled = at_cycle(compile_site(site), cycle_ms)
    day = Day(compiled, seed)
    life = Life(day)
    # What was built stays: the collector need not look at it again all day.
    gc.freeze()
    try:
        life.live(round(hours * 3_600_000 / compiled.config.cycle))
        return life.outcome()
    except Violation as violation:
        return life.outcome(str(violation))
    finally:
        day.close()


def at_cycle(site: Compiled, cycle_ms: int | None) -> Compiled:
    """The same site at another scan cycle."""
    if cycle_ms is None:
        return site
    return dataclasses.replace(site, config=site.config.model_copy(update={"cycle": cycle_ms}))


class Campaign:
    """Runs of one site, added up as they finish."""

    def __init__(self, site: str, cycle_ms: int | None, hours: float) -> None:
        self.site, self.cycle_ms, self.hours_each = site, cycle_ms, hours
        self.finished = self.scans = self.online = self.loaded = self.faults = self.trips = 0
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
        self.loaded += outcome.loaded
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
            "loaded_ratio": self.loaded / max(self.scans, 1),
            "faults": self.faults,
            "trips": self.trips,
        }
