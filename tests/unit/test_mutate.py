"""That the proof by changed code and by coverage can be done again: its lists name what there is."""

from __future__ import annotations

import fnmatch

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
    target = (ROOT / "Makefile").read_text("utf-8").partition("\ncoverage:")[2].partition("\n\n")[0].split()
    patterns = [word for word in target if word.startswith("tests/")]
    of_rooms = {test for module, tests in TESTS.items() if module.split(".")[-2] in ROOMS for test in tests}
    assert {test for test in of_rooms if not any(fnmatch.fnmatch(test, p) for p in patterns)} == set()
    assert [pattern for pattern in patterns if not list(ROOT.glob(pattern))] == []
