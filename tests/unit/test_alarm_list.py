"""The printed alarm list: complete, and priorities as a person can bear them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from controller.core.protect import ROWS
from plc_config.alarm_list import as_csv, as_html, shares
from plc_config.cause_effect import render
from plc_config.compile import compile_site
from plc_config.library import DATA

PROGRAM = compile_site("bench").program


def test_priorities_are_near_80_15_5_and_the_list_says_so() -> None:
    part = shares(PROGRAM)
    assert abs(part["low"] - 0.80) < 0.03 and abs(part["medium"] - 0.15) < 0.03 and abs(part["high"] - 0.05) < 0.03
    lines = as_csv(PROGRAM).splitlines()
    assert len(lines) == len(ROWS) + 1
    assert all(f'id="{r.id}"' in as_html(PROGRAM) for r in ROWS)


def test_delays_are_printed_as_a_slow_site_lives_them(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text((DATA / "sites" / "bench.yaml").read_text("utf-8").replace("cycle: 100 ms", "cycle: 500 ms"))
    slow = compile_site(str(path)).program
    line = next(x for x in csv.DictReader(io.StringIO(as_csv(slow))) if x["id"] == "cell_overvoltage_warning")
    assert (line["delay_ms"], line["acts_after_ms"]) == ("200", "500")
    page = render(slow)
    assert "scans every 500 ms" in page and "| 500 ms (set: 200 ms) |" in page
    assert "(set: " not in render(PROGRAM).split("## Why")[0]
