"""Stage: steps the site's and every rack's sequence once per scan, and answers the commands that steer them."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import Final, NamedTuple

import numpy as np

from controller.core.command import Answer, Command
from controller.core.effect import LOCKOUT, NO_CLOSING, OPENING, STOP, TRIP
from controller.core.image import Measured, Modes, RackMode, SiteMode, System, Trips
from controller.core.memory import SequencingMemory
from controller.core.sequence.engine import Sequence
from controller.core.sequence.rack import RACK_MOVES, RackView
from controller.core.sequence.requests import judge
from controller.core.sequence.site import SITE_MOVES, SiteView
from controller.core.settings import SequenceSettings
from controller.core.signal import NOT_FITTED, USABLE, Bools, Ints, Samples, among
from controller.core.topology import Topology

START_JUDGED_MS: Final = 1000
START_AT_MOST_MS: Final = 10_000
STOPPING_MS: Final = 10_000
RAMP_SHARE_MS: Final = 30_000
MIN_PRECHARGE_MS: Final = 200

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
    modes, memory, answers = judge(modes, memory, trips, system, commands)
    racks = _step_racks(sequences, modes, memory, measured, trips, system)
    site_mode, site_ms, site_reason = _step_site(sequences, modes, memory, racks, measured, trips, system)
    mode, mode_ms, reason, attempts, cool_down, ready, join = racks
    wanted = modes.connect_wanted if site_mode in (SiteMode.STANDBY, SiteMode.CONNECTING, SiteMode.ONLINE) else 0
    armed = max(memory.armed_ms - system.elapsed_ms, 0)
    new_modes = Modes(int(site_mode), site_ms, site_reason, mode, mode_ms, reason, attempts, ready, wanted, armed)
    new_memory = SequencingMemory(
        join, cool_down, memory.out_of_service, memory.maintenance_wanted, armed, memory.armed_token, memory.armed_user
    )
    return new_modes, answers, new_memory


class _Racks(NamedTuple):
    """The racks after this scan."""

    mode: Ints
    mode_ms: Ints
    reason: Ints
    attempts: Ints
    cool_down: Ints
    ready: Bools
    join: Bools


def _step_racks(
    q: Sequences, modes: Modes, memory: SequencingMemory, measured: Measured, trips: Trips, system: System
) -> _Racks:
    s, view, p = q.settings, q.rack_view, measured.points
    current, current_ok = p.rack_current_a.value, p.rack_current_a.quality <= USABLE
    joined = modes.rack_mode == RackMode.CLOSED
    precharging = _precharging(p.rack_precharge_closed)
    ready, close_enough = _ready(q, memory, measured, trips, joined)
    site_wants = modes.site_mode in (SiteMode.CONNECTING, SiteMode.ONLINE) and bool(modes.connect_wanted)
    busy_banks = set(q.topology.rack_bank[modes.rack_mode == RackMode.PRECHARGE].tolist())
    mode, mode_ms, reason = modes.rack_mode.copy(), modes.rack_mode_ms + system.elapsed_ms, modes.rack_reason.copy()
    join = memory.join.copy()
    attempts, cool_down = modes.rack_attempts.copy(), np.maximum(memory.cool_down_ms - system.elapsed_ms, 0)
    attempts = np.where(joined, 0, attempts)
    for r in range(q.topology.racks):
        effect, bank = int(trips.rack_effect[r]), int(q.topology.rack_bank[r])
        old = RackMode(int(mode[r]))
        view.lockout, view.trip, view.stop = bool(effect & LOCKOUT), bool(effect & TRIP), bool(effect & STOP)
        view.wanted, view.out_of_service = site_wants and bool(join[r]), bool(memory.out_of_service[r])
        view.ready = bool(ready[r]) and cool_down[r] == 0 and attempts[r] < s.precharge_attempts
        view.its_turn = bank not in busy_banks
        settled = (bool(current_ok[r]) and abs(current[r]) <= s.precharge_current_a) or bool(joined.any())
        view.precharged = bool(close_enough[r] and precharging[r]) and settled and mode_ms[r] >= MIN_PRECHARGE_MS
        view.precharge_overdue = bool(mode_ms[r] >= s.precharge_timeout_ms)
        view.no_current = bool(current_ok[r]) and abs(current[r]) <= s.open_current_a
        view.stopping_overdue = bool(mode_ms[r] >= STOPPING_MS)
        new, move = q.rack.step(old, view)
        if move is None:
            continue
        mode[r], mode_ms[r], reason[r] = int(new), 0, REASON_INDEX[move.because]
        if new is RackMode.PRECHARGE:
            busy_banks.add(bank)
        elif old is RackMode.PRECHARGE and "precharge_overdue" in move.when:
            attempts[r] += 1
            cool_down[r] = s.cool_down_ms
        if effect & OPENING or memory.out_of_service[r]:
            join[r], attempts[r] = False, 0
    return _Racks(mode, mode_ms, reason, attempts, cool_down, ready, join)


def _precharging(feedback: Samples) -> Bools:
    """Racks whose precharge contactor is seen closed; a rack without that feedback is believed."""
    seen = (feedback.quality <= USABLE) & (feedback.value >= 0.5)
    return np.asarray(seen | (feedback.quality == NOT_FITTED))


def _ready(
    q: Sequences, memory: SequencingMemory, measured: Measured, trips: Trips, joined: Bools
) -> tuple[Bools, Bools]:
    """Racks whose permissives to close are met, and racks whose voltage already meets the link's."""
    s, p, bank_of = q.settings, measured.points, q.topology.rack_bank
    data = (p.rack_voltage_v.quality <= USABLE) & (p.rack_link_voltage_v.quality <= USABLE)
    difference = np.abs(p.rack_voltage_v.value - p.rack_link_voltage_v.value)
    live = np.bincount(bank_of, joined, q.topology.banks)[bank_of] > 0
    close_enough = data & (difference <= np.where(live, s.rack_voltage_v, s.precharge_voltage_v))
    free = (trips.rack_effect & NO_CLOSING) == 0
    feedback_open = (p.rack_main_closed.quality <= USABLE) & (p.rack_main_closed.value < 0.5)
    voltages_meet = ~live | (difference <= s.rack_voltage_v)
    ready = data & free & feedback_open & voltages_meet & ~memory.out_of_service
    return np.asarray(ready), np.asarray(close_enough)


