"""Measured columns from CSV files, or everything that is wrong with them: file, line, column, what would be right."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import math
from pathlib import Path
from typing import Final

import numpy as np

from controller.core.signal import Floats
from plc_config.problem import ConfigError, Problem

ALIASES: Final = {
    "time_s": ("time_s", "time", "t", "t_s", "test_time_s", "test_time(s)", "seconds"),
    "current_a": ("current_a", "current", "i", "i_a", "current(a)"),
    "voltage_v": ("voltage_v", "voltage", "v", "u", "voltage(v)"),
    "temperature_c": ("temperature_c", "temperature_degc", "temperature", "temp", "temperature(c)"),
}
"""Our names of the columns, and what others call them; case does not matter. Temperature may be missing."""
OTHER_MARKS: Final = (";", "\t")
"""What spreadsheets of other countries put between columns."""
NEEDED: Final = ("time_s", "current_a", "voltage_v")
LOW, HIGH = {"voltage_v": 0.5, "temperature_c": -60.0}, {"voltage_v": 5.0, "temperature_c": 100.0}
MOST_PROBLEMS: Final = 20
LEAST_ROWS: Final = 20
USUAL_DEGC: Final = 25.0


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """One file: time from 0 in s, current in A (discharge positive), voltage in V, temperature in degC."""

    name: str
    time_s: Floats
    current_a: Floats
    voltage_v: Floats
    temperature_degc: Floats


def read(path: Path, charge_positive: bool = False) -> Recording:
    """A recording; ConfigError with every problem (at most `MOST_PROBLEMS`) when the file cannot be understood."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            text = file.read().decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConfigError(
            [Problem(str(path), 1, 1, f"cannot be read: {error}", "give a CSV file, or one in gzip")]
        ) from error
    rows = csv.reader(io.StringIO(text))
    head = next(rows, [])
    where = _columns(str(path), head)
    problems: list[Problem] = []
    found: dict[str, list[float]] = {name: [] for name in where}
    for line, row in enumerate(rows, 2):
        if not any(cell.strip() for cell in row):
            continue
        for name, at in where.items():
            value = _number(str(path), line, at, name, row, problems)
            found[name].append(value)
        time = found["time_s"]
        if len(time) > 1 and time[-1] < time[-2]:
            what = f"time goes back: {time[-1]:g} s after {time[-2]:g} s"
            problems.append(Problem(str(path), line, where["time_s"] + 1, what, "rows in order of time"))
        if len(problems) >= MOST_PROBLEMS:
            break
    if not problems and len(found["time_s"]) < LEAST_ROWS:
        what = f"{len(found['time_s'])} rows of numbers"
        problems.append(Problem(str(path), 2, 1, what, f"at least {LEAST_ROWS} are needed"))
    if problems:
        raise ConfigError(problems[:MOST_PROBLEMS])
    # Testers log an instant twice at a step: the later row counts.
    last = np.append(np.diff(np.array(found["time_s"])) > 0, True)
    values = {name: np.array(column)[last] for name, column in found.items()}
    current = -values["current_a"] if charge_positive else values["current_a"]
    warm = values.get("temperature_c", np.full(len(current), USUAL_DEGC))
    return Recording(path.name, values["time_s"] - values["time_s"][0], current, values["voltage_v"], warm)


def _columns(file: str, head: list[str]) -> dict[str, int]:
    """Where each of our columns is; ConfigError when one is missing."""
    names = [h.strip().lower() for h in head]
    if len(head) == 1 and any(mark in head[0] for mark in OTHER_MARKS):
        what = f"one column only: {head[0]}"
        raise ConfigError([Problem(file, 1, 1, what, "columns parted by commas, decimals with a point")])
    where = {}
    for name, aliases in ALIASES.items():
        at = next((names.index(a) for a in aliases if a in names), None)
        if at is not None:
            where[name] = at
    missing = [name for name in NEEDED if name not in where]
    if missing:
        shown = ", ".join(head) if any(head) else "nothing"
        raise ConfigError([
            Problem(file, 1, 1, f"no column {name} in: {shown}", f"a first line with {', '.join(NEEDED)}")
            for name in missing
        ])  # fmt: skip
    return where


def _number(file: str, line: int, at: int, name: str, row: list[str], problems: list[Problem]) -> float:
    text = row[at].strip() if at < len(row) else ""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        problems.append(Problem(file, line, at + 1, f"{name} is {text!r}", "a number in every row"))
    elif not LOW.get(name, -math.inf) <= value <= HIGH.get(name, math.inf):
        right = f"{LOW[name]:g} to {HIGH[name]:g}; one cell, in V and degC"
        problems.append(Problem(file, line, at + 1, f"{name} is {value:g}", right))
    return value
