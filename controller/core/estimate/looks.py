"""One look at a string: steps, standstill and resistance of every cell and sensor since the look before."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.estimate import jumps
from controller.core.estimate.cell_model import CellModel
from controller.core.estimate.jumps import MOVED_C
from controller.core.estimate.rows import Look, put, rows
from controller.core.estimate.sisters import median, roughness
from controller.core.memory_watch import WatchSamples
from controller.core.signal import Bools, Floats, Ints, every

SLOW_S: Final = 600.0
"""Voltage and current are compared in what they do faster than this: charge and diffusion are slower."""
MEMORY: Final = {"fast": (2_700.0, 15.0), "mid": (8_100.0, 45.0), "long": (21_600.0, 120.0)}
"""Memories of the resistance: the longer of a time (s) and of what the current moved, C-rate squared times s. Where it
seldom moves, what was learnt last stays; a step of 0.25C is worth 20. The fast one sees a step, the long is calm."""
BEND_WIDTH, BEND_V = 0.04, 1.2
"""Change of the OCV slope over +- this SOC (V per unit) above which cells part for other reasons than resistance: the
one that the table shows, and the one it may hide between points that are far apart."""
SLOPE_WIDTH: Final = 0.01
INNER_SOC: Final = (0.15, 0.97)
"""Beyond, resistance climbs so steeply with SOC that every deviation of charge looks like one of resistance."""
SENSE_V, ROUGH_V = 0.0015, 0.02
"""Scatter of the sisters up to which a look is worth all it can be."""
BOUND_V, BOUND_OHM, LEAP_V = 0.005, 0.5, 0.007


def take(s: WatchSamples, w: NDArray[Any], now: Look, model: CellModel) -> tuple[Floats, Floats]:
    """Updates `s` and the rack records `w` (a copy of the racks' own) in place; V and K over the median."""
    r = now.racks
    v: Floats = np.asarray(now.voltage_v, np.float32)
    heat = model.heat(median(now.warm_degc, now.warm_ok))[0]
    middle: Floats = np.asarray(median(v, now.ok), np.float32)
    heard = (2 * now.ok.sum(axis=1) >= now.ok.shape[1]) & now.current_ok
    known = heard & (w["median_v"] > 0)
    di = np.where(known, now.current_a - w["seen_a"], 0.0)
    seen = rows(s.seen_v, r)
    both = now.ok & (seen > 0)
    have = both & known[:, None]
    step = np.where(known, middle - w["median_v"] if every(both) else _went(v, seen, both), 0.0)
    away = np.where(have, v - seen - step[:, None], 0.0)
    w["went_v"] += step
    _still(s.still_low_v, s.still_high_v, r, now.ok & (v == seen) & known[:, None], w["went_v"])
    bend = model.slope(now.soc + BEND_WIDTH, BEND_WIDTH / 2) - model.slope(now.soc - BEND_WIDTH, BEND_WIDTH / 2)
    straight = np.abs(bend) + np.sqrt(model.coarse(now.soc, BEND_WIDTH)) / BEND_WIDTH < BEND_V
    slope, dev = model.slope(now.soc, SLOPE_WIDTH), v - middle[:, None]
    # A step that no resistance explains is none of it.
    leap = np.where((np.abs(away) > LEAP_V) & (np.abs(away) > (model.r0 * heat * np.abs(di))[:, None]), away, 0.0)
    w["step_v"] = np.where(known, step, middle)
    jumps.note(
        s, w, now, away, have, dev, straight & known, slope, np.where(known, slope - w["slope"], 0.0), heat, model
    )
    _resist(s, w, now, dev, leap, known, straight, slope, heat, have, model)
    w["slope"] = slope
    put(s.seen_v, r, np.where(now.ok, v, 0.0))
    w["median_v"], w["seen_a"] = np.where(heard, middle, 0.0), now.current_a
    return dev, _warmth(s, w, now)


def _resist(
    s: WatchSamples, w: NDArray[Any], now: Look, dev: Floats, leap: Floats, known: Bools, straight: Bools,
    slope: Floats, heat: Floats, have: Bools, model: CellModel,
) -> None:  # fmt: skip
    """Leaky regression of a cell's voltage over the median on the current, both without their slow parts."""
    r, time_s, q = now.racks, now.elapsed_ms / 1000.0, model.capacity_ah
    # What charge did where the curve bends must not follow onto the straight part: there it would be resistance. So
    # the slow parts begin anew there, as the mean of what was seen since.
    clear = known & straight
    w["clear_s"] = np.where(clear, w["clear_s"] + time_s, 0.0)
    share = np.where(clear, np.maximum(-np.expm1(-time_s / SLOW_S), time_s / np.maximum(w["clear_s"], time_s)), 1.0)
    slow = rows(s.slow_v, r) + leap
    slow = np.where(have, slow + share[:, None] * (dev - slow), dev)
    for name, value in (("slow_a", now.current_a), ("slow_slope", slope)):
        w[name] += share * (value - w[name])
    # What is left after the filter is smaller by the same factor on both sides.
    parted = slope - w["slow_slope"]
    x, y = now.current_a - w["slow_a"], dev - slow - parted[:, None] * now.charge
    use = clear & (np.abs(x) > MOVED_C * q) & (now.soc > INNER_SOC[0]) & (now.soc < INNER_SOC[1])
    bound = (BOUND_V + BOUND_OHM * model.r0 * heat * np.abs(x))[:, None]
    # Where charge or table part healthy cells, a look is worth little: their own scatter says how little.
    learnt = rows(s.drop_long, r) / np.maximum(w["moved_long"], 1e-9)[:, None]
    left_v = roughness(y + learnt * (heat * x)[:, None], have, ROUGH_V) / SENSE_V
    worth = np.where(use, time_s / np.maximum(left_v, 1.0) ** 2, 0.0)
    drop, square = -y.clip(-bound, bound) * (x / heat * worth)[:, None], x**2 * worth
    for name, (time, moved) in MEMORY.items():
        keep, a = np.exp(-np.minimum(time_s / time, square / (moved * q**2))), getattr(s, f"drop_{name}")
        put(a, r, rows(a, r) * keep[:, None] + drop)
        aged = f"aged_{name}"
        w[aged] = keep * (w[aged] + w[f"moved_{name}"] * time_s / 3600.0)
        w[f"moved_{name}"] = w[f"moved_{name}"] * keep + square
    w["moved_bin"] += square
    put(s.slow_v, r, slow)


def _went(x: NDArray[Any], seen: NDArray[Any], both: Bools) -> Floats:
    """How far the median of those heard both times went since the look before: the middle of others lies elsewhere."""
    return median(x, both) - median(seen, both)


def _still(
    low: NDArray[Any], high: NDArray[Any], r: Ints, same: Bools, went: Floats, silent: Bools | None = None
) -> None:
    """How far the median went while the own value stood still; one that is `silent` neither stands nor moves."""
    m, before = went[:, None], (rows(low, r), rows(high, r))
    for a, old, x in ((low, before[0], np.minimum), (high, before[1], np.maximum)):
        new = np.where(same, x(old, m), m)
        put(a, r, new if silent is None else np.where(silent, old, new))


def _warmth(s: WatchSamples, w: NDArray[Any], now: Look) -> Floats:
    r, t, ok = now.racks, now.warm_degc.astype(np.float32), now.warm_ok
    middle = median(t, ok)
    seen, known = rows(s.seen_degc, r), (rows(s.known_degc, r) == 1) & ok
    rise = np.where(known, t - seen, 0.0)
    lone = np.where(known, np.abs(rise - median(rise, known)[:, None]), 0.0)
    put(s.sharp_k, r, np.maximum(rows(s.sharp_k, r), lone))
    over = t - middle[:, None]
    put(s.sum_k, r, rows(s.sum_k, r) + np.where(ok, over, 0.0))
    put(s.count_k, r, rows(s.count_k, r) + ok)
    w["went_k"] = w["went_k"] + _went(t, seen, known)
    _still(s.still_low_degc, s.still_high_degc, r, ok & (t == seen), w["went_k"], None if every(ok) else ~ok)
    put(s.seen_degc, r, t if every(ok) else np.where(ok, t, seen))
    put(s.known_degc, r, ok)
    return over
