"""Verdicts from what the plant and the event ring recorded: pure functions over lists of events.

Times are the plant's own (CLOCK_MONOTONIC ms): when a register changed, when a coil write arrived, when a contactor
moved. The verdict rests on the plant, never on what the controller says of itself.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from tools.fat.cases import Reaction
from tools.fat.plan import Planned, severe

Event = dict[str, Any]

ALWAYS_WRONG: Final = {
    "inrush": "a contactor closed on unequal voltage",
    "cell_outside_region": "a cell left its safe region",
    "schedule_failed": "a scheduled fault could not be injected",
}
HOT_OPENING_A: Final = 20.0
"""After power was commanded to zero contactors open without load; above this they did not."""
REST_A, REST_RATIO = 1.0, 0.01
SETPOINT: Final = "pcs_active_power_setpoint_w"
FOLLOW_RATIO: Final = 0.1
REDUCED_RATIO: Final = 0.97
UNACKNOWLEDGED: Final = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Alarm:
    """A transition of an alarm as the scan told it."""

    time_ms: float
    row: str
    place: str
    state: int


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """All that was recorded of one injection."""

    events: Sequence[Event]
    alarms: Sequence[Alarm]
    before_w: float
    after: dict[str, Any]
    overruns: int = 0
    load: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What one trial showed; it passed when nothing is wrong. `ready_s`: until the site ran again afterwards."""

    where: str
    detect_ms: float | None
    react_ms: float | None
    opened_ms: float | None
    wrong: tuple[str, ...]
    notes: tuple[str, ...] = ()
    ready_s: float | None = None

    @property
    def passed(self) -> bool:
        """Nothing was wrong."""
        return not self.wrong


def judge(planned: Planned, trial: Trial) -> Verdict:
    """The verdict on one trial."""
    origin = origin_ms(planned, trial)
    where = planned.rack if planned.case.opens in ("rack", "others", "later_rack") else "site"
    notes = _notes(trial)
    if origin is None:
        return Verdict(where, None, None, None, ("the command that the fault falsifies was never given",), notes)
    detect = detected_ms(planned, trial, origin)
    react = reacted_ms(planned, trial, origin)
    opened = _opened(planned, trial.events, origin)
    wrong = [
        *_late("detection", detect, planned.detect_ms),
        *_late("reaction", react, planned.react_ms),
        *_late_opening(planned, react, opened),
        *_must_not(planned, trial, origin),
        *_afterwards(planned, trial),
    ]
    return Verdict(where, detect, react, opened, tuple(wrong), notes)


# -- times -----------------------------------------------------------------------------------------------------


def origin_ms(planned: Planned, trial: Trial) -> float | None:
    """When the clock of this case starts; None when that never happened."""
    kind, rack = planned.case.origin, planned.rack
    outputs = {
        "main_open": ("rack_main_close", False),
        "main_close": ("rack_main_close", True),
        "precharge_open": ("rack_precharge_close", False),
        "precharge_close": ("rack_precharge_close", True),
    }
    for event in trial.events:
        if kind == "injected":
            if event["event"] == "injected" and event.get("what") != "clear":
                return float(event["time_ms"])
        elif kind == "setpoint":
            limit = FOLLOW_RATIO * planned.rated_w / len(planned.pcs)
            start = trial.before_w / len(planned.pcs)
            if _writes(event, SETPOINT) and abs(float(event["value"]) - start) > limit:
                return float(event["time_ms"])
        else:
            output, value = outputs[kind]
            if _writes(event, output) and event["place"] == rack and bool(event["value"]) is value:
                return float(event["time_ms"])
    return None


def detected_ms(planned: Planned, trial: Trial, origin: float) -> float | None:
    """From the origin to the scan that raised the case's row."""
    for alarm in trial.alarms:
        if alarm.row == planned.case.row and alarm.state == UNACKNOWLEDGED and alarm.time_ms >= origin:
            return alarm.time_ms - origin
    return None


