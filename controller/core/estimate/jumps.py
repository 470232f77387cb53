"""Voltages that jump: a sensor's error appears within one look and stays there, whatever the current does.

A lone step starts a probation. Where the curve is straight the mean deviation before and after must differ by that
step, and at currents at which a connection that came loose would show something else. Charge is not believed meanwhile.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.estimate.cell_model import CellModel
from controller.core.estimate.rows import Look, put, rows
from controller.core.estimate.sisters import median, roughness, scatter
from controller.core.estimate.verdicts import HALF
from controller.core.memory_watch import WatchBins, WatchSamples
from controller.core.signal import Bools, Floats, Ints, every, some

MOVED_C: Final = 0.015
LONE_OHM, LONE_OHM_LEARNT, LEARNT_MOVED, REST_STEP_V = 0.35, 0.08, 30.0, 0.001
"""What of a lone voltage step the spread of resistances may explain, as a share of the nominal drop."""
BENT_SIGMAS, BENT_BEFORE, ROUGH_V = 3.0, 2.0, 0.02
"""Where the curve bends cells part while they move: their scatter, and what the cell did a look before, count."""
JUMP_V, JUMP_TIMES, JUMP_BINS, JUMP_AGE = 0.007, 1.7, 6, 250
"""A jump, over the largest lone step usual among the sisters; bins in which it must stand, and in which it may be."""
JUMP_STAYS, JUMP_GONE, GONE_BINS = 0.4, 0.8, 2
"""Shares of a jump by which the mean may differ from it: at the end, and after so many bins."""
OTHER_CURRENT: Final = 0.5
"""Share of the current at the jump by which another current must differ to tell a sensor from a connection."""
LEAST_V, JUMP_SIGMAS, SCATTER_KEEP = 0.008, 4.5, 0.97
"""Least that is told, and over the scatter of what the levels do by themselves, forgotten in hours of looking."""
LASTING: Final = 3.0
"""Voltage drop of a current that lasts, with the branches, over that of its step."""
LEVEL_BINS, FIRST_BINS, KNOWN_BINS = 36, 24, 72
"""Memory of the level before a jump; bins before a probation begins, and before anything is told."""


def taught(w: NDArray[Any], drop_long: Floats, model: CellModel) -> tuple[Bools, Floats]:
    """Strings whose current moved enough to tell resistances apart, and there each cell's over the median, in ohm."""
    enough = np.asarray(w["moved_long"] > LEARNT_MOVED * model.capacity_ah**2)
    return enough, np.where(enough[:, None], drop_long / np.maximum(w["moved_long"], 1e-9)[:, None], 0.0)


def note(
    s: WatchSamples, w: NDArray[Any], now: Look, away: Floats, have: Bools, dev: Floats, straight: Bools,
    slope: Floats, slope_step: Floats, heat: Floats, model: CellModel,
) -> None:  # fmt: skip
    """One look: the largest lone step of the bin with its current, and the sum of the deviations on straight curve."""
    r, q = now.racks, model.capacity_ah
    di = now.current_a - w["seen_a"]
    learnt, ohm = taught(w, rows(s.drop_long, r), model)
    own = ohm * heat[:, None]
    share = np.where(learnt[:, None], LONE_OHM_LEARNT, LONE_OHM) + now.apart
    share = share * (model.r0 * heat * np.abs(di))[:, None]
    away = np.where(have, away + own * di[:, None] - slope_step[:, None] * now.charge, 0.0)
    span = np.maximum(np.abs(now.current_a), np.abs(w["seen_a"]))
    told = (straight | ((span < MOVED_C * q) & (np.abs(w["step_v"]) < REST_STEP_V)))[:, None]
    size = np.abs(away) - share
    if not every(told):
        bent = BENT_SIGMAS * roughness(away, have, ROUGH_V)[:, None] + BENT_BEFORE * np.abs(rows(s.away_v, r))
        size = size - np.where(told, 0.0, bent)
    before = rows(s.sharp_v, r)
    larger = size > np.abs(before)
    if some(larger):
        put(s.sharp_v, r, np.where(larger, np.copysign(size, away), before))
        put(s.sharp_a, r, np.where(larger, now.current_a[:, None], rows(s.sharp_a, r)))
        put(s.span_a, r, np.where(larger, span[:, None], rows(s.span_a, r)))
    put(s.away_v, r, away)
    counted = have & straight[:, None]
    if some(counted):
        put(s.sum_v, r, rows(s.sum_v, r) + np.where(counted, dev - slope[:, None] * now.level, 0.0))
        put(s.count_v, r, rows(s.count_v, r) + counted)
    w["sum_a"] += np.where(straight, now.current_a, 0.0)
    w["sum_slope"] += np.where(straight, slope, 0.0)
    w["sum_lever"] += np.where(straight, slope * (now.soc - HALF), 0.0)
    w["straight"] += straight


