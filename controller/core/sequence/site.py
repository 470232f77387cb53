"""The site sequence. Safe moves first; every transitional mode has a way out by time."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Final

from controller.core.image import SiteMode
from controller.core.sequence.engine import Move

S = SiteMode
RUNNING: Final = (S.CONNECTING, S.ONLINE, S.STOPPING)

SITE_MOVES: Final = (
    # In MAINTENANCE nothing may close, and the lock-out is what the engineer is there for.
    Move((S.STARTING, S.STANDBY, *RUNNING, S.TRIPPED), S.LOCKED_OUT, ("lockout",), "locked out"),
    Move((S.STARTING, S.STANDBY, *RUNNING), S.TRIPPED, ("trip",), "tripped by protection"),
    Move((S.LOCKED_OUT,), S.MAINTENANCE, ("maintenance_wanted",), "maintenance asked for"),
    Move((S.TRIPPED,), S.MAINTENANCE, ("maintenance_wanted", "all_open"), "maintenance asked for"),
    Move((S.TRIPPED,), S.STANDBY, (), "trip reset", unless=("trip",)),
    Move((S.MAINTENANCE,), S.STANDBY, (), "maintenance ended", unless=("maintenance_wanted",)),
    Move((S.STARTING,), S.STANDBY, ("inputs_judged",), "inputs judged"),
    Move((S.STANDBY,), S.MAINTENANCE, ("maintenance_wanted", "all_open"), "maintenance asked for"),
    Move((S.STANDBY,), S.CONNECTING, ("wanted",), "connect asked for", unless=("stop",)),
    Move((S.CONNECTING, S.ONLINE), S.STOPPING, ("stop",), "stopped by protection"),
    Move((S.CONNECTING, S.ONLINE), S.STOPPING, (), "disconnect asked for", unless=("wanted",)),
    Move((S.CONNECTING,), S.ONLINE, ("all_joined",), "racks connected"),
    Move((S.CONNECTING,), S.ONLINE, ("connecting_overdue", "enough_racks"), "connected without every rack"),
    Move((S.CONNECTING,), S.STOPPING, ("connecting_overdue",), "too few racks could be connected"),
    Move((S.ONLINE,), S.STOPPING, (), "too few racks are connected", unless=("enough_racks",)),
    Move((S.STOPPING,), S.STANDBY, ("all_open",), "all racks open"),
    Move((S.STOPPING,), S.STANDBY, ("stopping_overdue",), "racks did not open in time"),
)


@dataclasses.dataclass(slots=False)
class SiteView:
    """What the site table's guards look at; MEANING says it in words."""

    state: str = S.STARTING.name
    lockout: bool = False
    trip: bool = False
    stop: bool = False
    wanted: bool = False
    maintenance_wanted: bool = False
    inputs_judged: bool = False
    all_joined: bool = False
    enough_racks: bool = False
    all_open: bool = False
    connecting_overdue: bool = False
    stopping_overdue: bool = False
    step: Any = None

    MEANING: ClassVar[dict[str, str]] = {
        "lockout": "a row with LOCKOUT acts on the whole site",
        "trip": "a row with TRIP acts on the whole site",
        "stop": "a row with STOP acts on the whole site",
        "wanted": "an operator asked for Connect and nobody for Disconnect since",
        "maintenance_wanted": "an engineer asked for maintenance",
        "inputs_judged": "1 s has passed and no rack is tripped, or 10 s have passed",
        "all_joined": "some rack is closed, and none that could join is still on its way",
        "enough_racks": "at least `connection.least_racks` are closed",
        "all_open": "no rack is energised, and no contactor is seen closed",
        "connecting_overdue": "all attempts of all racks could have been made",
        "stopping_overdue": "40 s have passed",
    }
