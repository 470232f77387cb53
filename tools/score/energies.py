"""Energy in Wh put to the test: what the product says is left, and what the measured cell then gave or took.

A discharge at one current to the end is asked with the voltage at its end as the cell's limit: the energy told for that
power against what came. A drive or a duty does not end at a limit; there, what was told to be left less what was told
at the end is compared with what flowed between.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from controller.core.estimate.energy import energy_at
from controller.core.settings import CellSheet
from controller.core.signal import Floats
from tools.score.promises import OutlookRig
from tools.score.sets import Profile, loads, profiles

SIGMA: Final = 0.01
"""Doubt of the SOC at the start, which is the reference's."""
EVERY: Final = 0.05
"""SOC between two questions."""
LEAST_SOC: Final = 0.1
"""Of a drive or a duty, SOC between question and answer: less is mostly error of the reference."""
ONE_CURRENT: Final = 0.05
LEAST_C: Final = 0.03
OPEN_V: Final = 0.05
"""Above the lowest voltage of the OCV table: the limit of a cell whose recording has none."""
HEAD: Final = ("recording", "energy", "rate", "questions", "told / came: median", "p5", "p95")
Told = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """Asked of a recording at `soc`: energy that was told over energy that came, Wh over Wh; rate in C."""

    recording: str
    energy: str
    rate_c: float
    soc: float
    ratio: float


def recordings(data: Path) -> Iterable[Profile]:
    """Discharges from end to end, drives and days of duty."""
    yield from (p for p in loads(data) if _to_the_end(p))
    yield from profiles(data)


def ask(profile: Profile, cell: CellSheet, told: Told | None = None) -> list[Question]:
    """All questions of a recording, answered by the product's estimator: it knows `cell` and starts from the truth."""
    run = _to_the_end(profile)
    first, last = run if run is not None else (0, len(profile.soc) - 1)
    wh = np.cumsum(profile.current_a * profile.voltage_v * np.diff(profile.seconds(), prepend=-profile.dt_s)) / 3600
    mean_a = float(np.mean(profile.current_a[first + 1 : last + 1]))
    low_v = float(profile.voltage_v[last] if run is not None else profile.sheet["ocv_mid_v"].min() + OPEN_V)
    amps = mean_a if run is not None else 0.25 * cell.capacity_ah
    mean_w = abs(float(wh[last] - wh[first])) * 3600 / (profile.seconds()[last] - profile.seconds()[first])
    rows = _rows(profile, first, last)
    rig = OutlookRig(cell)
    rig.begin(profile.soc[:1], SIGMA)
    since_s = np.diff(profile.seconds(), prepend=-profile.dt_s)
    said: dict[int, tuple[float, float]] = {}
    for k in range(last + 1):
        rig.step(profile.current_a[k : k + 1], profile.voltage_v[k : k + 1, None, None], profile.temperature_degc[k],
                 round(1000 * since_s[k]))  # fmt: skip
        if k in rows or k == last:
            said[k] = _left(rig.energy(low_v, amps), mean_w if run is not None else 0.0)
        if told is not None and k % 1000 == 0:
            told(k, len(profile.soc))
    end = (0.0, 0.0) if run is not None else said[last]
    kind = "to the end" if run is not None else "between"
    found = []
    for k in rows:
        came, direction = float(wh[last] - wh[k]), int(profile.soc[k] < profile.soc[last])
        what = ("discharge", "charge")[direction]
        ratio = (said[k][direction] - end[direction]) / abs(came)
        rate = abs(mean_a) if run is not None else float(np.abs(profile.current_a[k:last]).mean())
        found.append(Question(profile.name, f"{what} {kind}", rate / cell.capacity_ah, float(profile.soc[k]), ratio))
    return found


def _left(soe: Any, power_w: float) -> tuple[float, float]:
    """Energy to deliver at that power, and to take, Wh."""
    out, into = soe["wh"][0]
    told_w = max(float(soe["reference_w"][0] - soe["loss_w"][0]), 0.0)
    return energy_at(power_w, told_w, (float(out), *soe["fast_wh"][0].tolist())), float(into)


def _to_the_end(p: Profile) -> tuple[int, int] | None:
    """First and last row of a discharge at one current that goes to the end; None where there is none."""
    on = p.current_a > LEAST_C * p.sheet["capacity_ah"]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(int), [0]])))
    for a, b in zip(edges[::2], edges[1::2] - 1, strict=True):
        amps = p.current_a[a + 1 : b]
        if b - a > 20 and np.ptp(amps) < ONE_CURRENT * amps.mean() and p.soc[a] - p.soc[b] > 0.5:
            return int(a), int(b)
    return None


def _rows(p: Profile, first: int, last: int) -> list[int]:
    """Rows at which the SOC has moved by `EVERY` since the row before, far enough from the last."""
    rows, before = [], np.inf
    for k in range(first + 1, last):
        far = abs(p.soc[k] - p.soc[last]) >= LEAST_SOC
        if far and abs(p.soc[k] - before) >= EVERY and p.seconds()[k] >= p.warm_s:
            rows.append(k)
            before = p.soc[k]
    return rows


def table(questions: Iterable[Question]) -> list[list[str]]:
    """Rows below `HEAD`: per recording and energy the ratio of what was told to what came."""
    asked, rows = list(questions), []
    for name, energy in dict.fromkeys((q.recording, q.energy) for q in asked):
        here = [q for q in asked if (q.recording, q.energy) == (name, energy)]
        ratio: Floats = np.array([q.ratio for q in here])
        rate = float(np.median([q.rate_c for q in here]))
        rows.append([name, energy, f"{rate:.2f}C", str(len(here)),
                     *(f"{np.percentile(ratio, p):.3f}" for p in (50, 5, 95))])  # fmt: skip
    return rows
