"""Measured (or generated) cell data played through every module of the plant."""

from __future__ import annotations

import csv
import gzip
import math
import os
import zlib
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
import yaml

from controller.core.signal import Floats
from plc_config.schema.cell import CellType

GENERATED: Final = "generated"
COLUMNS: Final = ("time_s", "current_a", "voltage_v", "temperature_c")
MAX_ROWS: Final = 5_000_000
GENERATED_S: Final = 7200
LOW_SOC, HIGH_SOC = 0.3, 0.8
SPREAD_V: Final = 0.003
SPREAD_K: Final = 0.5
MARGIN_SOC: Final = 0.03
"""Data of another chemistry is stretched into the OCV range between these margins."""


class PlayError(Exception):
    """The file cannot be played; the text says which file and why."""


class Recording:
    """One cell's history: time from 0, current (discharge positive), voltage, temperature."""

    def __init__(self, time_s: Floats, current_a: Floats, voltage_v: Floats, temperature_degc: Floats) -> None:
        self.time_s, self.current_a = time_s, current_a
        self.voltage_v, self.temperature_degc = voltage_v, temperature_degc
        self.capacity_ah: float | None = None

    @property
    def duration_s(self) -> float:
        """Length of one round."""
        return float(self.time_s[-1])


def find(name: str) -> Path:
    """The file of that name: as a path, or in the data folder ($CELLWARDEN_DATA, else ../shared/data)."""
    data = Path(os.environ.get("CELLWARDEN_DATA", "../shared/data"))
    tried = list(dict.fromkeys((Path(name), data / name, data / "cells" / name)))
    for path in tried:
        if path.is_file():
            return path
    where = ", ".join(str(p) for p in tried)
    raise PlayError(f"--play {name}: no such file (looked at {where}); `--play generated` needs no file")


def read(path: Path) -> Recording:
    """A CSV or CSV.GZ with at least time_s, current_a, voltage_v, temperature_c; PlayError otherwise."""
    try:
        data = _table(path)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error) as error:
        raise PlayError(f"{path}: cannot be read: {error}") from error
    if len(data) < 2 or not np.isfinite(data).all():
        raise PlayError(f"{path}: at least two rows of finite numbers are needed")
    steps = np.diff(data[:, 0])
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0
    time_s = np.concatenate([[0.0], np.cumsum(np.where(steps > 0, steps, usual))])
    recording = Recording(time_s, data[:, 1], data[:, 2], data[:, 3])
    recording.capacity_ah = _capacity(path.parent / "cell.yaml")
    return recording


def _table(path: Path) -> Floats:
    packed = path.suffix == ".gz"
    with gzip.open(path, "rt", newline="") if packed else path.open(newline="") as stream:
        reader = csv.reader(stream)
        header = [c.strip() for c in next(reader, [])]
        missing = [c for c in COLUMNS if c not in header]
        if missing:
            raise PlayError(f"{path}: column {missing[0]!r} is missing; needed: {', '.join(COLUMNS)}")
        at = [header.index(c) for c in COLUMNS]
        rows: list[list[float]] = []
        for line, row in enumerate(reader, 2):
            try:
                rows.append([float(row[i]) for i in at])
            except (ValueError, IndexError) as error:
                raise PlayError(f"{path}:{line}: not a row of numbers ({error})") from error
            if len(rows) > MAX_ROWS:
                raise PlayError(f"{path}: more than {MAX_ROWS} rows")
    return np.asarray(rows, float)


def _capacity(datasheet: Path) -> float | None:
    if not datasheet.is_file():
        return None
    loaded = yaml.safe_load(datasheet.read_text(encoding="utf-8"))
    value = loaded.get("capacity_ah") if isinstance(loaded, dict) else None
    return float(value) if isinstance(value, int | float) else None


def generate(cell: CellType, seed: int) -> Recording:
    """Two hours of random charge and discharge steps of one nominal cell, 1 s apart."""
    random = Random(seed)
    soc, v1, temperature, current = 0.6, 0.0, 25.0, 0.0
    ohm, keep = cell.resistance, math.exp(-1 / 20)
    out: list[tuple[float, float, float, float]] = []
    for second in range(GENERATED_S):
        if second % 120 == 0:
            current = random.uniform(-0.4 * cell.charge_current, 0.4 * cell.discharge_current)
        if (soc < LOW_SOC and current > 0) or (soc > HIGH_SOC and current < 0):
            current = -current
        soc -= current / cell.capacity / 3600
        v1 = v1 * keep + current * ohm * 0.4 * (1 - keep)
        temperature += (current * current * ohm - 0.5 * (temperature - 25.0)) / (19.0 * cell.capacity)
        voltage = float(np.interp(soc, cell.ocv.soc, cell.ocv.volts)) - v1 - current * ohm * 0.6
        out.append((float(second), current, voltage, temperature))
    recording = Recording(*np.asarray(out).T)
    recording.capacity_ah = cell.capacity
    return recording


class Player:
    """Plays a recording, in a loop, as the voltages, temperatures and currents of all cells."""

    def __init__(
        self, recording: Recording, cell: CellType, parallel: int, shape: tuple[int, int, int], seed: int, speed: float
    ) -> None:
        random = np.random.default_rng(seed)
        self.recording, self.speed, self.position_s = recording, speed, 0.0
        self.offset_v = np.clip(SPREAD_V * random.standard_normal(shape), -3 * SPREAD_V, 3 * SPREAD_V)
        self.offset_k = SPREAD_K * random.standard_normal(shape)
        self.racks = shape[0]
        capacity = recording.capacity_ah
        largest = float(np.abs(recording.current_a).max())
        if capacity is not None:
            self.current_factor = cell.capacity * parallel / capacity
        else:
            self.current_factor = 0.5 * cell.discharge_current * parallel / largest if largest > 0 else 1.0
        self.voltage_gain, self.voltage_base = self._voltage_map(cell)
        self.move_to(0.0)

    def _voltage_map(self, cell: CellType) -> tuple[float, float]:
        low, high = float(self.recording.voltage_v.min()), float(self.recording.voltage_v.max())
        if cell.ocv.volts[0] - 0.3 <= low and high <= cell.limits.cell_overvoltage.trip:
            return 1.0, 0.0
        bottom, top = np.interp([MARGIN_SOC, 1 - MARGIN_SOC], cell.ocv.soc, cell.ocv.volts)
        gain = (float(top) - float(bottom)) / max(high - low, 1e-6)
        return gain, float(bottom) - gain * low

    def move_to(self, position_s: float) -> None:
        """Continue from here (seconds into the recording)."""
        r = self.recording
        self.position_s = position_s % r.duration_s
        self.now_v = self.voltage_gain * float(np.interp(self.position_s, r.time_s, r.voltage_v)) + self.voltage_base
        self.now_a = self.current_factor * float(np.interp(self.position_s, r.time_s, r.current_a))
        self.now_degc = float(np.interp(self.position_s, r.time_s, r.temperature_degc))

    def advance(self, dt_s: float) -> None:
        """Play on by `dt_s` of plant time."""
        self.move_to(self.position_s + dt_s * self.speed)

    def cell_voltage_v(self) -> Floats:
        """Voltage of every cell now."""
        return np.asarray(self.now_v + self.offset_v)

    def cell_temperature_degc(self) -> Floats:
        """Temperature of every cell now."""
        return np.asarray(self.now_degc + self.offset_k)

    def current_a(self) -> Floats:
        """Current of every rack now, if its contactors were closed."""
        return np.full(self.racks, self.now_a)
