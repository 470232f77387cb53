"""The data sets of a folder and the sheet that belongs to each: what an estimator may start from."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from controller.core.signal import Floats
from plc_config.library import DATA

GRID: Final = np.linspace(0.0, 1.0, 201)
KELVIN, REFERENCE_K = 273.15, 298.15
REST_S: Final = 30.0
DAY_S, WARM_S = 86_400.0, 600.0
"""Seconds before errors count: a day of grid duty, ten minutes of a laboratory profile."""
NMC_CYCLES: Final = (0, 25, 49)
HYSTERESIS_FREE: Final = ("nca_panasonic", "nmc_dmegc")
"""Folders whose half gap is polarisation, not hysteresis, or is not known (see the README beside the data)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """One profile with its truth: what the sensors of a perfect instrument would have shown, every `dt_s`."""

    name: str
    group: str
    dt_s: float
    current_a: Floats
    voltage_v: Floats
    temperature_degc: Floats
    soc: Floats
    sheet: dict[str, Any]
    warm_s: float
    time_s: Floats | None = None
    """Of every row, from 0; None: they are `dt_s` apart."""

    def seconds(self) -> Floats:
        """Time of every row from 0."""
        if self.time_s is None:
            return np.asarray(np.arange(len(self.soc)) * self.dt_s, np.float64)
        return self.time_s


def folder(given: str | None = None) -> Path | None:
    """The data folder: `given`, else $CELLWARDEN_DATA/cells, else ../shared/data/cells beside the repository."""
    root = Path(__file__).parents[2]
    places = [Path(given)] if given else []
    if not given:
        told = os.environ.get("CELLWARDEN_DATA")
        bases = [Path(told)] if told else [root.parent / "shared" / "data"]
        places = [p for b in bases for p in (b / "cells", b)]
    return next((p for p in places if any((p / n).is_dir() for n in ("pybamm", "packs", "lfp_a123"))), None)


def read(path: Path) -> dict[str, Floats]:
    """Columns of a CSV, gzip or not; empty fields are NaN."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        names = next(csv.reader(file))
        values = np.genfromtxt(file, delimiter=",")
    return {name: values[:, k] for k, name in enumerate(names)}


def profiles(data: Path) -> Iterator[Profile]:
    """Every profile found under `data`, LFP first; folders that are not there are passed over."""
    for part in (_a123, _pybamm, _panasonic, _dmegc):
        yield from part(data)


def loads(data: Path) -> Iterator[Profile]:
    """Pulse tests and discharges from end to end, whose stretches of one power put promises to the test."""
    place = data / "nca_panasonic"
    for path in sorted((*place.glob("hppc*.csv.gz"), *place.glob("cap*.csv.gz"))):
        d = _every(read(path), 1.0)
        yield _profile("Panasonic NCA 25 °C", "Panasonic NCA", d, _nca_sheet(place, 25.0), 0.0)
    place = data / "nmc_dmegc"
    for path in sorted((*place.glob("*_pulse.csv.gz"), *place.glob("*_cap*.csv.gz"))):
        unit = path.name.partition("_")[0]
        yield _profile(f"DMEGC NMC {unit}", "DMEGC NMC", read(path), _nmc_sheet(place, unit), 0.0)


def _every(d: dict[str, Floats], dt_s: float) -> dict[str, Floats]:
    """Means over `dt_s`, and a row every `REST_S` where the recording leaves out a rest."""
    if float(np.median(np.diff(d["time_s"]))) > 0.5 * dt_s:
        return d
    step = np.floor(d["time_s"] / dt_s + 1e-6)
    first = np.flatnonzero(np.diff(step, prepend=-1.0))
    rows = np.diff(np.append(first, len(step)))
    mean = {name: np.add.reduceat(a, first) / rows for name, a in d.items()}
    time_s = mean["time_s"] = (step[first] + 1.0) * dt_s
    gaps = [(a, b) for a, b in itertools.pairwise(time_s) if b - a > 2 * REST_S]
    more = [np.arange(a + REST_S, b - dt_s, REST_S) for a, b in gaps]
    every = np.unique(np.concatenate([time_s, *more]))
    return {name: np.asarray(np.interp(every, time_s, a), np.float64) for name, a in mean.items()}


def _sheet(capacity_ah: float, eta: float, soc: Floats, ocv: Floats, half: Floats | float, ecm: dict[str, float],
           **more: float) -> dict[str, Any]:  # fmt: skip
    grid = soc if len(soc) < len(GRID) else GRID
    half = np.interp(grid, soc, half) if np.ndim(half) else np.full(len(grid), float(half))
    return {
        "capacity_ah": capacity_ah, "eta": eta, "soc_grid": grid, "ocv_mid_v": np.interp(grid, soc, ocv),
        "hyst_half_v": half, "r0": ecm["r0_ohm"], "r1": ecm["r1_ohm"], "tau1": ecm["tau1_s"], "r2": ecm["r2_ohm"],
        "tau2": ecm["tau2_s"], "gamma": ecm.get("hyst_gamma", 1.0), "ms": ecm.get("hyst_scale", 0.0), **more,
    }  # fmt: skip


def _cell(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((place / "cell.yaml").read_text("utf-8"))
    return found


def _at(cell: dict[str, Any], degc: float) -> dict[str, float]:
    """The 25 degC circuit at another temperature, by the sheet's Arrhenius constants."""
    ecm = dict(cell["ecm_25c"])
    inverse = 1.0 / (degc + KELVIN) - 1.0 / REFERENCE_K
    for name in ("r0", "r1", "r2"):
        ecm[f"{name}_ohm"] *= float(np.exp(cell["arrhenius_k"][name] * inverse))
    return ecm