def judge(
    b: WatchBins, s: WatchSamples, w: NDArray[Any], r: Ints, ok: Bools, charge: Floats, apart_ohm: Floats
) -> tuple[Bools, Floats, Floats, Bools]:
    """Closes a bin: sensors that jumped and by how much (V), lone steps (V), and cells on probation.

    apart_ohm: by what temperature may have parted a cell's resistance from its sisters'.
    """
    sharp, level = rows(s.sharp_v, r), rows(b.level_v, r)
    count = rows(s.count_v, r)
    heard = ok & (count > 0)
    mean = np.where(heard, rows(s.sum_v, r) / np.maximum(count, 1), 0.0)
    amps = (w["sum_a"] / np.maximum(w["straight"], 1))[:, None]
    jump, start = rows(b.jump_v, r), rows(b.jump_from_v, r)
    held, age = rows(b.jump_bins, r).astype(int), rows(b.jump_age, r).astype(int) + 1
    span = rows(b.jump_span_a, r)
    seen = heard & (jump != 0)
    # From the first bin at another current on, what was seen before it counts no more.
    other = seen & (span > 0) & (np.abs(amps - rows(b.jump_a, r)) >= OTHER_CURRENT * span)
    held, span = np.where(other, 1, np.where(seen, held + 1, held)), np.where(other, 0.0, span)
    by = rows(b.jump_by_v, r)
    by = np.where(seen, by + (mean - start - by) / np.maximum(held, 1), by)
    # A deviation that follows the current, or was none, is not what jumped.
    wrong = np.where(held >= JUMP_BINS, JUMP_STAYS, JUMP_GONE) * np.abs(jump)
    jump = np.where((seen & (held >= GONE_BINS) & (np.abs(by - jump) > wrong)) | (age > JUMP_AGE), 0.0, jump)
    scatter_v = scatter(mean - level, heard & (jump == 0))
    # Hours in which nothing could be looked at say nothing of how far levels wander.
    keep = np.where(w["straight"] > 0, SCATTER_KEEP, 1.0)
    w["level_scatter"] = np.maximum(scatter_v, keep * w["level_scatter"])
    least = _least(s, w, r, apart_ohm, np.maximum(np.abs(amps), np.abs(rows(b.jump_a, r))))
    told = (jump != 0) & (held >= JUMP_BINS) & (span == 0) & seen & (np.abs(by) > least)
    sure = told & (w["bins"] > KNOWN_BINS)[:, None]
    found = told | ((jump != 0) & (held >= LEVEL_BINS))
    usual = median(np.abs(sharp), ok)[:, None]
    fresh = (
        ok
        & (jump == 0)
        & (w["levels"] >= FIRST_BINS)[:, None]
        & (np.abs(sharp) > np.maximum(JUMP_V, JUMP_TIMES * usual))
    )
    probation = (jump != 0) | fresh
    learn = heard & ~probation
    gain = (1.0 / np.minimum(w["levels"] + 1, LEVEL_BINS))[:, None]
    level = np.where(found, mean, np.where(learn, level + gain * (mean - level), level))
    w["level_a"] += np.where(w["straight"] > 0, gain[:, 0] * (np.abs(amps[:, 0]) - w["level_a"]), 0.0)
    w["levels"] += (w["straight"] > 0) & (w["levels"] < LEVEL_BINS)
    for a, x in (
        (b.level_v, level), (b.level_charge, np.where(probation & ~found, rows(b.level_charge, r), charge)),
        (b.jump_v, np.where(found, 0.0, np.where(fresh, sharp, jump))),
        (b.jump_from_v, np.where(fresh, rows(b.level_v, r), start)),
        (b.jump_bins, np.where(fresh, 0, np.minimum(held, 250))),
        (b.jump_by_v, np.where(fresh, 0.0, by)),
        (b.jump_age, np.where(fresh, 0, np.minimum(age, 255))),
        (b.jump_a, np.where(fresh, rows(s.sharp_a, r), rows(b.jump_a, r))),
        (b.jump_span_a, np.where(fresh, rows(s.span_a, r), span)),
    ):  # fmt: skip
        put(a, r, x)
    for name in ("sharp_v", "sum_v", "count_v"):
        getattr(s, name)[r] = 0
    w["sum_a"], w["sum_slope"], w["sum_lever"], w["straight"] = 0.0, 0.0, 0.0, 0.0
    return sure, by, sharp, probation


def _least(s: WatchSamples, w: NDArray[Any], r: Ints, apart_ohm: Floats, span_a: Floats) -> Floats:
    """Least that is told, V: over what levels do by themselves, and over what resistance may do between two currents.

    The level before and the mean since were seen at other currents, where a cell's own resistance shows more or less.
    """
    own_ohm = np.abs(rows(s.drop_long, r)) / np.maximum(w["moved_long"], 1e-9)[:, None]
    wandering = np.maximum(LEAST_V, JUMP_SIGMAS * w["level_scatter"])[:, None]
    level_a = np.maximum(span_a, w["level_a"][:, None])
    return np.asarray(wandering + LASTING * (apart_ohm * span_a + own_ohm * level_a))
