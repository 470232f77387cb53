"""Strings of simulated cells with injected faults: truth for early warning, many seeds at once.

An equivalent circuit that is not the estimator's own: two RC branches whose resistances move with SOC and
temperature, hysteresis, a table that is a little wrong, cells that differ, a temperature field with neighbours, sensors
with offset, noise and steps. All strings of a fleet advance together as arrays (strings, cells).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import yaml

from controller.core.signal import Bools, Floats
from plc_config.library import DATA

GRID: Final = np.linspace(0.0, 1.0, 201)
FINE: Final = 1401
"""Points of the simulated OCV tables, from -0.2 to 1.2."""
REST_DAY_S: Final = 86_400.0
J_PER_K_AH: Final = 19.0
"""Heat capacity of a cell per Ah, J/K: 280 Ah cell about 5300."""
W_PER_K: Final = 1.1
"""Surface to ambient of a 280 Ah cell, growing with capacity to the power 2/3."""
NEIGHBOUR_W_PER_K: Final = 0.15
MONTH_H: Final = 720.0
CHEMISTRY: Final = {
    "LFP": ("lfp-280", (2.6, 3.58), 0.012), "NMC": ("nmc-94", (3.1, 4.15), 0.0), "NCA": ("nca", (3.0, 4.15), 0.0),
}  # fmt: skip
"""Cell type whose OCV table is used, voltages at which the string stops, half hysteresis gap (V)."""
NCA_V: Final = (2.80, 3.28, 3.42, 3.52, 3.58, 3.63, 3.69, 3.77, 3.86, 3.95, 4.04, 4.10, 4.18)
"""Rounded open-circuit voltages of a layered oxide with nickel and aluminium, evenly over SOC."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One injected fault: string, cell, name, onset (s), size in the unit of its kind."""

    string: int
    cell: int
    name: str
    start_s: float
    size: float
    label: str


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a fleet is made of; the same plan gives the same logs."""

    chemistry: str
    capacity_ah: float
    cells: int
    strings: int
    days: float
    dt_s: float
    ambient_degc: float
    profile: str
    seed: int
    sensors_per_cell: float = 1.0
    quantum_v: float = 1e-4
    faults: bool = True

    @property
    def rows(self) -> int:
        """Rows of the log."""
        return int(self.days * 86_400 / self.dt_s)


class Fleet:
    """Some strings; `rows()` yields time (s), currents (strings,), voltages (strings, cells) and temperatures."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.random = plan, np.random.default_rng(plan.seed)
        r, p, c = self.random, plan.strings, plan.cells
        cell_type, self.stop_v, self.half_v = CHEMISTRY[plan.chemistry]
        self.ocv_v = _ocv(cell_type)
        self.scale = plan.capacity_ah / 280.0
        base = 2.4e-4 / self.scale * (1.0 if plan.chemistry == "LFP" else 1.6)
        self.base_ohm = base
        self.fine = np.linspace(-0.2, 1.2, FINE)
        bend = sum(r.normal(0, 0.0012, (p, 1)) * np.sin(k * 7 * self.fine + r.uniform(0, 6, (p, 1))) for k in (1, 2, 4))
        at = self.fine + r.normal(0, 0.004, (p, 1))
        low, high = (self.ocv_v[1] - self.ocv_v[0]) / 0.005, (self.ocv_v[-1] - self.ocv_v[-2]) / 0.005
        table = np.interp(at, GRID, self.ocv_v) + np.minimum(at, 0) * low + np.maximum(at - 1, 0) * high
        self.table = table + bend
        self.capacity = plan.capacity_ah * (1 + r.normal(0, 0.01, (p, c)))
        self.r0 = base * (1 + r.normal(0, 0.05, (p, c)))
        self.r1, self.r2 = 0.65 * base * (1 + r.normal(0, 0.08, (p, c))), 1.4 * base * (1 + r.normal(0, 0.08, (p, c)))
        self.tau1, self.tau2 = r.uniform(20, 60, (p, 1)), r.uniform(800, 2500, (p, 1))
        self.soc = r.uniform(0.3, 0.7, (p, 1)) + r.normal(0, 0.006, (p, c))
        self.self_c = np.abs(r.normal(0.01, 0.003, (p, c))) / MONTH_H
        place = np.linspace(-1, 1, c)[None, :]
        self.field = r.normal(0, 1.2, (p, 1)) * place + r.normal(0, 0.25, (p, c))
        self.air = W_PER_K * self.scale ** (2 / 3) * (1 + r.normal(0, 0.08, (p, c)))
        self.heat_j = J_PER_K_AH * plan.capacity_ah
        self.warm = plan.ambient_degc + self.field
        self.v1, self.v2, self.h = np.zeros((p, c)), np.zeros((p, c)), np.zeros((p, 1))
        self.offset = r.uniform(-0.004, 0.004, (p, c))
        self.gain, self.bias = 1 + r.normal(0, 0.004, p), r.normal(0, 0.0015, p) * plan.capacity_ah
        self.noise_v, self.noise_k = r.uniform(0.0005, 0.0012, (p, 1)), r.uniform(0.03, 0.12, (p, 1))
        sensors = max(int(c * plan.sensors_per_cell), 1)
        self.seat = np.arange(sensors) * c // sensors
        self.offset_k = r.normal(0, 0.3, (p, sensors))
        self.faults = draw(plan, self.random) if plan.faults else ()
        self.duty = _duty(plan, self.random)
        self.charging, self.spent = np.zeros(p, bool), np.zeros(p)
        self.last_v: Floats | None = None
        self.held: dict[int, float] = {}
        for f in self.faults:
            if f.name == "low_capacity":
                self.capacity[f.string, f.cell] *= 1 - f.size

    def sheet(self) -> dict[str, Any]:
        """The datasheet that belongs to the strings, at 25 degC."""
        half = np.full(len(GRID), self.half_v)
        return {
            "capacity_ah": self.plan.capacity_ah, "eta": 1.0, "soc_grid": GRID, "ocv_mid_v": self.ocv_v,
            "hyst_half_v": half, "r0": self.base_ohm, "r1": 0.65 * self.base_ohm, "tau1": 35.0,
            "r2": 1.4 * self.base_ohm, "tau2": 1500.0, "gamma": 15.0, "ms": 0.8,
        }  # fmt: skip

    def rows(self) -> Iterator[tuple[float, Floats, Floats, Floats]]:
        """The log, row by row."""
        for k in range(self.plan.rows):
            yield self._row(k, k * self.plan.dt_s)

    def _row(self, k: int, t: float) -> tuple[float, Floats, Floats, Floats]:
        p, dt = self.plan, self.plan.dt_s
        i = self._current(k)
        leak, extra_ohm, more_r0 = self._electrical(t)
        own = i[:, None] + leak
        arrhenius = np.exp(2300.0 * (1 / (self.warm + 273.15) - 1 / 298.15))
        low = 1 + 0.6 * np.exp(-np.maximum(self.soc, 0) / 0.06)
        r0 = (self.r0 + more_r0) * arrhenius * low
        self.soc = np.clip(self.soc - (own / self.capacity + self.self_c) * dt / 3600, -0.1, 1.1)
        a1, a2 = np.exp(-dt / self.tau1), np.exp(-dt / self.tau2)
        self.v1 = a1 * self.v1 + (1 - a1) * self.r1 * arrhenius * low * own
        self.v2 = a2 * self.v2 + (1 - a2) * self.r2 * arrhenius * low * own
        keep = np.exp(-np.abs(i[:, None]) * 15.0 * dt / 3600 / p.capacity_ah)
        self.h = keep * self.h - (1 - keep) * np.sign(i[:, None])
        ocv = self._ocv() + 0.8 * self.half_v * self.h
        v = ocv - (r0 + extra_ohm) * own - self.v1 - self.v2
        self._heat(own, ocv - v + extra_ohm * 0, v, leak, t)
        self.last_v = v
        return t, *self._sensed(t, i, v)

    def _ocv(self) -> Floats:
        at = np.clip((self.soc + 0.2) / 1.4 * (FINE - 1), 0, FINE - 1.001)
        low = at.astype(int)
        rows = np.arange(len(at))[:, None]
        part = at - low
        return np.asarray(self.table[rows, low] * (1 - part) + self.table[rows, low + 1] * part)

    def _current(self, k: int) -> Floats:
        """What the plan asks for, cut back where a cell is at its end (and until the string has come back a little)."""
        i = self.duty[:, k].copy()
        if self.last_v is not None:
            empty, full = self.last_v.min(axis=1) < self.stop_v[0], self.last_v.max(axis=1) > self.stop_v[1]
            middle = np.median(self.soc, axis=1)
            i[(empty | (middle < 0.02)) & (i > 0)] = 0.0
            i[(full | (middle > 0.985)) & (i < 0)] = 0.0
        return i

    def _electrical(self, t: float) -> tuple[Floats, Floats, Floats]:
        shape = (self.plan.strings, self.plan.cells)
        leak, extra, more = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        for f in self.faults:
            if t < f.start_s:
                continue
            at, hours = (f.string, f.cell), (t - f.start_s) / 3600
            v = 3.3 if self.last_v is None else float(self.last_v[at])
            if f.label == "growing short":
                leak[at] = v / (25 / self.scale * 0.01 ** min(hours / f.size, 1.0))
            elif f.name == "internal_short":
                leak[at] = v / (f.size / self.scale)
            elif f.name == "self_discharge":
                leak[at] = self.plan.capacity_ah / f.size
            elif f.name == "resistance_growth":
                more[at] = self.r0[at] * f.size * min(hours / 72, 1.0)
            elif f.name == "busbar_step":
                extra[at] = f.size * 1e-6 / self.scale
            elif f.name == "runaway":
                leak[at] = 3.0 * self.plan.capacity_ah
        return leak, extra, more

    def _heat(self, own: Floats, drop: Floats, v: Floats, leak: Floats, t: float) -> None:
        p = self.plan
        day = np.sin(2 * np.pi * t / REST_DAY_S)
        air = p.ambient_degc + 2.0 * day + self.field
        heat = np.abs(own * drop) + v * leak
        beside = np.zeros_like(v)
        step = np.diff(self.warm, axis=1) * NEIGHBOUR_W_PER_K * self.scale ** (2 / 3)
        beside[:, :-1] += step
        beside[:, 1:] -= step
        self.warm = self.warm + (heat + beside - self.air * (self.warm - air)) * p.dt_s / self.heat_j
        for f in self.faults:
            if f.name == "runaway" and t >= f.start_s:
                self.warm[f.string, f.cell] = min(self.warm[f.string, f.cell] + f.size * p.dt_s, 400.0)

    def _sensed(self, t: float, i: Floats, v: Floats) -> tuple[Floats, Floats, Floats]:
        r, p = self.random, self.plan
        volts = v + self.offset + r.normal(0, 1, v.shape) * self.noise_v
        warm = self.warm[:, self.seat] + self.offset_k + r.normal(0, 1, self.offset_k.shape) * self.noise_k
        for n, f in enumerate(self.faults):
            if t < f.start_s:
                continue
            sensor = int(np.searchsorted(self.seat, f.cell, "right") - 1)
            if f.name == "voltage_sensor":
                volts[f.string, f.cell] += f.size * 1e-3
            elif f.name == "temperature_sensor":
                warm[f.string, sensor] += f.size
            elif f.label == "stuck voltage":
                volts[f.string, f.cell] = self.held.setdefault(n, float(volts[f.string, f.cell]))
            elif f.label == "stuck temperature":
                warm[f.string, sensor] = self.held.setdefault(n, float(warm[f.string, sensor]))
            elif f.name == "runaway":
                volts[f.string, f.cell] *= 0.6
        sensed = i * self.gain + self.bias + r.normal(0, 0.0005, len(i)) * p.capacity_ah
        return sensed, np.round(volts / p.quantum_v) * p.quantum_v, np.round(warm * 10) / 10


