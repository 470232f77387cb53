"""The report as one printable page that needs nothing else, with lines to sign."""

from __future__ import annotations

from html import escape
from typing import Any, Final

STYLE: Final = """
body{font:13px/1.45 system-ui,sans-serif;color:#1a1f24;margin:2em auto;max-width:1180px;padding:0 1em}
h1{font-size:22px;margin:0 0 .2em}h2{font-size:16px;margin:1.6em 0 .4em}
table{border-collapse:collapse;width:100%}th,td{border-bottom:1px solid #d5dade;padding:.3em .5em;text-align:left;
vertical-align:top}th{background:#eef1f4;font-weight:600}td.n{text-align:right;font-variant-numeric:tabular-nums;
white-space:nowrap}th:nth-child(4){min-width:11em}.more td{padding:0 .5em .4em 2em}tr.has td{border:0}
code{font:12px ui-monospace,monospace}.pass{color:#146c2e;font-weight:700}.fail{color:#b3261e;
font-weight:700}.wrong{color:#b3261e}.note{color:#5b6670}dl{display:grid;grid-template-columns:max-content 1fr;
gap:.15em 1.2em;margin:1em 0}dt{color:#5b6670}dd{margin:0}.sign{display:grid;grid-template-columns:repeat(3,1fr);
gap:2.5em 2em;margin-top:2.5em}.sign div{border-top:1px solid #1a1f24;padding-top:.3em}
@media print{body{margin:0;max-width:none;font-size:10px}code{font-size:9px}tr,.sign{break-inside:avoid}
.more{break-before:avoid}
thead{display:table-header-group}@page{size:A4 landscape;margin:12mm}}
"""
HEADINGS: Final = (
    "Case, row", "Fault", "Injected how", "Expected", "Bound: detect / react", "Detected p50 / p99 / max",
    "Reaction p50 / p99 / max", "Trials", "Verdict",
)  # fmt: skip
LONG_HEADINGS: Final = (
    "Case, row", "Injected how", "Healthy before, h", "Bound, h", "Detected, h", "Plant time, h", "Took, s", "Verdict",
)  # fmt: skip
SIGNATURES: Final = ("Tested by", "Witnessed by (customer)", "Approved by")


def render(report: dict[str, Any]) -> str:
    """The page."""
    word = "PASSED" if report["passed"] else "INTERRUPTED" if report["interrupted"] else "FAILED"
    word += "" if report["complete"] else " (a part of the cases only)"
    every = [*report["cases"], *report["long"]]
    failed = sum(not c["passed"] for c in every)
    body = [
        f"<h1>Factory acceptance test: {escape(report['name'])}</h1>",
        f'<p class="{"pass" if report["passed"] else "fail"}">{word}: {len(every) - failed} of '
        f"{len(every)} cases, {report['rows_injected']} of {report['rows']} rows of the cause &amp; effect "
        "matrix</p>",
        _facts(report),
        "<p>Times are the plant's, in ms: from the faulty register (or the falsified command) to the scan that raised "
        "the row, and to the last command or contactor of the reaction. Phase against the scan is random, and so are "
        "the places: those of the first trial are shown. Detection is the alarm that the scan told; all else rests on "
        "the simulated plant's own log.</p>",
        _table(report["cases"]),
        _long(report["long"]),
        _list("Rows not run this time", {r: "" for r in report["not_run"]}),
        _list("Rows not injected, and why", report["not_injected"]),
        _list("Faults of the catalogue without a case, and why", report["not_covered"]),
        _sign(),
    ]
    title = f"FAT {escape(report['site'])} {escape(report['begun'])}"
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _facts(report: dict[str, Any]) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in report["versions"].items())
    facts = {
        "Site": f"{report['site']}, cycle {report['cycle_ms']} ms",
        "Configuration": f"SHA-256 {report['config_sha256']}",
        "Versions": versions,
        "Machine": report["machine"],
        "Begun, ended": f"{report['begun']}, {report['ended']}",
        "Seed, repetitions": f"{report['seed']}, {report['repeat']}",
        "Controllers started": str(report["controllers_started"]),
    }
    return "<dl>" + "".join(f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()) + "</dl>"


