"""`cellwarden check SITE`: everything that is wrong with a configuration, or what it amounts to."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

from plc_config import advice, coverage, library
from plc_config.compile import Compiled, compile_site, refuse_untimely
from plc_config.plan import NORMAL_MS
from plc_config.problem import ConfigError
from plc_config.refresh import bus_time, speed_class
from plc_config.sunspec import NAME, candidates

HELP = "Checks SITE (a file or the name of a shipped site) without touching any device or running controller."
EXAMPLE = "cellwarden check container"
EXIT_CONFIG = 78
FEEDBACK = ("rack_main_closed", "rack_precharge_closed")
POINTS_NAMED = 3
"""Points that one note names; of more of the same kind it tells the number."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `check`."""
    parser.add_argument("site", metavar="SITE", help="a site file, or one of: " + ", ".join(library.shipped("sites")))
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0 when the site may run, 78 with every problem otherwise."""
    site = compile_site(args.site)
    refuse_untimely(site, datetime.datetime.now(datetime.UTC))
    facts = describe(site)
    if args.json:
        print(json.dumps({"ok": True, **facts}, indent=2))
        return 0
    print(f"{site.path}: ok")
    print(f"  {facts['site']}: {facts['racks']} racks x {facts['modules']} modules x {facts['cells']} cells", end="")
    if facts["cells_by_extremes"]:
        print(f" ({facts['cells_by_extremes']} cells in series are seen only by their extremes)", end="")
    print(f", {facts['pcs']} PCS, {facts['slots']} alarms, cycle {facts['cycle_ms']} ms")
    print(f"  {'bus':<8} {'kind':<13} {'where':<24} {'units':>5} {'wire ms/cycle':>13} {'refresh ms':>10}")
    for bus in facts["buses"]:
        print(
            f"  {bus['name']:<8} {bus['kind']:<13} {bus['where']:<24} {bus['units']:>5} "
            f"{bus['wire_ms_per_cycle']:>13.1f} {bus['refresh_ms']:>10}"
        )
    print(
        f"  {'profile':<24} {'fc':>2} {'registers':<15} {'class':<6} {'every':>8} {'wire ms':>7} {'refresh':>8} devices"
    )
    for b in facts["blocks"]:
        last = b["address"] + (b["count"] - 1) * b["step"]
        span = f"{b['address']}..{last}" if b["count"] > 1 else str(last)
        every = f"{b['every_ms']} ms" if b["every_ms"] else "cycle"
        print(
            f"  {b['profile']:<24} {b['function']:>2} {span:<15} {b['class']:<6} {every:>8} {b['wire_ms']:>7.1f} "
            f"{b['refresh_ms']:>5} ms {b['devices']:>7}"
        )
    for note in facts["notes"]:
        print(f"  note: {note}")
    return 0


def tell(error: ConfigError, as_json: bool = False) -> int:
    """Print every problem; returns 78."""
    if as_json:
        problems = [{**vars_of(p), "text": str(p)} for p in error.problems]
        print(json.dumps({"ok": False, "problems": problems}, indent=2))
    else:
        print(error, file=sys.stderr)
        count = len(error.problems)
        print(f"{count} problem{'s' if count != 1 else ''}; nothing was started or changed", file=sys.stderr)
    return EXIT_CONFIG


def vars_of(problem: Any) -> dict[str, Any]:
    """A problem's fields."""
    return {n: getattr(problem, n) for n in ("file", "line", "column", "what", "right")}


def describe(site: Compiled) -> dict[str, Any]:
    """What a checked site amounts to."""
    t, plan = site.topology, site.plan
    buses = []
    for bus in plan.buses:
        reads, _ = plan.of_bus(bus.index)
        time = bus_time(plan, bus.index)
        slowest = max((time.refresh_ms(r) for r in reads if not r.divisors), default=plan.cycle_ms)
        buses.append(
            {
                "name": bus.name,
                "kind": bus.kind,
                "where": bus.device or f"{bus.host}:{bus.port}",
                "units": len({r.unit for r in reads}),
                "wire_ms_per_cycle": round(time.fast_ms + time.slow_ms, 2),
                "refresh_ms": slowest,
            }
        )
    return {
        "site": site.config.site.name,
        "racks": t.racks,
        "modules": t.modules,
        "cells": t.cells,
        "pcs": t.pcs,
        "slots": site.program.matrix.size,
        "cells_by_extremes": int(t.series_cells[t.extremes_only].sum()),
        "cycle_ms": plan.cycle_ms,
        "buses": buses,
        "blocks": blocks(site),
        "notes": notes(site),
    }


