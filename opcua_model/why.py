"""Why is power limited, why does it not connect, why did it trip, would a recalibration pay: the chain of reasons.

One answer for everybody: the method `Why` gives it to SCADA, and `cellwarden why` and panels call that method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from opcua_model.acting import NOT_ACTING, ActiveAlarm, acting_alarms
from opcua_model.model import Model
from opcua_model.points import Point, sample
from opcua_model.view import Look
from plc_config.cause_effect import facts
from plc_config.compile import Compiled

QUESTIONS: Final = ("limited", "connect", "trip", "recalibrate")
WORDS: Final = {
    "limit": "limited",
    "power": "limited",
    "connect": "connect",
    "close": "connect",
    "trip": "trip",
    "calibr": "recalibrate",
}
"""What in a question, as a person may word it, tells which one it is."""
LATCHED: Final = ("LATCHED_UNACKNOWLEDGED", "LATCHED")
OPENS: Final = ("STOP", "TRIP", "LOCKOUT")
FEEDING: Final = ("CLOSED", "STOPPING", "FUSE_WAIT")
CAUSE_GONE: Final = "cause gone"
PLACES_SHOWN: Final = 3
MOST_REASONS: Final = 40
SITE_PATHS: Final = (
    "Status/State",
    "Status/StateReason",
    "Status/FirstOut",
    "Status/FirstOutUtc",
    *(f"Measurements/{d}{n}" for d in ("Charge", "Discharge") for n in ("Limit", "Binding", "BindingRack")),
)
RACK_PATHS: Final = (
    "State", "StateReason", "Ready", "Voltage", "LinkVoltage", "Inrush", "PrechargeHeat", "CellVoltageMin",
    "CellVoltageMax", "TemperatureMin", "TemperatureMax", "ChargeLimit", "DischargeLimit", "RecalibrationPays",
    "Attempts", "StateTime", "RejoinTime", "RecalibrationKind", "RecalibrationGain", "RecalibrationSigma",
    "RecalibrationTime", "SocSigma",
)  # fmt: skip
Values = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Reason:
    """One link of the chain: which rule, where, the value against the limit, what explains it, and what lifts it."""

    rule: str
    place: str
    value: str = ""
    limit: str = ""
    lifts: str = ""
    advice: str = ""
    because: str = ""
    root: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """The answer to one question; without reasons the answer says that there is nothing to explain."""

    question: str
    answer: str
    reasons: tuple[Reason, ...] = ()


# -- the answers -----------------------------------------------------------------------------------------------


def questions_of(text: str) -> tuple[str, ...]:
    """Which questions a text asks; all of them where it names none."""
    named = dict.fromkeys(q for word, q in WORDS.items() if word in text.lower())
    return tuple(q for q in QUESTIONS if q in named) or QUESTIONS


def explain(question: str, values: Values, alarms: Sequence[ActiveAlarm], rules: Rules) -> Explanation:
    """The answer to one question from values and alarms seen at one moment."""
    acting = [a for a in alarms if a.state not in NOT_ACTING]
    answers = {"limited": _limited, "connect": _connect, "trip": _trip, "recalibrate": _recalibrate}
    found = answers[question](values, acting, rules)
    if question == "trip" and found.reasons:
        over = rules.acting([a for a in alarms if a.state in NOT_ACTING], OPENS)
        found = dataclasses.replace(found, reasons=(*found.reasons, *rules.reasons(over)))
    if len(found.reasons) <= MOST_REASONS:
        return found
    more = len(found.reasons) - MOST_REASONS
    return dataclasses.replace(found, answer=f"{found.answer}; {more} more", reasons=found.reasons[:MOST_REASONS])


class Whys:
    """Answers questions of one site from looks at its process image."""

    def __init__(self, site: Compiled, model: Model) -> None:
        self.site = site
        racks = [f"Racks/R{r + 1:02d}" for r in range(site.topology.racks)]
        wanted = {*SITE_PATHS, *(f"{rack}/{name}" for rack in racks for name in RACK_PATHS)}
        self._points: dict[str, Point] = {p.path: p for p in model.points if p.path in wanted}

    @cached_property
    def rules(self) -> Rules:
        """Compiled at the first question."""
        return Rules(self.site)

    def answer(self, text: str, look: Look) -> list[Explanation]:
        """Every question of the text answered; one explanation that says so when there is no image."""
        if look.image is None:
            return [Explanation("", "the controller has not published anything yet")]
        values = {path: sample(p.spec, look, p.index).value for path, p in self._points.items()}
        alarms = acting_alarms(self.site.program, look.image)
        return [explain(q, values, alarms, self.rules) for q in questions_of(text)]


class Rules:
    """What the matrix says of its rows at this site, and which racks a place acts on."""

    def __init__(self, site: Compiled) -> None:
        self.site = site
        self.rows = {row.id: facts(row, site.program) for row in site.program.matrix.rows}

    def reasons(self, alarms: Iterable[ActiveAlarm]) -> list[Reason]:
        """Alarms as links of the chain; in one row consequences of one root are one link, and what is over."""
        groups: dict[tuple[str, str, str], list[ActiveAlarm]] = {}
        for alarm in alarms:
            if alarm.root:
                row, _, place = alarm.root.partition(" ")
                groups.setdefault((row, "", place), [ActiveAlarm("UNACKNOWLEDGED", row, place)])
            alone = "" if alarm.root or alarm.state in NOT_ACTING else alarm.place
            groups.setdefault((alarm.row, alarm.root, alone), []).append(alarm)
        return [self._reason(group) for group in groups.values()]

    def _reason(self, group: Sequence[ActiveAlarm]) -> Reason:
        alarm, row = group[0], self.rows.get(group[0].row, {})
        how = str(row.get("reset", ""))
        if alarm.state in LATCHED:
            lifts = f"cause is gone; reset {how}"
        elif alarm.state in NOT_ACTING:
            lifts = "it is over, and nobody has acknowledged it"
        else:
            itself = how.startswith("by itself")
            back = str(row.get("clear", CAUSE_GONE))
            when = "when the cause is gone" if back == CAUSE_GONE else f"at {back}"
            lifts = f"by itself {when}" if itself else f"{when}, then reset {how}"
        place = ", ".join(a.place for a in group[:PLACES_SHOWN])
        if len(group) > PLACES_SHOWN:
            place = f"at {len(group)} places ({place}, ...)"
        note = {"SHELVED": "its alarm is shelved", "OUT_OF_SERVICE": "its alarm is out of service"}.get(alarm.state, "")
        return Reason(
            alarm.row, place, alarm.value, alarm.limit, lifts, row.get("advice", ""), row.get("because", ""),
            alarm.root, note,
        )  # fmt: skip

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
        if level == "bus":
            wires = self.site.topology.wires
            bus = wires.names.index(alarm.place)
            reads = wires.racks[bus] | wires.modules[bus].any(axis=1)
            return own if reads[int(rack[1:]) - 1] else set()
        number = int(alarm.place.partition("/")[0][1:]) - 1
        home = int(t.pcs_bank[number] if level == "pcs" else t.rack_bank[number])
        if int(t.rack_bank[int(rack[1:]) - 1]) != home:
            return set()
        here = level == "pcs" or number == int(rack[1:]) - 1
        return (own if here else set()) | bank


def _limited(values: Values, alarms: list[ActiveAlarm], rules: Rules) -> Explanation:
    parts, reasons = [], []
    for direction in ("Discharge", "Charge"):
        limit = values.get(f"Measurements/{direction}Limit")
        name = values.get(f"Measurements/{direction}Binding") or "none"
        rack = values.get(f"Measurements/{direction}BindingRack") or ""
        shown = "unknown" if limit is None else f"{float(limit) / 1000:.0f} kW"
        parts.append(f"{direction.lower()} up to {shown}: {name}{f' of {rack}' if rack else ''}")
        reasons += _binding(direction, str(name), str(rack), values, alarms, rules)
    if values.get("Status/State") == "ONLINE":
        reasons += _missing_racks(values)
    return Explanation("limited", "; ".join(parts), tuple(dict.fromkeys(reasons)))


def _racks(values: Values) -> list[str]:
    """Names of the site's racks."""
    return sorted({path.split("/")[1] for path in values if path.startswith("Racks/")})


