"""Resistances of ten minutes: cells that age and connections that come loose."""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.core.estimate import colder, halves
from controller.core.estimate.rows import rows
from controller.core.estimate.sisters import median
from controller.core.estimate.verdicts import FAST, LEVEL_MOST, LONG, NOW, WARM_BINS, Verdicts
from controller.core.estimate.warm_sensors import Warm
from controller.core.image_warnings import Fault
from controller.core.signal import Bools, Floats

GROWTH_LEAST, GROWTH_SIGMAS, GROWTH_BINS = 0.05, 6.0, 12
STEP_LEAST, STEP_SIGMAS, STEP_BINS = 0.05, 6.0, 4
STEP_SHARE: Final = 0.33
"""A rise of which more than this share came between the short memories is a step, unless a slow rise does the same."""
LEARN_SIGMAS, FIRST_BINS, BASE_BINS = 9.0, 36, 36
"""The healthy resistance is taken a day after the start, or once the current has moved enough; it is refined for six
hours more, and then known for good."""
ACTIVE: Final = 1.0
"""What the current must have moved in a bin that counts (C-rate squared times s)."""
PEAK_ATTACK, PEAK_KEEP, PEAK_SIGMAS, PEAK_LEAST = 0.25, 0.995, 2.5, 0.015
MOVED_FAST, MOVED_LONG = 8.0, 50.0
"""Squared current movement (C-rate squared times s) that a resistance must rest on: a step of 0.2C gives 12."""


def judge(v: Verdicts, warm: Warm, alive: Bools, paired: Bools) -> Bools:
    """A step within hours is a connection, a slow rise the cell; True where a resistance is no longer what it was.

    Judged against the base that was learnt first. alive: voltages that move; paired (n,): strings in which a half of a
    cycle ended.
    """
    s, w = v.s, v.w
    raw, cold = _ohm(v, "long"), colder.explained(v)
    fast, mid, long = (_ohm(v, name) + _warmth(v, name) for name in cold)
    trusted = (w["moved_fast"] > MOVED_FAST * v.q**2)[:, None]
    calm = (w["moved_long"] > MOVED_LONG * v.q**2)[:, None]
    base = v.get("resistance_base")
    known = calm & (w["bins"] >= WARM_BINS)[:, None]
    begins = known[:, 0] & ~base.any(axis=1)
    base = np.where((base == 0) & known, raw, base)
    # A cell that is fuller or emptier than its sisters bends elsewhere: that is no resistance.
    level = np.abs(v.of("cell_shift_ratio") - median(v.of("cell_shift_ratio"), s.cells)[:, None])
    level_ok = alive & (level < LEVEL_MOST)
    has = (base != 0) & level_ok
    # What one step of the current showed must show again at the next.
    active = (w["moved_bin"] > ACTIVE * v.q**2)[:, None]
    colder.ask(v, warm, raw - base, has & calm, (active & calm)[:, 0], begins)
    now, step, rise = fast - base, fast - mid, long - base
    # What cold excuses of a cell is its own: a hot sensor that shifts the median excuses many, and accuses none.
    may = cold["fast"], cold["fast"] - cold["mid"], cold["long"]
    now, step, rise = (x - median(x, has)[:, None] - own for x, own in zip((now, step, rise), may, strict=True))
    sigma_now, sigma_step = v.sigma(NOW, now, has, 0.006), v.sigma(FAST, step, has, 0.004)
    sigma_rise = v.sigma(LONG, rise, has, 0.006)
    near = has & ~v.told(Fault.INTERNAL_SHORT, Fault.RUNAWAY, Fault.STUCK_SENSOR, Fault.LOW_CAPACITY)
    # Where the current seldom moves the memories lie far apart: a slow rise parts them too, by so much.
    age = [w[f"aged_{n}"] / np.maximum(w[f"moved_{n}"], 1e-9) for n in ("fast", "mid")]
    slow = (halves.GROWTH_MOST_PER_H * np.maximum(age[1] - age[0], 0.0))[:, None]
    peak = _attack(v.get("resistance_step"), np.where(near & trusted & (step > slow), step, 0.0))
    stepped = near & trusted & (now > np.maximum(STEP_LEAST, STEP_SIGMAS * sigma_now))
    stepped = v.held("step", stepped, active) >= STEP_BINS
    grown = near & calm & (rise > np.maximum(GROWTH_LEAST, GROWTH_SIGMAS * sigma_rise))
    grown = v.held("growth", grown, active) >= GROWTH_BINS
    sharp = (peak > STEP_SHARE * np.maximum(now, rise)) & (peak > np.maximum(PEAK_LEAST, PEAK_SIGMAS * sigma_step))
    new = ~v.told(Fault.RESISTANCE_GROWTH, Fault.BUSBAR_STEP)
    v.tell((stepped | grown) & new & sharp, Fault.BUSBAR_STEP, 100 * np.maximum(now, rise),
              np.maximum(now / sigma_now, rise / sigma_rise))  # fmt: skip
    v.tell(grown & new & ~sharp, Fault.RESISTANCE_GROWTH, 100 * rise, rise / sigma_rise)
    v.evidence |= ~new & (rise > 0.5 * GROWTH_LEAST)
    risen = (has & (rise > np.maximum(0.8 * GROWTH_LEAST, 4 * sigma_rise))) | stepped | ~new
    # The longer the healthy resistance is known the better; a cell that leaves its sisters is not learnt from.
    learn = (
        has
        & calm
        & (cold["long"] == 0)
        & (np.abs(rise) < LEARN_SIGMAS * sigma_rise)
        & (w["based"] < BASE_BINS)[:, None]
    )
    v.set("resistance_base", base + np.where(learn, rise / (w["based"] + FIRST_BINS)[:, None], 0.0))
    w["based"] += learn.any(axis=1)
    v.set("resistance_step", peak)
    return np.asarray(risen | halves.judge(v, paired, level_ok))


def _ohm(v: Verdicts, name: str) -> Floats:
    """That memory of the resistance over the median's, as a share of the nominal one."""
    x = rows(getattr(v.s.samples, f"drop_{name}"), v.s.racks)
    return np.asarray(x / np.maximum(v.w[f"moved_{name}"], 1e-9)[:, None] / v.r0, np.float64)


def _warmth(v: Verdicts, name: str) -> Floats:
    """What it would have more at the temperature over the median's to which the healthy one belongs."""
    return colder.warmth_hides(colder.warmer_k(v, name), v.s.cells)


def _attack(peak: Floats, now: Floats) -> Floats:
    """The highest `now` of about a day, smoothed: noise of one bin does not make a peak."""
    peak = PEAK_KEEP * peak
    return np.asarray(np.where(now > peak, peak + PEAK_ATTACK * (now - peak), peak))
