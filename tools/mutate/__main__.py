"""`python -m tools.mutate [--only MODULE] [--each N] [--seed S] [--part 1/2]`: survivors, and a score per module.

First one traced run tells which tests run which lines. Then every mutant gets a fork of a process that has loaded all
tests: the changed function's code is swapped in, and the tests that run the changed lines follow, those that are named
like the function first, then the quickest, until one fails. A change in what runs already when tests are loaded is
tried in a process that has loaded nothing yet. Nothing on disk is touched.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

import pytest
from _pytest.runner import runtestprotocol

from tools.mutate.changes import ROOT, Mutant, mutants, swapper
from tools.mutate.equivalent import EQUIVALENT
from tools.mutate.reach import Reached, Tracer

CAUSES: Final = (
    "tests/unit/test_protect_causes.py",
    "tests/unit/test_protect_quantities.py",
    "tests/unit/test_protect_trend.py",
)
FOLLOWED: Final = ("tests/unit/test_protect_trend.py", "tests/unit/test_protect_witnesses.py")
ENGINE: Final = ("tests/unit/test_protect_engine.py", "tests/unit/test_protect_latches.py")
TABLES: Final = ("tests/unit/test_sequence_tables.py",)
TESTS: Final = {
    "controller.app.driving": ("tests/unit/test_driving.py",),
    "controller.core.authority": ("tests/scenario/test_two_masters.py",),
    "controller.core.balance": ("tests/unit/test_balance.py",),
    "controller.core.compose": ("tests/unit/test_compose.py",),
    "controller.core.dispatch": ("tests/unit/test_dispatch.py", "tests/unit/test_setpoints.py"),
    "controller.core.protect.contactors": (
        "tests/unit/test_protect_contactors.py",
        "tests/scenario/test_stalled_link.py",
    ),
    "controller.core.protect.engine": ENGINE,
    "controller.core.protect.facts": ("tests/unit/test_protect_facts.py", *ENGINE),
    "controller.core.protect.flow": ("tests/unit/test_protect_told.py", *CAUSES, *FOLLOWED),
    "controller.core.protect.limits": ("tests/unit/test_limits.py",),
    "controller.core.protect.live": ("tests/unit/test_protect_live.py",),
    "controller.core.protect.matrix": ("tests/unit/test_matrix.py",),
    "controller.core.protect.plausible": CAUSES,
    "controller.core.protect.relations": ("tests/unit/test_relations.py",),
    "controller.core.protect.row": (*CAUSES, *ENGINE),
    "controller.core.protect.told": ("tests/unit/test_protect_told.py", *CAUSES),
    "controller.core.protect.trend": FOLLOWED,
    "controller.core.protect.witness": ("tests/scenario/test_lost_witness.py",),
    "controller.core.sequence.closing": ("tests/scenario/test_own_contactors.py",),
    "controller.core.sequence.connect": ("tests/unit/test_joining.py",),
    "controller.core.sequence.engine": TABLES,
    "controller.core.sequence.ledger": ("tests/unit/test_ledger.py",),
    "controller.core.sequence.rack": TABLES,
    "controller.core.sequence.rejoin": ("tests/unit/test_rejoin_rules.py",),
    "controller.core.sequence.requests": ("tests/unit/test_requests.py",),
    "controller.core.sequence.site": TABLES,
    "controller.core.sequence.stage": (
        "tests/unit/test_stage.py",
        "tests/unit/test_stage_site.py",
        "tests/unit/test_bank_begins.py",
    ),
    "controller.core.extremes": ("tests/unit/test_validate.py",),
    "controller.core.unchanged": ("tests/unit/test_unchanged.py",),
    "controller.core.validate": ("tests/unit/test_validate.py",),
}
"""What is changed, and which tests must notice: those that tell what the module is for, not those that compare a table
with its printed copy. `look` has nothing that could be changed."""
TOO_LONG: Final = "heat_goes"
"""Tests in those files that take long and see nothing that others do not."""
EXAMPLES: Final = "10"
TRACED_S, FOREVER_S = 1800.0, 1e9
SHORT_WORD: Final = 3
"""Tests named by a longer word of the changed function's name come first."""
PATIENCE_S: Final = 300
"""CPU time; a mutant that makes its tests hang counts as noticed, a machine that is busy with other things does not."""
IDLE: Final = 20
"""Times the patience that may pass on the clock, for one that waits and computes nothing."""
MOST_TESTS_S: Final = 40.0
"""CPU time of the tests that one mutant is given, by their time on the unchanged code."""
SURVIVED, KILLED = 0, 1
QUIET: Final = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout", "0", "-k", f"not ({TOO_LONG})")
"""Without a timeout of their own: the clock of a busy machine notices nothing, see `PATIENCE_S`."""


