"""Early warning over many simulated strings: how late, how right, how often for nothing."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Final

import numpy as np

from controller.core.estimate.faults import Finding
from tools.score.fleet import KINDS, Fault, Fleet, Plan
from tools.score.screening import Screen

Told = Callable[[str, int, int], None]
HEAD: Final = ("fault put in", "cases", "found", "right", "median h", "p90 h", "called otherwise")
PLANS: Final = (
    Plan("LFP", 280.0, 96, 12, 6.0, 30.0, 25.0, "grid", 1),
    Plan("LFP", 280.0, 96, 12, 5.0, 20.0, 15.0, "two cycles", 2),
    Plan("LFP", 314.0, 240, 6, 6.0, 30.0, 30.0, "solar", 3, quantum_v=1e-3),
    Plan("NMC", 94.0, 96, 12, 5.0, 30.0, 25.0, "grid", 4),
    Plan("NCA", 60.0, 140, 8, 5.0, 30.0, 35.0, "two cycles", 5, sensors_per_cell=0.25, quantum_v=1e-3),
    Plan("LFP", 100.0, 24, 24, 3.0, 10.0, 8.0, "grid", 6),
    Plan("NMC", 150.0, 400, 4, 5.0, 60.0, 20.0, "solar", 7, quantum_v=1e-3),
    Plan("LFP", 280.0, 120, 12, 14.0, 60.0, 22.0, "grid", 8),
    Plan("LFP", 280.0, 12, 24, 5.0, 60.0, 40.0, "two cycles", 9),
    Plan("NCA", 75.0, 96, 8, 5.0, 60.0, 30.0, "shallow", 10),
    Plan("LFP", 100.0, 160, 6, 5.0, 60.0, 30.0, "regulation", 11),
)
"""Chemistries, sizes, cadences, climates and duties; a seed is added to each for another draw of all of them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """What became of one injected fault: first word on it (None: missed) and how long that took, in h."""

    plan: str
    fault: Fault
    called: str | None
    after_h: float
    evidence: str
    also: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """One plan: every case, every false alarm as (string, cell, fault, hour, evidence), and healthy cell-days."""

    plan: str
    cases: list[Case]
    false: list[tuple[int, int, str, float, str]]
    cell_days: float


def name_of(plan: Plan) -> str:
    """A plan in a few words."""
    return (
        f"{plan.chemistry} {plan.capacity_ah:g} Ah, {plan.strings} x {plan.cells} cells, {plan.profile}, "
        f"{plan.ambient_degc:g} degC, every {plan.dt_s:g} s, seed {plan.seed}"
    )


def run(plan: Plan, told: Told | None = None) -> Outcome:
    """Simulates the plan's strings and screens them."""
    fleet = Fleet(plan)
    work = Screen(plan.strings, plan.cells, len(fleet.seat), fleet.sheet())
    found: list[tuple[float, Finding]] = []
    for k, (t, i, v, warm) in enumerate(fleet.rows()):
        found += [(t, f) for f in work.row(t, i, v, warm)]
        if told is not None and k % 200 == 0:
            told(name_of(plan), k, plan.rows)
    return judge(plan, fleet, found)


def judge(plan: Plan, fleet: Fleet, found: list[tuple[float, Finding]]) -> Outcome:
    """Findings against what was injected."""
    places: dict[tuple[int, int, bool], Fault] = {}
    for f in fleet.faults:
        places[f.string, f.cell, False] = f
        if f.label == "stuck temperature" or f.name == "temperature_sensor":
            sensor = int(np.searchsorted(fleet.seat, f.cell, "right") - 1)
            places[f.string, sensor, True] = f
    words: dict[Fault, list[tuple[float, str, str]]] = {f: [] for f in fleet.faults}
    false = []
    for t, x in found:
        where = places.get((x.rack, x.element, x.sensor)) or _sharing(fleet, places, x)
        if where is None or t < where.start_s:
            false.append((x.rack, x.element, x.fault.name.lower(), t / 3600, x.text))
        else:
            words[where].append((t, x.fault.name.lower(), x.text))
    cases = []
    for fault, said in words.items():
        first = said[0] if said else (float("nan"), None, "")
        also = tuple(name for _, name, _ in said[1:] if name != fault.name)
        cases.append(Case(name_of(plan), fault, first[1], (first[0] - fault.start_s) / 3600, first[2], also))
    healthy = plan.strings * plan.cells - len(fleet.faults)
    return Outcome(name_of(plan), cases, false, healthy * plan.days)


def _sharing(fleet: Fleet, places: dict[tuple[int, int, bool], Fault], x: Finding) -> Fault | None:
    """Where fewer sensors than cells are fitted, a fault of heat may be called in any cell of its sensor."""
    if x.sensor or len(fleet.seat) == fleet.plan.cells:
        return None
    mine = np.searchsorted(fleet.seat, x.element, "right")
    for (string, cell, sensor), f in places.items():
        warm = f.name in ("internal_short", "runaway")
        if not sensor and warm and string == x.rack and np.searchsorted(fleet.seat, cell, "right") == mine:
            return f
    return None


def summary(outcomes: list[Outcome]) -> list[tuple[str, ...]]:
    """Rows of the table: fault, cases, found, class right, median and 90th percentile of the delay (h), called as."""
    cases = [c for o in outcomes for c in o.cases]
    rows: list[tuple[str, ...]] = []
    for label in dict.fromkeys(k[2] for k in KINDS):
        mine = [c for c in cases if c.fault.label == label]
        if not mine:
            continue
        hit = [c.after_h for c in mine if c.called is not None]
        right = sum(c.called == c.fault.name for c in mine)
        median, late = (np.percentile(hit, [50, 90])) if hit else (np.nan, np.nan)
        other = Counter(c.called for c in mine if c.called not in (None, c.fault.name))
        later = Counter(a for c in mine for a in c.also)
        words = ", ".join([f"{n} {w}" for w, n in other.items()] + [f"{n} then also {w}" for w, n in later.items()])
        rows.append((label, str(len(mine)), str(len(hit)), str(right), f"{median:.2f}", f"{late:.2f}", words))
    return rows


def listed(outcomes: list[Outcome]) -> list[str]:
    """What was missed, called wrong or called for nothing, one line each."""
    lines = []
    for o in outcomes:
        for string, cell, name, hour, text in o.false:
            lines.append(f"false alarm: {o.plan}: string {string} place {cell}: {name} at {hour:.1f} h: {text}")
        for c in o.cases:
            if c.called != c.fault.name or c.also:
                said = c.called or "missed"
                also = f", then {', '.join(c.also)}" if c.also else ""
                lines.append(f"{c.fault.label}: {o.plan}: string {c.fault.string} cell {c.fault.cell}: {said}{also}")
    return lines


def totals(outcomes: list[Outcome]) -> str:
    """Class right over what was found, and false alarms per 10,000 healthy cell-days."""
    cases = [c for o in outcomes for c in o.cases if c.called is not None]
    total = sum(len(o.cases) for o in outcomes)
    right = sum(c.called == c.fault.name and not c.also for c in cases)
    false, days = sum(len(o.false) for o in outcomes), sum(o.cell_days for o in outcomes)
    return (
        f"{len(cases)} of {total} found, {right} of them called right and nothing else "
        f"({100 * right / max(len(cases), 1):.1f} %); {false} false alarms in {days:.0f} healthy cell-days "
        f"({1e4 * false / max(days, 1):.2f} per 10,000)"
    )


def drawn(seed: int) -> tuple[Plan, ...]:
    """The plans of one draw."""
    return tuple(dataclasses.replace(p, seed=p.seed + 100 * seed) for p in PLANS)
