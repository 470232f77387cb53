"""Virtual cells with sensors that err, and what an estimate of theirs is worth."""

from __future__ import annotations

import dataclasses
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
    faults: bool = False


SCENARIOS: Final = {
    "S1": Scenario("S1", 0.010, 0.01, 0.005),
    "S3": Scenario("S3", 0.0005, 0.0, 0.0005),
    "S1F": Scenario("S1F", 0.010, 0.01, 0.005, faults=True),
}
"""S1: ordinary sensors; S3: good ones; S1F: S1 with sensors that also fail, freeze and swap for a while."""


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
    if scenario.faults:
        _fail(i, v, profile.dt_s, random)
    return i, v, np.clip(first + wrong, 0.0, 1.0)


def _fail(i: Floats, v: Floats, dt_s: float, random: np.random.Generator) -> None:
    """In place, per cell: NaN for 10 s in V and in I, frozen voltage for 60 s, swapped inputs for one row."""
    cells, rows = i.shape
    ten, sixty = max(round(10 / dt_s), 1), max(round(60 / dt_s), 2)
    for c in range(cells):
        for at in random.integers(0, rows - sixty, 6):
            v[c, at : at + ten] = np.nan
        for at in random.integers(0, rows - sixty, 6):
            i[c, at : at + ten] = np.nan
        for at in random.integers(1, rows - sixty, 4):
            v[c, at : at + sixty] = v[c, at - 1]
        for at in random.integers(1, rows, 4):
            i[c, at], v[c, at] = v[c, at], i[c, at]


def run(profile: Profile, scenario: Scenario, cells: int, seed: int, told: Progress | None = None) -> Run:
    """The product's estimator on one profile with `cells` virtual cells; the same seed gives the same figures."""
    i, v, start = sensors(profile, scenario, cells, seed)
    soc, sigma = estimate(i, v, profile.temperature_degc, profile.dt_s, start, profile.sheet, told)
    time_s = np.arange(len(profile.soc)) * profile.dt_s
    judged = time_s >= min(profile.warm_s, 0.5 * time_s[-1])
    error = soc - profile.soc
    late = error[:, judged]
    rmse, worst = np.sqrt((late**2).mean(axis=1)), np.abs(late).max(axis=1)
    middle = int(np.argsort(rmse)[len(rmse) // 2])
    score = Score(
        profile.name, profile.group, scenario.name, cells, float(np.median(rmse)), float(np.percentile(rmse, 95)),
        float(np.median(worst)), float(worst.max()), int((~(worst <= DIVERGED)).sum()),
        float((np.abs(late) <= 2 * sigma[:, judged]).mean()),
        float(sigma[:, judged].mean() / np.sqrt((late**2).mean())),
    )  # fmt: skip
    low, high = np.asarray(np.percentile(error, [5, 95], axis=0), np.float64)
    return Run(score, time_s.astype(np.float64), profile.soc, soc[middle], sigma[middle], low, high)
