"""The string ("bar") filter: SOC, two RC voltages and the bias of the current sensor, one per rack.

It follows the median cell. An extended Kalman filter with *considered* errors (Schmidt 1966): offset, OCV table,
resistances, diffusion lag and current gain have a variance and correlations but are never estimated, so that a
plateau voltage with a lasting error cannot wear the filter down to false certainty.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.estimate.cell_model import CellModel, Heat, trust_in
from controller.core.estimate.coarse import EVEN_WIDTH, heard_once
from controller.core.estimate.silence import doubt, still_open, told_current, unheard
from controller.core.memory import BAR_ERRORS, BAR_STATES
from controller.core.signal import Bools, Floats, some

Strings = NDArray[Any]

SOC, V1, V2, BIAS, OFFSET, RESIST, SLOW, TABLE_SOC, GAIN, TABLE_V, DIFFUSION = range(BAR_ERRORS)
BIAS_SIGMA_C: Final = 0.003
BIAS_MOST_C: Final = 0.01
BIAS_WALK_C: Final = 1e-6
"""Random walk of the bias, fraction of 1C per sqrt(s)."""
CURRENT_NOISE_C: Final = 0.01
DRIFT_TAU_S: Final = 300.0
"""Time in which the surface of the particles follows a change of current. Diffusion into a sphere and PyBaMM give one
to five minutes; a longer one takes a charge that follows a discharge near empty for SOC that is not there."""
LOW_SOC: Final = 0.15
LOW_SOC_FACTOR: Final = 4.0
"""Resistance errors grow by up to this factor towards empty, where diffusion limits the cell."""
HYSTERESIS_SHARE: Final = 0.4
"""Part of the half gap between the branches by which a voltage may lie off, wherever the history put it."""
END_SIGMA: Final = 0.005
"""What is known of the SOC at rest at full or empty: the table is anchored there by definition."""
END_CURRENT_C, END_DRIFT_C = 0.05, 0.02
END_V, END_SOC = 0.010, 0.007
"""Full (empty) is a rest voltage within END_V or END_SOC of the table's last (first) point."""
FAST_STEP_C: Final = 0.05
"""Current steps above this tell of the resistance."""
FAST_SAMPLES: Final = 2.0
"""... where voltages are sampled this often in the time constant of the fast branch: seldom ones tell of it, not R0."""
FAST_NOISE_V, FAST_NOISE_RATIO = 0.002, 0.1
FAST_WALK: Final = 0.01
"""Random walk of the factor on the resistances per current step."""
FAST_LEAST, FAST_MOST = 0.3, 3.0
ANSWER_V, ANSWER_SHARE = 0.02, 0.2
"""A current step whose drop over R0 alone would be ANSWER_V, and that the voltages answer with less than this share
of it, flowed in the sensor only."""
FITTED_SIGMA, DATASHEET_SIGMA = 0.15, 0.5
"""How far the resistances may be off at the start, with fitted branches and with a datasheet alone."""
SIGMA_FLOOR: Final = 0.003
MEDIAN_SPREAD: Final = 1.25
"""Standard deviation of the median of n independent errors: this over sqrt(n)."""
COMMON_OFFSET: Final = 0.3
"""Share of a voltage offset that all cells of a string may have in common: one reference per measuring board."""
GATE_SIGMAS: Final = 6.0
REJECTED_GROWTH: Final = 1.02
SOC_LOW, SOC_HIGH = -0.02, 1.02
ZERO_FLOOR_C: Final = 0.0005
ZERO_REPEAT: Final = 4.0
"""Samples of an idle current are not independent: their variance counts this many times."""
DIAGONAL: Final = np.arange(BAR_ERRORS)
START_GRID: Final = np.linspace(-0.03, 1.03, 213)
"""Beyond full and empty, where many a start is: cut off there, the mean of what a voltage allows would lie inside."""
BELIEF_MOST: Final = 30.0
"""Square of the sigmas that what was believed before the first voltage may weigh: one belief in a million is wrong."""
START_LEAN: Final = 0.8
"""Largest share of the starting variance that lasting errors may explain."""


