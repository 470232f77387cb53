"""A trip as one HTML page with inline SVG: no script, nothing loaded from anywhere."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np

from controller.core.effect import Effect
from controller.core.program import Program
from plc_config.cause_effect import delay_words
from plc_config.cause_effect import facts as facts_of
from tools.chart import Chart, Line
from tools.report.trip import Row, Trip

COLOURS: Final = ("#1b5e8a", "#b3541e", "#3f7d3f", "#7a4b94", "#8a7a1b", "#555")
STYLE: Final = """body{font:15px/1.45 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.4em}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.2em .6em;border-bottom:1px solid #ddd}
td.n{text-align:right;font-variant-numeric:tabular-nums}figure{margin:1em 0}figcaption{color:#555;font-size:.9em}
.key{font-size:1.1em;font-weight:600}svg{max-width:100%;height:auto}
svg text{font-size:11px;fill:#52606d}@media print{body{margin:0}}"""

Series = tuple[str, Callable[[Row], float | None]]


def _later(trip: Trip) -> str:
    """What else opened something, in its order, with the time after the first."""
    return "; ".join(
        f"{html.escape(h.text)} ({(h.now_ms - trip.t0_ms) / 1000:+.1f} s)"
        for h in sorted(trip.later.values(), key=lambda h: h.now_ms)
    )


def render(program: Program, trip: Trip) -> str:
    """The whole page."""
    slot = program.matrix.slots[trip.slot]
    row = slot.row
    when = datetime.fromtimestamp(trip.utc_ms / 1000, UTC).isoformat(timespec="milliseconds")
    unit = row.unit
    compared = f"{trip.value:.4g} {unit}, limit {trip.limit:.4g} {unit}" if unit else "condition present"
    facts = [
        ("First out", f"<span class=key>{row.id}</span> at {html.escape(trip.place)}"),
        *([("Opened later", _later(trip))] if trip.later else []),
        ("Value", compared),
        ("Time", f"{when}, scan {trip.scan}"),
        ("Delay in force", f"{delay_words(facts_of(row, program))}, in scans of {program.cycle_ms} ms"),
        ("Effects", _effects(row.effect | row.bank_effect)),
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
    figures = "".join(_figure(title, up, trip, series) for title, up, series in _plots(trip))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Trip {when}</title>"
        f"<style>{STYLE}</style>"
        f"<h1>Trip of {html.escape(program.site_id)}</h1><table>{table}</table>{figures}"
        f"<h2>In the order of scans</h2><table><tr><th>time<th>scan<th>what</tr>{happened}</table></html>\n"
    )


def _effects(effects: Effect) -> str:
    return ", ".join((e.name or "").lower().replace("_", " ") for e in Effect if e & effects)


def _plots(trip: Trip) -> list[tuple[str, str, list[Series]]]:
    racks = len(trip.rows[0].rack_current_a) if trip.rows else 0
    worst = sorted(range(racks), key=lambda r: -_swing(trip.rows, r))[: len(COLOURS)]
    return [
        (
            "Power (discharge positive)",
            "kW",
            [
                ("measured", lambda r: r.power_w / 1000),
                ("target", lambda r: r.target_w / 1000),
                ("charge limit", lambda r: -r.charge_limit_w / 1000),
                ("discharge limit", lambda r: r.discharge_limit_w / 1000),
            ],
        ),
        ("Cell voltage", "V", [("highest", lambda r: r.cell_max_v), ("lowest", lambda r: r.cell_min_v)]),
        ("Hottest sensor", "°C", [("hottest", lambda r: r.hottest_degc)]),
        ("Rack current (discharge positive)", "A", [(f"R{i + 1:02d}", _current(i)) for i in sorted(worst)]),
    ]


def _current(rack: int) -> Callable[[Row], float | None]:
    return lambda row: row.rack_current_a[rack]


def _swing(rows: Sequence[Row], rack: int) -> float:
    values = [v for r in rows if (v := r.rack_current_a[rack]) is not None]
    return max(values) - min(values) if values else 0.0


def _figure(title: str, up: str, trip: Trip, series: Sequence[Series]) -> str:
    rows = trip.rows
    seconds = np.array([(r.now_ms - trip.t0_ms) / 1000 for r in rows])
    lines = [
        Line(colour, seconds, np.array([_number(f(r)) for r in rows]), name)
        for (name, f), colour in zip(series, COLOURS, strict=False)
    ]
    drawn = Chart(lines, "s", up, mark=0.0, label=title).svg()
    if not drawn:
        return f"<figure><figcaption>{title}: no usable value</figcaption></figure>"
    return f"<figure><figcaption>{title}; the dashed line marks the trip</figcaption>{drawn}</figure>"


def _number(value: float | None) -> float:
    return math.nan if value is None else value
