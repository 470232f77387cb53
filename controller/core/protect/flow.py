"""What should flow through each rack by what its PCS does: the second witness for every current sensor."""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.core.protect.look import Facts, once
from controller.core.signal import USABLE, Bools, Floats, Ints, seen_on, shows

WITNESS_RATIO: Final = 0.1
"""Of a PCS's rating: racks and PCS may differ by so much, by losses and by samples that are not of one moment."""


@once
def closed(f: Facts) -> Bools:
    """Racks whose main contactor is seen closed."""
    return seen_on(f.measured.points.rack_main_closed)


@once
def pcs_power(f: Facts) -> tuple[Floats, Bools]:
    """DC power of each bank by its PCS, and where it is known: current times voltage, else the AC power."""
    p, t = f.measured.points, f.topology
    i, v, ac = p.pcs_dc_current_a, p.pcs_dc_voltage_v, p.pcs_active_power_w
    dc = (i.quality <= USABLE) & (v.quality <= USABLE)
    watts = np.where(dc, i.value * v.value, ac.value)
    known = dc | (ac.quality <= USABLE)
    total = np.bincount(t.pcs_bank, np.where(known, watts, 0.0), t.banks)
    return np.asarray(total, np.float64), np.asarray(np.bincount(t.pcs_bank, ~known, t.banks) == 0)


@once
def rack_power(f: Facts) -> tuple[Floats, Bools]:
    """DC power of each bank by its racks, and where every rack of it is known.

    A rack that is seen open gives nothing, whether its current is heard or not.
    """
    return _rack_power(f, f.measured.points.rack_current_a.value)


def rack_magnitudes(f: Facts) -> tuple[Floats, Bools]:
    """The same without regard to the direction of each rack's current."""
    return _rack_power(f, np.abs(f.measured.points.rack_current_a.value))


def _rack_power(f: Facts, amps: Floats) -> tuple[Floats, Bools]:
    p, t = f.measured.points, f.topology
    i, v = p.rack_current_a, p.rack_voltage_v
    heard = (i.quality <= USABLE) & (v.quality <= USABLE)
    total = np.bincount(t.rack_bank, np.where(heard, amps * v.value, 0.0), t.banks)
    return np.asarray(total, np.float64), np.asarray(np.bincount(t.rack_bank, ~heard & ~seen_open(f), t.banks) == 0)


@once
def oldest_ms(f: Facts) -> tuple[Ints, Ints]:
    """Age of the oldest value behind the power of each bank: by its racks that are not seen open, and by its PCS."""
    p, t, now = f.measured.points, f.topology, f.system.now_ms
    rack_ms = np.where(seen_open(f), now, np.minimum(p.rack_current_a.time_ms, p.rack_voltage_v.time_ms))
    dc = (p.pcs_dc_current_a.quality <= USABLE) & (p.pcs_dc_voltage_v.quality <= USABLE)
    dc_ms = np.minimum(p.pcs_dc_current_a.time_ms, p.pcs_dc_voltage_v.time_ms)
    pcs_ms = np.where(dc, dc_ms, p.pcs_active_power_w.time_ms)
    oldest = []
    for time_ms, bank in ((rack_ms, t.rack_bank), (pcs_ms, t.pcs_bank)):
        of_bank = np.full(t.banks, now, np.int64)
        np.minimum.at(of_bank, bank, time_ms)
        oldest.append(np.asarray(now - of_bank))
    return oldest[0], oldest[1]


@once
def seen_open(f: Facts) -> Bools:
    """Racks whose main contactor is seen open."""
    return shows(f.measured.points.rack_main_closed, False)


@once
def expected_current(f: Facts) -> tuple[Floats, Bools]:
    """The even share of its bank's current for each closed rack, and where that can be said."""
    t, v = f.topology, f.measured.points.rack_voltage_v
    total, known = pcs_power(f)
    shut = closed(f)
    racks = np.bincount(t.rack_bank, shut, t.banks)
    good = shut & known[t.rack_bank] & (v.quality <= USABLE) & (v.value > 1.0)
    watts = (total / np.maximum(racks, 1))[t.rack_bank]
    return np.where(good, watts / np.maximum(v.value, 1.0), 0.0), np.asarray(good)


@once
def worst_current(f: Facts) -> tuple[tuple[Floats, Floats], Bools]:
    """(charge, discharge) current of each rack by whichever sensor shows more of it, and where any is known.

    What a silent sensor said last stands beside the other one, until the rack is told to open.
    """
    a, b, m = f.measured.points.rack_current_a, f.measured.points.rack_current_redundant_a, f.trend
    one, two = a.quality <= USABLE, b.quality <= USABLE
    first, second = np.where(one, a.value, m.last_current_a), np.where(two, b.value, m.last_redundant_current_a)
    one, two = one | (first != 0.0), two | (second != 0.0)
    low = np.minimum(np.where(one, first, np.inf), np.where(two, second, np.inf))
    high = np.maximum(np.where(one, first, -np.inf), np.where(two, second, -np.inf))
    known = one | two
    return (np.where(known, -low, 0.0), np.where(known, high, 0.0)), np.asarray(known)
