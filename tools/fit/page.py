"""The fit as one HTML page: OCV with its branches, the pulse test with the model over it, and what is left."""

from __future__ import annotations

from html import escape

import numpy as np

from controller.core.signal import Floats
from tools.fit.circuit import Fitted
from tools.fit.curve import SOC, Branch, Curve
from tools.score.page import STYLE

WIDTH, HEIGHT, LEFT, BOTTOM, POINTS = 1060, 260, 60, 24, 1500
BLACK, BLUE, GREY = "#1b2733", "#1f6feb", "#9aa5b1"
Line = tuple[str, Floats, Floats]


def render(name: str, curve: Curve, f: Fitted, branches: list[Branch], notes: list[str]) -> str:
    """The whole page; no script, no outside resource."""
    hours = f.time_s / 3600.0
    slow: list[Line] = [(GREY, b.soc, b.voltage_v) for b in branches]
    figures = "".join(
        _figure(lines, across, up, caption)
        for lines, across, up, caption in (
            ([*slow, (BLUE, SOC, curve.volts)], "SOC", "V", "Slow branches (grey) and the OCV table (blue)"),
            ([(BLACK, hours, f.measured_v), (BLUE, hours, f.model_v)], "h", "V", "Measured (black) and model (blue)"),
            ([(BLUE, hours, 1000 * (f.model_v - f.measured_v))], "h", "mV", "Model less measurement"),
        )
    )
    facts = (
        ("capacity", f"{curve.capacity_ah:.4g} Ah"), ("coulombic efficiency", f"{100 * curve.efficiency:.2f} %"),
        ("R0 at 25 °C", f"{1000 * f.r0:.4g} mΩ"), ("R1, τ1", f"{1000 * f.r1:.4g} mΩ, {f.tau1_s:.0f} s"),
        ("R2, τ2", f"{1000 * f.r2:.4g} mΩ, {f.tau2_s:.0f} s"),
        ("hysteresis", "not known" if curve.half_gap is None
         else f"{1000 * float(np.median(curve.half_gap)):.1f} mV half gap, {f.scale:.2f} of it in service"),
        ("resistance over SOC", "not told: no steps at several SOCs, a careful default stands in" if f.rise is None
         else f"{f.rise.factor.max():.3g} times at most, at {100 * f.rise.soc[f.rise.factor.argmax()]:.0f} % SOC"),
        ("model error", f"{1000 * f.rms_v:.1f} mV rms"),
    )  # fmt: skip
    if f.rise is not None:
        points: list[Line] = [(BLACK, np.repeat(z, 2), v * np.array([0.97, 1.03]))
                              for z, v in zip(f.rise.seen_soc, f.rise.seen_factor, strict=True)]  # fmt: skip
        caption = "Resistance over the SOC: steps (black) and what the cell type says (blue)"
        figures += _figure([*points, (BLUE, f.rise.soc, f.rise.factor)], "SOC", "times", caption)
    rows = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in facts)
    said = "".join(f"<p>{escape(n)}</p>" for n in notes)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(name)}</title><style>{STYLE}</style>'
        f"<h1>{escape(name)}</h1><table>{rows}</table>{said}{figures}</html>\n"
    )


def _figure(lines: list[Line], across: str, up: str, caption: str) -> str:
    every = np.concatenate([y for _, _, y in lines])
    low, high = float(np.min(every)), float(np.max(every))
    pad = max(0.05 * (high - low), 1e-3)
    low, high = low - pad, high + pad
    end = max(float(x.max()) for _, x, _ in lines)
    parts = [f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for level in np.linspace(low, high, 5):
        y = 6 + (high - level) / (high - low) * (HEIGHT - BOTTOM - 6)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dde3ea"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{level:.4g} {up}</text>')
    for color, x, values in lines:
        pick = np.unique(np.linspace(0, len(x) - 1, POINTS).astype(int))
        px = LEFT + x[pick] / max(end, 1e-9) * (WIDTH - LEFT - 8)
        py = 6 + (high - values[pick]) / (high - low) * (HEIGHT - BOTTOM - 6)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(px, py, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.3"/>')
    parts.append(f'<text x="{WIDTH - 8}" y="{HEIGHT - 6}" text-anchor="end">{end:.3g} {across}</text></svg>')
    return f"<figure>{''.join(parts)}<figcaption>{escape(caption)}</figcaption></figure>"
