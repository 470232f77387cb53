"""Exhaustive search of a small plant: one rack, every input in every reachable state, real stage and composer.

A scan lasts 5 s here (CELLWARDEN_MODEL_STEP_MS), so that every timer of the stage has only a few phases; the stage
does not know. The search goes breadth first from the start until no new state appears. What an input may be is
deliberately wider than physics.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections import deque
from typing import Any, NamedTuple

import numpy as np

from controller.core.command import Command, Kind, Origin, Role
from controller.core.compose import compose
from controller.core.effect import LOCKOUT, OPEN_NOW, STOP, TRIP
from controller.core.image import Alarms, Limits, Measured, Modes, Power, RackMode, SiteMode, System, Trips
from controller.core.layout import Layout
from controller.core.memory import SequencingMemory
from controller.core.sequence import Sequences, sequence
from controller.core.sequence.stage import STOPPING_MS
from controller.core.settings import ContactorSettings, SequenceSettings
from controller.core.signal import Quality
from controller.core.topology import Topology

STEP_MS = int(os.environ.get("CELLWARDEN_MODEL_STEP_MS", "5000"))
ATTEMPTS = 2
FUSE_WAIT_MS = 10_000
BREAKING_A = 200.0
SETTINGS = SequenceSettings(
    precharge_voltage_v=5.0, precharge_current_a=1.0, precharge_timeout_ms=10_000, precharge_attempts=ATTEMPTS,
    cool_down_ms=5000, rack_voltage_v=10.0, open_current_a=5.0,
    contactor=ContactorSettings(BREAKING_A, FUSE_WAIT_MS, 280.0, 1e5, 100.0, 0),
)  # fmt: skip
TOPOLOGY = Topology.regular(1, 1, 1, 1)
DIMS = {**TOPOLOGY.dims, "slot": 1, "bus": 1}
TIMED_SITE = (SiteMode.STARTING, SiteMode.CONNECTING, SiteMode.STOPPING)
TIMED_RACK = (RackMode.PRECHARGE, RackMode.STOPPING, RackMode.FUSE_WAIT)
"""Modes in which some guard looks at the time; the time in any other mode means nothing and is left out."""
SITE_MOST_MS = 50_000

EFFECTS = (0, STOP, TRIP, LOCKOUT)
CURRENTS = ((0.0, True), (50.0, True), (250.0, True), (0.0, False))
VOLTAGES = ("meets", "apart", "link bad")
ALONE = ("rack bad", "precharge bad")
"""Link against rack; what is bad shows a value that would meet, or a closed precharge contactor. The last two are tried
where nothing else stands in the way of closing, to keep the search small."""
FEEDBACKS = ("follows", "closed", "bad")
ASKED = (None, Kind.CONNECT, Kind.DISCONNECT, Kind.RACK_OUT_OF_SERVICE, Kind.RACK_IN_SERVICE, Kind.ENTER_MAINTENANCE,
         Kind.LEAVE_MAINTENANCE)  # fmt: skip


REMEMBERED = ("join", "cool_down_ms", "out_of_service", "maintenance_wanted", "bank_pause_ms")


class Input(NamedTuple):
    """All that a scan may see."""

    effect: int
    current: tuple[float, bool]
    volts: str
    feedback: str
    asked: Kind | None


class State(NamedTuple):
    """Where the stage stands, with times that no longer matter cut off."""

    modes: Modes
    memory: SequencingMemory
    main: bool


def inputs() -> list[Input]:
    """Every combination of field and effects without a command, and every command in a few of them."""
    field = [Input(*x, None) for x in itertools.product(EFFECTS, CURRENTS, VOLTAGES, FEEDBACKS)]
    field += [Input(effect, CURRENTS[0], volts, "follows", None) for effect in EFFECTS for volts in ALONE]
    asked = [
        Input(effect, CURRENTS[0], volts, "follows", kind)
        for kind in ASKED[1:]
        for effect in (0, TRIP)
        for volts in VOLTAGES[:1]
    ]
    return field + asked


class Model:
    """The real stage with everything around it reduced to `Input`."""

    def __init__(self) -> None:
        self.sequences = Sequences(TOPOLOGY, SETTINGS)
        self.measured = Layout(Measured, DIMS).blank()
        self.trips = Layout(Trips, DIMS).blank()
        self.system = dataclasses.replace(Layout(System, DIMS).blank(), elapsed_ms=STEP_MS, now_ms=10**6)
        self.limits = Layout(Limits, DIMS).blank()
        self.alarms, self.power = Layout(Alarms, DIMS).blank(), Layout(Power, DIMS).blank()
        p = self.measured.points
        for field in dataclasses.fields(p):
            getattr(p, field.name).quality[...] = int(Quality.GOOD)
        p.rack_voltage_v.value[...] = 200.0
        self.commands = {
            kind: [Command(1, kind, Origin.OPCUA, Role.ENGINEER, 0, 10**9, target=0)] for kind in ASKED if kind
        }
        self.blank = Layout(SequencingMemory, DIMS).blank()
        self.ledger = Layout(Modes, DIMS).blank().contactors

    def first(self) -> State:
        """As after a start."""
        return State(Layout(Modes, DIMS).blank(), self.blank, False)

    def step(self, state: State, seen: Input) -> State:
        """One scan."""
        p, good, bad = self.measured.points, int(Quality.GOOD), int(Quality.BAD_COMM)
        p.rack_current_a.value[...], p.rack_current_a.quality[...] = seen.current[0], good if seen.current[1] else bad
        p.rack_link_voltage_v.value[...] = 0.0 if seen.volts == "apart" else 200.0
        p.rack_link_voltage_v.quality[...] = bad if seen.volts == "link bad" else good
        p.rack_voltage_v.quality[...] = bad if seen.volts == "rack bad" else good
        closed = state.main if seen.feedback == "follows" else seen.feedback == "closed"
        p.rack_main_closed.value[...], p.rack_main_closed.quality[...] = closed, bad if seen.feedback == "bad" else good
        p.rack_precharge_closed.value[...] = state.modes.rack_mode == RackMode.PRECHARGE
        p.rack_precharge_closed.quality[...] = bad if seen.volts == "precharge bad" else good
        self.trips.rack_effect[...] = seen.effect
        trips = dataclasses.replace(self.trips, site_effect=seen.effect)
        commands = self.commands[seen.asked] if seen.asked else []
        modes, _, memory = sequence(
            self.sequences, state.memory, state.modes, self.measured, trips, self.system, commands
        )
        bleeds = np.zeros((1, 1, 1), bool)
        out = compose(
            trips, self.limits, modes, self.power, bleeds, self.alarms, np.zeros(1, np.int64), TOPOLOGY, self.system
        )
        return State(self.short(modes), self.small(memory), bool(out.rack_main_close[0]))

    def short(self, modes: Modes) -> Modes:
        """Without what no guard looks at."""
        site, rack = SiteMode(modes.site_mode), RackMode(int(modes.rack_mode[0]))
        return dataclasses.replace(
            modes,
            site_mode_ms=modes.site_mode_ms if site in TIMED_SITE else 0,
            rack_mode_ms=modes.rack_mode_ms if rack in TIMED_RACK else np.zeros(1, np.int64),
            contactors=self.ledger,
        )

    def small(self, memory: SequencingMemory) -> SequencingMemory:
        """Without the ledger's memory, which no guard looks at."""
        return dataclasses.replace(self.blank, **{name: getattr(memory, name) for name in REMEMBERED})

    def key(self, state: State) -> tuple[int, ...]:
        """Equal for equal states."""
        m, s = state.modes, state.memory
        return (
            m.site_mode, m.site_mode_ms, int(m.rack_mode[0]), int(m.rack_mode_ms[0]), int(m.rack_attempts[0]),
            m.connect_wanted, int(s.join[0]), int(s.cool_down_ms[0]), int(s.out_of_service[0]),
            s.maintenance_wanted, int(s.bank_pause_ms[0]), int(state.main),
        )  # fmt: skip


