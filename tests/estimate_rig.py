"""A string of cells that is not the estimator's own model: other resistances, a diffusion lag, sensors that err."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import yaml

from controller.core.signal import Floats
from plc_config.library import DATA

CAPACITY_AH = 280.0
GRID = np.linspace(0.0, 1.0, 201)


def sheet(cell_type: str = "lfp-280") -> dict[str, Any]:
    """The datasheet only: capacity, OCV table, resistance."""
    return {"capacity_ah": CAPACITY_AH, "soc_grid": GRID, "ocv_mid_v": _table(cell_type).copy(), "r0": 2.5e-4}


@cache
def _table(cell_type: str) -> Floats:
    """Its open-circuit voltage over `GRID`, read once: tests ask for it row by row, and YAML takes milliseconds."""
    cell = yaml.safe_load((DATA / "cells" / f"{cell_type}.yaml").read_text("utf-8"))
    return np.asarray(np.interp(GRID, cell["ocv"]["soc"], cell["ocv"]["volts"]))


def duty(days: float, dt_s: float, seed: int = 0) -> Floats:
    """Grid duty in A: a charge and a discharge a day with noise on both, and a rest after each."""
    random = np.random.default_rng(seed)
    hour = np.arange(0, days * 86_400, dt_s) / 3600.0 % 24
    plan = np.select(
        [hour < 4, hour < 6, hour < 10, hour < 14, hour < 22, hour < 23], [-0.11, 0, 0.1, 0, 0.055, 0.0], -0.1
    )
    noise = np.convolve(random.normal(0, 0.25, len(hour) + 9), np.ones(10) / 10, "valid")
    return np.asarray(CAPACITY_AH * (plan + np.where(plan == 0, 0.0, noise * 0.4)))


def string(
    current_a: Floats,
    dt_s: float,
    cells: int,
    start: float = 0.5,
    seed: int = 0,
    leak_ohm: dict[int, tuple[int, float]] | None = None,
) -> tuple[Floats, Floats]:
    """Voltage (K, cells) and true SOC (K, cells); `leak_ohm`: cell -> (row from which, ohm)."""  # fmt: skip
    random = np.random.default_rng(seed)
    s = sheet()
    q = CAPACITY_AH * (1 + random.normal(0, 0.008, cells))
    r0 = 2.8e-4 * (1 + random.normal(0, 0.04, cells))
    soc = np.full(cells, start) + random.normal(0, 0.004, cells)
    lag = 0.0
    volts, truth = np.empty((len(current_a), cells)), np.empty((len(current_a), cells))
    for k, i in enumerate(current_a):
        leak = np.zeros(cells)
        for c, (row, ohm) in (leak_ohm or {}).items():
            leak[c] = 3.3 / ohm if k >= row else 0.0
        soc = np.clip(soc - (i + leak) * dt_s / 3600 / q, 0.0, 1.0)
        lag += (i - lag) * (1 - np.exp(-dt_s / 600.0))
        volts[k] = np.interp(soc - 4e-5 * lag, GRID, s["ocv_mid_v"]) - r0 * i - 1.5e-4 * lag
        truth[k] = soc
    return volts + random.normal(0, 0.0005, volts.shape), truth
