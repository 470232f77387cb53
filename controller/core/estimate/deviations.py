"""The cells against their string: SOC, lasting voltage deviation and capacity per cell, and its resistance.

Each cell is judged by its difference to the median cell at the same instant: temperature, profile and most of the
model's error cancel. On a plateau the difference shows the lasting deviation (sensor, connection), at the knees the
charge, over a swing the capacity; a Kalman filter of three states per cell keeps them apart.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.core.estimate.cell_model import CellModel
from controller.core.memory import EstimationMemory
from controller.core.signal import Bools, Floats, Ints, some

SHIFT_SIGMA, OFFSET_SIGMA_V, LACK_SIGMA = 0.03, 0.006, 0.015
NOISE_V: Final = 0.008
RESISTANCE_ERROR: Final = 0.10
"""Deviation of a cell's resistance that has not been learnt, as a fraction of the nominal one."""
SLOPE_MOST_V: Final = 3.0
LOWEST, HIGHEST = -0.1, 1.1
"""A cell of less capacity leaves 0..1 while its string is still inside."""
SLOPE_HALF_WIDTH: Final = 0.01
TABLE_RATIO: Final = 0.008
"""Error of the string's SOC and of the table, which moves the knee at which a cell is judged."""
BEND: Final = 0.5
"""Error of a cell's expected deviation, as a fraction of it: the slope of the table where it bends."""
SHIFT_WALK: Final = 7e-6
"""Random walk of a cell's SOC against its string, per sqrt(s): self-discharge spread."""
OFFSET_WALK_V: Final = 1e-6
LACK_WALK: Final = 7e-6
"""Random walk of a cell's capacity, per sqrt(s): 0.2 % in a day. Without it a late loss passes for lost charge."""
STEP_C: Final = 0.02
STUCK_STEP_C: Final = 0.1
STEP_NOISE_V: Final = 0.0015
RESISTANCE_WALK: Final = 1e-3
"""Random walk of a cell's resistance per current step, as a fraction of the nominal one."""
STUCK_STEPS: Final = 3
JUMP_MOST_V: Final = 0.04
"""A deviation beyond this is the knee of a cell that is full or empty before its string, or no sensor at all."""
CALM_SLOPE_V, CALM_HALF_WIDTH = 1.0, 0.04
"""Slope of the OCV over +- this SOC (V per unit) above which voltage steps tell of neither resistance nor jumps."""
JUMP_V, JUMP_SHARE = 0.005, 0.3
"""A cell that leaves its string by more, and by more than this share of the current step's own drop, has jumped."""
REST_STEP_V, REST_STEP_C = 0.001, 0.01
"""Where the OCV bends cells part while they move; a jump tells there only while the median stands."""
LEARNT_SHARE, LEARNT_SIGMAS = 0.05, 3.0
"""The share falls to this, and so many sigmas of the cell's resistance, as that resistance is learnt."""
JUMP_SIGMAS: Final = 5.0
"""Scatter of all cells' steps at one sample that a jump must exceed: noisy inputs are no jumps."""
MEAN_TO_SIGMA: Final = 1.2533
STUCK_MEDIAN_V: Final = 0.002
"""The median must have followed a current step by this much before a cell that did not counts as stuck."""
SURPRISE_SIGMAS: Final = 5.0
STRANGE_MOST: Final = 2.0
"""Square of a surprise over its expected variance: of honest doubts every sixth is larger, and ours are wider."""
REACH_SIGMAS: Final = 3.0
"""A charge within so many standard deviations that would explain a surprise explains it: see `_explained`."""
MISLED_WALK: Final = 3e-4
"""Doubt of a cell's SOC, per sqrt(s), while most cells surprise: 2 % in an hour, until the string or they give in."""


