"""Capacity and resistance of strings and cells, each with its standard deviation; the datasheet's until evidence comes.

String capacity: approximate weighted total least squares with forgetting (Plett, J. Power Sources 196 (2011) 2319)
between SOCs that the voltage alone tells well, so that no count of charge is judged by itself. Cells: the SOC filter's
lack of capacity over the swing. String resistance: recursive least squares over current steps; cells: the filter's
difference. The gain of the current sensor counts one to one in absolute capacity and is part of its sigma.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.estimate.circuit import Cells, Circuit, string_of
from controller.core.memory import EstimationMemory
from controller.core.signal import Bools, Floats, Ints, some

SCALE: Final = 4.0
"""Charge (over the datasheet's) is stretched by this, so that its doubt and the SOC's are of one size."""
PRIOR_SIGMA: Final = 0.05
GAIN_SIGMA: Final = 0.006
"""Gain of a current sensor within +-1 %."""
FORGETTING: Final = 0.99
LEAST_SWING: Final = 0.3
POINT_SIGMA: Final = 0.02
LEFT: Final = 0.05
"""SOC moved after which a point is over."""
OFFSET_V, TABLE_RATIO, CIRCUIT_ERROR, BRANCH_ERROR = 0.008, 0.007, 0.3, 0.5
"""Doubt of an open-circuit voltage: sensor, table, share of all voltage drops, share of the hysteresis."""
SLOPE_WIDTH: Final = 0.01
BIAS_SIGMA_C: Final = 0.0005
COUNT_SIGMA: Final = 0.002
OLDEST_H: Final = 72.0
"""Charge counted for longer is not believed."""
SLEW_PER_DAY: Final = 0.005
NEWTON_STEPS: Final = 3
RESISTANCE_SIGMA: Final = 0.2
"""Doubt of a datasheet's resistance."""
RESISTANCE_WALK: Final = 0.002
"""Of a string's resistance, per square root of an hour."""
STEP_C, CALM_C = 0.05, 0.005
STEP_MOST_MS: Final = 4500.0
STEP_NOISE_V: Final = 0.0005
STEP_ERROR: Final = 0.05
"""Share of a voltage step that is no resistance: diffusion within the second, sensors that are not simultaneous."""
STEP_SIGMAS: Final = 4.0
REFUSED_GROWTH: Final = 1.05
"""Of the variance, at a step that does not fit: what keeps coming is believed in the end."""
RESISTANCE_RANGE: Final = (0.2, 5.0)
LACK_SIGMA: Final = 0.015
CELL_SPREAD: Final = 0.1
"""Of the resistances of new cells against their string."""
LACK_RANGE: Final = (-0.3, 1.0)
MS_PER_HOUR, MS_PER_DAY = 3_600_000.0, 86_400_000.0


def first(record: Any) -> None:
    """Records that know nothing but the datasheet."""
    record["sums"] = prior()
    record["ratio"] = record["slow_ratio"] = record["growth"] = 1.0
    record["ratio_sigma"], record["growth_variance"] = np.hypot(PRIOR_SIGMA, GAIN_SIGMA), RESISTANCE_SIGMA**2
    record["step_ms"] = -1.0


def prior() -> Floats:
    """The datasheet as one pair of points: capacity 1 with `PRIOR_SIGMA`."""
    sigma = np.array(PRIOR_SIGMA / np.hypot(1.0, 1.0 / SCALE))
    return sums_of(np.array(1.0), np.array(1.0), sigma, sigma / SCALE)


def sums_of(x: Floats, y: Floats, sigma_x: Floats, sigma_y: Floats) -> Floats:
    """What one pair adds: SOC swing x, charge y over the datasheet's capacity, and their standard deviations."""
    y, sigma_y = SCALE * y, SCALE * sigma_y
    parts = np.stack([x * x, x * y, y * y], axis=-1)
    return np.concatenate([parts / np.square(sigma_y)[..., None], parts / np.square(sigma_x)[..., None]], axis=-1)


def solve(sums: Floats, start: Floats) -> tuple[Floats, Floats]:
    """Capacity ratio and its standard deviation by `NEWTON_STEPS` steps from `start`."""
    c1, c2, c3, c4, c5, c6 = np.moveaxis(sums, -1, 0)
    q = SCALE * start
    curvature = np.ones_like(q)
    for _ in range(NEWTON_STEPS + 1):
        d = q * q + 1
        n = c4 * q**4 - 2 * c5 * q**3 + (c1 + c6) * q**2 - 2 * c2 * q + c3
        n1 = 4 * c4 * q**3 - 6 * c5 * q**2 + 2 * (c1 + c6) * q - 2 * c2
        n2 = 12 * c4 * q**2 - 12 * c5 * q + 2 * (c1 + c6)
        a = n1 * d - 4 * q * n
        slope = a / d**3
        curvature = ((n2 * d - 2 * q * n1 - 4 * n) * d - 6 * q * a) / d**4
        convex = curvature > 0
        step = np.where(convex, slope / np.where(convex, curvature, 1.0), 0.0)
        q = q - step.clip(-0.1 * SCALE, 0.1 * SCALE)
    sigma = np.sqrt(2.0 / np.where(curvature > 0, curvature, np.inf)) / SCALE
    return (q / SCALE).clip(0.3, 1.5), np.where(curvature > 0, sigma, PRIOR_SIGMA)


class Capacities:
    """Works on some racks at a time, in their records and the cell arrays of the outlook's memory."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit

    def rack(self, c: Cells, record: Any, elapsed_ms: Floats, charge_ah: Floats, mean_a: Floats) -> None:
        """One look: `charge_ah` left the rack in the `elapsed_ms` since the last one, `mean_a` on the mean of it."""
        sheet = self.circuit.model.capacity_ah
        record["counted"] += charge_ah / sheet
        record["counted_ms"] += elapsed_ms
        self._points(c, record)
        self._steps(c, record, elapsed_ms, mean_a)
        most = SLEW_PER_DAY * elapsed_ms / MS_PER_DAY
        record["slow_ratio"] += (record["ratio"] - record["slow_ratio"]).clip(-most, most)

    def _points(self, c: Cells, r: Any) -> None:
        """Keeps the best-known SOC of every stay where the voltage tells it, and learns from pairs of them."""
        soc, sigma = self._voltage_soc(c)
        left = (r["best"][:, 1] > 0) & (np.abs(r["counted"] - r["best"][:, 2]) > LEFT)
        if some(left):
            self._pair(r, left)
        better = c.known & (sigma < POINT_SIGMA) & ((r["best"][:, 1] == 0) | (sigma < r["best"][:, 1]))
        r["best"] = np.where(better[:, None], np.stack([soc, sigma, r["counted"]], axis=1), r["best"])
        old = r["counted_ms"] > OLDEST_H * MS_PER_HOUR
        r["base"] = np.where(old[:, None], 0.0, r["base"])
        reset = old & (r["best"][:, 1] == 0)
        r["counted"], r["counted_ms"] = np.where(reset, 0.0, r["counted"]), np.where(reset, 0.0, r["counted_ms"])

    def _voltage_soc(self, c: Cells) -> tuple[Floats, Floats]:
        """SOC of the mean cell by its voltage alone, and how well that is known; nothing counted enters."""
        m = self.circuit.model
        one = c.weight
        count = np.maximum(c.count, 1.0)
        mean = (c.emf_v * one).sum(axis=1) / count + c.v1 + c.v2
        soc = self.circuit.soc_at(mean)
        if m.branch_v.any():
            soc = self.circuit.soc_at(mean - m.branch(soc) * c.hysteresis)
        slope = m.slope(soc, SLOPE_WIDTH)
        drops = np.abs(c.current_a) * (c.r0 * one).sum(axis=1) / count * c.mean_rise() + np.abs(c.v1) + np.abs(c.v2)
        half = np.interp(soc, m.grid, m.half_v)
        doubt = np.sqrt(
            OFFSET_V**2 + (CIRCUIT_ERROR * drops) ** 2 + (BRANCH_ERROR * half) ** 2 + m.coarse(soc, SLOPE_WIDTH)
        )
        unseen = (c.emf_sigma_v * one).max(axis=1) > 0
        return soc, np.where(unseen, 1.0, np.hypot(doubt / slope, TABLE_RATIO))

    def _pair(self, r: Any, left: Bools) -> None:
        """The point just left against the base: learnt from where the swing is wide, and the next base."""
        base, best = r["base"], r["best"]
        swing, counted = base[:, 0] - best[:, 0], best[:, 2] - base[:, 2]
        hours = r["counted_ms"] / MS_PER_HOUR
        wide = left & (base[:, 1] > 0) & (np.abs(swing) > LEAST_SWING) & (counted * swing > 0)
        doubt = np.sqrt((BIAS_SIGMA_C * hours) ** 2 + (COUNT_SIGMA * counted) ** 2 + 1e-6)
        new = sums_of(swing, counted, np.hypot(base[:, 1], best[:, 1]) + 1e-6, doubt)
        r["sums"] = np.where(wide[:, None], FORGETTING * r["sums"] + new, r["sums"])
        ratio, sigma = solve(r["sums"], r["ratio"])
        r["ratio"] = np.where(wide, ratio, r["ratio"])
        r["ratio_sigma"] = np.where(wide, np.hypot(sigma, GAIN_SIGMA), r["ratio_sigma"])
        r["pairs"] += wide
        moved = left & ((base[:, 1] == 0) | (np.abs(swing) > LEAST_SWING) | (best[:, 1] < base[:, 1]))
        since = r["counted"] - best[:, 2]
        r["base"] = np.where(moved[:, None], best * (1.0, 1.0, 0.0), base)
        r["counted"] = np.where(moved, since, r["counted"])
        r["counted_ms"] = np.where(moved, 0.0, r["counted_ms"])
        r["best"] = np.where(left[:, None], 0.0, best)

    def _steps(self, c: Cells, r: Any, elapsed_ms: Floats, mean_a: Floats) -> None:
        """The string's resistance from what its mean voltage did when the current stepped."""
        m = self.circuit.model
        q = m.capacity_ah
        count = np.maximum(c.count, 1.0)
        one = c.weight
        back = c.r0 * self.circuit.given_back(c.rise, c.current_a[:, None])
        volts = ((c.emf_v - back * c.current_a[:, None]) * one).sum(axis=1) / count
        rise = c.mean_rise()
        unseen = (c.emf_sigma_v * one).max(axis=1) > 0
        calm = c.known & ~unseen & (np.abs(c.current_a - mean_a) < CALM_C * q)
        age = r["step_ms"] + elapsed_ms
        di = c.current_a - r["step_a"]
        # A margin for the rise towards empty would be learnt as a resistance that has fallen.
        told = m.rise_known | (rise <= 1.0)
        valid = calm & told & (r["step_ms"] >= 0) & (age < STEP_MOST_MS) & (np.abs(di) > STEP_C * q)
        r["growth_variance"] += RESISTANCE_WALK**2 * elapsed_ms / MS_PER_HOUR
        if some(valid):
            sheet = m.r0 * m.heat(c.surface_degc.mean(axis=1))[0] * rise
            rc = (m.r1 * rise * (1 - np.exp(-0.5 * age / 1000.0 / m.tau1_s))) * di
            seen = -(volts - r["step_v"]) - rc
            h, p = sheet * di, r["growth_variance"]
            noise = STEP_NOISE_V**2 + (STEP_ERROR * h) ** 2
            surprise, variance = seen - h * r["growth"], h * h * p + noise
            believed = valid & (surprise**2 < STEP_SIGMAS**2 * variance)
            gain = np.where(believed, p * h / variance, 0.0)
            r["growth"] = (r["growth"] + gain * surprise).clip(*RESISTANCE_RANGE)
            r["growth_variance"] = p * (1.0 - gain * h) * np.where(valid & ~believed, REFUSED_GROWTH, 1.0)
            r["steps"] += believed
        r["step_v"], r["step_a"] = np.where(calm, volts, r["step_v"]), np.where(calm, c.current_a, r["step_a"])
        r["step_ms"] = np.where(calm, 0.0, np.where(r["step_ms"] < 0, -1.0, age))


def cells(memory: EstimationMemory, kept: Any, racks: Ints, circuit: Circuit, fresh: Bools) -> None:
    """The filter's view of each cell against its string, kept where it is better than what was kept before.

    A filter that restarts forgets; what it knew stays until it knows better. `kept` has cell arrays `lack`,
    `lack_variance`, `resistance`, `resistance_variance`, changed in place; `fresh` racks begin with the datasheet.
    """
    r0 = circuit.model.r0
    _, ready = string_of(memory, racks)
    for value, variance, now, doubt, usual in (
        (kept.cell_lack, kept.cell_lack_variance, memory.cell_lack_ratio, memory.cell_p_lack, LACK_SIGMA**2),
        (kept.cell_resistance, kept.cell_resistance_variance, memory.cell_resistance_shift_ohm,
         memory.cell_resistance_variance, (CELL_SPREAD * r0) ** 2),
    ):  # fmt: skip
        old, held = value[racks], variance[racks]
        begin = (fresh[:, None, None] & (held == 0)) | ~np.isfinite(held)
        old, held = np.where(begin, 0.0, old), np.where(begin, usual, held)
        seen, better = now[racks], ready[:, None, None] & (doubt[racks] <= held) & (doubt[racks] > 0)
        value[racks], variance[racks] = np.where(better, seen, old), np.where(better, doubt[racks], held)


def capacity_of(slow_ratio: Floats, ratio: Floats, sigma: Floats, sheet_ah: float) -> tuple[Floats, Floats]:
    """String capacity as published and its sigma: what the slow figure has not followed yet is part of the doubt."""
    return slow_ratio * sheet_ah, np.hypot(sigma, ratio - slow_ratio) * sheet_ah
