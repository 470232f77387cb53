"""The cause & effect matrix as a page for an auditor, printed from the rows and compared in a test."""

from __future__ import annotations

from typing import Any

from controller.core.program import Program
from controller.core.protect import Effect, Row
from controller.core.protect.engine import acts_after_ms
from controller.core.protect.row import Threshold, Warned
from controller.core.settings import NOT_MEASURED
from controller.core.signal import amount
from plc_config.cause_times import cause_takes

MARKS = (
    ("A", Effect.ALARM),
    ("D", Effect.DERATE),
    ("C", Effect.BLOCK_CHARGE),
    ("X", Effect.BLOCK_DISCHARGE),
    ("B", Effect.BLOCK_CLOSE),
    ("S", Effect.STOP),
    ("T", Effect.TRIP),
    ("L", Effect.LOCKOUT),
)
HEAD = """# Cause and effect matrix

Printed from `controller/core/protect/matrix.py` with the thresholds of the site `{site}` (cell type and site limits);
`make printed` prints it again and a test compares. Effects combine by OR and nothing can subtract one.

Effects: **A** alarm, **D** derate to half, **C** block charging, **X** block discharging, **B** block closing,
**S** stop (current to zero, then open), **T** trip (open now), **L** lock out. They act on the racks of the place: the
module's rack, the rack, the racks of the PCS's bank, or all. "On bank" is what the whole bank suffers.

The site scans every {cycle} ms, and a row acts in a scan: its delay is printed from the scan that first sees the cause
to the one that acts, with what is set behind it where that is no whole number of scans. Where a cause has a time of its
own and its row acts at once, that time stands there instead.

A delay is used up while the cause is present and given back at a quarter of that speed. A cause is over only behind
its clear threshold and with data at hand. Protection compares the worst plausible value.
"""


def facts(row: Row, program: Program) -> dict[str, Any]:
    """A row as plain data."""
    cause = row.cause
    band = getattr(program.limit, cause.band) if isinstance(cause, Threshold) else None
    if isinstance(cause, Threshold) and band is not None:
        sign = (">", "<") if cause.over else ("<", ">")
        what = f"{_first_line(cause.quantity)} {sign[0]} {amount(getattr(band, cause.at), row.unit)}"
        clear = f"{sign[1]} {amount(band.clear, row.unit)}"
        if band == NOT_MEASURED:
            what, clear = f"{_first_line(cause.quantity)}: not measured at this site", "never acts"
    else:
        what = (
            cause.words
            if isinstance(cause, Warned)
            else ""
            if isinstance(cause, Threshold)
            else _first_line(cause.condition)
        )
        clear = "cause gone"
    return {
        "id": row.id,
        "place": row.place,
        "cause": what,
        "clear": clear,
        "delay_ms": row.delay_ms(program.limit),
        "acts_after_ms": int(acts_after_ms(row.delay_ms(program.limit), program.cycle_ms)),
        "cause_takes": cause_takes(row.id, program),
        "effects": [e.name for _, e in MARKS if row.effect & e],
        "bank_effects": [e.name for _, e in MARKS if row.bank_effect & e],
        "reset": row.reset.value,
        "priority": row.priority.name,
        "because": row.because,
        "advice": row.advice,
        "standard": row.standard,
    }


def render(program: Program) -> str:
    """The whole page."""
    lines = [HEAD.format(site=program.site_id, cycle=program.cycle_ms)]
    lines.append(
        "| row | place | cause | delay | " + " | ".join(m for m, _ in MARKS) + " | on bank | clear | reset | priority |"
    )
    lines.append("|---|---|---|---|" + "---|" * len(MARKS) + "---|---|---|---|")
    for row in program.matrix.rows:
        f = facts(row, program)
        marks = " | ".join(m if row.effect & e else "" for m, e in MARKS)
        bank = "".join(m for m, e in MARKS if row.bank_effect & e)
        lines.append(
            f"| {f['id']} | {f['place']} | {f['cause']} | {delay_words(f)} | {marks} | {bank} | {f['clear']} "
            f"| {f['reset']} | {f['priority'].lower()} |"
        )
    lines += ["", "## Why, and what to do", ""]
    for row in program.matrix.rows:
        standard = f" ({row.standard})" if row.standard else ""
        lines.append(f"- **{row.id}**{standard}: {row.because} {row.advice}")
    return "\n".join(lines) + "\n"


def delay_words(row: dict[str, Any]) -> str:
    """When a row acts, from its facts: its delay as the site's scans live it, or what its cause takes before."""
    acts, told = row["acts_after_ms"], row["delay_ms"]
    if not told and row["cause_takes"]:
        return str(row["cause_takes"])
    return f"{acts} ms" if acts == told else f"{acts} ms (set: {told} ms)"


def _first_line(function: Any) -> str:
    return str(function.__doc__ or function.__name__).strip().splitlines()[0].rstrip(".")