class Deviations:
    """Per-cell filters over (rack, module, cell); racks named by an index array are worked on in place."""

    def __init__(self, fitted: Bools, model: CellModel) -> None:
        self.model = model
        self.r0 = model.r0
        self.capacity_ah = model.capacity_ah
        count = fitted.sum(axis=(1, 2))
        # The median of one cell is that cell: its deviation is known to be nothing.
        self.share = (1.0 - 1.0 / np.maximum(count, 1))[:, None, None]

    def begin(self, m: EstimationMemory, r: Ints, shift: Floats, known: Floats) -> None:
        """Racks `r` start with `shift`; `known` is its variance, or the usual spread where it is negative."""
        share = self.share[r]
        m.cell_shift_ratio[r] = shift
        m.cell_p_shift[r] = np.where(known < 0, SHIFT_SIGMA**2, known) * share
        m.cell_p_offset[r] = OFFSET_SIGMA_V**2 * share
        m.cell_p_lack[r] = LACK_SIGMA**2 * share
        m.cell_resistance_variance[r] = (RESISTANCE_ERROR * self.r0) ** 2 * share
        for a in (m.cell_offset_v, m.cell_lack_ratio, m.cell_resistance_shift_ohm, m.cell_p_shift_offset,
                  m.cell_p_shift_lack, m.cell_p_offset_lack, m.cell_seen_v, m.cell_stuck):  # fmt: skip
            a[r] = 0

    def sample(
        self,
        m: EstimationMemory,
        r: Ints,
        v: Floats,
        usable: Bools,
        current_a: Floats,
        step_a: Floats,
        step_v: Floats,
        soc: Floats,
        median_v: Floats,
    ) -> Bools:
        """Resistance from steps `step_a` to `current_a`, `step_v` of the median; the cells that still follow."""
        seen = m.cell_seen_v[r]
        calm = (self.model.slope(soc, CALM_HALF_WIDTH) < CALM_SLOPE_V)[:, None, None]
        self._jump(
            m,
            r,
            v - seen - step_v[:, None, None],
            usable & (seen > 0) & (calm | self._rests(current_a, step_a, step_v)[:, None, None]),
            step_a[:, None, None],
            median_v[:, None, None],
        )
        moved = (np.abs(step_a) > STEP_C * self.capacity_ah)[:, None, None]
        if some(moved):
            own = v - seen
            big = (np.abs(step_a) > STUCK_STEP_C * self.capacity_ah)[:, None, None] & usable & (seen > 0)
            big &= (np.abs(step_v) > STUCK_MEDIAN_V)[:, None, None]
            stuck = m.cell_stuck[r]
            stuck = np.where(big & (np.abs(own) < 1e-6), np.minimum(stuck, 200) + 1, np.where(own == 0, stuck, 0))
            m.cell_stuck[r] = stuck
            valid = usable & (seen > 0) & moved & calm & (stuck == 0)
            di = step_a[:, None, None]
            p = m.cell_resistance_variance[r] + (RESISTANCE_WALK * self.r0) ** 2 * valid * self.share[r]
            gain = np.where(valid, p * di / (di**2 * p + 2 * STEP_NOISE_V**2), 0.0)
            shift = m.cell_resistance_shift_ohm[r]
            m.cell_resistance_shift_ohm[r] = shift - gain * (own - step_v[:, None, None] + shift * di)
            m.cell_resistance_variance[r] = p * (1.0 - gain * di)
        m.cell_seen_v[r] = np.where(usable, v, 0.0)
        return np.asarray(usable & (m.cell_stuck[r] < STUCK_STEPS))

    def _rests(self, current_a: Floats, step_a: Floats, step_v: Floats) -> Bools:
        """Racks without current, then and at the sample before, whose median stood: a steady current bends on."""
        most = np.maximum(np.abs(current_a), np.abs(current_a - step_a))
        return np.asarray((np.abs(step_v) < REST_STEP_V) & (most < REST_STEP_C * self.capacity_ah))

    def _jump(
        self, m: EstimationMemory, r: Ints, away_v: Floats, valid: Bools, step_a: Floats, median_v: Floats
    ) -> None:
        """A deviation that appears between two samples is no charge: the sensor or a connection took it."""
        away_v = away_v + m.cell_resistance_shift_ohm[r] * step_a
        size = np.where(valid, np.abs(away_v), 0.0)
        mean = size.sum(axis=(1, 2), keepdims=True) / np.maximum(valid.sum(axis=(1, 2), keepdims=True), 1)
        learnt = LEARNT_SIGMAS * np.sqrt(m.cell_resistance_variance[r])
        ohm = np.minimum(JUMP_SHARE * self.r0, LEARNT_SHARE * self.r0 + learnt)
        # One cell that jumps must not hide itself behind the mean it raises.
        mean = np.minimum(mean, JUMP_V / 2)
        limit = np.maximum(JUMP_V, JUMP_SIGMAS * MEAN_TO_SIGMA * mean) + ohm * np.abs(step_a)
        most = JUMP_MOST_V if self.model.flat else 2 * JUMP_MOST_V
        jumped = valid & (np.abs(m.cell_seen_v[r] + away_v - median_v) < most) & (size > limit)
        if some(jumped):
            m.cell_offset_v[r] += np.where(jumped, away_v, 0.0)
            m.cell_p_offset[r] += jumped * self.share[r] * JUMP_V**2

    def correct(
        self, m: EstimationMemory, r: Ints, deviation_v: Floats, usable: Bools, soc: Floats, drive_a: Floats,
        charge: Floats, time_s: Floats, soc_variance: Floats,
    ) -> None:  # fmt: skip
        """Racks `r`: `charge` (SOC) went out of the string in `time_s`; then their cells deviate by `deviation_v`.

        `drive_a` is the current that a cell's resistance deviation multiplies: with the RC branches' share;
        `soc_variance` that of the string's SOC.
        """
        u, share, t, string = charge[:, None, None], self.share[r], time_s[:, None, None], soc[:, None, None]
        i = drive_a[:, None, None]
        d, o, q = m.cell_shift_ratio[r], m.cell_offset_v[r], m.cell_lack_ratio[r]
        p11, p12, p13 = m.cell_p_shift[r], m.cell_p_shift_offset[r], m.cell_p_shift_lack[r]
        p22, p23, p33 = m.cell_p_offset[r], m.cell_p_offset_lack[r], m.cell_p_lack[r]
        d = d - u * q
        p11 = p11 - 2 * u * p13 + u * u * p33 + SHIFT_WALK**2 * t * share
        p12, p13 = p12 - u * p23, p13 - u * p33
        p22 = p22 + OFFSET_WALK_V**2 * t * share
        p33 = p33 + LACK_WALK**2 * t * share
        at = (string + d).clip(LOWEST, HIGHEST)
        expected = self.model.ocv(at) - self.model.ocv(string)
        # The secant from the string to the cell: the tangent at a wrong place of a bent curve can run away.
        far = np.abs(at - string) > SLOPE_HALF_WIDTH
        secant = expected / np.where(far, at - string, 1.0)
        s = np.where(far, secant, self.model.slope(string, SLOPE_HALF_WIDTH)).clip(0.0, SLOPE_MOST_V)
        noise = NOISE_V**2 + (0.3 * RESISTANCE_ERROR * self.r0 * i) ** 2
        noise = noise + (TABLE_RATIO * s) ** 2 + (BEND * expected) ** 2
        h1, h2, h3 = s * p11 + p12, s * p12 + p22, s * p13 + p23
        surprise = deviation_v - (expected + o - m.cell_resistance_shift_ohm[r] * i)
        strange = usable & (surprise**2 > SURPRISE_SIGMAS**2 * (s * h1 + h2 + noise))
        if some(strange):
            reach = REACH_SIGMAS * np.sqrt(p11 + soc_variance[:, None, None] + TABLE_RATIO**2)
            steep = self._explained(at, surprise, reach)
            knee = strange & (steep > 0)
            s = np.where(knee, np.maximum(s, steep), s)
            noise = noise + np.where(knee, (BEND * surprise) ** 2 + (TABLE_RATIO * steep) ** 2, 0.0)
            h1, h2, h3 = s * p11 + p12, s * p12 + p22, s * p13 + p23
            # What nothing in the cell explains is its sensor or connection: the offset opens and takes it.
            opened = np.where(strange & ~knee & (np.abs(surprise) < JUMP_MOST_V), surprise**2, 0.0)
            p22, h2 = p22 + opened * share, h2 + opened * share
        variance = s * h1 + h2 + noise
        misled = _misled(surprise**2 / variance, usable)
        p11, usable = p11 + misled * MISLED_WALK**2 * t * share, usable & ~misled
        inverse = np.where(usable, 1.0 / variance, 0.0)
        y = surprise * inverse
        m.cell_shift_ratio[r], m.cell_offset_v[r], m.cell_lack_ratio[r] = d + h1 * y, o + h2 * y, q + h3 * y
        m.cell_p_shift[r], m.cell_p_shift_offset[r] = np.maximum(p11 - h1 * h1 * inverse, 0.0), p12 - h1 * h2 * inverse
        m.cell_p_shift_lack[r], m.cell_p_offset[r] = (
            p13 - h1 * h3 * inverse,
            np.maximum(p22 - h2 * h2 * inverse, 0.0),
        )
        m.cell_p_offset_lack[r], m.cell_p_lack[r] = p23 - h2 * h3 * inverse, np.maximum(p33 - h3 * h3 * inverse, 0.0)

    def _explained(self, at: Floats, surprise: Floats, reach: Floats) -> Floats:
        """Slope from the SOC `at` to the one whose OCV lies higher by `surprise`, 0 where that is beyond `reach`.

        Before a knee the tangent is flat: a cell that is already in it would pass for a sensor that errs.
        """
        away = self.model.soc_at(self.model.ocv(at) + surprise) - at
        near = (np.abs(away) < reach) & (away * surprise > 0) & (np.abs(away) > SLOPE_HALF_WIDTH / 10)
        slope = surprise / np.where(near, away, 1.0)
        return np.asarray(np.where(near, slope, 0.0).clip(0.0, SLOPE_MOST_V))


def _misled(strange: Floats, usable: Bools) -> Bools:
    """Racks most of whose cells surprise: either their string does not stand where it believes, or all of them."""
    many = (usable & (strange > STRANGE_MOST)).sum(axis=(1, 2), keepdims=True)
    return np.asarray(2 * many > usable.sum(axis=(1, 2), keepdims=True))
