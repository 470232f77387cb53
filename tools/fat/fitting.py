"""What of the table of faults a site can show: its instruments, its devices, and who shares a wire with whom."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np

from controller.core.effect import Effect
from controller.core.protect import ROWS
from controller.core.protect.limits import DERATE_FACTOR
from plc_config.compile import Compiled
from plc_config.coverage import POINT_DIMS, points_read
from tools.fat.cases import Case, Reaction
from tools.simulator.encode import bad_pattern
from tools.simulator.places import TAGS
from tools.simulator.plant import with_heartbeat

SHOWN_BY: Final = {
    "estop": "estop_channel_1_closed",
    "fire": "fire_alarm",
    "smoke": "smoke_detected",
    "door": "door_closed",
    "hvac": "hvac_healthy",
    "aux_supply": "aux_supply_v",
    "insulation": "rack_insulation_ohm",
    "second_master": "rack_heartbeat_echo",
    "bleed_stuck": "module_bleeding_cells",
    "pcs_fault": "pcs_fault",
}
"""Verbs and the point without which nobody can see what they do."""
SHOWS: Final = {
    "estop_lost": "estop_channel_1_closed",
    "fire_detection_lost": "fire_alarm",
    "precharge_does_not_close": "rack_precharge_closed",
    "precharge_does_not_open": "rack_precharge_closed",
    "contactor_does_not_open": "rack_main_closed",
    "open_rack_live": "rack_current_redundant_a",
    "link_voltages_differ": "rack_link_voltage_v",
}
"""Rows that rest on a point which their faults do not name."""
ENDS_BY_ITSELF: Final = ("reboot", "garbage")
NO_WATCHDOG: Final = "racks of this site have no watchdog that would open them"
OF_CONTACTOR: Final = ("contactor_does_not_open", "contactor_does_not_close", "command_not_confirmed")
OF_CONTACTOR_STATE: Final = ("rack_main_closed", "rack_main_confirmed")
OF_BMS: Final = ("discharge_overcurrent_warning", "discharge_current_high", "charge_current_high")
BY_ENGINEER: Final = ("two_masters",)
OF_RESISTOR: Final = ("precharge_close", "precharge_open")


def missing(case: Case, site: Compiled) -> str:
    """Why this site cannot show a case; empty when it can."""
    words = [text.split() for text in case.inject]
    return _of_points(case, site, words) or _of_racks(case, site, words) or _of_watchdog(case, site, words)


def _of_points(case: Case, site: Compiled, words: list[list[str]]) -> str:
    """What its devices read, and how they say that they cannot."""
    read = points_read(site.plan)
    wanted = [w for text in words for w in text if w in POINT_DIMS]
    wanted += [SHOWN_BY[text[0]] for text in words if text[0] in SHOWN_BY]
    wanted += [SHOWS[case.row]] if case.row in SHOWS else []
    unread = [point for point in dict.fromkeys(wanted) if point not in read]
    if unread:
        return f"no device of this site reads {', '.join(unread)}"
    mute = [w[2] for w in words if w[0] == "nan" and not _says_nothing(site, w[2])]
    if mute:
        return f"devices of this site have no word for a {', '.join(mute)} that is missing"
    if ["drop", "site"] in words and not _devices(site, "site"):
        return "this site has no auxiliary I/O"
    by_wire = any("{module}" in text and text[0] not in ("nan", "override") for text in words)
    if by_wire and not _devices(site, "module"):
        return "the modules of this site have no device of their own"
    return ""


def _of_racks(case: Case, site: Compiled, words: list[list[str]]) -> str:
    """How its racks are made, and who may release them."""
    t = site.topology
    if t.extremes_only.any() and any("{neighbour}" in text for text in words):
        return "cells of this site are seen only by their extremes"
    of_resistor = case.origin in OF_RESISTOR or any("precharge" in text or "link" in text for text in words)
    if t.self_precharging.any() and of_resistor:
        return "racks of this site precharge by themselves"
    if case.row in OF_CONTACTOR and _one_register(site, *OF_CONTACTOR_STATE):
        return "racks of this site show their contactor and its command as one state"
    if case.id in OF_BMS and "rack_discharge_limit_reported_a" in points_read(site.plan):
        return "the racks' own limits of current act before that"
    if case.act in BY_ENGINEER and "Engineer" not in site.config.users.values():
        return "the site names no Engineer, who is the other master"
    return ""


def _of_watchdog(case: Case, site: Compiled, words: list[list[str]]) -> str:
    """What opens its racks when nobody commands them."""
    if with_heartbeat(site).all():
        return ""
    if case.reaction is Reaction.OPENED and any(w[0] in ENDS_BY_ITSELF for w in words):
        return "racks of this site have no watchdog, and open when they are heard again"
    return NO_WATCHDOG if any(w[0] == "signal" for w in words) else ""


def _says_nothing(site: Compiled, point: str) -> bool:
    """Some raw number of the point's device means no value: one that it names, NaN, or one out of the point's range."""
    tag = TAGS[point]
    for block in site.plan.reads:
        for ref in block.points:
            if ref.point != point:
                continue
            kind = ref.type
            if not (kind.sentinel or kind.type == "f32"):
                shown = (bad_pattern(kind) + kind.raw_offset) * kind.scale
                if kind.bit >= 0 or kind.equals or (tag.low or -math.inf) <= shown <= (tag.high or math.inf):
                    return False
    return True


def _one_register(site: Compiled, first: str, second: str) -> bool:
    """Both are read from the codes of one state register."""
    places = {name: set[tuple[int, int, int]]() for name in (first, second)}
    for block in site.plan.reads:
        for ref in block.points:
            if ref.point in places and ref.type.equals:
                places[ref.point].add((block.device, block.function, block.address + ref.offset))
    return bool(places[first] & places[second])


def charge_limit_w(site: Compiled) -> float:
    """What all racks may take at the cell's own limit."""
    t, cell = site.topology, site.cell
    volts = float(np.interp(0.5, cell.ocv.soc, cell.ocv.volts)) * float(t.rack_cells.mean())
    return cell.charge_current * site.config.topology.parallel * volts * t.racks


