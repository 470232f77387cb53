"""Which rack may join next: permissives, the order on a dead link, predicted in-rush, and the resistor's heat."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from controller.core.effect import NO_CLOSING
from controller.core.image import FEEDING, Measured, Modes, RackMode, System, Trips
from controller.core.memory import SequencingMemory
from controller.core.sequence.closing import joined_voltage, may_start
from controller.core.settings import SequenceSettings
from controller.core.signal import NOT_FITTED, USABLE, Bools, Floats, Ints, Samples, among, seen_on, usable
from controller.core.topology import Topology

SAME_VOLTAGE_V: Final = 0.5
"""Voltages this close are as good as equal; then the first rack by number begins, so that a start can be foretold."""
MS_PER_HOUR: Final = 3_600_000.0
LEAST_OHM: Final = 1e-9


class Permit(NamedTuple):
    """What stands between every rack and the link.

    ready: all permissives are met; close_enough: its voltage already meets the link's; live: a rack feeds the bank's
    link; inrush_a: the most that closing now would let flow, 0 on a dead link.
    """

    ready: Bools
    close_enough: Bools
    live: Bools
    inrush_a: Floats
    difference_v: Floats


def precharging(feedback: Samples) -> Bools:
    """Racks whose precharge contactor is seen closed; a rack without that feedback is believed."""
    return np.asarray(seen_on(feedback) | (feedback.quality == NOT_FITTED))


def permit(
    topology: Topology, s: SequenceSettings, modes: Modes, memory: SequencingMemory, measured: Measured, trips: Trips
) -> Permit:
    """The permissives of every rack. Unusable data permit nothing."""
    p, bank_of = measured.points, topology.rack_bank
    main = p.rack_main_closed
    # A rack that precharges by itself shows its main closed before it is judged to have joined.
    closing = topology.self_precharging & among(modes.rack_mode, RackMode.PRECHARGE)
    feeding = among(modes.rack_mode, *FEEDING)
    feeding |= seen_on(main) & ~closing
    feeders = np.bincount(bank_of, feeding, topology.banks)[bank_of]
    live = feeders > 0
    link_v, link_known = joined_voltage(topology, p, feeding)
    rack_known = p.rack_voltage_v.quality <= USABLE
    data = rack_known & (link_known | may_start(topology, p, live))
    difference = np.abs(p.rack_voltage_v.value - link_v)
    inrush = np.where(live & data & ~feeding, _inrush(topology, s, feeding, feeders, measured, link_v), 0.0)
    meets = (difference <= s.rack_voltage_v) & (inrush <= s.inrush_a)
    close_enough = rack_known & link_known & np.where(live, meets, difference <= s.precharge_voltage_v)
    free = (trips.rack_effect & NO_CLOSING) == 0
    feedback_open = (main.quality <= USABLE) & (main.value < 0.5)
    ready = data & free & feedback_open & (~live | meets) & ~memory.out_of_service
    return Permit(np.asarray(ready), np.asarray(close_enough), np.asarray(live), inrush, difference)


def _inrush(
    topology: Topology, s: SequenceSettings, feeding: Bools, feeders: Ints, measured: Measured, link_v: Floats
) -> Floats:
    """Current that would flow between each rack and those on its link, beyond its share of the load.

    The load has pulled the link away from the open-circuit voltage of the racks that feed it, by their mean current
    times a rack's nominal resistance; what remains of the difference drives current through the least resistance.
    """
    p, bank_of, banks = measured.points, topology.rack_bank, topology.banks
    counted = feeding & (p.rack_current_a.quality <= USABLE)
    total = np.bincount(bank_of, np.where(counted, p.rack_current_a.value, 0.0), banks)
    mean_a = (total / np.maximum(np.bincount(bank_of, counted, banks), 1))[bank_of]
    drive_v = p.rack_voltage_v.value - link_v - mean_a * s.rack_nominal_ohm
    # Racks on the link are in parallel: together as stiff as one rack divided by their number.
    path_ohm = s.rack_resistance_ohm * (1.0 + 1.0 / np.maximum(feeders, 1))
    return np.asarray(np.abs(drive_v) / np.maximum(path_ohm, LEAST_OHM))


def its_turn(
    topology: Topology, s: SequenceSettings, candidates: Bools, permitted: Permit, measured: Measured, pause_ms: Ints
) -> Bools:
    """At most one candidate per bank: by policy on a dead link, the nearest voltage on a live one."""
    turn = np.zeros(topology.racks, bool)
    voltage = np.asarray(measured.points.rack_voltage_v.value, np.float64)
    for bank in np.unique(topology.rack_bank[candidates]):
        if pause_ms[bank] > 0:
            continue
        among_these = np.flatnonzero(candidates & (topology.rack_bank == bank))
        if permitted.live[among_these[0]]:
            worse = permitted.difference_v[among_these]
        else:
            worse = _distance(s.first_rack, voltage[among_these])
        turn[among_these[np.flatnonzero(worse <= worse.min() + SAME_VOLTAGE_V)[0]]] = True
    return turn


def _distance(policy: str, voltage: Floats) -> Floats:
    """How far each voltage is from what the policy asks for, but for an amount that is the same for all."""
    if policy == "lowest":
        return voltage
    return -voltage if policy == "highest" else np.abs(voltage - np.median(voltage))


class Heat(NamedTuple):
    """The precharge resistors after this scan: energy held, energy of the attempt, greatest power of the attempt."""

    held_wh: Floats
    attempt_wh: Floats
    power_w: Floats


def warm(
    topology: Topology, s: SequenceSettings, modes: Modes, memory: SequencingMemory, measured: Measured, system: System
) -> Heat:
    """Heat that flows in while precharging and out all the time.

    Power is current times the voltage across the resistor; without data the greatest power of the attempt goes on.
    """
    p = measured.points
    inside = among(modes.rack_mode, RackMode.PRECHARGE) & ~topology.self_precharging
    known = usable(p.rack_current_a) & usable(p.rack_voltage_v) & usable(p.rack_link_voltage_v)
    now_w = np.abs(p.rack_current_a.value) * np.abs(p.rack_voltage_v.value - p.rack_link_voltage_v.value)
    peak_w = np.where(inside & known, np.maximum(memory.precharge_power_w, now_w), memory.precharge_power_w)
    gained = np.where(inside, np.where(known, now_w, peak_w), 0.0) * (system.elapsed_ms / MS_PER_HOUR)
    budget = s.precharge_energy_wh
    given = budget * system.elapsed_ms / s.precharge_recovery_ms if np.isfinite(budget) else np.inf
    held = np.maximum(memory.precharge_heat_wh - given, 0.0) + gained
    return Heat(held, memory.precharge_attempt_wh + gained, peak_w)


def cool_enough(s: SequenceSettings, heat: Heat, live: Bools) -> Bools:
    """The resistor can take another attempt like its last one; after a costly one it must be all cold.

    On a live link hardly any energy is to be moved: there it is enough that the budget is not used up.
    """
    expected = np.where(live, 0.0, np.minimum(heat.attempt_wh, s.precharge_energy_wh))
    return np.asarray(heat.held_wh + expected <= s.precharge_energy_wh)
