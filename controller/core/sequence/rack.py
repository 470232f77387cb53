"""The rack's contactor sequence. Safe moves first; every transitional mode has a way out by time."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Final

from controller.core.image import RackMode
from controller.core.sequence.engine import Move

R = RackMode
CLOSED: Final = (R.CLOSED, R.STOPPING)
ENERGISED: Final = (R.PRECHARGE, *CLOSED)

RACK_MOVES: Final = (
    Move(CLOSED, R.FUSE_WAIT, ("fatal", "beyond_breaking"), "waiting for the fuse: too much to break"),
    Move((R.OPEN, *ENERGISED, R.TRIPPED), R.LOCKED_OUT, ("lockout",), "locked out by protection"),
    Move((R.OPEN, *ENERGISED), R.TRIPPED, ("trip",), "tripped by protection"),
    Move((R.FUSE_WAIT,), R.LOCKED_OUT, ("lockout",), "locked out after the fuse", unless=("beyond_breaking",)),
    Move((R.FUSE_WAIT,), R.TRIPPED, (), "opened after the fuse", unless=("beyond_breaking",)),
    Move((R.LOCKED_OUT,), R.OPEN, (), "lock-out released", unless=("lockout", "trip")),
    Move((R.TRIPPED,), R.OPEN, (), "trip reset", unless=("trip",)),
    Move((R.PRECHARGE,), R.OPEN, ("stop",), "stopped by protection"),
    Move((R.PRECHARGE,), R.OPEN, (), "no longer wanted", unless=("wanted",)),
    Move((R.PRECHARGE,), R.OPEN, ("out_of_service",), "taken out of service"),
    Move((R.PRECHARGE,), R.OPEN, ("resistor_hot",), "precharge resistor too hot"),
    Move((R.PRECHARGE,), R.CLOSED, ("precharged",), "precharge done"),
    Move((R.PRECHARGE,), R.OPEN, ("precharge_overdue",), "precharge took too long"),
    Move((R.CLOSED,), R.STOPPING, ("stop",), "stopped by protection"),
    Move((R.CLOSED,), R.STOPPING, (), "no longer wanted", unless=("wanted",)),
    Move((R.CLOSED,), R.STOPPING, ("out_of_service",), "taken out of service"),
    Move((R.STOPPING,), R.OPEN, ("no_current",), "opened without current"),
    Move((R.STOPPING,), R.FUSE_WAIT, ("stopping_overdue", "beyond_breaking"), "current stayed: waiting for the fuse"),
    Move((R.STOPPING,), R.OPEN, ("stopping_overdue",), "opened under current: it did not end in time"),
    Move((R.OPEN,), R.OUT_OF_SERVICE, ("out_of_service",), "taken out of service"),
    Move((R.OUT_OF_SERVICE,), R.OPEN, (), "back in service", unless=("out_of_service",)),
    Move((R.OPEN,), R.PRECHARGE, ("wanted", "ready", "its_turn", "rejoining"), "precharging: joins again by itself"),
    Move((R.OPEN,), R.PRECHARGE, ("wanted", "ready", "its_turn"), "precharging"),
)


@dataclasses.dataclass(slots=False)
class RackView:
    """What the rack table's guards look at; MEANING says it in words."""

    state: str = R.OPEN.name
    lockout: bool = False
    trip: bool = False
    fatal: bool = False
    beyond_breaking: bool = False
    stop: bool = False
    wanted: bool = False
    ready: bool = False
    its_turn: bool = False
    rejoining: bool = False
    resistor_hot: bool = False
    precharged: bool = False
    precharge_overdue: bool = False
    no_current: bool = False
    stopping_overdue: bool = False
    out_of_service: bool = False
    step: Any = None

    MEANING: ClassVar[dict[str, str]] = {
        "lockout": "a row with LOCKOUT acts on the rack",
        "trip": "a row with TRIP acts on the rack",
        "fatal": "TRIP or LOCKOUT",
        "beyond_breaking": "more current than `contactors.breaking_current`, and the fuse still has time "
        "(`contactors.fuse_wait`); without that key never",
        "stop": "a row with STOP acts on the rack",
        "wanted": "the site is connecting or online, an operator wants it so, and nothing has taken the rack out since",
        "ready": "voltages known, contactor seen open, nothing blocks closing, not out of service, no cool-down, "
        "attempts left, the resistor cool enough; on a live link also voltage difference and predicted in-rush small",
        "its_turn": "no rack of the bank is precharging, `connection.interval` has passed, and it is next: on a dead "
        "link by `connection.first_rack`, on a live one the nearest voltage",
        "rejoining": "it waited for `connection.rejoin_after` after protection had taken it out; nobody asked",
        "resistor_hot": "the precharge resistor has taken its energy budget (`limits.precharge.energy`)",
        "precharged": "link and rack voltage meet, precharge contactor seen closed, 200 ms have passed, and on a dead "
        "link the current has gone",
        "precharge_overdue": "`limits.precharge.timeout` has passed",
        "no_current": "current known and below 2 % of 1C",
        "stopping_overdue": "10 s have passed",
        "out_of_service": "an engineer took the rack out of service",
    }
