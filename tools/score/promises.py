"""Promises put to the test: what the product says before a load, and what the measured cell then did.

Every stretch of a recording whose power is nearly constant is a question whose answer is known: with the lowest voltage
of the stretch as the cell's limit, its mean power is the most that the cell could give for that time. A promise of
more is optimistic. A discharge to the end asks the same of the time to empty.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from controller.core.estimate import Ekf, EstimatorInputs
from controller.core.estimate.circuit import look
from controller.core.estimate.energy import STILL_C, Energies, rack_energy
from controller.core.estimate.power import PowerLimits, rack_power
from controller.core.outlook import HORIZONS
from controller.core.outlook_memory import RACK_DTYPE
from controller.core.settings import CellSheet, DeratingSettings, Polyline
from controller.core.signal import Floats, Ints
from controller.core.topology import Topology
from tools.score.bench import NO_BALANCING, Rig, sheet_of
from tools.score.learner import Learner
from tools.score.sets import Profile

SIGMA: Final = 0.01
"""Doubt of the SOC at the start, which is the reference's."""
LEAST_C: Final = 0.3
EVEN: Final = 0.2
"""Power within +-20 % of its mean counts as constant."""
MOST: Final = 60
"""Questions per recording and horizon, evenly over all there are."""
RATED: Final = 2.0
"""Rated current over the largest of the stretch: no promise is cut before it is wrong by so much."""
STEP_V: Final = 0.002
BANDS: Final = (0.0, 0.1, 0.3, 1.01)
EMPTY: Final = "to empty"
EMPTY_EVERY: Final = 0.05
"""SOC between two questions for the time to empty."""
DATASHEET_S: Final = 10.0
"""A datasheet's DC resistance is told after so long."""
SHEETS: Final = ("no rise", "fitted", "datasheet")
HEAD: Final = ("cell", "promise", "SOC", *SHEETS)
NOTE: Final = "kept / optimistic, median (most) of what was promised over what the cell did"
ALWAYS: Final = Polyline(np.array([-60.0, 100.0]), np.array([1.0, 1.0]))
Told = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """Asked after row `row`: what was promised over what the cell then did, W over W or h over h."""

    cell: str
    sheet: str
    horizon: str
    soc: float
    ratio: float


def _datasheet(profile: Profile) -> CellSheet:
    """What a datasheet has: capacity, OCV table and one resistance."""
    s = profile.sheet
    ohm = s["r0"] + s["r1"] * (1.0 - np.exp(-DATASHEET_S / s["tau1"]))
    kept = {name: value for name, value in s.items() if name not in ("r1", "tau1", "r2", "tau2")}
    return sheet_of({**kept, "r0": ohm})


def variants(profile: Profile) -> dict[str, CellSheet]:
    """What may be known of the cell, by the name it has in the table; each knows one resistance per branch.

    `no rise` has them at every SOC, as a comparison; the others get the careful default.
    """
    fitted = sheet_of(profile.sheet)
    flat = dataclasses.replace(fitted, resistance_soc=np.array([0.0, 1.0]), resistance_factor=np.array([1.0, 1.0]))
    return dict(zip(SHEETS, (flat, fitted, _datasheet(profile)), strict=True))


def ask(profile: Profile, sheet: str, cell: CellSheet, told: Told | None = None) -> list[Question]:
    """All questions of a recording, answered by the product's estimator: it knows `cell` and starts from the truth."""
    power = profile.current_a * profile.voltage_v
    rig = OutlookRig(cell)
    rig.begin(profile.soc[:1], SIGMA)
    asked: dict[int, list[tuple[str, int]]] = {}
    for name, seconds in HORIZONS:
        for k, end in _stretches(profile, power, seconds, cell.capacity_ah):
            asked.setdefault(k, []).append((name, end))
    for k, end in _discharges(profile, cell.capacity_ah):
        asked.setdefault(k, []).append((EMPTY, end))
    found = []
    time_s = profile.seconds()
    since_s = np.diff(time_s, prepend=-profile.dt_s)
    rows = max(asked, default=-1) + 1
    for k in range(rows):
        rig.step(profile.current_a[k : k + 1], profile.voltage_v[k : k + 1, None, None], profile.temperature_degc[k],
                 round(1000 * since_s[k]))  # fmt: skip
        for name, end in asked.get(k, ()):
            part = slice(k + 1, end + 1)
            if name == EMPTY:
                said = rig.hours(float(profile.voltage_v[end]), float(profile.current_a[k]))
                did = (time_s[end] - time_s[k]) / 3600.0
            else:
                low, amps = float(profile.voltage_v[part].min()), float(profile.current_a[part].max())
                said, did = rig.power(low, RATED * amps)[name], float(power[part].mean())
            found.append(Question(profile.group, sheet, name, float(profile.soc[k]), said / did))
        if told is not None and k % 1000 == 0:
            told(k, len(profile.soc))
    return found


