"""Scale factors and ratings that a device itself gives, by which its outputs are divided before they are written.

What is guaranteed: a divisor counts only as it came with the last correct reply; silence, a refusal, a scale factor
beyond -10..10 and a rating that is no positive number leave it unknown, and what depends on it is not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite, prod

import numpy as np

from controller.fieldbus.codec import Decoder
from plc_config.plan import PointRef


class Divisors:
    """What is known of one device; `changed` is called with this object when that is another than before."""

    def __init__(self, changed: Callable[[Divisors], None]) -> None:
        self._changed = changed
        self._known: dict[str, float] = {}
        self.unusable = ""

    def product(self, names: Iterable[str]) -> float:
        """By what an output is divided that depends on all these; NaN while one is not known."""
        return prod(self._known.get(name, np.nan) for name in names)

    def learn(self, found: dict[str, float], unusable: str = "") -> None:
        """What a reply says; NaN is what it does not say. `unusable`: what a device says that no number can be."""
        known = {name: value for name, value in (self._known | found).items() if isfinite(value)}
        if known != self._known or unusable != self.unusable:
            self._known, self.unusable = known, unusable
            self._changed(self)


class DivisorRow:
    """Where a read of divisors puts its replies."""

    def __init__(self, divisors: Divisors, refs: tuple[PointRef, ...], function: int) -> None:
        self._divisors = divisors
        self._decoders = {ref.point: Decoder(ref, function) for ref in refs}

    def store(self, payload: bytes, now_ms: int) -> None:
        """A good reply."""
        raw = np.frombuffer(payload, np.uint8).reshape(1, -1)
        found, unusable = dict[str, float](), list[str]()
        for name, decode in self._decoders.items():
            values, bad = decode(raw)
            value = float(values[0, 0])
            good = bad is None and isfinite(value) and value > 0.0
            found[name] = value if good else np.nan
            if not good:
                unusable.append(name)
        self._divisors.learn(found, ", ".join(unusable))

    def lose(self) -> None:
        """The device is silent or refuses: it may be another one when it comes back."""
        self._divisors.learn(dict.fromkeys(self._decoders, np.nan))
