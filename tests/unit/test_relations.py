"""Which alarm is told as the consequence of which, place by place, on a plant small enough to list every pair.

R01 and P01 are on the first bank, R02 and P02 on the second, each rack has two modules. GW1 reads R01 and its modules;
GW2 reads the modules of R02, P02 and a point of the site; IO reads nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from controller.core.effect import Effect
from controller.core.protect import Priority, Reset, Row
from controller.core.protect.engine import Matrix
from controller.core.protect.relations import ANY_TRIP, pairs, related
from controller.core.protect.row import When
from controller.core.topology import Topology, Wires
from tests.protect_bench import BASE

EACH = np.array([0, 1])
PLANT = dataclasses.replace(
    Topology.regular(2, 2, 4, 2, 2, EACH, EACH),
    wires=Wires(
        ("GW1", "GW2", "IO"),
        np.array([[[1, 1], [0, 0]], [[0, 0], [1, 1]], [[0, 0], [0, 0]]], bool),
        np.array([[1, 0], [0, 0], [0, 0]], bool),
        np.array([[0, 0], [0, 1], [0, 0]], bool),
        ((), ("door_closed",), ()),
    ),
)


def row(name: str, place: str = "rack", effect: Effect = Effect.ALARM, **more: Any) -> Row:
    never = When(lambda facts: np.zeros(0, bool))
    return Row(name, place, never, effect, 0, Reset.SELF, Priority.LOW, "", "", **more)


def told(*rows: Row, **because: str) -> list[str]:
    """Every pair, `consequence@place < root@place`, in the order in which they are told."""
    table = {name: tuple(roots.split()) for name, roots in because.items()}
    matrix = Matrix(related(rows, table), PLANT, BASE.program.limit, 100)
    names = [f"{s.row.id}@{s.place}" for s in matrix.slots]
    return [f"{names[c]} < {names[r]}" for c, r in zip(*pairs(matrix), strict=True)]


@pytest.mark.parametrize(
    ("consequence", "root", "together"),
    [
        ("module", "module", "R01/M01<R01/M01 R01/M02<R01/M02 R02/M01<R02/M01 R02/M02<R02/M02"),
        ("module", "rack", "R01/M01<R01 R01/M02<R01 R02/M01<R02 R02/M02<R02"),
        ("rack", "module", "R01<R01/M01 R01<R01/M02 R02<R02/M01 R02<R02/M02"),
        ("rack", "rack", "R01<R01 R02<R02"),
        ("rack", "pcs", "R01<P01 R02<P02"),
        ("pcs", "rack", "P01<R01 P02<R02"),
        ("pcs", "pcs", "P01<P01 P02<P02"),
        ("module", "bus", "R01/M01<GW1 R01/M02<GW1 R02/M01<GW2 R02/M02<GW2"),
        ("rack", "bus", "R01<GW1"),
        ("pcs", "bus", "P02<GW2"),
        ("site", "bus", "site<GW2"),
        ("bus", "site", "GW1<site GW2<site"),
        ("module", "site", "R01/M01<site R01/M02<site R02/M01<site R02/M02<site"),
        ("rack", "site", "R01<site R02<site"),
        ("pcs", "site", "P01<site P02<site"),
        ("site", "rack", "site<R01 site<R02"),
        ("bus", "module", "GW1<R01/M01 GW1<R01/M02 GW2<R02/M01 GW2<R02/M02"),
    ],
)
def test_places_belong_together_when_they_touch_the_same_things(consequence: str, root: str, together: str) -> None:
    found = told(row("a", consequence), row("b", root), a="b")
    assert [pair.replace("a@", "").replace("b@", "").replace(" ", "") for pair in found] == together.split()


def test_of_several_roots_the_outermost_is_told_last_whatever_the_order_of_rows() -> None:
    because = {"cell": "module", "module": "rack", "rack": "process"}
    rows = [row(name) for name in ("process", "cell", "rack", "module")]
    for each in (rows, rows[::-1]):
        found = [pair for pair in told(*each, **because) if pair.startswith("cell@R01")]
        assert found == ["cell@R01 < module@R01", "cell@R01 < rack@R01", "cell@R01 < process@R01"]


def test_two_that_explain_each_other_are_told_with_the_other_and_not_with_themselves() -> None:
    found = told(row("a"), row("b"), a="b", b="a")
    assert sorted(found) == ["a@R01 < b@R01", "a@R02 < b@R02", "b@R01 < a@R01", "b@R02 < a@R02"]


def test_without_relations_there_are_no_pairs() -> None:
    assert told(row("a"), row("b")) == []


class TestRelated:
    def test_a_consequence_is_told_a_moment_later_and_who_stands_alone_when_it_likes(self) -> None:
        a, b = related([row("a", alarm_after_ms=100), row("b", alarm_after_ms=200)], {"a": ("b",)})
        assert (a.explained_by, a.alarm_after_ms) == (("b",), 1500)
        assert (b.explained_by, b.alarm_after_ms) == ((), 200)

    def test_what_any_trip_explains_is_explained_by_every_other_row_that_opens(self) -> None:
        rows = [row("a", effect=Effect.TRIP), row("b"), row("c", effect=Effect.STOP), row("d", effect=Effect.LOCKOUT)]
        a, b, *_ = related(rows, {"a": (ANY_TRIP,), "b": (ANY_TRIP,)})
        assert (a.explained_by, b.explained_by) == (("c", "d"), ("a", "c", "d"))
