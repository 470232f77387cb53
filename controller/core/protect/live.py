"""An open rack that is live on its link: welded, though its feedback says open. Two witnesses must agree.

The first witness is the rack's own current. The second shares no sensor with it: a second current sensor in the rack,
the power of the PCS that the closed racks do not account for, or the rack's cells, which move with the load as
their sisters do. One faulty sensor alone therefore never stops a bank.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.frozen import replace
from controller.core.memory import SwingMemory, TrendMemory
from controller.core.protect.flow import closed, pcs_power
from controller.core.protect.look import Facts, once
from controller.core.signal import Bools, Floats, some, usable

LIVE_A, LIVE_RATIO = 5.0, 0.02
"""An open rack carries current when it shows more than the larger of these, the ratio being of 1C."""
SHARE: Final = 0.5
"""A second witness must show at least half of what the first one shows: racks share a load within some percent."""
DC_RATIO, DC_FLOOR = 0.03, 0.002
AC_RATIO, AC_FLOOR = 0.06, 0.015
"""What sound sensors may leave unaccounted, of the power and of the PCS's rating; AC includes the PCS's own losses."""
TICK_MS: Final = 1000
SETTLE_MS: Final = 30_000
"""After an opening the cells recover; what they do before this time says nothing about the load."""
SWING_S, MEMORY_S = 30.0, 60.0
"""Slower movements than the first are the cells' own; what moved is forgotten with the second."""
LEAST_SWING_V: Final = 0.005
"""Root mean square by which the closed sisters must have moved: far above the noise of a mean of many cells."""


def open_rack_live(f: Facts) -> Bools:
    """Current through a rack that is commanded open, and a second witness of it.

    The second: the rack's other current sensor, PCS power that the closed racks do not account for, or the rack's
    cells moving with the load as those of the closed racks do.
    """
    p = f.measured.points
    first, second = _carries(f, p.rack_current_a.value), _carries(f, p.rack_current_redundant_a.value)
    first, second = first & usable(p.rack_current_a), second & usable(p.rack_current_redundant_a)
    shown = np.where(first, p.rack_current_a.value, np.where(second, p.rack_current_redundant_a.value, 0.0))
    suspected = (first | second) & commanded_open(f)
    if not some(suspected):
        return suspected
    both = first & second & (p.rack_current_a.value * p.rack_current_redundant_a.value > 0)
    return np.asarray(suspected & (both | _unaccounted(f, shown) | moves_with_bank(f.trend.swing)))


@once
def commanded_open(f: Facts) -> Bools:
    """Racks that are told to have neither contactor closed."""
    return np.asarray(~f.outputs.rack_main_close & ~f.outputs.rack_precharge_close)


def _carries(f: Facts, current_a: Floats) -> Bools:
    return np.asarray(np.abs(current_a) > max(LIVE_A, LIVE_RATIO * f.limit.rack_1c_a))


def _unaccounted(f: Facts, shown_a: Floats) -> Bools:
    """The PCS has at least half of the shown current more than the closed racks give, beyond what sensors may err."""
    p, t = f.measured.points, f.topology
    pcs, told = pcs_power(f)
    shut = closed(f) & ~commanded_open(f)
    known = usable(p.rack_current_a) & usable(p.rack_voltage_v)
    watts = p.rack_current_a.value * p.rack_voltage_v.value
    racks = np.bincount(t.rack_bank, np.where(shut & known, watts, 0.0), t.banks)
    unknown = np.bincount(t.rack_bank, shut & ~known, t.banks)
    dc = usable(p.pcs_dc_current_a) & usable(p.pcs_dc_voltage_v)
    by_dc = np.bincount(t.pcs_bank, ~dc, t.banks) == 0
    rating = f.limit.pcs_rated_w * t.pcs_count
    may = np.where(by_dc, DC_RATIO * np.abs(pcs) + DC_FLOOR * rating, AC_RATIO * np.abs(pcs) + AC_FLOOR * rating)
    gap, own = (pcs - racks)[t.rack_bank], shown_a * p.rack_voltage_v.value
    sure = (told & (unknown == 0))[t.rack_bank] & usable(p.rack_voltage_v) & (np.abs(gap) > may[t.rack_bank])
    return np.asarray(sure & (gap * own > 0) & (np.abs(gap) >= SHARE * np.abs(own)))


def moves_with_bank(m: SwingMemory) -> Bools:
    """Racks whose cells followed at least half of what the closed racks' cells did under a changing load."""
    enough = m.bank_square > LEAST_SWING_V**2
    return np.asarray(enough & (m.product > SHARE * m.bank_square))


def swing(m: TrendMemory, f: Facts, elapsed_ms: int) -> dict[str, Any]:
    """Once a second: how the mean cell of each open rack moves, beside that of the closed racks of its bank."""
    s = m.swing
    age = s.age_ms + elapsed_ms
    if age < TICK_MS:
        return {"swing": replace(s, age_ms=age)}
    t, cells = f.topology, f.measured.extremes.module_cell_voltage_mean_v
    seen = usable(cells) & t.module_fitted
    count = seen.sum(axis=1)
    known = (count > 0) & (count == t.module_fitted.sum(axis=1))
    mean = np.where(seen, cells.value, 0.0).sum(axis=1) / np.maximum(count, 1)
    step = np.where(known & (s.cell_v > 0.0), mean - s.cell_v, 0.0)
    lead = closed(f) & f.outputs.rack_main_close & known
    leaders = np.bincount(t.rack_bank, lead, t.banks)
    by = (np.bincount(t.rack_bank, np.where(lead, step, 0.0), t.banks) / np.maximum(leaders, 1))[t.rack_bank]
    judged = commanded_open(f) & known & (f.modes.rack_mode_ms >= SETTLE_MS)
    fade, forget = max(1.0 - age / 1000.0 / SWING_S, 0.0), max(1.0 - age / 1000.0 / MEMORY_S, 0.0)
    own, bank = np.where(judged, fade * s.own_v + step, 0.0), np.where(judged, fade * s.bank_v + by, 0.0)
    part = 1.0 - forget
    return {
        "swing": SwingMemory(
            age_ms=0,
            cell_v=np.where(known, mean, 0.0),
            own_v=own,
            bank_v=bank,
            product=np.where(judged, forget * s.product + part * own * bank, 0.0),
            bank_square=np.where(judged, forget * s.bank_square + part * bank * bank, 0.0),
        )
    }
