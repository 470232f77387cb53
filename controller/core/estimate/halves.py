"""Resistances told by whole halves of a cycle, where hours of charge follow hours of discharge and no step tells any.

On the straight part of the curve a cell's mean voltage over the median differs between a charge and the discharge
after it by its resistance over the median's, times both currents. Level, offset and charge of the cell are the same in
both; where one of them moved meanwhile, the next pair errs by as much the other way. So the smaller of two pairs in a
row counts: a resistance is in both. What charge and capacity put into halves that lie elsewhere on the curve is taken
out with what is known of them once both have been seen, and of the resistances what the whole string does.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.estimate.colder import cold_adds, warmth_hides
from controller.core.estimate.rows import rows
from controller.core.estimate.sisters import median, share
from controller.core.estimate.verdicts import BIN_H, HALVES, WARM_BINS, Verdicts
from controller.core.estimate.warm_sensors import Warm
from controller.core.image_warnings import Fault
from controller.core.memory_watch import PAIRS
from controller.core.signal import Bools, Floats

LEAST_C: Final = 0.05
"""Mean current of ten minutes, in C, from which they belong to a charge or a discharge."""
LEAST_MOVED: Final = 0.15
"""Charge over the capacity that a half must move on straight curve: it ends when the current has turned."""
LEAST_SEEN: Final = 0.8
"""Share of a half's looks in which a cell must have been heard."""
RISE_LEAST, RISE_SIGMAS, SIGMA_LEAST = 0.05, 6.0, 0.006
BASE_PAIRS: Final = 4
"""Pairs of which the healthy resistance is the mean."""
GROWTH_MOST_PER_H, SHARP_SIGMAS, SHARP_SHARE = 0.006, 2.5, 0.33
"""No cell grows faster (of nominal per hour), but by so much scatter and this share of the rise; a connection does."""
CAME, STANDS = 0.8, 0.2
"""A connection also: that share of the rise came between the last four pairs, less than this between the last two."""
SURE_PAIRS: Final = 2
"""Pairs that must show a rise that is no step yet: the next one tells whether it goes on."""
SCALE_LEAST: Final = 0.3
"""Share of what it was below which the spread of a string's resistances does not fall by warmth."""
WRONG_SHARE: Final = 0.2
"""Part of a cell's charge over its sisters', and of its lacking capacity, by which that may be told wrong."""


def close(v: Verdicts, warm: Warm) -> Bools:
    """Books the bin; racks (n,) in which a half ended and made a pair with the one before. Before levels are judged."""
    w, half, h = v.w, v.get("half"), v.get("pairs")
    amps = w["sum_a"] / np.maximum(w["straight"], 1.0)
    way = np.where((w["straight"] > 0) & (np.abs(amps) > LEAST_C * v.q), np.sign(amps), 0.0)
    turned = (way != 0) & (w["half_way"] != 0) & (way != w["half_way"])
    ended = turned & (w["half_moved"] > LEAST_MOVED)
    w["pairs"]["pair_h"] += BIN_H
    paired = _pair(v, half, h, ended) if ended.any() else ended
    # A sensor that was told to have jumped has a new zero.
    jumped_k = warm.jumped_k[:, v.s.nearest]
    if jumped_k.any():
        for name in ("last_k", "late_k", "base_k"):
            h[name] += jumped_k
        half["sum_k"] += jumped_k * w["half_bins"][:, None]
    over_k = np.where(warm.doubted[:, v.s.nearest], h["last_k"], warm.over_k[:, v.s.nearest])
    count = rows(v.s.samples.count_v, v.s.racks)
    for name, more in (
        ("sum_v", rows(v.s.samples.sum_v, v.s.racks) + count * _taken(v)), ("count", count), ("sum_k", over_k),
    ):  # fmt: skip
        half[name] = np.where(turned[:, None], 0.0, half[name]) + np.where(way[:, None] != 0, more, 0.0)
    for name, more in (
        ("half_a", w["sum_a"]), ("half_looks", w["straight"]), ("half_bins", np.ones_like(amps)),
        ("half_slope", w["sum_slope"]), ("half_lever", w["sum_lever"]),
        ("half_moved", np.abs(amps) * w["straight"] / np.maximum(w["looks"], 1.0) * BIN_H / v.q),
    ):  # fmt: skip
        w[name] = np.where(turned, 0.0, w[name]) + np.where(way != 0, more, 0.0)
    w["half_way"] = np.where(way != 0, way, w["half_way"])
    v.set("half", half)
    v.set("pairs", h)
    return np.asarray(paired)


