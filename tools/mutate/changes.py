"""The mutants of a module: every single small change in its functions and tables, and how one is put into force."""

from __future__ import annotations

import ast
import collections
import copy
import dataclasses
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import textwrap
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


DECLARED: Final = {
    "SELF": "OPERATOR", "OPERATOR": "SELF", "MAINTENANCE": "OPERATOR", "LOCAL": "OPERATOR",
    "_over": "_under", "_under": "_over",
}  # fmt: skip
LATER_MS: Final = 1000
"""A number in a table is a delay; so much more of it must be noticed."""
SHOWN: Final = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    """One change. number: which one of its module; function: qualified name of the outermost function around it, or
    the name of the table; line, last: the changed lines; declared: it changes a table, not a function."""

    module: str
    number: int
    function: str
    line: int
    last: int
    what: str
    declared: bool
    tree: ast.Module

    @property
    def lines(self) -> set[int]:
        """The changed lines."""
        return set(range(self.line, self.last + 1))

    @property
    def name(self) -> str:
        """`controller/core/protect/flow.py:12 closed: any -> all in `seen.any()``."""
        return f"{self.module.replace('.', '/')}.py:{self.line} {self.function}: {self.what}"

    @property
    def key(self) -> str:
        """The same without the line, so that it stays when other lines change."""
        return f"{self.module.rpartition('core.')[2]} {self.function}: {self.what}"


def mutants(module: str, only: int | None = None) -> Iterator[Mutant]:
    """Every single change of the bodies of a module's functions and of its tables, or only the one of that number;
    defaults and decorators are left alone."""
    for mutant, at, change in _all(module):
        if only in (None, mutant.number):
            changed = copy.deepcopy(mutant.tree)
            change(next(n for i, n in enumerate(ast.walk(changed)) if i == at))
            yield dataclasses.replace(mutant, tree=ast.fix_missing_locations(changed))


def keys(module: str) -> set[str]:
    """What every single change is called, without making any."""
    return {mutant.key for mutant, _, _ in _all(module)}


def _all(module: str) -> Iterator[tuple[Mutant, int, Callable[[Any], Any]]]:
    """Every change that could be made: with the tree as it is, the number of the node in it, and what is done there."""
    tree = ast.parse(source(module).read_text("utf-8"))
    functions, tables = dict(_inside(tree, "")), dict(_declared(tree))
    around = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    count, said = itertools.count(), collections.Counter[str]()
    for number, node in enumerate(ast.walk(tree)):
        where = functions.get(node) or tables.get(node)
        if where is None:
            continue
        for what, change in _changes(node) if node in functions else _redeclared(node):
            line = int(getattr(node, "lineno", 0))
            last = int(getattr(node, "end_lineno", 0) or line)
            told = f"{what} in `{_seen_in(node, around, node in tables)}`"
            said[f"{where} {told}"] += 1
            nth = said[f"{where} {told}"]
            told += f" ({nth})" if nth > 1 else ""
            yield Mutant(module, next(count), where, line, last, told, node in tables, tree), number, change


def _seen_in(node: ast.AST, around: dict[ast.AST, ast.AST], declared: bool) -> str:
    """What a person must see to know which number, name or line is meant."""
    if declared:
        while not isinstance(node, ast.Call) and isinstance(around[node], ast.expr | ast.keyword):
            node = around[node]
        if not isinstance(node, ast.Call):
            return "the table"
    small = ast.Constant | ast.Attribute | ast.UnaryOp | ast.keyword
    while isinstance(node, small) and isinstance(around[node], ast.expr | ast.keyword):
        node = around[node]
    return textwrap.shorten(ast.unparse(node), SHOWN)


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


def _declared(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Every node of a table, which is a tuple of calls such as `Move(...)`, with the table's name."""
    for statement in tree.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.value, ast.Tuple):
            continue
        if any(isinstance(line, ast.Call) for line in statement.value.elts):
            yield from ((n, ast.unparse(statement.target)) for n in ast.walk(statement.value))


def _redeclared(node: ast.AST) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Changes of a table: a line, a mode, a guard or an effect less, another reset, the other side, a later delay."""
    if isinstance(node, ast.Tuple):
        modes = any(isinstance(each, ast.Attribute) for each in node.elts)
        for i, each in enumerate(node.elts):
            if not modes or len(node.elts) > 1:
                yield f"without {textwrap.shorten(ast.unparse(each), SHOWN)}", functools.partial(_shorten, i)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield f"without {ast.unparse(node.right)}", lambda n: _become(n, n.left)
        if isinstance(node.left, ast.Name):
            yield f"without {ast.unparse(node.left)}", lambda n: _become(n, n.right)
    elif isinstance(node, ast.Name) and node.id in DECLARED:
        yield f"{node.id} -> {DECLARED[node.id]}", lambda n: setattr(n, "id", DECLARED[n.id])
    elif isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool):
        yield f"{LATER_MS} more", lambda n: setattr(n, "value", n.value + LATER_MS)


def _shorten(which: int, node: Any) -> None:
    del node.elts[which]


def _become(node: Any, other: Any) -> None:
    node.__class__ = other.__class__
    node.__dict__.clear()
    node.__dict__.update(other.__dict__)


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
