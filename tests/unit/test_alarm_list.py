"""The printed alarm list: complete, and priorities as a person can bear them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from controller.core.protect import ROWS
from controller.core.protect.trend import COOLING_WINDOW_MS
from plc_config.alarm_list import as_csv, as_html, shares
from plc_config.cause_effect import delay_words, facts, render
from plc_config.cause_times import cause_takes
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


def test_a_row_without_a_delay_tells_the_time_that_its_cause_takes() -> None:
    """`0 ms` beside a cause that takes a minute would be read as at once."""
    words = {row.id: delay_words(facts(row, PROGRAM)) for row in ROWS}
    assert words["cooling_without_fall"] == f"after {COOLING_WINDOW_MS // 1000} s of cooling in which it rose by 0.5 K"
    assert words["discharge_overcurrent_lasting"] == "by I2t: after 10 s just below 336 A"
    assert words["discharge_overcurrent_warning"] == "by I2t: after 8 s just below 336 A"
    assert words["estop"] == "0 ms", "it acts in the scan that reads it"
    assert "by I2t: after 10 s" in render(PROGRAM)
    line = next(x for x in csv.DictReader(io.StringIO(as_csv(PROGRAM))) if x["id"] == "io_process_lost")
    assert line["cause_takes"] == "after 2 s of silence; at once when started anew"


def test_times_of_causes_are_the_site_s_own(tmp_path: Path) -> None:
    own = (
        (DATA / "sites" / "bench.yaml").read_text("utf-8").replace("heartbeat_timeout: 10 s", "heartbeat_timeout: 4 s")
    )
    (tmp_path / "site.yaml").write_text(
        own.replace("limits:", "contactors: {weld_test: 0 s}\nlimits:\n  lost_after: 1 s")
    )
    p = compile_site(str(tmp_path / "site.yaml")).program
    assert cause_takes("scada_heartbeat_lost", p) == "after 4 s without a beat"
    assert cause_takes("module_comm_lost", p) == "after 1 s without a value"
    assert cause_takes("weld_test_failed", p) == "never: there is no weld test"


def test_only_rows_without_a_delay_have_a_time_in_their_cause() -> None:
    assert not [row.id for row in ROWS if cause_takes(row.id, PROGRAM) and row.delay_ms(PROGRAM.limit)]
