"""The cell's equivalent circuit, from as little as capacity, OCV table and resistance.

v = OCV(z) + scale * M(z) * h - R0 i - v1 - v2, current in A with discharge positive. Where the sheet has no RC
branches, the usual proportions stand in: R1 = 0.7 R0 over 30 s, R2 = 1.5 R0 over 1500 s.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final, NamedTuple

import numpy as np

from controller.core.estimate.coarse import between
from controller.core.settings import CellSheet
from controller.core.signal import Floats

POINTS: Final = 281
LOW, HIGH = -0.2, 1.2
"""The tables run on beyond empty and full, so that a filter that overshoots is pulled back by the slope there."""
MARGIN_SLOPE_V: Final = 0.1
FLAT_SLOPE_V: Final = 0.4
"""Median OCV slope (V per unit SOC, between 10 and 95 %) below which a chemistry counts as flat: LFP has 0.15."""
UNKNOWN_HALF_V: Final = 0.02
"""Half gap between the branches of a flat chemistry whose sheet does not say it: 16 to 27 mV on LFP."""
ASSUMED_SHARE: Final = 0.5
MIN_SLOPE_V: Final = 0.01
LEAST_OHM_AH, LEAST_TAU_S = 1e-4, 1e-3
"""A sheet may give a branch that is none as 0: 0.1 mV at 1C, and nothing that lasts."""
R1_SHARE, TAU1_S, R2_SHARE, TAU2_S = 0.7, 30.0, 1.5, 1500.0
RISE_SOC: Final = (0.025, 0.05, 0.10, 0.20, 0.30)
RISE_FACTOR: Final = (8.0, 4.0, 2.0, 1.3, 1.0)
"""Resistance towards empty over the sheet's, where the sheet does not say: a margin in round figures, doubling with
every halving of the SOC below 10 %, above what was measured within 2 to 30 s (Panasonic NCA: 1.5 at 13 %, 2.6 to 2.9 at
8 %, 4.5 to 5.3 at 3 %; DMEGC NMC: 1.2 at 21 %, 1.5 at 13 %)."""
REFERENCE_K: Final = 298.15
REFERENCE_DEGC: Final = 25.0
ARRHENIUS_PER_K: Final = 0.026
"""Share by which a resistance usually falls per K near 25 degC."""
COUNT_K: Final = 14.0
"""So far from the sheet's 25 degC capacity and efficiency are doubted as much again, in squares."""
KELVIN: Final = 273.15


class Heat(NamedTuple):
    """What the temperature of every rack does: factors on R0 and on the RC resistances, and on the doubt of a count."""

    r0: Floats
    rc: Floats
    counting: Floats

    def of(self, racks: Any) -> Heat:
        """The racks that an index picks."""
        return Heat(self.r0[racks], self.rc[racks], self.counting[racks])