class BarFilter:
    """Works on arrays of string records; every method changes the records given to it in place."""

    def __init__(self, model: CellModel) -> None:
        self.model = model
        self.trust = trust_in(model)
        coarse = float(np.median(model.coarse_v[(model.grid >= 0.0) & (model.grid <= 1.0)])) ** 2
        bounded = self.trust.table_v**2 / (self.trust.table_v**2 + coarse)
        self.published = (1.0 - bounded) * max(self.trust.published, 1.0) + bounded * self.trust.published
        """Published sigma over the filter's: what lies between the points of a coarse table is bounded by nothing."""
        empty, almost_empty, almost_full, full = model.ocv(np.array([0.0, END_SOC, 1.0 - END_SOC, 1.0]))
        self.full_v = float(min(full - END_V, almost_full))
        self.empty_v = float(max(empty + END_V, almost_empty))
        self.last_v = float(full)
        self.end_branch_v = model.branch(np.array([0.0, 1.0])) + model.assumed_branch_v
        below = float(1.0 - np.interp(self.full_v, model.ocv_v, model.grid))
        self.full_per_v = 0.0 if model.flat else below / (self.last_v - self.full_v)
        """SOC that a volt short of full stands for; none on flat curves, whose steep top a full cell leaves at rest."""

    def begin(self, s: Strings, soc: Floats, sigma: Floats, cells: int) -> None:
        """A filter that starts with `soc` +- `sigma`, everything else unknown; it will follow the median of `cells`."""
        q, t = self.model.capacity_ah, self.trust
        shared = min(max(MEDIAN_SPREAD / np.sqrt(max(cells, 1)), COMMON_OFFSET), 1.0)
        offset_v = np.hypot(t.offset_v * shared, t.lasting_v)
        # What the current built up while the filter waited for voltages stays: RC voltages and the lag of the surface.
        s["p"] = 0.0
        s["x"][:, SOC], s["x"][:, BIAS] = soc, 0.0
        spread = (0.0, 0.003, 0.005, BIAS_SIGMA_C * q, offset_v, t.resistance, t.slow_resistance, t.table_ratio,
                  t.gain, t.table_v, t.diffusion_h)  # fmt: skip
        s["p"][:, range(BAR_ERRORS), range(BAR_ERRORS)] = np.square(spread)
        s["p"][:, SOC, SOC] = sigma**2
        s["fast_factor"] = 1.0
        s["fast_variance"] = (FITTED_SIGMA if self.model.fitted else DATASHEET_SIGMA) ** 2
        s["ready"] = 1

    def begin_from_voltage(self, s: Strings, v: Floats, i: Floats, heat: Heat, silent: Bools | bool = False) -> None:
        """Sharpens a fresh start by the first voltage, over the whole range: a plateau may leave it open.

        silent: racks whose current is not known; what may flow leaves its drop in doubt.
        """
        m, t, grid = self.model, self.trust, START_GRID
        drop = (m.r0 * heat.r0 * i + s["x"][:, V1] + s["x"][:, V2])[:, None]
        open_v = m.ocv(grid)[None, :] + (m.branch(grid) + m.assumed_branch_v) * s["hysteresis"][:, None] - drop
        slope = m.slope(grid, 0.005)[None, :]
        half = np.interp(grid, m.grid, m.doubt_v)[None, :]
        # At one place `table_v` is all of the table's error; what of it lasts is not another one.
        offset = s["p"][:, OFFSET, OFFSET] - t.lasting_v**2
        coarse = np.interp(grid, m.grid, m.coarse_v)[None, :]
        variance = offset[:, None] + t.table_v**2 + (t.resistance * drop) ** 2 + (t.table_ratio * slope) ** 2
        lost = unheard(m, s, silent, heat)
        variance = variance + 0.003**2 + (0.5 * half) ** 2 + coarse**2 + np.square(sum(lost))[:, None]
        x, p = s["x"], s["p"]
        p[:, V1, V1] += lost[1] ** 2
        p[:, V2, V2] += lost[2] ** 2
        before = p[:, SOC, SOC].copy()
        badness = (v[:, None] - open_v) ** 2 / variance + np.log(variance)
        badness += np.minimum((grid - x[:, SOC, None]) ** 2 / before[:, None], BELIEF_MOST)
        weight = np.exp(-0.5 * (badness - badness.min(axis=1, keepdims=True)))
        weight /= weight.sum(axis=1, keepdims=True)
        mean = (weight * grid).sum(axis=1)
        after = np.maximum((weight * (grid - mean[:, None]) ** 2).sum(axis=1), 0.005**2)
        x[:, SOC] = np.clip(mean, 0.0, 1.0)
        p[:, SOC, SOC] = after
        # What the voltage taught leans on its lasting errors; without this they would be believed a second time.
        at = m.slope(mean, 0.02)
        gain = np.clip(1.0 - after / before, 0.0, 1.0) / at
        held = np.zeros((len(s), BAR_ERRORS))
        held[:, OFFSET], held[:, TABLE_V] = offset, t.table_v**2
        held[:, TABLE_SOC] = at * t.table_ratio**2
        held[:, RESIST] = -drop[:, 0] * t.resistance**2
        held[:, V1], held[:, V2] = -sum(lost) * lost[1], -sum(lost) * lost[2]
        held *= gain[:, None]
        spread = np.maximum(p[:, DIAGONAL, DIAGONAL], 1e-30)
        explained = (held**2 / spread).sum(axis=1) / after
        held *= np.sqrt(np.minimum(START_LEAN / np.maximum(explained, 1e-12), 1.0))[:, None]
        # The same voltage heard again must teach nothing, least of all backwards: between two knees it was they that
        # told, not the slope here.
        near = m.slope(mean, (0.7 * np.sqrt(after)).clip(0.005, 0.15))
        again = held[:, OFFSET] + held[:, TABLE_V] + near * held[:, TABLE_SOC] - drop[:, 0] * held[:, RESIST]
        again -= held[:, V1] + held[:, V2]
        held *= np.minimum(near * after / np.maximum(again, 1e-12), 1.0)[:, None]
        held[:, SOC] = 0.0
        p[:, SOC, :] -= held
        p[:, :, SOC] -= held
        # A current that is told by voltages begins with none: the drop that this voltage holds is not one of now.
        s["amiss_v"] = np.where(silent, v - self.voltage(s, i, heat), s["amiss_v"])

    def predict(self, s: Strings, i: Floats, idle: Bools, dt_s: float, heat: Heat) -> Floats:
        """One step of `dt_s` with the measured current; returns the bias-free current in A."""
        m, x = self.model, s["x"]
        i = np.where(idle, 0.0, i - x[:, BIAS])
        hours = dt_s / 3600.0
        out = np.where(i < 0, m.efficiency, 1.0) * i * hours / m.capacity_ah
        a1, a2 = np.exp(-dt_s / m.tau1_s), np.exp(-dt_s / m.tau2_s)
        x[:, SOC] = (x[:, SOC] - out).clip(SOC_LOW, SOC_HIGH)
        x[:, V1] = a1 * x[:, V1] + m.r1 * heat.rc * (1 - a1) * i
        x[:, V2] = a2 * x[:, V2] + m.r2 * heat.rc * (1 - a2) * i
        keep = np.exp(-np.abs(i) * (m.gamma * hours / m.capacity_ah))
        s["hysteresis"] = keep * s["hysteresis"] - (1 - keep) * np.sign(i)
        s["drift_c"] += (i / m.capacity_ah - s["drift_c"]) * (1 - np.exp(-dt_s / DRIFT_TAU_S))
        s["charge"] += out
        s["moved"] += np.abs(out)
        return i

    def voltage(self, s: Strings, i: Floats, heat: Heat) -> Floats:
        """The voltage the median cell should show, in V."""
        m, x = self.model, s["x"]
        soc = self._surface(s)
        open_v = m.ocv(soc) + (m.branch(soc) + m.assumed_branch_v) * s["hysteresis"]
        return np.asarray(open_v - s["fast_factor"] * self._fast(s, i, heat) - self._slow_factor(s) * x[:, V2])

    def _surface(self, s: Strings) -> Floats:
        """SOC at the surface of the particles, which the voltage shows: behind a lasting current it lags."""
        return np.asarray(s["x"][:, SOC] - self.trust.lag_h * s["drift_c"])

    def _fast(self, s: Strings, i: Floats, heat: Heat) -> Floats:
        return np.asarray(self.model.r0 * heat.r0 * i + s["x"][:, V1])

    def _slow_factor(self, s: Strings) -> Floats:
        """A slow branch that only follows from R0 is off by the same factor; a fitted one stands for itself."""
        return np.ones(len(s)) if self.model.fitted else np.asarray(s["fast_factor"])

    def learn_resistance(self, s: Strings, i: Floats, step_a: Floats, step_v: Floats, heat: Heat) -> None:
        """From `step_v` of the median over a current step: by what factor the sheet's resistances are off."""
        m, fast = self.model, self._fast(s, i, heat)
        change = fast - s["fast_v"]
        charge = i * s["sample_ms"] / 3.6e6 / m.capacity_ah
        drop = -step_v - m.slope(s["x"][:, SOC].clip(0.0, 1.0), 0.01) * charge
        told = (np.abs(step_a) > FAST_STEP_C * m.capacity_ah) & (step_v != 0)
        told &= s["sample_ms"] * FAST_SAMPLES < m.tau1_s * 1000.0
        factor, variance = s["fast_factor"], s["fast_variance"] + np.where(told, FAST_WALK**2, 0.0)
        noise = FAST_NOISE_V**2 + (FAST_NOISE_RATIO * change) ** 2
        surprise, spread = drop - factor * change, variance * change**2 + noise
        told &= surprise**2 < GATE_SIGMAS**2 * spread
        gain = np.where(told, variance * change / spread, 0.0)
        s["fast_factor"] = (factor + gain * surprise).clip(FAST_LEAST, FAST_MOST)
        s["fast_variance"] = np.minimum(variance * (1.0 - gain * change), DATASHEET_SIGMA**2)
        s["fast_v"] = fast

    def unanswered(self, s: Strings, step_a: Floats, step_v: Floats, heat: Heat) -> Bools:
        """Racks whose current stepped by `step_a` since the sample before while the median moved by `step_v` only."""
        drop = s["fast_factor"] * self.model.r0 * heat.r0 * np.abs(step_a)
        return np.asarray((drop > ANSWER_V) & (-step_v * np.sign(step_a) < ANSWER_SHARE * drop))

    def recount(self, s: Strings, wrong_a: Floats, dt_s: float, heat: Heat) -> None:
        """Takes back that a current was larger by `wrong_a` in the last `dt_s` than what flowed."""
        m, x = self.model, s["x"]
        out = wrong_a * dt_s / 3600.0 / m.capacity_ah
        x[:, SOC] = (x[:, SOC] + out).clip(SOC_LOW, SOC_HIGH)
        x[:, V1] -= m.r1 * heat.rc * (1 - np.exp(-dt_s / m.tau1_s)) * wrong_a
        x[:, V2] -= m.r2 * heat.rc * (1 - np.exp(-dt_s / m.tau2_s)) * wrong_a
        s["drift_c"] -= wrong_a / m.capacity_ah * (1 - np.exp(-dt_s / DRIFT_TAU_S))
        s["charge"] -= out

    def stand_in(self, s: Strings, i: Floats, median_v: Floats, dt_s: float, heat: Heat) -> tuple[Floats, Floats]:
        """The current that the median voltage tells of the last `dt_s`, for which `i` stood in, and its doubt."""
        off_v = median_v - self.voltage(s, i, heat)
        told, share = told_current(self.model, s, i, off_v, self._surface(s), self._slow_factor(s), dt_s, heat)
        return told, share * still_open(self.model, self.trust, s, heat)

    def correct(self, s: Strings, idle: Bools, heat: Heat, still: Bools) -> None:
        """Covariance over the time since the last correction, then what idle current and mean innovation teach.

        `still`: the median voltage stood since the sample before, as at rest.
        """
        p = self._propagated(s, idle, heat)
        x = s["x"].copy()
        if some(idle):
            p = self._zero_current(s, x, p, idle)
        p = self._listen(s, x, p, idle, heat)
        p = self._anchored(s, x, p, heat, still)
        q = self.model.capacity_ah
        x[:, SOC] = x[:, SOC].clip(SOC_LOW, SOC_HIGH)
        x[:, BIAS] = x[:, BIAS].clip(-BIAS_MOST_C * q, BIAS_MOST_C * q)
        # Shrunk as a whole row: cutting the variance alone would leave correlations beyond 1.
        shrink = 1.0 / np.sqrt(np.maximum(p[:, SOC, SOC], 1.0))[:, None]
        p[:, SOC, :] *= shrink
        p[:, :, SOC] *= shrink
        p[:, SOC, SOC] = np.maximum(p[:, SOC, SOC], SIGMA_FLOOR**2)
        s["x"], s["p"] = x, p
        s["silent_ms"] = np.where(s["blind_ms"] > 0, s["silent_ms"] + s["blind_ms"], 0)
        for name in ("error_v", "samples", "sampled_a", "charge", "moved", "elapsed_ms", "blind_ms"):
            s[name] = 0

    def _propagated(self, s: Strings, idle: Bools, heat: Heat) -> Floats:
        m, t, n = self.model, self.trust, len(s)
        time_s = s["elapsed_ms"] / 1000.0
        load = np.where(idle, 0.0, 1.0)
        a1, a2 = np.exp(-time_s / m.tau1_s), np.exp(-time_s / m.tau2_s)
        f = np.zeros((n, BAR_ERRORS, BAR_ERRORS))
        f[:, range(BAR_ERRORS), range(BAR_ERRORS)] = 1.0
        f[:, V1, V1], f[:, V2, V2] = a1, a2
        f[:, SOC, BIAS] = load * time_s / (3600.0 * m.capacity_ah)
        f[:, V1, BIAS] = -load * m.r1 * heat.rc * (1 - a1)
        f[:, V2, BIAS] = -load * m.r2 * heat.rc * (1 - a2)
        f[:, SOC, GAIN] = -s["charge"] * heat.counting
        p = np.asarray(f @ s["p"] @ f.transpose(0, 2, 1))
        p[:, SOC, SOC] += load * time_s * (CURRENT_NOISE_C / 3600.0) ** 2
        if some(s["blind_ms"] > 0):
            for state, more in zip((SOC, V1, V2), doubt(m, s, p[:, SOC, SOC], heat), strict=True):
                p[:, state, state] += more
        p[:, BIAS, BIAS] += time_s * (BIAS_WALK_C * m.capacity_ah) ** 2
        travelled = np.exp(-s["moved"] / t.table_range - time_s / 86_400.0)
        aged = np.exp(-time_s / t.renewed_s)
        for j, keep, sigma in (
            (TABLE_V, travelled, t.table_v), (TABLE_SOC, travelled, t.table_ratio), (RESIST, aged, t.resistance),
            (SLOW, aged, t.slow_resistance), (DIFFUSION, aged, t.diffusion_h),
        ):  # fmt: skip
            p[:, j, :] *= keep[:, None]
            p[:, :, j] *= keep[:, None]
            p[:, j, j] += sigma**2 * (1 - keep**2)
        return p

    def _zero_current(self, s: Strings, x: Floats, p: Floats, idle: Bools) -> Floats:
        """Nothing flows, so what the sensor shows is its bias."""
        scatter = s["steady_square"] / np.maximum(s["steady_n"] - 1, 1)
        noise = ZERO_REPEAT * np.maximum(scatter, (ZERO_FLOOR_C * self.model.capacity_ah) ** 2)
        h = np.zeros((len(s), BAR_ERRORS))
        h[:, BIAS] = 1.0
        return _learn(x, p, h, s["steady_mean_a"] - x[:, BIAS], noise, idle)[0]

    def _listen(self, s: Strings, x: Floats, p: Floats, idle: Bools, heat: Heat) -> Floats:
        """What the mean innovation of the median voltage teaches."""
        m, t = self.model, self.trust
        soc = x[:, SOC]
        count = np.maximum(s["samples"], 1.0)
        i = s["sampled_a"] / count
        # Over the uncertainty of the SOC, not at a point: a local slope misleads where the SOC is hardly known.
        slope = m.slope(self._surface(s).clip(0.0, 1.0), (0.7 * np.sqrt(p[:, SOC, SOC])).clip(0.005, 0.15))
        low = 1.0 + LOW_SOC_FACTOR * (1.0 - soc / LOW_SOC).clip(0.0, 1.0)
        h = np.zeros((len(s), BAR_ERRORS))
        h[:, SOC] = h[:, TABLE_SOC] = slope
        factor, slow = s["fast_factor"], self._slow_factor(s)
        h[:, V1], h[:, V2] = -factor, -slow
        h[:, BIAS] = np.where(idle, 0.0, factor * m.r0 * heat.r0)
        h[:, OFFSET] = 1.0
        half = HYSTERESIS_SHARE * np.interp(soc, m.grid, m.doubt_v)
        h[:, TABLE_V] = np.sqrt(1.0 + (half / t.table_v) ** 2)
        h[:, RESIST] = -factor * (m.r0 * heat.r0 * i + x[:, V1]) * low
        h[:, SLOW] = -slow * x[:, V2] * low
        h[:, DIFFUSION] = -slope * s["drift_c"]
        noise = t.noise_v**2 / np.maximum(s["elapsed_ms"] / 1000.0, 0.01)
        known = p[:, SOC, SOC]
        noise = noise + heard_once(m.coarse(soc, EVEN_WIDTH * np.sqrt(known)), slope**2 * known)
        heard = s["samples"] > 0
        p, kept = _learn(x, p, h, s["error_v"] / count, noise, heard)
        p[:, SOC, SOC] *= np.where(heard & ~kept, REJECTED_GROWTH, 1.0)
        return p

    def _anchored(self, s: Strings, x: Floats, p: Floats, heat: Heat, still: Bools) -> Floats:
        """A string that rests at its full or empty voltage is full or empty, whatever was believed."""
        count = np.maximum(s["samples"], 1.0)
        i = s["sampled_a"] / count
        drop = s["fast_factor"] * self._fast(s, i, heat) + self._slow_factor(s) * x[:, V2]
        volts = s["median_v"] + drop
        rest = still & (s["samples"] > 0) & (s["median_v"] > 0) & (np.abs(i) < END_CURRENT_C * self.model.capacity_ah)
        rest &= np.abs(s["drift_c"]) < END_DRIFT_C
        # The table lies between the branches: a charge that ends short of full rests as high as a full cell would.
        above = self.end_branch_v * s["hysteresis"][:, None]
        full, empty = rest & (volts - above[:, 1] >= self.full_v), rest & (volts - above[:, 0] <= self.empty_v)
        if not some(full | empty):
            return p
        # On a sloping curve a sensor's offset alone makes 99 % look full: it is as full as it shows, and as doubtful.
        shown = np.where(full, 1.0 - np.maximum(self.last_v - volts, 0.0) * self.full_per_v, 0.0)
        h = np.zeros((len(s), BAR_ERRORS))
        h[:, SOC] = 1.0
        h[:, OFFSET] = np.where(full, self._of_sensors(p) * self.full_per_v, 0.0)
        known = END_SIGMA**2 + h[:, OFFSET] ** 2 * p[:, OFFSET, OFFSET]
        news = (full | empty) & (p[:, SOC, SOC] > known)
        noise = np.full(len(s), END_SIGMA**2)
        return _learn(x, p, h, shown - x[:, SOC], noise, news)[0]

    def _of_sensors(self, p: Floats) -> Floats:
        """Part of the lasting offset that is the sensors': the table is not doubted at its ends."""
        offset = p[:, OFFSET, OFFSET]
        return np.sqrt(np.maximum(1.0 - self.trust.lasting_v**2 / np.maximum(offset, 1e-12), 0.0))


def _learn(x: Floats, p: Floats, h: Floats, innovation: Floats, noise: Floats, where: Bools) -> tuple[Floats, Bools]:
    """Schmidt-Kalman correction of `x` in place: the considered errors take part but are not moved."""
    hp = np.einsum("rij,rj->ri", p, h)
    s = np.einsum("ri,ri->r", hp, h) + noise
    kept = where & (innovation**2 < GATE_SIGMAS**2 * s)
    k = hp / s[:, None] * kept[:, None]
    k[:, BAR_STATES:] = 0.0
    x += (k * innovation[:, None])[:, :BAR_STATES]
    cross = k[:, :, None] * hp[:, None, :]
    p = p - cross - cross.transpose(0, 2, 1) + s[:, None, None] * k[:, :, None] * k[:, None, :]
    p[:, DIAGONAL, DIAGONAL] = np.maximum(p[:, DIAGONAL, DIAGONAL], 0.0)
    return p, kept
