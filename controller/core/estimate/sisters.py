"""A cell among its sisters: median and scatter over one string at one instant, missing cells left out.

Temperature, profile and most of a model's error are common to all cells of a string and cancel in the difference to
the median; the median absolute deviation says how far healthy sisters lie apart, whatever one of them does.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.signal import Bools, Floats, every

MAD_TO_SIGMA, MEAN_TO_SIGMA = 1.4826, 1.2533
NONE_CELLS: Final = 3.0
"""Usual sisters that say none before any does: of few, one is no majority."""
TAIL, TAIL_SIGMAS = 1.0 / 6.0, 0.967
"""Share of a normal distribution beyond so many standard deviations."""


def median(x: NDArray[Any], ok: Bools) -> Floats:
    """Median of each row of `x` (n, c) over `ok`; 0 where a row has nothing."""
    if every(ok):
        flat, count = np.sort(x, axis=1), x.shape[1]
        return np.asarray(0.5 * (flat[:, (count - 1) // 2] + flat[:, count // 2]))
    flat = np.sort(np.where(ok, x, np.inf), axis=1)
    n = ok.sum(axis=1)
    row, some = np.arange(len(x)), n > 0
    low, high = flat[row, np.maximum((n - 1) // 2, 0)], flat[row, n // 2]
    return np.asarray(np.where(some, 0.5 * (np.where(some, low, 0.0) + np.where(some, high, 0.0)), 0.0))


def scatter(x: Floats, ok: Bools) -> Floats:
    """Robust standard deviation of each row of `x`, which already is the difference to its median."""
    return median(np.abs(x), ok) * MAD_TO_SIGMA


def roughness(x: Floats, ok: Bools, most: float) -> Floats:
    """Standard deviation of each row of `x` from its mean size, no value counting for more than `most`: cheaper."""
    size = np.minimum(np.abs(x), most)
    return np.asarray(MEAN_TO_SIGMA * np.einsum("ij,ij->i", size, ok, dtype=float) / np.maximum(ok.sum(axis=1), 1))


def upper(x: Floats, ok: Bools) -> Floats:
    """Standard deviation as the upper tail of each row of `x` has it, a sixth of the sisters, but one, left out."""
    flat = np.sort(np.where(ok, x, -np.inf), axis=1)
    n, c = ok.sum(axis=1), x.shape[1]
    at = flat[np.arange(len(x)), np.clip(c - 1 - np.maximum((TAIL * n).astype(int), 1), 0, c - 1)]
    return np.asarray(np.where((n > 0) & (at > 0), at, 0.0) / TAIL_SIGMAS)


def beside(x: Floats) -> Floats:
    """Second warmest of the four neighbours of each place in a row of `x`: what a whole module or its air does."""
    near = np.sort(np.stack([np.roll(x, k, axis=1) for k in (-2, -1, 1, 2)]), axis=0)
    return np.asarray(near[2])


def share(x: Floats, of: Floats, ok: Bools) -> Floats:
    """Share of `of` that each row of `x` (n, c) is in most of it, each cell counting by its own `of`; (n,)."""
    weight = np.where(ok, np.abs(of), 0.0)
    none = np.zeros((len(x), 1))
    ratio = np.concatenate([np.where(weight > 0, x / np.where(weight > 0, of, 1.0), 0.0), none], axis=1)
    usual = weight.sum(axis=1) / np.maximum(ok.sum(axis=1), 1)
    weight = np.concatenate([weight, NONE_CELLS * usual[:, None]], axis=1)
    order = np.argsort(ratio, axis=1)
    summed = np.cumsum(np.take_along_axis(weight, order, axis=1), axis=1)
    middle = (summed >= 0.5 * summed[:, -1:]).argmax(axis=1)
    row = np.arange(len(x))
    return np.asarray(ratio[row, order[row, middle]])
