"""Why is power limited, why does it not connect, why did it trip, would a recalibration pay: the chain of reasons.

One answer for everybody: the method `Why` gives it to SCADA, and `cellwarden why` and panels call that method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Final

from opcua_model.acting import NOT_ACTING, ActiveAlarm, acting_alarms
from opcua_model.model import Model
from opcua_model.points import Point, sample
from opcua_model.reasons import OPENS, Explanation, Reason, Rules, Values, number, racks_of
from opcua_model.view import Look
from opcua_model.why_connect import connect, way_back
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
MOST_REASONS: Final = 40
SITE_PATHS: Final = (
    "Status/State",
    "Status/StateReason",
    "Status/FirstOut",
    "Status/FirstOutUtc",
    "Status/MaintenanceWanted",
    *(f"Measurements/{d}{n}" for d in ("Charge", "Discharge") for n in ("Limit", "Binding", "BindingRack")),
)
RACK_PATHS: Final = (
    "State", "StateReason", "MainClosed", "Ready", "Voltage", "LinkVoltage", "Inrush", "PrechargeHeat",
    "CellVoltageMin",
    "CellVoltageMax", "TemperatureMin", "TemperatureMax", "ChargeLimit", "DischargeLimit", "RecalibrationPays",
    "Attempts", "StateTime", "RejoinTime", "RecalibrationKind", "RecalibrationGain", "RecalibrationSigma",
    "RecalibrationTime", "SocSigma",
)  # fmt: skip


# -- the answers -----------------------------------------------------------------------------------------------


def questions_of(text: str) -> tuple[str, ...]:
    """Which questions a text asks; all of them where it names none."""
    named = dict.fromkeys(q for word, q in WORDS.items() if word in text.lower())
    return tuple(q for q in QUESTIONS if q in named) or QUESTIONS


def explain(question: str, values: Values, alarms: Sequence[ActiveAlarm], rules: Rules) -> Explanation:
    """The answer to one question from values and alarms seen at one moment."""
    acting = [a for a in alarms if a.state not in NOT_ACTING]
    answers = {"limited": _limited, "connect": connect, "trip": _trip, "recalibrate": _recalibrate}
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
        reasons += _missing_racks(values, alarms, rules)
    return Explanation("limited", "; ".join(parts), tuple(dict.fromkeys(reasons)))


def _missing_racks(values: Values, alarms: Sequence[ActiveAlarm], rules: Rules) -> list[Reason]:
    """Racks whose share is not there; `why connect` says more of what keeps each of them out."""
    found = {rack: str(values.get(f"Racks/{rack}/State")) for rack in racks_of(values)}
    return [
        Reason("rack not connected", rack, "", "", way_back(values, alarms, rules, [rack]), "", f"{state}: {reason}")
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
        value = number(values.get(f"Racks/{rack}/CellVoltage{end}"), "V")
        return [Reason(name, place, value, f"{at:g} V", f"full again {side} {at:g} V")]
    if name == "temperature":
        warmth = curves.charge_temperature if direction == "Charge" else curves.discharge_temperature
        full = warmth.at[warmth.fraction >= 1.0]
        inside = f"{full[0]:g} to {full[-1]:g} degC" if full.size else "the middle of the curve"
        span = [number(values.get(f"Racks/{rack}/Temperature{end}"), "degC") for end in ("Min", "Max")]
        return [Reason(name, place, " to ".join(span), inside, f"full again while all sensors are at {inside}")]
    lifts = {
        "rated current": "nothing: the cell type's rated current",
        "PCS rating": "nothing: the rated power of the PCS",
        "data lost": "usable cell voltages, temperatures, current and voltage of the rack",
        "rack being disconnected": "by itself once the rack has opened",
        "rack's own BMS": "a higher limit from the rack's own BMS",
    }
    if name in ("rack open", "no rack connected"):
        return [Reason(name, place, lifts=way_back(values, alarms, rules, [rack] if rack else racks_of(values)))]
    return [Reason(name, place, lifts=lifts.get(name, ""))] if name in lifts else []


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
    racks = racks_of(values)
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
