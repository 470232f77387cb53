"""Mutation testing of the protection: one small change at a time, and the tests must notice.

`python -m tools.mutate [--most N] [--seed S] [--only MODULE]` prints the survivors and the score. Every mutant runs in
a forked process that loads the changed module in place of the true one; nothing on disk is touched.
"""

from __future__ import annotations

import argparse
import ast
import copy
import dataclasses
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, Final

PACKAGE: Final = "controller.core.protect"
ROOT: Final = Path(__file__).parents[1]
CAUSES: Final = "tests/unit/test_protect_causes.py"
STORIES: Final = "tests/scenario/test_protection.py"
PROPERTIES: Final = "tests/property/test_protection.py"
TESTS: Final = {
    "flow": ((CAUSES,),),
    "trend": ((CAUSES, "-k", "TestTrend or TestHeat or TestFlow"), (STORIES, "-k", "stuck or noisy or precharge")),
    "plausible": ((CAUSES, "-k", "{function}"), (STORIES, "-k", "{function}")),
    "engine": ((STORIES, "-k", "TestReset or chatter or first_out or spike or door or overvoltage"), (PROPERTIES,)),
    "limits": (("tests/scenario/test_power.py",), (PROPERTIES,)),
}
"""Which tests must notice a change in a module, cheapest first; `{function}` is the changed function's name."""
PATIENCE_S: Final = 180.0
SWAPS: Final[dict[type, type]] = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NAMES: Final = {"maximum": "minimum", "minimum": "maximum", "any": "all", "all": "any", "max": "min", "min": "max"}
SURVIVED, KILLED, LATE = 0, 1, 2


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    """One change: in which module and function, at which line, what, and the changed module."""

    module: str
    function: str
    line: int
    what: str
    tree: ast.Module


def mutants(module: str) -> Iterator[Mutant]:
    """Every single change of a module's functions."""
    source = (ROOT / PACKAGE.replace(".", "/") / f"{module}.py").read_text("utf-8")
    tree = ast.parse(source)
    spans = [(f.lineno, f.end_lineno or f.lineno, f.name) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef)]
    for number, node in enumerate(ast.walk(tree)):
        line = getattr(node, "lineno", 0)
        inside = [name for begin, end, name in spans if begin <= line <= end]
        for what, change in _changes(node) if inside else ():
            changed = copy.deepcopy(tree)
            change(next(n for i, n in enumerate(ast.walk(changed)) if i == number))
            yield Mutant(module, inside[-1], line, what, ast.fix_missing_locations(changed))


def _changes(node: ast.AST) -> Iterator[tuple[str, Any]]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        new = SWAPS[type(node.ops[0])]
        yield f"{type(node.ops[0]).__name__} -> {new.__name__}", lambda n: n.ops.__setitem__(0, new())
    elif isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in SWAPS:
        new = SWAPS[type(node.op)]
        yield f"{type(node.op).__name__} -> {new.__name__}", lambda n: setattr(n, "op", new())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert | ast.Not):
        yield "inverted", _double
    elif isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield f"{node.attr} -> {NAMES[node.attr]}", lambda n: setattr(n, "attr", NAMES[n.attr])
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        yield f"{node.value:g} -> {node.value + 1:g}", lambda n: setattr(n, "value", n.value + 1)


def _double(node: Any) -> None:
    node.operand = ast.UnaryOp(copy.copy(node.op), node.operand)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a changed tree."""

    def __init__(self, mutant: Mutant) -> None:
        self.name, self.tree = f"{PACKAGE}.{mutant.module}", mutant.tree

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Only the changed module."""
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed code as the module."""
        # Running code is what a mutant is for.
        exec(compile(self.tree, f"<mutant of {self.name}>", "exec"), module.__dict__)


def verdict(mutant: Mutant) -> int:
    """Whether the tests notice a mutant."""
    pid = os.fork()
    if pid == 0:
        os._exit(_try(mutant))
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return SURVIVED if status == 0 else KILLED
        time.sleep(0.05)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return LATE


def _try(mutant: Mutant) -> int:
    import pytest

    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.meta_path.insert(0, _Finder(mutant))
    for selection in TESTS[mutant.module]:
        words = [word.format(function=mutant.function) for word in selection]
        code = pytest.main([*words, "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"])
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            return KILLED
    return SURVIVED


def main() -> int:
    """Prints survivors and the score; 1 when a mutant survived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--most", type=int, default=0, help="try only so many mutants, chosen by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=TESTS, help="one module")
    parser.add_argument("--part", default="1/1", help="share of a run, e.g. 1/2 and 2/2 on two cores")
    args = parser.parse_args()
    os.chdir(ROOT)
    os.environ.setdefault("CELLWARDEN_EXAMPLES", "20")
    import hypothesis
    import numpy
    import pydantic
    import pytest
    import yaml

    _ = (hypothesis, numpy, pydantic, pytest, yaml)
    everything = [m for module in TESTS if args.only in (None, module) for m in mutants(module)]
    Random(args.seed).shuffle(everything)
    part, parts = (int(x) for x in args.part.split("/"))
    chosen = everything[: args.most or None][part - 1 :: parts]
    killed = 0
    for number, mutant in enumerate(chosen, 1):
        found = verdict(mutant)
        killed += found != SURVIVED
        if found == SURVIVED:
            print(f"survived: {mutant.module}.py:{mutant.line} {mutant.function}: {mutant.what}", flush=True)
        print(f"\r{number}/{len(chosen)} killed {killed}", end="", file=sys.stderr, flush=True)
    print(f"score {killed}/{len(chosen)} = {killed / max(len(chosen), 1):.1%} (of {len(everything)} possible)")
    return int(killed < len(chosen))


if __name__ == "__main__":
    raise SystemExit(main())
