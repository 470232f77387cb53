"""Stage: raw image to Measured. The field's nonsense becomes quality here and goes no further.

A value is GOOD when it is fresh, inside its instrument range and its device still takes samples; STALE when it
is older than `stale_after_ms`; BAD_COMM when it is older than `lost_after_ms`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from controller.core.field_image import Points
from controller.core.image import Extremes, InputImage, Measured
from controller.core.layout import tags_of
from controller.core.memory import ValidationMemory
from controller.core.settings import SensorSettings
from controller.core.signal import NOT_FITTED, USABLE, Bools, Ints, Quality, Samples, Tag
from controller.core.topology import Topology

POINT_TAGS = tags_of(Points)
OF_MODULE = tuple(t.name for t in POINT_TAGS if t.dims[:2] == ("rack", "module") and len(t.dims) == 3)


@dataclasses.dataclass(frozen=True, slots=True)
class Sensors:
    """What validation knows of the instruments."""

    topology: Topology
    settings: SensorSettings


def validate(sensors: Sensors, memory: ValidationMemory, inputs: InputImage) -> tuple[Measured, ValidationMemory]:
    """Every point with honest quality, the extremes over usable values, and the memory of sample counters."""
    now, settings = inputs.system.now_ms, sensors.settings
    checked = {t.name: _check(t, getattr(inputs.points, t.name), now, settings) for t in POINT_TAGS}
    memory, frozen = _frozen(memory, checked["module_sample_counter"], inputs.system.elapsed_ms, settings)
    if frozen.any():
        for name in OF_MODULE:
            checked[name] = _worsen(checked[name], frozen[:, :, None], Quality.BAD_SENSOR)
    points = Points(**checked)
    return _measured(points), memory


def _check(tag: Tag, raw: Samples, now_ms: int, settings: SensorSettings) -> Samples:
    age = now_ms - raw.time_ms
    quality = np.maximum(raw.quality, (age > settings.stale_after_ms).astype(np.uint8))
    value = raw.value
    if tag.low is not None and tag.high is not None:
        inside = (value >= tag.low) & (value <= tag.high)
        if not inside.all():
            fitted_bad = ~inside & (quality <= USABLE)
            quality = np.where(fitted_bad, np.uint8(Quality.BAD_RANGE), quality)
            value = np.where(np.isfinite(value), value, 0.0)
    elif not np.isfinite(value).all():
        quality = np.where(np.isfinite(value), quality, np.maximum(quality, np.uint8(Quality.BAD_SENSOR)))
        value = np.where(np.isfinite(value), value, 0.0)
    lost = (age > settings.lost_after_ms) & (quality <= USABLE)
    if lost.any():
        quality = np.where(lost, np.uint8(Quality.BAD_COMM), quality)
    return Samples(value, np.asarray(quality, np.uint8), raw.time_ms)


def _worsen(samples: Samples, where: Bools, quality: Quality) -> Samples:
    worse = np.where(where, np.maximum(samples.quality, np.uint8(quality)), samples.quality)
    return Samples(samples.value, worse, samples.time_ms)


def _frozen(
    memory: ValidationMemory, counter: Samples, elapsed_ms: int, settings: SensorSettings
) -> tuple[ValidationMemory, Bools]:
    """Modules whose own sample counter stands still although their gateway answers."""
    fitted = counter.quality <= USABLE
    moved = counter.value != memory.counter
    still: Ints = np.where(moved | ~fitted, 0, memory.counter_still_ms + elapsed_ms)
    return ValidationMemory(counter.value.copy(), still), np.asarray(still >= settings.frozen_after_ms)


def _measured(points: Points) -> Measured:
    v, t = points.cell_voltage_v, points.cell_temperature_degc
    v_low, v_high, v_mean = _extremes(v)
    t_low, t_high, _ = _extremes(t)
    rack_v_low, rack_v_high = _over(v_low, lowest=True), _over(v_high, lowest=False)
    rack_t_low, rack_t_high = _over(t_low, lowest=True), _over(t_high, lowest=False)
    extremes = Extremes(
        module_cell_voltage_min_v=v_low,
        module_cell_voltage_max_v=v_high,
        module_cell_voltage_mean_v=v_mean,
        module_temperature_min_degc=t_low,
        module_temperature_max_degc=t_high,
        rack_cell_voltage_min_v=rack_v_low,
        rack_cell_voltage_max_v=rack_v_high,
        rack_temperature_min_degc=rack_t_low,
        rack_temperature_max_degc=rack_t_high,
        cell_voltage_min_v=_over(rack_v_low, lowest=True),
        cell_voltage_max_v=_over(rack_v_high, lowest=False),
        temperature_min_degc=_over(rack_t_low, lowest=True),
        temperature_max_degc=_over(rack_t_high, lowest=False),
        cell_voltage_min_place=_place(v, lowest=True),
        cell_voltage_max_place=_place(v, lowest=False),
        temperature_min_place=_place(t, lowest=True),
        temperature_max_place=_place(t, lowest=False),
    )
    good, stale, bad = _count(points)
    power = _sum(points.pcs_active_power_w)
    return Measured(
        points, extremes, power, _sum(points.pcs_reactive_power_var), _sum(points.rack_current_a), good, stale, bad
    )


def _extremes(s: Samples) -> tuple[Samples, Samples, Samples]:
    """Lowest, highest and mean of each module over usable values."""
    usable = s.quality <= USABLE
    fitted = s.quality != NOT_FITTED
    any_, some = usable.any(axis=2), (fitted & ~usable).any(axis=2)
    quality = np.where(some, USABLE, np.where(usable, s.quality, 0).max(axis=2))
    quality = np.where(any_, quality, np.where(fitted.any(axis=2), s.quality.max(axis=2), NOT_FITTED))
    quality = quality.astype(np.uint8)
    time = s.time_ms.min(axis=2)
    value = s.value.astype(np.float64)
    low = np.where(any_, np.where(usable, value, np.inf).min(axis=2), 0.0)
    high = np.where(any_, np.where(usable, value, -np.inf).max(axis=2), 0.0)
    mean = np.where(usable, value, 0.0).sum(axis=2) / np.maximum(usable.sum(axis=2), 1)
    return Samples(low, quality, time), Samples(high, quality, time), Samples(mean, quality, time)


def _over(s: Samples, *, lowest: bool) -> Samples:
    """Extreme over the last axis of usable values; SUBSTITUTED when part of what is fitted is missing."""
    usable = s.quality <= USABLE
    any_ = usable.any(axis=-1)
    chosen = np.where(usable, s.value, np.inf if lowest else -np.inf)
    value = np.where(any_, chosen.min(axis=-1) if lowest else chosen.max(axis=-1), 0.0)
    missing = ((s.quality != NOT_FITTED) & ~usable).any(axis=-1)
    worst = np.where(usable, s.quality, 0).max(axis=-1)
    quality = np.where(any_, np.where(missing, USABLE, worst), s.quality.max(axis=-1))
    return Samples(np.asarray(value), np.asarray(quality, np.uint8), np.asarray(s.time_ms.min(axis=-1)))


def _place(s: Samples, *, lowest: bool) -> int:
    usable = s.quality <= USABLE
    if not usable.any():
        return -1
    values = np.where(usable, s.value, np.inf if lowest else -np.inf)
    return int(values.argmin() if lowest else values.argmax())


def _sum(s: Samples) -> Samples:
    """Sum over usable values; the quality is the worst of all fitted ones."""
    fitted = s.quality != NOT_FITTED
    usable = s.quality <= USABLE
    quality = np.where(fitted, s.quality, 0).max(initial=0) if fitted.any() else NOT_FITTED
    time = s.time_ms[fitted].min() if fitted.any() else s.time_ms.min(initial=0)
    return Samples(
        np.asarray(np.where(usable, s.value, 0.0).sum()), np.asarray(quality, np.uint8), np.asarray(time, np.int64)
    )


def _count(points: Points) -> tuple[int, int, int]:
    counts = np.zeros(len(Quality), np.int64)
    for t in POINT_TAGS:
        counts += np.bincount(getattr(points, t.name).quality.ravel(), minlength=len(Quality))[: len(Quality)]
    good = int(counts[Quality.GOOD])
    stale = int(counts[Quality.STALE] + counts[Quality.SUBSTITUTED])
    return good, stale, int(counts.sum() - counts[NOT_FITTED]) - good - stale