def _missing_racks(values: Values) -> list[Reason]:
    """Racks whose share is not there; `why connect` says what keeps each of them out."""
    found = {rack: str(values.get(f"Racks/{rack}/State")) for rack in _racks(values)}
    return [
        Reason("rack not connected", rack, lifts="connect the rack", because=f"{state}: {reason}")
        for rack, state in found.items()
        if state != "CLOSED" and (reason := values.get(f"Racks/{rack}/StateReason"))
    ]


def _binding(
    direction: str, name: str, rack: str, values: Values, alarms: list[ActiveAlarm], rules: Rules
) -> list[Reason]:
    """What stands behind a named limit."""
    curves = rules.site.program.derating.settings
    place = rack or "site"
    if name in ("derated by an alarm", "blocked by an alarm"):
        block = ("DERATE",) if name.startswith("derated") else (f"BLOCK_{direction.upper()}", *OPENS)
        return rules.reasons(rules.acting(alarms, block, rack))
    if name == "cell voltage":
        volts = curves.charge_voltage if direction == "Charge" else curves.discharge_voltage
        full = volts.at[volts.fraction >= volts.fraction.max()]
        end, at = ("Max", full[-1]) if direction == "Charge" else ("Min", full[0])
        side = "below" if direction == "Charge" else "above"
        value = _number(values.get(f"Racks/{rack}/CellVoltage{end}"), "V")
        return [Reason(name, place, value, f"{at:g} V", f"full again {side} {at:g} V")]
    if name == "temperature":
        warmth = curves.charge_temperature if direction == "Charge" else curves.discharge_temperature
        full = warmth.at[warmth.fraction >= 1.0]
        inside = f"{full[0]:g} to {full[-1]:g} degC" if full.size else "the middle of the curve"
        span = [_number(values.get(f"Racks/{rack}/Temperature{end}"), "degC") for end in ("Min", "Max")]
        return [Reason(name, place, " to ".join(span), inside, f"full again while all sensors are at {inside}")]
    lifts = {
        "rated current": "nothing: the cell type's rated current",
        "PCS rating": "nothing: the rated power of the PCS",
        "data lost": "usable cell voltages, temperatures, current and voltage of the rack",
        "rack open": "connect the rack",
        "no rack connected": "connect",
    }
    against = rules.acting(alarms, ("BLOCK_CLOSE", *OPENS), rack)
    if name in ("rack open", "no rack connected") and against:
        more = f" and {len(against) - 1} more" if len(against) > 1 else ""
        return [Reason(name, place, lifts=f"{lifts[name]}, once {against[0].row} {against[0].place}{more} let it")]
    return [Reason(name, place, lifts=lifts.get(name, ""))] if name in lifts else []


