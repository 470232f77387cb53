"""Stage: steps the site's and every rack's sequence once per scan, and answers the commands that steer them."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import Final, NamedTuple

import numpy as np

from controller.core.command import Answer, Command
from controller.core.effect import LOCKOUT, OPEN_NOW, OPENING, STOP, TRIP
from controller.core.frozen import replace
from controller.core.image import FEEDING, Measured, Modes, RackMode, RetainedState, SiteMode, System, Trips
from controller.core.memory import SequencingMemory
from controller.core.sequence.closing import closed_by_itself
from controller.core.sequence.connect import (
    Heat,
    Permit,
    cool_enough,
    its_turn,
    permit,
    precharging,
    warm,
)
from controller.core.sequence.engine import Sequence
from controller.core.sequence.ledger import keep
from controller.core.sequence.rack import RACK_MOVES, RackView
from controller.core.sequence.rejoin import rejoin
from controller.core.sequence.requests import energised, judge
from controller.core.sequence.site import SITE_MOVES, SiteView
from controller.core.settings import SequenceSettings
from controller.core.signal import USABLE, Bools, Floats, Ints, among, every, seen_on, some
from controller.core.topology import Topology

START_JUDGED_MS: Final = 1000
START_AT_MOST_MS: Final = 10_000
STOPPING_MS: Final = 10_000
RAMP_SHARE_MS: Final = 30_000
MIN_PRECHARGE_MS: Final = 200
FAILED_ATTEMPT: Final = frozenset({"precharge_overdue", "resistor_hot"})
"""Guards of moves that end a precharge in vain."""

REASONS: Final = ("started", *dict.fromkeys(m.because for m in (*SITE_MOVES, *RACK_MOVES)))
"""Why a mode was entered; the image carries the index."""
REASON_INDEX: Final = {text: i for i, text in enumerate(REASONS)}


class Sequences:
    """Both tables, laid out for one plant."""

    def __init__(self, topology: Topology, settings: SequenceSettings) -> None:
        self.topology, self.settings = topology, settings
        self.site = Sequence(SiteMode, SITE_MOVES)
        self.rack = Sequence(RackMode, RACK_MOVES)
        self.site_view, self.rack_view = SiteView(), RackView()
        self.site.attach(self.site_view)
        self.rack.attach(self.rack_view)


def sequence(
    sequences: Sequences,
    memory: SequencingMemory,
    modes: Modes,
    measured: Measured,
    trips: Trips,
    system: System,
    commands: Seq[Command],
) -> tuple[Modes, list[Answer], SequencingMemory]:
    """The modes after this scan. Racks step first, on what the site wanted last; then the site, on the racks."""
    q = sequences
    seen = seen_on(measured.points.rack_main_closed)
    modes, memory, answers = judge(modes, memory, trips, system, commands, seen)
    permitted = permit(q.topology, q.settings, modes, memory, measured, trips)
    heat = warm(q.topology, q.settings, modes, memory, measured, system)
    again = rejoin(q.settings, modes, memory, trips, system, _site_wants(modes))
    memory = replace(
        memory, join=again.join, needs_person=again.needs_person, rejoin_clear_ms=again.clear_ms, rejoins=again.rejoins
    )
    racks = _step_racks(q, modes, memory, measured, trips, system, permitted, heat)
    site_mode, site_ms, site_reason = _step_site(q, modes, memory, racks, seen, trips, system)
    contactors, memory = keep(q.topology, q.settings, modes, racks.mode, racks.mode_ms, memory, measured, system)
    budget = q.settings.precharge_energy_wh
    contactors = replace(contactors, rack_precharge_heat_ratio=heat.held_wh / budget, rack_inrush_a=permitted.inrush_a)
    wanted = modes.connect_wanted if site_mode in (SiteMode.STANDBY, SiteMode.CONNECTING, SiteMode.ONLINE) else 0
    armed = max(memory.armed_ms - system.elapsed_ms, 0)
    new_modes = Modes(
        contactors, int(site_mode), site_ms, site_reason, racks.mode, racks.mode_ms, racks.reason, racks.attempts,
        permitted.ready, again.left_ms, _connecting(q, modes, racks), wanted, memory.maintenance_wanted, armed,
        _retained_state(modes),
    )  # fmt: skip
    begun = among(racks.mode, RackMode.PRECHARGE) & ~among(modes.rack_mode, RackMode.PRECHARGE)
    new_memory = replace(
        memory,
        join=racks.join,
        cool_down_ms=racks.cool_down,
        armed_ms=armed,
        bank_pause_ms=racks.pause_ms,
        precharge_heat_wh=heat.held_wh,
        precharge_attempt_wh=np.where(begun, 0.0, heat.attempt_wh),
        precharge_power_w=np.where(begun, 0.0, heat.power_w),
    )
    return new_modes, answers, new_memory


def _retained_state(modes: Modes) -> int:
    """Doubt is told once; a loss stays until an engineer is at it in MAINTENANCE."""
    lost = modes.retained_state == RetainedState.LOST and modes.site_mode != SiteMode.MAINTENANCE
    return int(RetainedState.LOST) if lost else int(RetainedState.GOOD)


def _connecting(q: Sequences, modes: Modes, racks: _Racks) -> Bools:
    """Banks that begin: without a rack, or with more on their way to the first ones.

    Under load the first ones would pull the link away from the others, which could not join for as long as it lasts.
    """
    bank, banks = q.topology.rack_bank, q.topology.banks
    able = racks.join & racks.ready & (racks.attempts < q.settings.precharge_attempts)
    coming = (able & among(racks.mode, RackMode.OPEN)) | among(racks.mode, RackMode.PRECHARGE)
    fed = np.bincount(bank, among(racks.mode, *FEEDING), banks) > 0
    return np.asarray(~fed | (modes.bank_connecting & (np.bincount(bank, coming, banks) > 0)))


def _site_wants(modes: Modes) -> bool:
    return modes.site_mode in (SiteMode.CONNECTING, SiteMode.ONLINE) and bool(modes.connect_wanted)


class _Racks(NamedTuple):
    """The racks after this scan."""

    mode: Ints
    mode_ms: Ints
    reason: Ints
    attempts: Ints
    cool_down: Ints
    ready: Bools
    join: Bools
    pause_ms: Ints


def _step_racks(
    q: Sequences,
    modes: Modes,
    memory: SequencingMemory,
    measured: Measured,
    trips: Trips,
    system: System,
    permitted: Permit,
    heat: Heat,
) -> _Racks:
    s, view, p, t = q.settings, q.rack_view, measured.points, q.topology
    current, current_ok = np.abs(p.rack_current_a.value), p.rack_current_a.quality <= USABLE
    mode, mode_ms, reason = modes.rack_mode.copy(), modes.rack_mode_ms + system.elapsed_ms, modes.rack_reason.copy()
    attempts = np.where(among(modes.rack_mode, RackMode.CLOSED), 0, modes.rack_attempts)
    cool_down = np.maximum(memory.cool_down_ms - system.elapsed_ms, 0)
    pause_ms = np.maximum(memory.bank_pause_ms - system.elapsed_ms, 0)
    join, old_mode = memory.join.copy(), modes.rack_mode
    site_wants = _site_wants(modes)
    ready = (
        permitted.ready & (cool_down == 0) & (attempts < s.precharge_attempts) & cool_enough(s, heat, permitted.live)
    )
    busy = np.bincount(t.rack_bank, among(old_mode, RackMode.PRECHARGE), t.banks)[t.rack_bank] > 0
    candidates = ready & join & among(old_mode, RackMode.OPEN) & ~busy & site_wants
    turn = its_turn(t, s, candidates, permitted, measured, pause_ms) if some(candidates) else candidates
    settled = (current_ok & (current <= s.precharge_current_a)) | permitted.live
    done = permitted.close_enough & precharging(p.rack_precharge_closed) & settled
    done = np.where(t.self_precharging, closed_by_itself(t, p, permitted.close_enough), done)
    done &= mode_ms >= MIN_PRECHARGE_MS
    beyond = _beyond_breaking(s, modes, mode_ms, current, current_ok)
    for r in range(t.racks):
        effect = int(trips.rack_effect[r])
        view.lockout, view.trip, view.stop = bool(effect & LOCKOUT), bool(effect & TRIP), bool(effect & STOP)
        view.fatal, view.beyond_breaking = bool(effect & OPEN_NOW), bool(beyond[r])
        view.wanted, view.out_of_service = site_wants and bool(join[r]), bool(memory.out_of_service[r])
        view.ready, view.its_turn = bool(ready[r]), bool(turn[r])
        view.rejoining = bool(memory.rejoins[r])
        view.resistor_hot = bool(heat.held_wh[r] > s.precharge_energy_wh)
        view.precharged = bool(done[r])
        view.precharge_overdue = bool(mode_ms[r] >= s.precharge_timeout_ms)
        view.no_current = bool(current_ok[r]) and bool(current[r] <= s.open_current_a)
        view.stopping_overdue = bool(mode_ms[r] >= STOPPING_MS)
        new, move = q.rack.step(RackMode(int(mode[r])), view)
        if move is None:
            continue
        mode[r], mode_ms[r], reason[r] = int(new), 0, REASON_INDEX[move.because]
        if new is RackMode.CLOSED:
            pause_ms[t.rack_bank[r]] = s.interval_ms
        elif FAILED_ATTEMPT & set(move.when):
            attempts[r] += 1
            cool_down[r] = s.cool_down_ms
        if effect & OPENING or memory.out_of_service[r]:
            join[r], attempts[r] = False, 0
    return _Racks(mode, mode_ms, reason, attempts, cool_down, permitted.ready, join, pause_ms)


def _beyond_breaking(s: SequenceSettings, modes: Modes, mode_ms: Ints, current: Floats, known: Bools) -> Bools:
    """Racks that must not open yet: more current than the contactor may break, and the fuse still has time.

    Who is not waiting yet opens at once when the current is unknown; who waits takes silence for current.
    """
    waiting = among(modes.rack_mode, RackMode.FUSE_WAIT)
    too_much = np.where(known, current > s.contactor.breaking_current_a, waiting)
    return np.asarray(too_much & (~waiting | (mode_ms < s.contactor.fuse_wait_ms)))


def _step_site(
    q: Sequences,
    modes: Modes,
    memory: SequencingMemory,
    racks: _Racks,
    seen: Bools,
    trips: Trips,
    system: System,
) -> tuple[SiteMode, int, int]:
    view, rack_mode, ready = q.site_view, racks.mode, racks.ready
    elapsed = modes.site_mode_ms + system.elapsed_ms
    effect = trips.site_effect
    joined = among(rack_mode, RackMode.CLOSED)
    banks = q.topology.rack_bank
    view.lockout, view.trip, view.stop = bool(effect & LOCKOUT), bool(effect & TRIP), bool(effect & STOP)
    view.wanted, view.maintenance_wanted = bool(modes.connect_wanted), bool(memory.maintenance_wanted)
    heard = every(trips.rack_effect & TRIP == 0)
    view.inputs_judged = elapsed >= START_AT_MOST_MS or (elapsed >= START_JUDGED_MS and heard)
    on_the_way = racks.join & ready & among(rack_mode, RackMode.OPEN, RackMode.PRECHARGE)
    closing = among(rack_mode, RackMode.PRECHARGE) | (joined & ~seen)
    view.all_joined = some(joined) and not some(on_the_way) and not some(closing)
    view.enough_racks = int(joined.sum()) >= q.settings.least_racks
    view.all_open = not some(energised(rack_mode, seen))
    most = int(np.bincount(banks).max())
    s = q.settings
    patience = s.precharge_attempts * (s.precharge_timeout_ms + s.cool_down_ms) + most * (
        s.precharge_timeout_ms + s.interval_ms
    )
    view.connecting_overdue = elapsed >= patience
    view.stopping_overdue = elapsed >= STOPPING_MS + RAMP_SHARE_MS
    old = SiteMode(modes.site_mode)
    new, move = q.site.step(old, view)
    if move is None:
        return old, elapsed, modes.site_reason
    return new, 0, REASON_INDEX[move.because]
