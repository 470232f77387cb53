"""R0 and two RC branches from a recording with current steps, by least squares over a grid of time constants.

For given time constants the voltage is linear in the resistances, in the share of the hysteresis, and nearly so in the
SOC at the start; the grid is refined once around its best point. Sudden changes tell R0, and relaxation the rest.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from controller.core.signal import Bools, Floats
from tools.fit.curve import SOC, Curve
from tools.fit.rise import Rise, rise
from tools.fit.table import Recording

MOST_ROWS: Final = 30_000
LEAST_STEPS: Final = 3
STEP_C: Final = 0.1
TAU1_S: Final = np.array([3.0, 6.0, 12.0, 25.0, 50.0, 100.0])
TAU2_S: Final = np.array([150.0, 300.0, 700.0, 1500.0, 3000.0, 6000.0])
REFINE: Final = np.array([0.7, 1.0, 1.4])
GAMMAS: Final = (1.0, 5.0, 15.0, 50.0)
TRUSTED: Final = (0.08, 0.97)
"""SOC outside of which the OCV is too steep for its table to judge a resistance."""
KELVIN: Final = 273.15
ARRHENIUS_K: Final = 2000.0
LEAST_OHM: Final = 1e-7


@dataclasses.dataclass(frozen=True, slots=True)
class Fitted:
    """The circuit at 25 degC, and how well it follows: the voltages of the recording and of the model, error in V."""

    r0: float
    r1: float
    tau1_s: float
    r2: float
    tau2_s: float
    scale: float
    gamma: float
    start_soc: float
    rms_v: float
    time_s: Floats
    measured_v: Floats
    model_v: Floats
    current_a: Floats
    degc: float
    rise: Rise | None = None
    """Factor on the resistances over the SOC, where the steps tell it; the resistances hold where it is 1."""

    @property
    def fast_ohm(self) -> float:
        """What a current meets beside diffusion, which at a slow rate cannot be told from hysteresis."""
        return self.r0 + self.r1


class NoSteps(Exception):
    """No recording has the current steps that a circuit is fitted to; the message says what is needed."""


def fit(recordings: list[Recording], curve: Curve, start_soc: float | None = None) -> Fitted:
    """The circuit from the recording with the most current steps."""
    counts = [_steps(r, curve.capacity_ah) for r in recordings]
    if max(counts, default=0) < LEAST_STEPS:
        raise NoSteps(
            f"no recording with {LEAST_STEPS} or more current steps of C/10, here {curve.capacity_ah / 10:.3g} A "
            f"(capacity {curve.capacity_ah:.4g} Ah by the slow recording): give a pulse test (rest, pulse, rest, ...), "
            "time in s"
        )
    r = _even(recordings[int(np.argmax(counts))])
    out = np.concatenate([[0.0], np.cumsum(_taken(r, curve))])
    begin = _first_soc(r, curve, out) if start_soc is None else start_soc
    found: list[Fitted | None] = []
    for gamma in GAMMAS if curve.half_gap is not None else (0.0,):
        found.append(_grid(r, curve, out, begin, TAU1_S, TAU2_S, gamma))
    best = _least(found)
    finer = _grid(r, curve, out, best.start_soc, best.tau1_s * REFINE, best.tau2_s * REFINE, best.gamma)
    best = _least([best, finer])
    over = rise(r, curve, *_dropped(r, best, out))
    if over is not None:
        load = r.current_a * over.at(np.clip(best.start_soc - out, 0.0, 1.0))
        risen = _grid(r, curve, out, best.start_soc, best.tau1_s * REFINE, best.tau2_s * REFINE, best.gamma, load)
        best = best if risen is None else dataclasses.replace(risen, rise=over)
    return _at_25(best)


def _dropped(r: Recording, f: Fitted, out: Floats) -> tuple[Floats, Floats]:
    """SOC of every row and what the circuit drops there."""
    x = _filtered(r, r.current_a, np.array([f.tau1_s, f.tau2_s]))
    return np.clip(f.start_soc - out, 0.0, 1.0), r.current_a * f.r0 + x[0] * f.r1 + x[1] * f.r2


def _least(found: list[Fitted | None]) -> Fitted:
    good = [f for f in found if f is not None]
    if not good:
        raise NoSteps("no circuit with positive resistances fits: are current and voltage of the same cell and sign?")
    return min(good, key=lambda f: f.rms_v)


def _steps(r: Recording, capacity_ah: float) -> int:
    return int((np.abs(np.diff(r.current_a)) > STEP_C * capacity_ah).sum())


def _even(r: Recording) -> Recording:
    """The recording with at most `MOST_ROWS` rows: means over rows where it has more."""
    fold = -(-len(r.time_s) // MOST_ROWS)
    if fold == 1:
        return r
    rows = len(r.time_s) // fold * fold
    arrays = [a[:rows].reshape(-1, fold).mean(axis=1) for a in (r.time_s, r.current_a, r.voltage_v, r.temperature_degc)]
    return Recording(r.name, *arrays)


def _taken(r: Recording, curve: Curve) -> Floats:
    """SOC taken out between rows; what flows in counts by the efficiency."""
    mean = 0.5 * (r.current_a[1:] + r.current_a[:-1])
    return np.asarray(np.where(mean < 0, curve.efficiency, 1.0) * mean * np.diff(r.time_s) / 3600.0 / curve.capacity_ah)


def _first_soc(r: Recording, curve: Curve, out: Floats) -> float:
    """The SOC at the first row: by its voltage, or by the row at rest whose voltage tells the SOC best."""
    still = np.abs(r.current_a) < 0.01 * curve.capacity_ah
    settled = still & np.concatenate([[True], still[:-1]])
    at = np.flatnonzero(settled) if settled.any() else np.array([0])
    volts = r.voltage_v[at]
    rising = curve.volts + np.arange(len(SOC)) * 1e-9
    soc = np.interp(volts, rising, SOC)
    slope = np.interp(soc, SOC, np.gradient(rising, SOC))
    sharpest = int(slope.argmax()) if curve.half_gap is not None else 0
    return float(np.clip(soc[sharpest] + out[at[sharpest]], 0.0, 1.0))


def _filtered(r: Recording, load: Floats, taus: Floats) -> Floats:
    """(taus, rows) currents `load` behind RC branches of 1 ohm."""
    dt = np.diff(r.time_s)
    keep = np.exp(-dt[:, None] / taus[None, :])
    mean = 0.5 * (load[1:] + load[:-1])
    x = np.zeros((len(r.time_s), len(taus)))
    for k in range(len(dt)):
        x[k + 1] = keep[k] * x[k] + (1 - keep[k]) * mean[k]
    return x.T


def _branch(out: Floats, gamma: float) -> Floats:
    """Hysteresis state -1..1 along the recording, starting in the middle."""
    h = np.zeros(len(out))
    for k, part in enumerate(np.diff(out)):
        keep = np.exp(-abs(part) * gamma)
        h[k + 1] = keep * h[k] - (1 - keep) * np.sign(part)
    return h


def _grid(
    r: Recording, curve: Curve, out: Floats, begin: float, tau1: Floats, tau2: Floats, gamma: float,
    load: Floats | None = None,
) -> Fitted | None:  # fmt: skip
    """The best point of a grid of time constants; `load` is the current times the rise of the resistance."""
    taus = np.concatenate([tau1, tau2])
    load = r.current_a if load is None else load
    x = _filtered(r, load, taus)
    slow = np.gradient(curve.volts, SOC)
    branch = None
    if curve.half_gap is not None:
        branch = _branch(out, gamma) * np.interp(np.clip(begin - out, 0, 1), SOC, curve.half_gap)
    best: Fitted | None = None
    for a in range(len(tau1)):
        for b in range(len(tau1), len(taus)):
            start, solved = begin, None
            for _ in range(2):
                soc = np.clip(start - out, 0.0, 1.0)
                rows = (soc > TRUSTED[0]) & (soc < TRUSTED[1])
                if rows.sum() < 10:
                    rows = np.ones(len(soc), bool)
                table = np.interp(soc, SOC, curve.volts)
                columns = [-load, -x[a], -x[b], np.interp(soc, SOC, slow)]
                solved, model, scale = _solved(columns, branch, r.voltage_v - table, rows)
                model = table + model
                start = float(np.clip(start + np.clip(solved[3], -0.05, 0.05), 0.0, 1.0))
            if solved is None or solved[:3].min() < LEAST_OHM:
                continue
            rms = float(np.sqrt(np.mean((model - r.voltage_v)[rows] ** 2)))
            if best is None or rms < best.rms_v:
                r0, r1, r2 = (float(x) for x in solved[:3])
                best = Fitted(
                    r0, r1, float(taus[a]), r2, float(taus[b]), scale, gamma, start, rms, r.time_s, r.voltage_v,
                    model, r.current_a, float(np.mean(r.temperature_degc)),
                )  # fmt: skip
    return best


def _solved(columns: list[Floats], branch: Floats | None, rest: Floats, rows: Bools) -> tuple[Floats, Floats, float]:
    """Least squares over `rows`; the share of the hysteresis stays between nothing and the whole measured gap."""
    matrix = np.stack(columns, axis=1)
    if branch is None:
        solved = np.asarray(np.linalg.lstsq(matrix[rows], rest[rows], rcond=None)[0], np.float64)
        return solved, np.asarray(matrix @ solved), 0.0
    both = np.column_stack([matrix, branch])
    scale = float(np.clip(np.linalg.lstsq(both[rows], rest[rows], rcond=None)[0][-1], 0.0, 1.0))
    solved = np.asarray(np.linalg.lstsq(matrix[rows], (rest - scale * branch)[rows], rcond=None)[0], np.float64)
    return np.asarray(solved), np.asarray(matrix @ solved + scale * branch), scale


def _at_25(f: Fitted) -> Fitted:
    """Resistances brought to 25 degC by the usual temperature dependence."""
    factor = float(np.exp(-ARRHENIUS_K * (1.0 / (f.degc + KELVIN) - 1.0 / (25.0 + KELVIN))))
    return dataclasses.replace(f, r0=f.r0 * factor, r1=f.r1 * factor, r2=f.r2 * factor)
