"""`cellwarden discover`: which units answer at an address, and what SunSpec devices say of themselves."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from controller.fieldbus.codec import text
from controller.fieldbus.link import LinkLost
from controller.fieldbus.request import Failure
from plc_config.plan import BusPlan
from plc_config.quantity import duration_ms
from plc_config.ranges import expand
from plc_config.schema.profile import Profile
from plc_config.sunspec import (
    COMMON,
    END,
    MARKER,
    MARKER_AT,
    MAX_MODELS,
    Chain,
    Model,
    NoFit,
    Want,
    candidates,
    choose,
    definitions,
)
from tools import progress
from tools.field_line import Answer, Line

HELP = (
    "Asks every unit id of the given addresses for one register, gently, and walks the models of SunSpec devices.\n"
    "Writes nothing. Only addresses that are given are asked; leave alone a bus that the controller polls."
)
EXAMPLE = "cellwarden discover --tcp 127.0.0.1:15051 --units 1..8"
EXIT_FAILED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_RUNNING = 1, 2, 69, 75
MODBUS_PORT: Final = 502
MAX_ADDRESSES: Final = 64
LAST_OCTETS: Final = re.compile(r"^(\d+\.\d+\.\d+\.)(\d+)\.\.(\d+)$")
GAP_MS: Final = 20
"""Least pause between two requests: a scan must not crowd out the one who polls."""

GATEWAY_CODES: Final = (0x0A, 0x0B)
COMMON_TEXTS: Final = {"maker": (2, 16), "model": (18, 16), "version": (42, 8), "serial": (50, 16)}
"""Register offset from the model's id, and registers."""


@dataclasses.dataclass(slots=True)
class Found:
    """A unit that answers: how, and its SunSpec map if it has one."""

    unit: int
    answers: str
    base: int | None = None
    models: list[Model] = dataclasses.field(default_factory=list)
    texts: dict[str, str] = dataclasses.field(default_factory=dict)
    broken: str = ""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `discover`."""
    address = parser.add_mutually_exclusive_group(required=True)
    address.add_argument(
        "--tcp",
        metavar="HOST[:PORT]",
        help="Modbus TCP devices: one, a list a,b,c or a range 10.0.0.11..14",
    )
    address.add_argument("--serial", metavar="PORT", help="a serial port, like /dev/ttyUSB0")
    parser.add_argument("--baud", type=int, default=19200, help="of the serial port; 19200")
    parser.add_argument("--parity", choices=("none", "even", "odd"), default="none", help="of the serial port; none")
    parser.add_argument("--units", default="1..32", metavar="1..32", help="unit ids to ask; 1..32")
    parser.add_argument("--timeout", default="300ms", metavar="300ms", help="how long to wait for each; 300ms")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0 something answers, 1 nothing does, 2 usage, 69 unreachable, 75 the port is another program's."""
    try:
        units = [int(u) for part in args.units.split(",") for u in expand(part.strip())]
        if any(not 0 <= u <= 255 for u in units):
            raise ValueError("unit ids run from 0 to 255")
        buses = buses_of(args)
    except ValueError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    facts: list[Any] = []
    codes: list[int] = []
    for bus in buses:
        where = bus.device or f"{bus.host}:{bus.port}"
        try:
            found = asyncio.run(scan(bus, units))
        except LinkLost as error:
            print(f"{where}: {error}", file=sys.stderr)
            codes.append(EXIT_RUNNING if "another program" in str(error) else EXIT_UNREACHABLE)
            continue
        finally:
            progress.done()
        codes.append(0 if found else EXIT_FAILED)
        facts += [{"address": where, **_facts(f)} if len(buses) > 1 else _facts(f) for f in found]
        if not args.json:
            if len(buses) > 1:
                print(f"{where}:")
            _show(found, len(units))
    if args.json:
        print(json.dumps(facts, indent=1))
    return min(codes)


def buses_of(args: argparse.Namespace) -> list[BusPlan]:
    """The addresses that the command line names, and no others; ValueError when one cannot be."""
    timeout_ms = duration_ms(args.timeout)
    if args.serial is not None:
        if args.baud < 1200:
            raise ValueError(f"{args.baud} baud is no speed of a Modbus line; 1200 or more")
        path = args.serial if "/" in args.serial else f"./{args.serial}"
        return [BusPlan(0, "LINE", "rtu", device=path, baud=args.baud, parity=args.parity, timeout_ms=timeout_ms)]
    buses = []
    for address in (part.strip() for part in args.tcp.split(",")):
        host, _, port = address.rpartition(":") if ":" in address else (address, "", str(MODBUS_PORT))
        if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
            raise ValueError(f"{address!r} is not HOST[:PORT]")
        last = LAST_OCTETS.match(host)
        low, high = (int(last[2]), int(last[3])) if last else (0, 0)
        if last and not low <= high <= 255:
            raise ValueError(f"{host!r} is not a range of addresses; write it like 10.0.0.11..14")
        hosts = [f"{last[1]}{n}" for n in range(low, high + 1)] if last else [host]
        buses += [BusPlan(0, "TCP", "tcp", host=h, port=int(port), timeout_ms=timeout_ms) for h in hosts]
    if len(buses) > MAX_ADDRESSES:
        raise ValueError(f"{len(buses)} addresses are more than {MAX_ADDRESSES}; ask for those that you know")
    return buses


