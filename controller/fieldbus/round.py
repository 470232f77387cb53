"""One round: the FAST reads of a cycle, which of them are still to be asked, and how long a round takes.

What is guaranteed: a round is over when every read of it was answered or given up; whoever failed lately is asked last,
so that nobody waits behind his next time-out; what a lost link left unasked is asked in the same cycle once more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from controller.fieldbus.request import MS_PER_S, Request
from controller.fieldbus.unit import FAILURES, Unit

EXPECTED_DECAY: Final = 0.02
"""How fast the expected duration of a round follows a shorter one; a longer one counts at once."""


class Round:
    """The running round of a bus, or the last one. `at`: the next to be asked; `unfinished`: reads without an end.

    `behind`: the next round was due while this one ran. `clean`: nothing has failed, so its duration tells something.
    """

    __slots__ = (
        "_left", "_left_cycle", "_planned_s", "at", "began_s", "behind", "clean", "expected_s", "number", "requests",
        "unfinished",
    )  # fmt: skip

    def __init__(self, planned_ms: float) -> None:
        self.expected_s = self._planned_s = planned_ms / MS_PER_S
        self.began_s = 0.0
        self.requests: list[Request] = []
        self.number = self.at = self.unfinished = 0
        self.behind, self.clean = False, True
        self._left: list[Request] = []
        self._left_cycle = 0

    def begin(self, units: Iterable[Unit], cycle: int, now_s: float) -> list[Request]:
        """A new round; what it shall read, in order."""
        self.number += 1
        self.behind, self.clean, self.began_s = False, True, now_s
        trusted: list[Request] = []
        troubled: list[Request] = []
        for unit in units:
            if unit.failures < FAILURES:
                order = trusted if unit.trusted_cycle <= cycle else troubled
                order += [r for r in unit.fast if r.due_cycle <= cycle]
        return trusted + troubled

    def ask(self, requests: list[Request]) -> None:
        """These are to be read."""
        for request in requests:
            request.in_round = True
        self.requests, self.at, self.unfinished = requests, 0, len(requests)

    def over(self, now_s: float) -> None:
        """All reads have ended: learn how long a round takes."""
        if self.clean:
            took_s = now_s - self.began_s
            slower_s = self.expected_s + EXPECTED_DECAY * (took_s - self.expected_s)
            self.expected_s = max(took_s, slower_s, self._planned_s)

    def cut(self, cycle: int) -> bool:
        """The link is lost: the round ends here. True when it was running."""
        if self.at < len(self.requests):
            self._left, self._left_cycle = self.requests[self.at :], cycle
            for request in self._left:
                request.in_round = False
            self.at = len(self.requests)
        running, self.unfinished, self.behind = self.unfinished > 0, 0, False
        return running

    def rest(self, cycle: int) -> list[Request]:
        """What a link lost in this cycle left unasked, once: one unit has cost the link, the others must not pay."""
        left, self._left = self._left, []
        if self._left_cycle != cycle or self.unfinished:
            return []
        return [r for r in left if r.unit.failures < FAILURES]
