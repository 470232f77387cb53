"""Temperatures of ten minutes: sensors that jumped or stand still, and warmth that nothing explains."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from controller.core.estimate.rows import rows
from controller.core.estimate.sisters import beside, median
from controller.core.estimate.verdicts import WARM_BINS, WARMTH, Verdicts
from controller.core.image_warnings import Fault
from controller.core.signal import Bools, Floats

JUMP_K, JUMP_BINS_K = 2.0, 3
STILL_K, STILL_BINS_K, STILL_SHARE = 1.0, 2, 0.5
WARM_LEAST_K, WARM_SIGMAS, WARM_HELD, WARM_LOCAL = 0.35, 6.5, 2, 0.5
COLD_K: Final = 2.0
"""A cell that was so much colder than when its healthy resistance was learnt may warm up to there again."""
LOAD_FORGET: Final = 1.0 / 288
MEAN_BINS: Final = 36
"""Bins in which the mean warmth of a sensor is learnt before what is left of it says anything: until then that is
where the cell stands in the string, and how far sisters stand apart is no scatter of what they do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Warm:
    """Per sensor: K over the median, where that is doubted, by what a jump now told moved it (K, 0 none), whether its
    warmth is a sign, how much, in K and in sigmas."""

    over_k: Floats
    doubted: Bools
    jumped_k: Floats
    hot: Bools
    excess_k: Floats
    sigmas: Floats


def judge(v: Verdicts) -> Warm:
    """Jumps and standstill of sensors, and warmth that neither load nor sisters explain."""
    s, w, ok = v.s, v.w, v.s.sensors
    count = rows(s.samples.count_k, s.racks)
    # One that was silent for most of the bin is where it was, and nothing is said of it.
    heard = ok & (2 * count >= w["looks"][:, None])
    dev = np.where(heard, rows(s.samples.sum_k, s.racks) / np.maximum(count, 1), v.get("last_k"))
    sharp = rows(s.samples.sharp_k, s.racks)
    before, bins = v.get("before_k"), w["bins"][:, None]
    jump, start, age = v.get("jump_k"), v.get("jump_from_k"), v.get("jump_bins_k").astype(int)
    age = np.where(jump != 0, age + 1, 0)
    # The bin of the jump itself is mixed; from the second one on it must stand.
    stays = np.abs(dev - start - jump) < 0.3 * np.abs(jump)
    jump = np.where((age > 0) & ~stays, 0.0, jump)
    sure = ok & (jump != 0) & (age >= JUMP_BINS_K) & (np.abs(jump) > JUMP_K)
    v.tell(sure, Fault.TEMPERATURE_SENSOR, jump, np.abs(jump) / 0.1, sensor=True)
    amount = dev - before
    lone = np.maximum(sharp, v.get("sharp_before_k"))
    fresh = ok & (jump == 0) & (bins >= 3) & (np.abs(amount) > JUMP_K) & (lone > 0.7 * np.abs(amount))
    doubted = (jump != 0) | fresh | (sharp > JUMP_K)
    jumped_k = np.where(sure, jump, 0.0)
    jump = np.where(sure, 0.0, np.where(fresh, amount, jump))
    start = np.where(fresh, before, start)
    still = rows(s.samples.still_high_degc, s.racks) - rows(s.samples.still_low_degc, s.racks)
    # Two coarse values may be equal by chance while others carry the median along: it must stand over whole bins.
    stood = np.where(ok & (still > STILL_K), np.minimum(v.get("still_bins_k"), 250) + 1, 0)
    v.set("still_bins_k", stood)
    stuck = (stood >= STILL_BINS_K) & (bins >= 6)
    v.tell(stuck, Fault.STUCK_SENSOR, still, np.zeros_like(still), sensor=True)
    doubted |= (still > 0.5 * STILL_K) | ~heard
    held, excess, sigmas = _excess(v, dev, heard, sure, doubted, still)
    for name, x in (
        ("jump_k", jump), ("jump_from_k", start), ("jump_bins_k", age), ("before_k", v.get("last_k")),
        ("last_k", dev), ("sharp_before_k", sharp),
    ):  # fmt: skip
        v.set(name, x)
    return Warm(dev, doubted, jumped_k, held, excess, sigmas)


def _excess(
    v: Verdicts, dev: Floats, heard: Bools, jumped: Bools, doubted: Bools, still: Floats
) -> tuple[Bools, Floats, Floats]:
    """What is left of a warmth after its mean and its share of the load; kept from learning while it is large.

    still: K that the sisters moved while a sensor stood. What it seems warmer by then is what they cooled.
    """
    w, ok = v.w, v.s.sensors
    most = round(1 / LOAD_FORGET)
    n, known = np.minimum(w["bins"] + 1, most), w["bins"] + 1 - MEAN_BINS
    gain, gain_left = (1.0 / n)[:, None], (1.0 / np.clip(known, 1, most))[:, None]
    x = (w["load"] - w["load_mean"])[:, None]
    mean, cov, var = v.get("warmth_k"), v.get("warmth_load"), v.get("warmth_square")
    spread = w["load_square"][:, None]
    slope = np.where((known > 0)[:, None], cov / np.maximum(spread, 1e-9), 0.0) * (spread > 1e-7)
    left = dev - mean - slope * x
    left = left - median(left, heard)[:, None]
    excess = v.get("excess_k")
    excess = excess + 0.5 * (left - excess)
    sigma = v.sigma(WARMTH, left, heard, 0.03)
    w["scatter"][:, WARMTH] *= known > 0
    own = np.sqrt(np.maximum(var, 0.0))
    sigma = np.maximum(sigma, np.minimum(own, 0.3))
    local = excess - beside(excess) > WARM_LOCAL * excess if excess.shape[1] >= 8 else np.ones_like(ok)
    limit = np.maximum(WARM_LEAST_K, WARM_SIGMAS * sigma)
    base = v.get("colder")["base"]
    was_cold = (mean < base - COLD_K) & (dev < base + WARM_LEAST_K)
    stands = v.told(Fault.STUCK_SENSOR, sensor=True) | (still > STILL_SHARE * excess)
    hot = ok & (excess > limit) & local & ~doubted & ~stands & ~was_cold & (w["bins"] >= 72)[:, None]
    held = np.where(hot, np.minimum(v.get("held_k"), 250) + 1, 0)
    # In its first day a string only shows what is usual: how a cold cell warms by its own load is no short.
    usual = (excess < 0.7 * limit) | (w["bins"] < WARM_BINS)[:, None]
    learn = np.where(ok & ~doubted & usual, gain, 0.0)
    jumped = jumped | (was_cold & (dev > base - WARM_LEAST_K) & ~doubted)
    learn = np.where(jumped, 1.0, learn)
    v.set("warmth_k", mean + learn * (dev - mean))
    learn = np.where(jumped, 0.0, learn)
    v.set("warmth_load", cov + learn * ((dev - mean) * x - cov))
    v.set("warmth_square", var + np.where((known > 0)[:, None] & (learn > 0), gain_left, 0.0) * (left**2 - var))
    v.set("excess_k", np.where(jumped | doubted, 0.0, excess))
    v.set("held_k", held)
    w["load_mean"] += (w["load"] - w["load_mean"]) / n
    w["load_square"] += (x[:, 0] ** 2 - w["load_square"]) / n
    return held >= WARM_HELD, excess, excess / sigma
