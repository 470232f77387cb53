"""Capacity, OCV table and hysteresis from slow charges and discharges."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from controller.core.signal import Floats
from tools.fit.table import Recording

SOC: Final = np.array(
    [0.0, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, *np.arange(0.1, 0.951, 0.05), 0.96, 0.97, 0.98, 0.99, 0.995, 1.0]
)
"""Points of the table: dense where the curve bends."""
STILL_SHARE: Final = 0.02
"""Of the largest current: below it, nothing flows."""
SLOW_H: Final = 5.0
"""A branch lasts at least so long: C/5 or slower."""
LEAST_SHARE: Final = 0.6
"""Of the charge of the largest branch: less is no whole branch."""
EFFICIENCY: Final = (0.97, 1.0)
"""Outside, the difference of the branches is the tester's offset, not the cell."""
USUAL_EFFICIENCY: Final = 0.999
RESOLUTION: Final = 801


@dataclasses.dataclass(frozen=True, slots=True)
class Branch:
    """One slow run from end to end: SOC rising from 0 to 1, its voltage, current (A, > 0 discharge) and charge."""

    soc: Floats
    voltage_v: Floats
    current_a: float
    charge_ah: float
    degc: float


@dataclasses.dataclass(frozen=True, slots=True)
class Curve:
    """OCV over `SOC` points and half the gap between the branches (None where only one was measured)."""

    capacity_ah: float
    efficiency: float
    volts: Floats
    half_gap: Floats | None
    degc: float
    notes: tuple[str, ...]


class NoBranch(Exception):
    """No slow charge or discharge was found; the message says what is needed."""


def branches(recordings: list[Recording]) -> list[Branch]:
    """Every slow branch of the recordings."""
    runs = [run for r in recordings for run in _runs(r)]
    if not runs:
        return []
    slow = [b for b, hours in runs if hours >= SLOW_H]
    most = max((b.charge_ah for b in slow), default=0.0)
    return [b for b in slow if b.charge_ah >= LEAST_SHARE * most]


def _runs(r: Recording) -> list[tuple[Branch, float]]:
    """Stretches of one sign of current, with their duration in h."""
    sign = np.where(np.abs(r.current_a) < STILL_SHARE * np.abs(r.current_a).max(), 0, np.sign(r.current_a))
    edges = np.flatnonzero(np.diff(sign)) + 1
    found = []
    for a, b in zip(np.concatenate([[0], edges]), np.concatenate([edges, [len(sign)]]), strict=True):
        if sign[a] == 0 or b - a < 10:
            continue
        t, i, v = r.time_s[a:b], r.current_a[a:b], r.voltage_v[a:b]
        ah = np.concatenate([[0.0], np.cumsum(0.5 * np.abs(i[1:] + i[:-1]) * np.diff(t))]) / 3600.0
        if ah[-1] <= 0:
            continue
        share = ah / ah[-1]
        soc, volts = (1 - share[::-1], v[::-1]) if sign[a] > 0 else (share, v)
        mean = float(np.median(i))
        branch = Branch(soc, volts, mean, float(ah[-1]), float(np.mean(r.temperature_degc[a:b])))
        found.append((branch, float(t[-1] - t[0]) / 3600.0))
    return found


def curve(recordings: list[Recording], ohm: float) -> Curve:
    """The table; `ohm` is the cell's whole resistance, taken out where only one branch was measured."""
    found = branches(recordings)
    if not found:
        raise NoBranch(
            f"no charge or discharge that lasts {SLOW_H:g} h or more: give one at C/10 or slower, from full to empty"
        )
    out = [b for b in found if b.current_a > 0]
    into = [b for b in found if b.current_a < 0]
    notes = []
    volts = {}
    fine = np.linspace(0.0, 1.0, RESOLUTION)
    for name, some in (("discharge", out), ("charge", into)):
        if some:
            slowest = min(some, key=lambda b: abs(b.current_a))
            volts[name] = (_smooth(fine, slowest), slowest)
    capacity = volts["discharge"][1].charge_ah if "discharge" in volts else volts["charge"][1].charge_ah
    efficiency, gap = USUAL_EFFICIENCY, None
    if len(volts) == 2:
        (down, d), (up, c) = volts["discharge"], volts["charge"]
        ratio = d.charge_ah / c.charge_ah
        if EFFICIENCY[0] <= ratio <= EFFICIENCY[1]:
            efficiency = ratio
        else:
            notes.append(f"discharge and charge differ by {100 * (ratio - 1):+.1f} %: the tester's offset; "
                         "the capacity is their mean, the efficiency the usual one")  # fmt: skip
            capacity = 0.5 * (d.charge_ah + c.charge_ah)
        weight = abs(d.current_a) / (abs(d.current_a) + abs(c.current_a))
        middle = up * weight + down * (1 - weight)
        loss = 0.5 * (abs(d.current_a) + abs(c.current_a)) * ohm
        gap = np.maximum(0.5 * (up - down) - loss, 0.0)
    else:
        name, (middle, b) = next(iter(volts.items()))
        middle = middle + b.current_a * ohm
        notes.append(f"only a slow {name} was given: its loss is taken out, hysteresis is not known")
    table = np.maximum.accumulate(np.interp(SOC, fine, middle))
    half = None if gap is None else np.interp(SOC, fine, gap)
    degc = float(np.mean([b.degc for _, b in volts.values()]))
    return Curve(capacity, efficiency, table, half, degc, tuple(notes))


def _smooth(fine: Floats, b: Branch) -> Floats:
    """The branch on an even grid, noise averaged where there are many rows per point."""
    order = np.argsort(b.soc, kind="stable")
    soc, volts = b.soc[order], b.voltage_v[order]
    return np.asarray(np.interp(fine, soc, volts))
