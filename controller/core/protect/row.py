"""What a row of the cause & effect table says."""

from __future__ import annotations

import dataclasses
from enum import Enum, IntEnum

from controller.core.effect import OPENING, Effect
from controller.core.image_warnings import Fault
from controller.core.protect.look import Condition, Quantity
from controller.core.signal import Bools, Floats, Ints


class Reset(Enum):
    """Who may end a row once its cause has gone."""

    SELF = "by itself at the clear threshold"
    OPERATOR = "by an operator, once clear"
    MAINTENANCE = "by an engineer in MAINTENANCE mode, once clear"
    LOCAL = "by an operator, once the local device has been reset"


class Priority(IntEnum):
    """Alarm priorities per ISA-18.2, OPC UA severity in the name of the constant."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluation:
    """A cause at every place of its row, flattened."""

    present: Bools
    clear: Bools
    value: Floats
    limit: Floats
    element: Ints


@dataclasses.dataclass(frozen=True, slots=True)
class Threshold:
    """A quantity beyond a threshold of a band: `over` above, else below. `at` is "operate", "warn" or "trip".

    Present beyond the threshold; clear only behind the band's clear threshold *and* with data at hand.
    """

    quantity: Quantity
    band: str
    over: bool
    at: str = "trip"


@dataclasses.dataclass(frozen=True, slots=True)
class When:
    """A condition that is present or not: value 1 where present, limit 1."""

    condition: Condition


@dataclasses.dataclass(frozen=True, slots=True)
class Warned:
    """A fault that early warning suspects somewhere in the rack: value 1 where it does, limit 1."""

    fault: Fault
    words: str


Cause = Threshold | When | Warned


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """The whole truth about one hazard.

    place: module, rack, pcs, bus or site. effect acts on the place's rack (the bank's racks for a PCS, all for the
    site); bank_effect on every rack of the bank. delay: ms, or the name of a setting; None takes the band's.
    explained_by: rows whose presence above, around or on the bus of this place makes this alarm their consequence;
    it is then told with theirs, and acts all the same. alarm_after_ms, alarm_until_ms: how long the row must act
    before it is told to people, and be over before it is told to have returned, on top of the row's own delay.
    """

    id: str
    place: str
    cause: Cause
    effect: Effect
    delay: int | str | None
    reset: Reset
    priority: Priority
    because: str
    advice: str
    standard: str = ""
    unit: str = ""
    bank_effect: Effect = Effect.NONE
    explained_by: tuple[str, ...] = ()
    alarm_after_ms: int = 0
    alarm_until_ms: int = 2000

    @property
    def opens(self) -> bool:
        """It opens contactors, now or after the current is gone."""
        return bool((self.effect | self.bank_effect) & OPENING)

    def delay_ms(self, facts_limit: object) -> int:
        """The on-delay in force."""
        if isinstance(self.delay, int):
            return self.delay
        if isinstance(self.delay, str):
            return int(getattr(facts_limit, self.delay))
        if isinstance(self.cause, Threshold):
            return int(getattr(facts_limit, self.cause.band).delay_ms)
        raise TypeError(f"row {self.id}: a condition needs a delay")