class Graph(NamedTuple):
    """Every reachable state and every scan between two of them."""

    states: list[State]
    moves: list[tuple[int, Input, int]]


def search() -> Graph:
    """The whole reachable space."""
    model, every = Model(), inputs()
    first = model.first()
    index = {model.key(first): 0}
    states, moves, waiting = [first], [], deque([0])
    while waiting:
        at = waiting.popleft()
        for seen in every:
            after = model.step(states[at], seen)
            key = model.key(after)
            if key not in index:
                index[key] = len(states)
                states.append(after)
                waiting.append(index[key])
            moves.append((at, seen, index[key]))
    return Graph(states, moves)


def rack(state: State) -> RackMode:
    return RackMode(int(state.modes.rack_mode[0]))


def the_search_reaches_every_mode_of_both_tables(graph: Graph) -> None:
    assert {SiteMode(s.modes.site_mode) for s in graph.states} == set(SiteMode)
    assert {rack(s) for s in graph.states} == set(RackMode)


def a_fatal_cause_opens_in_the_same_scan_or_when_the_fuse_has_had_its_time(graph: Graph) -> None:
    for before, seen, after in graph.moves:
        old, new = graph.states[before], graph.states[after]
        if not seen.effect & OPEN_NOW:
            continue
        if not new.main:
            assert rack(new) not in (RackMode.PRECHARGE, RackMode.CLOSED, RackMode.STOPPING)
            continue
        assert rack(new) is RackMode.FUSE_WAIT
        waiting = rack(old) is RackMode.FUSE_WAIT
        too_much = seen.current[0] > BREAKING_A if seen.current[1] else waiting
        assert too_much, "only a current that may not be broken holds a contactor"
        assert not waiting or int(old.modes.rack_mode_ms[0]) + STEP_MS < FUSE_WAIT_MS


