"""Who joins again by itself, and when, without a plant: it waits 30 s without a cause, at most twice."""

from __future__ import annotations

from typing import Any

import pytest

from controller.core.effect import Effect
from controller.core.image import RackMode
from controller.core.sequence.rejoin import Rejoin, rejoin
from tests.sequence_bench import Racks


class Waiting(Racks):
    """R01 was taken out; the others are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.set(rejoin_after_ms=30_000, most_rejoins=2)
        self.memory.join[1:] = True

    def ask(self, site_wants: bool = True) -> Rejoin:
        return rejoin(self.settings, self.modes, self.memory, self.trips, self.system, site_wants)

    def waited(self, ms: int) -> Waiting:
        self.memory.rejoin_clear_ms[0] = ms
        return self


def test_it_waits_and_says_how_long() -> None:
    found = Waiting().waited(10_000).ask()
    assert found.left_ms.tolist() == [19_900, -1, -1, -1] and found.clear_ms.tolist() == [10_100, 0, 0, 0]
    assert found.join.tolist() == [False, True, True, True] and not found.rejoins.any()


@pytest.mark.parametrize(("waited_ms", "joins"), [(29_800, False), (29_900, True)])
def test_it_joins_when_the_wait_is_over_and_that_is_counted(waited_ms: int, joins: bool) -> None:
    found = Waiting().waited(waited_ms).ask()
    assert found.join.tolist() == [joins, True, True, True] and found.rejoins.tolist() == [int(joins), 0, 0, 0]
    assert found.clear_ms[0] == (0 if joins else 29_900) and found.left_ms[0] == (-1 if joins else 100)


def test_without_the_setting_nobody_does_and_a_person_is_asked_for_all_the_same() -> None:
    racks = Waiting().waited(40_000)
    racks.set(rejoin_after_ms=None)
    racks.memory.out_of_service[1] = True
    racks.memory.rejoins[0] = 1
    found = racks.ask()
    assert found.join.tolist() == [False, True, True, True] and found.left_ms.tolist() == [-1] * 4
    assert found.clear_ms.tolist() == [0] * 4 and found.rejoins.tolist() == [1, 0, 0, 0]
    assert found.needs_person.tolist() == [False, True, False, False]


@pytest.mark.parametrize("effect", [Effect.BLOCK_CLOSE, Effect.STOP, Effect.TRIP, Effect.LOCKOUT])
def test_a_cause_that_returns_starts_the_wait_anew(effect: Effect) -> None:
    racks = Waiting().waited(20_000)
    racks.trips.rack_effect[0] = int(effect)
    found = racks.ask()
    assert (found.clear_ms[0], found.left_ms[0], found.needs_person[0]) == (0, 30_000, False)


def test_a_cause_that_keeps_nothing_open_does_not() -> None:
    racks = Waiting().waited(20_000)
    racks.trips.rack_effect[0] = racks.trips.rack_effect_latched[0] = int(Effect.DERATE)
    found = racks.ask()
    assert found.clear_ms[0] == 20_100 and not found.needs_person.any()


@pytest.mark.parametrize(
    "why",
    [
        lambda r: r.trips.rack_effect_latched.__setitem__(0, int(Effect.TRIP)),
        lambda r: r.memory.needs_person.__setitem__(0, True),
        lambda r: r.memory.out_of_service.__setitem__(0, True),
    ],
)
def test_a_latched_row_or_a_rack_out_of_service_needs_a_person(why: Any) -> None:
    racks = Waiting().waited(40_000)
    why(racks)
    found = racks.ask()
    assert not found.join[0] and found.left_ms[0] == -1 and found.clear_ms[0] == 0
    assert found.needs_person.tolist() == [True, False, False, False]


@pytest.mark.parametrize(("rejoins", "joins"), [(1, True), (2, False)])
def test_only_so_often(rejoins: int, joins: bool) -> None:
    racks = Waiting().waited(40_000)
    racks.memory.rejoins[0] = rejoins
    assert racks.ask().join[0] == joins


def test_only_while_the_site_wants_it() -> None:
    found = Waiting().waited(40_000).ask(site_wants=False)
    assert not found.join[0] and found.left_ms[0] == -1


@pytest.mark.parametrize(
    ("mode", "ms", "left"),
    [(RackMode.CLOSED, 3_600_000, 0), (RackMode.CLOSED, 3_599_999, 2), (RackMode.OPEN, 4_000_000, 2)],
)
def test_an_hour_in_peace_gives_them_back(mode: RackMode, ms: int, left: int) -> None:
    racks = Waiting()
    racks.memory.rejoins[1] = 2
    racks.modes.rack_mode[1], racks.modes.rack_mode_ms[1] = int(mode), ms
    assert racks.ask().rejoins.tolist() == [0, left, 0, 0]
