"""What the estimates are measured against: the project's own targets, and which half of the data may tune."""

from __future__ import annotations

import dataclasses
from typing import Final

from tools.score.scenario import Score

COVERAGE: Final = (0.90, 0.98)
TUNING: Final = ("drive 5 °C", "PyBaMM LFP", "cycle1 25 °C", "NMC R1")
"""Words in the names of profiles whose figures may decide a setting; the others only tell whether it holds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Most that is wanted, SOC 0..1: median RMSE, p95 RMSE, median of the largest error."""

    rmse_median: float
    rmse_p95: float = 1.0
    max_median: float = 1.0


TARGETS: Final = {
    ("LFP drive", "S1"): Target(0.015, 0.025, 0.03),
    ("LFP drive", "S3"): Target(0.007),
    ("LFP charge", "S1"): Target(0.010),
    ("NCA 25 °C", "S1"): Target(0.0055, 0.013, 0.012),
    ("NCA 10 °C", "S1"): Target(0.009),
    ("NMC", "S1"): Target(0.010),
    ("PyBaMM LFP", "S1"): Target(0.007),
    ("PyBaMM NMC", "S1"): Target(0.0035),
}


def misses(score: Score) -> list[str]:
    """What the score fails, in words; empty where it is all reached."""
    said = []
    target = TARGETS.get((score.group, score.scenario))
    if target is not None:
        for name, is_, most in (
            ("median", score.rmse_median, target.rmse_median),
            ("p95", score.rmse_p95, target.rmse_p95),
            ("max", score.max_median, target.max_median),
        ):
            if is_ > most:
                said.append(f"{name} > {100 * most:.2g}")
    if not COVERAGE[0] <= score.coverage <= COVERAGE[1]:
        said.append("coverage")
    if score.diverged:
        said.append("diverged")
    return said


def half(profile: str) -> str:
    """`tune` or `held`: the half of the data a profile belongs to."""
    return "tune" if any(word in profile for word in TUNING) else "held"
