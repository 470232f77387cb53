"""The picture that `watch` draws from a snapshot: no I/O, readable at 100 x 32."""

from __future__ import annotations

import datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from controller.core.image_warnings import Fault
from opcua_model.watching import Snapshot

NOTHING: Final = "·"
FIXED_ROWS: Final = 21
LEAST_ROWS: Final = 3
ALARM_ROWS: Final = 5
ASIDE: Final = (
    ("SuppressedAlarms", "consequences"),
    ("ShelvedAlarms", "shelved"),
    ("OutOfServiceAlarms", "out of service"),
    ("ChatteringAlarms", "chattering"),
)
"""What is not on the list, or should not be."""
COLOUR: Final = {
    "ONLINE": "bold green",
    "CLOSED": "green",
    "TRIPPED": "bold red",
    "LOCKED_OUT": "bold white on red",
    "CONNECTING": "yellow",
    "PRECHARGE": "yellow",
    "STOPPING": "yellow",
    "MAINTENANCE": "magenta",
}


def picture(snapshot: Snapshot, trouble: str, height: int) -> RenderableType:
    """The whole screen. `trouble` says that the data are not live; then everything is grey."""
    rows = max(height - FIXED_ROWS - min(len(snapshot["Alarms/List"] or []), ALARM_ROWS), LEAST_ROWS)
    parts: list[RenderableType] = [
        _head(snapshot, trouble),
        _side_by_side(_power(snapshot), _cells(snapshot)),
        _racks(snapshot, rows),
        _alarms(snapshot),
        _early(snapshot),
        _controller(snapshot),
    ]
    return Group(*parts) if not trouble else Group(parts[0], *(_grey(p) for p in parts[1:]))


def _grey(part: RenderableType) -> RenderableType:
    from rich.styled import Styled

    return Styled(part, "bright_black")


def _head(s: Snapshot, trouble: str) -> RenderableType:
    state = str(s["Status/State"] or "NO DATA")
    line = Text()
    line.append(f" {state} ", COLOUR.get(state, "bold"))
    line.append(f" {s['Status/StateReason'] or ''}")
    line.append(_missing_racks(s, state), "yellow")
    if s["Status/Simulated"]:
        line.append("  SIMULATED", "cyan")
    if s["Status/FirstOut"]:
        line.append(f"  first out: {s['Status/FirstOut']}", "red")
    if (s["Status/ShutdownArmedTime"] or 0) > 0:
        line.append(f"  SHUTDOWN ARMED {s['Status/ShutdownArmedTime'] / 1000:.0f} s", "bold yellow")
    if s["Status/MaintenanceWanted"] and state != "MAINTENANCE":
        line.append("  MAINTENANCE ASKED FOR, waits: why connect", "magenta")
    if s.values and not s["Status/DataValid"]:
        line.append("  DATA NOT CURRENT", "bold red")
    if trouble:
        line = Text(f" {trouble} ", "bold white on red")
    age = s["Status/ImageAge"]
    title = f"{s['Identification/SiteName'] or 'Cellwarden'} · {datetime.datetime.now().astimezone():%H:%M:%S}"
    below = f"{s.endpoint} · scan {_shown(s['Status/ScanNumber'])} · data age {_shown(age)} ms"
    return Panel(line, title=title, subtitle=below, title_align="left", subtitle_align="left")


def _missing_racks(s: Snapshot, state: str) -> str:
    """How many racks take part in an ONLINE site when not all do: the reason tells how it came there, not how it is."""
    racks = [d for d in s.devices if d.startswith("Racks/")]
    closed = sum(s[f"{d}/State"] == "CLOSED" for d in racks)
    return f", {closed} of {len(racks)} closed" if state == "ONLINE" and closed < len(racks) else ""


def number(s: Snapshot, path: str, unit: str = "", scale: float = 1.0, digits: int = 1) -> Text:
    """A value as text: a dot where there is none, dim and marked where it is uncertain."""
    value = s[path]
    if value is None:
        return Text(NOTHING, "bright_black")
    text = f"{value * scale:,.{digits}f}{' ' + unit if unit else ''}"
    return Text(text) if s.good(path) else Text(f"{text} ?", "dim yellow")