def blocks(site: Compiled) -> list[dict[str, Any]]:
    """Every kind of read with its cost and expected refresh: equal ones are counted, the worst is told."""
    plan = site.plan
    times = [bus_time(plan, bus.index) for bus in plan.buses]
    steps: dict[str, int] = {}
    found: dict[Any, dict[str, Any]] = {}
    for block in plan.reads:
        device = plan.devices[block.device]
        if device.profile not in steps:
            path = library.find("profiles", device.profile, site.path.parent)
            steps[device.profile] = library.profile_at(path)[0].wire.address_step if path else 1
        key = (device.profile, block.function, block.address, block.count, block.every_ms)
        refresh = times[block.bus].refresh_ms(block)
        row = found.setdefault(key, {
            "profile": device.profile, "function": block.function, "address": block.address, "count": block.count,
            "step": steps[device.profile] if block.function in (3, 4) else 1,
            "class": speed_class(block, NORMAL_MS), "every_ms": block.every_ms,
            "wire_ms": 0.0, "refresh_ms": 0, "devices": 0,
        })  # fmt: skip
        row["wire_ms"] = round(max(row["wire_ms"], block.cost_ms), 2)
        row["refresh_ms"] = max(row["refresh_ms"], refresh)
        row["devices"] += 1
    return list(found.values())


def notes(site: Compiled) -> list[str]:
    """What a careful engineer should know although it is not an error."""
    result = []
    if not site.config.users:
        result.append("no users: there is no remote control")
    result += coverage.notes(site.plan, site.topology, site.config.limits)
    result += advice.notes(site)
    result += too_slow(site)
    result += unseen_precharge(site)
    result += slow_feedback(site)
    folder = site.path.parent
    result += self_configuring(site)
    for device in dict.fromkeys(d.profile for d in site.plan.devices):
        path = library.find("profiles", device, Path(folder))
        if path is None:
            continue
        profile, _ = library.profile_at(path)
        result += [f"profile {device}: {doubt}" for doubt in profile.doubts()]
    return result


def unseen_precharge(site: Compiled) -> list[str]:
    """Whether two values of the link can come soon enough one after the other to show a precharge without resistor."""
    if bool(site.topology.self_precharging.all()):
        return []
    fastest_ms = site.config.limits.precharge.fastest
    slowest_ms = _slowest_ms(site, "rack_link_voltage_v")
    if slowest_ms < fastest_ms:
        return []
    return [
        f"the link voltage is read every {slowest_ms} ms, limits.precharge.fastest is {fastest_ms} ms: a precharge "
        "without resistor is not seen"
    ]


def self_configuring(site: Compiled) -> list[str]:
    """What will be read from SunSpec devices at start, and what they must then be found to have."""
    found = []
    for key, device in site.config.devices.items():
        own = [d for d in site.plan.devices if d.name.endswith(f" {key}") and d.models]
        if not own:
            continue
        names = candidates(device.place, device.series_cells) if device.profile == NAME else [device.profile]
        units = ", ".join(f"{site.plan.buses[d.bus].name}/{d.unit}" for d in own[:4]) + (" ..." if len(own) > 4 else "")
        found.append(
            f"{key}: configures itself: at start the models of {units} are searched at 40000, 50000 and 0; the first "
            f"of {', '.join(names)} that fits is read where the device has it; the addresses shown here are assumed"
        )
    return found


def too_slow(site: Compiled) -> list[str]:
    """Points whose values are old before the next ones come: they would never be good."""
    limits = site.config.limits
    stale_ms, lost_ms = limits.stale_after, limits.lost_after
    found: dict[int, dict[str, None]] = {}
    for block in site.plan.reads:
        period_ms = max(block.every_ms, site.plan.cycle_ms)
        if period_ms > stale_ms:
            found.setdefault(period_ms, {}).update(dict.fromkeys(ref.point for ref in block.points))
    return [
        f"{_some_of(list(points))} read every {period_ms} ms but stale after {stale_ms} ms (limits.stale_after)"
        + (f" and lost after {lost_ms} ms (limits.lost_after): their rows act" if period_ms > lost_ms else "")
        for period_ms, points in found.items()
    ]


def slow_feedback(site: Compiled) -> list[str]:
    """Contactors that are read so seldom that one lost reply is taken for one that did not follow."""
    follow_ms = site.config.limits.contactor_follow
    slowest_ms = _slowest_ms(site, *FEEDBACK)
    if slowest_ms < follow_ms:
        return []
    return [
        f"contactor feedback is read every {slowest_ms} ms, limits.contactor_follow is {follow_ms} ms: one lost reply "
        "may be told as a welded contactor; give it at least two reads"
    ]


def _slowest_ms(site: Compiled, *points: str) -> int:
    """Longest time between two values of any of these points; 0 where none is read."""
    blocks = (b for b in site.plan.reads if any(ref.point in points for ref in b.points))
    return max((bus_time(site.plan, b.bus).refresh_ms(b) for b in blocks), default=0)


def _some_of(points: list[str]) -> str:
    more = len(points) - POINTS_NAMED
    named = ", ".join(points[:POINTS_NAMED]) + (f" and {more} more points" if more > 0 else "")
    return f"{named} {'are' if points[1:] else 'is'}"
