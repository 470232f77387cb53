"""`cellwarden bench scan`: what one scan costs over the number of cells, on a healthy plant under power."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import time
from typing import Any, Final

import numpy as np

from controller.core.field_image import FieldImage
from controller.core.image import InputImage, ProcessImage
from controller.core.layout import Layout
from controller.core.memory import Memory
from controller.core.scan import react, reflect
from controller.core.signal import Quality
from controller.core.unchanged import Unchanged
from plc_config.compile import Compiled, compile_site
from plc_config.coverage import points_read
from tools.progress import done, step

HELP = "Times the pure scan and the copies around it for the three reference sites and prints a table."
SITES: Final = ("bench", "container", "plant")
ROUNDS: Final = 5
WARM_UP: Final = 20
REST_V: Final = 3.29


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `bench scan`."""
    parser.add_argument("--scans", type=int, default=200, help="scans per round (five rounds, medians)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Prints one row per site."""
    rows = []
    for name in SITES:
        step(f"measuring {name}")
        rows.append(measure(compile_site(name), args.scans))
    done()
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    print(f"scan, medians of {ROUNDS} rounds x {args.scans} scans")
    print("scan = from the inputs to the outputs; all = with what is learnt afterwards; copies = images and record")
    times = f"{'scan p50 ms':>12} {'p99 ms':>8} {'all p50 ms':>11} {'p99 ms':>8} {'copies ms':>10} {'us/cell':>8}"
    print(f"{'site':<10} {'cells':>7} {'alarms':>7} {times}")
    for row in rows:
        print(
            f"{row['site']:<10} {row['cells']:>7} {row['slots']:>7} {row['scan_p50_ms']:>12.2f} "
            f"{row['scan_p99_ms']:>8.2f} {row['all_p50_ms']:>11.2f} {row['all_p99_ms']:>8.2f} "
            f"{row['copies_ms']:>10.2f} {row['us_per_cell']:>8.2f}"
        )
    return 0


def measure(site: Compiled, scans: int) -> dict[str, Any]:
    """Figures of one site."""
    program = site.program
    t = program.topology
    inputs = _healthy(site)
    memory = program.blank_memory()
    image = None
    for i in range(WARM_UP):
        memory, image, _ = react(program, memory, _step(inputs, i))
        memory = reflect(program, memory, image)
    found = []
    unchanged = Unchanged(program)
    gc.collect()
    gc.disable()
    for _ in range(ROUNDS):
        times = np.empty((scans, 2))
        for i in range(scans):
            step = _step(inputs, WARM_UP + i)
            begin = time.perf_counter()
            memory, image, _ = react(program, memory, step)
            acted = time.perf_counter()
            memory = reflect(program, memory, image)
            unchanged.look()
            times[i] = acted - begin, time.perf_counter() - begin
        found.append(np.quantile(times, (0.5, 0.99), axis=0) * 1e3)
    gc.enable()
    cells = t.racks * t.modules * t.cells
    (scan_ms, all_ms), (scan_p99_ms, all_p99_ms) = np.median(found, axis=0).tolist()
    return {
        "site": program.site_id,
        "cells": cells,
        "slots": program.matrix.size,
        "scan_p50_ms": scan_ms,
        "scan_p99_ms": scan_p99_ms,
        "all_p50_ms": all_ms,
        "all_p99_ms": all_p99_ms,
        "copies_ms": _copies(site, memory, image),
        "us_per_cell": 1e3 * all_ms / cells,
    }


def _healthy(site: Compiled) -> InputImage:
    program = site.program
    inputs = Layout(InputImage, program.dims).blank()
    p, t = inputs.points, program.topology
    read = points_read(site.plan)
    for name in p.__dataclass_fields__:
        getattr(p, name).quality[...] = int(Quality.GOOD if name in read else Quality.NOT_FITTED)
    rng = np.random.default_rng(1)
    p.cell_voltage_v.value[...] = REST_V + rng.normal(0, 0.003, p.cell_voltage_v.value.shape)
    p.cell_temperature_degc.value[...] = 25.0
    p.rack_voltage_v.value[...] = REST_V * t.modules * t.cells
    p.rack_insulation_ohm.value[...] = 1e6
    for name in ("estop_channel_1_closed", "estop_channel_2_closed", "hvac_healthy", "door_closed"):
        getattr(p, name).value[...] = 1.0
    p.aux_supply_v.value[...] = 24.0
    return inputs


def _step(inputs: InputImage, number: int) -> InputImage:
    now = 1_000_000 + 100 * number
    for name in inputs.points.__dataclass_fields__:
        getattr(inputs.points, name).time_ms[...] = now - 15
    inputs.points.module_sample_counter.value[...] = number
    inputs.points.rack_heartbeat_echo.value[...] = number
    system = dataclasses.replace(inputs.system, scan=number + 1, now_ms=now, utc_ms=now, elapsed_ms=100)
    return dataclasses.replace(inputs, system=system)


def _copies(site: Compiled, memory: Memory, image: ProcessImage | None) -> float:
    """The hand-over of one scan: field image read, process image, memory and record written."""
    dims = site.program.dims
    layouts: list[Layout[Any]] = [Layout(ProcessImage, dims), Layout(Memory, dims)]
    buffers = [np.zeros(layout.size, np.uint8) for layout in layouts]
    record = Layout(InputImage, dims)
    inputs, raw = record.blank(), np.zeros(record.size, np.uint8)
    field = Layout(FieldImage, dims)
    field_raw = np.zeros(field.size, np.uint8)
    times = []
    for _ in range(50):
        begin = time.perf_counter()
        field.view(field_raw.copy())
        for layout, value, buffer in zip(layouts, (image, memory), buffers, strict=True):
            layout.write(value, buffer)
        record.write(inputs, raw)
        times.append(time.perf_counter() - begin)
    return float(np.median(times)) * 1e3
