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


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """Every module of the product by its name, parsed."""
    return {name_of(path): ast.parse(path.read_text("utf-8")) for path in SOURCES}


def test_files_fit_a_sitting_and_functions_a_screen(trees: dict[str, ast.Module]) -> None:
    lines = {name_of(path): path.read_text("utf-8").count("\n") for path in SOURCES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
    lengths = [
        ((node.end_lineno or node.lineno) - node.lineno + 1, f"{name}:{node.lineno} {node.name}")
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [each for each in lengths if each[0] > MOST_FUNCTION] == []


def test_public_things_say_what_they_guarantee(trees: dict[str, ast.Module]) -> None:
    silent = [name for name, tree in trees.items() if not ast.get_docstring(tree)]
    silent += [
        f"{name}: {node.name}"
        for name, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_leftovers_and_no_machine_paths() -> None:
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in [*SOURCES, *TESTS]
        if path != Path(__file__)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if LEFTOVER.search(line) or MACHINE_PATH.search(line)
    ]
    assert found == []


def test_no_exception_is_swallowed_whole(trees: dict[str, ast.Module]) -> None:
    found = []
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                broad = node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException")
                silent = all(isinstance(x, ast.Pass | ast.Continue) for x in node.body)
                if broad and silent:
                    found.append(f"{name}:{node.lineno}")
    assert found == []


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
