"""`cellwarden probe SITE`: the whole site point by point, as a sheet to be signed at commissioning."""

from __future__ import annotations

import argparse
import asyncio
import csv
import dataclasses
import html
import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from controller.fieldbus.link import LinkLost
from controller.fieldbus.request import Failure
from controller.image.folder import run_folder
from plc_config.compile import Compiled, compile_site
from plc_config.plan import BusPlan, DevicePlan
from tools import progress
from tools.commands.read import may_ask_all, where
from tools.field_line import Answer, Line
from tools.field_view import UNEXPECTED, Reading, View
from tools.self_config import as_found

HELP = "Reads every point of every device of SITE once, judges it, and prints a point-to-point sheet. Writes nothing."
EXAMPLE = "cellwarden probe bench --csv sheet.csv --html sheet.html"
EXIT_FAILED, EXIT_UNREACHABLE, EXIT_RUNNING = 1, 69, 75
COUNTER: Final = "module_sample_counter"
COUNTER_WAIT_S: Final = 1.0
"""A device that takes samples has taken one within this time."""

SPREAD_V: Final = 0.2
"""Cells of one module further apart than this are worth a look before anything else is."""

HINTS: Final = {
    "rack_current_a": "sign test: discharge must show positive",
    "pcs_active_power_w": "sign test: export must show positive",
    "pcs_dc_current_a": "sign test: discharge must show positive",
    "rack_main_closed": "open and close by hand; the value must follow",
    "rack_precharge_closed": "open and close by hand; the value must follow",
    "rack_insulation_ohm": "compare with the monitor's own display",
    "estop_channel_1_closed": "press the E-stop; the value must become 0",
    "estop_channel_2_closed": "press the E-stop; the value must become 0",
    "fire_alarm": "trigger the panel's test; a broken wire must show 1",
    "smoke_detected": "trigger the detector's test; a broken wire must show 1",
    "door_closed": "open the door; the value must become 0",
}
OK, SILENT, NO_VALUE, IMPLAUSIBLE, STILL, OTHER = (
    "ok",
    "silent",
    "no value",
    "implausible",
    "stands still",
    "unexpected",
)
VERDICTS: Final = {"GOOD": OK, "BAD_COMM": SILENT, "BAD_SENSOR": NO_VALUE, "BAD_RANGE": IMPLAUSIBLE, UNEXPECTED: OTHER}


@dataclasses.dataclass(slots=True)
class Row:
    """One line of the sheet."""

    place: str
    device: str
    bus: str
    unit: int
    point: str
    function: int
    address: int
    raw: str
    value: str
    verdict: str
    note: str
    extra: bool


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `probe`."""
    parser.add_argument("site", metavar="SITE", help="a site file or the name of a shipped site")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="write the sheet as CSV")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write the sheet as a page to be printed and signed")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0 all well, 1 something is not, 69 nothing answers, 75 a bus is the controller's, 78 configuration."""
    site = compile_site(args.site)
    if not may_ask_all(site, site.plan.buses):
        return EXIT_RUNNING
    for path in (args.csv, args.html):
        if path is not None:
            # Refused now, and not when every device was asked.
            path.open("ab").close()
    site, unknown = as_found(site, site.plan.devices)
    try:
        rows = asyncio.run(walk(site, unknown))
    finally:
        progress.done()
    if args.csv is not None:
        write_csv(rows, args.csv)
    if args.html is not None:
        args.html.write_text(page(site, rows), "utf-8")
    _show(site, rows, args)
    if all(r.verdict == SILENT for r in rows):
        return EXIT_UNREACHABLE
    return 0 if all(r.verdict == OK for r in rows if not r.extra or r.verdict == OTHER) else EXIT_FAILED


async def walk(site: Compiled, unknown: dict[int, str] | None = None) -> list[Row]:
    """Every device of every bus, the buses side by side; rows in the order of the site file.

    `unknown`: devices whose models could not be read, with the reason; they are not asked.
    """
    done: dict[int, list[Row]] = {}
    for index, why in (unknown or {}).items():
        device = site.plan.devices[index]
        bus = site.plan.buses[device.bus]
        done[index] = [_row(bus, device, r, f"its models are not known: {why}") for r in _silent(View(site, device))]
    await asyncio.gather(*(_bus(site, bus, done) for bus in site.plan.buses))
    return [row for device in site.plan.devices for row in done[device.index]]


async def _bus(site: Compiled, bus: BusPlan, done: dict[int, list[Row]]) -> None:
    devices = [d for d in site.plan.devices if d.bus == bus.index and d.index not in done]
    try:
        async with Line(bus, run_folder(site.config.site.id)) as line:
            for device in devices:
                done[device.index] = await _device(site, bus, device, line)
                progress.step(f"{len(done)} of {len(site.plan.devices)} devices")
    except LinkLost as error:
        for device in devices:
            done[device.index] = [_row(bus, device, r, str(error)) for r in _silent(View(site, device))]


