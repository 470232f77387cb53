"""Contactors against their commands, by feedback that may speak of the command in force.

A feedback read before the contactor could have moved says nothing about a command: behind a link that stalls for a
moment the last value shows the time before it, and the first one after it a rack that has only just been told. Until
something newer is read, no contactor is called welded or lost; a value that stays old ends as `rack_comm_lost`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.core.image import RackMode
from controller.core.protect.look import Facts
from controller.core.signal import Bools, Ints, Samples, among, shows

MOVED: Final = 0.75
"""Of the time that a contactor is given to follow: what is read later than this after a command speaks of it."""


def told_ms(f: Facts, told: Bools, before: Bools, before_ms: Ints, feedback: Samples, elapsed_ms: int) -> Ints:
    """How long each contactor may have known its command; negative while no value was read since it was given.

    A link that stalls may have taken the command with it: then the time begins with the first value read after it.
    """
    age_ms = f.system.now_ms - feedback.time_ms
    given_ms = np.where(told == before, np.abs(before_ms), 0) + elapsed_ms
    waited = (told == before) & (before_ms < 0)
    return np.asarray(np.where(age_ms > given_ms, -given_ms, np.where(waited, age_ms, given_ms)))


def _answers(f: Facts, s: Samples, on: bool, told_ms: Ints) -> Bools:
    """The feedback is at this level and speaks of a command of `told_ms` ago, being read late enough after it.

    While the time to follow runs, any value counts that was read since, so that the row's delay begins with it.
    """
    read_ms = told_ms - (f.system.now_ms - s.time_ms)
    late_enough = read_ms >= MOVED * f.limit.contactor_follow_ms
    early = (told_ms <= f.limit.contactor_follow_ms) & (read_ms >= 0)
    return shows(s, on) & (late_enough | early)


def main_does_not_close(f: Facts) -> Bools:
    """Commanded closed, feedback open. A rack that precharges by itself may take the time of its precharge."""
    closing_itself = f.topology.self_precharging & among(f.modes.rack_mode, RackMode.PRECHARGE)
    open_ = _answers(f, f.measured.points.rack_main_closed, False, f.trend.main_told_ms)
    return np.asarray(f.outputs.rack_main_close & ~closing_itself & open_)


def main_does_not_open(f: Facts) -> Bools:
    """Commanded open, feedback closed: welded, or the wire to the coil is lost."""
    return ~f.outputs.rack_main_close & _answers(f, f.measured.points.rack_main_closed, True, f.trend.main_told_ms)


def precharge_does_not_close(f: Facts) -> Bools:
    """The precharge contactor alone is commanded closed and reports open; beside the main it may open any time."""
    alone = f.outputs.rack_precharge_close & ~f.outputs.rack_main_close
    return alone & _answers(f, f.measured.points.rack_precharge_closed, False, f.trend.precharge_told_ms)


def precharge_does_not_open(f: Facts) -> Bools:
    """The precharge contactor stays closed against its command; a main command includes the device's own precharge."""
    closed = _answers(f, f.measured.points.rack_precharge_closed, True, f.trend.precharge_told_ms)
    return ~precharge_commanded(f) & closed


def precharge_commanded(f: Facts) -> Bools:
    """Racks whose precharge contactor may be closed: by its command, or by the main's where it precharges itself."""
    return np.asarray(f.outputs.rack_precharge_close | (f.topology.self_precharging & f.outputs.rack_main_close))


def command_not_confirmed(f: Facts) -> Bools:
    """The rack controller reads back another main command than was written."""
    s, main = f.measured.points.rack_main_confirmed, f.outputs.rack_main_close
    told_ms = f.trend.main_told_ms
    return np.asarray(np.where(main, _answers(f, s, False, told_ms), _answers(f, s, True, told_ms)))
