"""`cellwarden why SITE`: why power is limited, why the site cannot connect, why it tripped; over OPC UA."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from plc_config.problem import ConfigError
from tools.commands.check import tell
from tools.commands.operate import EXIT_UNREACHABLE, connection

if TYPE_CHECKING:
    from opcua_model.client import SiteClient
    from plc_config.compile import Compiled

HELP = "answer why power is limited, why the site cannot connect, why it tripped: rule, place, value, what lifts it"
EXAMPLE = "cellwarden why container trip"
QUESTIONS: Final = ("limited", "connect", "trip")
ACTIVE: Final = ("UNACKNOWLEDGED", "ACKNOWLEDGED", "LATCHED_UNACKNOWLEDGED", "LATCHED")
LATCHED: Final = ("LATCHED_UNACKNOWLEDGED", "LATCHED")
OPENS: Final = ("STOP", "TRIP", "LOCKOUT")
FIELDS: Final = 7
SITE_PATHS: Final = (
    "Status/State",
    "Status/StateReason",
    "Status/FirstOut",
    "Status/FirstOutUtc",
    "Alarms/List",
    "Alarms/ActiveAlarms",
    *(f"Measurements/{d}{n}" for d in ("Charge", "Discharge") for n in ("Limit", "Binding", "BindingRack")),
)
RACK_PATHS: Final = (
    "State", "StateReason", "Ready", "Voltage", "LinkVoltage", "Inrush", "PrechargeHeat",
    "CellVoltageMin", "CellVoltageMax", "TemperatureMin",
    "TemperatureMax", "ChargeLimit", "DischargeLimit",
)  # fmt: skip
Values = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Reason:
    """One link of the chain: which rule, where, the value against the limit, and what lifts it."""

    rule: str
    place: str
    value: str = ""
    limit: str = ""
    lifts: str = ""
    advice: str = ""
    because: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """The answer to one question; without reasons the answer says that there is nothing to explain."""

    question: str
    answer: str
    reasons: tuple[Reason, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ActiveAlarm:
    """One line of Alarms/List."""

    state: str
    row: str
    place: str
    value: str
    limit: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """SITE and the question."""
    parser.add_argument("site", help="file, or name of a shipped site")
    parser.add_argument("question", nargs="?", choices=QUESTIONS, help="all three when not given")
    connection(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0 answered, 69 unreachable, 78 configuration."""
    try:
        return asyncio.run(_ask(args))
    except ConfigError as error:
        return tell(error, args.json)


async def _ask(args: argparse.Namespace) -> int:
    from plc_config.compile import compile_site
    from tools.commands.operate import reach

    site = compile_site(args.site)
    client = await reach(args)
    if client is None:
        return EXIT_UNREACHABLE
    try:
        values = await _read(client)
    finally:
        await client.close()
    questions = (args.question,) if args.question else QUESTIONS
    answers = [explain(q, values, site) for q in questions]
    if args.json:
        print(json.dumps([dataclasses.asdict(a) for a in answers], indent=2))
    else:
        print("\n\n".join(as_text(a) for a in answers))
    return 0


async def _read(client: SiteClient) -> dict[str, Any]:
    racks = await client.children("Racks")
    paths = [*SITE_PATHS, *(f"Racks/{rack}/{name}" for rack in racks for name in RACK_PATHS)]
    return {path: value.value for path, value in (await client.read(paths)).items()}


# -- the answers -----------------------------------------------------------------------------------------------


def explain(question: str, values: Values, site: Compiled) -> Explanation:
    """The answer to one question from values read at one moment."""
    rules = Rules(site)
    alarms = [a for line in values.get("Alarms/List") or () if (a := parse_alarm(line)) and a.state in ACTIVE]
    answer = {"limited": _limited, "connect": _connect, "trip": _trip}[question]
    return answer(values, alarms, rules)


