"""The tables of moves, line by line and without a plant: in this mode, while this holds, the next mode is that one.

`mode | what holds | next mode: reason`; a mode alone at the end means that it stays.
"""

from __future__ import annotations

import itertools
from enum import IntEnum
from typing import Any

import numpy as np
import pytest

from controller.core.image import RackMode, SiteMode
from controller.core.sequence import RACK_MOVES, SITE_MOVES
from controller.core.sequence.engine import Move, Sequence
from controller.core.sequence.rack import RackView
from controller.core.sequence.site import SiteView

RACK = """
OPEN           | wanted ready its_turn                        | PRECHARGE: precharging
OPEN           | wanted ready its_turn rejoining              | PRECHARGE: precharging: joins again by itself
OPEN           | ready its_turn                               | OPEN
OPEN           | wanted its_turn                              | OPEN
OPEN           | wanted ready                                 | OPEN
OPEN           | ready its_turn rejoining                     | OPEN
OPEN           | wanted its_turn rejoining                    | OPEN
OPEN           | wanted ready rejoining                       | OPEN
OPEN           | wanted ready its_turn out_of_service         | OUT_OF_SERVICE: taken out of service
OPEN           | wanted ready its_turn trip                   | TRIPPED: tripped by protection
OPEN           | wanted ready its_turn trip lockout           | LOCKED_OUT: locked out by protection
OUT_OF_SERVICE | out_of_service wanted ready its_turn         | OUT_OF_SERVICE
OUT_OF_SERVICE |                                              | OPEN: back in service
PRECHARGE      | wanted                                       | PRECHARGE
PRECHARGE      | wanted precharged                            | CLOSED: precharge done
PRECHARGE      | wanted precharged precharge_overdue          | CLOSED: precharge done
PRECHARGE      | wanted precharge_overdue                     | OPEN: precharge took too long
PRECHARGE      | precharged                                   | OPEN: no longer wanted
PRECHARGE      | wanted precharged stop                       | OPEN: stopped by protection
PRECHARGE      | wanted precharged out_of_service             | OPEN: taken out of service
PRECHARGE      | wanted precharged resistor_hot               | OPEN: precharge resistor too hot
PRECHARGE      | wanted precharged trip stop                  | TRIPPED: tripped by protection
PRECHARGE      | wanted precharged trip lockout               | LOCKED_OUT: locked out by protection
PRECHARGE      | wanted fatal trip beyond_breaking            | TRIPPED: tripped by protection
CLOSED         | wanted                                       | CLOSED
CLOSED         | wanted beyond_breaking                       | CLOSED
CLOSED         | wanted fatal trip                            | TRIPPED: tripped by protection
CLOSED         | wanted fatal trip lockout                    | LOCKED_OUT: locked out by protection
CLOSED         | wanted fatal trip beyond_breaking            | FUSE_WAIT: waiting for the fuse: too much to break
CLOSED         | wanted fatal lockout beyond_breaking         | FUSE_WAIT: waiting for the fuse: too much to break
CLOSED         | wanted stop                                  | STOPPING: stopped by protection
CLOSED         |                                              | STOPPING: no longer wanted
CLOSED         | wanted out_of_service                        | STOPPING: taken out of service
STOPPING       | wanted                                       | STOPPING
STOPPING       | beyond_breaking                              | STOPPING
STOPPING       | no_current                                   | OPEN: opened without current
STOPPING       | stopping_overdue                             | OPEN: opened under current: it did not end in time
STOPPING       | stopping_overdue beyond_breaking             | FUSE_WAIT: current stayed: waiting for the fuse
STOPPING       | fatal trip                                   | TRIPPED: tripped by protection
STOPPING       | fatal trip lockout                           | LOCKED_OUT: locked out by protection
STOPPING       | fatal trip beyond_breaking                   | FUSE_WAIT: waiting for the fuse: too much to break
FUSE_WAIT      | fatal trip lockout beyond_breaking           | FUSE_WAIT
FUSE_WAIT      | fatal trip beyond_breaking                   | FUSE_WAIT
FUSE_WAIT      | fatal trip lockout                           | LOCKED_OUT: locked out after the fuse
FUSE_WAIT      | fatal trip                                   | TRIPPED: opened after the fuse
FUSE_WAIT      | wanted                                       | TRIPPED: opened after the fuse
TRIPPED        | trip wanted ready its_turn                   | TRIPPED
TRIPPED        | trip lockout                                 | LOCKED_OUT: locked out by protection
TRIPPED        | wanted ready its_turn                        | OPEN: trip reset
LOCKED_OUT     | lockout wanted ready its_turn                | LOCKED_OUT
LOCKED_OUT     | trip                                         | LOCKED_OUT
LOCKED_OUT     | wanted ready its_turn                        | OPEN: lock-out released
"""

