"""The fit as one HTML page: OCV with its branches, the pulse test with the model over it, and what is left."""

from __future__ import annotations

from html import escape

import numpy as np

from tools.chart import Chart, Line
from tools.fit.circuit import Fitted
from tools.fit.curve import SOC, Branch, Curve
from tools.score.page import STYLE

BLACK, BLUE, GREY = "#1b2733", "#1f6feb", "#9aa5b1"


def render(name: str, curve: Curve, f: Fitted, branches: list[Branch], notes: list[str]) -> str:
    """The whole page; no script, no outside resource."""
    hours = f.time_s / 3600.0
    slow: list[Line] = [Line(GREY, b.soc, b.voltage_v) for b in branches]
    both = [Line(BLACK, hours, f.measured_v), Line(BLUE, hours, f.model_v)]
    figures = "".join(
        _figure(lines, across, up, caption)
        for lines, across, up, caption in (
            ([*slow, Line(BLUE, SOC, curve.volts)], "SOC", "V", "Slow branches (grey) and the OCV table (blue)"),
            (both, "h", "V", "Measured (black) and model (blue)"),
            ([Line(BLUE, hours, 1000 * (f.model_v - f.measured_v))], "h", "mV", "Model less measurement"),
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
        points: list[Line] = [Line(BLACK, np.repeat(z, 2), v * np.array([0.97, 1.03]))
                              for z, v in zip(f.rise.seen_soc, f.rise.seen_factor, strict=True)]  # fmt: skip
        caption = "Resistance over the SOC: steps (black) and what the cell type says (blue)"
        figures += _figure([*points, Line(BLUE, f.rise.soc, f.rise.factor)], "SOC", "times", caption)
    rows = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in facts)
    said = "".join(f"<p>{escape(n)}</p>" for n in notes)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(name)}</title><style>{STYLE}</style>'
        f"<h1>{escape(name)}</h1><table>{rows}</table>{said}{figures}</html>\n"
    )


def _figure(lines: list[Line], across: str, up: str, caption: str) -> str:
    drawn = Chart(lines, across, up, label=caption, width=1060, height=260, left=72).svg()
    return f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"
