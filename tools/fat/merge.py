"""Several reports of one site as one: the shares of a campaign, or runs with other seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tools.fat.cases import CASES
from tools.fat.clocked import LONG
from tools.fat.judge import spread

SAME: Final = ("site", "cycle_ms", "config_sha256", "versions", "rows")
TIMES: Final = ("detect_ms", "react_ms", "opened_ms")
Report = dict[str, Any]


def merged(reports: Sequence[Report]) -> Report:
    """One report over all trials; ValueError when the reports are not of the same site and program, or overlap."""
    first = reports[0]
    for other in reports[1:]:
        for key in SAME:
            if other[key] != first[key]:
                raise ValueError(f"{key} differs: {first[key]} and {other[key]}")
    _refuse_overlap(reports)
    order = {c.id: i for i, c in enumerate(CASES)}
    names = {c["case"] for r in reports for c in r["cases"]}
    cases = [_case(n, [c for r in reports for c in r["cases"] if c["case"] == n]) for n in names]
    cases.sort(key=lambda c: order.get(c["case"], len(order)))
    interrupted = any(r["interrupted"] for r in reports)
    long = [c for r in reports for c in r["long"]]
    long.sort(key=lambda c: [k.id for k in LONG].index(c["case"]))
    run = {c["row"] for c in (*cases, *long)} - {""}
    return {
        **first,
        "begun": min(r["begun"] for r in reports),
        "ended": max(r["ended"] for r in reports),
        "repeat": max(c["trials"] for c in cases) if cases else 0,
        "part": ", ".join(dict.fromkeys(r["part"] for r in reports)),
        "seed": ", ".join(dict.fromkeys(str(r["seed"]) for r in reports)),
        "controllers_started": sum(r["controllers_started"] for r in reports),
        "interrupted": interrupted,
        "complete": names == set(order) and {c["case"] for c in long} == {c.id for c in LONG},
        "passed": not interrupted and bool(cases or long) and all(c["passed"] for c in (*cases, *long)),
        "rows_injected": len(run),
        "cases": cases,
        "long": long,
        "not_run": sorted({c.row for c in (*CASES, *LONG)} - run - {""}),
    }


def _refuse_overlap(reports: Sequence[Report]) -> None:
    """The same trial must not count twice: seed, share, and number of trials decide which trials a report holds."""
    done: set[tuple[str, str, str]] = set()
    for report in reports:
        for case in (*report["cases"], *report["long"]):
            key = (case["case"], str(report["seed"]), report["part"])
            if key in done:
                raise ValueError(f"{case['case']} of seed {report['seed']}, part {report['part']}, is there twice")
            done.add(key)


def _case(name: str, parts: Sequence[Report]) -> Report:
    each = [trial for part in parts for trial in part["each"]]
    figures = {n.replace("detect", "detection").replace("react_", "reaction_"): n for n in TIMES}
    return {
        **parts[0],
        "case": name,
        **{told: spread(t[n] for t in each) for told, n in figures.items()},
        "trials": len(each),
        "failed": sum(p["failed"] for p in parts),
        "passed": all(p["passed"] for p in parts),
        "wrong": list(dict.fromkeys(w for p in parts for w in p["wrong"])),
        "notes": list(dict.fromkeys(n for p in parts for n in p["notes"])),
        "each": each,
    }
