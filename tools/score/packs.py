"""Labelled strings: what early warning found, beside what was put in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from tools.score.screening import screen
from tools.score.sets import GRID, read

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