async def scan(bus: BusPlan, units: list[int]) -> list[Found]:
    """Every unit that answers."""
    found: list[Found] = []
    async with Line(bus, Path()) as line:
        for number, unit in enumerate(units, 1):
            progress.step(f"unit {unit} ({number} of {len(units)}), {len(found)} found")
            answers = await _presence(line, unit)
            if not answers:
                continue
            device = Found(unit, answers)
            await _sunspec(line, device)
            found.append(device)
    return found


async def _ask(line: Line, unit: int, function: int, address: int, count: int) -> Answer:
    await asyncio.sleep(GAP_MS / 1000)
    return await line.read_at(unit, function, address, count)


async def _presence(line: Line, unit: int) -> str:
    """How a unit answers to a read of one register; empty when it does not."""
    holding = await _ask(line, unit, 3, 0, 1)
    if holding.ok:
        return "answers to function 3 (holding registers)"
    if not _there(holding):
        return ""
    inputs = await _ask(line, unit, 4, 0, 1)
    if inputs.ok:
        return "answers to function 4 (input registers)"
    return f"answers; register 0 is {holding.why}"


def _there(answer: Answer) -> bool:
    """An exception is a sign of life, unless it is the gateway that speaks for a silent unit."""
    return answer.failure is Failure.EXCEPTION and answer.code not in GATEWAY_CODES


async def _sunspec(line: Line, device: Found) -> None:
    """Look for the marker, then walk (id, length) until the end."""
    chain, device.broken = await walk(line, device.unit)
    if chain is None:
        return
    device.base, device.models = chain.base, list(chain.models)
    common = chain.first(COMMON)
    if common is not None:
        await _texts(line, device, common.address, common.length)


async def walk(line: Line, unit: int) -> tuple[Chain | None, str]:
    """The models of a unit as far as they could be read, None without a SunSpec map; and why the walk broke off."""
    for base in MARKER_AT:
        answer = await _ask(line, unit, 3, base, 2)
        if answer.ok and answer.data == MARKER:
            break
        if not answer.ok and not _there(answer):
            return None, answer.why
    else:
        return None, ""
    address, models = base + 2, list[Model]()
    while len(models) < MAX_MODELS and address < 65534:
        progress.step(f"unit {unit}: model at {address}")
        answer = await _ask(line, unit, 3, address, 2)
        if not answer.ok:
            return Chain(base, tuple(models)), f"the walk ended at {address}: {answer.why}"
        number, length = int.from_bytes(answer.data[:2], "big"), int.from_bytes(answer.data[2:], "big")
        if number == END:
            return Chain(base, tuple(models)), ""
        if length == 0 or number == 0:
            return Chain(base, tuple(models)), f"the walk ended at {address}: model {number} of length {length}"
        models.append(Model(number, address, length))
        address += 2 + length
    return Chain(base, tuple(models)), f"no end after {len(models)} models"


async def _texts(line: Line, device: Found, address: int, length: int) -> None:
    for name, (offset, registers) in COMMON_TEXTS.items():
        if offset + registers <= length + 2:
            answer = await _ask(line, device.unit, 3, address + offset, registers)
            if answer.ok:
                device.texts[name] = text(answer.data)


# -- telling -------------------------------------------------------------------------------------------------


def _facts(found: Found) -> dict[str, Any]:
    return {**dataclasses.asdict(found), "bases": bases(found)}


def bases(found: Found) -> dict[str, int]:
    """Names for the `bases` of a profile: where each model begins."""
    return Chain(found.base or 0, tuple(found.models)).bases()


def pasteable(found: Found, bus: str) -> list[str]:
    """Lines for the site file's `devices`: one that configures itself, where a shipped profile fits."""
    chain = Chain(found.base or 0, tuple(found.models))
    for place, series in (("P01", None), ("R01/M01", 2), ("R01/M01", None)):
        try:
            chosen = choose(candidates(place, series), chain, Want(), None)
        except NoFit:
            continue
        groups = _groups(chain, chosen)
        where, more = place, ""
        if groups > 1 and chosen.repeat is not None:
            last = f"{min(groups, chosen.repeat.most):02d}"
            where = f"R01..R{last}/M01" if 803 in chosen.models.values() else f"R01/M01..M{last}"
        if chosen.cells == "extremes":
            more = ", series_cells: 240"
        note = "  # series_cells: the cells in series behind each place" if more else ""
        line = f"unit-{found.unit}: {{profile: sunspec, bus: {bus}, unit: {found.unit}, place: {where}{more}}}{note}"
        return [f"# {chosen.describes}", line]
    return ["# no shipped profile fits these models; write one with `models:` (docs/profiles.md)"]


def _groups(chain: Chain, profile: Profile) -> int:
    """How many places the model that repeats has in this device."""
    for number in profile.models.values():
        known, model = definitions().models.get(str(number)), chain.first(number)
        if known and model and known.group and known.length and number in (803, 804):
            return (model.length - known.length) // known.group
    return 1


def _show(found: list[Found], asked: int) -> None:
    for device in found:
        print(f"unit {device.unit}: {device.answers}")
        if device.base is not None:
            print(f"  SunSpec map at {device.base}: " + ", ".join(f"{k} {v}" for k, v in device.texts.items() if v))
            for model in device.models:
                print(f"    {model.address:>6}  model {model.id:<6} length {model.length:<5} {model.name}")
            print(f"  bases: {{{', '.join(f'{k}: {v}' for k, v in bases(device).items())}}}")
            print("  to paste under `devices` of the site file:")
            for line in pasteable(device, "BUS"):
                print(f"    {line}")
        if device.broken:
            print(f"  {device.broken}")
    print(f"{len(found)} of {asked} unit ids answer")
