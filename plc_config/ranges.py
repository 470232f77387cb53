"""Ranges in names and numbers: `GW01..GW12`, `1..8`, `10.0.1.11..10.0.1.22`, `R01..R12/M01..M08`."""

from __future__ import annotations

import re
from itertools import product
from typing import Any, Final

NAMED: Final = re.compile(r"^([A-Za-z_][A-Za-z_-]*?)(\d+)\.\.([A-Za-z_][A-Za-z_-]*?)(\d+)$")
PLAIN: Final = re.compile(r"^(\d+)\.\.(\d+)$")
ADDRESS: Final = re.compile(r"^(\d+\.\d+\.\d+\.)(\d+)\.\.(?:\1)?(\d+)$")
MAX_RANGE: Final = 4096


def expand(text: Any) -> list[str]:
    """Every name a range stands for; a text without `..` stands for itself. ValueError when the range is nonsense."""
    if not isinstance(text, str) or ".." not in text:
        return [str(text)]
    named, plain, address = NAMED.match(text), PLAIN.match(text), ADDRESS.match(text)
    if named:
        stem, first, stem2, last = named.groups()
        if stem != stem2:
            raise ValueError(f"{text!r} mixes {stem!r} and {stem2!r}; write it like {stem}01..{stem}12")
        width = len(first)
    elif plain:
        stem, (first, last), width = "", plain.groups(), 0
    elif address:
        (stem, first, last), width = address.groups(), 0
    else:
        raise ValueError(f"{text!r} is not a range; write it like GW01..GW12, 1..8 or 10.0.1.11..10.0.1.22")
    low, high = int(first), int(last)
    if high < low or high - low >= MAX_RANGE:
        raise ValueError(f"{text!r} runs backwards or is too long; at most {MAX_RANGE} in one range")
    return [f"{stem}{n:0{width}d}" for n in range(low, high + 1)]


def expand_places(text: str) -> tuple[list[tuple[str, ...]], list[int]]:
    """All places of `R01..R12/M01..M08` in order, and the length of each axis."""
    axes = [expand(part) for part in text.split("/")]
    return list(product(*axes)), [len(a) for a in axes]
