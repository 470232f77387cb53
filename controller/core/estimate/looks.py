"""One look at a string: steps, standstill and heating of every cell and sensor since the look before."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.estimate.cell_model import CellModel
from controller.core.estimate.sisters import median
from controller.core.memory_watch import WatchSamples
from controller.core.signal import Bools, Floats, Ints

MOVED_C: Final = 0.015
SLOW_S: Final = 600.0
"""Voltage and current are compared in what they do faster than this: charge and diffusion are slower."""
MEMORY_S: Final = {"fast": 2_700.0, "mid": 8_100.0, "long": 21_600.0}
"""Memories of the resistance: the fast one sees a step within hours, the long one is calm."""
IDLE_SHARE: Final = 0.15
"""While the current does not move nothing is learnt, and this share as fast is forgotten."""
BEND_WIDTH, BEND_V = 0.04, 1.2
"""Change of the OCV slope over +- this SOC (V per unit) above which cells part for other reasons than resistance."""
INNER_SOC: Final = (0.15, 0.97)
"""Outside, resistance climbs with SOC and every deviation of charge looks like one of resistance."""
LONE_OHM, LONE_OHM_LEARNT, LEARNT_MOVED, REST_STEP_V = 0.35, 0.08, 30.0, 0.001
"""What of a lone voltage step the spread of resistances may explain, as a share of the nominal drop."""
BOUND_V, BOUND_OHM = 0.005, 0.5
RUNAWAY_K_PER_S, RUNAWAY_MS, RUNAWAY_DROP, RUNAWAY_DEGC = 1.0, 3000, 0.25, 60.0
"""GB 38031-2025 C.5.3.7: (voltage down by a quarter or above the maker's maximum) and >= 1 K/s for over 3 s."""


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """A string now: racks first. voltage, warmth and their `ok` are (n, cells) and (n, sensors)."""

    racks: Ints
    voltage_v: Floats
    ok: Bools
    current_a: Floats
    current_ok: Bools
    warm_degc: Floats
    warm_ok: Bools
    soc: Floats
    elapsed_ms: Ints


def rows(a: NDArray[Any], r: Ints) -> NDArray[Any]:
    """The racks `r` of an array over (rack, module, element), elements in one row per rack; a copy."""
    part = a[r]
    return part.reshape(len(r), -1) if part.ndim > 1 else part


def put(a: NDArray[Any], r: Ints, x: NDArray[Any]) -> None:
    """Writes rows back to where `rows` took them."""
    a[r] = x.reshape((len(r), *a.shape[1:]))


def take(s: WatchSamples, w: NDArray[Any], now: Look, model: CellModel, seat: Ints) -> tuple[Bools, Floats]:
    """Updates `s` and the rack records `w` (a copy of the racks' own) in place; (runaway, K/s) per sensor."""
    r, v = now.racks, now.voltage_v.astype(np.float32)
    heat = model.heat(median(now.warm_degc, now.warm_ok))[0]
    middle = median(v, now.ok)
    heard = (2 * now.ok.sum(axis=1) >= now.ok.shape[1]) & now.current_ok
    known = heard & (w["median_v"] > 0)
    di = np.where(known, now.current_a - w["seen_a"], 0.0)
    seen = rows(s.seen_v, r)
    have = now.ok & (seen > 0) & known[:, None]
    away = np.where(have, v - seen - (middle - w["median_v"])[:, None], 0.0)
    _still(s.still_low_v, s.still_high_v, r, now.ok & (v == seen) & known[:, None], middle)
    bend = model.slope(now.soc + BEND_WIDTH, BEND_WIDTH / 2) - model.slope(now.soc - BEND_WIDTH, BEND_WIDTH / 2)
    straight = np.abs(bend) < BEND_V
    inner = (now.soc > INNER_SOC[0]) & (now.soc < INNER_SOC[1])
    _resist(s, w, now, v - middle[:, None], straight & known & inner, heat, have, model)
    learnt = (w["moved_long"] > LEARNT_MOVED * model.capacity_ah**2)[:, None]
    own = np.where(learnt, rows(s.drop_long, r) / np.maximum(w["moved_long"], 1e-9)[:, None], 0.0) * heat[:, None]
    share = np.where(learnt, LONE_OHM_LEARNT, LONE_OHM) * (model.r0 * heat * np.abs(di))[:, None]
    lone = np.abs(away + own * di[:, None]) - share
    # On a bend cells part while they move; at rest a step there is as telling as anywhere.
    still = np.maximum(np.abs(now.current_a), np.abs(w["seen_a"])) < MOVED_C * model.capacity_ah
    told = straight | (still & (np.abs(middle - w["median_v"]) < REST_STEP_V))
    lone = np.where(told[:, None], lone, 0.0)
    put(s.sharp_v, r, np.maximum(rows(s.sharp_v, r), lone))
    put(s.seen_v, r, np.where(now.ok, v, 0.0))
    w["median_v"], w["seen_a"] = np.where(heard, middle, 0.0), now.current_a
    return _warmth(s, now, v < (1 - RUNAWAY_DROP) * middle[:, None], seat)


def _resist(
    s: WatchSamples, w: NDArray[Any], now: Look, dev: Floats, straight: Bools, heat: Floats, have: Bools,
    model: CellModel,
) -> None:  # fmt: skip
    """Leaky regression of a cell's voltage over the median on the current, both without their slow parts."""
    r, time_s = now.racks, now.elapsed_ms / 1000.0
    keep = np.exp(-time_s / SLOW_S)
    slow = rows(s.slow_v, r)
    slow = np.where(have, keep[:, None] * slow + (1 - keep)[:, None] * dev, dev)
    w["slow_a"] = np.where(straight, keep * w["slow_a"] + (1 - keep) * now.current_a, now.current_a)
    # What is left after the filter is smaller by the same factor on both sides.
    x, y = now.current_a - w["slow_a"], dev - slow
    use = straight & (np.abs(x) > MOVED_C * model.capacity_ah)
    bound = (BOUND_V + BOUND_OHM * model.r0 * heat * np.abs(x))[:, None]
    drop = np.where(use[:, None], -np.clip(y, -bound, bound) * (x / heat * time_s)[:, None], 0.0)
    square = np.where(use, x**2 * time_s, 0.0)
    for name, tau in MEMORY_S.items():
        keep, a = np.exp(-time_s / tau * np.where(use, 1.0, IDLE_SHARE)), getattr(s, f"drop_{name}")
        put(a, r, rows(a, r) * keep[:, None] + drop)
        w[f"moved_{name}"] = w[f"moved_{name}"] * keep + square
    put(s.slow_v, r, slow)


def _still(low: NDArray[Any], high: NDArray[Any], r: Ints, same: Bools, middle: Floats) -> None:
    """How far the median went while the own value stood still."""
    m = middle[:, None]
    put(low, r, np.where(same, np.minimum(rows(low, r), m), m))
    put(high, r, np.where(same, np.maximum(rows(high, r), m), m))


def _warmth(s: WatchSamples, now: Look, fallen: Bools, seat: Ints) -> tuple[Bools, Floats]:
    r, t, ok = now.racks, now.warm_degc.astype(np.float32), now.warm_ok
    middle = median(t, ok)
    seen, known = rows(s.seen_degc, r), (rows(s.known_degc, r) == 1) & ok
    rise = np.where(known, t - seen, 0.0)
    lone = np.where(known, np.abs(rise - median(rise, known)[:, None]), 0.0)
    put(s.sharp_k, r, np.maximum(rows(s.sharp_k, r), lone))
    put(s.sum_k, r, rows(s.sum_k, r) + np.where(ok, t - middle[:, None], 0.0))
    _still(s.still_low_degc, s.still_high_degc, r, known & (t == seen), middle)
    rate = rise / np.maximum(now.elapsed_ms / 1000.0, 1e-3)[:, None]
    fast = rate >= RUNAWAY_K_PER_S
    heating = np.where(fast, rows(s.heating_ms, r) + now.elapsed_ms[:, None], 0)
    put(s.heating_ms, r, np.minimum(heating, 10_000_000))
    put(s.seen_degc, r, t)
    put(s.known_degc, r, ok)
    lasting, fallen = heating > RUNAWAY_MS, np.logical_or.reduceat(fallen, seat, axis=1)
    # Heat alone needs two looks: a single step is a sensor that jumped.
    return lasting & (fallen | ((t > RUNAWAY_DEGC) & (heating > now.elapsed_ms[:, None]))), rate
