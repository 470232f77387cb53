"""Labelled strings: how well every cell's SOC is known, and what early warning found beside what was put in."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from controller.core.settings import CellSheet
from controller.core.signal import Floats
from controller.core.topology import Topology
from tools.score.bench import Rig, sheet_of
from tools.score.screening import screen
from tools.score.sets import DAY_S, GRID, read

NAMES: Final = {
    "soft_isc": "internal_short", "escalating_isc": "internal_short", "resistance_growth": "resistance_growth",
    "busbar_step": "busbar_step", "low_capacity": "low_capacity", "voltage_sensor_offset_step": "voltage_sensor",
    "temperature_sensor_step": "temperature_sensor",
}  # fmt: skip
"""Events of the generator, and the fault they should be called."""


def packs(data: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of every labelled string."""
    for path in sorted((data / "packs").glob("pack_*.npz")):
        if not path.stem.endswith("truth_soc"):
            yield path.stem, path


def pack_sheet(place: Path) -> dict[str, Any]:
    """The nominal sheet of the strings' cells, 25 degC."""
    cell = yaml.safe_load((place / "cell_280ah.yaml").read_text("utf-8"))
    ocv, ecm = read(place / cell["ocv"]["file"]), cell["ecm_25c"]
    return {
        "capacity_ah": float(cell["capacity_ah"]), "eta": 1.0, "soc_grid": GRID,
        "ocv_mid_v": np.interp(GRID, ocv["soc"], ocv["ocv_mid_v"]),
        "hyst_half_v": np.interp(GRID, ocv["soc"], ocv["hyst_half_v"]), "r0": float(ecm["r0_ohm"]),
        "r1": float(ecm["r1_ohm"]), "tau1": ecm["tau1_s"], "r2": float(ecm["r2_ohm"]), "tau2": ecm["tau2_s"],
        "gamma": ecm["hyst_gamma"], "ms": ecm["hyst_scale"],
    }  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class StringScore:
    """RMSE after a day in SOC 0..1: of the median cell, and of the cells without a fault (median and worst of them)."""

    string: str
    cells: int
    healthy: int
    string_rmse: float
    cell_rmse_median: float
    cell_rmse_worst: float
    coverage: float


def string_score(path: Path) -> StringScore:
    """The product's filter on the logged string, started at 50 +- 30 %; truth is known every ten minutes."""
    log, truth = np.load(path), np.load(path.with_name(f"{path.stem}_truth_soc.npz"))
    at_s, true = truth["time_s"], truth["soc_1e4"] / 1e4
    soc, sigma = _tracked(log, at_s, sheet_of(pack_sheet(path.parent)))
    events = json.loads(path.with_name(f"{path.stem}_truth.json").read_text("utf-8"))["events"]
    healthy = np.setdiff1d(np.arange(true.shape[1]), [e["cell"] for e in events])
    late = (at_s >= DAY_S) & np.isfinite(soc).all(axis=1)
    soc, sigma, true = soc[late][:, healthy], sigma[late][:, healthy], true[late][:, healthy]
    middle = np.median(soc, axis=1) - np.median(true, axis=1)
    error = soc - true
    rmse = np.sqrt((error**2).mean(axis=0))
    return StringScore(
        path.stem, log["voltage_01mv"].shape[1], len(healthy), float(np.sqrt((middle**2).mean())),
        float(np.median(rmse)), float(rmse.max()), float((np.abs(error) <= 2 * sigma).mean()),
    )  # fmt: skip


def _tracked(log: Any, at_s: Floats, sheet: CellSheet) -> tuple[Floats, Floats]:
    """SOC and sigma (rows of truth, cells) of a logged string; NaN where the log has ended."""
    time_s, current, volts = log["time_s"], log["current_a"], log["voltage_01mv"]
    warm = log["temperature_01c"].mean(axis=1) / 10.0
    cells = volts.shape[1]
    rig = Rig(Topology.regular(1, 1, cells, 1), sheet)
    rig.begin(np.array([0.5]), 0.3)
    soc, sigma = np.full((len(at_s), cells), np.nan), np.full((len(at_s), cells), np.nan)
    steps_ms = np.rint(1000 * np.diff(time_s, prepend=2 * time_s[0] - time_s[1])).astype(int)
    row = 0
    for k, step_ms in enumerate(steps_ms):
        memory = rig.step(current[k : k + 1], volts[None, None, k] / 1e4, warm[k : k + 1], int(step_ms))
        while row < len(at_s) and at_s[row] <= time_s[k] + 1e-6:
            soc[row], sigma[row] = memory.cell_charge_ratio[0, 0], np.sqrt(memory.cell_variance[0, 0])
            row += 1
    return soc, sigma


def judged(path: Path) -> list[dict[str, Any]]:
    """What `screen` finds in the string, each with the word of truth; what it missed comes last with t_s NaN."""
    log = np.load(path)
    found = screen(
        log["time_s"], log["current_a"], log["voltage_01mv"] / 1e4, log["temperature_01c"] / 10.0,
        pack_sheet(path.parent),
    )  # fmt: skip
    events = json.loads(path.with_name(f"{path.stem}_truth.json").read_text("utf-8"))["events"]
    by_cell = {e["cell"]: e for e in events}
    for item in found:
        event = by_cell.get(item["cell"])
        if event is None:
            item["truth"] = "false alarm"
            continue
        after_h = (item["t_s"] - event["start_s"]) / 3600.0
        right = NAMES.get(event["type"]) == item["fault"]
        item["truth"] = f"{'right' if right else 'wrong class'}, {after_h:.1f} h after {event['type']}"
    hit = {(i["cell"], i["fault"]) for i in found}
    for event in events:
        if (event["cell"], NAMES.get(event["type"], event["type"])) not in hit:
            found.append({"t_s": float("nan"), "cell": event["cell"], "fault": NAMES.get(event["type"], "?"),
                          "severity": 0.0, "evidence": "", "truth": f"missed {event['type']}"})  # fmt: skip
    return found
