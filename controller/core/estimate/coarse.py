"""An OCV table of a few points: how far the curve may lie off between them, and what a voltage there still tells."""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.core.signal import Floats

LEAST_SLOPE_V: Final = 1e-9
"""Slopes are compared by their ratio: where a table stands still there is none."""
LEAST_V2, NOTHING = 1e-12, 1e-6
"""Least variance of a SOC in V^2; and the share of a doubt's weight that is left where a voltage tells nothing new."""
EVEN_WIDTH: Final = 3.0**0.5
"""Half width of an even distribution over its standard deviation."""


def between(x: Floats, y: Floats, at: Floats) -> Floats:
    """Standard deviation at `at` of a rising curve of which only the points (x, y) are known; 0 at the points.

    A rising curve that is a straight line in the mean has at most rise * sqrt(u (1 - u)) at the share u of an interval:
    one step somewhere in it (a Dirichlet process without weight, Ferguson 1973). A smooth one has less, as both halves
    of an interval differ less: by half of what its neighbours' slopes differ, in logarithms. What the bends of the
    whole table show bounds it from below, with one more bend that was not seen and counts as the worst.
    """
    wide, rise = np.diff(x), np.abs(np.diff(y))
    bend = np.tanh(np.abs(np.diff(np.log(np.maximum(rise / wide, LEAST_SLOPE_V)))) / 4.0)
    usual = np.sqrt((1.0 + (bend**2).sum()) / (1.0 + len(bend)))
    share = np.maximum(np.maximum(np.append(bend, 0.0), np.append(0.0, bend)), usual)
    k = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(wide) - 1)
    u = ((at - x[k]) / wide[k]).clip(0.0, 1.0)
    return np.asarray(rise[k] * share[k] * np.sqrt(u * (1.0 - u)))


def heard_once(doubt: Floats, known: Floats) -> Floats:
    """Variance that makes a voltage with a lasting `doubt` teach, however often, no more than it would once.

    Both are variances in V^2, `known` that of the SOC. The error is the same whenever it is heard, and what it has to
    do with the error already made is not known; so the SOC is never taken for better known than the doubt leaves it.
    """
    return np.asarray(doubt / np.maximum(1.0 - doubt / np.maximum(known, LEAST_V2), NOTHING))
