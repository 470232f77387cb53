"""Line charts as inline SVG, for pages and pictures that need nothing else: no script, nothing loaded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from html import escape
from typing import Any, Final

import numpy as np

from controller.core.signal import Floats

POINTS: Final = 1800
"""Of one line at most; a longer one is thinned evenly."""
TOP, RIGHT, TICKS_DOWN, TICKS_ACROSS = 8, 10, 4, 8
ROOM_FOR_TICKS, ROOM_FOR_NAMES = 20, 16
PAD: Final = 0.05
STEPS: Final = (1.0, 2.0, 5.0, 10.0)
FLAT: Final = 1e-9


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """y over x; NaN in y is a gap. `name` stands below the chart in the line's colour, without one nothing does."""

    colour: str
    x: Floats
    y: Floats
    name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Band:
    """What lies between two lines over the same x, without gaps."""

    colour: str
    x: Floats
    low: Floats
    high: Floats


@dataclasses.dataclass(frozen=True, slots=True)
class Chart:
    """Lines over one axis, size in px. `across` and `up` are the units; `reach` fixes the upright axis, otherwise it
    holds every value; `mark` is an x that is marked with a line."""

    lines: Sequence[Line]
    across: str
    up: str
    bands: Sequence[Band] = ()
    reach: tuple[float, float] | None = None
    mark: float | None = None
    label: str = ""
    width: int = 900
    height: int = 200
    left: int = 64

    def svg(self) -> str:
        """The chart; empty where no line has a value."""
        x = np.concatenate([line.x for line in self.lines]) if self.lines else np.zeros(0)
        y = np.concatenate([line.y for line in self.lines]) if self.lines else np.zeros(0)
        if not np.isfinite(y).any():
            return ""
        named = [line for line in self.lines if line.name]
        bottom = self.height - ROOM_FOR_TICKS - (ROOM_FOR_NAMES if named else 0)
        begin, end = float(x.min()), max(float(x.max()), float(x.min()) + FLAT)
        low, high = self.reach or _padded(float(np.nanmin(y)), float(np.nanmax(y)))
        plane = _Plane(begin, end, low, high, self.left, self.width - RIGHT, bottom)
        parts = [
            f'<svg width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(self.label)}">'
        ]
        parts += [_polygon(plane, band) for band in self.bands]
        parts += self._grid(plane)
        if self.mark is not None:
            at = plane.across(self.mark)
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{bottom}" stroke="#c00" stroke-dasharray="4 3"/>'
            )
        for line in self.lines:
            parts += _polylines(plane, line)
        step = (self.width - self.left - RIGHT) / max(len(named), 1)
        for number, line in enumerate(named):
            place = f'x="{self.left + number * min(step, 150.0):.0f}" y="{self.height - 4}"'
            parts.append(f'<text {place} style="fill:{line.colour}">{escape(line.name)}</text>')
        return "".join(parts) + "</svg>"

    def _grid(self, plane: _Plane) -> list[str]:
        parts = []
        for value, text in ticks(plane.low, plane.high, TICKS_DOWN):
            y = plane.up(value)
            parts.append(f'<line x1="{self.left}" x2="{plane.right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dde3ea"/>')
            parts.append(f'<text x="{self.left - 6}" y="{y + 4:.1f}" text-anchor="end">{text} {self.up}</text>')
        for value, text in ticks(plane.begin, plane.end, TICKS_ACROSS):
            x = plane.across(value)
            anchor = "end" if x > plane.right - 20 else "start" if x < self.left + 20 else "middle"
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{plane.bottom}" y2="{plane.bottom + 4}" stroke="#9aa5b1"/>'
            )
            parts.append(
                f'<text x="{x:.1f}" y="{plane.bottom + 15}" text-anchor="{anchor}">{text} {self.across}</text>'
            )
        frame = f'width="{plane.right - self.left}" height="{plane.bottom - TOP}"'
        return [*parts, f'<rect x="{self.left}" y="{TOP}" {frame} fill="none" stroke="#c3ccd5"/>']


def ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Round values (1, 2 or 5 times a power of ten apart) from low to high, at most `most` + 1, as written."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in STEPS if s * power >= rough * (1 - FLAT))
    digits = max(0, -math.floor(math.log10(step) + FLAT))
    numbers = range(math.ceil(low / step - FLAT), math.floor(high / step + FLAT) + 1)
    return [(n * step, f"{n * step:,.{digits}f}".replace("-", "\N{MINUS SIGN}" if n else "")) for n in numbers]


@dataclasses.dataclass(frozen=True, slots=True)
class _Plane:
    """From values to px, one or many."""

    begin: float
    end: float
    low: float
    high: float
    left: int
    right: int
    bottom: int

    def across(self, x: Any) -> Any:
        return self.left + (x - self.begin) / (self.end - self.begin) * (self.right - self.left)

    def up(self, y: Any) -> Any:
        return TOP + (self.high - y) / (self.high - self.low) * (self.bottom - TOP)

    def points(self, x: Floats, y: Floats) -> str:
        there, height = self.across(x), self.up(np.clip(y, self.low, self.high))
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(there, height, strict=True))


def _padded(low: float, high: float) -> tuple[float, float]:
    pad = (high - low) * PAD or max(abs(high) * PAD, FLAT)
    return low - pad, high + pad


def _thin(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, POINTS).astype(int))


def _polylines(plane: _Plane, line: Line) -> list[str]:
    """One per stretch without a gap: where there was no value, there is no line."""
    pick = _thin(len(line.x))
    x, y = line.x[pick], line.y[pick]
    stretches = np.split(np.arange(len(y)), np.flatnonzero(np.diff(np.isfinite(y))) + 1)
    return [
        f'<polyline points="{plane.points(x[s], y[s])}" fill="none" stroke="{line.colour}" stroke-width="1.4"/>'
        for s in stretches
        if len(s) > 1 and np.isfinite(y[s[0]])
    ]


def _polygon(plane: _Plane, band: Band) -> str:
    pick = _thin(len(band.x))
    there, back = plane.points(band.x[pick], band.low[pick]), plane.points(band.x[pick[::-1]], band.high[pick[::-1]])
    return f'<polygon points="{there} {back}" fill="{band.colour}"/>'
