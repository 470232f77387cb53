"""`cellwarden bench estimate`: the product's SOC filter over thousands of cells beside filterpy, cell by cell."""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from controller.core.settings import CellSheet
from controller.core.signal import Floats
from controller.core.topology import Topology
from tools.progress import done, step
from tools.score.bench import Rig

HELP = "Times the SOC estimator per scan of 100 ms for two sizes of site, and filterpy's EKF of one cell, in one run."
RACKS: Final = (12, 240)
MODULES, CELLS, SCAN_MS = 8, 52, 100
PEER_STEPS: Final = 2_000
WARM_UP: Final = 30
ABSENT: Final = "filterpy is not installed: pip install 'cellwarden[bench]' to measure it beside ours"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `bench estimate`."""
    parser.add_argument("--scans", type=int, default=300, help="scans per size (300)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Prints one row per size; the peer's time is that of one cell times their number."""
    if args.scans < 1:
        print("at least one scan is needed")
        return 2
    step("measuring filterpy")
    peer_us = peer()
    rows = []
    for racks in RACKS:
        step(f"measuring {racks * MODULES * CELLS} cells")
        rows.append(ours(racks, args.scans))
    done()
    if args.json:
        print(json.dumps({"filterpy_us_per_cell": peer_us, "sizes": rows}, indent=2))
        return 0
    print(f"SOC of every cell with its sigma, per scan of {SCAN_MS} ms; {args.scans} scans")
    print(f"{'cells':>7} {'mean ms':>8} {'p50 ms':>8} {'p99 ms':>8} {'filterpy ms':>12} {'ratio':>8}")
    for r in rows:
        beside = "" if peer_us is None else f" {peer_us * r['cells'] / 1e3:>12.0f}"
        ratio = "" if peer_us is None else f" {peer_us * r['cells'] / 1e3 / r['mean_ms']:>8.0f}"
        print(f"{r['cells']:>7} {r['mean_ms']:>8.2f} {r['p50_ms']:>8.2f} {r['p99_ms']:>8.2f}{beside}{ratio}")
    if peer_us is None:
        print(ABSENT)
    return 0


def ours(racks: int, scans: int) -> dict[str, Any]:
    """Figures of a site of `racks` racks: every scan counts the charge, one in ten or a hundred does more."""
    rig = Rig(Topology.regular(racks, MODULES, CELLS, 1), _sheet())
    rig.begin(np.full(racks, 0.5), 0.2)
    random = np.random.default_rng(1)
    volts = 3.29 + random.normal(0, 0.002, (racks, MODULES, CELLS))
    warm, amperes = np.full((), 25.0), random.normal(0, 40.0, (scans + WARM_UP, racks))
    rig.step(amperes[0], volts, warm, SCAN_MS)
    times = np.empty(scans)
    gc.collect()
    gc.disable()
    for k in range(scans + WARM_UP):
        rig.points.rack_current_a.value[...] = amperes[k]
        begin = time.perf_counter()
        rig.memory = rig.estimator.step(rig.memory, rig.measured, rig.outputs, SCAN_MS)
        if k >= WARM_UP:
            times[k - WARM_UP] = 1e3 * (time.perf_counter() - begin)
    gc.enable()
    p50, p99 = (float(np.quantile(times, q)) for q in (0.5, 0.99))
    return {"cells": racks * MODULES * CELLS, "mean_ms": float(times.mean()), "p50_ms": p50, "p99_ms": p99}


def peer() -> float | None:
    """Microseconds that filterpy's extended Kalman filter of SOC, two RC voltages and bias takes per cell and step."""
    try:
        kalman = importlib.import_module("filterpy.kalman")
    except ImportError:
        return None
    sheet = _sheet()
    f = kalman.ExtendedKalmanFilter(dim_x=4, dim_z=1)
    f.x, f.P, f.R, f.Q = np.array([[0.6], [0.0], [0.0], [0.0]]), np.eye(4) * 1e-2, np.eye(1) * 1e-2, np.eye(4) * 1e-9
    f.F = np.diag([1.0, 0.996, 0.9999, 1.0])
    at, slope = _table(sheet)

    def jacobian(x: Floats) -> Floats:
        return np.array([[slope(float(x[0, 0])), -1.0, -1.0, sheet.resistance_ohm]])

    def voltage(x: Floats) -> Floats:
        return np.array([[at(float(x[0, 0]))]]) - x[1:2] - x[2:3] + sheet.resistance_ohm * x[3:4]

    z = np.array([[3.29]])
    times = np.empty(PEER_STEPS)
    for k in range(PEER_STEPS):
        begin = time.perf_counter()
        f.predict()
        f.update(z, jacobian, voltage)
        times[k] = time.perf_counter() - begin
    return 1e6 * float(np.median(times))


def _table(sheet: CellSheet) -> tuple[Callable[[float], float], Callable[[float], float]]:
    grid = np.linspace(0.0, 1.0, 201)
    volts = np.interp(grid, sheet.soc_grid, sheet.ocv_v)
    slopes = np.gradient(volts, grid)
    return (
        lambda soc: float(volts[min(max(int(200 * soc), 0), 200)]),
        lambda soc: float(slopes[min(max(int(200 * soc), 0), 200)]),
    )


def _sheet() -> CellSheet:
    """A cell like LFP, 280 Ah, from its datasheet."""
    soc = np.linspace(0.0, 1.0, 21)
    volts = np.interp(soc, [0.0, 0.05, 0.15, 0.3, 0.65, 0.75, 0.97, 1.0], [2.0, 2.8, 3.1, 3.2, 3.27, 3.29, 3.33, 3.6])
    return CellSheet(280.0, 4e-4, 140.0, 280.0, 1.0, soc, volts)
