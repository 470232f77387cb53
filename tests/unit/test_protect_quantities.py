"""What a witness makes of a rack that reports its extremes only, and quantities worked out of several points."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from controller.core.protect import plausible as p
from controller.core.signal import Quality
from tests.protect_bench import Bench, unfitted


@pytest.mark.parametrize(("part", "differs"), [(1.0, False), (1.05, True), (0.95, True)])
def test_one_module_of_a_rack_may_report_its_extremes_only(part: float, differs: bool) -> None:
    bench = Bench()
    facts = bench.facts()
    t = facts.topology
    represented, fitted = np.zeros((t.racks, t.modules), np.int64), t.cell_fitted.copy()
    represented[0, 1], fitted[0, 1, 2:] = t.cells, False
    fitted[1, 3] = False
    mixed = dataclasses.replace(t, represented=represented, cell_fitted=fitted, module_fitted=fitted.any(axis=2))
    volts = bench.points.cell_voltage_v.value.sum(axis=2, dtype=float)
    bench.put("rack_voltage_v", part * volts[0].sum())
    bench.put("rack_voltage_v", volts[1, :3].sum(), 1)
    assert p.sum_of_cells_differs(dataclasses.replace(facts, topology=mixed)).tolist() == [differs, False]


@pytest.mark.parametrize(
    ("rack_v", "differs"), [(204.7, False), (193.3, False), (218.3, False), (193.1, True), (218.5, True)]
)
def test_between_its_extremes_a_rack_may_sum_up_to_anything(rack_v: float, differs: bool) -> None:
    """Three modules of 16 cells at 3.2 V, and one of which only the highest (3.65 V) and lowest (2.85 V) are told."""
    bench = Bench()
    t = bench.topology
    represented, fitted = np.zeros((t.racks, t.modules), np.int64), t.cell_fitted.copy()
    represented[0, 1], fitted[0, 1, 2:] = t.cells, False
    bench.topology = dataclasses.replace(t, represented=represented, cell_fitted=fitted)
    bench.put("cell_voltage_v", 3.2, 0)
    bench.put("cell_voltage_v", [3.65, 2.85], np.s_[0, 1, :2])
    bench.put("cell_voltage_v", [9.0, 0.0], np.s_[0, 1, 4:6])
    bench.put("rack_voltage_v", rack_v)
    assert p.sum_of_cells_differs(bench.facts()).tolist()[0] is differs


class TestQuantities:
    def test_heat_is_what_was_counted_and_always_known(self) -> None:
        bench = Bench()
        bench.trend.charge_heat_ratio[...], bench.trend.discharge_heat_ratio[...] = (0.1, 0.2), (0.3, 0.4)
        charge, discharge = p.charge_heat(bench.facts()), p.discharge_heat(bench.facts())
        assert (charge.value.tolist(), discharge.value.tolist()) == ([0.1, 0.2], [0.3, 0.4])
        assert charge.known.all() and discharge.known.all()

    def test_a_rack_s_own_voltage_is_told_per_cell_in_series(self) -> None:
        bench = Bench()
        bench.put("rack_voltage_v", (224.0, 192.0), ...)
        bench.lose("rack_voltage_v", 1)
        reading = p.rack_mean_cell_voltage(bench.facts())
        assert (reading.value.tolist(), reading.known.tolist()) == ([3.5, 3.0], [True, False])
        unfitted("cell_fitted", 0)(bench)
        assert not p.rack_mean_cell_voltage(bench.facts()).known.any(), "without cells there is no mean"

    @pytest.mark.parametrize(
        ("quantity", "high", "low"),
        [(p.cell_voltage_spread, "rack_cell_voltage_max_v", "rack_cell_voltage_min_v"),
         (p.temperature_spread, "rack_temperature_max_degc", "rack_temperature_min_degc")],
    )  # fmt: skip
    def test_a_spread_is_known_when_both_its_ends_are(self, quantity: Any, high: str, low: str) -> None:
        for lost, known in ((None, True), (high, False), (low, False)):
            bench = Bench()
            extremes = bench.measured.extremes
            getattr(extremes, high).value[0], getattr(extremes, low).value[0] = 5.0, 3.0
            if lost:
                getattr(extremes, lost).quality[0] = int(Quality.BAD_COMM)
            reading = quantity(bench.facts())
            assert (reading.value[0], reading.known[0]) == (2.0, known)