class OutlookRig(Rig):
    """The whole estimator of one cell, and what it would promise if the cell's lower limit were another."""

    def __init__(self, sheet: CellSheet) -> None:
        super().__init__(Topology.regular(1, 1, 1, 1), sheet)
        self.sheet, self.racks = sheet, np.array([0])
        inputs = EstimatorInputs(Topology.regular(1, 1, 1, 1), sheet, NO_BALANCING, None)
        self.complete = Learner(Ekf(inputs), inputs, self._derating(0.0, sheet.discharge_current_a), 0.5)
        self.estimator = self.complete  # type: ignore[assignment]

    def _derating(self, low_v: float, rated_a: float) -> DeratingSettings:
        edge = Polyline(np.array([low_v, low_v + STEP_V]), np.array([0.0, 1.0]))
        top = Polyline(np.array([5.0, 5.0 + STEP_V]), np.array([1.0, 0.0]))
        cell = dataclasses.replace(self.sheet, discharge_current_a=rated_a)
        return DeratingSettings(cell, top, edge, ALWAYS, ALWAYS, 1e9)

    def power(self, low_v: float, rated_a: float) -> dict[str, float]:
        """Power in W by horizon."""
        sop = np.zeros(1, RACK_DTYPE)["power"]
        limits = PowerLimits(self.complete.circuit, self._derating(low_v, rated_a))
        limits.rack(self._seen(), sop, 0)
        told = rack_power(sop)
        return {name: float(getattr(told, f"rack_discharge_power_{name}_w")[0]) for name, _ in HORIZONS}

    def hours(self, low_v: float, amps: float) -> float:
        """Time to empty in h at the present current."""
        soe = self.energy(low_v, amps)
        return float(rack_energy(soe, np.array([amps]), STILL_C * self.sheet.capacity_ah).rack_time_to_empty_h[0])

    def energy(self, low_v: float, amps: float) -> Any:
        """The energies of the cell as the product keeps them (one record), rated for twice `amps`."""
        soe = np.zeros(1, RACK_DTYPE)["energy"]
        Energies(self.complete.circuit, self._derating(low_v, RATED * amps)).rack(self._seen(), soe)
        return soe

    def _seen(self) -> Any:
        return look(self.complete.circuit, self.memory, self.measured, self.complete.topology, self.racks)


def _stretches(p: Profile, power: Floats, seconds: float, capacity_ah: float) -> list[tuple[int, int]]:
    """(row before, last row) of stretches of `seconds` with nearly constant power of discharge."""
    rows = round(seconds / p.dt_s)
    if rows < 1 or abs(rows * p.dt_s - seconds) > 0.01 * seconds or len(power) <= rows + 2:
        return []
    load, current = (np.lib.stride_tricks.sliding_window_view(a[1:], rows) for a in (power, p.current_a))
    mean = load.mean(axis=1)
    even = (load.max(axis=1) < (1 + EVEN) * mean) & (load.min(axis=1) > (1 - EVEN) * mean)
    good = np.flatnonzero(even & (current.min(axis=1) > LEAST_C * capacity_ah))
    time_s = p.seconds()
    gapless = np.abs(time_s[good + rows] - time_s[good] - seconds) < 0.05 * seconds
    good = good[gapless & (p.soc[good] > 0) & (time_s[good] >= p.warm_s)]
    return [(int(k), int(k) + rows) for k in _some(good)]


def _some(rows: Ints) -> Ints:
    """At most `MOST` of them: every onset first, and evenly of the rest."""
    onset: Ints = rows[np.diff(rows, prepend=-10) > 1]
    if len(onset) >= MOST:
        return np.asarray(onset[np.linspace(0, len(onset) - 1, MOST).astype(int)])
    rest = np.setdiff1d(rows, onset)
    few = min(MOST - len(onset), len(rest))
    return np.sort(np.concatenate([onset, rest[np.linspace(0, len(rest) - 1, few).astype(int)]])) if few else onset


def _discharges(p: Profile, capacity_ah: float) -> list[tuple[int, int]]:
    """(row, last row) every `EMPTY_EVERY` of SOC along a discharge at one current that ends below 10 % SOC."""
    on = p.current_a > LEAST_C * capacity_ah
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(int), [0]])))
    found = []
    for a, b in zip(edges[::2], edges[1::2] - 1, strict=True):
        amps = p.current_a[a + 1 : b]
        if b - a < 20 or np.ptp(amps) > 0.05 * amps.mean() or p.soc[b] > BANDS[1] or p.soc[a] - p.soc[b] < 0.2:
            continue
        at = np.arange(p.soc[b] + EMPTY_EVERY, p.soc[a], EMPTY_EVERY)
        rows = np.unique(np.searchsorted(-p.soc[a : b + 1], -at[::-1]) + a)
        found += [(int(k), int(b)) for k in rows if p.seconds()[k] >= p.warm_s]
    return found


def table(questions: Iterable[Question]) -> list[list[str]]:
    """Rows below `HEAD`: per cell, promise and SOC band; per sheet kept / optimistic, median (most) of the ratio."""
    rows = []
    asked = list(questions)
    for cell in dict.fromkeys(q.cell for q in asked):
        for horizon in (*(h for h, _ in HORIZONS), EMPTY):
            for low, high in itertools.pairwise(BANDS):
                here = [q for q in asked if (q.cell, q.horizon) == (cell, horizon) and low <= q.soc < high]
                each = [np.array([q.ratio for q in here if q.sheet == sheet]) for sheet in SHEETS]
                if here:
                    band = f"{100 * low:.0f}-{min(100 * high, 100):.0f} %"
                    rows.append([cell, horizon, band, *(_told(ratio) for ratio in each)])
    return rows


def _told(ratio: Floats) -> str:
    kept = int((ratio <= 1.0).sum())
    return f"{kept} / {len(ratio) - kept}, {np.median(ratio):.2f} ({ratio.max():.2f})" if len(ratio) else "-"