def main() -> int:
    """Prints survivors and the score of each module; 1 when a mutant survived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--each", type=int, default=0, help="try only so many of each module, chosen by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", help="part of a module's name, such as `protect` or `ledger`")
    parser.add_argument("--part", default="1/1", help="share of a run, e.g. 1/2 and 2/2 on two cores")
    args = parser.parse_args()
    os.chdir(ROOT)
    os.environ.setdefault("CELLWARDEN_EXAMPLES", EXAMPLES)
    modules = [m for m in TESTS if not args.only or any(part in m for part in args.only)]
    everything = [mutant for module in modules for mutant in _sample(module, args.each, args.seed)]
    Random(args.seed).shuffle(everything)
    part, parts = (int(x) for x in args.part.split("/"))
    chosen = everything[part - 1 :: parts]
    tried = [m for m in chosen if m.key not in EQUIVALENT]
    survived = _survivors([m for m in tried if not m.declared]) | _surviving_tables([m for m in tried if m.declared])
    for module in modules:
        print(f"{module}: {_score([m for m in chosen if m.module == module], survived)}")
    print(f"all: {_score(chosen, survived)}")
    return int(bool(survived))


def _score(chosen: Sequence[Mutant], survived: set[str]) -> str:
    """How many were tried, how many of them change nothing, how many were noticed, and how many more were not."""
    equivalent, left = sum(m.key in EQUIVALENT for m in chosen), sum(m.key in survived for m in chosen)
    killed = len(chosen) - equivalent - left
    share = killed / max(killed + left, 1)
    return f"tried {len(chosen)}, killed {killed}, equivalent {equivalent}, survived {left}: {share:.0%}"


def _sample(module: str, most: int, seed: int) -> list[Mutant]:
    """Mutants of one module; which ones depends on no other module."""
    found = list(mutants(module))
    here = module.rpartition("core.")[2] + " "
    gone = {key for key in EQUIVALENT if key.startswith(here)} - {m.key for m in found}
    if gone:
        raise ValueError(f"no longer a mutant, so take it off the list of equivalent ones: {sorted(gone)}")
    return Random(seed).sample(found, min(most, len(found))) if most else found


def _surviving_tables(chosen: Sequence[Mutant]) -> set[str]:
    """Keys of the changes of tables that are not noticed; they are printed."""
    survived = set[str]()
    for mutant in chosen:
        if _fresh(mutant, TESTS[mutant.module]) == SURVIVED:
            print(f"survived: {mutant.name}", flush=True)
            survived.add(mutant.key)
    return survived


def _survivors(chosen: Sequence[Mutant]) -> set[str]:
    """Keys of the changes of functions that are not noticed; they are printed."""
    if not chosen:
        return set()
    modules = sorted({m.module for m in chosen})
    tests = tuple(dict.fromkeys(test for module in modules for test in TESTS[module]))
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "reached.json"
        # In a process of its own, so that nothing is remembered that a mutant would have made otherwise.
        if _fork(lambda: _session(tests, Tracer(modules, told)), TRACED_S) != 0:
            failed = told.with_suffix(".failed")
            why = failed.read_text("utf-8") if failed.exists() else ""
            raise RuntimeError(f"the tests do not pass without a mutant: {why}")
        done = Path(folder) / "survived"
        _fork(lambda: _session(tests, _Loop(chosen, Reached.read(told), done)), FOREVER_S, quiet=False)
        return set(done.read_text("utf-8").splitlines())


def _session(tests: Sequence[str], plugin: object) -> int:
    return int(pytest.main([*tests, *QUIET], plugins=[plugin]))


def _fork(work: Callable[[], int], patience_s: float = PATIENCE_S, *, quiet: bool = True) -> int:
    """Exit code of `work` in a process of its own; not 0 when it computes for too long."""
    pid = os.fork()
    if pid == 0:
        code = KILLED
        try:
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_CPU, (int(patience_s), int(patience_s)))
            if quiet:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 1)
                os.dup2(nowhere, 2)
            code = work()
        finally:
            os._exit(code)
    end = time.monotonic() + IDLE * patience_s
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return KILLED


class _Loop:
    """A pytest plugin: instead of the tests the mutants are run, each against the tests that reach it."""

    def __init__(self, chosen: Sequence[Mutant], reached: Reached, done: Path) -> None:
        self.chosen, self.reached, self.done = chosen, reached, done

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try every mutant."""
        items = {item.nodeid: item for item in session.items}
        session.config.pluginmanager.getplugin("capturemanager").suspend_global_capture(in_=True)
        used = {test for mutant in self.chosen for test in self._tests(mutant)}
        quickest = [items[test] for test in sorted(used, key=self.reached.seconds.__getitem__)]
        if _fork(lambda: _swapped(lambda: None, quickest), TRACED_S) != SURVIVED:
            raise RuntimeError("the tests fail without a mutant when they run in another order")
        survived = []
        for number, mutant in enumerate(self.chosen, 1):
            if self._verdict(mutant, items) == SURVIVED:
                survived.append(mutant.key)
                print(f"\nsurvived: {mutant.name}", flush=True)
            print(f"\r{number}/{len(self.chosen)} survived {len(survived)} ", end="", file=sys.stderr, flush=True)
        self.done.write_text("\n".join(survived), "utf-8")
        return True

    def _tests(self, mutant: Mutant) -> list[str]:
        """The tests of the module that run the changed lines: those named like the function, then the quickest."""
        lines, seconds = mutant.lines, self.reached.seconds
        tests = [
            test for test, of in self.reached.lines.items()
            if test.partition("::")[0] in TESTS[mutant.module] and of.get(mutant.module, set()) & lines
        ]  # fmt: skip
        words = [word for word in mutant.function.lower().split("_") if len(word) > SHORT_WORD]
        tests.sort(key=lambda t: (not any(word in t.lower() for word in words), seconds[t]))
        return _cheapest(tests, seconds)

    def _verdict(self, mutant: Mutant, items: dict[str, pytest.Item]) -> int:
        tests, swap = self._tests(mutant), swapper(mutant)
        if tests and _fork(lambda: _swapped(swap, [items[t] for t in tests])) != SURVIVED:
            return KILLED
        if not self.reached.at_import.get(mutant.module, set()) & mutant.lines:
            return SURVIVED
        return _fresh(mutant, tests or TESTS[mutant.module])


def _cheapest(tests: Sequence[str], seconds: dict[str, float]) -> list[str]:
    spent, chosen = 0.0, list[str]()
    for test in tests:
        spent += seconds[test]
        if spent > MOST_TESTS_S and chosen:
            break
        chosen.append(test)
    return chosen


def _swapped(swap: Callable[[], None], items: Sequence[pytest.Item]) -> int:
    """KILLED at the first test that fails with the changed function."""
    swap()
    for item in items:
        if any(report.failed for report in runtestprotocol(item, log=False)):
            return KILLED
    return SURVIVED


def _fresh(mutant: Mutant, tests: Sequence[str]) -> int:
    """The same in an interpreter that loads the changed module from the start."""
    command = [sys.executable, "-m", "tools.mutate.fresh", mutant.module, str(mutant.number), *tests]
    try:
        done = subprocess.run(command, capture_output=True, timeout=IDLE * PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        return KILLED
    return KILLED if done.returncode else SURVIVED


if __name__ == "__main__":
    raise SystemExit(main())