def _devices(site: Compiled, level: str) -> bool:
    """There are devices of that level which take no rack's command."""
    masters = {w.device for w in site.plan.writes if w.output == "rack_main_close"}
    return any(d.level == level and d.index not in masters for d in site.plan.devices)


def master(site: Compiled, rack: int) -> int:
    """The device that takes a rack's command to close."""
    return next(w.device for w in site.plan.writes if w.output == "rack_main_close" and w.place == (rack,))


def target(site: Compiled, rack: int) -> str:
    """That device, as the simulator's wire verbs name it."""
    device = site.plan.devices[master(site, rack)]
    return f"{site.plan.buses[device.bus].name}/{device.unit}"


def fitted(case: Case, site: Compiled, rack: int) -> Case:
    """The case at this rack: only that is asked of it which the site can show.

    Nothing opens a rack without a watchdog while it is not heard; where racks may take far more than the site's
    rating, half of that is no less power.
    """
    derated = any(r.id == case.row and r.effect & Effect.DERATE for r in ROWS)
    asked_w = abs(case.start.value or 0.0) * site.config.dispatch.rated_power
    if case.reaction is Reaction.REDUCED and derated and DERATE_FACTOR * charge_limit_w(site) > asked_w:
        return dataclasses.replace(case, reaction=Reaction.KEPT)
    if case.reaction is Reaction.OPENED and not with_heartbeat(site)[rack]:
        return dataclasses.replace(case, reaction=Reaction.KEPT, opens="none")
    return case


def with_it(case: Case, site: Compiled, rack: int) -> set[int]:
    """Racks that lose their device with this one, because they share the wire or the device that the case cuts."""
    plan, t = site.plan, site.topology
    mine = plan.devices[master(site, rack)]
    lost: set[int] = set()
    for text in case.inject:
        if "{bus}" in text:
            lost |= {d.index for d in plan.devices if d.bus == mine.bus}
        elif "{rack_device}" in text:
            lost.add(mine.index)
    racks = {r for r in range(t.racks) if master(site, r) in lost}
    banks = {int(t.pcs_bank[d.place[0]]) for d in plan.devices if d.index in lost and d.level == "pcs"}
    racks |= {r for r in range(t.racks) if int(t.rack_bank[r]) in banks}
    if any(plan.devices[d].level == "site" for d in lost):
        racks = set(range(t.racks))
    return racks
