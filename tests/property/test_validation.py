"""Validation, told element by element: what the pass over the whole image must find for every single value."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.memory import ValidationMemory
from controller.core.signal import USABLE, Quality
from controller.core.validate import POINT_TAGS, validate
from tests.story import Story

STORY = Story("bench")
STORY.scans()
VALUES = (0.0, -1.0, 0.49, 3.3, 5.0, 5.01, 151.0, 1e9, math.nan, math.inf, -math.inf)
AGES = (0, 499, 500, 501, 1199, 1201, 5000, 2**41)
places = st.lists(
    st.tuples(
        st.sampled_from(POINT_TAGS),
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(VALUES),
        st.sampled_from(AGES),
        st.sampled_from(list(Quality)),
    ),
    max_size=40,
)


def expected(low: float | None, high: float | None, value: float, age: int, quality: int) -> int:
    """The rule in words: range before age, and nothing that is bad already is called anything else."""
    settings = STORY.program.sensors.settings
    quality = max(quality, Quality.STALE if age > settings.stale_after_ms else Quality.GOOD)
    if quality > USABLE:
        return quality
    ranged = low is not None and high is not None
    if ranged and not low <= value <= high:  # type: ignore[operator]
        return Quality.BAD_RANGE
    if not math.isfinite(value):
        return Quality.BAD_SENSOR
    return Quality.BAD_COMM if age > settings.lost_after_ms else quality


@settings(deadline=None)
@given(places)
def test_every_value_gets_the_quality_of_its_own_value_and_age(changes: list[tuple]) -> None:  # type: ignore[type-arg]
    inputs = STORY.layout.view(np.frombuffer(STORY.layout.to_bytes(STORY.inputs), np.uint8).copy())
    now = inputs.system.now_ms
    for t, part, value, age, quality in changes:
        s = getattr(inputs.points, t.name)
        at = int(part * s.value.size)
        for array, new in ((s.value, value), (s.time_ms, now - age), (s.quality, quality)):
            array.reshape(-1)[at] = new

    # The counters move, so that no module stands frozen: that has its own story.
    counter = inputs.points.module_sample_counter.value
    memory = ValidationMemory(counter - 1, np.zeros(counter.shape, np.int64))
    measured, _ = validate(STORY.program.sensors, memory, inputs)

    counts = dict.fromkeys(Quality, 0)
    for t in POINT_TAGS:
        raw, found = getattr(inputs.points, t.name), getattr(measured.points, t.name)
        for value, time_ms, quality, got, kept in zip(
            *(a.reshape(-1).tolist() for a in (raw.value, raw.time_ms, raw.quality, found.quality, found.value)),
            strict=True,
        ):
            assert got == expected(t.low, t.high, value, now - time_ms, quality), t.name
            assert kept == (value if math.isfinite(value) else 0.0)
            counts[Quality(got)] += 1
    assert measured.good_values == counts[Quality.GOOD]
    assert measured.stale_values == counts[Quality.STALE] + counts[Quality.SUBSTITUTED]
    assert measured.bad_values == sum(n for q, n in counts.items() if q > USABLE and q is not Quality.NOT_FITTED)


@settings(deadline=None)
@given(st.lists(st.sampled_from(list(Quality)), min_size=16, max_size=16), st.integers(0, 2**32))
def test_extremes_are_those_of_the_usable_cells_and_say_how_far_to_trust_them(cells: list[Quality], seed: int) -> None:
    inputs = STORY.layout.view(np.frombuffer(STORY.layout.to_bytes(STORY.inputs), np.uint8).copy())
    v = inputs.points.cell_voltage_v
    v.value[...] = 3.3
    v.value[0, 0] = 3.0 + np.random.default_rng(seed).random(16)
    v.quality[0, 0] = cells
    counter = inputs.points.module_sample_counter.value
    memory = ValidationMemory(counter - 1, np.zeros(counter.shape, np.int64))
    e = validate(STORY.program.sensors, memory, inputs)[0].extremes

    usable = [float(x) for x, q in zip(v.value[0, 0], cells, strict=True) if q <= USABLE]
    fitted = [q for q in cells if q is not Quality.NOT_FITTED]
    low, high, mean = (
        getattr(e, f"module_cell_voltage_{n}_v") for n in ("min", "max", "mean")
    )  # fmt: skip
    assert low.value[0, 0] == (min(usable) if usable else 0.0)
    assert high.value[0, 0] == (max(usable) if usable else 0.0)
    assert math.isclose(mean.value[0, 0], sum(usable) / len(usable) if usable else 0.0)
    if not fitted:
        quality = Quality.NOT_FITTED
    elif not usable:
        quality = max(fitted)
    elif len(usable) < len(fitted):
        quality = Quality.SUBSTITUTED
    else:
        quality = max(fitted)
    assert low.quality[0, 0] == high.quality[0, 0] == mean.quality[0, 0] == quality
    rest = [3.3, *usable]
    assert math.isclose(e.rack_cell_voltage_max_v.value[0], max(rest), rel_tol=1e-7)
    assert math.isclose(float(e.cell_voltage_min_v.value), min(rest), rel_tol=1e-7)
    assert v.value.reshape(-1)[e.cell_voltage_min_place] == np.float32(min(rest))


def test_a_module_that_stands_still_is_a_bad_sensor_although_its_gateway_answers() -> None:
    inputs = STORY.inputs
    counter = inputs.points.module_sample_counter.value
    still = np.zeros(counter.shape, np.int64)
    still[1, 2] = STORY.program.sensors.settings.frozen_after_ms
    memory = ValidationMemory(counter.copy(), still)
    measured, memory = validate(STORY.program.sensors, memory, inputs)
    assert (measured.points.cell_voltage_v.quality[1, 2] == Quality.BAD_SENSOR).all()
    assert (measured.points.cell_temperature_degc.quality[1, 2] == Quality.BAD_SENSOR).all()
    assert (measured.points.cell_voltage_v.quality[0] == Quality.GOOD).all()
    assert measured.extremes.rack_cell_voltage_min_v.quality[1] == Quality.SUBSTITUTED
    assert memory.counter_still_ms[0, 0] == inputs.system.elapsed_ms
