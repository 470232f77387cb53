"""When an open rack counts as live: each witness at its boundary, and never one alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from controller.core.layout import Layout
from controller.core.memory import SwingMemory
from controller.core.protect import ROWS, Matrix
from controller.core.protect.live import SETTLE_MS, TICK_MS, moves_with_bank, open_rack_live, swing
from controller.core.protect.row import Threshold, When
from controller.core.signal import Samples
from controller.core.topology import Topology
from tests.protect_bench import BASE, Bench

LINK_V = 210.56
OTHER, CELLS, PCS = "rack_current_redundant_a", "cells", "pcs"


def bench(shown_a: float, *, second_a: float | None = None, gap_a: float = 0.0, ac: bool = False) -> Bench:
    """R01 is open and shows a current; the PCS gives 60 kW, of which R02 gives all but `gap_a`."""
    b = Bench()
    b.outputs.rack_main_close[0] = b.outputs.rack_precharge_close[0] = False
    b.put("rack_main_closed", 0.0)
    b.put("rack_voltage_v", LINK_V, ...)
    b.put("pcs_dc_voltage_v", LINK_V)
    b.put("pcs_dc_current_a", 300.0)
    b.put("pcs_active_power_w", 300.0 * LINK_V)
    b.put("rack_current_a", [shown_a, 300.0 - gap_a], ...)
    b.put("rack_current_redundant_a", 0.0 if second_a is None else second_a)
    if second_a is None:
        b.lose("rack_current_redundant_a")
    if ac:
        b.lose("pcs_dc_current_a")
    return b


def live(b: Bench) -> bool:
    found = open_rack_live(b.facts())
    assert not found[1], "the closed rack is never the one"
    return bool(found[0])


def moved(b: Bench, bank_v: float, share: float) -> Bench:
    s = b.trend.swing
    square = np.full_like(s.bank_square, bank_v**2)
    b.trend = dataclasses.replace(b.trend, swing=dataclasses.replace(s, bank_square=square, product=share * square))
    return b


@pytest.mark.parametrize(
    ("before", "beyond"),
    [
        # A current alone says nothing; both sensors of the rack, of one sign, do.
        (bench(20.0), bench(20.0, second_a=20.0)),
        (bench(20.0, second_a=-20.0), bench(-20.0, second_a=-20.0)),
        (bench(5.55, second_a=20.0), bench(5.65, second_a=20.0)),
        # The PCS: at least half of what the rack shows, of its sign, and beyond what sensors may err.
        (bench(80.0, gap_a=39.0), bench(80.0, gap_a=41.0)),
        (bench(-80.0, gap_a=41.0), bench(-80.0, gap_a=-41.0)),
        (bench(12.0, gap_a=9.5), bench(12.0, gap_a=10.5)),
        (bench(20.0, gap_a=24.0, ac=True), bench(20.0, gap_a=26.0, ac=True)),
        # The cells: enough movement, and at least half of it.
        (moved(bench(20.0), 0.0049, 1.0), moved(bench(20.0), 0.0051, 1.0)),
        (moved(bench(20.0), 0.02, 0.49), moved(bench(20.0), 0.02, 0.51)),
        # Second witnesses without a first.
        (moved(bench(0.0, gap_a=80.0), 0.02, 1.0), moved(bench(0.0, second_a=20.0), 0.02, 1.0)),
        # A second sensor that shows nothing is no first witness.
        (moved(bench(0.0, second_a=0.0), 0.02, 1.0), moved(bench(20.0, second_a=0.0), 0.02, 1.0)),
    ],
)
def test_each_pair_of_witnesses_has_its_boundary(before: Bench, beyond: Bench) -> None:
    assert (live(before), live(beyond)) == (False, True)


@pytest.mark.parametrize("name", ["rack_main_close", "rack_precharge_close"])
def test_a_rack_that_is_told_to_close_may_carry_current(name: str) -> None:
    b = bench(20.0, second_a=20.0)
    getattr(b.outputs, name)[0] = True
    assert not live(b)


def test_what_a_rack_gives_that_must_be_open_is_not_accounted_for_whatever_its_feedback_says() -> None:
    b = bench(80.0, gap_a=80.0)
    b.put("rack_main_closed", 1.0)
    assert live(b)


@pytest.mark.parametrize("name", ["rack_current_a", "pcs_active_power_w", "rack_voltage_v"])
def test_the_pcs_is_no_witness_while_something_of_the_sum_is_unknown(name: str) -> None:
    b = bench(80.0, gap_a=80.0, ac=True)
    assert live(b)
    b.lose(name, -1)
    assert not live(b)


def run(b: Bench, steps: list[tuple[float, float]], mode_ms: int = SETTLE_MS) -> Any:
    """The movements after so many seconds; each step moves the cells of R01 and of R02."""
    b.modes.rack_mode_ms[...] = mode_ms
    cells = b.measured.extremes.module_cell_voltage_mean_v
    memory = b.trend
    for own, bank in [(0.0, 0.0), *steps]:
        cells.value[0] += own
        cells.value[1] += bank
        memory = dataclasses.replace(memory, **swing(memory, b.facts(), TICK_MS))
    return memory.swing


LOAD = [(0.0, s) for s in (-0.03, 0.0, 0.03, 0.0) for _ in range(5)]


def test_cells_that_follow_the_load_are_found_and_those_that_stand_still_are_not() -> None:
    together = run(bench(20.0), [(s, s) for _, s in LOAD])
    assert moves_with_bank(together).tolist() == [True, False]
    assert not moves_with_bank(run(bench(20.0), LOAD)).any()
    assert not moves_with_bank(run(bench(20.0), [(-s, s) for _, s in LOAD])).any(), "against it is not with it"


def test_the_first_movement_counts_for_its_second_of_the_minute_that_is_remembered() -> None:
    found = run(bench(20.0), [(0.012, 0.03)])
    assert found.bank_square[0] == pytest.approx(0.03**2 / 60.0, rel=1e-6)
    assert found.product[0] == pytest.approx(0.012 * 0.03 / 60.0, rel=1e-6)


def test_a_rack_of_one_module_moves_as_that_module_does() -> None:
    b = bench(20.0)
    fitted = b.topology.module_fitted.copy()
    fitted[0, 1:] = False
    b.topology = dataclasses.replace(b.topology, module_fitted=fitted)
    found = run(b, [(0.03, 0.03)])
    assert found.cell_v[0] == pytest.approx(b.measured.extremes.module_cell_voltage_mean_v.value[0, 0])
    assert found.own_v.tolist() == pytest.approx(found.bank_v.tolist())


def test_what_moved_fades_by_a_thirtieth_a_second() -> None:
    found = run(bench(20.0), [(0.012, 0.03), (0.0, 0.0)])
    assert (found.own_v[0], found.bank_v[0]) == pytest.approx((0.012 * 29 / 30, 0.03 * 29 / 30), rel=1e-6)


@pytest.mark.parametrize(("seen", "told", "lead_v"), [
    ((0.0, 1.0, 1.0), (False, True, True), 0.02), ((0.0, 1.0, 1.0), (False, True, False), 0.03),
    ((0.0, 1.0, 0.0), (False, True, True), 0.03),
])  # fmt: skip
def test_racks_that_are_told_and_seen_to_be_closed_lead_by_their_mean(
    seen: tuple[float, ...], told: tuple[bool, ...], lead_v: float
) -> None:
    """Two racks of three move by 30 mV and 10 mV; the first one is open and stands still."""
    of_three = Topology.regular(3, 1, 1, 1)
    three = {"rack": 3, "module": 1}
    f = bench(20.0).facts()
    points, extremes = f.measured.points, f.measured.extremes
    closed = Samples(np.array(seen), np.zeros(3, np.uint8), np.zeros(3, np.int64))
    cells = Samples(np.full((3, 1), 3.3), np.zeros((3, 1), np.uint8), np.zeros((3, 1), np.int64))
    measured = dataclasses.replace(
        f.measured, points=dataclasses.replace(points, rack_main_closed=closed),
        extremes=dataclasses.replace(extremes, module_cell_voltage_mean_v=cells),
    )  # fmt: skip
    outputs = dataclasses.replace(f.outputs, rack_main_close=np.array(told), rack_precharge_close=np.zeros(3, bool))
    modes = dataclasses.replace(f.modes, rack_mode_ms=np.full(3, SETTLE_MS))
    memory = dataclasses.replace(f.trend, swing=Layout(SwingMemory, three).blank())
    for moved in ([0.0, 0.0, 0.0], [0.0, 0.03, 0.01]):
        cells.value[:, 0] += moved
        now = dataclasses.replace(f, topology=of_three, measured=measured, outputs=outputs, modes=modes, looks={})
        memory = dataclasses.replace(memory, **swing(memory, now, TICK_MS))
    assert memory.swing.bank_v[0] == pytest.approx(lead_v)


def test_the_recovery_after_an_opening_says_nothing() -> None:
    assert not moves_with_bank(run(bench(20.0), [(s, s) for _, s in LOAD], SETTLE_MS - 1)).any()


def test_a_module_that_is_not_seen_makes_the_rack_s_mean_unknown() -> None:
    b = bench(20.0)
    b.measured.extremes.module_cell_voltage_mean_v.quality[0, 1] = 5
    found = run(b, [(s, s) for _, s in LOAD])
    assert found.cell_v[0] == 0.0 and not moves_with_bank(found).any()


def test_between_the_looks_only_time_passes() -> None:
    b = bench(20.0)
    found = swing(b.trend, b.facts(), 100)["swing"]
    assert found.age_ms == (b.trend.swing.age_ms + 100) % TICK_MS


@pytest.mark.parametrize("kind", [When, Threshold])
def test_a_table_may_hold_one_kind_of_cause_only(kind: type) -> None:
    rows = [r for r in ROWS if isinstance(r.cause, kind)]
    matrix = Matrix(rows, BASE.program.topology, BASE.program.limit, 100)
    found = matrix.evaluate(Bench().facts())
    assert len(found.present) == matrix.size > 0 and not found.present.any()
