"""Why does it not connect: what is against the site, and against each rack that is open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from controller.core import image
from controller.core.image import RackMode, SiteMode
from controller.core.protect.row import Reset
from controller.core.topology import few
from opcua_model.acting import ActiveAlarm
from opcua_model.reasons import LATCHED, OPENS, PLACES_SHOWN, Explanation, Reason, Rules, Values, number, racks_of

FEEDING: Final = tuple(mode.name for mode in image.FEEDING)
ENERGISED: Final = (RackMode.PRECHARGE.name, *FEEDING)
KEEPS_OUT: Final = ("BLOCK_CLOSE", *OPENS)
RUNNING: Final = (SiteMode.CONNECTING.name, SiteMode.ONLINE.name)


def connect(values: Values, alarms: list[ActiveAlarm], rules: Rules) -> Explanation:
    """The answer, with everything that keeps the site or one of its racks from connecting."""
    state = str(values.get("Status/State"))
    blocking = rules.acting(alarms, KEEPS_OUT)
    reasons = rules.reasons(blocking)
    most = rules.site.config.limits.precharge.rack_voltage_difference
    racks = racks_of(values)
    reasons += _maintenance(values, state, racks)
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
            off = number(off_v, "V")
            lifts = f"a voltage difference to the DC link below {most:g} V"
            reasons.append(Reason("voltages do not meet", rack, off, f"{most:g} V", lifts))
        elif waiting:
            reasons += _held_back(values, rack, rules)
        if is_open:
            reasons += _cooling_down(values, rack, rules)
    closed = sum(values.get(f"Racks/{rack}/State") == "CLOSED" for rack in racks)
    where = f"the site is {state}, {closed} of {len(racks)} racks are connected"
    if state not in (SiteMode.STANDBY.name, *RUNNING):
        where += f"; {values.get('Status/StateReason')}; it connects from STANDBY only"
    elif not reasons:
        where += "; nothing is against it"
    return Explanation("connect", where + (f"; against it: {len(reasons)}" if reasons else ""), tuple(reasons))


def way_back(values: Values, alarms: Sequence[ActiveAlarm], rules: Rules, racks: Sequence[str]) -> str:
    """What has to be done, in this order, until one of the racks is connected: of theirs the one with the least."""
    present, steps = min((_way(values, alarms, rules, rack) for rack in racks), key=lambda way: len(way[0] + way[1]))
    more = f" and {len(present) - 1} more are over: " if len(present) > 1 else " is over: "
    once = f"once {present[0]}{more}" if present else ""
    return once + ", then ".join(steps)


def _way(values: Values, alarms: Sequence[ActiveAlarm], rules: Rules, rack: str) -> tuple[list[str], list[str]]:
    """What must be over first, and what people then do for one rack: by its mode, and by who may reset what acts."""
    mode, site = str(values.get(f"Racks/{rack}/State")), str(values.get("Status/State"))
    if mode == RackMode.PRECHARGE.name:
        return [], ["by itself when its precharge is done"]
    acting = rules.acting(alarms, KEEPS_OUT, rack)
    resets = {rules.rows[a.row]["reset"] for a in acting}
    maintained = site == SiteMode.MAINTENANCE.name or bool(values.get("Status/MaintenanceWanted"))
    steps = []
    if Reset.MAINTENANCE.value in resets:
        steps += ["disconnect"] if site in RUNNING else []
        steps += [f"{'' if maintained else 'maintenance, '}reset and leave-maintenance by an engineer"]
    else:
        steps += ["reset"] if resets - {Reset.SELF.value} else []
        steps += ["leave-maintenance by an engineer"] if maintained else []
    if mode == RackMode.OUT_OF_SERVICE.name:
        steps.append("in-service by an engineer")
    present = [f"{a.row} {a.place}" for a in acting if a.state not in LATCHED]
    return present, [*steps, "connect"]


def _maintenance(values: Values, state: str, racks: Sequence[str]) -> list[Reason]:
    """Maintenance that an engineer has asked for, and what it waits for: every rack must be seen open."""
    if not values.get("Status/MaintenanceWanted") or state == "MAINTENANCE":
        return []
    waits_for = []
    for rack in racks:
        mode = str(values.get(f"Racks/{rack}/State"))
        if mode in ENERGISED:
            waits_for.append(f"{rack} ({mode})")
        elif values.get(f"Racks/{rack}/MainClosed"):
            waits_for.append(f"{rack} (contactor seen closed)")
    because = f"it begins once open: {few(waits_for, PLACES_SHOWN)}" if waits_for else "it begins now"
    return [Reason("maintenance asked for", "site", lifts="an engineer leaves maintenance", because=because)]


def _live(values: Values, rules: Rules) -> frozenset[str]:
    """Racks whose bank's link is fed by some rack; on a dead one precharge brings the voltages together."""
    bank = rules.site.topology.rack_bank
    fed = {int(bank[int(r[1:]) - 1]) for r in racks_of(values) if values.get(f"Racks/{r}/State") in FEEDING}
    return frozenset(r for r in racks_of(values) if int(bank[int(r[1:]) - 1]) in fed)


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
        reasons.append(Reason("in-rush too large", rack, number(inrush, "A"), f"{limit:g} A", lifts))
    heat = values.get(f"Racks/{rack}/PrechargeHeat") or 0.0
    if heat > 0.5:
        lifts = "the precharge resistor has cooled down"
        reasons.append(Reason("precharge resistor hot", rack, number(100 * heat, "%"), "100 %", lifts))
    return reasons