def _connect(values: Values, alarms: list[ActiveAlarm], rules: Rules) -> Explanation:
    state = str(values.get("Status/State"))
    blocking = rules.acting(alarms, ("BLOCK_CLOSE", *OPENS))
    reasons = rules.reasons(blocking)
    most = rules.site.config.limits.precharge.rack_voltage_difference
    racks = _racks(values)
    live = _live(values, rules)
    for rack in racks:
        if values.get(f"Racks/{rack}/State") == "OUT_OF_SERVICE":
            reasons.append(Reason("out of service", rack, lifts="an engineer puts the rack back into service"))
        rack_v, link_v = (values.get(f"Racks/{rack}/{n}") for n in ("Voltage", "LinkVoltage"))
        is_open = values.get(f"Racks/{rack}/State") == "OPEN"
        waiting = is_open and not values.get(f"Racks/{rack}/Ready")
        if state == "ONLINE" and is_open:
            reasons += _not_asked(values, alarms, rack)
        known = rack in live and None not in (rack_v, link_v)
        off_v = abs(float(rack_v or 0.0) - float(link_v or 0.0)) if known else 0.0
        if state == "ONLINE" and waiting and off_v > most:
            off = _number(off_v, "V")
            lifts = f"a voltage difference to the DC link below {most:g} V"
            reasons.append(Reason("voltages do not meet", rack, off, f"{most:g} V", lifts))
        elif waiting:
            reasons += _held_back(values, rack, rules)
        if is_open:
            reasons += _cooling_down(values, rack, rules)
    closed = sum(values.get(f"Racks/{rack}/State") == "CLOSED" for rack in racks)
    where = f"the site is {state}, {closed} of {len(racks)} racks are connected"
    if reasons:
        return Explanation("connect", f"{where}; against it: {len(reasons)}", tuple(reasons))
    if state in ("STANDBY", "CONNECTING", "ONLINE"):
        return Explanation("connect", f"{where}; nothing is against it")
    return Explanation("connect", f"{where}: {values.get('Status/StateReason')}; it connects from STANDBY only")


