"""Lowest and highest cell and sensor of every module, every rack and the site, over usable values only.

Voltage and temperature, lowest and highest, go up from level to level together: a highest is the lowest of the
negated values.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from controller.core.frozen import replace
from controller.core.image import Extremes
from controller.core.signal import NOT_FITTED, USABLE, Bools, Codes, Floats, Ints, Samples, every, some

VOLTAGE, TEMPERATURE = 0, 1
OF_VOLTAGE = ("cell_voltage_min_v", "cell_voltage_max_v", "cell_voltage_mean_v")
OF_TEMPERATURE = ("temperature_min_degc", "temperature_max_degc")


@dataclasses.dataclass(frozen=True, slots=True)
class _Level:
    """least: shape (2, 2, ...), voltage and temperature by lowest and negated highest; the others (2, ...)."""

    least: Floats
    quality: Codes
    time_ms: Ints

    def low(self, kind: int) -> Samples:
        return Samples(self.least[kind, 0, ...], self.quality[kind, ...], self.time_ms[kind, ...])

    def high(self, kind: int) -> Samples:
        return Samples(np.asarray(0.0 - self.least[kind, 1]), self.quality[kind, ...], self.time_ms[kind, ...])


def extremes_of(voltage: Samples, temperature: Samples) -> Extremes:
    """The extremes of all levels and where the site's are; no usable value gives quality BAD and place -1."""
    v, t = _Module.of(voltage), _Module.of(temperature)
    module = _Level(
        np.array([v.least, t.least]), np.array([v.quality, t.quality]), np.array([v.time_ms, t.time_ms])
    )  # fmt: skip
    rack = _up(module)
    site = _up(rack)
    return Extremes(
        module_cell_voltage_min_v=module.low(VOLTAGE),
        module_cell_voltage_max_v=module.high(VOLTAGE),
        module_cell_voltage_mean_v=Samples(v.mean, v.quality, v.time_ms),
        module_temperature_min_degc=module.low(TEMPERATURE),
        module_temperature_max_degc=module.high(TEMPERATURE),
        rack_cell_voltage_min_v=rack.low(VOLTAGE),
        rack_cell_voltage_max_v=rack.high(VOLTAGE),
        rack_temperature_min_degc=rack.low(TEMPERATURE),
        rack_temperature_max_degc=rack.high(TEMPERATURE),
        cell_voltage_min_v=site.low(VOLTAGE),
        cell_voltage_max_v=site.high(VOLTAGE),
        temperature_min_degc=site.low(TEMPERATURE),
        temperature_max_degc=site.high(TEMPERATURE),
        cell_voltage_min_place=v.lowest_at,
        cell_voltage_max_place=v.highest_at,
        temperature_min_place=t.lowest_at,
        temperature_max_place=t.highest_at,
    )


def doubted(e: Extremes, cells: Bools, sensors: Bools) -> Extremes:
    """The extremes where some cells or sensors of a module (rack, module) stand still: what they show is usable, but
    an extreme among them may be another one. SUBSTITUTED at best, and the same for their racks and the site."""
    changes: dict[str, Any] = {}
    for names, where in ((OF_VOLTAGE, cells), (OF_TEMPERATURE, sensors)):
        if some(where):
            levels = (("module_", where), ("rack_", where.any(axis=1)), ("", where.any()))
            for level, at in levels:
                for name in names:
                    s: Samples | None = getattr(e, level + name, None)
                    if s is not None:
                        changes[level + name] = Samples(
                            s.value, _at_best_doubtful(s.quality, np.asarray(at)), s.time_ms
                        )
    return replace(e, **changes) if changes else e


def _at_best_doubtful(quality: Codes, where: Bools) -> Codes:
    return np.asarray(np.where(where, np.maximum(quality, USABLE), quality), np.uint8)


def total(s: Samples) -> Samples:
    """Sum over usable values; the quality is the worst of all fitted ones, the time that of the oldest."""
    fitted = s.quality != NOT_FITTED
    if not some(fitted):
        return Samples(np.asarray(0.0), np.asarray(NOT_FITTED, np.uint8), np.asarray(s.time_ms.min(initial=0)))
    all_fitted = every(fitted)
    worst = s.quality.max() if all_fitted else np.where(fitted, s.quality, 0).max()
    value = s.value.sum() if worst <= USABLE and all_fitted else np.where(s.quality <= USABLE, s.value, 0.0).sum()
    oldest = s.time_ms.min() if all_fitted else s.time_ms[fitted].min()
    return Samples(np.asarray(value), np.asarray(worst, np.uint8), np.asarray(oldest, np.int64))


@dataclasses.dataclass(frozen=True, slots=True)
class _Module:
    """One quantity of every module. least: shape (2, racks, modules), lowest and negated highest."""

    least: Floats
    mean: Floats
    quality: Codes
    time_ms: Ints
    lowest_at: int
    highest_at: int

    @classmethod
    def of(cls, s: Samples) -> _Module:
        usable = s.quality <= USABLE
        value = s.value.astype(np.float64)
        quality, oldest = _summed_quality(s.quality), s.time_ms.min(axis=2)
        if every(usable) and value.size:
            least, mean = np.array([value.min(axis=2), -value.max(axis=2)]), value.sum(axis=2) / value.shape[2]
            return cls(least, mean, quality, oldest, int(value.argmin()), int(value.argmax()))
        bottom, top = np.where(usable, value, np.inf), np.where(usable, value, -np.inf)
        any_, number = usable.any(axis=2), usable.sum(axis=2)
        least = np.where(any_, np.array([bottom.min(axis=2), -top.max(axis=2)]), 0.0)
        mean = np.where(usable, value, 0.0).sum(axis=2) / np.maximum(number, 1)
        found = some(any_)
        return cls(
            least, mean, quality, oldest, int(bottom.argmin()) if found else -1, int(top.argmax()) if found else -1
        )


def _up(level: _Level) -> _Level:
    """Extremes over the last axis."""
    usable = level.quality <= USABLE
    least = np.where(usable[:, None], level.least, np.inf).min(axis=-1)
    least = np.where(np.isfinite(least), least, 0.0)
    return _Level(least, _summed_quality(level.quality), np.asarray(level.time_ms.min(axis=-1)))


def _summed_quality(quality: Any) -> Codes:
    """Over the last axis: worst usable quality, SUBSTITUTED when part of what is fitted is missing.

    Without a usable value the worst of what is fitted, NOT_FITTED where nothing is.
    """
    worst = quality.max(axis=-1)
    if every(worst <= USABLE):
        return np.asarray(worst)
    usable, fitted = quality <= USABLE, quality != NOT_FITTED
    partial = np.where((fitted & ~usable).any(axis=-1), USABLE, np.where(usable, quality, 0).max(axis=-1))
    none = np.where(fitted.any(axis=-1), np.where(fitted, quality, 0).max(axis=-1), NOT_FITTED)
    return np.asarray(np.where(usable.any(axis=-1), partial, none), np.uint8)
