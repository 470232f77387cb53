"""A latched row over any story of levels, silences and resets: it goes when somebody who may asks and it is clear."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.command import Role
from controller.core.image import SiteMode
from controller.core.protect import Reset
from controller.core.protect.row import Threshold
from tests.protect_bench import BASE
from tests.protect_table import Switch, Table, reset, row

EXAMPLES = int(os.environ.get("CELLWARDEN_EXAMPLES", "100"))
BAND = BASE.program.limit.insulation
"""Low is bad: it trips below `trip`, and is clear above `clear`."""
LEVELS_OHM = (0.99 * BAND.trip, 1.01 * BAND.trip, 0.99 * BAND.clear, 1.01 * BAND.clear)
ROLES = (Role.OBSERVER, Role.OPERATOR, Role.ENGINEER)
RULES = tuple(Reset)
TARGETS = (*(-1,) * 12, *range(2 * len(RULES)))

levels = st.tuples(st.sampled_from(LEVELS_OHM), st.sampled_from([True, True, True, False]))
asked = st.none() | st.tuples(st.sampled_from(ROLES), st.sampled_from(TARGETS))
scans = st.lists(
    st.tuples(levels, asked, st.sampled_from([SiteMode.STANDBY, SiteMode.MAINTENANCE])), min_size=12, max_size=40
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from([0, 100, 300]), scans)
def test_a_latch_goes_exactly_when_one_who_may_asks_and_it_is_clear(
    delay_ms: int, story: list[tuple[tuple[float, bool], tuple[Role, int] | None, SiteMode]]
) -> None:
    level = Switch(at_rest=1e6)
    cause = Threshold(level.read, "insulation", over=False)
    table = Table(*(row(cause, delay_ms, rule, name=rule.name) for rule in RULES))
    holds = np.array([s.row.reset is not Reset.SELF for s in table.matrix.slots])
    needs_engineer = np.array([s.row.reset is Reset.MAINTENANCE for s in table.matrix.slots])
    first_rack = np.array([s.place == "R01" for s in table.matrix.slots])
    for (ohm, known), ask, mode in story:
        level.value[0], level.known[0] = ohm, known
        table.bench.modes = dataclasses.replace(table.bench.modes, site_mode=int(mode))
        latched, acted = table.memory.latched.copy(), table.memory.active.copy()
        seen = table.scan(*([] if ask is None else [reset(ask[1], ask[0])]))

        clear = known and ohm > BAND.clear
        may = np.zeros(len(holds), bool)
        if ask is not None and ask[0] >= Role.OPERATOR and clear:
            may = (np.arange(len(holds)) == ask[1]) | (ask[1] < 0)
            may &= ~needs_engineer | (ask[0] >= Role.ENGINEER and mode is SiteMode.MAINTENANCE)
        gone = latched & ~seen.slot_latched
        assert (gone == latched & may).all(), "asked by one who may, and clear: then, and only then"
        assert seen.slot_active[seen.slot_latched].all() and not seen.slot_latched[~holds].any()
        assert clear or not (acted & ~seen.slot_active).any(), "no row ends before it is clear, latched or not"
        assert not (seen.slot_active & ~first_rack).any(), "the other rack has no part in it"
