"""`cellwarden check SITE`: everything that is wrong with a configuration, or what it amounts to."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from plc_config import coverage, library
from plc_config.compile import Compiled, compile_site
from plc_config.plan import CYCLE
from plc_config.problem import ConfigError

HELP = "Checks SITE (a file or the name of a shipped site) without touching any device or running controller."
EXAMPLE = "cellwarden check container"
EXIT_CONFIG = 78


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `check`."""
    parser.add_argument("site", metavar="SITE", help="a site file, or one of: " + ", ".join(library.shipped("sites")))
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0 when the site may run, 78 with every problem otherwise."""
    try:
        site = compile_site(args.site)
    except ConfigError as error:
        return tell(error, args.json)
    facts = describe(site)
    if args.json:
        print(json.dumps({"ok": True, **facts}, indent=2))
        return 0
    print(f"{site.path}: ok")
    print(f"  {facts['site']}: {facts['racks']} racks x {facts['modules']} modules x {facts['cells']} cells", end="")
    print(f", {facts['pcs']} PCS, {facts['slots']} alarms, cycle {facts['cycle_ms']} ms")
    print(f"  {'bus':<8} {'kind':<13} {'where':<24} {'units':>5} {'wire ms/cycle':>13} {'refresh ms':>10}")
    for bus in facts["buses"]:
        print(
            f"  {bus['name']:<8} {bus['kind']:<13} {bus['where']:<24} {bus['units']:>5} "
            f"{bus['wire_ms_per_cycle']:>13.1f} {bus['refresh_ms']:>10}"
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
        slowest = max((r.every_ms for r in reads), default=CYCLE)
        load = plan.load_ms(bus.index)
        buses.append(
            {
                "name": bus.name,
                "kind": bus.kind,
                "where": bus.device or f"{bus.host}:{bus.port}",
                "units": len({r.unit for r in reads}),
                "wire_ms_per_cycle": round(load, 2),
                "refresh_ms": max(slowest, plan.cycle_ms),
            }
        )
    return {
        "site": site.config.site.name,
        "racks": t.racks,
        "modules": t.modules,
        "cells": t.cells,
        "pcs": t.pcs,
        "slots": site.program.matrix.size,
        "cycle_ms": plan.cycle_ms,
        "buses": buses,
        "notes": notes(site),
    }


def notes(site: Compiled) -> list[str]:
    """What a careful engineer should know although it is not an error."""
    result = []
    if not site.config.users:
        result.append("no users: there is no remote control")
    result += coverage.notes(site.plan)
    result += too_slow(site)
    folder = site.path.parent
    for device in dict.fromkeys(d.profile for d in site.config.devices.values()):
        path = library.find("profiles", device, Path(folder))
        if path is None:
            continue
        profile, _ = library.profile_at(path)
        result += [f"profile {device}: {doubt}" for doubt in profile.doubts()]
    return result


def too_slow(site: Compiled) -> list[str]:
    """Points whose values are old before the next ones come: they would never be good."""
    stale_ms = site.config.limits.stale_after
    found: dict[tuple[str, int], None] = {}
    for block in site.plan.reads:
        period_ms = max(block.every_ms, site.plan.cycle_ms)
        if period_ms > stale_ms:
            found |= dict.fromkeys((ref.point, period_ms) for ref in block.points)
    return [
        f"{point} is read every {period_ms} ms but is stale after {stale_ms} ms (limits.stale_after)"
        for point, period_ms in found
    ]
