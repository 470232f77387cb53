"""`cellwarden deliver SITE --power 2MW --for 1h`: can the battery give it, how surely, and what ends it first?"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

from controller.core.estimate.deliver import SURE, Answer, Offer, deliver
from controller.core.outlook import HORIZONS
from plc_config.quantity import duration_ms, parse
from tools.commands.operate import EXIT_UNREACHABLE, connection

HELP = "answer whether the battery can give (or take) a power for a time: yes or no, probability, what ends it first"
EXAMPLE = "cellwarden deliver container --power 2MW --for 1h"
EXIT_NO: Final = 1
EXIT_USAGE: Final = 2
MS_PER_HOUR: Final = 3_600_000.0
FASTER: Final = ("DischargeEnergyHalfC", "DischargeEnergyThreeQuartersC", "DischargeEnergy1c")


def arguments(parser: argparse.ArgumentParser) -> None:
    """SITE, power and time."""
    parser.add_argument("site", help="file, or name of a shipped site")
    parser.add_argument("--power", required=True, help="power at the DC terminals, e.g. 2MW")
    parser.add_argument("--for", dest="time", required=True, help="how long, e.g. 1h, 15min, 10s")
    parser.add_argument("--charge", action="store_true", help="take the power instead of delivering it")
    parser.add_argument("--sure", default=f"{100 * SURE:.0f}%", help="probability that counts as yes (95%%)")
    connection(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0 yes, 1 no, 2 usage, 69 unreachable, 78 configuration."""
    try:
        power, hours = abs(parse(args.power, "W")), duration_ms(args.time) / MS_PER_HOUR
        sure = parse(args.sure, "ratio")
    except ValueError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    if power <= 0 or hours <= 0 or not 0 < sure < 1:
        print("power and time must be more than nothing, --sure between 0 and 100 %", file=sys.stderr)
        return EXIT_USAGE
    return asyncio.run(_ask(args, power, hours, sure))


async def _ask(args: argparse.Namespace, power_w: float, hours: float, sure: float) -> int:
    from plc_config.compile import compile_site
    from tools.commands.operate import reach

    compile_site(args.site)
    client = await reach(args)
    if client is None:
        return EXIT_UNREACHABLE
    try:
        found = await client.read(paths(args.charge))
    finally:
        await client.close()
    answer = deliver(offer({path: v.value for path, v in found.items()}, args.charge), power_w, hours, sure)
    print(json.dumps(dataclasses.asdict(answer), indent=2) if args.json else as_text(answer, args.charge))
    return 0 if answer.yes else EXIT_NO


def paths(charge: bool) -> list[str]:
    """The variables an offer is read from."""
    name = "Charge" if charge else "Discharge"
    parts = [f"{name}Power{h}{what}" for h, _ in HORIZONS for what in ("", "Sigma", "LimitedBy", "Place")]
    parts += [f"{name}Energy", f"{name}EnergySigma", f"{name}EnergyPlace", f"{name}Limit"]
    parts += [] if charge else list(FASTER)
    parts += ["EnergyReferencePower", "EnergyLoss", "SocValid"]
    return [f"Measurements/{p}" for p in parts]


def offer(values: Mapping[str, Any], charge: bool) -> Offer:
    """An offer from values by path; what is missing counts as nothing."""
    name = "Charge" if charge else "Discharge"

    def number(path: str) -> float:
        value = values.get(f"Measurements/{path}")
        return 0.0 if value is None else float(value)

    def text(path: str) -> str:
        return str(values.get(f"Measurements/{path}") or "")

    each = [f"{name}Power{h}" for h, _ in HORIZONS]
    return Offer(
        charge, tuple(number(p) for p in each), tuple(number(f"{p}Sigma") for p in each),
        tuple(text(f"{p}LimitedBy") for p in each), tuple(text(f"{p}Place") for p in each),
        number(f"{name}Energy"), number(f"{name}EnergySigma"), text(f"{name}EnergyPlace"),
        number("EnergyReferencePower"), number("EnergyLoss"), number(f"{name}Limit"),
        bool(values.get("Measurements/SocValid")), () if charge else tuple(number(p) for p in FASTER),
    )  # fmt: skip


def as_text(answer: Answer, charge: bool) -> str:
    """An answer for people."""
    verb = "take" if charge else "deliver"
    where = f" ({answer.place})" if answer.place else ""
    lines = [
        f"{'yes' if answer.yes else 'no'}: {verb} {_watts(answer.power_w)} for {_time(answer.hours)}, "
        f"probability {100 * answer.probability:.1f} %",
        f"  ends first: {answer.limited_by}{where}",
        f"  energy: {answer.energy_needed_wh / 1e3:.1f} kWh needed, {answer.energy_wh / 1e3:.1f} kWh at this power",
        f"  most for {_time(answer.hours)}: {_watts(answer.most_power_w)}; "
        f"at {_watts(answer.power_w)}: {_time(answer.most_hours)}",
    ]
    if answer.permitted_w < answer.power_w:
        lines.append(f"  the controller permits {_watts(answer.permitted_w)} now: ask `cellwarden why SITE limited`")
    return "\n".join(lines)


def _watts(w: float) -> str:
    return f"{w / 1e6:.2f} MW" if w >= 1e6 else f"{w / 1e3:.1f} kW"


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.2g} h" if hours < 10 else f"{hours:.0f} h"
    return f"{60 * hours:.0f} min" if hours >= 1 / 60 else f"{3600 * hours:.0f} s"
