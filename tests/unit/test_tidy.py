"""Style is a test: sizes, leftovers, machine paths, and the printed files."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from plc_config.cause_effect import render
from plc_config.compile import compile_site
from tools.commands.export import diagrams, schema

ROOT = Path(__file__).parents[2]
PACKAGES = ("controller", "plc_config", "opcua_model", "tools")
SOURCES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MOST_LINES, MOST_FUNCTION = 400, 60
LEFTOVER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|farm|root|home)/")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_fit_a_sitting_and_functions_a_screen(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MOST_FUNCTION, f"{node.name} is {length} lines long"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_public_things_say_what_they_guarantee(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), "the module has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_no_leftovers_and_no_machine_paths(path: Path) -> None:
    if path == Path(__file__):
        return
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        assert not LEFTOVER.search(line), f"line {number}: {line.strip()}"
        assert not MACHINE_PATH.search(line), f"line {number}: {line.strip()}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_exception_is_swallowed_whole(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException")
            silent = all(isinstance(x, ast.Pass | ast.Continue) for x in node.body)
            assert not (broad and silent), f"line {node.lineno}"


def test_the_scan_fits_one_screen() -> None:
    tree = ast.parse((ROOT / "controller/core/scan.py").read_text("utf-8"))
    scan = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "scan")
    assert (scan.end_lineno or 0) - scan.lineno < 50


def test_the_scan_process_reaches_no_network_library() -> None:
    code = "import controller.app.scan_process, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"asyncua", "pymodbus", "sqlite3", "sqlite_utils", "ssl", "serial"} & set(loaded.stdout.split())


def test_the_printed_matrix_is_the_table() -> None:
    assert (ROOT / "plc_config/CAUSE_EFFECT.md").read_text("utf-8") == render(compile_site("container").program)


def test_the_printed_schema_is_the_checker_s() -> None:
    assert (ROOT / "plc_config/SITE.schema.json").read_text("utf-8") == schema()


def test_the_printed_sequences_are_the_tables() -> None:
    assert (ROOT / "docs/sequences.md").read_text("utf-8") == diagrams()