async def _device(site: Compiled, bus: BusPlan, device: DevicePlan, line: Line) -> list[Row]:
    view, readings = View(site, device), []
    moving: dict[str, str] = {}
    for block, extra in view.blocks:
        answer = await line.read(block, device.gap_ms)
        new = view.readings(block, extra, answer)
        if answer.ok and any(r.point == COUNTER for r in new):
            await asyncio.sleep(COUNTER_WAIT_S)
            again = view.readings(block, extra, await line.read(block, device.gap_ms))
            moving |= {r.name: r.raw for r in again if r.point == COUNTER}
        readings += new
        if answer.failure is Failure.TIMEOUT:
            # A silent unit costs one time-out, not one per block.
            return [_row(bus, device, r, answer.why) for r in _silent(view)]
    rows = [_row(bus, device, r, "") for r in readings]
    for row in rows:
        if row.verdict == OK and moving.get(row.point) == row.raw:
            row.verdict, row.note = STILL, f"no new sample within {COUNTER_WAIT_S:g} s"
    _compare_cells(readings, rows)
    return rows


def _silent(view: View) -> list[Reading]:
    lost = Answer(failure=Failure.TIMEOUT)
    return [r for block, extra in view.blocks for r in view.readings(block, extra, lost)]


def _row(bus: BusPlan, device: DevicePlan, reading: Reading, why: str) -> Row:
    verdict = VERDICTS.get(reading.quality, reading.quality)
    note = why or reading.text or HINTS.get(reading.point, "")
    return Row(
        reading.place, device.name, f"{bus.name} {where(bus)}", device.unit, reading.name, reading.function,
        reading.address, reading.raw, reading.shown, verdict, note, reading.extra,
    )  # fmt: skip


def _compare_cells(readings: list[Reading], rows: list[Row]) -> None:
    """Note a cell that is far from its neighbours: a swapped sense wire looks like this."""
    cells: dict[str, list[tuple[float, Row]]] = {}
    for reading, row in zip(readings, rows, strict=True):
        if reading.point == "cell_voltage_v" and reading.value is not None and row.verdict == OK:
            cells.setdefault(reading.place, []).append((reading.value, row))
    for found in cells.values():
        middle = sorted(v for v, _ in found)[len(found) // 2]
        for value, row in found:
            if abs(value - middle) > SPREAD_V:
                row.verdict, row.note = IMPLAUSIBLE, f"{value - middle:+.3f} V from the module's middle cell"


# -- the sheet -----------------------------------------------------------------------------------------------


def write_csv(rows: list[Row], path: Path) -> None:
    """The sheet with empty columns for what the person on site sees and signs."""
    names = [f.name for f in dataclasses.fields(Row)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "seen_on_site", "checked_by"])
        writer.writerows([*dataclasses.astuple(row), "", ""] for row in rows)


def page(site: Compiled, rows: list[Row]) -> str:
    """The sheet as one page without outside parts."""
    cells = []
    for row in rows:
        texts = (row.place, row.point, f"{row.bus} / {row.unit}", f"{row.function}: {row.address}", row.raw, row.value,
                 row.verdict, row.note)  # fmt: skip
        columns = "".join(f"<td>{html.escape(str(t))}</td>" for t in texts)
        kind = "ok" if row.verdict == OK else "bad"
        cells.append(f'<tr class="{kind}">{columns}<td></td><td></td></tr>')
    heads = ("place", "point", "bus / unit", "register", "raw", "value", "verdict", "note", "seen on site", "signed")
    title = html.escape(f"Point-to-point check: {site.config.site.name}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>'
        "body{font:13px sans-serif}table{border-collapse:collapse}td,th{border:1px solid #999;padding:2px 6px}"
        "th{text-align:left;background:#eee}.bad td:nth-child(7){background:#fbb;font-weight:bold}"
        f"td:nth-child(5){{font-family:monospace}}</style><h1>{title}</h1><p>{html.escape(_summary(rows))}</p>"
        f"<table><tr>{''.join(f'<th>{h}</th>' for h in heads)}</tr>{''.join(cells)}</table></html>\n"
    )


def _summary(rows: list[Row]) -> str:
    counts = Counter(row.verdict for row in rows if not row.extra)
    return f"{sum(counts.values())} points: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.most_common())


def _show(site: Compiled, rows: list[Row], args: argparse.Namespace) -> None:
    if args.json:
        facts: dict[str, Any] = {"site": site.config.site.id, "summary": dict(Counter(r.verdict for r in rows))}
        print(json.dumps({**facts, "rows": [dataclasses.asdict(r) for r in rows]}, indent=1))
        return
    print(f"{site.config.site.name}: {_summary(rows)}")
    silent: dict[str, str] = {}
    for row in rows:
        if row.verdict == SILENT:
            silent.setdefault(row.device, f"  {row.device:<28} unit {row.unit} on {row.bus}: silent, {row.note}")
        elif row.verdict != OK and (not row.extra or row.verdict == OTHER):
            print(f"  {row.place:<10} {row.point:<32} {row.value:>14}  {row.verdict}: {row.note}")
    for line in silent.values():
        print(line)
    for path in (args.csv, args.html):
        if path is not None:
            print(f"  written: {path}")
