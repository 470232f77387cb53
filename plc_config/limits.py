"""The thresholds in force: the cell type's, made stricter by the site; laxer or out of order is an error."""

from __future__ import annotations

import dataclasses
from collections.abc import Set
from typing import Any, Final

from controller.core.settings import NOT_MEASURED, Band
from plc_config.problem import Problem
from plc_config.quantity import parse
from plc_config.schema.cell import CellType
from plc_config.schema.site import LimitsConfig
from plc_config.strict_yaml import Document, Path_

CELL_BANDS: Final = {
    "cell_overvoltage": ("V", True),
    "cell_undervoltage": ("V", False),
    "charge_overtemperature": ("degC", True),
    "charge_undertemperature": ("degC", False),
    "discharge_overtemperature": ("degC", True),
    "discharge_undertemperature": ("degC", False),
    "charge_overcurrent": ("A", True),
    "discharge_overcurrent": ("A", True),
    "deep_discharge": ("V", False),
    "cell_voltage_spread": ("V", True),
    "temperature_spread": ("K", True),
}
"""Cell limits a site may make stricter: unit, and whether danger lies above."""
OF_THE_SITE: Final = {"insulation": ("ohm", "rack_insulation_ohm"), "aux_supply": ("V", "aux_supply_v")}
"""Limits that no cell type knows: unit, and the point that they are for."""
PARTS: Final = ("operate", "warn", "trip", "clear", "delay", "endure")
TIMES: Final = {"delay": "delay_ms", "endure": "endure_ms"}
DEEP_DISCHARGE_RATIO: Final = 0.8
"""Of the lower trip, where a cell type does not say: about what published dead-cell limits are (LFP 2.0 of 2.5 V)."""
DEEP_DISCHARGE_DELAY_MS: Final = 500
OVERCURRENT_HEAT: Final = Band(warn=0.8, trip=1.0, clear=0.5, delay_ms=0)
"""I2t as a part of what the cells may endure. The numbers are fixed: the curve is set by the current's own band."""
ENCLOSURE_HYSTERESIS_K: Final = 5.0
ENCLOSURE_DELAY_MS: Final = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class _Checker:
    document: Document
    problems: list[Problem]

    def complain(self, path: Path_, what: str, right: str = "") -> None:
        self.problems.append(self.document.problem(path, what, right))

    def order(self, path: Path_, band: Band, over: bool, unit: str) -> None:
        """clear < operate <= warn <= trip where danger lies above, the reverse below."""
        disorder = out_of_order(str(path[-1]), band, over, unit)
        if disorder is not None:
            self.complain(path, *disorder)


def out_of_order(name: str, band: Band, over: bool, unit: str) -> tuple[str, str] | None:
    """What is wrong with the order of a band's thresholds and what would be right; None where nothing is."""
    sign = 1.0 if over else -1.0
    steps = [sign * band.operate, sign * band.warn, sign * band.trip]
    if sign * band.clear < sign * band.trip and steps == sorted(steps):
        return None
    plain = band.operate == band.warn
    wanted = "clear < warn <= trip" if plain else "clear < trip, operate <= warn <= trip"
    wanted = wanted if over else wanted.replace("<", ">")
    operate = "" if plain else f"operate {band.operate:g}, "
    what = f"{name}: limits out of order: clear {band.clear:g}, {operate}warn {band.warn:g}, trip {band.trip:g} {unit}"
    return what, f"wanted is {wanted}"


def bands(
    config: LimitsConfig, cell: CellType, document: Document, problems: list[Problem], read: Set[str], parallel: int = 1
) -> dict[str, Band]:
    """Every band of the site, currents for `parallel` cells side by side; complaints are added to `problems`.

    read: the points that some device reads; what is measured needs its limits, and nothing else does.
    """
    check = _Checker(document, problems)
    result = {}
    for name, (unit, over) in CELL_BANDS.items():
        base = cell_band(cell, name)
        base = _times(base, parallel) if unit == "A" else base
        result[name] = _stricter(check, name, unit, over, base, getattr(config, name))
    for name, (unit, point) in OF_THE_SITE.items():
        given = getattr(config, name)
        result[name] = NOT_MEASURED if given is None else _band(given)
        if given is None:
            if point in read:
                check.complain(("limits",), f"{name} is missing: a device reads {point}", "warn, trip, clear, delay")
            continue
        if result[name].trip <= 0:
            check.complain(
                ("limits", name, "trip"), f"{name}.trip: {result[name].trip:g} {unit} never trips", f"above 0 {unit}"
            )
        check.order(("limits", name), result[name], False, unit)
    high = config.ambient_high
    result["ambient"] = Band(high, high, high - ENCLOSURE_HYSTERESIS_K, ENCLOSURE_DELAY_MS)
    result["overcurrent_heat"] = OVERCURRENT_HEAT
    if config.stale_after > config.lost_after:
        said = f"stale_after {config.stale_after} ms is beyond lost_after {config.lost_after} ms"
        check.complain(("limits", "stale_after"), said, "a value is doubted before it is lost")
    precharge = config.precharge
    if precharge.fastest >= precharge.timeout:
        said = f"fastest {precharge.fastest} ms is not below timeout {precharge.timeout} ms: no precharge could succeed"
        check.complain(("limits", "precharge"), said, "fastest < 2.2 x resistance x link capacitance < timeout")
    return result


def cell_band(cell: CellType, name: str) -> Band:
    """The band that a cell type gives, before a site makes it stricter."""
    given = getattr(cell.limits, name)
    if given is not None:
        return _band(given)
    under = cell.limits.cell_undervoltage
    deep = DEEP_DISCHARGE_RATIO * under.trip
    return Band(deep, deep, under.trip, DEEP_DISCHARGE_DELAY_MS)


def _band(b: Any) -> Band:
    operate = getattr(b, "operate", None)
    return Band(b.warn, b.trip, b.clear, b.delay, b.warn if operate is None else operate, getattr(b, "endure", 0))


def _times(band: Band, cells: int) -> Band:
    return dataclasses.replace(
        band, **{part: cells * getattr(band, part) for part in ("operate", "warn", "trip", "clear")}
    )


def _stricter(check: _Checker, name: str, unit: str, over: bool, base: Band, site: dict[str, str]) -> Band:
    values = {part: getattr(base, TIMES.get(part, part)) for part in PARTS}
    known = [p for p in PARTS if p != "endure" or unit == "A"]
    for part, text in site.items():
        path: Path_ = ("limits", name, part)
        if part not in known:
            check.complain(path, f"unknown key {part!r}", f"known keys: {', '.join(known)}")
            continue
        symbol = "ms" if part in TIMES else unit
        try:
            value = parse(text, symbol)
        except ValueError as error:
            check.complain(path, str(error))
            continue
        at_most = over or part in TIMES
        if value > values[part] if at_most else value < values[part]:
            check.complain(
                path,
                f"{name}.{part}: {value:g} {symbol} is laxer than the cell type's {values[part]:g} {symbol}",
                f"a site may only be stricter: {values[part]:g} {symbol} or {'less' if at_most else 'more'}",
            )
            continue
        if value < 0 and symbol != "degC":
            check.complain(path, f"{name}.{part}: {value:g} {symbol} is below zero", f"0 {symbol} or more")
            continue
        values[part] = value
    if "warn" in site and "operate" not in site:
        tighter = min if over else max
        values["operate"] = tighter(values["operate"], values["warn"])
    band = Band(
        values["warn"], values["trip"], values["clear"], int(values["delay"]), values["operate"], int(values["endure"])
    )
    if site:
        check.order(("limits", name), band, over, unit)
    return band
