"""What operators, engineers, SCADA and mistakes ask of the controller on a random day."""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.core.command import Command, Kind, Role
from tools.swarm.day import Day

KINDS: Final = (
    *(Kind.SET_ACTIVE_POWER,) * 24,
    *(Kind.LEAVE_MAINTENANCE, Kind.CONNECT, Kind.RESET_TRIPS) * 8,
    *(Kind.ACKNOWLEDGE, Kind.HEARTBEAT) * 4,
    *(Kind.DISCONNECT, Kind.EMERGENCY_STOP, Kind.ENTER_MAINTENANCE) * 2,
    *(Kind.SHELVE, Kind.UNSHELVE, Kind.ALARM_OUT_OF_SERVICE, Kind.ALARM_IN_SERVICE),
    *(Kind.RACK_OUT_OF_SERVICE, Kind.RACK_IN_SERVICE, Kind.RACK_IN_SERVICE),
    *(Kind.ARM_SHUTDOWN, Kind.EXECUTE_SHUTDOWN, Kind.SET_REACTIVE_POWER),
    *(Kind.TAKE_CONTROL, Kind.RELEASE_CONTROL),
)
OF_A_RACK: Final = (Kind.RACK_OUT_OF_SERVICE, Kind.RACK_IN_SERVICE)
OF_AN_ALARM: Final = (Kind.SHELVE, Kind.UNSHELVE, Kind.ALARM_OUT_OF_SERVICE, Kind.ALARM_IN_SERVICE)
BEYOND: Final = 1.1
"""Of the rated power: more than there is may be asked for."""
SPREAD: Final = 0.4
OBSERVERS: Final = 0.1
USERS: Final = ("swarm", "scada")
OTHER_USER: Final = 0.1
SHELF_S: Final = 3600.0
ENDED, TURNS = 0.05, 0.2
"""A site whose limit is below this share of the rating is empty or full; one request in five notices."""


class Requests:
    """Random commands; power leans to one direction for an hour or so."""

    def __init__(self, day: Day) -> None:
        self.day, self.lean = day, 0.0

    def turn(self) -> None:
        """Another direction, or none."""
        self.lean = float(self.day.rng.uniform(-1.0, 1.0))

    def one(self) -> Command:
        """Something that somebody might ask for."""
        day, rng = self.day, self.day.rng
        kind = KINDS[int(rng.integers(len(KINDS)))]
        role = Role.OBSERVER if rng.random() < OBSERVERS else Role.ENGINEER
        user = USERS[int(rng.random() < OTHER_USER)]
        target, value = -1, float(day.number)
        if kind is Kind.SET_ACTIVE_POWER:
            value = self._power() * day.site.config.dispatch.rated_power
        elif kind is Kind.SET_REACTIVE_POWER:
            value = float(rng.uniform(-BEYOND, BEYOND)) * day.site.config.dispatch.rated_reactive_power
        elif kind in OF_A_RACK:
            target = int(rng.integers(day.program.topology.racks))
        elif kind in OF_AN_ALARM:
            target, value = self._alarm(), float(rng.uniform(1.0, SHELF_S))
        return day.ask(kind, value, role, target, user=user)

    def _power(self) -> float:
        rng, image = self.day.rng, self.day.image
        if image is not None and rng.random() < TURNS:
            limits = image.limits
            left_w = limits.discharge_limit_w if self.lean > 0 else limits.charge_limit_w
            if left_w < ENDED * self.day.site.config.dispatch.rated_power:
                self.lean = -self.lean
        return float(np.clip(self.lean + SPREAD * rng.standard_normal(), -BEYOND, BEYOND))

    def _alarm(self) -> int:
        """One that is on the list, rather than any of the hundreds that are not."""
        day, rng = self.day, self.day.rng
        shown = np.flatnonzero(day.memory.annunciation.shown)
        if len(shown):
            return int(shown[int(rng.integers(len(shown)))])
        return int(rng.integers(len(day.program.matrix.slots)))
