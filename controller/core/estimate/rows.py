"""Some racks of the arrays of all, one row per rack."""

from __future__ import annotations

import dataclasses
from typing import Any

from numpy.typing import NDArray

from controller.core.signal import Bools, Floats, Ints


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """A string now: racks first. voltage, charge and level (SOC over the string's: now, and as it would be by what
    was known before any doubt) are (n, cells), as is what temperature may have added to the resistances (apart, of
    nominal); warmth is (n, sensors)."""

    racks: Ints
    voltage_v: Floats
    ok: Bools
    current_a: Floats
    current_ok: Bools
    warm_degc: Floats
    warm_ok: Bools
    soc: Floats
    charge: Floats
    level: Floats
    apart: Floats
    elapsed_ms: Ints


def rows(a: NDArray[Any], r: Ints) -> NDArray[Any]:
    """The racks `r` (rising) of an array over (rack, module, element), elements in one row per rack; a copy."""
    part = a.take(r, axis=0)
    return part.reshape(len(r), -1) if part.ndim > 1 else part


def put(a: NDArray[Any], r: Ints, x: NDArray[Any]) -> None:
    """Writes rows back to where `rows` took them."""
    # Writing all of it takes a fifth of the time of writing the same racks by their numbers.
    a[... if len(r) == len(a) else r] = x.reshape((len(r), *a.shape[1:]))