def _table(cases: list[dict[str, Any]]) -> str:
    head = "".join(f"<th>{h}</th>" for h in HEADINGS)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(_row(c) for c in cases)}</tbody></table>"


def _long(cases: list[dict[str, Any]]) -> str:
    """The rows on the simulated clock, apart: no process and no wire took part in them."""
    if not cases:
        return ""
    lines = []
    for c in cases:
        verdict = '<span class="pass">pass</span>' if c["passed"] else '<span class="fail">FAIL</span>'
        wrong = "".join(f'<div class="wrong">{escape(w)}</div>' for w in c["wrong"])
        how = "<br>".join(f"<code>{escape(i)}</code>" for i in c["injected"])
        found = "-" if c["detection_h"] is None else f"{c['detection_h']:.2f}"
        numbers = (f"{c['healthy_h']:g}", f"{c['bound_h']:g}", found, f"{c['plant_h']:g}", f"{c['took_s']:.0f}")
        lines.append(
            f"<tr><td>{escape(c['case'])}<div class=note>{escape(c['row'])}</div></td><td>{how}</td>"
            f"{''.join(f'<td class=n>{n}</td>' for n in numbers)}<td>{verdict}{wrong}</td></tr>"
        )
    head = "".join(f"<th>{h}</th>" for h in LONG_HEADINGS)
    return (
        "<h2>Rows that take longer than ten minutes</h2><p>The same scan and the same plant in one process, on a clock "
        "that is only counted, at a cycle of 1 s: healthy life, then the fault, until the row tells it. Times in hours "
        f"of plant time.</p><table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def _row(case: dict[str, Any]) -> str:
    verdict = '<span class="pass">pass</span>' if case["passed"] else '<span class="fail">FAIL</span>'
    more = "".join(f'<div class="wrong">{escape(w)}</div>' for w in case["wrong"])
    more += "".join(f'<div class="note">{escape(n)}</div>' for n in case["notes"])
    how = "<br>".join(f"<code>{escape(i)}</code>" for i in case["injected"])
    since = "" if case["measured_from"] == "injected" else f'<div class="note">from {case["measured_from"]}</div>'
    bound = " / ".join("-" if b is None else f"{b:.0f}" for b in case["bound_ms"].values())
    row = case["row"] or "no row may alarm"
    name = _breakable(case["case"]) + ("" if row == case["case"] else f'<div class="note">{_breakable(row)}</div>')
    cells = (
        name, escape(case["catalogue"]), how + since,
        escape(f"from {case['from'].replace('_', ' ')}: {case['expected']}"),
    )  # fmt: skip
    numbers = (bound, figures(case["detection_ms"]), figures(case["reaction_ms"]), str(case["trials"]))
    plain = "".join(f"<td>{c}</td>" for c in cells)
    line = f"{plain}{''.join(f'<td class=n>{n}</td>' for n in numbers)}<td>{verdict}</td>"
    if not more:
        return f"<tr>{line}</tr>"
    return f'<tr class="has">{line}</tr><tr class="more"><td colspan="{len(HEADINGS)}">{more}</td></tr>'


def _breakable(name: str) -> str:
    """A long name may be broken after an underscore, so that the verdict stays on the paper."""
    return escape(name).replace("_", "_<wbr>")


def figures(spread: dict[str, float] | None) -> str:
    """`84 / 121 / 121`, a dash without a measurement."""
    return "-" if spread is None else " / ".join(f"{v:.0f}" for v in spread.values())


def _list(title: str, items: dict[str, str]) -> str:
    if not items:
        return ""
    lines = "".join(f"<li>{escape(k)}{': ' if v else ''}{escape(v)}</li>" for k, v in items.items())
    return f"<h2>{title}</h2><ul>{lines}</ul>"


def _sign() -> str:
    fields = "".join(f"<div>{who}: name, signature</div><div>Place</div><div>Date</div>" for who in SIGNATURES)
    return f'<h2>Sign-off</h2><p>Operator and remarks:</p><div class="sign">{fields}</div>'
