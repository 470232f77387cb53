"""What a cell type says that no cell can do: a slip of unit, a curve the wrong way round, a trip that never acts.

Nothing here is a matter of taste: what is refused contradicts itself, the instrument range or any lithium cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from controller.core.field_image import Points
from controller.core.layout import tags_of
from plc_config.limits import CELL_BANDS, cell_band, out_of_order
from plc_config.schema.cell import CellType, Derating
from plc_config.strict_yaml import Path_

Complaint = tuple[Path_, str, str]

TAGS: Final = {t.name: t for t in tags_of(Points)}
MEASURED_BY: Final = {"V": "cell_voltage_v", "degC": "cell_temperature_degc", "A": "rack_current_a"}
DIFFERENCES: Final = ("cell_voltage_spread", "temperature_spread")
LEAST_DROP_V, MOST_DROP_V = 0.001, 1.0
"""What the resistance of a cell drops at 1C: 5 mV (LTO power cell) to 0.2 V (small cell in the cold), and room."""
LEAST_RATE_C, MOST_RATE_C = 0.01, 100.0
MOST_DELAY_MS: Final = {"V": 10_000, "A": 10_000, "degC": 60_000}
"""Longest time beyond a limit that still protects a cell: seconds at a voltage or current, a minute when warm."""
OPPOSITE: Final = (
    ("cell_undervoltage", "cell_overvoltage"),
    ("charge_undertemperature", "charge_overtemperature"),
    ("discharge_undertemperature", "discharge_overtemperature"),
)
CURVES: Final = {
    "derate_charge_voltage": ("cell_overvoltage",),
    "derate_discharge_voltage": ("cell_undervoltage",),
    "derate_charge_temperature": ("charge_undertemperature", "charge_overtemperature"),
    "derate_discharge_temperature": ("discharge_undertemperature", "discharge_overtemperature"),
}
"""Each derating curve, and the limits that it has to come before."""


def complaints(cell: CellType) -> list[Complaint]:
    """Where in the cell type's file, what is wrong, what would be right."""
    return [*_electrical(cell), *_bands(cell), *_curves(cell)]


def _electrical(cell: CellType) -> Iterator[Complaint]:
    drop_v = cell.resistance * cell.capacity
    if not LEAST_DROP_V <= drop_v <= MOST_DROP_V:
        what = f"resistance: {cell.resistance:g} ohm would drop {drop_v:.3g} V at 1C of {cell.capacity:g} Ah"
        yield ("resistance",), what, f"{1000 * LEAST_DROP_V:g} mV to {MOST_DROP_V:g} V; a slip of mohm or Ah?"
    for name in ("charge_current", "discharge_current"):
        current_a = getattr(cell, name)
        if not LEAST_RATE_C <= current_a / cell.capacity <= MOST_RATE_C:
            what = f"{name}: {current_a:g} A is {current_a / cell.capacity:.3g}C of {cell.capacity:g} Ah"
            yield (name,), what, f"{LEAST_RATE_C:g}C to {MOST_RATE_C:g}C"
        warn_a = cell_band(cell, name.replace("current", "overcurrent")).warn
        if current_a > warn_a:
            what = f"{name}: {current_a:g} A is beyond the warning at {warn_a:g} A: rated operation would trip"
            yield (name,), what, f"{warn_a:g} A or less, or limits.{name.replace('current', 'overcurrent')} above it"
    seen = TAGS["cell_voltage_v"]
    beyond = [at for at, volts in enumerate(cell.ocv.volts) if not _within(volts, seen)]
    for at in beyond[:1]:
        what = f"ocv.volts: {cell.ocv.volts[at]:g} V is beyond what a cell voltage may read"
        yield ("ocv", "volts", at), what, _range(seen)


def _bands(cell: CellType) -> Iterator[Complaint]:
    for name, (unit, over) in CELL_BANDS.items():
        band, path = cell_band(cell, name), ("limits", name)
        disorder = out_of_order(name, band, over, unit)
        if disorder is not None:
            yield path, *disorder
        if name in DIFFERENCES:
            continue
        seen = TAGS[MEASURED_BY[unit]]
        if getattr(cell.limits, name) is not None and not _within(band.trip, seen):
            what = f"{name}.trip: {band.trip:g} {unit} is beyond what {seen.name} may read: it would never trip"
            yield (*path, "trip"), what, _range(seen)
        if band.delay_ms > MOST_DELAY_MS[unit]:
            what = f"{name}.delay: {band.delay_ms} ms is too long for a limit of a cell"
            yield (*path, "delay"), what, f"at most {MOST_DELAY_MS[unit]} ms"
    for low, high in OPPOSITE:
        under, upper = cell_band(cell, low), cell_band(cell, high)
        if under.clear >= upper.clear:
            what = f"{low} is clear above {under.clear:g}, {high} below {upper.clear:g}: no value is clear of both"
            yield ("limits", low), what, f"{low}.clear < {high}.clear"


def _curves(cell: CellType) -> Iterator[Complaint]:
    for name, limits in CURVES.items():
        curve = getattr(cell, name)
        for limit in limits:
            band = cell_band(cell, limit)
            at_trip, when_clear = _fraction(curve, band.trip), _fraction(curve, band.clear)
            if at_trip > when_clear:
                what = f"{name}: {at_trip:g} at the trip of {limit} ({band.trip:g}), {when_clear:g} where it is clear"
                yield (name, "fraction"), what, "a current falls towards its limit; turn the fractions round"


def notes(cell: CellType) -> list[str]:
    """What a careful engineer should know of a cell type although it is no contradiction."""
    return [
        f"{name} still allows {left:.0%} where {limit} trips ({cell_band(cell, limit).trip:g} {CELL_BANDS[limit][0]})"
        for name, limits in CURVES.items()
        for limit in limits
        if (left := _fraction(getattr(cell, name), cell_band(cell, limit).trip)) > 0
    ]


def _fraction(curve: Derating, at: float) -> float:
    return float(np.interp(at, curve.at, curve.fraction))


def _within(value: float, seen: Any) -> bool:
    return bool(seen.low <= value <= seen.high)


def _range(seen: Any) -> str:
    return f"{seen.low:g} to {seen.high:g} {seen.unit}"