def _power(s: Snapshot) -> RenderableType:
    t = _grid()
    t.add_row("power", number(s, "Measurements/ActivePower", "kW", 1e-3), "")
    target = number(s, "Measurements/ActivePowerTarget", "kW", 1e-3)
    t.add_row("setpoint", number(s, "Measurements/ActivePowerSetpoint", "kW", 1e-3), Text("given ") + target)
    soc = number(s, "Measurements/Soc", "%", 100)
    t.add_row("SOC", soc, Text("± ") + number(s, "Measurements/SocSigma", "%", 100))
    t.add_row("charge limit", number(s, "Measurements/ChargeLimit", "kW", 1e-3, 0), _binding(s, "Charge"))
    t.add_row("discharge limit", number(s, "Measurements/DischargeLimit", "kW", 1e-3, 0), _binding(s, "Discharge"))
    return Panel(t, title="power", title_align="left")


def _binding(s: Snapshot, way: str) -> Text:
    rack = s[f"Measurements/{way}BindingRack"]
    return Text(f"{s[f'Measurements/{way}Binding'] or ''}{' ' + rack if rack else ''}", "cyan")


def _cells(s: Snapshot) -> RenderableType:
    t = _grid()
    for label, name, unit, digits in (
        ("highest cell", "CellVoltageMax", "V", 3),
        ("lowest cell", "CellVoltageMin", "V", 3),
        ("hottest", "TemperatureMax", "°C", 1),
        ("coldest", "TemperatureMin", "°C", 1),
    ):
        place = Text(str(s[f"Measurements/{name}Place"] or ""), "cyan")
        t.add_row(label, number(s, f"Measurements/{name}", unit, digits=digits), place)
    good, stale, bad = (s[f"Measurements/{n}Values"] for n in ("Good", "Stale", "Bad"))
    t.add_row("values", f"{good if good is not None else NOTHING} good", f"{stale or 0} stale, {bad or 0} bad")
    return Panel(t, title="cells", title_align="left")


def _side_by_side(left: RenderableType, right: RenderableType) -> Table:
    t = Table.grid(expand=True)
    t.add_column(ratio=1)
    t.add_column(ratio=1)
    t.add_row(left, right)
    return t


def _grid() -> Table:
    t = Table.grid(padding=(0, 2))
    t.add_column(style="bright_black")
    t.add_column(justify="right")
    t.add_column()
    return t


def _racks(s: Snapshot, most: int) -> RenderableType:
    t = Table(expand=True, box=None, padding=(0, 1), header_style="bright_black")
    for name in ("rack", "state", "V", "A", "SOC %", "min V", "max V", "hot °C", "age ms"):
        t.add_column(name, justify="left" if name in ("rack", "state") else "right")
    racks = [d for d in s.devices if d.startswith("Racks/")]
    shown = racks if len(racks) <= most else racks[: most - 1]
    for d in shown:
        state = str(s[f"{d}/State"] or NOTHING)
        t.add_row(
            d.removeprefix("Racks/"),
            Text(state, COLOUR.get(state, "")),
            number(s, f"{d}/Voltage"),
            number(s, f"{d}/Current"),
            number(s, f"{d}/Soc", scale=100),
            number(s, f"{d}/CellVoltageMin", digits=3),
            number(s, f"{d}/CellVoltageMax", digits=3),
            number(s, f"{d}/TemperatureMax"),
            number(s, f"{d}/CommAge", digits=0),
        )
    if len(shown) < len(racks):
        t.add_row("…", f"{len(racks) - len(shown)} more")
    return t


