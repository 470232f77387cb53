"""The score as one HTML page: the table, and per profile the estimate with its band and the errors over time."""

from __future__ import annotations

from html import escape
from typing import Any, Final

import numpy as np

from tools.chart import Band, Chart, Line
from tools.score.packs import StringScore
from tools.score.scenario import Run, Score
from tools.score.targets import half, misses

WIDTH, HEIGHT, LEFT, TITLE = 520, 180, 48, 22
BLACK, BLUE, SHADE = "#1b2733", "#1f6feb", "#c9dcf2"
HEAD: Final = (
    "profile",
    "sensors",
    "median RMSE",
    "p95 RMSE",
    "median max",
    "worst",
    ">10 %",
    "2σ coverage",
    "σ / RMSE",
    "data",
    "misses",
)
STRING_HEAD: Final = ("string", "healthy cells", "string RMSE", "median cell RMSE", "worst cell RMSE", "2σ coverage")
STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1120px; padding: 0 1rem; color: #1b2733 }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #dde3ea } td:first-child, th:first-child
{ text-align: left } th { font-weight: 600; color: #52606d } .bad { color: #b42318; font-weight: 600 }
figure { display: inline-block; margin: 1rem 1rem 0 0 } figcaption { color: #52606d; font-size: 13px }
svg text { font: 11px system-ui, sans-serif; fill: #52606d }
"""


def cells_of(score: Score) -> list[str]:
    """One row of the table, SOC figures in %."""
    return [
        score.profile, score.scenario, *(f"{100 * x:.2f}" for x in (score.rmse_median, score.rmse_p95)),
        *(f"{100 * x:.2f}" for x in (score.max_median, score.max_worst)), str(score.diverged),
        f"{score.coverage:.2f}", f"{score.sigma_over_rmse:.2f}",
        half(score.profile), ", ".join(misses(score)) or "-",
    ]  # fmt: skip


def strings_of(score: StringScore) -> list[str]:
    """One row of the table of strings, SOC figures in %."""
    figures = (score.string_rmse, score.cell_rmse_median, score.cell_rmse_worst)
    return [score.string, f"{score.healthy} of {score.cells}", *(f"{100 * x:.2f}" for x in figures),
            f"{score.coverage:.2f}"]  # fmt: skip


def picture(run: Run) -> str:
    """One profile as a picture that stands alone: truth, the median cell's estimate and its 2-sigma band."""
    s = run.score
    told = f"{s.profile}, sensors {s.scenario}: truth (black), estimate of the median cell (blue), its 2σ band"
    body = _soc(run, told)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + TITLE}" width="{2 * WIDTH}" '
        f'role="img"><title>{escape(told)}</title><style>text {{ font: 11px system-ui, sans-serif; fill: #52606d }}'
        f'</style><rect width="{WIDTH}" height="{HEIGHT + TITLE}" fill="#fff"/>'
        f'<text x="{LEFT}" y="16">{escape(told)}</text><g transform="translate(0 {TITLE})">{body}</g></svg>\n'
    )


def render(
    runs: list[Run], strings: list[StringScore], findings: dict[str, list[dict[str, Any]]], note: str
) -> str:  # fmt: skip
    """The whole page; no script, no outside resource."""
    table = _table(HEAD, [cells_of(r.score) for r in runs]) if runs else ""
    if strings:
        table += "<h2>Strings, after a day</h2>" + _table(STRING_HEAD, [strings_of(s) for s in strings])
    plots = "".join(_plots(r) for r in runs)
    found = "".join(_found(name, items) for name, items in findings.items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Cellwarden score</title><style>{STYLE}</style>'
        f"<h1>State of charge against the truth</h1><p>{escape(note)}</p>"
        f"{table}{plots}{found}</html>\n"
    )


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in rows)
    return (
        f"<table><thead><tr>{''.join(f'<th>{escape(h)}</th>' for h in head)}</tr></thead><tbody>{body}</tbody></table>"
    )


def _plots(run: Run) -> str:
    hours = run.time_s / 3600.0
    name = escape(f"{run.score.profile}, {run.score.scenario}")
    soc = _soc(run, "SOC")
    reach = max(2.0, 110 * float(np.nanmax(np.abs([run.error_p05, run.error_p95])[:, len(hours) // 20 :])))
    error = _chart(
        [Line(BLUE, hours, 100 * (run.estimate - run.truth))],
        Band(SHADE, hours, 100 * run.error_p05, 100 * run.error_p95),
        (-reach, reach),
        "error",
    )
    return (
        f"<h2>{name}</h2><figure>{soc}<figcaption>Truth (black), the median cell's estimate, its 2σ band"
        f"</figcaption></figure><figure>{error}"
        "<figcaption>Error of the median cell, and of 5 to 95 % of the cells</figcaption></figure>"
    )


def _soc(run: Run, label: str) -> str:
    hours = run.time_s / 3600.0
    low, high = 100 * (run.estimate - 2 * run.sigma), 100 * (run.estimate + 2 * run.sigma)
    lines = [Line(BLACK, hours, 100 * run.truth), Line(BLUE, hours, 100 * run.estimate)]
    return _chart(lines, Band(SHADE, hours, low, high), (0.0, 100.0), label)


def _chart(lines: list[Line], band: Band, reach: tuple[float, float], label: str) -> str:
    return Chart(lines, "h", "%", (band,), reach, label=label, width=WIDTH, height=HEIGHT, left=LEFT).svg()


def _found(name: str, items: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{i['t_s'] / 3600:.1f} h</td><td>{i['cell']}</td><td>{escape(i['fault'])}</td>"
        f"<td>{i['severity']:.1f}</td><td>{escape(i['evidence'])}</td><td>{escape(i.get('truth', ''))}</td></tr>"
        for i in items
    )
    head = "<tr><th>found</th><th>cell</th><th>fault</th><th>severity</th><th>evidence</th><th>truth</th></tr>"
    return f"<h2>Early warning: {escape(name)}</h2><table>{head}{rows or '<tr><td>nothing found</td></tr>'}</table>"