def reacted_ms(planned: Planned, trial: Trial, origin: float) -> float | None:
    """From the origin until the plant had received the whole reaction."""
    later = [e for e in trial.events if float(e["time_ms"]) >= origin]
    reaction = planned.case.reaction
    if reaction is Reaction.OPEN:
        found = _each(planned.opens, later, _is_open_command)
    elif reaction is Reaction.OPENED:
        found = _each(planned.opens, later, _is_opened)
    elif reaction is Reaction.ZERO:
        found = _each(planned.pcs, later, _is_zero)
    elif reaction is Reaction.REDUCED:
        most = REDUCED_RATIO * abs(trial.before_w) / len(planned.pcs)
        found = _each(planned.pcs, later, lambda e: _writes(e, SETPOINT) and abs(float(e["value"])) < most)
    else:
        return None
    return None if found is None else found - origin


def _opened(planned: Planned, events: Sequence[Event], origin: float) -> float | None:
    if not planned.opens or planned.case.reaction is Reaction.BLOCKED:
        return None
    found = _each(planned.opens, [e for e in events if float(e["time_ms"]) >= origin], _is_opened)
    return None if found is None else found - origin


def _each(places: Iterable[str], events: Sequence[Event], wanted: Any) -> float | None:
    """When the last of the places had its first wanted event."""
    firsts: dict[str, float] = {}
    for event in events:
        if wanted(event):
            firsts.setdefault(event["place"], float(event["time_ms"]))
    times = [firsts.get(place) for place in places]
    return None if not times or None in times else max(t for t in times if t is not None)


def _writes(event: Event, output: str) -> bool:
    return bool(event["event"] == "write" and event.get("output") == output)


def _is_open_command(event: Event) -> bool:
    return _writes(event, "rack_main_close") and not event["value"]


def _is_opened(event: Event) -> bool:
    return bool(event["event"] == "main_opened")


def _is_zero(event: Event) -> bool:
    if _writes(event, SETPOINT):
        return abs(float(event["value"])) < 1.0
    stopped = _writes(event, "pcs_run") and not event["value"]
    return stopped or event["event"] in ("pcs_stopped", "pcs_watchdog_trip")


# -- what is wrong ---------------------------------------------------------------------------------------------


def _late(what: str, took_ms: float | None, bound_ms: float | None) -> list[str]:
    if bound_ms is None:
        return []
    if took_ms is None:
        return [f"no {what}"]
    return [f"{what} after {took_ms:.0f} ms, allowed {bound_ms:.0f} ms"] if took_ms > bound_ms else []


def _late_opening(planned: Planned, react_ms: float | None, opened_ms: float | None) -> list[str]:
    if react_ms is None or opened_ms is None or planned.case.reaction is Reaction.BLOCKED:
        return []
    return _late("opening", opened_ms - react_ms, planned.open_ms)


def _must_not(planned: Planned, trial: Trial, origin: float) -> list[str]:
    """Everything that is a failure whenever it happens."""
    wrong = [f"{e['place']}: {ALWAYS_WRONG[e['event']]} ({_details(e)})" for e in _wrong_ever(trial.events)]
    blocked = planned.case.reaction is Reaction.BLOCKED
    gone = set(planned.opens) if blocked else set()
    for event in trial.events:
        name, place = event["event"], event["place"]
        if name == "main_opened" and float(event["time_ms"]) >= origin:
            if place not in planned.opens:
                wrong.append(f"{place} opened although nothing was wrong with it")
            elif planned.case.reaction is Reaction.ZERO and abs(float(event["current_a"])) > HOT_OPENING_A:
                wrong.append(f"{place} opened under {event['current_a']:.0f} A")
            gone.add(place)
        closing = ("main_closed",) if planned.case.origin == "precharge_close" else ("main_closed", "precharge_closed")
        if name in closing and place in gone:
            wrong.append(f"{place} closed although it must stay open")
    if not planned.case.row:
        wrong += [f"false alarm {a.row} {a.place}" for a in trial.alarms if _false(planned, a)]
    return list(dict.fromkeys(wrong))