def _alarms(s: Snapshot) -> RenderableType:
    lines = s["Alarms/List"] or []
    count = f"{s['Alarms/ActiveAlarms'] or 0} active, {s['Alarms/UnacknowledgedAlarms'] or 0} unacknowledged"
    for name, word in ASIDE:
        count += f", {s[f'Alarms/{name}']} {word}" if s[f"Alarms/{name}"] else ""
    count += ", FLOOD" if s["Alarms/AlarmFlood"] else ""
    body = Text()
    for line in lines[:ALARM_ROWS]:
        priority, state, row, place, value, limit, text = (line.split("|", 6) + [""] * 7)[:7]
        style = "bold red" if priority == "3" else "yellow" if priority == "2" else ""
        compared = f"{value} (limit {limit}) " if value else ""
        body.append(f"{state.lower():22} {row} {place} {compared}{text}\n", style)
    if not lines:
        body.append("none", "bright_black")
    body.rstrip()
    body.no_wrap, body.overflow = True, "ellipsis"
    more = f"{len(lines) - ALARM_ROWS} more: --json lists them" if len(lines) > ALARM_ROWS else None
    return Panel(body, title=f"alarms: {count}", title_align="left", subtitle=more, subtitle_align="left")


def _early(s: Snapshot) -> Text:
    """What early warning suspects first, and how often it was told for nothing."""
    faults = [int(f) for f in s["Warnings/WarningFault"] or [] if f]
    line = Text("early warning ", no_wrap=True, overflow="ellipsis")
    if faults:
        rack, module, element = (int(s[f"Warnings/Warning{n}"][0]) + 1 for n in ("Rack", "Module", "Element"))
        letter = {Fault.TEMPERATURE_SENSOR: "T", Fault.STUCK_SENSOR: "#"}.get(Fault(faults[0]), "C")
        line.append(f"{Fault(faults[0]).name.lower()} R{rack:02d}/M{module:02d}/{letter}{element:02d}", "yellow")
        line.append(
            f" {s['Warnings/WarningSigmas'][0]:.0f} sigma" + (f", {len(faults) - 1} more" if faults[1:] else "")
        )
    else:
        line.append("nothing suspected")
    told, gone = _shown(s["Warnings/WarningsTold"]), _shown(s["Warnings/WarningsWithdrawn"])
    days = number(s, "Warnings/HealthyCellDays", digits=0)
    return line.append(f"  {told} told, {gone} withdrawn in ").append_text(days).append(" healthy cell-days")


def _controller(s: Snapshot) -> RenderableType:
    buses = [d for d in s.devices if d.startswith("Diagnostics/Buses/") and "/Units/" not in d]
    up = [d for d in buses if s[f"{d}/Connected"]]
    down = [d.rpartition("/")[2] for d in buses if d not in up]
    wrong = sum(int(s[f"{d}/{n}"] or 0) for d in buses for n in ("Timeouts", "Bad", "Exceptions"))
    scan = Text("scan ")
    scan.append_text(_milliseconds(s, "Diagnostics/System/ScanDuration", "Diagnostics/Processes/Scan/DurationP99"))
    scan.append("  lateness ")
    scan.append_text(_milliseconds(s, "Diagnostics/System/Lateness", "Diagnostics/Processes/Scan/LatenessP99"))
    scan.append(f"  overruns {_shown(s['Diagnostics/System/Overruns'])}")
    bus = Text(f"buses {len(up)}/{len(buses)} up, {wrong} errors", "red" if down else "")
    if down:
        bus.append(f", down: {' '.join(down[:8])}")
    clients = Text(
        f"OPC UA {_shown(s['Diagnostics/Processes/Opcua/Sessions'])} sessions, "
        f"{_shown(s['Diagnostics/Processes/Opcua/MonitoredItems'])} items"
        f"  control: {s['Control/ControlHolder'] or 'free'}  last: {s['Control/LastAnswer'] or NOTHING}",
        no_wrap=True,
        overflow="ellipsis",
    )
    return Group(scan, bus, clients)


def _milliseconds(s: Snapshot, now: str, p99: str) -> Text:
    return number(s, now, "ms", digits=2) + Text(" (p99 ") + number(s, p99, "ms", digits=2) + Text(")")


def _shown(value: Any) -> str:
    return NOTHING if value is None else str(value)
