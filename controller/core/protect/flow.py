"""What should flow through each rack by what its PCS does: the second witness for every current sensor."""

from __future__ import annotations

import numpy as np

from controller.core.protect.look import Facts, once
from controller.core.signal import USABLE, Bools, Floats, seen_on, shows


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


def rack_power(f: Facts, magnitude: bool = False) -> tuple[Floats, Bools]:
    """DC power of each bank by its racks (or the sum of its magnitudes), and where every rack of it is known.

    A rack that is seen open gives nothing, whether its current is heard or not.
    """
    p, t = f.measured.points, f.topology
    i, v = p.rack_current_a, p.rack_voltage_v
    heard = (i.quality <= USABLE) & (v.quality <= USABLE)
    amps = np.abs(i.value) if magnitude else i.value
    total = np.bincount(t.rack_bank, np.where(heard, amps * v.value, 0.0), t.banks)
    return np.asarray(total, np.float64), np.asarray(np.bincount(t.rack_bank, ~heard & ~seen_open(f), t.banks) == 0)


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
