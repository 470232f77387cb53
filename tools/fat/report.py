"""The results as JSON and JUnit, and the words that JSON and the printed page share."""

from __future__ import annotations

import hashlib
import platform
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Final

from controller.core.protect import ROWS
from controller.historian.replay import header_of
from controller.image.release import release
from plc_config.compile import Compiled
from tools.fat.campaign import CaseResult
from tools.fat.cases import CASES, NOT_COVERED, NOT_INJECTED
from tools.fat.clocked import LONG, LongVerdict, as_data
from tools.fat.judge import Verdict, spread
from tools.fat.plan import Planned

PACKAGES: Final = ("numpy", "asyncua", "pymodbus", "transitions")
OPENS: Final = {
    "none": "no rack opens",
    "rack": "{rack} opens, no other",
    "later_rack": "{rack} stays open",
    "bank": "every rack of the bank opens",
    "others": "every rack of the bank but {rack} opens",
    "all": "every rack opens",
}


def expected(planned: Planned) -> str:
    """What the plant must show, in words."""
    case = planned.case
    opens = OPENS[case.opens].format(rack=planned.rack)
    if case.opens == "rack" and len(planned.opens) > 1:
        opens = f"{', '.join(sorted(planned.opens))} open, no other"
    if case.reaction.name == "BLOCKED":
        who = "no rack" if case.opens == "all" else planned.rack
        return f"{who} {case.reaction.value}" if who == planned.rack else "no rack closes"
    return f"{case.reaction.value}; {opens}" if case.opens != "none" else f"{case.reaction.value}; no rack opens"


def config_hash(site: Compiled) -> str:
    """SHA-256 over site, cell type and profiles as they were read."""
    digest = hashlib.sha256()
    for name, text in sorted(header_of(site)["files"].items()):
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def build(
    site: Compiled,
    results: Sequence[CaseResult],
    *,
    repeat: int,
    seed: int,
    begun: datetime,
    controllers: int = 0,
    interrupted: bool = False,
    part: str = "1/1",
    long: Sequence[LongVerdict] = (),
    unfit: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """The whole report as plain data. unfit: cases that this site cannot show, and why."""
    run = {r.case.row for r in results} | {v.case.row for v in long}
    every = {c.row for c in (*CASES, *LONG)}
    verdicts = [r.passed for r in results] + [v.passed for v in long]
    whole = len(results) + len(unfit) == len(CASES) and len(long) == len(LONG)
    return {
        "site": site.config.site.id,
        "name": site.config.site.name,
        "cycle_ms": site.config.cycle,
        "config_sha256": config_hash(site),
        "versions": {"cellwarden": release(), **{p: version(p) for p in PACKAGES}, "python": platform.python_version()},
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "begun": begun.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "repeat": repeat,
        "part": part,
        "seed": seed,
        "controllers_started": controllers,
        "interrupted": interrupted,
        "complete": whole and part == "1/1",
        "passed": not interrupted and bool(verdicts) and all(verdicts),
        "rows": len(ROWS),
        "rows_injected": len({r.id for r in ROWS} & run),
        "cases": [_case(r) for r in results],
        "long": [as_data(v) for v in long],
        "not_run": sorted(every - run - {"", *(c.row for c in CASES if c.id in unfit)}),
        "not_injected": {**NOT_INJECTED, **unfit},
        "not_covered": dict(NOT_COVERED),
    }


def _case(result: CaseResult) -> dict[str, Any]:
    planned, verdicts = result.trials[0], result.verdicts
    each = [_trial(p, v) for p, v in zip(result.trials, verdicts, strict=True)]
    return {
        "case": result.case.id,
        "row": result.case.row,
        "catalogue": result.case.faults,
        "injected": _injected(planned),
        "from": result.case.start.name.lower(),
        "measured_from": result.case.origin.replace("_", " "),
        "expected": expected(planned),
        "bound_ms": {"detection": planned.detect_ms, "reaction": planned.react_ms},
        "detection_ms": spread(v.detect_ms for v in verdicts),
        "reaction_ms": spread(v.react_ms for v in verdicts),
        "opened_ms": spread(v.opened_ms for v in verdicts),
        "trials": len(verdicts),
        "failed": sum(not v.passed for v in verdicts),
        "passed": result.passed,
        "wrong": [f"{'; '.join(t['injected'])}: {'; '.join(t['wrong'])}" for t in each if t["wrong"]],
        "notes": [*dict.fromkeys(n for v in verdicts for n in v.notes), *result.remarks],
        "each": each,
    }


def _injected(planned: Planned) -> list[str]:
    return list(planned.inject) or [planned.case.act.replace("_", " ")]


def _trial(planned: Planned, verdict: Verdict) -> dict[str, Any]:
    times = {n: getattr(verdict, n) for n in ("detect_ms", "react_ms", "opened_ms")}
    rounded = {n: None if t is None else round(t, 1) for n, t in times.items()}
    told = {"where": verdict.where, "injected": _injected(planned)}
    return {**told, **rounded, "ready_s": verdict.ready_s, "wrong": list(verdict.wrong)}


def junit(report: dict[str, Any]) -> str:
    """The report for a build server: one test case per fault."""
    cases = [*report["cases"], *report["long"]]
    attributes = {
        "name": f"cellwarden fat {report['site']}",
        "tests": str(len(cases)),
        "failures": str(sum(not c["passed"] for c in cases)),
        "timestamp": report["begun"],
    }
    suite = ET.Element("testsuite", attributes)
    for case in cases:
        test = ET.SubElement(suite, "testcase", classname=f"fat.{report['site']}", name=case["case"])
        if not case["passed"]:
            wrong = "\n".join(case["wrong"])
            ET.SubElement(test, "failure", message=wrong.partition("\n")[0]).text = wrong
    for row, why in report["not_injected"].items():
        test = ET.SubElement(suite, "testcase", classname=f"fat.{report['site']}", name=row)
        ET.SubElement(test, "skipped", message=why)
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
