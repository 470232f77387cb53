"""One device on a bus: does it answer, and when is a silent one asked again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from controller.fieldbus.outputs import Output
    from controller.fieldbus.request import Request

FAILURES: Final = 3
"""Requests in a row without a correct reply after which a unit counts as failing."""

PROBE_CYCLES_MIN: Final = 2
PROBE_CYCLES_MAX: Final = 50
PROBE_CYCLES_ALONE: Final = 5
"""Longest interval between probes while the whole bus is silent: there is nobody whom they could delay."""

DISTRUST_CYCLES: Final = 100
"""After a failure a unit is asked last in every round for this long."""

CONFIGURATION_CODES: Final = (1, 2, 3)
"""Exceptions that say: this request will never work."""

BUSY_CODES: Final = (5, 6)
GATEWAY_CODES: Final = (0x0A, 0x0B)


def refusal_pause(code: int, times: int) -> int:
    """Cycles until a read that was refused `times` times is asked again: long at once where it will never work."""
    if code in CONFIGURATION_CODES:
        return PROBE_CYCLES_MAX
    return min(PROBE_CYCLES_MIN << min(times - FAILURES, 5), PROBE_CYCLES_MAX)


class Unit:
    """Health of one unit id. A failing unit is left out of the rounds and probed with growing intervals."""

    __slots__ = (
        "backoff",
        "counts",
        "exception_codes",
        "failures",
        "fast",
        "gap_s",
        "histogram",
        "name",
        "outputs",
        "probe_cycle",
        "probes",
        "silent_round",
        "slow",
        "trusted_cycle",
        "unit",
    )

    def __init__(self, name: str, unit: int, gap_s: float) -> None:
        self.name, self.unit, self.gap_s = name, unit, gap_s
        self.counts = self.histogram = self.exception_codes = memoryview(b"")
        self.fast: list[Request] = []
        self.slow: list[Request] = []
        self.outputs: list[Output] = []
        self.failures = 0
        self.backoff = PROBE_CYCLES_MIN
        self.probe_cycle = 0
        self.probes = 0
        self.trusted_cycle = 0
        self.silent_round = -1

    @property
    def failing(self) -> bool:
        """True after FAILURES failures in a row."""
        return self.failures >= FAILURES

    def failed(self, cycle: int, alone: bool) -> bool:
        """Count a failure; True when the unit has just become a failing one."""
        self.failures += 1
        self.trusted_cycle = cycle + DISTRUST_CYCLES
        if self.failures < FAILURES:
            return False
        self.probe_cycle = cycle + min(self.backoff, PROBE_CYCLES_ALONE if alone else PROBE_CYCLES_MAX)
        self.backoff = min(2 * self.backoff, PROBE_CYCLES_MAX)
        if self.failures > FAILURES:
            return False
        for request in (*self.fast, *self.slow):
            if request.row is not None:
                request.row.lose()
        return True

    def answered(self) -> bool:
        """Count a reply; True when the unit was failing until now."""
        recovered = self.failures >= FAILURES
        self.failures = self.probes = 0
        self.backoff = PROBE_CYCLES_MIN
        if recovered:
            for request in (*self.fast, *self.slow):
                # Slow values were lost with the rest, and are wanted again before their period ends.
                request.refused = request.due_cycle = request.due_ms = 0
        return recovered

    def due(self, cycle: int) -> bool:
        """A unit without reads is probed by its writes: whether one may go now."""
        return not self.fast and not self.slow and self.probe_cycle <= cycle

    def hurry(self, cycle: int) -> None:
        """Probe at the next opportunity: the link is new."""
        self.probe_cycle = cycle


class Pulse:
    """Whether anything at all comes from the other end: when all units fall silent, it may be gone (half-open link).

    `count`: time-outs since the last sign of life.
    """

    __slots__ = ("_silent", "_units", "count")

    def __init__(self, units: int) -> None:
        self._units = units
        self._silent: set[int] = set()
        self.count = 0

    def heard(self) -> None:
        """Something came."""
        if self.count:
            self._silent.clear()
            self.count = 0

    def missed(self, unit: Unit) -> bool:
        """Count a time-out; True when every unit has been silent since the last sign of life."""
        self._silent.add(unit.unit)
        self.count += 1
        return self.count >= FAILURES and len(self._silent) >= self._units
