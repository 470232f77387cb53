"""A trip as one HTML page with inline SVG: no script, nothing loaded from anywhere."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from controller.core.program import Program
from tools.report.trip import Row, Trip

WIDTH, HEIGHT, LEFT, BOTTOM = 900, 180, 70, 22
COLOURS: Final = ("#1b5e8a", "#b3541e", "#3f7d3f", "#7a4b94", "#8a7a1b", "#555")
POINTS_AT_MOST: Final = 1800
STYLE: Final = """body{font:15px/1.45 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.4em}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.2em .6em;border-bottom:1px solid #ddd}
td.n{text-align:right;font-variant-numeric:tabular-nums}figure{margin:1em 0}figcaption{color:#555;font-size:.9em}
.key{font-size:1.1em;font-weight:600}@media print{body{margin:0}}"""

Series = tuple[str, Callable[[Row], float | None]]


def render(program: Program, trip: Trip) -> str:
    """The whole page."""
    slot = program.matrix.slots[trip.slot]
    row = slot.row
    when = datetime.fromtimestamp(trip.utc_ms / 1000, UTC).isoformat(timespec="milliseconds")
    unit = row.unit
    compared = f"{trip.value:.4g} {unit}, limit {trip.limit:.4g} {unit}" if unit else "condition present"
    facts = [
        ("First out", f"<span class=key>{row.id}</span> at {html.escape(trip.place)}"),
        ("Value", compared),
        ("Time", f"{when}, scan {trip.scan}"),
        ("Delay in force", f"{int(program.matrix.delay_ms[trip.slot])} ms"),
        ("Effects", html.escape((row.effect | row.bank_effect).name or "")),
        ("Because", html.escape(row.because)),
        ("What to do", html.escape(row.advice)),
        ("Reset", html.escape(row.reset.value)),
        ("Standard", html.escape(row.standard or "-")),
        ("Replay", "every scan identical to the recording" if trip.identical else "DIFFERS from the recording"),
    ]
    table = "".join(f"<tr><th>{name}</th><td>{text}</td></tr>" for name, text in facts)
    happened = "".join(
        f"<tr><td class=n>{h.now_ms - trip.t0_ms:+d} ms<td class=n>{h.scan}<td>{html.escape(h.text)}</tr>"
        for h in trip.happenings
    )
    figures = "".join(_figure(title, trip, series) for title, series in _plots(trip))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Trip {when}</title>"
        f"<style>{STYLE}</style>"
        f"<h1>Trip of {html.escape(program.site_id)}</h1><table>{table}</table>{figures}"
        f"<h2>In the order of scans</h2><table><tr><th>time<th>scan<th>what</tr>{happened}</table></html>\n"
    )


def _plots(trip: Trip) -> list[tuple[str, list[Series]]]:
    racks = len(trip.rows[0].rack_current_a) if trip.rows else 0
    worst = sorted(range(racks), key=lambda r: -_swing(trip.rows, r))[: len(COLOURS)]
    return [
        (
            "Power, W (discharge positive)",
            [
                ("measured", lambda r: r.power_w),
                ("target", lambda r: r.target_w),
                ("charge limit", lambda r: -r.charge_limit_w),
                ("discharge limit", lambda r: r.discharge_limit_w),
            ],
        ),
        ("Cell voltage, V", [("highest", lambda r: r.cell_max_v), ("lowest", lambda r: r.cell_min_v)]),
        ("Hottest sensor, degC", [("hottest", lambda r: r.hottest_degc)]),
        ("Rack current, A", [(f"R{i + 1:02d}", _current(i)) for i in sorted(worst)]),
    ]


def _current(rack: int) -> Callable[[Row], float | None]:
    return lambda row: row.rack_current_a[rack]


def _swing(rows: Sequence[Row], rack: int) -> float:
    values = [v for r in rows if (v := r.rack_current_a[rack]) is not None]
    return max(values) - min(values) if values else 0.0


def _figure(title: str, trip: Trip, series: Sequence[Series]) -> str:
    rows = trip.rows[:: max(len(trip.rows) // POINTS_AT_MOST, 1)]
    values = [v for _, f in series for r in rows if (v := f(r)) is not None]
    if not values:
        return f"<figure><figcaption>{title}: no usable value</figcaption></figure>"
    low, high = min(values), max(values)
    pad = (high - low) * 0.05 or max(abs(high) * 0.01, 1e-3)
    low, high = low - pad, high + pad
    begin, end = rows[0].now_ms, max(rows[-1].now_ms, rows[0].now_ms + 1)

    def x(ms: int) -> float:
        return LEFT + (ms - begin) / (end - begin) * (WIDTH - LEFT - 10)

    def y(value: float) -> float:
        return 8 + (high - value) / (high - low) * (HEIGHT - 8 - BOTTOM)

    lines = []
    for number, ((name, f), colour) in enumerate(zip(series, COLOURS, strict=False)):
        for part in _runs([(x(r.now_ms), f(r)) for r in rows]):
            path = " ".join(f"{px:.1f},{y(value):.1f}" for px, value in part)
            lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.4" points="{path}"/>')
        label = f'<text x="{LEFT + 8 + 130 * number}" y="{HEIGHT - 4}" fill="{colour}" font-size="12">'
        lines.append(f"{label}{html.escape(name)}</text>")
    mark = x(trip.t0_ms)
    axis = "".join(
        f'<text x="{LEFT - 6}" y="{y(v) + 4:.1f}" text-anchor="end" font-size="11" fill="#555">{v:.4g}</text>'
        for v in (low + pad, (low + high) / 2, high - pad)
    )
    span = f"{(begin - trip.t0_ms) / 1000:.0f} s to {(end - trip.t0_ms) / 1000:+.0f} s"
    inner, bottom = WIDTH - LEFT - 10, HEIGHT - BOTTOM
    return (
        f"<figure><figcaption>{title}; the line marks the trip, {span}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">'
        f'<rect x="{LEFT}" y="8" width="{inner}" height="{bottom - 8}" fill="#fafaf8" stroke="#ccc"/>'
        f'<line x1="{mark:.1f}" x2="{mark:.1f}" y1="8" y2="{bottom}" stroke="#c00" stroke-dasharray="4 3"/>'
        f"{axis}{''.join(lines)}</svg></figure>"
    )


def _runs(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """Stretches without a gap: where there was no value, there is no line."""
    runs: list[list[tuple[float, float]]] = [[]]
    for px, value in points:
        if value is None:
            runs.append([])
        else:
            runs[-1].append((px, value))
    return [r for r in runs if len(r) > 1]