KINDS: Final = (
    ("internal_short", 10.0, "short 10 ohm"), ("internal_short", 15.0, "short 15 ohm"),
    ("internal_short", 60.0, "short 60 ohm"), ("internal_short", 14.0, "growing short"),
    ("resistance_growth", 0.33, "resistance +33 % in 72 h"), ("busbar_step", 50.0, "busbar +50 micro-ohm"),
    ("busbar_step", 90.0, "busbar +90 micro-ohm"), ("low_capacity", 0.065, "capacity -6.5 %"),
    ("voltage_sensor", 12.0, "voltage +-12 mV"), ("voltage_sensor", -20.0, "voltage +-20 mV"),
    ("temperature_sensor", 4.0, "temperature +-4 K"), ("stuck_sensor", 0.0, "stuck voltage"),
    ("stuck_sensor", 0.0, "stuck temperature"), ("self_discharge", 13_000.0, "leak C/13,000 per h"),
    ("runaway", 3.0, "runaway"),
)  # fmt: skip
"""Faults that are injected: name, size at 280 Ah, label. The resistances of shorts grow, those of busbars fall with
capacity."""
SIGNED: Final = ("voltage_sensor", "temperature_sensor")
PER_STRING: Final = 4
FIRST_S: Final = 28 * 3600.0
"""Earliest onset: a day is needed to know the healthy string."""
SLOW_DAYS: Final = 10.0
"""Self-discharge is only put into strings that run at least this long."""


