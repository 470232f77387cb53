"""Virtual cells with sensors that err, and what an estimate of theirs is worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np

from controller.core.signal import Floats
from tools.score.bench import Progress, estimate
from tools.score.sets import Profile

DIVERGED: Final = 0.10


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """Bounds of the sensor errors of each virtual cell, drawn evenly; noise is normal. Currents as a share of 1C."""

    name: str
    offset_v: float
    gain: float
    bias_c: float
    noise_c: float = 0.002
    noise_v: float = 0.001
    start: float = 0.2
    faults: tuple[str, ...] = ()
    """What fails for a while in every virtual cell: `nan`, `missing`, `frozen`, `swapped`, `gaps`."""


S1: Final = Scenario("S1", 0.010, 0.01, 0.005)
SCENARIOS: Final = {
    s.name: s
    for s in (
        S1,
        Scenario("S3", 0.0005, 0.0, 0.0005),
        dataclasses.replace(S1, name="S1nan", faults=("nan",)),
        dataclasses.replace(S1, name="S1missing", faults=("missing",)),
        dataclasses.replace(S1, name="S1frozen", faults=("frozen",)),
        dataclasses.replace(S1, name="S1swapped", faults=("swapped",)),
        dataclasses.replace(S1, name="S1gaps", faults=("gaps",)),
        dataclasses.replace(S1, name="S1F", faults=("nan", "frozen", "swapped")),
    )
}
"""S1: ordinary sensors; S3: good ones. The others are S1 with inputs that also fail for a while: NaN for 10 s in one
sensor or the other, both missing for 10 s, voltage frozen for a minute (once for ten), inputs swapped for one row,
nothing for ten minutes; S1F is NaN, frozen and swapped together."""


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """Errors after the warm-up in SOC 0..1 over the virtual cells; coverage is the share within two sigma."""

    profile: str
    group: str
    scenario: str
    cells: int
    rmse_median: float
    rmse_p95: float
    max_median: float
    max_worst: float
    diverged: int
    coverage: float
    sigma_over_rmse: float


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """A score and the traces it was made of: time (s), truth, and estimate and sigma of the median virtual cell."""

    score: Score
    time_s: Floats
    truth: Floats
    estimate: Floats
    sigma: Floats
    error_p05: Floats
    error_p95: Floats


def sensors(profile: Profile, scenario: Scenario, cells: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Current and voltage (cells, K) as the sensors show them, and the wrong SOC each cell starts from."""
    random = np.random.default_rng(seed)
    rows, capacity = len(profile.soc), profile.sheet["capacity_ah"]
    offset = random.uniform(-1, 1, (cells, 1)) * scenario.offset_v
    gain = 1.0 + random.uniform(-1, 1, (cells, 1)) * scenario.gain
    bias = random.uniform(-1, 1, (cells, 1)) * scenario.bias_c * capacity
    i = profile.current_a * gain + bias + random.normal(0, scenario.noise_c * capacity, (cells, rows))
    v = profile.voltage_v + offset + random.normal(0, scenario.noise_v, (cells, rows))
    wrong = np.where(np.arange(cells) % 2, 1.0, -1.0) * scenario.start
    first = float(profile.soc[0])
    wrong = np.where((first + wrong > 1) | (first + wrong < 0), -wrong, wrong)
    for fault in scenario.faults:
        _FAULTS[fault](i, v, profile.dt_s, random)
    return i, v, np.clip(first + wrong, 0.0, 1.0)


def _windows(rows: int, last_s: float, dt_s: float, times: int, random: np.random.Generator) -> list[slice]:
    """Stretches of `last_s` anywhere in the profile, at most a fifth of it each."""
    long = min(max(round(last_s / dt_s), 1), rows // 5)
    return [slice(int(at), int(at) + long) for at in random.integers(1, rows - long, times)]


def _nan(i: Floats, v: Floats, dt_s: float, random: np.random.Generator) -> None:
    for c in range(len(i)):
        for line in (v[c], i[c]):
            for w in _windows(i.shape[1], 10.0, dt_s, 6, random):
                line[w] = np.nan


def _missing(i: Floats, v: Floats, dt_s: float, random: np.random.Generator) -> None:
    for c in range(len(i)):
        for w in _windows(i.shape[1], 10.0, dt_s, 20, random):
            v[c, w] = i[c, w] = np.nan


def _frozen(i: Floats, v: Floats, dt_s: float, random: np.random.Generator) -> None:
    for c in range(len(i)):
        for last_s in (60.0, 60.0, 60.0, 60.0, 600.0):
            for w in _windows(i.shape[1], last_s, dt_s, 1, random):
                v[c, w] = v[c, w.start - 1]


def _swapped(i: Floats, v: Floats, dt_s: float, random: np.random.Generator) -> None:
    for c in range(len(i)):
        for w in _windows(i.shape[1], dt_s, dt_s, 6, random):
            i[c, w], v[c, w] = v[c, w].copy(), i[c, w].copy()


def _gaps(i: Floats, v: Floats, dt_s: float, random: np.random.Generator) -> None:
    for c in range(len(i)):
        for w in _windows(i.shape[1], 600.0, dt_s, 2, random):
            v[c, w] = i[c, w] = np.nan


_FAULTS: Final = {"nan": _nan, "missing": _missing, "frozen": _frozen, "swapped": _swapped, "gaps": _gaps}


def run(profile: Profile, scenario: Scenario, cells: int, seed: int, told: Progress | None = None) -> Run:
    """The product's estimator on one profile with `cells` virtual cells; the same seed gives the same figures."""
    return run_all(profile, [scenario], cells, [seed], told)[0]


def run_all(
    profile: Profile, scenarios: Sequence[Scenario], cells: int, seeds: Sequence[int], told: Progress | None = None
) -> list[Run]:
    """One run per scenario over `cells` virtual cells of each seed, all estimated side by side."""
    drawn = [[np.concatenate(a) for a in zip(*(sensors(profile, s, cells, d) for d in seeds), strict=True)]
             for s in scenarios]  # fmt: skip
    i, v, start = (np.concatenate(a) for a in zip(*drawn, strict=True))
    soc, sigma = estimate(i, v, profile.temperature_degc, profile.dt_s, start, profile.sheet, told)
    each = cells * len(seeds)
    return [_judged(profile, s, soc[k * each : (k + 1) * each], sigma[k * each : (k + 1) * each])
            for k, s in enumerate(scenarios)]  # fmt: skip


def _judged(profile: Profile, scenario: Scenario, soc: Floats, sigma: Floats) -> Run:
    time_s = np.arange(len(profile.soc)) * profile.dt_s
    judged = time_s >= min(profile.warm_s, 0.5 * time_s[-1])
    error = soc - profile.soc
    late = error[:, judged]
    rmse, worst = np.sqrt((late**2).mean(axis=1)), np.abs(late).max(axis=1)
    middle = int(np.argsort(rmse)[len(rmse) // 2])
    score = Score(
        profile.name, profile.group, scenario.name, len(soc), float(np.median(rmse)), float(np.percentile(rmse, 95)),
        float(np.median(worst)), float(worst.max()), int((~(worst <= DIVERGED)).sum()),
        float((np.abs(late) <= 2 * sigma[:, judged]).mean()),
        float(sigma[:, judged].mean() / np.sqrt((late**2).mean())),
    )  # fmt: skip
    low, high = np.asarray(np.percentile(error, [5, 95], axis=0), np.float64)
    return Run(score, time_s.astype(np.float64), profile.soc, soc[middle], sigma[middle], low, high)
