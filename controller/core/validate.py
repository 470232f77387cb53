"""Stage: raw image to Measured. The field's nonsense becomes quality here and goes no further.

A value is GOOD when it is fresh, inside its instrument range and its device still takes samples; STALE when it
is older than `stale_after_ms`; BAD_COMM when it is older than `lost_after_ms`. All points are judged in one pass
over the whole image: a scan has dozens of short arrays, and calling NumPy for each would cost more than the work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import attrgetter

import numpy as np

from controller.core.extremes import extremes_of, total
from controller.core.field_image import Points
from controller.core.image import InputImage, Measured
from controller.core.layout import tags_of
from controller.core.memory import ValidationMemory
from controller.core.settings import SensorSettings
from controller.core.signal import NOT_FITTED, USABLE, Bools, Codes, Floats, Ints, Quality, Samples, every, some
from controller.core.topology import Topology

POINT_TAGS = tags_of(Points)
OF_MODULE = frozenset(t.name for t in POINT_TAGS if t.dims[:2] == ("rack", "module") and len(t.dims) == 3)


class Sensors:
    """What validation knows of the instruments: for every element of the image its range and what lies outside it."""

    def __init__(self, topology: Topology, settings: SensorSettings) -> None:
        self.topology, self.settings = topology, settings
        self.parts: list[tuple[str, slice, tuple[int, ...]]] = []
        low, high, outside = [], [], []
        start = 0
        for t in POINT_TAGS:
            shape = t.shape(topology.dims)
            size = math.prod(shape)
            self.parts.append((t.name, slice(start, start + size), shape))
            start += size
            ranged = t.low is not None and t.high is not None
            low.append(np.full(size, t.low if ranged else np.finfo(np.float64).min))
            high.append(np.full(size, t.high if ranged else np.finfo(np.float64).max))
            outside.append(np.full(size, Quality.BAD_RANGE if ranged else Quality.BAD_SENSOR, np.uint8))
        self.low, self.high, self.outside = np.concatenate(low), np.concatenate(high), np.concatenate(outside)
        names = [name for name, _, _ in self.parts]
        self.all_of: Callable[[Points], tuple[Samples, ...]] = attrgetter(*names)
        self.counter_at, self.module_at = names.index("module_sample_counter"), [names.index(n) for n in OF_MODULE]


def validate(sensors: Sensors, memory: ValidationMemory, inputs: InputImage) -> tuple[Measured, ValidationMemory]:
    """Every point with honest quality, the extremes over usable values, and the memory of sample counters."""
    raw: Sequence[Samples] = sensors.all_of(inputs.points)
    value = np.concatenate([s.value for s in raw], axis=None)
    quality = _judge(sensors, raw, value, inputs.system.now_ms)
    if not every(np.isfinite(value)):
        raw = [Samples(np.where(np.isfinite(s.value), s.value, 0.0), s.quality, s.time_ms) for s in raw]

    judged = zip(sensors.parts, raw, strict=True)
    checked = [Samples(s.value, quality[at].reshape(shape), s.time_ms) for (_, at, shape), s in judged]
    counter, elapsed_ms = checked[sensors.counter_at], inputs.system.elapsed_ms
    memory, frozen = _frozen(memory, counter, elapsed_ms, sensors.settings)
    if some(frozen):
        for of_module in sensors.module_at:
            worse = checked[of_module].quality
            np.maximum(worse, np.uint8(Quality.BAD_SENSOR), out=worse, where=frozen[:, :, None])
    return _measured(Points(*checked), quality), memory


def _judge(sensors: Sensors, raw: Sequence[Samples], value: Floats, now_ms: int) -> Codes:
    """Quality of every element by age and range, on its own memory."""
    settings = sensors.settings
    age = now_ms - np.concatenate([s.time_ms for s in raw], axis=None)
    quality = np.maximum(np.concatenate([s.quality for s in raw], axis=None), age > settings.stale_after_ms)
    inside = (value >= sensors.low) & (value <= sensors.high)
    if not every(inside):
        quality = np.where(~inside & (quality <= USABLE), sensors.outside, quality)
    lost = age > settings.lost_after_ms
    if some(lost):
        quality = np.where(lost & (quality <= USABLE), np.uint8(Quality.BAD_COMM), quality)
    return np.asarray(quality, np.uint8)


def _frozen(
    memory: ValidationMemory, counter: Samples, elapsed_ms: int, settings: SensorSettings
) -> tuple[ValidationMemory, Bools]:
    """Modules whose own sample counter stands still although their gateway answers."""
    still_going = (counter.value != memory.counter) | (counter.quality > USABLE)
    still: Ints = np.where(still_going, 0, memory.counter_still_ms + elapsed_ms)
    return ValidationMemory(counter.value.copy(), still), np.asarray(still >= settings.frozen_after_ms)


def _measured(points: Points, quality: Codes) -> Measured:
    counts = np.bincount(quality, minlength=len(Quality)).tolist()
    good, stale = counts[Quality.GOOD], counts[Quality.STALE] + counts[Quality.SUBSTITUTED]
    bad = sum(counts) - counts[NOT_FITTED] - good - stale
    return Measured(
        points,
        extremes_of(points.cell_voltage_v, points.cell_temperature_degc),
        total(points.pcs_active_power_w),
        total(points.pcs_reactive_power_var),
        total(points.rack_current_a),
        good,
        stale,
        bad,
    )
