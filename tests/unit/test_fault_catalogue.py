"""The pages that say what notices which fault, and what shows which statement, name only what there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from controller.core.protect import ROWS
from tests.scenario import hazards
from tools.fat.cases import CASES
from tools.fat.clocked import LONG

ROOT = Path(__file__).parents[2]
FAULTS = 60
LINES = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/fault-catalogue.md").read_text("utf-8").splitlines()
    if re.match(r"\| \d", line)
]
STATEMENTS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/standards.md").read_text("utf-8").splitlines()
    if re.match(r"\| [ABD]\d", line)
]
NAME = re.compile(r"`([^`]+)`")
ROW_IDS = {r.id for r in ROWS}
FAT_IDS = {c.id for c in (*CASES, *LONG)}
NO_ROWS = {"*_lost", "ready"}
"""What stands between the same marks and is no row: a family of rows, and a guard of the sequence."""


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}


def told(row: str) -> bool:
    """A story tells how the row begins."""
    if row in {**hazards.BANDS, **hazards.WITNESSES}:
        return True
    return f'"{row}"' in (ROOT / "tests/scenario/test_protection.py").read_text("utf-8")


def exists(proof: str) -> bool:
    """The case, the story or the test that a page names."""
    kind, _, name = proof.partition(":")
    if kind == "fat":
        return name in FAT_IDS
    if kind == "story":
        return name in ROW_IDS and told(name)
    path, _, test = proof.partition("::")
    return test in names_in(path)


def test_no_fault_is_left_out() -> None:
    assert [int(number) for number, *_ in LINES] == list(range(1, FAULTS + 1))


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0])
def test_every_row_and_every_proof_exists(line: list[str]) -> None:
    _, fault, noticed, then, shown = line
    assert set(NAME.findall(noticed + then)) - NO_ROWS <= ROW_IDS
    proofs = NAME.findall(shown)
    assert fault and then and (proofs or "**open**" in noticed)
    for proof in proofs:
        assert exists(proof), proof


@pytest.mark.parametrize("line", STATEMENTS, ids=lambda line: line[0])
def test_every_statement_is_shown_by_what_there_is(line: list[str]) -> None:
    _, statement, shown = line
    proofs = NAME.findall(shown)
    assert statement and (proofs or "hardware" in shown or "proof.md" in shown)
    for proof in proofs:
        assert exists(proof), proof


def test_no_statement_is_left_out() -> None:
    named = [each for number, *_ in STATEMENTS for each in number.split(", ")]
    assert named == [f"{letter}{n + 1}" for letter, most in (("B", 13), ("D", 9), ("A", 8)) for n in range(most)]


def test_a_case_of_the_acceptance_test_stands_at_its_fault() -> None:
    """A `fat:` case that is told at a fault injects it, by its own numbers or by the row that the fault names."""
    rows = {c.id: c.row for c in (*CASES, *LONG)}
    for number, _, noticed, _, shown in LINES:
        for proof in NAME.findall(shown):
            if proof.startswith("fat:") and rows[proof[4:]]:
                case = next((c for c in CASES if c.id == proof[4:]), None)
                numbers = set(re.findall(r"\d+", case.faults)) if case else set()
                assert number in numbers or rows[proof[4:]] in NAME.findall(noticed), (number, proof)
