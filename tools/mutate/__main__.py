"""`python -m tools.mutate [--only MODULE] [--most N] [--seed S] [--part 1/2]` prints survivors and a score per module.

First one traced run tells which tests run which lines. Then every mutant gets a fork of a process that has loaded all
tests: the changed function's code is swapped in, and the tests that run the changed lines follow, those that are named
like the function first, then the quickest, until one fails. A change in what runs already when tests are loaded is
tried in a process that has loaded nothing yet. Nothing on disk is touched.
"""

from __future__ import annotations

import argparse
import os
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
from tools.mutate.reach import Reached, Tracer

CAUSES: Final = ("tests/unit/test_protect_causes.py", "tests/unit/test_protect_trend.py")
STORIES: Final = ("tests/scenario/test_protection.py",)
CONNECTING: Final = ("tests/scenario/test_connecting.py",)
OWN: Final = ("tests/scenario/test_own_contactors.py",)
SEQUENCES: Final = ("tests/scenario/test_sequences.py", "tests/scenario/test_transitions.py")
REFUSALS: Final = ("tests/scenario/test_refusals.py",)
TESTS: Final = {
    "controller.core.protect.engine": STORIES,
    "controller.core.protect.facts": (*CAUSES, *STORIES),
    "controller.core.protect.flow": CAUSES,
    "controller.core.protect.limits": ("tests/scenario/test_power.py",),
    "controller.core.protect.plausible": (*CAUSES, *OWN),
    "controller.core.protect.relations": ("tests/unit/test_annunciate.py", "tests/scenario/test_alarm_groups.py"),
    "controller.core.protect.trend": CAUSES,
    "controller.core.sequence.closing": OWN,
    "controller.core.sequence.connect": (*CONNECTING, *OWN),
    "controller.core.sequence.engine": SEQUENCES,
    "controller.core.sequence.ledger": CONNECTING,
    "controller.core.sequence.rejoin": ("tests/scenario/test_rejoin.py",),
    "controller.core.sequence.requests": (*REFUSALS, *SEQUENCES),
    "controller.core.sequence.stage": (*SEQUENCES, *CONNECTING),
}
"""What is changed, and which tests must notice; the tables beside them (matrix, rack, site) are data, compared with
their stories by tests."""
TOO_LONG: Final = "Balancing or filter_nears or counted_charge or another_voltage_is_not or healthy_hour or heat_goes"
"""Tests of other things in those files that take long."""
EXAMPLES: Final = "10"
TRACED_S, FOREVER_S = 1800.0, 1e9
SHORT_WORD: Final = 3
"""Tests named by a longer word of the changed function's name come first."""
PATIENCE_S: Final = 300
"""A mutant that makes its tests hang counts as noticed."""
MOST_TESTS_S: Final = 120.0
"""CPU time of the tests that one mutant is given, by their time on the unchanged code."""
SURVIVED, KILLED = 0, 1
QUIET: Final = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", f"not ({TOO_LONG})")


def main() -> int:
    """Prints survivors and the score of each module; 1 when a mutant survived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--most", type=int, default=0, help="try only so many mutants, chosen by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", help="part of a module's name, such as `protect` or `ledger`")
    parser.add_argument("--part", default="1/1", help="share of a run, e.g. 1/2 and 2/2 on two cores")
    args = parser.parse_args()
    os.chdir(ROOT)
    os.environ.setdefault("CELLWARDEN_EXAMPLES", EXAMPLES)
    modules = [m for m in TESTS if not args.only or any(part in m for part in args.only)]
    everything = [mutant for module in modules for mutant in mutants(module)]
    Random(args.seed).shuffle(everything)
    part, parts = (int(x) for x in args.part.split("/"))
    chosen = everything[: args.most or None][part - 1 :: parts]
    killed = 0
    for module in modules:
        killed += _module(module, [m for m in chosen if m.module == module])
    print(f"score {killed}/{len(chosen)} = {killed / max(len(chosen), 1):.1%} (of {len(everything)} possible)")
    return int(killed < len(chosen))


def _module(module: str, chosen: Sequence[Mutant]) -> int:
    """How many of a module's mutants are noticed, and one line about it."""
    if not chosen:
        return 0
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "reached.json"
        # In a process of its own, so that nothing is remembered that a mutant would have made otherwise.
        if _fork(lambda: _session(module, Tracer([module], told), "--timeout", "0"), TRACED_S) != 0:
            failed = told.with_suffix(".failed")
            why = failed.read_text("utf-8") if failed.exists() else ""
            raise RuntimeError(f"the tests of {module} do not pass without a mutant: {why}")
        done = Path(folder) / "killed"
        _fork(lambda: _session(module, _Loop(chosen, TESTS[module], Reached.read(told), done)), FOREVER_S, quiet=False)
        killed = int(done.read_text("utf-8"))
    print(f"{module}: {killed}/{len(chosen)} = {killed / len(chosen):.1%}", flush=True)
    return killed


def _session(module: str, plugin: object, *options: str) -> int:
    return int(pytest.main([*TESTS[module], *QUIET, *options], plugins=[plugin]))


def _fork(work: Callable[[], int], patience_s: float = PATIENCE_S, *, quiet: bool = True) -> int:
    """Exit code of `work` in a process of its own; KILLED when it takes too long."""
    pid = os.fork()
    if pid == 0:
        code = KILLED
        try:
            os.setpgid(0, 0)
            if quiet:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 1)
                os.dup2(nowhere, 2)
            code = work()
        finally:
            os._exit(code)
    end = time.monotonic() + patience_s
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

    def __init__(self, chosen: Sequence[Mutant], tests: Sequence[str], reached: Reached, done: Path) -> None:
        self.chosen, self.tests, self.reached, self.done = chosen, tests, reached, done

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try every mutant."""
        items = {item.nodeid: item for item in session.items}
        session.config.pluginmanager.getplugin("capturemanager").suspend_global_capture(in_=True)
        quickest = sorted(items.values(), key=lambda item: self.reached.seconds[item.nodeid])
        if _fork(lambda: _swapped(lambda: None, quickest), TRACED_S) != SURVIVED:
            raise RuntimeError("the tests fail without a mutant when they run in another order")
        killed = 0
        for number, mutant in enumerate(self.chosen, 1):
            if self._verdict(mutant, items) == SURVIVED:
                print(f"\nsurvived: {mutant.name}", flush=True)
            else:
                killed += 1
            print(f"\r{number}/{len(self.chosen)} killed {killed} ", end="", file=sys.stderr, flush=True)
        self.done.write_text(str(killed), "utf-8")
        return True

    def _verdict(self, mutant: Mutant, items: dict[str, pytest.Item]) -> int:
        lines = set(range(mutant.line, mutant.last + 1))
        seconds = self.reached.seconds
        tests = [t for t, of in self.reached.lines.items() if of.get(mutant.module, set()) & lines]
        words = [word for word in mutant.function.lower().split("_") if len(word) > SHORT_WORD]
        tests.sort(key=lambda t: (not any(word in t.lower() for word in words), seconds[t]))
        tests = _cheapest(tests, seconds)
        swap = swapper(mutant)
        if tests and _fork(lambda: _swapped(swap, [items[t] for t in tests])) != SURVIVED:
            return KILLED
        if not self.reached.at_import.get(mutant.module, set()) & lines:
            return SURVIVED
        return _fresh(mutant, tests or self.tests)


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
        done = subprocess.run(command, capture_output=True, timeout=3 * PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        return KILLED
    return KILLED if done.returncode else SURVIVED


if __name__ == "__main__":
    raise SystemExit(main())
