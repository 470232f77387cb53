"""The links of an answer to a why-question: reasons, and what the matrix says of its rows at this site."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from opcua_model.acting import NOT_ACTING, ActiveAlarm
from plc_config.cause_effect import facts
from plc_config.compile import Compiled

LATCHED: Final = ("LATCHED_UNACKNOWLEDGED", "LATCHED")
OPENS: Final = ("STOP", "TRIP", "LOCKOUT")
CAUSE_GONE: Final = "cause gone"
PLACES_SHOWN: Final = 3
Values = Mapping[str, Any]
"""By path of the model, as seen at one moment."""


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


def racks_of(values: Values) -> list[str]:
    """Names of the site's racks."""
    return sorted({path.split("/")[1] for path in values if path.startswith("Racks/")})


def number(value: Any, unit: str) -> str:
    """A value with its unit as people read it; unknown where there is none."""
    return "unknown" if value is None else f"{float(value):.4g} {unit}"
