"""Cells that are colder than when their healthy resistance was learnt: what of a resistance that may explain.

Each memory of the resistance has the temperature over the sisters at which it was learnt beside it, so that neither
cools or warms before the other. A little warmth corrects a resistance (see `resistances.py`). A cell that is colder is
not judged, unless its resistance exceeds all that the whole difference explains: a figure on the high side, as cells
differ in what cold does. So a sensor that errs could explain a resistance away, and the resistance is asked about the
sensor: where it does not rise as a cold cell's must, the sensor errs, and what it shows is its new zero.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.core.estimate.cell_model import ARRHENIUS_PER_K
from controller.core.estimate.sisters import median
from controller.core.estimate.verdicts import WARM_BINS, Verdicts
from controller.core.estimate.warm_sensors import Warm
from controller.core.signal import Bools, Floats, Ints

COLD_PER_K: Final = 0.05
"""Most that a resistance rises per K, as a share of itself: Arrhenius at 4500 K (37 kJ/mol) and 25 degC."""
COLD_FROM_K, COLD_WHOLE_K = 1.0, 2.0
"""Difference from which that counts, and from which all of it does: a sensor's own unrest is none."""
COLD_MOST_K: Final = 40.0
WARMTH_MOST_K: Final = 1.5
"""Difference of temperature that corrects a resistance: no sensor that errs may explain more away, or make it."""
ERRS_K, ERRS_SHARE, ERRS_BINS = 4.0, 0.2, 18
"""A sensor errs that shows this much while for so many active bins the resistances show less than this share of it."""
MEMORIES: Final = ("fast", "mid", "long")


def follow(v: Verdicts, warm: Warm) -> None:
    """The temperatures of the resistances' memories after a bin, and the share of nominal by which they may part a
    cell's resistance now from its sisters' and from what was learnt. A told jump of a sensor is its new zero."""
    p, w = v.get("colder"), v.w
    for name in MEMORIES:
        part = np.minimum(w["moved_bin"] / np.maximum(w[f"moved_{name}"], 1e-9), 1.0)[:, None]
        p[name] += np.where(warm.doubted, 0.0, part * (warm.over_k - p[name])) + warm.jumped_k
    p["base"] += warm.jumped_k
    k = np.maximum(np.abs(warm.over_k - p["base"]), np.abs(p["long"] - p["base"]))
    v.set("colder", p)
    v.set("apart", _of(k, v.s.nearest))


def warmer_k(v: Verdicts, name: str) -> Floats:
    """By how many K a memory of the cells' resistances was learnt warmer than the healthy resistance (n, cells)."""
    p = v.get("colder")
    return np.asarray((p[name] - p["base"])[:, v.s.nearest], np.float64)


def explained(v: Verdicts) -> dict[str, Floats]:
    """What cold may add to each memory of the cells' resistances, as shares of nominal (n, cells)."""
    p = v.get("colder")
    return {name: _of(p["base"] - p[name], v.s.nearest) for name in MEMORIES}


def warmth_hides(k: Floats, ok: Bools) -> Floats:
    """What a cell that is warmer by `k` than it was has less of its resistance, over the median of those `ok`."""
    # Of few sensors one that heats carries the median along: what all the others then have less is none of theirs.
    return np.asarray(ARRHENIUS_PER_K * np.clip(k - median(k, ok)[:, None], -WARMTH_MOST_K, WARMTH_MOST_K))


def cold_adds(k: Floats) -> Floats:
    """What a cell that is colder by `k` may have more of its resistance, as a share of nominal."""
    counts = np.clip((k - COLD_FROM_K) / (COLD_WHOLE_K - COLD_FROM_K), 0.0, 1.0)
    return np.asarray(counts * np.expm1(COLD_PER_K * np.clip(k, 0.0, COLD_MOST_K)))


def _of(k: Floats, nearest: Ints) -> Floats:
    return np.asarray(cold_adds(k)[:, nearest], np.float64)


def ask(v: Verdicts, warm: Warm, rise: Floats, has: Bools, calm: Bools, begins: Bools) -> None:
    """Sets the zero of sensors anew: where healthy resistances begin, and where `rise`, of cells that `has`, speaks
    against them.

    begins, calm (n,): strings in which they begin, and strings whose current moved enough of late and in this bin.
    """
    p = v.get("colder")
    nearest, k = v.s.nearest, p["long"] - p["base"]
    count, total = np.zeros(k.shape), np.zeros(k.shape)
    row = np.arange(len(k))[:, None]
    rise = rise - median(rise, has)[:, None]
    np.add.at(count, (row, nearest[None, :]), has)
    np.add.at(total, (row, nearest[None, :]), np.where(has, rise, 0.0))
    # What the resistance shows of the difference, 1 all of it; a warm cell's falls.
    shown = -total / np.maximum(count, 1) / (ARRHENIUS_PER_K * np.where(k == 0, 1.0, k))
    against = (count > 0) & ~warm.doubted & (np.abs(k) > ERRS_K) & (shown < ERRS_SHARE)
    held = np.where(against, np.minimum(p["against"], 250) + calm[:, None], 0)
    errs = held >= ERRS_BINS
    p["against"] = np.where(errs, 0, held)
    for name in MEMORIES:
        p[name] = np.where(errs, warm.over_k, p[name])
    # After a restart the healthy resistance is known, and the temperature it belongs to is not: a near one will do.
    near = np.where(np.abs(p["long"]) < ERRS_K, p["long"], 0.0)
    anew = errs | begins[:, None]
    p["base"] = np.where(anew, p["long"], np.where(p["known"] == 1, p["base"], near))
    p["known"] = np.where(anew | np.asarray((v.w["bins"] >= WARM_BINS) & calm)[:, None], 1, p["known"])
    v.set("colder", p)
