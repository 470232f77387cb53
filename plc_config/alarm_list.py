"""The alarm list for SCADA and for the alarm philosophy's master database: CSV and HTML, printed from the rows."""

from __future__ import annotations

import csv
import html
import io
from collections import Counter
from typing import Final

from controller.core.program import Program
from plc_config.cause_effect import facts

COLUMNS: Final = (
    "id", "place", "count", "priority", "cause", "delay_ms", "acts_after_ms", "cause_takes", "clear", "reset",
    "effects", "bank_effects", "because", "advice", "standard",
)  # fmt: skip
STYLE: Final = """body{font:13px/1.4 system-ui,sans-serif;margin:1.5rem;color:#1c2328}
table{border-collapse:collapse;width:100%}
th,td{border:1px solid #d5dbe0;padding:.3em .45em;text-align:left;vertical-align:top}
th{background:#eef2f5;position:sticky;top:0}tr:nth-child(even){background:#fafbfc}
.high{background:#f7cfcb}.medium{background:#fbe8c4}
.low{background:#e4efe0}@media print{body{margin:0;font-size:8px}th{position:static}thead{display:table-header-group}
tr{break-inside:avoid}@page{size:A4 landscape;margin:10mm}}"""


def rows(program: Program) -> list[dict[str, str]]:
    """One line per row of the matrix; `count` is at how many places the site has this alarm."""
    places = Counter(slot.row.id for slot in program.matrix.slots)
    lines = []
    for row in program.matrix.rows:
        f = facts(row, program)
        f["count"] = places[row.id]
        f["priority"] = f["priority"].lower()
        for name in ("effects", "bank_effects"):
            f[name] = " ".join(str(e).lower() for e in f[name])
        lines.append({name: str(f[name]) for name in COLUMNS})
    return lines


def shares(program: Program) -> dict[str, float]:
    """Part of each priority in the list; ISA-18.2 wants about 0.80 low, 0.15 medium, 0.05 high."""
    found = Counter(row.priority.name.lower() for row in program.matrix.rows)
    return {name: found[name] / len(program.matrix.rows) for name in ("low", "medium", "high")}


def as_csv(program: Program) -> str:
    """The list as CSV with a head line."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(program))
    return out.getvalue()


def as_html(program: Program) -> str:
    """The list as one page without anything from outside."""
    parts = ", ".join(f"{part:.0%} {name}" for name, part in shares(program).items())
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in COLUMNS)
    lines = []
    for row in rows(program):
        breakable = row["id"].replace("_", "_<wbr>")
        cells = [f'<td id="{row["id"]}"><code>{breakable}</code></td>']
        for name in COLUMNS[1:]:
            kind = f' class="{row[name]}"' if name == "priority" else ""
            cells.append(f"<td{kind}>{html.escape(row[name])}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    title = f"Alarms of {html.escape(program.site_id)}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>{len(program.matrix.rows)} alarms at {program.matrix.size} places; {parts}. Printed "
        f"from the protection matrix: limits are those in force. A row acts in whole scans of {program.cycle_ms} ms: "
        "`acts after` counts from the scan that first sees the cause; `cause takes` is the time until then.</p>\n"
        f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(lines) + "\n</tbody></table></body></html>\n"
    )