class CellModel:
    """Uniform tables and the parameters of one cell position; every method works on arrays of any shape."""

    def __init__(self, sheet: CellSheet) -> None:
        self.capacity_ah = sheet.capacity_ah
        self.efficiency = sheet.efficiency
        self.r0 = max(sheet.resistance_ohm, LEAST_OHM_AH / sheet.capacity_ah)
        self.r1 = R1_SHARE * self.r0 if sheet.r1_ohm is None else sheet.r1_ohm
        self.r2 = R2_SHARE * self.r0 if sheet.r2_ohm is None else sheet.r2_ohm
        self.tau1_s = TAU1_S if sheet.tau1_s is None else max(sheet.tau1_s, LEAST_TAU_S)
        self.tau2_s = TAU2_S if sheet.tau2_s is None else max(sheet.tau2_s, LEAST_TAU_S)
        self.gamma = sheet.hysteresis_gamma
        self.sheet = sheet
        self.grid = np.linspace(LOW, HIGH, POINTS)
        self.ocv_v = self._extended(sheet)
        self._rising_v = np.maximum.accumulate(self.ocv_v) + np.arange(POINTS) * 1e-9
        half = np.zeros_like(sheet.soc_grid) if sheet.hysteresis_half_v is None else sheet.hysteresis_half_v
        self.half_v = np.interp(self.grid, sheet.soc_grid, half)
        self.branch_v = self.half_v * sheet.hysteresis_scale
        middle = np.interp(np.linspace(0.10, 0.95, 86), self.grid, self.ocv_v)
        self.fitted = sheet.r1_ohm is not None
        self.flat = bool(np.median(np.diff(middle)) / 0.01 < FLAT_SLOPE_V)
        unknown = self.flat and sheet.hysteresis_half_v is None
        self.doubt_v = np.full(POINTS, UNKNOWN_HALF_V) if unknown else self.half_v
        self.rise_known = sheet.resistance_factor is not None
        """False: the rise of the resistance is a margin, and the truth may lie anywhere between none and all of it."""
        curve = (sheet.resistance_soc, sheet.resistance_factor) if self.rise_known else (RISE_SOC, RISE_FACTOR)
        self.rise = np.interp(self.grid, *curve)
        """Factor on all resistances over the SOC."""
        self.assumed_branch_v = ASSUMED_SHARE * UNKNOWN_HALF_V if unknown else 0.0
        """What the string filter takes for the branch, in V, where a flat chemistry's sheet does not say it."""
        trusted = trust_in(self).table_v
        self.coarse_v = np.sqrt(np.maximum(between(sheet.soc_grid, sheet.ocv_v, self.grid) ** 2 - trusted**2, 0.0))
        """How far the OCV may be off between the sheet's points: standard deviation in V beyond that of `table_v`."""
        square = np.diff(self.grid) * (self.coarse_v[1:] ** 2 + self.coarse_v[:-1] ** 2) / 2
        self._coarse_sum = np.concatenate([[0.0], np.cumsum(square)])

    def _extended(self, sheet: CellSheet) -> Floats:
        grid, ocv = sheet.soc_grid, sheet.ocv_v
        first = max((ocv[1] - ocv[0]) / (grid[1] - grid[0]), MARGIN_SLOPE_V)
        last = max((ocv[-1] - ocv[-2]) / (grid[-1] - grid[-2]), MARGIN_SLOPE_V)
        at = np.concatenate([[LOW], grid, [HIGH]])
        volts = np.concatenate([[ocv[0] + LOW * first], ocv, [ocv[-1] + (HIGH - 1.0) * last]])
        return np.where((self.grid > 0) & (self.grid < 1), monotone(grid, ocv, self.grid),
                        np.interp(self.grid, at, volts))  # fmt: skip

    def _at(self, table: Floats, soc: Floats) -> Floats:
        return np.asarray(np.interp(soc, self.grid, table))

    def ocv(self, soc: Floats) -> Floats:
        """Open-circuit voltage between the branches, in V."""
        return self._at(self.ocv_v, soc)

    def soc_at(self, ocv_v: Floats) -> Floats:
        """SOC at which the OCV is so high, the lowest where it is flat; its ends beyond the table."""
        return np.asarray(np.interp(ocv_v, self._rising_v, self.grid))

    def branch(self, soc: Floats) -> Floats:
        """Voltage by which the charge branch lies above the middle, in V."""
        return self._at(self.branch_v, soc)

    def slope(self, soc: Floats, half_width: Floats | float) -> Floats:
        """Slope of the OCV over soc +- half_width in V per unit SOC, never below `MIN_SLOPE_V`."""
        low, high = np.maximum(soc - half_width, LOW), np.minimum(soc + half_width, HIGH)
        return np.asarray(np.maximum((self.ocv(high) - self.ocv(low)) / (high - low), MIN_SLOPE_V))

    def coarse(self, soc: Floats, half_width: Floats | float) -> Floats:
        """Square of `coarse_v` (V^2), mean over soc +- half_width: none where the sheet's points are close."""
        low, high = np.maximum(soc - half_width, LOW), np.minimum(soc + half_width, HIGH)
        more = np.interp(high, self.grid, self._coarse_sum) - np.interp(low, self.grid, self._coarse_sum)
        return np.asarray(more / (high - low))

    def heat(self, temperature_degc: Floats) -> tuple[Floats, Floats]:
        """Factors on R0 and on the RC resistances at a temperature: Arrhenius, 1 at 25 degC."""
        inverse = 1.0 / (temperature_degc + KELVIN) - 1.0 / REFERENCE_K
        return np.exp(self.sheet.r0_arrhenius_k * inverse), np.exp(self.sheet.rc_arrhenius_k * inverse)

    def warmth(self, temperature_degc: Floats) -> Heat:
        """All that a temperature does to the string filter."""
        away = (temperature_degc - REFERENCE_DEGC) / COUNT_K
        return Heat(*self.heat(temperature_degc), np.sqrt(1.0 + away * away))


