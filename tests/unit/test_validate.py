"""What validation makes of one value, one counter and one sum, each at its boundary: two racks of two modules.

Values are stale after 500 ms and lost after 1200 ms, a module whose counter stands still for 3 s is frozen. Everything
was read 100 ms ago and is sound unless a test says otherwise.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from controller.core.extremes import doubted
from controller.core.image import InputImage, Measured
from controller.core.layout import Layout
from controller.core.memory import ValidationMemory
from controller.core.settings import SensorSettings
from controller.core.signal import Quality
from controller.core.topology import Topology
from controller.core.validate import Sensors, validate

GOOD, STALE, SUBSTITUTED, BAD_RANGE, BAD_SENSOR, BAD_COMM, NOT_FITTED = Quality
NOW_MS = 100_000
ONE = (0, 1, 2)


class Field:
    """What was read, to be changed by hand."""

    def __init__(self) -> None:
        topology = Topology.regular(2, 2, 3, 2, 3)
        self.sensors = Sensors(topology, SensorSettings(500, 1200, 3000))
        blank: InputImage = Layout(InputImage, topology.dims).blank()
        self.inputs = dataclasses.replace(
            blank, system=dataclasses.replace(blank.system, now_ms=NOW_MS, elapsed_ms=100)
        )
        self.points = self.inputs.points
        for field in dataclasses.fields(self.points):
            samples = getattr(self.points, field.name)
            samples.quality[...], samples.time_ms[...] = 0, NOW_MS - 100
        self.points.cell_voltage_v.value[...] = 3.3
        self.points.module_sample_counter.value[...] = 8.0
        self.memory = ValidationMemory(np.full((2, 2), 7.0), np.zeros((2, 2), np.int64))

    def put(self, name: str, value: Any, where: Any = ..., quality: Quality = GOOD, age_ms: int = 100) -> None:
        samples = getattr(self.points, name)
        samples.value[where], samples.quality[where] = value, int(quality)
        samples.time_ms[where] = NOW_MS - age_ms

    def scan(self) -> Measured:
        measured, self.memory = validate(self.sensors, self.memory, self.inputs)
        return measured


@pytest.mark.parametrize(("value", "age_ms", "read_as", "quality"), [
    (3.3, 500, GOOD, GOOD), (3.3, 501, GOOD, STALE), (3.3, 1200, GOOD, STALE), (3.3, 1201, GOOD, BAD_COMM),
    (0.5, 0, GOOD, GOOD), (0.49, 0, GOOD, BAD_RANGE), (5.0, 0, GOOD, GOOD), (5.01, 0, GOOD, BAD_RANGE),
    (3.3, 0, SUBSTITUTED, SUBSTITUTED), (3.3, 501, SUBSTITUTED, SUBSTITUTED), (0.49, 501, SUBSTITUTED, BAD_RANGE),
    (0.49, 1201, GOOD, BAD_RANGE), (0.49, 0, BAD_COMM, BAD_COMM), (3.3, 1201, BAD_SENSOR, BAD_SENSOR),
    (0.0, 1201, NOT_FITTED, NOT_FITTED), (math.inf, 0, GOOD, BAD_RANGE), (math.nan, 0, GOOD, BAD_RANGE),
])  # fmt: skip
def test_a_value_is_as_good_as_its_age_its_range_and_what_reading_it_told(
    value: float, age_ms: int, read_as: Quality, quality: Quality
) -> None:
    field = Field()
    field.put("cell_voltage_v", value, ONE, read_as, age_ms)
    found = field.scan().points.cell_voltage_v
    assert found.quality[ONE] == quality
    assert found.value[ONE] == (np.float32(value) if math.isfinite(value) else 0.0)
    assert np.count_nonzero(found.quality) == (quality is not GOOD), "the others"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_has_no_range_and_is_no_number_is_a_bad_sensor(value: float) -> None:
    field = Field()
    field.put("module_sample_counter", value, (0, 1))
    found = field.scan().points.module_sample_counter
    assert (found.quality[0, 1], found.value[0, 1]) == (BAD_SENSOR, 0.0)


class TestFrozen:
    def still(self, since_ms: int) -> Field:
        field = Field()
        field.memory.counter[1, 0], field.memory.counter_still_ms[1, 0] = 8.0, since_ms
        return field

    @pytest.mark.parametrize(("since_ms", "frozen"), [(2899, False), (2900, True)])
    def test_a_module_whose_counter_stood_still_for_the_whole_time_is_a_bad_sensor(
        self, since_ms: int, frozen: bool
    ) -> None:
        field = self.still(since_ms)
        field.put("cell_voltage_v", 3.3, (1, 0, 1), BAD_COMM)
        measured = field.scan()
        voltage, sensor = measured.points.cell_voltage_v.quality, measured.points.cell_temperature_degc.quality
        assert voltage[1, 0].tolist() == ([4, 5, 4] if frozen else [0, 5, 0]), "what is worse stays"
        assert sensor[1, 0].tolist() == ([4, 4] if frozen else [0, 0])
        assert not voltage[0].any() and not voltage[1, 1].any() and not sensor[0].any()
        assert measured.points.rack_current_a.quality.tolist() == [0, 0]
        assert field.memory.counter_still_ms.tolist() == [[0, 0], [since_ms + 100, 0]]

    def test_one_that_moves_again_begins_anew(self) -> None:
        field = self.still(2900)
        field.scan()
        field.put("module_sample_counter", 9.0, (1, 0))
        assert not field.scan().points.cell_voltage_v.quality[1, 0].any()
        assert (field.memory.counter[1, 0], field.memory.counter_still_ms[1, 0]) == (9.0, 0)

    @pytest.mark.parametrize(("quality", "counts"), [(STALE, True), (BAD_COMM, False), (NOT_FITTED, False)])
    def test_a_counter_that_is_not_heard_says_nothing(self, quality: Quality, counts: bool) -> None:
        field = self.still(2900)
        field.put("module_sample_counter", 8.0, (1, 0), quality)
        assert bool(field.scan().points.cell_voltage_v.quality[1, 0].any()) is counts


def test_values_are_counted_by_what_they_are_good_for() -> None:
    field = Field()
    whole = field.scan()
    all_of = whole.good_values
    assert (whole.stale_values, whole.bad_values) == (0, 0)
    for cell, quality in enumerate((SUBSTITUTED, BAD_COMM, NOT_FITTED)):
        field.put("cell_voltage_v", 3.3, (0, 0, cell), quality)
    field.put("cell_voltage_v", 9.0, (0, 1, 0))
    field.put("cell_voltage_v", 3.3, (0, 1, 1), age_ms=600)
    field.put("module_sample_counter", 9.0)
    found = field.scan()
    assert (found.good_values, found.stale_values, found.bad_values) == (all_of - 5, 2, 2)


class TestSums:
    """Active power of three PCS; the first one gives nothing and was read just now."""

    def total(self, *pcs: tuple[float, Quality, int]) -> tuple[float, int, int]:
        field = Field()
        for place, (watts, quality, age_ms) in enumerate([(0.0, GOOD, 0), *pcs][-3:]):
            field.put("pcs_active_power_w", watts, place, quality, age_ms)
        found = field.scan().active_power_w
        return float(found.value), int(found.quality), NOW_MS - int(found.time_ms)

    def test_it_is_as_good_as_its_worst_and_as_old_as_its_oldest_part(self) -> None:
        assert self.total((5e3, GOOD, 10), (2e3, GOOD, 300)) == (7e3, GOOD, 300)
        assert self.total((5e3, GOOD, 600), (2e3, SUBSTITUTED, 10)) == (7e3, SUBSTITUTED, 600)

    def test_what_is_lost_is_not_added(self) -> None:
        assert self.total((5e3, BAD_COMM, 10), (2e3, STALE, 10)) == (2e3, BAD_COMM, 10)

    def test_what_is_not_fitted_does_not_count_and_is_not_waited_for(self) -> None:
        assert self.total((5e3, NOT_FITTED, 10_000), (2e3, GOOD, 10)) == (2e3, GOOD, 10)
        assert self.total((5e3, NOT_FITTED, 10_000), (2e3, STALE, 10)) == (2e3, STALE, 10)
        assert self.total(*[(5e3, NOT_FITTED, 900)] * 3)[:2] == (0.0, NOT_FITTED)


class TestExtremes:
    def test_each_level_has_its_own_and_the_sites_are_placed(self) -> None:
        field = Field()
        field.put("cell_voltage_v", 3.1, (1, 0, 2))
        field.put("cell_voltage_v", 3.5, (1, 1, 0), age_ms=200)
        field.put("cell_temperature_degc", -5.0, (0, 1, 1))
        field.put("cell_temperature_degc", 40.0, (1, 1, 0))
        e = field.scan().extremes
        assert e.module_cell_voltage_min_v.value.ravel().tolist() == pytest.approx([3.3, 3.3, 3.1, 3.3])
        assert e.module_cell_voltage_max_v.value.ravel().tolist() == pytest.approx([3.3, 3.3, 3.3, 3.5])
        assert e.module_cell_voltage_mean_v.value.ravel().tolist() == pytest.approx([3.3, 3.3, 9.7 / 3, 10.1 / 3])
        assert e.rack_cell_voltage_min_v.value.tolist() == pytest.approx([3.3, 3.1])
        assert e.rack_cell_voltage_max_v.value.tolist() == pytest.approx([3.3, 3.5])
        assert (float(e.cell_voltage_min_v.value), float(e.cell_voltage_max_v.value)) == pytest.approx((3.1, 3.5))
        assert (e.cell_voltage_min_place, e.cell_voltage_max_place) == (8, 9)
        assert e.module_temperature_min_degc.value.ravel().tolist() == [0.0, -5.0, 0.0, 0.0]
        assert e.rack_temperature_max_degc.value.tolist() == [0.0, 40.0]
        assert (float(e.temperature_min_degc.value), float(e.temperature_max_degc.value)) == (-5.0, 40.0)
        assert (e.temperature_min_place, e.temperature_max_place) == (3, 6)
        ages = [NOW_MS - int(t) for t in e.rack_cell_voltage_max_v.time_ms]
        assert (ages, NOW_MS - int(e.cell_voltage_min_v.time_ms)) == ([100, 200], 200), "as old as the oldest"

    def test_a_lost_cell_leaves_what_the_others_show_and_that_is_said(self) -> None:
        field = Field()
        field.put("cell_voltage_v", 9.0, (0, 0, 0))
        field.put("cell_voltage_v", 3.2, (0, 0, 1))
        e = field.scan().extremes
        assert e.module_cell_voltage_max_v.value[0, 0] == pytest.approx(3.3)
        assert e.module_cell_voltage_min_v.value[0, 0] == pytest.approx(3.2)
        assert e.module_cell_voltage_mean_v.value[0, 0] == pytest.approx(3.25)
        assert e.module_cell_voltage_max_v.quality.tolist() == [[2, 0], [0, 0]]
        assert e.rack_cell_voltage_min_v.quality.tolist() == [2, 0]
        assert (int(e.cell_voltage_min_v.quality), e.cell_voltage_min_place) == (2, 1)

    def test_one_cell_that_is_left_is_its_modules_mean(self) -> None:
        field = Field()
        field.put("cell_voltage_v", 9.0, (0, 0, np.s_[:2]))
        assert field.scan().extremes.module_cell_voltage_mean_v.value[0, 0] == pytest.approx(3.3)

    @pytest.mark.parametrize(("cells", "module"), [
        ((GOOD, STALE, NOT_FITTED), STALE), ((BAD_RANGE, BAD_COMM, NOT_FITTED), BAD_COMM),
        ((GOOD, BAD_COMM, GOOD), SUBSTITUTED), ((SUBSTITUTED, GOOD, GOOD), SUBSTITUTED),
    ])  # fmt: skip
    def test_every_module_says_how_far_to_trust_its_extremes(self, cells: tuple[Quality, ...], module: Quality) -> None:
        field = Field()
        for cell, quality in enumerate(cells):
            field.put("cell_voltage_v", 3.3, np.s_[:, :, cell], quality)
        assert field.scan().extremes.module_cell_voltage_min_v.quality.tolist() == [[module] * 2] * 2

    @pytest.mark.parametrize(("quality", "rack"), [(BAD_COMM, SUBSTITUTED), (NOT_FITTED, GOOD)])
    def test_a_module_without_any_usable_cell_has_none(self, quality: Quality, rack: Quality) -> None:
        field = Field()
        field.put("cell_voltage_v", 4.0, (0, 0), quality)
        e = field.scan().extremes
        assert (e.module_cell_voltage_max_v.value[0, 0], e.module_cell_voltage_max_v.quality[0, 0]) == (0.0, quality)
        assert (e.rack_cell_voltage_max_v.value[0], e.rack_cell_voltage_max_v.quality[0]) == (np.float32(3.3), rack)
        assert int(e.cell_voltage_max_v.quality) == rack

    def test_where_nothing_is_heard_no_place_is_named(self) -> None:
        field = Field()
        field.put("cell_voltage_v", 4.0, ..., BAD_COMM)
        e = field.scan().extremes
        assert (float(e.cell_voltage_max_v.value), int(e.cell_voltage_max_v.quality)) == (0.0, BAD_COMM)
        assert (e.cell_voltage_min_place, e.cell_voltage_max_place) == (-1, -1)

    @pytest.mark.parametrize("of", ["cells", "sensors"])
    def test_one_among_values_that_stand_still_is_doubtful_at_its_levels(self, of: str) -> None:
        """In the second module of each rack; of the second rack's no cell is heard, which is worse."""
        field = Field()
        field.put("cell_voltage_v", 3.3, (1, 1), BAD_COMM)
        e, where, none = field.scan().extremes, np.zeros((2, 2), bool), np.zeros((2, 2), bool)
        where[:, 1] = True
        cells = of == "cells"
        found = doubted(e, where, none) if cells else doubted(e, none, where)
        assert found.module_cell_voltage_mean_v.quality.tolist() == ([[0, 2], [0, 5]] if cells else [[0, 0], [0, 5]])
        assert found.rack_cell_voltage_min_v.quality.tolist() == ([2, 2] if cells else [0, 2])
        assert found.module_temperature_min_degc.quality.tolist() == [[0, 0 if cells else 2]] * 2
        assert found.rack_temperature_max_degc.quality.tolist() == [0 if cells else 2] * 2
        assert int(found.temperature_min_degc.quality) == (0 if cells else 2)
        assert found.rack_cell_voltage_min_v.value.tolist() == e.rack_cell_voltage_min_v.value.tolist()
        assert doubted(e, none, none) is e
