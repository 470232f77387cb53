"""Quantities with units: `3.65 V`, `500 ms`, `2.5 MW`. A bare number where a unit belongs is an error."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema

PREFIX: Final = {"": 1.0, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9}
PREFIXED: Final = {"V", "A", "W", "VA", "var", "Wh", "Ah", "ohm", "Hz", "B", "J/K", "W/K"}
FIXED: Final[dict[str, tuple[str, float]]] = {
    "degC": ("degC", 1.0),
    "°C": ("degC", 1.0),
    "%": ("ratio", 0.01),
    "ms": ("ms", 1.0),
    "s": ("ms", 1000.0),
    "min": ("ms", 60_000.0),
    "h": ("ms", 3_600_000.0),
    "d": ("ms", 86_400_000.0),
    "kB": ("B", 1e3),
    "W/s": ("W/s", 1.0),
    "kW/s": ("W/s", 1e3),
    "MW/s": ("W/s", 1e6),
    "degC/s": ("degC/s", 1.0),
    "mV/s": ("V/s", 1e-3),
    "V/s": ("V/s", 1.0),
    "K": ("K", 1.0),
    "1": ("1", 1.0),
    "%/d": ("ratio/d", 0.01),
    "J": ("Wh", 1 / 3600),
    "kJ": ("Wh", 1 / 3.6),
}
EXAMPLE: Final = {
    "V": "3.65 V",
    "A": "140 A",
    "W": "2.5 MW",
    "ms": "500 ms",
    "degC": "45 degC",
    "ratio": "5 %",
    "Ah": "280 Ah",
    "ohm": "0.25 mohm",
    "W/s": "500 kW/s",
    "B": "2 GB",
    "Wh": "10 kJ",
}
DURATION: Final = re.compile(r"^\s*(\d+\.?\d*)\s*(ms|s|min|h|d)\s*$")
NUMBER: Final = re.compile(r"^\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*((?<=\s)1|[^\s\d.,]\S*)\s*$")
"""A unit begins with a letter or sign, so that the last digit of `31` is not taken for the unit `1`."""


def parse(text: Any, unit: str) -> float:
    """The value of `text` in `unit`; ValueError with an example when it has no unit, another unit or no number."""
    right = f"write it like {EXAMPLE.get(unit, '1 ' + unit)}"
    if isinstance(text, bool | int | float):
        raise ValueError(f"{text} has no unit; {right}")
    match = NUMBER.match(str(text))
    if not match:
        raise ValueError(f"{str(text)!r} is not a quantity; {right}")
    value, symbol = float(match.group(1)), match.group(2)
    found = unit_of(symbol)
    if found is None:
        raise ValueError(f"{symbol!r} is not a known unit; {right}")
    if found[0] != unit:
        raise ValueError(f"{str(text)!r} is in {found[0]}, a value in {unit} is wanted; {right}")
    result = value * found[1]
    if not math.isfinite(result):
        raise ValueError(f"{str(text)!r} is not finite; {right}")
    return result


def duration_ms(text: str) -> int:
    """A duration as people type it on a command line: `20s`, `500 ms`, `2 min`."""
    match = DURATION.match(text)
    if not match:
        raise ValueError(f"{text!r} is not a duration; write it like 20s, 500ms or 10min")
    return int(parse(f"{match.group(1)} {match.group(2)}", "ms"))


def unit_of(symbol: str) -> tuple[str, float] | None:
    """(SI unit, factor) of a unit symbol, or None."""
    if symbol in FIXED:
        return FIXED[symbol]
    for prefix, factor in PREFIX.items():
        base = symbol[len(prefix) :]
        if symbol.startswith(prefix) and base in PREFIXED:
            return base, factor
    return None


def _reader(unit: str) -> Callable[[Any], float]:
    return lambda text: parse(text, unit)


def _ms(text: Any) -> int:
    value = parse(text, "ms")
    if value != round(value):
        raise ValueError(f"{str(text)!r} is not a whole number of milliseconds; write it like 500 ms")
    return int(value)


def _shown(unit: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": "string", "description": f"a quantity in {unit}", "examples": [EXAMPLE.get(unit, f"1 {unit}")]}
    )


Volt = Annotated[float, BeforeValidator(_reader("V")), _shown("V")]
Ampere = Annotated[float, BeforeValidator(_reader("A")), _shown("A")]
Watt = Annotated[float, BeforeValidator(_reader("W")), _shown("W")]
Var = Annotated[float, BeforeValidator(_reader("var")), _shown("var")]
WattPerSecond = Annotated[float, BeforeValidator(_reader("W/s")), _shown("W/s")]
AmpereHour = Annotated[float, BeforeValidator(_reader("Ah")), _shown("Ah")]
WattHour = Annotated[float, BeforeValidator(_reader("Wh")), _shown("Wh")]
Ohm = Annotated[float, BeforeValidator(_reader("ohm")), _shown("ohm")]
Celsius = Annotated[float, BeforeValidator(_reader("degC")), _shown("degC")]
Ratio = Annotated[float, BeforeValidator(_reader("ratio")), _shown("ratio")]
Bytes = Annotated[float, BeforeValidator(_reader("B")), _shown("B")]
Milliseconds = Annotated[int, BeforeValidator(_ms), _shown("ms")]