def _taken(v: Verdicts) -> Floats:
    """Voltage (V, mean of the bin's looks) that every look gave a cell for its charge over its sisters'.

    What was known then is not what is known when the other half has been seen, and both need the same.
    """
    looks = np.maximum(v.w["straight"], 1.0)[:, None]
    slope, lever = v.w["sum_slope"][:, None] / looks, v.w["sum_lever"][:, None] / looks
    return np.asarray(slope * v.get("level_charge") + lever * v.of("cell_lack_ratio"))


def _pair(v: Verdicts, half: Any, h: Any, ended: Bools) -> Bools:
    """What a half that ended says together with the one before it, in place; then it is the one before."""
    w, p, last = v.w, v.w["pairs"], ended[:, None]
    looks = np.maximum(w["half_looks"], 1.0)
    mean = {name: w[f"half_{name}"] / looks for name in ("a", "slope", "lever")}
    paired = ended & (p["last_a"] * mean["a"] < 0)
    seen = half["count"] > LEAST_SEEN * w["half_looks"][:, None]
    mean_v = half["sum_v"] / np.maximum(half["count"], 1.0)
    mean_k = half["sum_k"] / np.maximum(w["half_bins"], 1.0)[:, None]
    span_v = np.where(paired, p["last_a"] - mean["a"], 1.0) * v.r0
    charge, lack = (mean["slope"] - p["last_slope"]) / span_v, (mean["lever"] - p["last_lever"]) / span_v
    both = paired[:, None] & seen & (h["whole"] > 0)
    ohm = (mean_v - h["last_v"]) / span_v[:, None]
    ohm = ohm - v.at_half() * charge[:, None] - v.of("cell_lack_ratio") * lack[:, None]
    # Over what the sisters did since: of few of them that lie far apart, another one is the middle before long.
    going_on = both & (h["in_row"] > 0)
    first = ~going_on.any(axis=1)[:, None]
    before = np.where(first, 0.0, h["ohm"][:, :, 0])
    ohm = ohm - median(ohm - before, np.where(first, both, going_on))[:, None]
    ohm = np.where(both, ohm, h["ohm"][:, :, 0])
    h["ohm"] = np.where(paired[:, None, None], np.concatenate([ohm[:, :, None], h["ohm"][:, :, :-1]], 2), h["ohm"])
    h["late_k"] = np.where(both, 0.5 * (mean_k + h["last_k"]), h["late_k"])
    h["in_row"] = np.where(both, np.minimum(h["in_row"], 250) + 1, np.where(paired[:, None], 0, h["in_row"]))
    for name, x in (("last_v", mean_v), ("last_k", mean_k), ("whole", seen)):
        h[name] = np.where(last, x, h[name])
    for name, x in (("gaps_h", p["pair_h"]), ("per_charge", charge), ("per_lack", lack)):
        p[name] = np.where(paired[:, None], np.concatenate([x[:, None], p[name][:, :-1]], 1), p[name])
    p["pair_h"] = np.where(paired, 0.0, p["pair_h"])
    for name, x in mean.items():
        p[f"last_{name}"] = np.where(ended, x, p[f"last_{name}"])
    return np.asarray(paired)


def judge(v: Verdicts, paired: Bools, sound: Bools) -> Bools:
    """Tells what rose in both of two pairs, as resistances are told; True in cells where it did.

    paired (n,): strings in which a half ended; sound: cells that may be judged by what their voltage shows.
    """
    h, p = v.get("pairs"), v.w["pairs"]
    has = paired[:, None] & sound & (h["in_row"] >= 2)
    if not has.any():
        return np.zeros_like(has)
    h["ohm"][:, :, 0] = _usual(h, has & (h["based"] > 0))
    begins = _begin(v, h, has)
    known = has & (h["based"] > 0)
    rise, apart = _rise(h, known), _apart(v, h)
    sigma = v.sigma(HALVES, rise, known, SIGMA_LEAST)
    may = known & ~v.told(Fault.INTERNAL_SHORT, Fault.RUNAWAY, Fault.STUCK_SENSOR, Fault.LOW_CAPACITY)
    risen = may & (rise - apart > np.maximum(RISE_LEAST, RISE_SIGMAS * sigma))
    held = v.held("halves", risen, has)
    sharp, new = _stepped(h, p["gaps_h"], rise, sigma), ~v.told(Fault.RESISTANCE_GROWTH, Fault.BUSBAR_STEP)
    v.tell(risen & new & sharp, Fault.BUSBAR_STEP, 100 * rise, rise / sigma)
    v.tell(risen & new & ~sharp & (held >= SURE_PAIRS), Fault.RESISTANCE_GROWTH, 100 * rise, rise / sigma)
    v.evidence |= ~new & known & (rise > 0.5 * RISE_LEAST)
    # From a pair that agrees with the healthy one, as the first two must: one that has risen once is not healthy.
    same = np.abs(h["ohm"][:, :, 0] - h["base"]) < RISE_LEAST
    learn = known & ~begins & (h["based"] < BASE_PAIRS) & (apart < RISE_LEAST) & same
    for name, x in (("base", h["ohm"][:, :, 0]), ("base_k", h["late_k"])):
        h[name] = np.where(learn, h[name] + (x - h[name]) / (h["based"] + 1), h[name])
    h["based"] += learn
    v.set("pairs", h)
    return np.asarray(risen)