def _live(values: Values, rules: Rules) -> frozenset[str]:
    """Racks whose bank's link is fed by some rack; on a dead one precharge brings the voltages together."""
    bank = rules.site.topology.rack_bank
    fed = {int(bank[int(r[1:]) - 1]) for r in _racks(values) if values.get(f"Racks/{r}/State") in FEEDING}
    return frozenset(r for r in _racks(values) if int(bank[int(r[1:]) - 1]) in fed)


def _not_asked(values: Values, alarms: Sequence[ActiveAlarm], rack: str) -> list[Reason]:
    """What an open rack waits for that nothing else keeps out: its time, or a person."""
    left = values.get(f"Racks/{rack}/RejoinTime")
    if left is not None and left >= 0:
        lifts = f"by itself in {left / 1000:.0f} s if its causes stay away and voltages allow; at once by connect"
        return [Reason("waits to join again", rack, lifts=lifts)]
    missing = any(a.row == "rack_not_connected" and a.place == rack for a in alarms)
    if missing and values.get(f"Racks/{rack}/Ready"):
        back = values.get(f"Racks/{rack}/StateReason") == "back in service"
        who = "it was out of service" if back else "protection took it out"
        return [Reason("nobody asked", rack, lifts="connect", because=who)]
    return []


def _cooling_down(values: Values, rack: str, rules: Rules) -> list[Reason]:
    """A rack whose precharge has failed and that tries again."""
    p, tried = rules.site.config.limits.precharge, values.get(f"Racks/{rack}/Attempts") or 0
    left_ms = p.cool_down - (values.get(f"Racks/{rack}/StateTime") or 0)
    if not 0 < tried < p.attempts or left_ms <= 0:
        return []
    lifts = f"by itself in {left_ms / 1000:.0f} s, when it tries again"
    return [Reason("precharge failed", rack, f"{tried}", f"{p.attempts} attempts", lifts)]


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
    lead = [a for a in opening if a.row == row and (not place or a.place == place or a.place.startswith(f"{place}/"))]
    others = [a for a in opening if a not in lead]
    chain = rules.reasons([*lead, *others])
    if not lead and row in rules.rows:
        facts = rules.rows[row]
        chain.insert(0, Reason(row, place, lifts=facts["reset"], advice=facts["advice"], because=facts["because"]))
    when_ms = values.get("Status/FirstOutUtc")
    since = f" at {datetime.fromtimestamp(when_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC" if when_ms else ""
    more = f", {len(others)} more since" if others else ""
    return Explanation("trip", f"first out: {first}{since}{more}", tuple(chain))


def _recalibrate(values: Values, alarms: Sequence[ActiveAlarm], rules: Rules) -> Explanation:
    racks = _racks(values)
    reasons = []
    for rack in racks:
        v = {name: values.get(f"Racks/{rack}/{name}") for name in RACK_PATHS}
        if not v["RecalibrationPays"]:
            continue
        now, after = (100 * float(v[n] or 0.0) for n in ("SocSigma", "RecalibrationSigma"))
        gain, hours = float(v["RecalibrationGain"] or 0.0) / 1000, float(v["RecalibrationTime"] or 0.0)
        because = f"{gain:.1f} kWh are held back at both ends because the SOC is not known better"
        lifts = f"{v['RecalibrationKind']}, about {hours:.1f} h at a quarter of 1C and its rest"
        reasons.append(Reason("SOC uncertain", rack, f"sigma {now:.1f} %", f"{after:.1f} % after", lifts, "", because))
    if not reasons:
        return Explanation("recalibrate", "no rack would gain enough from a window")
    return Explanation("recalibrate", f"a window would pay for {len(reasons)} of {len(racks)} racks", tuple(reasons))


def _number(value: Any, unit: str) -> str:
    return "unknown" if value is None else f"{float(value):.4g} {unit}"


def as_text(explanation: Explanation) -> str:
    """An answer for people."""
    lines = [f"{explanation.question}: {explanation.answer}"]
    for reason in explanation.reasons:
        compared = f": {reason.value} against {reason.limit}" if reason.limit else ""
        lines.append(f"  {reason.rule} {reason.place}{compared}")
        root = f"consequence of {reason.root}" if reason.root else ""
        for label, text in (
            ("because", root or reason.because),
            ("note", reason.note),
            ("lifts", reason.lifts),
            ("advice", "" if root else reason.advice),
        ):
            if text:
                lines.append(f"    {label}: {text}")
    return "\n".join(lines)