def monotone(x: Floats, y: Floats, at: Floats) -> Floats:
    """Cubic through the points that overshoots nowhere (Fritsch and Carlson 1980), straight at both ends.

    A curve bends between the points of a datasheet: straight lines through one point every 5 % are off by 14 mV.
    """
    wide, slope = np.diff(x), np.diff(y) / np.diff(x)
    tangent = np.concatenate([slope[:1], np.zeros(len(x) - 2), slope[-1:]])
    one_way = slope[:-1] * slope[1:] > 0
    left, right = 2 * wide[1:] + wide[:-1], wide[1:] + 2 * wide[:-1]
    low, high = np.where(one_way, slope[:-1], 1.0), np.where(one_way, slope[1:], 1.0)
    tangent[1:-1] = np.where(one_way, (left + right) / (left / low + right / high), 0.0)
    k = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(wide) - 1)
    u = (at - x[k]) / wide[k]
    bow = (1 - u) * (tangent[k] - slope[k]) - u * (tangent[k + 1] - slope[k])
    return np.asarray(y[k] + u * wide[k] * (slope[k] + (1 - u) * bow))


@dataclasses.dataclass(frozen=True, slots=True)
class Trust:
    """Standard deviations of what the model cannot know: they decide how far a voltage is believed.

    The errors of a voltage are not noise: an offset stays, a table is wrong over a stretch of SOC, a resistance for
    hours. They are carried as *considered* errors (Schmidt): the covariance knows them, nothing estimates them.
    """

    offset_v: float
    lasting_v: float
    """The table's error that is the same wherever the SOC goes: another specimen than the one the sheet is of."""
    table_v: float
    table_ratio: float
    table_range: float
    """SOC travelled after which the table's error is another one."""
    resistance: float
    slow_resistance: float
    lag_h: float
    """SOC by which the surface lags per C-rate of lasting current, in h ..."""
    diffusion_h: float
    """... and how far that may be off."""
    renewed_s: float
    """Time after which the error of a resistance is another one."""
    noise_v: float
    """Spectral amplitude of the rest, V sqrt(s)."""
    gain: float
    """Gain of the current sensor and capacity together."""
    published: float
    """The published sigma as a share of the filter's: errors of instruments are bounded, so that two of the filter's
    standard deviations hold nearly all of them; two of the published ones hold about 95 %."""


FLAT: Final = Trust(0.0058, 0.0, 0.006, 0.007, 0.5, 0.3, 0.5, 0.04, 0.10, 86_400.0, 0.15, 0.008, 0.68)
SLOPING: Final = Trust(0.0058, 0.006, 0.015, 0.005, 0.05, 0.3, 0.5, 0.04, 0.05, 600.0, 0.05, 0.008, 0.60)
"""Knees found on half of the development data: flat curves (LFP) believe long memories and live on the current, whose
gain errs by more where the load is fast; sloping ones (NMC, NCA) refresh. A flat table fitted to
its cell stays 4 mV off in a pattern over SOC, 6 mV with the rest; a datasheet's is another specimen's as well."""
DATASHEET: Final = {"published": 1.2}
DATASHEET_FLAT: Final = {**DATASHEET, "table_v": 0.010, "resistance": 0.5, "slow_resistance": 0.8}
"""What differs without fitted branches: wider doubts, said aloud, and on flat curves less belief in a drop."""


def trust_in(model: CellModel) -> Trust:
    """The trust that the chemistry and the sheet deserve."""
    trust = FLAT if model.flat else SLOPING
    return trust if model.fitted else dataclasses.replace(trust, **(DATASHEET_FLAT if model.flat else DATASHEET))
