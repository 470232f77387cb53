"""Carries a retained state into another program: slots by their names, racks by their number, cells where the battery
has the same size.

What a field is decides how it follows: its dimensions say it, so a new field needs no line here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from controller.core.layout import Layout, tags_of
from controller.core.retained import Retained
from controller.core.signal import Ints
from controller.core.topology import place_name

KNOWN_FROM_CELLS: Final = frozenset({"rack_known", "rack_based", "rack_pairs"})
"""Fields per rack that say something of its cells: they follow only with the cells."""


@dataclasses.dataclass(frozen=True, slots=True)
class Carried:
    """The state in the program that will run, and what of it has no place there."""

    retained: Retained
    lost: list[str]


def carried(old: Retained, was: Sequence[str], layout: Layout[Retained], names: Sequence[str], program: int) -> Carried:
    """All of `old` that has a place in the program of `layout`. was, names: the slots `row@place` of both programs.

    Site-wide fields follow as they are, the accepted configuration among them: other limits are told, though the
    rows or places changed with them. SOC of a battery of another size is 50 % with a variance of one: unknown.
    """
    new = layout.blank()
    index = {name: i for i, name in enumerate(names)}
    here = np.array([index.get(n, -1) for n in was], np.int64)
    kept, racks = here >= 0, len(new.out_of_service)
    same = old.cell_charge_ratio.shape == new.cell_charge_ratio.shape
    values: dict[str, Any] = {}
    for tag in tags_of(Retained):
        before, after = getattr(old, tag.name), getattr(new, tag.name)
        if not tag.dims:
            values[tag.name] = before
        elif tag.dims == ("slot",):
            after[here[kept]] = before[kept]
        elif tag.dims == ("shelf",):
            _shelf(before, after, here)
        elif tag.dims == ("rack",) and tag.name not in KNOWN_FROM_CELLS:
            after[: len(before)] = before[:racks]
        elif same and before.shape == after.shape:
            after[...] = before
    if not same:
        new.cell_charge_ratio[...] = 0.5
        new.cell_variance[...] = 1.0
    first_out = int(here[old.first_out]) if old.first_out >= 0 else -1
    retained = dataclasses.replace(new, **values | {"program": program, "first_out": first_out})
    lost = [f"the latch {was[i]} has no place in this program" for i in np.flatnonzero(old.latched & ~kept).tolist()]
    out = np.flatnonzero(old.out_of_service[racks:]) + racks
    lost += [f"rack {place_name(('rack',), (int(r),))} was out of service and is not in this program" for r in out]
    if not same:
        lost.append("the battery has another size; its charge is unknown")
    return Carried(retained, lost)


def _shelf(old: Any, new: Any, here: Ints) -> None:
    """The records of the shelf with the slots of this program; an alarm that is gone leaves it."""
    kept = [r for r in old if r["kind"] and 0 <= r["slot"] < len(here) and here[r["slot"]] >= 0]
    for i, record in enumerate(kept[: len(new)]):
        new[i] = record
        new[i]["slot"] = here[record["slot"]]
