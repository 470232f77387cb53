"""`cellwarden write SITE DEVICE OUTPUT VALUE --yes`: one output, once, by hand, with what it was before and after."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import sys
from typing import Any, Final

import numpy as np

from controller.app import lock
from controller.core.image import OutputImage
from controller.core.layout import tags_of
from controller.core.topology import place_name
from controller.fieldbus.codec import Decoder, Encoder
from controller.fieldbus.divisors import DivisorRow, Divisors
from controller.fieldbus.link import LinkLost
from controller.image.folder import run_folder
from plc_config.compile import Compiled, compile_site
from plc_config.expansion import LEVEL_DIMS
from plc_config.plan import CYCLE, DevicePlan, PointRef, ReadBlock, WriteBlock
from plc_config.quantity import parse
from tools.commands.read import where
from tools.field_line import Answer, Line
from tools.field_view import find
from tools.self_config import as_found

HELP = "Writes one output of one device of SITE, once, and reads it back. Refused while the controller runs."
EXAMPLE = "cellwarden write bench P01 pcs_active_power_setpoint_w '5 kW' --yes"
EXIT_FAILED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_RUNNING = 1, 2, 69, 75
UNITS: Final = {t.name: t.unit for t in tags_of(OutputImage)}
FLAGS: Final = {"on": 1.0, "true": 1.0, "close": 1.0, "1": 1.0, "off": 0.0, "false": 0.0, "open": 0.0, "0": 0.0}
COILS: Final = (5, 15)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `write`."""
    parser.add_argument("site", metavar="SITE", help="a site file or the name of a shipped site")
    parser.add_argument("device", metavar="DEVICE|PLACE", help="like R01, P01, site, or a key of `devices`")
    parser.add_argument("output", metavar="OUTPUT", help="an output of the device's profile")
    parser.add_argument("value", metavar="VALUE", help="on, off, a number, or a quantity like '5 kW'")
    parser.add_argument(
        "--yes", action="store_true", help="really write; without it only what would be written is shown"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0 written and confirmed, 1 not confirmed, 2 usage, 69 unreachable, 75 the controller runs, 78 configuration."""
    try:
        site = compile_site(args.site)
        device = find(site, args.device)
        blocks = _blocks(site, device, args.output, args.device)
        value = _value(args.output, args.value)
        if not blocks[0].divisors:
            _encode(blocks[0], value)
    except ValueError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    bus = site.plan.buses[device.bus]
    site, unknown = as_found(site, [device])
    if device.index in unknown:
        return EXIT_UNREACHABLE
    device = site.plan.devices[device.index]
    blocks = _blocks(site, device, args.output, args.device)
    try:
        blocks = asyncio.run(_scaled(site, device, blocks))
        writes = [(b, _encode(b, value), _what(site, device, b, value)) for b in blocks]
    except LinkLost as error:
        print(f"{bus.name} ({where(bus)}): {error}", file=sys.stderr)
        return EXIT_UNREACHABLE
    except ValueError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    if not args.yes:
        for _, _, what in writes:
            print(f"would write {args.output} = {args.value} to {what}", file=sys.stderr)
        print("nothing was written; add --yes", file=sys.stderr)
        return EXIT_USAGE
    try:
        held = lock.take(run_folder(site.config.site.id) / "io.lock")
    except lock.AlreadyRunning as error:
        print(f"the controller runs ({error}) and would fight this write; stop it first", file=sys.stderr)
        return EXIT_RUNNING
    try:
        return max(_tell(args, what, value, asyncio.run(_write(site, device, b, data))) for b, data, what in writes)
    except LinkLost as error:
        print(f"{bus.name} ({where(bus)}): {error}", file=sys.stderr)
        return EXIT_UNREACHABLE
    finally:
        os.close(held)


async def _scaled(site: Compiled, device: DevicePlan, blocks: list[WriteBlock]) -> list[WriteBlock]:
    """The writes, scaled by what the device itself says now; ValueError where it says nothing usable."""
    names = {name for b in blocks for name in b.divisors}
    known = Divisors(lambda _: None)
    reads = [r for r in site.plan.reads if r.device == device.index and names & {d.point for d in r.divisors}]
    if reads:
        async with Line(site.plan.buses[device.bus], run_folder(site.config.site.id)) as line:
            for block in reads:
                answer = await line.read(block, device.gap_ms)
                if not answer.ok:
                    named = ", ".join(d.point for d in block.divisors)
                    raise ValueError(f"{device.name}: {named}: {answer.why}; without it nothing can be written")
                DivisorRow(known, block.divisors, block.function).store(answer.data, 0)
    if known.unusable:
        raise ValueError(f"{device.name}: not a usable number: {known.unusable}; nothing was written")
    kinds = [dataclasses.replace(b.type, scale=b.type.scale * known.product(b.divisors)) for b in blocks]
    return [dataclasses.replace(b, type=kind, divisors=()) for b, kind in zip(blocks, kinds, strict=True)]


def _what(site: Compiled, device: DevicePlan, block: WriteBlock, value: float) -> str:
    bus = site.plan.buses[device.bus]
    return (
        f"{device.name}, unit {block.unit} on {bus.name} ({where(bus)}): function {block.function}, "
        f"address {block.address}, data {_encode(block, value).hex()}"
    )


def _blocks(site: Compiled, device: DevicePlan, output: str, wanted: str) -> list[WriteBlock]:
    """The writes of one output at one place: one, or several registers that follow the same value."""
    own = [w for w in site.plan.writes if w.device == device.index and w.modulo != 1]
    found = [w for w in own if w.output == output]
    if not found:
        known = ", ".join(dict.fromkeys(w.output for w in own)) or "none"
        raise ValueError(f"{device.name} has no output {output!r}; it has: {known}")
    if found[0].count > 1:
        raise ValueError(f"{output} of {device.name} is a row of {found[0].count}; only single outputs")
    level = LEVEL_DIMS[device.level]
    named = {w.place: place_name(level[: len(w.place)], w.place) for w in found}
    place = wanted.partition(" ")[0]
    here = [p for p, name in named.items() if place == name or place.startswith(f"{name}/")]
    if len(named) > 1 and not here:
        raise ValueError(f"{output} of {device.name} is of several places: {', '.join(named.values())}; name one")
    return [w for w in found if len(named) == 1 or w.place == here[0]]


def _value(output: str, text: str) -> float:
    unit = UNITS[output]
    if unit != "1":
        return parse(text, unit)
    if text.lower() in FLAGS:
        return FLAGS[text.lower()]
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither on, off nor a number") from None


def _encode(block: WriteBlock, value: float) -> bytes:
    data, wrong = Encoder(block.type, block.function, block.count, block.modulo)(np.array([[value]]))
    if wrong:
        raise ValueError(f"{value:g} does not fit the {block.type.type} register at {block.address}")
    return bytes(data[0].tobytes())


def _readback(site: Compiled, block: WriteBlock) -> ReadBlock:
    """What shows the output: the point that confirms it, else the same address."""
    for read in site.plan.reads:
        if read.device == block.device and block.confirm:
            refs = tuple(r for r in read.points if r.point == block.confirm and r.place == block.place)
            if refs:
                return ReadBlock(**{**{n: getattr(read, n) for n in read.__slots__}, "points": refs})
    function = 1 if block.function in COILS else 3
    count = 1 if function == 1 or block.function == 22 else len(_encode(block, 0.0)) // 2
    refs = (PointRef(block.output, 0, 1, block.type, block.place),)
    return ReadBlock(
        block.bus, block.device, block.unit, block.reply_unit, function, block.address, count, CYCLE, 0, refs, 0.0
    )


def _shown(block: ReadBlock, answer: Answer) -> float | None:
    if not answer.ok:
        return None
    values, bad = Decoder(block.points[0], block.function)(np.frombuffer(answer.data, np.uint8).reshape(1, -1))
    return None if bad is not None and bad[0, 0] else float(values[0, 0])


async def _write(site: Compiled, device: DevicePlan, block: WriteBlock, data: bytes) -> dict[str, Any]:
    readback = _readback(site, block)
    async with Line(site.plan.buses[device.bus], run_folder(site.config.site.id)) as line:
        before = await line.read(readback, device.gap_ms)
        answer = await line.write(block, data, device.gap_ms)
        after = await line.read(readback, device.gap_ms)
    return {
        "old": _shown(readback, before),
        "new": _shown(readback, after),
        "accepted": answer.ok,
        "why": answer.why,
        "readback": readback.points[0].point if block.confirm else f"function {readback.function}",
        "readback_why": after.why,
        "resolution": abs(block.type.scale),
    }


def _tell(args: argparse.Namespace, what: str, value: float, facts: dict[str, Any]) -> int:
    new = facts["new"]
    confirmed = facts["accepted"] and new is not None and abs(new - value) <= facts["resolution"]
    if args.json:
        print(json.dumps({"output": args.output, "wanted": value, "confirmed": confirmed, **facts}, indent=1))
    else:
        unit = "" if UNITS[args.output] == "1" else " " + UNITS[args.output]
        old = "unknown" if facts["old"] is None else f"{facts['old']:g}{unit}"
        print(f"{args.output}: {what}")
        print(f"  old {old}, wanted {value:g}{unit}, ", end="")
        if not facts["accepted"]:
            print(f"NOT WRITTEN: {facts['why']}")
        elif new is None:
            print(f"accepted; it cannot be read back ({facts['readback']}: {facts['readback_why'] or 'no value'})")
        else:
            print(f"new {new:g}{unit} ({facts['readback']}): {'confirmed' if confirmed else 'NOT CONFIRMED'}")
    if not facts["accepted"] and facts["why"] in ("no reply", "link lost"):
        return EXIT_UNREACHABLE
    return 0 if confirmed else EXIT_FAILED
