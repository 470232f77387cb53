"""Hard shorts, told within a minute where a sensor is near: one cell that falls below its sisters and warms at once.

A current that flows inside one cell (C/25 and more) lowers its voltage by that current times its resistance whatever
the string does, and turns all of its power into heat: 0.1 ohm across 280 Ah is 33 A, 8 mV at once, 12 mV in a minute,
110 W and 1.25 K/min. Means of ten seconds over the median of the string are kept for three minutes, and compared:

- the warmth has risen by 0.4 K and 6 sigma, more than its neighbours', over more than two of these means, and still
  rises; a sensor that jumped has not, and a module that warms is not alone;
- the voltage has fallen by 3 mV and 4 sigma more than the learnt resistance, the spread of the unlearnt one, the bend
  of the curve, and the warmth itself explain by what the current and the charge did meanwhile;
- both tell of the same current, within a factor. A connection falls only in discharge, rises in charge, does nothing at
  rest, and its heat is less than a fiftieth of a short's at the same voltage; a voltage sensor does not warm; bleeding
  (0.2 A) is 0.05 mV.

Assumed scatter of a mean: at least 0.5 mV and 0.05 K, else the MAD of the sisters at that moment.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.estimate.cell_model import ARRHENIUS_PER_K, CellModel
from controller.core.estimate.jumps import taught
from controller.core.estimate.rows import Look, put, rows
from controller.core.estimate.sisters import beside, median, scatter
from controller.core.estimate.thermal import heat_capacity
from controller.core.memory_watch import BLOCKS, WatchBlocks, WatchMeans
from controller.core.signal import Bools, Floats, Ints, every, some

BLOCK_MS, LONGEST_MS = 10_000, 15_000
"""Length of a mean, and time between two looks beyond which nothing is said of what was between them."""
LEAST_K, SIGMAS_K, LEAST_V, SIGMAS_V = 0.4, 6.0, 0.003, 4.0
"""Least rise and least fall, and over the scatter of the sisters: the fall need not stand alone."""
SIGMA_K, SIGMA_V = 0.05, 0.0005
LOCAL, JUMP_SHARE, LATE, LATE_SIGMAS = 0.5, 0.75, 3, 2.5
"""Share of a rise that the neighbours may not have, and that two steps between means may make at most; means over which
it must still rise, and by how many sigmas."""
SPANS: Final = (BLOCKS, 8)
"""Means over which a fall of the voltage is judged."""
SPREAD, SPREAD_LEARNT = 0.35, 0.05
"""What resistances may differ by, of nominal: before and after the current taught them."""
RATIO_LEAST, RATIO_MOST, RATIO_DISCHARGE, DISCHARGE_C = 0.3, 6.0, 3.0, 0.03
"""Current that the voltage tells of over that of the warmth. The surface lags the core: warmth tells of less at first.
In discharge a hot connection beside the sensor looks alike, so there they must agree better."""


@dataclasses.dataclass(frozen=True, slots=True)
class Short:
    """A hard short: row of the look, cell, current (A), fall of the voltage (V), warming (K/s), sigmas of the fall."""

    row: int
    cell: int
    current_a: float
    fallen_v: float
    rate_k_per_s: float
    sigmas: float


def add(m: WatchMeans, w: NDArray[Any], now: Look, dev: Floats, lone_k: Floats) -> Ints:
    """One look, in place: voltages and temperatures over the median; the rows whose mean is complete."""
    r = now.racks
    heard = now.current_ok & (2 * now.ok.sum(axis=1) >= now.ok.shape[1]) & (now.elapsed_ms <= LONGEST_MS)
    for total, good, x, ok in ((m.sum_v, m.whole_v, dev, now.ok), (m.sum_k, m.whole_k, lone_k, now.warm_ok)):
        ok = ok & heard[:, None]
        put(total, r, rows(total, r) + np.where(ok, x, 0.0))
        if not every(ok):
            put(good, r, np.where(ok, rows(good, r), 0))
    w["mean_a"] += np.where(heard, now.current_a, 0.0)
    w["mean_looks"] += 1
    w["mean_ms"] += now.elapsed_ms
    return np.flatnonzero(w["mean_ms"] >= BLOCK_MS)


def close(
    m: WatchMeans, b: WatchBlocks, w: NDArray[Any], now: Look, at: Ints, nearest: Ints, model: CellModel,
    drop_long: NDArray[Any],
) -> list[Short]:  # fmt: skip
    """Closes the means of the rows `at` of the look, in place; the hard shorts seen in them."""
    r, looks = now.racks[at], w["mean_looks"][at]
    blocks = []
    for ring, total, good in ((b.mean_v, m.sum_v, m.whole_v), (b.warmth, m.sum_k, m.whole_k)):
        block = ring["x"][r].reshape(len(r), -1, BLOCKS)
        block[..., :-1] = block[..., 1:]
        block[..., -1] = rows(total, r) / looks[:, None]
        ring["x"][r] = block.reshape((len(r), *ring.shape[1:], BLOCKS))
        total[r] = 0
        put(good, r, np.minimum(rows(good, r), 250) + 1)
        blocks.append(block)
    for name, x in (
        ("block_a", w["mean_a"][at] / looks), ("block_s", w["mean_ms"][at] / 1e3), ("block_slope", w["slope"][at]),
    ):  # fmt: skip
        w[name][at, :-1] = w[name][at, 1:]
        w[name][at, -1] = x
    for name in ("mean_a", "mean_looks", "mean_ms"):
        w[name][at] = 0
    whole = rows(m.whole_k, r) > BLOCKS
    if not some(whole & (blocks[1][..., -1] - blocks[1][..., 0] > 0.5 * LEAST_K)):
        return []
    rise, rate, hot = _warming(blocks[1].astype(np.float64), whole, w["block_s"][at])
    if not some(hot):
        return []
    fallen, over, sigmas = _fallen(blocks[0].astype(np.float64), w[at], now, at, model, rows(drop_long, r))
    fallen_enough = (rows(m.whole_v, r) > BLOCKS) & now.ok[at] & (over > 0)
    return _agreed(hot, rise, rate, fallen, np.where(fallen_enough, over, 0.0), sigmas, w[at], now, at, nearest, model)


def _warming(k: Floats, whole: Bools, time_s: Floats) -> tuple[Floats, Floats, Bools]:
    """K, and K/s at the end, of (n, sensors, means), and the sensors whose rise stands out, is no jump, and goes on."""
    rise = k[..., -1] - k[..., :2].mean(axis=-1)
    sigma = np.maximum(scatter(rise, whole), SIGMA_K)[:, None]
    step = np.diff(k, axis=-1)
    sharp = (step[..., :-1] + step[..., 1:]).max(axis=-1)
    late = k[..., -1] - k[..., -1 - LATE]
    hot = (
        whole
        & (rise >= np.maximum(LEAST_K, SIGMAS_K * sigma))
        & (sharp <= JUMP_SHARE * rise - sigma)
        & (late >= LATE_SIGMAS * sigma)
    )
    if rise.shape[1] >= 8:
        hot &= rise - beside(rise) > LOCAL * rise
    return rise, late / time_s[:, -LATE:].sum(axis=1)[:, None], hot


def _fallen(
    v: Floats, w: NDArray[Any], now: Look, at: Ints, model: CellModel, learnt_v: Floats
) -> tuple[Floats, Floats, Floats]:
    """How far (n, cells) have fallen (V) that no current explains, by how much over what may be, and in sigmas.

    Over each of `SPANS`, where it is the most over: the longer sees more, the shorter is surer where the curve bends.
    """
    heat = model.heat(median(now.warm_degc[at], now.warm_ok[at]))[0]
    learnt, own = taught(w, learnt_v, model)
    v = v + (own * heat[:, None])[..., None] * w["block_a"][:, None]
    ohm, found = np.where(learnt, SPREAD_LEARNT, SPREAD) * model.r0 * heat, []
    for span in SPANS:
        amps, slope = w["block_a"][:, -span:], w["block_slope"][:, -span:]
        away = v[..., -2:].max(axis=-1) - v[..., -span : 2 - span].mean(axis=-1)
        away = away - median(away, now.ok[at])[:, None]
        sigma = np.maximum(scatter(away, now.ok[at]), SIGMA_V)[:, None]
        other = (ohm * np.ptp(amps, axis=1))[:, None] + np.ptp(slope, axis=1)[:, None] * np.abs(now.level[at])
        found.append((-away, -away - np.maximum(LEAST_V, SIGMAS_V * sigma) - other, -away / sigma))
    (fallen, over, sigmas), (fallen_s, over_s, sigmas_s) = found
    brief = over_s > over
    return np.where(brief, fallen_s, fallen), np.where(brief, over_s, over), np.where(brief, sigmas_s, sigmas)


def _agreed(
    hot: Bools, rise: Floats, rate: Floats, fallen: Floats, over: Floats, sigmas: Floats, w: NDArray[Any], now: Look,
    at: Ints, nearest: Ints, model: CellModel,
) -> list[Short]:  # fmt: skip
    """The lowest cell of each warming sensor, where its voltage and the warmth tell of the same current."""
    found = []
    amps = w["block_a"][:, -LATE:].mean(axis=1)
    # Warmth lowers the resistance: in charge that alone lets a voltage fall.
    eased = ARRHENIUS_PER_K * rise * ((model.r0 + model.r1 + model.r2) * np.maximum(-amps, 0.0))[:, None]
    heat = model.heat(median(now.warm_degc[at], now.warm_ok[at]))[0]
    joules_per_k = heat_capacity(model.sheet.heat_capacity_j_per_k, model.capacity_ah)
    for n, k in zip(*hot.nonzero(), strict=True):
        mine = np.flatnonzero(nearest == k)
        if not mine.size or (over[n, mine] <= eased[n, k]).all():
            continue
        c = int(mine[over[n, mine].argmax()])
        by_heat = rate[n, k] * joules_per_k / max(float(now.voltage_v[at[n], c]), 1.0)
        by_drop = fallen[n, c] / (model.r0 * heat[n])
        most = RATIO_DISCHARGE if amps[n] > DISCHARGE_C * model.capacity_ah else RATIO_MOST
        if RATIO_LEAST * by_heat <= by_drop <= most * by_heat:
            drawn_a = float(max(by_heat, fallen[n, c] / ((model.r0 + model.r1) * heat[n])))
            found.append(Short(int(at[n]), c, drawn_a, float(fallen[n, c]), float(rate[n, k]), float(sigmas[n, c])))
    return found