SITE = """
STARTING    | wanted                                       | STARTING
STARTING    | inputs_judged                                | STANDBY: inputs judged
STARTING    | inputs_judged trip                           | TRIPPED: tripped by protection
STARTING    | inputs_judged trip lockout                   | LOCKED_OUT: locked out
STANDBY     | all_open                                     | STANDBY
STANDBY     | wanted all_open                              | CONNECTING: connect asked for
STANDBY     | wanted stop                                  | STANDBY
STANDBY     | wanted trip                                  | TRIPPED: tripped by protection
STANDBY     | wanted trip lockout                          | LOCKED_OUT: locked out
STANDBY     | wanted maintenance_wanted all_open           | MAINTENANCE: maintenance asked for
STANDBY     | maintenance_wanted                           | STANDBY
CONNECTING  | wanted                                       | CONNECTING
CONNECTING  | wanted enough_racks                          | CONNECTING
CONNECTING  | wanted enough_racks all_joined               | ONLINE: racks connected
CONNECTING  | wanted enough_racks connecting_overdue       | ONLINE: connected without every rack
CONNECTING  | wanted connecting_overdue                    | STOPPING: too few racks could be connected
CONNECTING  | all_joined enough_racks                      | STOPPING: disconnect asked for
CONNECTING  | wanted all_joined enough_racks stop          | STOPPING: stopped by protection
CONNECTING  | wanted all_joined enough_racks trip          | TRIPPED: tripped by protection
CONNECTING  | wanted all_joined enough_racks trip lockout  | LOCKED_OUT: locked out
ONLINE      | wanted enough_racks                          | ONLINE
ONLINE      | wanted                                       | STOPPING: too few racks are connected
ONLINE      | enough_racks                                 | STOPPING: disconnect asked for
ONLINE      | wanted enough_racks stop                     | STOPPING: stopped by protection
ONLINE      | wanted enough_racks trip                     | TRIPPED: tripped by protection
ONLINE      | wanted enough_racks trip lockout             | LOCKED_OUT: locked out
STOPPING    | wanted                                       | STOPPING
STOPPING    | all_open                                     | STANDBY: all racks open
STOPPING    | stopping_overdue                             | STANDBY: racks did not open in time
STOPPING    | trip all_open                                | TRIPPED: tripped by protection
STOPPING    | trip lockout all_open                        | LOCKED_OUT: locked out
TRIPPED     | trip wanted all_open                         | TRIPPED
TRIPPED     | trip lockout                                 | LOCKED_OUT: locked out
TRIPPED     | wanted                                       | STANDBY: trip reset
TRIPPED     | trip maintenance_wanted                      | TRIPPED
TRIPPED     | trip maintenance_wanted all_open             | MAINTENANCE: maintenance asked for
LOCKED_OUT  | wanted all_open                              | LOCKED_OUT
LOCKED_OUT  | lockout maintenance_wanted                   | MAINTENANCE: maintenance asked for
MAINTENANCE | maintenance_wanted lockout trip wanted       | MAINTENANCE
MAINTENANCE | lockout trip                                 | STANDBY: maintenance ended
"""


def lines(table: str) -> list[str]:
    return [" | ".join(part.strip() for part in line.split("|")) for line in table.strip().splitlines()]


def check(line: str, modes: type[IntEnum], moves: tuple[Move, ...], view: Any) -> None:
    mode, holds, then = line.split(" | ")
    table = Sequence(modes, moves)
    table.attach(view)
    for guard in holds.split():
        assert hasattr(view, guard), guard
        setattr(view, guard, True)
    new, move = table.step(modes[mode], view)
    assert (new.name if move is None else f"{new.name}: {move.because}") == then


@pytest.mark.parametrize("line", lines(RACK))
def test_rack(line: str) -> None:
    check(line, RackMode, RACK_MOVES, RackView())