class Rules:
    """What the matrix says of its rows at this site, and which racks a place acts on."""

    def __init__(self, site: Compiled) -> None:
        from plc_config.cause_effect import facts

        self.site = site
        self.rows = {row.id: facts(row, site.program) for row in site.program.matrix.rows}

    def reason(self, alarm: ActiveAlarm) -> Reason:
        """An alarm as a link of the chain."""
        row = self.rows.get(alarm.row, {})
        if alarm.state in LATCHED:
            lifts = f"cause is gone; reset {row.get('reset', '')}"
        else:
            how = str(row.get("reset", ""))
            lifts = f"{row.get('clear', 'cause gone')}, {how if how.startswith('by itself') else f'then reset {how}'}"
        return Reason(
            alarm.row, alarm.place, alarm.value, alarm.limit, lifts, row.get("advice", ""), row.get("because", "")
        )

    def acting(self, alarms: Iterable[ActiveAlarm], effects: Iterable[str], rack: str = "") -> list[ActiveAlarm]:
        """Alarms with one of the effects, those that act on a rack when one is named."""
        wanted = set(effects)
        return [a for a in alarms if self._effects(a, rack) & wanted]

    def _effects(self, alarm: ActiveAlarm, rack: str) -> set[str]:
        row = self.rows.get(alarm.row)
        if row is None:
            return set()
        own, bank = set(row["effects"]), set(row["bank_effects"])
        if not rack:
            return own | bank
        t, level = self.site.topology, row["place"]
        if level == "site":
            return own
        number = int(alarm.place.partition("/")[0][1:]) - 1
        home = int(t.pcs_bank[number] if level == "pcs" else t.rack_bank[number])
        if int(t.rack_bank[int(rack[1:]) - 1]) != home:
            return set()
        here = level == "pcs" or number == int(rack[1:]) - 1
        return (own if here else set()) | bank


def parse_alarm(line: str) -> ActiveAlarm | None:
    """One line of Alarms/List; None when it is not one."""
    parts = str(line).split("|", FIELDS - 1)
    if len(parts) < FIELDS:
        return None
    return ActiveAlarm(state=parts[1], row=parts[2], place=parts[3], value=parts[4], limit=parts[5])


def _limited(values: Values, alarms: list[ActiveAlarm], rules: Rules) -> Explanation:
    parts, reasons = [], []
    for direction in ("Discharge", "Charge"):
        limit = values.get(f"Measurements/{direction}Limit")
        name = values.get(f"Measurements/{direction}Binding") or "none"
        rack = values.get(f"Measurements/{direction}BindingRack") or ""
        shown = "unknown" if limit is None else f"{float(limit) / 1000:.0f} kW"
        parts.append(f"{direction.lower()} up to {shown}: {name}{f' of {rack}' if rack else ''}")
        reasons += _binding(direction, str(name), str(rack), values, alarms, rules)
    return Explanation("limited", "; ".join(parts), tuple(dict.fromkeys(reasons)))


def _binding(
    direction: str, name: str, rack: str, values: Values, alarms: list[ActiveAlarm], rules: Rules
) -> list[Reason]:
    """What stands behind a named limit."""
    cell = rules.site.cell
    place = rack or "site"
    if name in ("derated by an alarm", "blocked by an alarm"):
        block = ("DERATE",) if name.startswith("derated") else (f"BLOCK_{direction.upper()}", *OPENS)
        return [rules.reason(a) for a in rules.acting(alarms, block, rack)]
    if name == "cell voltage":
        curve = cell.derate_charge_voltage if direction == "Charge" else cell.derate_discharge_voltage
        end, at = ("Max", curve.at[0]) if direction == "Charge" else ("Min", curve.at[-1])
        side = "below" if direction == "Charge" else "above"
        value = _number(values.get(f"Racks/{rack}/CellVoltage{end}"), "V")
        return [Reason(name, place, value, f"{at:g} V", f"full again {side} {at:g} V")]
    if name == "temperature":
        curve = cell.derate_charge_temperature if direction == "Charge" else cell.derate_discharge_temperature
        full = [t for t, fraction in zip(curve.at, curve.fraction, strict=True) if fraction >= 1.0]
        inside = f"{full[0]:g} to {full[-1]:g} degC" if full else "the middle of the curve"
        span = [_number(values.get(f"Racks/{rack}/Temperature{end}"), "degC") for end in ("Min", "Max")]
        return [Reason(name, place, " to ".join(span), inside, f"full again while all sensors are at {inside}")]
    lifts = {
        "rated current": "nothing: the cell type's rated current",
        "PCS rating": "nothing: the rated power of the PCS",
        "data lost": "usable cell voltages, temperatures, current and voltage of the rack",
        "rack open": "connect the rack",
        "no rack connected": "connect",
    }
    return [Reason(name, place, lifts=lifts.get(name, ""))] if name in lifts else []


