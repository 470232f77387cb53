"""What of the table of faults a site can show: its instruments, its devices, and who shares a wire with whom."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from plc_config.compile import Compiled
from plc_config.coverage import POINT_DIMS, points_read
from tools.fat.cases import Case, Reaction

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
}
"""Rows that rest on a point which their faults do not name."""
ENDS_BY_ITSELF: Final = ("reboot", "garbage")
OF_RESISTOR: Final = ("precharge_close", "precharge_open")


def missing(case: Case, site: Compiled) -> str:
    """Why this site cannot show a case; empty when it can."""
    read, t = points_read(site.plan), site.topology
    words = [text.split() for text in case.inject]
    wanted = [w for text in words for w in text if w in POINT_DIMS]
    wanted += [SHOWN_BY[text[0]] for text in words if text[0] in SHOWN_BY]
    wanted += [SHOWS[case.row]] if case.row in SHOWS else []
    unread = [point for point in dict.fromkeys(wanted) if point not in read]
    if unread:
        return f"no device of this site reads {', '.join(unread)}"
    if any("site" in text[1:2] and text[0] == "drop" for text in words) and not _devices(site, "site"):
        return "this site has no auxiliary I/O"
    if any("{module}" in text and text[0] not in ("nan", "override") for text in words) and not _devices(
        site, "module"
    ):
        return "the modules of this site have no device of their own"
    if t.extremes_only.any() and any("{neighbour}" in text for text in words):
        return "cells of this site are seen only by their extremes"
    own = site.topology.self_precharging.any()
    if own and (case.origin in OF_RESISTOR or any("precharge" in text or "link" in text for text in words)):
        return "racks of this site precharge by themselves"
    if case.reaction is Reaction.OPENED and not watched(site).all():
        if any(w[0] in ENDS_BY_ITSELF for w in words):
            return "racks of this site have no watchdog, and open when they are heard again"
        if not any("{" in part for text in case.inject for part in text.split()):
            return "racks of this site have no watchdog that would open them"
    return ""


def _devices(site: Compiled, level: str) -> bool:
    """There are devices of that level which take no rack's command."""
    masters = {w.device for w in site.plan.writes if w.output == "rack_main_close"}
    return any(d.level == level and d.index not in masters for d in site.plan.devices)


def watched(site: Compiled) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Racks that open by themselves when nobody writes their heartbeat."""
    beats = {w.device for w in site.plan.writes if w.output == "heartbeat" and w.modulo != 1}
    return np.array([master(site, rack) in beats for rack in range(site.topology.racks)])


def master(site: Compiled, rack: int) -> int:
    """The device that takes a rack's command to close."""
    return next(w.device for w in site.plan.writes if w.output == "rack_main_close" and w.place == (rack,))


def target(site: Compiled, rack: int) -> str:
    """That device, as the simulator's wire verbs name it."""
    device = site.plan.devices[master(site, rack)]
    return f"{site.plan.buses[device.bus].name}/{device.unit}"


def fitted(case: Case, site: Compiled, rack: int) -> Case:
    """The case at a rack that nothing opens when it is not heard: only that is asked of it which it can do."""
    if case.reaction is Reaction.OPENED and not watched(site)[rack]:
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
