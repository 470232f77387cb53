"""All chosen cases, one after the other, on one controller as long as it stays usable."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

from plc_config.compile import Compiled
from tools.fat.cases import CASES, Case
from tools.fat.clocked import LONG, LongCase
from tools.fat.judge import Verdict, aftermath, judge
from tools.fat.plan import Planned, plan
from tools.fat.rig import TROUBLE, Rig, RigError
from tools.fat.trial import NotReady, prepare, run_trial
from tools.pair import operator_of

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
Tell = Callable[[str, int], None]


@dataclasses.dataclass(slots=True)
class CaseResult:
    """A case, its trials as they were bound to the site, and what each of them showed."""

    case: Case
    trials: list[Planned] = dataclasses.field(default_factory=list)
    verdicts: list[Verdict] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Every trial passed."""
        return bool(self.verdicts) and all(v.passed for v in self.verdicts)


def chosen(names: Sequence[str]) -> tuple[Case, ...]:
    """Cases whose id or row is among the names, all without names; KeyError with a name that nothing has."""
    for name in names:
        if not any(name in (c.id, c.row) for c in (*CASES, *LONG)):
            raise KeyError(name)
    return tuple(c for c in CASES if not names or c.id in names or c.row in names)


def chosen_long(names: Sequence[str], part: Part) -> tuple[LongCase, ...]:
    """The same of the cases on the simulated clock; each is done once, spread over the shares of a campaign."""
    mine = LONG[part.number - 1 :: part.of]
    return tuple(c for c in mine if not names or c.id in names or c.row in names)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Share `number` of `of` of a campaign: the shares together are its trials, each once."""

    number: int = 1
    of: int = 1

    @staticmethod
    def parse(text: str) -> Part:
        """`2/4`; ValueError otherwise."""
        number, _, of = text.partition("/")
        part = Part(int(number), int(of))
        if not 1 <= part.number <= part.of:
            raise ValueError(text)
        return part

    def trials(self, case: Case, repeat: int) -> range:
        """Numbers of this share's trials of a case. Slow cases are done once, spread over the shares."""
        if case.slow:
            return range(1 if CASES.index(case) % self.of == self.number - 1 else 0)
        return range(self.number - 1, repeat, self.of)


WHOLE: Final = Part()


def refusal(site: Compiled) -> str:
    """Why faults must not or cannot be injected at this site; empty when they may: all its devices are simulated."""
    real = [b.name for b in site.plan.buses if not b.serial and b.host not in LOOPBACK]
    if real:
        return f"bus {', '.join(real)} is not on this machine: `fat` never touches real devices"
    if not site.config.site.simulated:
        return "the site does not say `simulated: true`: `fat` never touches real devices"
    try:
        operator_of(site)
    except ValueError as error:
        return str(error)
    return ""


class Campaign:
    """Runs cases and remembers which of them left the controller unusable."""

    def __init__(
        self, name: str, site: Compiled, repeat: int, seed: int, log: Path, tell: Tell, part: Part = WHOLE
    ) -> None:
        self.name, self.site, self.repeat, self.seed, self.part = name, site, repeat, seed, part
        self.log, self.tell = log, tell
        self.rig: Rig | None = None
        self.fresh = True
        self.previous: CaseResult | None = None
        self.results: list[CaseResult] = []
        self.controllers = 0

    async def run(self, cases: Sequence[Case]) -> list[CaseResult]:
        """The results in the order of the cases; everything is ended afterwards."""
        try:
            for case in cases:
                result = CaseResult(case)
                self.results.append(result)
                for number in self.part.trials(case, self.repeat):
                    self.tell(case.id, number)
                    random = self._random(case, number)
                    planned = plan(case, self.site, random)
                    verdict = await self._trial(planned, random, result)
                    result.trials.append(planned)
                    result.verdicts.append(verdict)
                if case.fresh_after and result.verdicts:
                    result.remarks.append("ends with a fresh controller, by design")
                    await self._drop()
        finally:
            await self._drop()
            self.results = [r for r in self.results if r.verdicts]
        return self.results

    def _random(self, case: Case, number: int) -> Random:
        """Of its own for every trial, so that one case alone is repeated exactly."""
        return Random(f"{self.seed}/{case.id}/{number}")

    async def _trial(self, planned: Planned, random: Random, result: CaseResult) -> Verdict:
        try:
            return await self._attempt(planned, random, result)
        except NotReady as error:
            if self.fresh:
                return Verdict("site", None, None, None, (f"could not begin: {error}",))
            blamed = self.previous or result
            blamed.remarks.append(f"the controller had to be replaced afterwards: {error}")
            await self._drop()
        try:
            return await self._attempt(planned, random, result)
        except NotReady as error:
            await self._drop()
            return Verdict("site", None, None, None, (f"could not begin: {error}",))

    async def _attempt(self, planned: Planned, random: Random, result: CaseResult) -> Verdict:
        if self.rig is None:
            self.controllers += 1
            self.fresh = True
            self.rig = Rig(self.name, self.log)
            try:
                await self.rig.open()
            except RigError as error:
                await self._drop()
                if self.controllers == 1:
                    raise
                raise NotReady(str(error)) from error
        before = await prepare(self.rig, planned)
        if not self.fresh and self.previous is not None and self.previous.verdicts:
            self.previous.verdicts[-1] = aftermath(
                self.previous.verdicts[-1], before.events, before.ready_s, before.again
            )
        try:
            trial = await run_trial(self.rig, planned, random)
        except TROUBLE as error:
            result.remarks.append(f"the controller was replaced: {error}")
            await self._drop()
            return Verdict("site", None, None, None, (f"the trial broke off: {error!r}",))
        self.fresh, self.previous = False, result
        return judge(planned, trial)

    async def _drop(self) -> None:
        rig, self.rig = self.rig, None
        if rig is not None:
            with contextlib.suppress(RigError):
                await rig.close()