def _connect(values: Values, alarms: list[ActiveAlarm], rules: Rules) -> Explanation:
    state = str(values.get("Status/State"))
    blocking = rules.acting(alarms, ("BLOCK_CLOSE", *OPENS))
    reasons = [rules.reason(a) for a in blocking]
    most = rules.site.config.limits.precharge.rack_voltage_difference
    racks = sorted({path.split("/")[1] for path in values if path.startswith("Racks/")})
    for rack in racks:
        if values.get(f"Racks/{rack}/State") == "OUT_OF_SERVICE":
            reasons.append(Reason("out of service", rack, lifts="an engineer puts the rack back into service"))
        rack_v, link_v = (values.get(f"Racks/{rack}/{n}") for n in ("Voltage", "LinkVoltage"))
        waiting = values.get(f"Racks/{rack}/State") == "OPEN" and not values.get(f"Racks/{rack}/Ready")
        if state == "ONLINE" and waiting and rack_v is not None and link_v is not None and abs(rack_v - link_v) > most:
            off = _number(abs(rack_v - link_v), "V")
            lifts = f"a voltage difference to the DC link below {most:g} V"
            reasons.append(Reason("voltages do not meet", rack, off, f"{most:g} V", lifts))
        elif waiting:
            reasons += _held_back(values, rack, rules)
    closed = sum(values.get(f"Racks/{rack}/State") == "CLOSED" for rack in racks)
    where = f"the site is {state}, {closed} of {len(racks)} racks are connected"
    if reasons:
        return Explanation("connect", f"{where}; against it: {len(reasons)}", tuple(reasons))
    if state in ("STANDBY", "CONNECTING", "ONLINE"):
        return Explanation("connect", f"{where}; nothing is against it")
    return Explanation("connect", f"{where}: {values.get('Status/StateReason')}; it connects from STANDBY only")


def _held_back(values: Values, rack: str, rules: Rules) -> list[Reason]:
    """What of the connection policy keeps an open rack out."""
    reasons = []
    limit, inrush = rules.site.program.sequences.settings.inrush_a, values.get(f"Racks/{rack}/Inrush") or 0.0
    if inrush > limit:
        lifts = f"a predicted in-rush below {limit:g} A: the racks' voltages must come closer"
        reasons.append(Reason("in-rush too large", rack, _number(inrush, "A"), f"{limit:g} A", lifts))
    heat = values.get(f"Racks/{rack}/PrechargeHeat") or 0.0
    if heat > 0.5:
        lifts = "the precharge resistor has cooled down"
        reasons.append(Reason("precharge resistor hot", rack, _number(100 * heat, "%"), "100 %", lifts))
    return reasons


def _trip(values: Values, alarms: list[ActiveAlarm], rules: Rules) -> Explanation:
    first = str(values.get("Status/FirstOut") or "")
    opening = rules.acting(alarms, OPENS)
    if not first:
        return Explanation("trip", "nothing is tripped")
    row, _, place = first.partition(" ")
    lead = [a for a in opening if a.row == row and (not place or a.place == place)]
    others = [a for a in opening if a not in lead]
    chain = [rules.reason(a) for a in (*lead, *others)]
    if not lead and row in rules.rows:
        facts = rules.rows[row]
        chain.insert(0, Reason(row, place, lifts=facts["reset"], advice=facts["advice"], because=facts["because"]))
    when = values.get("Status/FirstOutUtc")
    since = f" at {when:%Y-%m-%d %H:%M:%S} UTC" if hasattr(when, "strftime") else ""
    more = f", {len(others)} more since" if others else ""
    return Explanation("trip", f"first out: {first}{since}{more}", tuple(chain))


def _number(value: Any, unit: str) -> str:
    return "unknown" if value is None else f"{float(value):.4g} {unit}"


def as_text(explanation: Explanation) -> str:
    """An answer for people."""
    lines = [f"{explanation.question}: {explanation.answer}"]
    for reason in explanation.reasons:
        compared = f": {reason.value} against {reason.limit}" if reason.limit else ""
        lines.append(f"  {reason.rule} {reason.place}{compared}")
        for label, text in (("because", reason.because), ("lifts", reason.lifts), ("advice", reason.advice)):
            if text:
                lines.append(f"    {label}: {text}")
    return "\n".join(lines)
