"""`cellwarden discover`: which units answer at one address, and what SunSpec devices say of themselves."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Final

from controller.fieldbus.codec import text
from controller.fieldbus.link import LinkLost
from controller.fieldbus.request import Failure
from plc_config.plan import BusPlan
from plc_config.quantity import duration_ms
from plc_config.ranges import expand
from tools import progress
from tools.field_line import Answer, Line

HELP = (
    "Asks every unit id of ONE address for one register, gently, and walks the models of SunSpec devices.\n"
    "Writes nothing. Only the address that is given is asked; leave alone a bus that the controller polls."
)
EXAMPLE = "cellwarden discover --tcp 127.0.0.1:15051 --units 1..8"
EXIT_FAILED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_RUNNING = 1, 2, 69, 75
MODBUS_PORT: Final = 502
GAP_MS: Final = 20
"""Least pause between two requests: a scan must not crowd out the one who polls."""

GATEWAY_CODES: Final = (0x0A, 0x0B)
MARKER: Final = b"SunS"
MARKER_AT: Final = (40000, 50000, 0)
END: Final = 0xFFFF
MAX_MODELS: Final = 100
COMMON: Final = 1
COMMON_TEXTS: Final = {"maker": (2, 16), "model": (18, 16), "version": (42, 8), "serial": (50, 16)}
"""Register offset from the model's id, and registers."""

NAMES: Final = {
    1: "common", 101: "single-phase converter", 102: "split-phase converter", 103: "three-phase converter",
    120: "nameplate", 121: "basic settings", 122: "status", 123: "immediate controls", 124: "storage",
    160: "strings (MPPT)", 701: "AC measurement", 702: "capacity", 703: "enter service", 704: "AC control",
    713: "storage capacity", 714: "DC measurement", 715: "DER control", 802: "battery bank", 803: "lithium-ion bank",
    804: "lithium-ion string", 805: "lithium-ion module", 64201: "KACO control", 64202: "KACO battery limits",
}  # fmt: skip


@dataclasses.dataclass(slots=True)
class Model:
    """One model of a SunSpec map: its number, where its id lies, and its length after id and length."""

    id: int
    address: int
    length: int

    @property
    def name(self) -> str:
        """What the model is about."""
        return NAMES.get(self.id, "vendor's own" if self.id >= 64000 else "")


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
    address.add_argument("--tcp", metavar="HOST[:PORT]", help="a Modbus TCP device or gateway")
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
        bus = bus_of(args)
    except ValueError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    try:
        found = asyncio.run(scan(bus, units))
    except LinkLost as error:
        print(f"{bus.device or f'{bus.host}:{bus.port}'}: {error}", file=sys.stderr)
        return EXIT_RUNNING if "another program" in str(error) else EXIT_UNREACHABLE
    finally:
        progress.done()
    if args.json:
        print(json.dumps([_facts(f) for f in found], indent=1))
    else:
        _show(found, len(units))
    return 0 if found else EXIT_FAILED


def bus_of(args: argparse.Namespace) -> BusPlan:
    """The one bus that the command line names; ValueError when it cannot be."""
    timeout_ms = duration_ms(args.timeout)
    if args.serial is not None:
        if args.baud < 1200:
            raise ValueError(f"{args.baud} baud is no speed of a Modbus line; 1200 or more")
        path = args.serial if "/" in args.serial else f"./{args.serial}"
        return BusPlan(0, "LINE", "rtu", device=path, baud=args.baud, parity=args.parity, timeout_ms=timeout_ms)
    host, _, port = args.tcp.rpartition(":") if ":" in args.tcp else (args.tcp, "", str(MODBUS_PORT))
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{args.tcp!r} is not HOST[:PORT]")
    return BusPlan(0, "TCP", "tcp", host=host, port=int(port), timeout_ms=timeout_ms)


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
    for base in MARKER_AT:
        answer = await _ask(line, device.unit, 3, base, 2)
        if answer.ok and answer.data == MARKER:
            device.base = base
            break
    if device.base is None:
        return
    address = device.base + 2
    while len(device.models) < MAX_MODELS and address < 65534:
        progress.step(f"unit {device.unit}: model at {address}")
        answer = await _ask(line, device.unit, 3, address, 2)
        if not answer.ok:
            device.broken = f"the walk ended at {address}: {answer.why}"
            return
        number, length = int.from_bytes(answer.data[:2], "big"), int.from_bytes(answer.data[2:], "big")
        if number == END:
            return
        if length == 0 or number == 0:
            device.broken = f"the walk ended at {address}: model {number} of length {length}"
            return
        device.models.append(Model(number, address, length))
        if number == COMMON:
            await _texts(line, device, address, length)
        address += 2 + length
    device.broken = f"no end after {len(device.models)} models"


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
    named: dict[str, int] = {}
    for model in found.models:
        name = "common" if model.id == COMMON else f"m{model.id}"
        count = sum(n == name or n.startswith(f"{name}_") for n in named)
        named[f"{name}_{count + 1}" if count else name] = model.address
    return named


def _show(found: list[Found], asked: int) -> None:
    for device in found:
        print(f"unit {device.unit}: {device.answers}")
        if device.base is not None:
            print(f"  SunSpec map at {device.base}: " + ", ".join(f"{k} {v}" for k, v in device.texts.items() if v))
            for model in device.models:
                print(f"    {model.address:>6}  model {model.id:<6} length {model.length:<5} {model.name}")
            print(f"  bases: {{{', '.join(f'{k}: {v}' for k, v in bases(device).items())}}}")
        if device.broken:
            print(f"  {device.broken}")
    print(f"{len(found)} of {asked} unit ids answer")
