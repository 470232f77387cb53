"""The printed alarm list: complete, and priorities as a person can bear them."""

from __future__ import annotations

from controller.core.protect import ROWS
from plc_config.alarm_list import as_csv, as_html, shares
from plc_config.compile import compile_site

PROGRAM = compile_site("bench").program


def test_priorities_are_near_80_15_5_and_the_list_says_so() -> None:
    part = shares(PROGRAM)
    assert abs(part["low"] - 0.80) < 0.03 and abs(part["medium"] - 0.15) < 0.03 and abs(part["high"] - 0.05) < 0.03
    lines = as_csv(PROGRAM).splitlines()
    assert len(lines) == len(ROWS) + 1
    assert all(f'id="{r.id}"' in as_html(PROGRAM) for r in ROWS)
