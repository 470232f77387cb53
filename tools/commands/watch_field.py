"""The picture of `watch --buses`: every bus, and every unit that does not answer as it should. No I/O."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from controller.fieldbus.blame import EXCEPTION_TEXT
from opcua_model.watching import Snapshot
from tools.commands.watch_view import NOTHING

COUNTS: Final = ("Requests", "Ok", "Timeouts", "Bad", "Late", "Exceptions")
UNIT_COUNTS: Final = (*COUNTS, "Unconfirmed")
TROUBLE: Final = ("Timeouts", "Bad", "Late", "Exceptions", "Unconfirmed")
SILENT_MS: Final = 1000
"""A unit whose last correct reply is older than this is shown as silent."""

MOST_UNITS: Final = 20


def field_picture(s: Snapshot, trouble: str) -> RenderableType:
    """Buses and troubled units; `trouble` says that the data are not live."""
    parts: list[RenderableType] = [Text(f" {trouble} ", "bold white on red")] if trouble else []
    return Group(*parts, _buses(s), _units(s))


def _buses(s: Snapshot) -> Table:
    table = Table(expand=True, box=None, padding=(0, 1), header_style="bright_black")
    buses = [d for d in s.devices if d.startswith("Diagnostics/Buses/") and "/Units/" not in d]
    codes = {bus: _by_code(s[f"{bus}/ExceptionCodes"]) for bus in buses}
    by_code = ["by code"] if any(codes.values()) else []
    for name in ("bus", "link", *(c.lower() for c in COUNTS), *by_code, "reconnects", "age", "p99 ms"):
        table.add_column(name, justify="left" if name in ("bus", "link", "by code") else "right", no_wrap=True)
    for bus in buses:
        up = s[f"{bus}/Connected"]
        table.add_row(
            bus.rpartition("/")[2],
            Text("open" if up else "down", "green" if up else "bold red"),
            *(_count(s[f"{bus}/{c}"], c in TROUBLE) for c in COUNTS),
            *([codes[bus]] if by_code else []),
            _count(s[f"{bus}/Reconnects"], True),
            _age(s, bus),
            _ms(s[f"{bus}/LatencyP99"]),
        )
    return table


def _units(s: Snapshot) -> RenderableType:
    units = [d for d in s.devices if "/Units/" in d]
    shown = [u for u in units if _silent(s, u) or any(s[f"{u}/{c}"] for c in TROUBLE)]
    shown.sort(key=lambda u: (not _silent(s, u), -sum(int(s[f"{u}/{c}"] or 0) for c in TROUBLE)))
    if not shown:
        return Text(f"all {len(units)} units answer every request", "green")
    table = Table(expand=True, box=None, padding=(0, 1), header_style="bright_black")
    for name in ("unit", "device", "reply age", *(c.lower() for c in UNIT_COUNTS), "p99 ms", "last exception"):
        table.add_column(name, justify="left" if name in ("unit", "device", "last exception") else "right")
    for unit in shown[:MOST_UNITS]:
        bus, _, number = unit.removeprefix("Diagnostics/Buses/").partition("/Units/")
        code = int(s[f"{unit}/LastException"] or 0)
        table.add_row(
            f"{bus} {number}",
            str(s[f"{unit}/Device"] or NOTHING),
            _age(s, unit),
            *(_count(s[f"{unit}/{c}"], c in TROUBLE) for c in UNIT_COUNTS),
            _ms(s[f"{unit}/LatencyP99"]),
            f"{code}: {EXCEPTION_TEXT.get(code, 'unknown')}" if code else "",
        )
    more = len(shown) - MOST_UNITS
    rest = f"{max(more, 0)} more with trouble; " if more > 0 else ""
    return Group(Text(), table, Text(f"{rest}{len(units) - len(shown)} units answer every request", "bright_black"))


def _by_code(counts: Any) -> str:
    """How often each exception code came; 0 stands for codes that Modbus does not name."""
    return ", ".join(f"{code}: {n:,}" for code, n in enumerate(counts or ()) if n)


def _age(s: Snapshot, of: str) -> Text:
    age = s[f"{of}/ReplyAge"]
    old = NOTHING if age is None else "never" if age < 0 else f"{age / 1000:.1f} s"
    return Text(old, "bold red" if _silent(s, of) else "")


def _silent(s: Snapshot, of: str) -> bool:
    age = s[f"{of}/ReplyAge"]
    return age is not None and (age < 0 or age > SILENT_MS)


def _count(value: Any, trouble: bool) -> Text:
    return Text(NOTHING if value is None else f"{value:,}", "yellow" if trouble and value else "")


def _ms(value: Any) -> str:
    return NOTHING if value is None else f"{value:.1f}"
