"""The life ledger of the main contactors, and the weld test after each opening.

A contactor wears by operations and by what it breaks: an opening at current I counts (I / reference)^2.

Weld test. An opened contactor is proved open when rack and link voltage part, or, on a link that other racks keep
alive, when those carry current and this rack carries none: a welded rack would take its share. It is proved welded
only on a dead link (no rack and no running PCS on it), which bleeds down while a welded rack would hold it up. On a
live link without load nothing can be told, so the test waits; when the rack closes again first it stays undecided.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.core.frozen import replace
from controller.core.image import FEEDING, Contactors, Measured, Modes, RackMode, SiteMode, System, WeldTest
from controller.core.memory import SequencingMemory
from controller.core.settings import SequenceSettings
from controller.core.signal import USABLE, Bools, Floats, Ints, among, seen_on, some
from controller.core.topology import Topology

PART_V: Final = 5.0
PART_RATIO: Final = 0.02
"""Voltages have parted by the larger of these, the ratio being of the rack's voltage: well above sensor errors."""
CARRYING: Final = 10.0
"""The other racks carry current when their mean is this many times the current at which contactors open."""
SETTLE_MS: Final = 500
"""Judged not before this long after the command: the contactor and the current sensor need their time."""


def keep(
    topology: Topology,
    s: SequenceSettings,
    old: Modes,
    mode: Ints,
    mode_ms: Ints,
    memory: SequencingMemory,
    measured: Measured,
    system: System,
) -> tuple[Contactors, SequencingMemory]:
    """The ledger with this scan's closings and openings, and the weld tests one step further."""
    p, book = measured.points, old.contactors
    was, now = among(old.rack_mode, *FEEDING), among(mode, *FEEDING)
    seen, readable = seen_on(p.rack_main_closed), p.rack_main_closed.quality <= USABLE
    current_ok = p.rack_current_a.quality <= USABLE
    current = np.where(current_ok, np.abs(p.rack_current_a.value), memory.last_current_a)
    commanded = was & ~now & (memory.main_seen_closed | ~readable)
    # An opening nobody commanded broke the current of the scan before: this scan's is already gone.
    dropped = was & now & memory.main_seen_closed & readable & ~seen
    broken = np.where(commanded, current, memory.last_current_a)
    opened = commanded | dropped
    breaks = book.rack_contactor_breaks + np.where(opened, (broken / s.contactor.reference_current_a) ** 2, 0.0)
    operations = book.rack_contactor_operations + (now & ~was)
    hot = book.rack_contactor_hot_openings + (opened & (broken > s.open_current_a))
    wear = operations / s.contactor.life_operations + breaks / s.contactor.life_breaks
    result, test_ms = _weld_test(topology, s, old, mode, mode_ms, was, now, memory, measured, system)
    changed = result != book.rack_weld_test
    ledger = replace(
        book,
        rack_contactor_operations=operations,
        rack_contactor_hot_openings=hot,
        rack_contactor_breaks=breaks,
        rack_contactor_wear_ratio=wear,
        rack_weld_test=result,
        rack_weld_test_utc_ms=np.where(changed, system.utc_ms, book.rack_weld_test_utc_ms),
    )
    seen_now = np.where(readable, seen, memory.main_seen_closed & now)
    return ledger, replace(memory, main_seen_closed=seen_now, last_current_a=current, weld_test_ms=test_ms)


def _weld_test(
    topology: Topology,
    s: SequenceSettings,
    old: Modes,
    mode: Ints,
    mode_ms: Ints,
    was: Bools,
    now: Bools,
    memory: SequencingMemory,
    measured: Measured,
    system: System,
) -> tuple[Ints, Ints]:
    """The result per rack, and the time for which a dead link did not part from it. was, now: commanded closed."""
    before = old.contactors.rack_weld_test
    result = np.where(was & ~now & (s.contactor.weld_test_ms != 0), int(WeldTest.RUNNING), before)
    result = np.where(now & among(before, WeldTest.RUNNING), int(WeldTest.UNDECIDED), result)
    if old.site_mode == SiteMode.MAINTENANCE:
        # An engineer is at it; what the test found stays in the journal and in the latched alarm.
        result = np.where(among(result, WeldTest.FAILED), int(WeldTest.NONE), result)
    running = among(result, WeldTest.RUNNING) & ~was
    if not some(running):
        return result, np.where(now, 0, memory.weld_test_ms)
    p = measured.points
    parted, readable = _parted(measured)
    dead = ~_fed(topology, mode, measured)
    own = np.where(p.rack_current_a.quality <= USABLE, np.abs(p.rack_current_a.value), np.inf)
    idle = (own <= s.open_current_a) & _others_carry(topology, s, now, own)
    settled = running & (mode_ms >= SETTLE_MS)
    test_ms = np.where(
        running & dead & readable & ~parted, memory.weld_test_ms + system.elapsed_ms, memory.weld_test_ms
    )
    test_ms = np.where(running, test_ms, 0)
    failing = _holds_the_link(topology, mode, result, running & (test_ms >= s.contactor.weld_test_ms))
    result = np.where(failing, int(WeldTest.FAILED), result)
    result = np.where(settled & (parted | idle), int(WeldTest.PASSED), result)
    return result, test_ms


def _holds_the_link(topology: Topology, mode: Ints, result: Ints, failing: Bools) -> Bools:
    """Of the racks that fail, those that can be blamed: one welded rack that is locked out holds the link of all."""
    holder = (failing | among(result, WeldTest.FAILED)) & among(mode, RackMode.LOCKED_OUT)
    held = np.bincount(topology.rack_bank, holder, topology.banks) > 0
    return np.asarray(failing & (holder | ~held[topology.rack_bank]))


def _parted(measured: Measured) -> tuple[Bools, Bools]:
    """Racks whose voltage differs from the link's by more than any sensor error, and racks where both are known."""
    v, link = measured.points.rack_voltage_v, measured.points.rack_link_voltage_v
    readable = (v.quality <= USABLE) & (link.quality <= USABLE)
    margin = np.maximum(PART_V, PART_RATIO * np.abs(v.value))
    return np.asarray(readable & (np.abs(v.value - link.value) >= margin)), np.asarray(readable)


def _fed(topology: Topology, mode: Ints, measured: Measured) -> Bools:
    """Racks on whose link some rack or a running PCS holds the voltage up."""
    p, t = measured.points, topology
    rack = among(mode, RackMode.PRECHARGE, *FEEDING)
    pcs = (p.pcs_running.quality > USABLE) | (p.pcs_running.value >= 0.5)
    by_rack = np.bincount(t.rack_bank, rack, t.banks) > 0
    by_pcs = np.bincount(t.pcs_bank, pcs, t.banks) > 0
    return np.asarray((by_rack | by_pcs)[t.rack_bank])


def _others_carry(topology: Topology, s: SequenceSettings, closed: Bools, own_a: Floats) -> Bools:
    """Racks on whose link the closed racks carry enough current that one more would show its share."""
    counted = closed & np.isfinite(own_a)
    total = np.bincount(topology.rack_bank, np.where(counted, own_a, 0.0), topology.banks)
    number = np.bincount(topology.rack_bank, counted, topology.banks)
    mean = total / np.maximum(number, 1)
    return np.asarray((mean >= CARRYING * s.open_current_a)[topology.rack_bank])