def _profile(name: str, group: str, d: dict[str, Floats], sheet: dict[str, Any], warm_s: float) -> Profile:
    dt_s = float(np.median(np.diff(d["time_s"])))
    return Profile(name, group, dt_s, d["current_a"], d["voltage_v"], d["temperature_c"], d["soc_ref"], sheet, warm_s,
                   d["time_s"] - d["time_s"][0])  # fmt: skip


def _a123(data: Path) -> Iterator[Profile]:
    place = data / "lfp_a123"
    for path in sorted((*place.glob("drive_*.csv.gz"), *place.glob("charge_*.csv.gz"))):
        kind, _, degc = path.name.removesuffix("C.csv.gz").partition("_T")
        cell, ocv = _cell(place), read(place / f"ocv_T{degc}C.csv")
        sheet = _sheet(cell["capacity_ah"], cell["coulombic_efficiency"], ocv["soc"], ocv["ocv_mid_v"],
                       ocv["hyst_half_v"], _at(cell, float(degc)))  # fmt: skip
        yield _profile(f"A123 LFP {kind} {int(degc)} °C", f"LFP {kind}", read(path), sheet, WARM_S)


def _panasonic(data: Path) -> Iterator[Profile]:
    place = data / "nca_panasonic"
    for path in sorted((*place.glob("cycle*.csv.gz"), *place.glob("us06*.csv.gz"))):
        kind, _, degc = path.name.removesuffix("C.csv.gz").partition("_T")
        group = f"NCA {'25' if float(degc) >= 20 else '10'} °C"
        sheet = _nca_sheet(place, float(degc))
        yield _profile(f"Panasonic NCA {kind} {int(degc)} °C", group, read(path), sheet, WARM_S)


def _nca_sheet(place: Path, degc: float) -> dict[str, Any]:
    cell, ocv = _cell(place), read(place / "ocv_T+25C.csv")
    capacity = cell["capacity_ah"] if degc >= 20 else 2.80
    return _sheet(capacity, 1.0, ocv["soc"], ocv["ocv_mid_v"], 0.0, _at(cell, degc))


def _dmegc(data: Path) -> Iterator[Profile]:
    place = data / "nmc_dmegc"
    for path in sorted(place.glob("*_random_walk.csv.gz")):
        unit = path.name.partition("_")[0]
        d, sheet = read(path), _nmc_sheet(place, unit)
        for cycle in NMC_CYCLES:
            part = {k: v[d["cycle"] == cycle] for k, v in d.items()}
            yield _profile(f"DMEGC NMC {unit} walk {cycle}", "NMC", part, sheet, WARM_S)


def _nmc_sheet(place: Path, unit: str) -> dict[str, Any]:
    slow, cell = read(place / f"{unit}_ocv_c20_dis.csv.gz"), _cell(place)
    on = slow["current_a"] > 0.05
    soc, time_s = slow["soc_ref"][on], slow["time_s"][on]
    current = float(np.median(slow["current_a"][on]))
    capacity = current * (time_s[-1] - time_s[0]) / 3600.0 / (soc[0] - soc[-1])
    lifted = slow["voltage_v"][on] + 0.006
    return _sheet(capacity, 1.0, soc[::-1], lifted[::-1], 0.0, cell["ecm_25c"])


PYBAMM: Final = {
    "lfp_prada": ("lfp-280", "PyBaMM LFP", 2.3032, (0.043, 0.0176, 80.0, 0.0076, 3000.0)),
    "nmc_chen": ("nmc-94", "PyBaMM NMC", 5.153, (0.0345, 0.0145, 60.0, 0.001, 1500.0)),
}
"""File, cell type whose OCV table has the same source, group, capacity (Ah), R0, R1, tau1, R2, tau2 as fitted to it."""


def _pybamm(data: Path) -> Iterator[Profile]:
    for name, (cell_type, group, capacity, circuit) in PYBAMM.items():
        for path in sorted((data / "pybamm").glob(f"{name}_*.csv.gz")):
            ocv = yaml.safe_load((DATA / "cells" / f"{cell_type}.yaml").read_text("utf-8"))["ocv"]
            ecm = dict(zip(("r0_ohm", "r1_ohm", "tau1_s", "r2_ohm", "tau2_s"), circuit, strict=True))
            sheet = _sheet(capacity, 1.0, np.array(ocv["soc"]), np.array(ocv["volts"]), 0.0, ecm)
            days = path.name.removesuffix(".csv.gz").removeprefix(f"{name}_")
            yield _profile(f"{group} {days}", group, read(path), sheet, DAY_S)