def a_main_contactor_closes_only_after_precharge_on_good_data_that_meet(graph: Graph) -> None:
    closings = 0
    for before, seen, after in graph.moves:
        old, new = graph.states[before], graph.states[after]
        if new.main and not old.main:
            closings += 1
            assert rack(old) is RackMode.PRECHARGE and rack(new) is RackMode.CLOSED
            assert seen.volts == "meets"
            assert not seen.effect & (OPEN_NOW | STOP)
            assert seen.current == (0.0, True) or seen.feedback == "closed"
    assert closings


def precharge_begins_only_on_good_data_with_the_main_contactor_seen_open(graph: Graph) -> None:
    for before, seen, after in graph.moves:
        if rack(graph.states[after]) is RackMode.PRECHARGE and rack(graph.states[before]) is not RackMode.PRECHARGE:
            assert seen.volts not in ("link bad", "rack bad") and seen.feedback == "follows" and not seen.effect


def every_transitional_mode_ends_by_time_whatever_the_field_says(graph: Graph) -> None:
    longest: dict[Any, int] = {}
    for s in graph.states:
        for mode, ms in ((rack(s), int(s.modes.rack_mode_ms[0])), (SiteMode(s.modes.site_mode), s.modes.site_mode_ms)):
            longest[mode] = max(longest.get(mode, 0), ms)
    assert longest[RackMode.PRECHARGE] < SETTINGS.precharge_timeout_ms + STEP_MS
    assert longest[RackMode.STOPPING] < STOPPING_MS + STEP_MS
    assert longest[RackMode.FUSE_WAIT] < FUSE_WAIT_MS + STEP_MS
    for mode in (SiteMode.STARTING, SiteMode.CONNECTING, SiteMode.STOPPING):
        assert longest[mode] < SITE_MOST_MS


def no_state_is_without_exit(graph: Graph) -> None:
    """From every reachable state some sequence of inputs leads back to STANDBY with the rack open."""
    back: dict[int, list[int]] = {}
    for before, _, after in graph.moves:
        back.setdefault(after, []).append(before)
    home = [i for i, s in enumerate(graph.states) if s.modes.site_mode == SiteMode.STANDBY and rack(s) is RackMode.OPEN]
    seen, waiting = set(home), deque(home)
    while waiting:
        for before in back.get(waiting.popleft(), []):
            if before not in seen:
                seen.add(before)
                waiting.append(before)
    assert len(seen) == len(graph.states)


def stop_ends_with_open_contactors_in_bounded_time(graph: Graph) -> None:
    """With STOP in force and whatever else, closed contactors open before STOPPING and the fuse have run out."""
    follow: dict[int, list[int]] = {}
    for before, seen, after in graph.moves:
        if seen.effect & STOP and graph.states[after].main:
            follow.setdefault(before, []).append(after)
    depth: dict[int, int] = {}

    def longest(at: int) -> int:
        if at not in depth:
            depth[at] = -1
            depth[at] = 1 + max((longest(n) for n in follow.get(at, [])), default=-1)
        assert depth[at] >= 0, "a loop in which the rack stays closed under STOP"
        return depth[at]

    most = (STOPPING_MS + FUSE_WAIT_MS) // STEP_MS + 2
    assert max(longest(i) for i, s in enumerate(graph.states) if s.main) <= most


CHECKS = (
    the_search_reaches_every_mode_of_both_tables,
    a_fatal_cause_opens_in_the_same_scan_or_when_the_fuse_has_had_its_time,
    a_main_contactor_closes_only_after_precharge_on_good_data_that_meet,
    precharge_begins_only_on_good_data_with_the_main_contactor_seen_open,
    every_transitional_mode_ends_by_time_whatever_the_field_says,
    no_state_is_without_exit,
    stop_ends_with_open_contactors_in_bounded_time,
)


def test_every_reachable_state() -> None:
    """One search, all checks: the search is what takes the time."""
    graph = search()
    for check in CHECKS:
        check(graph)
