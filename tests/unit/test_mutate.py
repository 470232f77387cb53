"""That the proof by changed code and by coverage can be done again: its lists name what there is."""

from __future__ import annotations

import fnmatch
import re

from tools.mutate.__main__ import TESTS
from tools.mutate.changes import ROOT, keys
from tools.mutate.equivalent import EQUIVALENT

ROOMS = ("protect", "sequence")


def test_what_changes_nothing_is_still_a_change() -> None:
    """Else the module could not be tried at all."""
    listed = {module: f"{module.rpartition('core.')[2]} " for module in TESTS}
    tried = {m for m, prefix in listed.items() if any(key.startswith(prefix) for key in EQUIVALENT)}
    assert set(EQUIVALENT) - {key for module in tried for key in keys(module)} == set()


def test_every_part_of_protection_and_sequences_is_tried() -> None:
    folders = [ROOT / "controller" / "core" / room for room in ROOMS]
    modules = [f"controller.core.{path.parent.name}.{path.stem}" for f in folders for path in f.glob("[!_]*.py")]
    assert [module for module in modules if module not in TESTS and keys(module)] == []


def test_coverage_is_that_of_the_same_tests() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    target = makefile.partition("\ncoverage:")[2].partition("\n\n")[0].split()
    tests = [word for word in target if word.startswith("tests/")]
    parts = re.findall(r"controller/core/[\w/*.]+", makefile)
    tried = {module for module in TESTS if any(fnmatch.fnmatch(f"{module.replace('.', '/')}.py", p) for p in parts)}
    wanted = {test for module in tried for test in TESTS[module]}
    assert {test for test in wanted if not any(fnmatch.fnmatch(test, pattern) for pattern in tests)} == set()
    assert [pattern for pattern in (*tests, *parts) if not list(ROOT.glob(pattern))] == []