def _step_site(
    q: Sequences,
    modes: Modes,
    memory: SequencingMemory,
    racks: _Racks,
    measured: Measured,
    trips: Trips,
    system: System,
) -> tuple[SiteMode, int, int]:
    view, rack_mode, ready = q.site_view, racks.mode, racks.ready
    elapsed = modes.site_mode_ms + system.elapsed_ms
    effect = trips.site_effect
    joined = rack_mode == RackMode.CLOSED
    banks = q.topology.rack_bank
    view.lockout, view.trip, view.stop = bool(effect & LOCKOUT), bool(effect & TRIP), bool(effect & STOP)
    view.wanted, view.maintenance_wanted = bool(modes.connect_wanted), bool(memory.maintenance_wanted)
    feedback = measured.points.rack_main_closed
    seen_closed = (feedback.quality <= USABLE) & (feedback.value >= 0.5)
    heard = bool((trips.rack_effect & TRIP == 0).all())
    view.inputs_judged = elapsed >= START_AT_MOST_MS or (elapsed >= START_JUDGED_MS and heard)
    on_the_way = racks.join & ready & among(rack_mode, RackMode.OPEN, RackMode.PRECHARGE)
    closing = (rack_mode == RackMode.PRECHARGE) | (joined & ~seen_closed)
    view.all_joined = bool(joined.any()) and not on_the_way.any() and not closing.any()
    view.enough_racks = int(joined.sum()) >= q.settings.least_racks
    energised = among(rack_mode, RackMode.PRECHARGE, RackMode.CLOSED, RackMode.STOPPING)
    view.all_open = not (energised | seen_closed).any()
    most = int(np.bincount(banks).max())
    s = q.settings
    patience = s.precharge_attempts * (s.precharge_timeout_ms + s.cool_down_ms) + most * s.precharge_timeout_ms
    view.connecting_overdue = elapsed >= patience
    view.stopping_overdue = elapsed >= STOPPING_MS + RAMP_SHARE_MS
    old = SiteMode(modes.site_mode)
    new, move = q.site.step(old, view)
    if move is None:
        return old, elapsed, modes.site_reason
    return new, 0, REASON_INDEX[move.because]
