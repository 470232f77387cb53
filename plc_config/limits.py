"""The thresholds in force: the cell type's, made stricter by the site; laxer or out of order is an error."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from controller.core.settings import Band
from plc_config.problem import Problem
from plc_config.quantity import EXAMPLE, parse
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
}
"""Cell limits a site may make stricter: unit, and whether danger lies above."""
PARTS: Final = ("warn", "trip", "clear", "delay")
ENCLOSURE_HYSTERESIS_K: Final = 5.0
ENCLOSURE_DELAY_MS: Final = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class _Checker:
    document: Document
    problems: list[Problem]

    def complain(self, path: Path_, what: str, right: str = "") -> None:
        self.problems.append(self.document.problem(path, what, right))

    def order(self, path: Path_, band: Band, over: bool, unit: str) -> None:
        """clear < warn <= trip where danger lies above, the reverse below."""
        sign = 1.0 if over else -1.0
        if not sign * band.clear < sign * band.trip or not sign * band.warn <= sign * band.trip:
            wanted = "clear < warn <= trip" if over else "clear > warn >= trip"
            self.complain(
                path,
                f"{path[-1]}: limits out of order: clear {band.clear:g}, warn {band.warn:g}, trip {band.trip:g} {unit}",
                f"wanted is {wanted}",
            )


def bands(config: LimitsConfig, cell: CellType, document: Document, problems: list[Problem]) -> dict[str, Band]:
    """Every band of the site; complaints are added to `problems`."""
    check = _Checker(document, problems)
    result = {}
    for name, (unit, over) in CELL_BANDS.items():
        base = _band(getattr(cell.limits, name))
        result[name] = _stricter(check, name, unit, over, base, getattr(config, name))
    for name, unit in (("insulation", "ohm"), ("aux_supply", "V")):
        result[name] = _band(getattr(config, name))
        check.order(("limits", name), result[name], False, unit)
    high = config.ambient_high
    result["ambient"] = Band(high, high, high - ENCLOSURE_HYSTERESIS_K, ENCLOSURE_DELAY_MS)
    return result


def _band(b: Any) -> Band:
    return Band(b.warn, b.trip, b.clear, b.delay)


def _stricter(check: _Checker, name: str, unit: str, over: bool, base: Band, site: dict[str, str]) -> Band:
    values: dict[str, float] = {"warn": base.warn, "trip": base.trip, "clear": base.clear, "delay": base.delay_ms}
    for part, text in site.items():
        path: Path_ = ("limits", name, part)
        if part not in PARTS:
            check.complain(path, f"unknown key {part!r}", f"known keys: {', '.join(PARTS)}")
            continue
        try:
            value = parse(text, "ms" if part == "delay" else unit)
        except ValueError as error:
            check.complain(path, str(error))
            continue
        laxer = value > values[part] if over or part == "delay" else value < values[part]
        if laxer:
            symbol = "ms" if part == "delay" else unit
            check.complain(
                path,
                f"{name}.{part}: {value:g} {symbol} is laxer than the cell type's {values[part]:g} {symbol}",
                f"a site may only be stricter, e.g. {EXAMPLE.get(symbol, values[part])}",
            )
            continue
        values[part] = value
    band = Band(values["warn"], values["trip"], values["clear"], int(values["delay"]))
    check.order(("limits", name), band, over, unit)
    return band
