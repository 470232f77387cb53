"""Hard shorts in simulated strings: seconds until early warning tells them, by resistance, duty, chemistry and cadence.

`python -m tools.score.hard_shorts` prints the table. The strings are those of `tools.score.fleet`: an equivalent
circuit whose heat reaches the sensor at once; `lag_s` puts the surface behind the core.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

import numpy as np

from controller.core.estimate.faults import Finding
from controller.core.signal import Floats
from tools.score.fleet import Fault, Fleet, Plan
from tools.score.screening import Screen

OHMS: Final = (0.05, 0.1, 0.2, 0.3)
"""At 280 Ah; smaller cells get more, for the same share of their capacity."""
DUTIES: Final = {"rest": 0.0, "charge": -0.25, "discharge": 0.25}
"""Steady current before and after the onset, C-rate; `steps` is regulation of 0.3C scatter every two minutes."""
PLACES: Final = (
    ("LFP plateau", "LFP", 280.0, 0.55), ("LFP lower knee", "LFP", 280.0, 0.10), ("LFP upper knee", "LFP", 280.0, 0.93),
    ("NMC", "NMC", 94.0, 0.50),
)  # fmt: skip
ONSET_S, END_S, EACH = 600.0, 900.0, 4


class Steady(Fleet):
    """Strings at one SOC under one duty each, with a hard short in one cell of each; the surface lags by `lag_s`."""

    def __init__(self, plan: Plan, soc: float, duties: Floats, faults: tuple[Fault, ...], lag_s: float) -> None:
        super().__init__(plan)
        self.soc = np.full_like(self.soc, soc) + self.random.normal(0, 0.006, self.soc.shape)
        self.duty, self.faults = duties * plan.capacity_ah, faults
        self.lag_s, self.surface = lag_s, self.warm.copy()

    def _sensed(self, t: float, i: Floats, v: Floats) -> tuple[Floats, Floats, Floats]:
        core = self.warm
        share = 1.0 if self.lag_s <= 0 else 1 - np.exp(-self.plan.dt_s / self.lag_s)
        self.surface += share * (core - self.surface)
        self.warm = self.surface
        sensed = super()._sensed(t, i, v)
        self.warm = core
        return sensed


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """One short: where, resistance (ohm), duty, seconds until it was told (None: never), evidence; false alarms."""

    place: str
    ohm: float
    duty: str
    after_s: float | None
    evidence: str
    called: tuple[str, ...]
    false: int


def tried(place: tuple[str, str, float, float], dt_s: float, seed: int, lag_s: float = 0.0) -> Iterator[Told]:
    """Every resistance under every duty, `EACH` times with another onset, in strings of 96 cells."""
    name, chemistry, capacity_ah, soc = place
    cases = [(ohm, duty) for ohm in OHMS for duty in (*DUTIES, "steps") for _ in range(EACH)]
    plan = Plan(chemistry, capacity_ah, 96, len(cases), END_S / 86_400, dt_s, 25.0, "grid", seed, faults=False)
    random = np.random.default_rng(seed)
    currents = np.zeros((len(cases), plan.rows))
    faults = []
    for n, (ohm, duty) in enumerate(cases):
        rough = np.repeat(random.normal(0, 0.3, plan.rows), int(120 / dt_s))[: plan.rows]
        currents[n] = DUTIES.get(duty, rough.clip(-0.5, 0.5) if duty == "steps" else 0.0)
        start = ONSET_S + float(random.uniform(0, 60))
        faults.append(Fault(n, int(random.integers(4, 92)), "internal_short", start, ohm, f"{ohm} ohm"))
    fleet = Steady(plan, soc, currents, tuple(faults), lag_s)
    work = Screen(len(cases), plan.cells, plan.cells, fleet.sheet())
    found: list[tuple[float, Finding]] = []
    for t, i, v, warm in fleet.rows():
        found += [(t, f) for f in work.row(t, i, v, warm)]
    for n, (ohm, duty) in enumerate(cases):
        mine = [(t, f) for t, f in found if f.rack == n]
        hit = [(t, f) for t, f in mine if f.element == faults[n].cell and t >= faults[n].start_s]
        first = next(((t - faults[n].start_s, f.text) for t, f in hit if f.fault.name == "INTERNAL_SHORT"), (None, ""))
        names = tuple(f.fault.name.lower() for _, f in hit)
        yield Told(name, ohm, duty, first[0], first[1], names, len(mine) - len(hit))


def table(dt_s: float, seed: int = 1, lag_s: float = 0.0) -> list[str]:
    """Median (and worst) seconds per place and duty; "-" where any was not told in `END_S - ONSET_S`."""
    lines = [f"rows of {dt_s:g} s, surface {lag_s:g} s behind the core"]
    lines.append(f"{'':16}{'':11}" + "".join(f"{ohm:>14g}" for ohm in OHMS))
    for place in PLACES:
        told = list(tried(place, dt_s, seed, lag_s))
        for duty in (*DUTIES, "steps"):
            cells = []
            for ohm in OHMS:
                mine = [x.after_s for x in told if x.duty == duty and x.ohm == ohm]
                hit = [x for x in mine if x is not None]
                text = f"{np.median(hit):.0f} ({max(hit):.0f})" if hit else "-"
                cells.append(text if len(hit) in (0, len(mine)) else f"{text} {len(hit)}/{len(mine)}")
            lines.append(f"{place[0]:16}{duty:11}" + "".join(f"{c:>14}" for c in cells))
        wrong = sum(c != "internal_short" for x in told for c in x.called)
        lines.append(f"{place[0]:16}called otherwise {wrong}, in healthy cells {sum(x.false for x in told)}")
    return lines


if __name__ == "__main__":
    for cadence_s, behind_s in ((1.0, 0.0), (5.0, 0.0), (1.0, 60.0), (1.0, 290.0)):
        print("\n".join(table(cadence_s, lag_s=behind_s)), end="\n\n")
