"""`cellwarden read SITE DEVICE`: the live decoded view of one device, with its vendor registers."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from controller.fieldbus.link import LinkLost
from controller.image.folder import run_folder
from plc_config.compile import Compiled, compile_site
from plc_config.plan import BusPlan, DevicePlan
from plc_config.quantity import duration_ms
from tools.field_line import Answer, Line, owner_of
from tools.field_view import Reading, Unknown, View, find
from tools.self_config import as_found

HELP = "Reads one device of SITE and shows every point and vendor register: raw, value, quality, age. Writes nothing."
EXAMPLE = "cellwarden read bench R01/M01 --once"
EXIT_FAILED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_RUNNING = 1, 2, 69, 75
BUSY: Final = "the controller runs ({owner}) and owns {names}; watch it with `cellwarden watch`, or stop it first"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `read`."""
    parser.add_argument("site", metavar="SITE", help="a site file or the name of a shipped site")
    parser.add_argument("device", metavar="DEVICE|PLACE", help="like R01/M03, R01, P01, site, or a key of `devices`")
    parser.add_argument("--once", action="store_true", help="read once and print, instead of a live view")
    parser.add_argument("--every", default="1s", metavar="1s", help="interval of the live view")
    parser.add_argument("--no-extras", action="store_true", help="only what the controller itself reads")
    parser.add_argument("--json", action="store_true", help="print JSON, once")


def run(args: argparse.Namespace) -> int:
    """0 all answered, 1 some did not, 2 usage, 69 nothing did, 75 the bus is the controller's, 78 configuration."""
    try:
        every_s = duration_ms(args.every) / 1000
        site = compile_site(args.site)
        device = find(site, args.device)
    except ValueError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    bus = site.plan.buses[device.bus]
    if not may_ask(site, bus):
        return EXIT_RUNNING
    site, unknown = as_found(site, [device])
    if device.index in unknown:
        return EXIT_UNREACHABLE
    device = site.plan.devices[device.index]
    try:
        return asyncio.run(_read(site, device, bus, args, every_s))
    except LinkLost as error:
        print(f"{bus.name} ({where(bus)}): {error}", file=sys.stderr)
        return EXIT_UNREACHABLE


def may_ask(site: Compiled, bus: BusPlan) -> bool:
    """Whether a bus may be asked now; says why not, and warns where the controller asks at the same time."""
    return may_ask_all(site, [bus])


def may_ask_all(site: Compiled, buses: Sequence[BusPlan]) -> bool:
    """As `may_ask`, for several buses, in one breath."""
    owner = owner_of(site)
    if not owner:
        return True
    names = ", ".join(b.name for b in buses)
    if any(b.kind != "tcp" for b in buses):
        print(BUSY.format(owner=owner, names=names), file=sys.stderr)
        return False
    print(
        f"warning: the controller runs ({owner}); two clients now ask on {names}, and both wait longer",
        file=sys.stderr,
    )
    return True


def where(bus: BusPlan) -> str:
    """Where a bus is reached."""
    return bus.device or f"{bus.host}:{bus.port}"


@dataclasses.dataclass(slots=True)
class _Seen:
    """The last answer of every block, and when a correct one came."""

    readings: list[Reading]
    at_s: float


async def _read(site: Compiled, device: DevicePlan, bus: BusPlan, args: argparse.Namespace, every_s: float) -> int:
    view = View(site, device)
    blocks = [b for b in view.blocks if not (args.no_extras and b[1])]
    seen: dict[int, _Seen] = {}
    async with Line(bus, run_folder(site.config.site.id)) as line:
        while True:
            answers: list[Answer] = []
            for i, (block, extra) in enumerate(blocks):
                answer = await line.read(block, device.gap_ms)
                answers.append(answer)
                if answer.ok or i not in seen:
                    seen[i] = _Seen(view.readings(block, extra, answer), monotonic() if answer.ok else float("nan"))
                else:
                    for reading in seen[i].readings:
                        reading.quality, reading.text = "BAD_COMM", answer.why
            if args.json or args.once or not sys.stdout.isatty():
                break
            _clear()
            _show(device, bus, seen, answers)
            await asyncio.sleep(every_s)
    if args.json:
        print(json.dumps(_facts(device, bus, seen, answers), indent=1))
    else:
        _show(device, bus, seen, answers)
    good = sum(a.ok for a in answers)
    return 0 if good == len(answers) else EXIT_FAILED if good else EXIT_UNREACHABLE


def _clear() -> None:
    print("\033[H\033[J", end="")


def _show(device: DevicePlan, bus: BusPlan, seen: dict[int, _Seen], answers: list[Answer]) -> None:
    took = [a.took_ms for a in answers if a.ok]
    speed = f"{sum(took) / len(took):.1f} ms each" if took else "no answer"
    print(f"{device.name}: {device.profile}, unit {device.unit} on {bus.name} ({where(bus)})")
    print(f"{len(answers)} requests, {len(took)} answered, {speed}")
    print(f"{'place':<10} {'point':<34} {'address':>8} {'raw':<16} {'value':>16} {'quality':<10} {'age':>7}")
    now_s, extras = monotonic(), False
    for block in seen.values():
        for r in block.readings:
            if r.extra and not extras:
                extras = True
                print("-- vendor registers: shown, drive nothing --")
            age = "-" if block.at_s != block.at_s else f"{now_s - block.at_s:.1f} s"
            note = f"  {r.text}" if r.text and r.text != r.shown else ""
            raw = r.raw if len(r.raw) <= 16 else r.raw[:13] + "..."
            print(f"{r.place:<10} {r.name:<34} {r.address:>8} {raw:<16} {r.shown:>16} {r.quality:<10} {age:>7}{note}")


def _facts(device: DevicePlan, bus: BusPlan, seen: dict[int, _Seen], answers: list[Answer]) -> dict[str, Any]:
    now_s = monotonic()
    rows = []
    for block in seen.values():
        age_ms = None if block.at_s != block.at_s else round(1000 * (now_s - block.at_s))
        rows += [{**dataclasses.asdict(r), "age_ms": age_ms} for r in block.readings]
    return {
        "device": device.name,
        "profile": device.profile,
        "bus": bus.name,
        "unit": device.unit,
        "requests": len(answers),
        "answered": sum(a.ok for a in answers),
        "readings": rows,
    }


__all__ = ["Unknown", "arguments", "may_ask", "run", "where"]