def draw(plan: Plan, random: np.random.Generator) -> tuple[Fault, ...]:
    """Four faults per string, in turn of `KINDS`, in cells apart from each other, after the first 30 hours."""
    found, n = [], int(random.integers(0, len(KINDS)))
    end = plan.days * 86_400
    for s in range(plan.strings):
        per = min(PER_STRING, plan.cells // 6)
        stride = plan.cells // max(per, 1)
        for k in range(per):
            name, size, label = KINDS[n % len(KINDS)]
            n += 1
            if name == "self_discharge" and plan.days < SLOW_DAYS:
                name, size, label = KINDS[n % len(KINDS)]
                n += 1
            cell = k * stride + int(random.integers(0, max(stride - 2, 1)))
            start = random.uniform(FIRST_S, max(0.35 * end, FIRST_S + 4 * 3600.0))
            if label == "growing short":
                start = end - size * 3600
            elif name == "runaway":
                start = end - 600.0
            elif name == "low_capacity":
                start = 0.0
            if name in SIGNED and random.random() < 0.5:
                size = -size
            found.append(Fault(s, cell, name, float(start), size, label))
    return tuple(found)


def _ocv(cell_type: str) -> Floats:
    if cell_type == "nca":
        return np.asarray(np.interp(GRID, np.linspace(0, 1, len(NCA_V)), NCA_V))
    ocv = yaml.safe_load((DATA / "cells" / f"{cell_type}.yaml").read_text("utf-8"))["ocv"]
    return np.asarray(np.interp(GRID, ocv["soc"], ocv["volts"]))


def _duty(plan: Plan, random: np.random.Generator) -> Floats:
    """Wanted current (strings, rows) in A; balanced over a day, so that the ends are touched now and then."""
    hour = (np.arange(plan.rows) * plan.dt_s / 3600.0)[None, :] + random.uniform(-1, 1, (plan.strings, 1))
    day = hour % 24
    if plan.profile == "solar":
        shape = np.where((day > 9) & (day < 15), -0.16, np.where((day > 17) & (day < 21), 0.25, 0.0))
    elif plan.profile == "two cycles":
        half = hour % 12
        shape = np.where(half < 3, -0.28, np.where((half > 5) & (half < 8), 0.28, 0.0))
    elif plan.profile == "shallow":
        half = hour % 12
        shape = np.where(half < 2, -0.25, np.where((half > 5) & (half < 7), 0.25, 0.0))
    elif plan.profile == "regulation":
        shape = 0.02 * np.sin(2 * np.pi * hour / 24)
    else:
        shape = np.where((day > 9) & (day < 14), -0.12, np.where((day > 17) & (day < 21), 0.15, 0.0))
    noise = {"grid": 0.3, "regulation": 0.2}.get(plan.profile, 0.02)
    block = max(int(120 / plan.dt_s), 1)
    count = -(-plan.rows // block)
    rough = np.repeat(random.normal(0, noise, (plan.strings, count)), block, axis=1)[:, : plan.rows]
    on: Bools = np.ones_like(shape, bool) if plan.profile == "grid" else shape != 0
    if plan.profile == "grid":
        on = (day < 2) | (day > 5)
    return np.asarray(np.clip(shape + rough * on, -0.5, 0.5) * plan.capacity_ah)
