"""The mutants of a module: every single small change inside its functions, and how one is put into force."""

from __future__ import annotations

import ast
import copy
import dataclasses
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
SWAPS: Final[dict[type, type]] = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NAMES: Final = {"maximum": "minimum", "minimum": "maximum", "any": "all", "all": "any", "max": "min", "min": "max"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    """One change. number: which one of its module; function: qualified name of the outermost function around it;
    line, last: the changed lines."""

    module: str
    number: int
    function: str
    line: int
    last: int
    what: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """`controller/core/protect/flow.py:12 closed: any -> all`."""
        return f"{self.module.replace('.', '/')}.py:{self.line} {self.function}: {self.what}"


def mutants(module: str) -> Iterator[Mutant]:
    """Every single change of the bodies of a module's functions; defaults and decorators are left alone."""
    tree = ast.parse(source(module).read_text("utf-8"))
    where = dict(_inside(tree, ""))
    count = itertools.count()
    for number, node in enumerate(ast.walk(tree)):
        if node not in where:
            continue
        for what, change in _changes(node):
            changed = copy.deepcopy(tree)
            change(next(n for i, n in enumerate(ast.walk(changed)) if i == number))
            line = int(getattr(node, "lineno", 0))
            last = int(getattr(node, "end_lineno", 0) or line)
            yield Mutant(module, next(count), where[node], line, last, what, ast.fix_missing_locations(changed))


def source(module: str) -> Path:
    """The module's file."""
    return ROOT / (module.replace(".", "/") + ".py")


def _inside(node: ast.AST, prefix: str) -> Iterator[tuple[ast.AST, str]]:
    """Every node of a function's body, with the outermost function's qualified name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            for statement in child.body:
                yield from ((n, prefix + child.name) for n in ast.walk(statement))
        elif isinstance(child, ast.ClassDef):
            yield from _inside(child, f"{prefix}{child.name}.")


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[Any], Any]]]:
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
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} -> {not node.value}", lambda n: setattr(n, "value", not n.value)


def _double(node: Any) -> None:
    node.operand = ast.UnaryOp(copy.copy(node.op), node.operand)


# -- in force --------------------------------------------------------------------------------------------------


def swapper(mutant: Mutant) -> Callable[[], None]:
    """Gives the loaded function the changed code when called; whoever holds the function has the change at once."""
    whole = compile(mutant.tree, f"<mutant of {mutant.module}>", "exec")
    code = next(c for c in _codes(whole) if c.co_qualname == mutant.function)
    function = _function(importlib.import_module(mutant.module), mutant.function)
    if code.co_freevars != function.__code__.co_freevars:
        raise TypeError(f"{mutant.name}: the function closes over something")
    return lambda: setattr(function, "__code__", code)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _function(module: ModuleType, path: str) -> FunctionType:
    found: Any = module
    for name in path.split("."):
        found = getattr(found, name)
    found = getattr(found, "fget", None) or getattr(found, "__func__", None) or found
    found = getattr(found, "__wrapped__", found)
    if not isinstance(found, FunctionType):
        raise TypeError(f"{module.__name__}.{path} is no plain function")
    return found


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from its changed tree, in a process that has not loaded it yet."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Only the changed module."""
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.mutant.module else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed code as the module."""
        # Running code is what a mutant is for.
        exec(compile(self.mutant.tree, f"<mutant of {self.mutant.module}>", "exec"), module.__dict__)
