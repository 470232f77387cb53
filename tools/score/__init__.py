"""The estimators of the product, driven over data: `estimate` for SOC, `screen` for early warning."""

from __future__ import annotations

from tools.score.bench import estimate
from tools.score.screening import screen

__all__ = ["estimate", "screen"]