def _usual(h: Any, known: Bools) -> Floats:
    """What the last pair shows, as it would with the whole string as it was when the healthy resistances were learnt.

    Warmth, and how long a half lasts, scale all of a string: a cell that had half as much again still has.
    """
    ohm, healthy = h["ohm"][:, :, 0].astype(np.float64), h["base"].astype(np.float64)
    middle = median(healthy, known)[:, None]
    ohm = ohm - median(ohm - healthy, known)[:, None]
    scale = 1.0 + share(ohm - healthy, healthy - middle, known)[:, None]
    return np.asarray(middle + (ohm - middle) / np.maximum(scale, SCALE_LEAST))


def _begin(v: Verdicts, h: Any, has: Bools) -> Bools:
    """Takes the healthy resistance from the first two pairs that agree, in place; cells in which that was now."""
    # A voltage that jumped has another level now: what it was before says nothing of what comes.
    h["based"] = np.where(v.told(Fault.VOLTAGE_SENSOR), 0, h["based"])
    late, before = h["ohm"][:, :, 0], h["ohm"][:, :, 1]
    warm = (v.w["bins"] >= WARM_BINS)[:, None]
    begins = has & warm & (h["based"] == 0) & (np.abs(late - before) < RISE_LEAST)
    per = (v.w["pairs"][name][:, :2].mean(axis=1)[:, None] for name in ("per_charge", "per_lack"))
    for name, x in zip(
        ("base", "base_k", "based", "base_charge", "base_lack"),
        (0.5 * (late + before), h["late_k"], 2, *per), strict=True,
    ):  # fmt: skip
        h[name] = np.where(begins, x, h[name])
    h["ohm"][:, :, 2:] = np.where(begins[:, :, None], h["base"][:, :, None], h["ohm"][:, :, 2:])
    return np.asarray(begins)


def _rise(h: Any, known: Bools) -> Floats:
    """What both of the last two pairs have over the healthy resistance."""
    rise = h["ohm"][:, :, :2].min(axis=2).astype(np.float64) - h["base"]
    rise = rise + warmth_hides(h["late_k"] - h["base_k"], known)
    return np.asarray(rise - median(rise, known)[:, None])


def _apart(v: Verdicts, h: Any) -> Floats:
    """How much of that may be none."""
    # Where a cycle goes deeper than those from which the healthy one was learnt, what a cell's charge and capacity are
    # told wrong by is in the difference.
    apart = cold_adds(h["base_k"] - h["late_k"])
    for name, x in (("charge", v.at_half()), ("lack", v.of("cell_lack_ratio"))):
        other = np.abs(v.w["pairs"][f"per_{name}"][:, None, :2] - h[f"base_{name}"][:, :, None]).max(axis=2)
        apart = apart + WRONG_SHARE * np.abs(x) * other
    return np.asarray(apart)


def _stepped(h: Any, gaps_h: Floats, rise: Floats, sigma: Floats) -> Bools:
    """Cells whose resistance stepped: faster than a cell grows, or all of it lately, and it stands."""
    steps = h["ohm"][:, :, :-1].astype(np.float64) - h["ohm"][:, :, 1:]
    faster = (steps - GROWTH_MOST_PER_H * gaps_h[:, None, :])[:, :, : PAIRS - 2].max(axis=2)
    stands = (steps[:, :, 0] < STANDS * rise) & (steps.sum(axis=2) > CAME * rise)
    return np.asarray((faster > np.maximum(SHARP_SIGMAS * sigma, SHARP_SHARE * rise)) | stands)