@pytest.mark.parametrize("line", lines(SITE))
def test_site(line: str) -> None:
    check(line, SiteMode, SITE_MOVES, SiteView())


def test_the_table_is_the_only_way_into_a_mode() -> None:
    view = RackView()
    Sequence(RackMode, RACK_MOVES).attach(view)
    assert not [name for name in dir(view) if name.startswith("to_")]


@pytest.mark.parametrize(("table", "moves"), [(RACK, RACK_MOVES), (SITE, SITE_MOVES)], ids=["rack", "site"])
def test_every_move_has_a_line(table: str, moves: tuple[Move, ...]) -> None:
    told = {(line.split(" | ")[0], line.split(" | ")[2]) for line in lines(table)}
    assert {(s.name, f"{m.to.name}: {m.because}") for m in moves for s in m.source} <= told


TABLES = [(RackMode, RACK_MOVES, RackView), (SiteMode, SITE_MOVES, SiteView)]


@pytest.mark.parametrize(("modes", "moves", "view"), TABLES, ids=["rack", "site"])
def test_every_guard_says_what_it_means(modes: Any, moves: Any, view: Any) -> None:
    assert {g for m in moves for g in (*m.when, *m.unless)} == set(view.MEANING)


@pytest.mark.parametrize(("modes", "moves", "view"), TABLES, ids=["rack", "site"])
def test_no_mode_is_without_exit_and_every_mode_can_be_reached(modes: Any, moves: Any, view: Any) -> None:
    left = {s for m in moves for s in m.source}
    reached = {m.to for m in moves} | {modes(0)}
    assert left == set(modes)
    assert reached == set(modes)


@pytest.mark.parametrize(
    ("modes", "moves", "view", "energised"),
    [
        (RackMode, RACK_MOVES, RackView, {RackMode.PRECHARGE, RackMode.CLOSED, RackMode.STOPPING}),
        (SiteMode, SITE_MOVES, SiteView, {SiteMode.CONNECTING, SiteMode.ONLINE, SiteMode.STOPPING}),
    ],
    ids=["rack", "site"],
)
def test_whatever_else_holds_a_fatal_cause_leads_out_of_every_energised_mode_in_one_step(
    modes: Any, moves: Any, view: Any, energised: set[Any]
) -> None:
    """Exhaustive over every mode and every combination of guards."""
    table = Sequence(modes, moves)
    v = view()
    table.attach(v)
    guards = sorted({g for m in moves for g in (*m.when, *m.unless)} - {"trip", "lockout"})
    for mode in modes:
        for values in itertools.product((False, True), repeat=len(guards)):
            for guard, value in zip(guards, values, strict=True):
                setattr(v, guard, value)
            for trip, lockout in ((True, False), (False, True), (True, True)):
                v.trip, v.lockout = trip, lockout
                after, _ = table.step(mode, v)
                assert after not in energised, (mode, values, trip, lockout)


def test_the_library_and_the_table_agree_on_the_first_match() -> None:
    """`transitions` and a plain reading of the table give the same move, over random views."""
    table = Sequence(RackMode, RACK_MOVES)
    v = RackView()
    table.attach(v)
    rng = np.random.default_rng(1)
    guards = sorted({g for m in RACK_MOVES for g in (*m.when, *m.unless)})
    for _ in range(5000):
        for guard in guards:
            setattr(v, guard, bool(rng.random() < 0.5))
        mode = RackMode(int(rng.integers(len(RackMode))))
        wanted = next((m for m in RACK_MOVES if mode in m.source and m.applies(v)), None)
        after, move = table.step(mode, v)
        assert move is wanted
        assert after == (wanted.to if wanted else mode)


def test_diagrams_are_printed_from_the_tables() -> None:
    text = Sequence(RackMode, RACK_MOVES).diagram("rack")
    assert "PRECHARGE --> CLOSED: precharge done" in text
    assert "[*] --> OPEN" in text
    assert Sequence(RackMode, RACK_MOVES).listing().splitlines()[2].startswith("| 1 | CLOSED, STOPPING | FUSE_WAIT |")
    assert (
        "| OPEN | PRECHARGE | wanted and ready and its_turn |  | precharging |"
        in Sequence(RackMode, RACK_MOVES).listing()
    )