def _false(planned: Planned, alarm: Alarm) -> bool:
    return planned.case.reaction is Reaction.KEPT and alarm.state == UNACKNOWLEDGED and severe(alarm.row)


def _afterwards(planned: Planned, trial: Trial) -> list[str]:
    """The plant's state at the end of the observation."""
    wrong = []
    for rack in trial.after.get("racks", ()):
        if rack["place"] not in planned.opens:
            continue
        if rack["main_closed"]:
            wrong.append(f"{rack['place']} is still closed")
        elif abs(rack["current_a"]) > REST_A and not rack["precharge_closed"]:
            wrong.append(f"{rack['place']} is open and carries {rack['current_a']:.1f} A")
    flows_w = float(trial.after.get("power_w", trial.before_w))
    if planned.case.act == "two_masters" and abs(flows_w - trial.before_w) > FOLLOW_RATIO * planned.rated_w:
        wrong.append(f"{flows_w / 1000:.1f} kW flow, and {trial.before_w / 1000:.1f} kW was asked for last")
    if planned.dead and abs(trial.after.get("power_w", 0.0)) > REST_RATIO * planned.rated_w:
        wrong.append(f"{trial.after['power_w'] / 1000:.1f} kW still flow")
    return wrong


def _details(event: Event) -> str:
    hidden = ("n", "time_ms", "event", "place")
    return ", ".join(f"{k} {v}" for k, v in event.items() if k not in hidden)


def _notes(trial: Trial) -> tuple[str, ...]:
    skipped = sum(int(e.get("steps", 0)) for e in trial.events if e["event"] == "clock_skipped")
    notes = []
    if skipped:
        notes.append(f"the simulator lost {skipped} steps")
    if trial.overruns:
        notes.append(f"{trial.overruns} scan overruns")
    if notes:
        notes.append(f"machine load {trial.load:.1f}")
    return tuple(notes)


def aftermath(verdict: Verdict, events: Sequence[Event], ready_s: float, again: Sequence[str] = ()) -> Verdict:
    """The verdict with what happened while the site was put right and connected again."""
    wrong = [f"afterwards {e['place']}: {ALWAYS_WRONG[e['event']]} ({_details(e)})" for e in _wrong_ever(events)]
    asked: set[str] = set()
    bare: dict[str, None] = {}
    for event in events:
        name, place = event["event"], event["place"]
        if _writes(event, "rack_precharge_close") and event["value"]:
            asked.add(place)
        elif name == "precharge_closed":
            asked.discard(place)
        elif place in asked and (name == "main_closed" or _writes(event, "rack_precharge_close")):
            asked.discard(place)
            bare[place] = None
    notes = [f"reconnecting, the precharge contactor of {', '.join(bare)} did not follow its command"] if bare else []
    notes += [f"reconnecting needed another reset: {situation}" for situation in again]
    notes += verdict.notes
    everything = tuple(dict.fromkeys((*verdict.wrong, *wrong)))
    return dataclasses.replace(verdict, wrong=everything, notes=tuple(notes), ready_s=ready_s)


def _wrong_ever(events: Sequence[Event]) -> list[Event]:
    return [e for e in events if e["event"] in ALWAYS_WRONG]


def balancing_a(racks: Sequence[Event], bank: Sequence[int]) -> float:
    """Most that a closed rack carries beyond the mean of its bank's closed racks: what would flow without power."""
    worst = 0.0
    for number in set(bank):
        amps = [r["current_a"] for r, b in zip(racks, bank, strict=True) if b == number and r["main_closed"]]
        mean = sum(amps) / max(len(amps), 1)
        worst = max([worst, *(abs(a - mean) for a in amps)])
    return worst


# -- figures ---------------------------------------------------------------------------------------------------


def spread(times: Iterable[float | None]) -> dict[str, float] | None:
    """p50, p99 and max by nearest rank, as what was really measured; None without a measurement."""
    found = sorted(t for t in times if t is not None)
    if not found:
        return None
    ranks = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(found[max(math.ceil(q * len(found)) - 1, 0)], 1) for name, q in ranks.items()}
