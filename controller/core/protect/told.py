"""What each PCS was told in the last scans: a value is judged by what was in force when it was read, not by the latest.

Behind a link that stalls, or that is read seldom, the last value shows the time before a limit was cut or a setpoint
moved. What would have been judged sound when it was fresh is no fault because it has become old.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.memory import TrendMemory
from controller.core.protect.facts import EXCEED_RATIO
from controller.core.protect.flow import WITNESS_RATIO, oldest_ms, pcs_power, rack_power
from controller.core.protect.look import Facts
from controller.core.signal import Bools, Floats, Ints, Quality, Samples, usable

FOLLOW_RATIO: Final = 0.1
LEAST_ALLOWED_RATIO: Final = 0.02
CONFIRM_RATIO: Final = 0.05
CONFIRM_MS: Final = 500
"""A PCS may take so long to show a new setpoint; while power ramps it then always shows an earlier one."""


def tell(m: TrendMemory, f: Facts, elapsed_ms: int) -> dict[str, Any]:
    """What was told until this scan, put before the scans that are kept: setpoints, and limits as a PCS can follow.

    A limit rises at once and falls over the time that a PCS is given to follow; not while the PCS is not heard, for
    what does not answer may not have heard either.
    """
    power = f.measured.points.pcs_active_power_w
    fall_w = f.limit.pcs_rated_w * elapsed_ms / max(f.limit.pcs_follow_ms, 1)
    age_ms = m.pcs_told_ms + elapsed_ms
    (racks_w, racks_known), (pcs_w, pcs_known) = rack_power(f), pcs_power(f)
    unheard = (power.quality == Quality.STALE) & (age_ms[:, None] <= _age_ms(f, power))

    def allowed(limit_w: Floats, kept_w: Floats) -> Floats:
        least_w = np.maximum(kept_w[0] - fall_w, np.where(unheard, kept_w, 0.0).max(axis=0))
        return np.asarray(_before(np.maximum(limit_w, least_w), kept_w))

    return {
        "pcs_told_ms": _before(np.int64(0), age_ms),
        "pcs_charge_allowed_w": allowed(f.outputs.pcs_charge_limit_w, m.pcs_charge_allowed_w),
        "pcs_discharge_allowed_w": allowed(f.outputs.pcs_discharge_limit_w, m.pcs_discharge_allowed_w),
        "pcs_setpoint_told_w": _before(f.outputs.pcs_active_power_setpoint_w, m.pcs_setpoint_told_w),
        "bank_racks_w": _before(np.where(racks_known, racks_w, m.bank_racks_w[0]), m.bank_racks_w),
        "bank_pcs_w": _before(np.where(pcs_known, pcs_w, m.bank_pcs_w[0]), m.bank_pcs_w),
    }


def pcs_exceeds_limits(f: Facts) -> Bools:
    """Power more than 10 % above the limit that the PCS was given, after its time to follow."""
    p, m = f.measured.points.pcs_active_power_w, f.trend
    slack_w, then = LEAST_ALLOWED_RATIO * f.limit.pcs_rated_w, _in_force(f, p)
    charge_w, discharge_w = (
        EXCEED_RATIO * np.where(then, told_w, 0.0).max(axis=0) + slack_w
        for told_w in (m.pcs_charge_allowed_w, m.pcs_discharge_allowed_w)
    )
    return np.asarray(usable(p) & ((p.value > discharge_w) | (-p.value > charge_w)))


def pcs_does_not_follow(f: Facts) -> Bools:
    """Power far from the setpoint although the PCS is told to run."""
    off = _beyond_setpoints(f, f.measured.points.pcs_active_power_w, 0, FOLLOW_RATIO)
    return np.asarray(f.outputs.pcs_run & off)


def pcs_command_not_confirmed(f: Facts) -> Bools:
    """The PCS reads back another setpoint than was written."""
    return _beyond_setpoints(f, f.measured.points.pcs_active_power_confirmed_w, CONFIRM_MS, CONFIRM_RATIO)


def dc_power_differs(f: Facts) -> Bools:
    """The power of a bank's racks and that of its PCS differ by more than 10 % of the rating."""
    t, m = f.topology, f.trend
    (racks_w, known), (pcs_w, told), (racks_ms, pcs_ms) = rack_power(f), pcs_power(f), oldest_ms(f)
    # An old value of the one is held against all that the other has shown since that moment.
    racks_low, racks_high = _since(m, racks_w, m.bank_racks_w, pcs_ms)
    pcs_low, pcs_high = _since(m, pcs_w, m.bank_pcs_w, racks_ms)
    apart = np.maximum(racks_low - pcs_high, pcs_low - racks_high)
    return np.asarray(known & told & (apart > WITNESS_RATIO * f.limit.pcs_rated_w * t.pcs_count))[t.pcs_bank]


def _since(m: TrendMemory, now_w: Floats, shown_w: Floats, age_ms: Ints) -> tuple[Floats, Floats]:
    """Least and largest power of each bank in this scan and in those since `age_ms` ago."""
    then = m.pcs_told_ms[1:, None] <= age_ms
    low, high = np.where(then, shown_w[1:], np.inf).min(axis=0), np.where(then, shown_w[1:], -np.inf).max(axis=0)
    return np.minimum(now_w, low), np.maximum(now_w, high)


def _beyond_setpoints(f: Facts, s: Samples, late_ms: int, ratio: float) -> Bools:
    """The value is farther than this part of the rating from every setpoint since `late_ms` before it was read."""
    told_w, then, most_w = f.trend.pcs_setpoint_told_w, _in_force(f, s, late_ms), ratio * f.limit.pcs_rated_w
    low_w, high_w = np.where(then, told_w, np.inf).min(axis=0), np.where(then, told_w, -np.inf).max(axis=0)
    return np.asarray(usable(s) & ((s.value < low_w - most_w) | (s.value > high_w + most_w)))


def _in_force(f: Facts, s: Samples, late_ms: int = 0) -> Bools:
    """Over scan and PCS: what was told until then was in force at or after `late_ms` before the value was read."""
    return np.asarray(f.trend.pcs_told_ms[:, None] <= _age_ms(f, s) + late_ms)


def _age_ms(f: Facts, s: Samples) -> Ints:
    return np.maximum(f.system.now_ms - s.time_ms, 0)


def _before(new: Floats | np.int64, kept: Floats | Ints) -> Any:
    """The new one first, the oldest gone."""
    moved = np.empty_like(kept)
    moved[0], moved[1:] = new, kept[:-1]
    return moved
