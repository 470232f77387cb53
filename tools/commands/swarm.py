"""`cellwarden swarm`: simulated days with random faults and commands, judged by the plant."""

from __future__ import annotations

import argparse
import json
import sys
import time

from plc_config.compile import compile_site
from plc_config.problem import ConfigError
from tools.commands.check import tell

HELP = "Runs the pure scan against the simulated plant in one process, with seeded random faults and commands."
EXAMPLE = "cellwarden swarm bench --hours 24 --seed 1"
COMMAND_CHANCE = 0.06
FAULT_CHANCE = 0.002
HEAL_CHANCE = 0.005


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `swarm`."""
    parser.add_argument("site", nargs="?", default="bench", metavar="SITE", help="default: bench")
    parser.add_argument("--hours", type=float, default=1.0, help="plant time of each run")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first run")
    parser.add_argument("--runs", type=int, default=1, help="runs, each with the next seed")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0 when no invariant was broken; 1 with the seed and the story of the first that was."""
    from tools.progress import done, step
    from tools.swarm.day import Day
    from tools.swarm.judge import Violation

    try:
        site = compile_site(args.site)
    except ConfigError as error:
        return tell(error, args.json)
    begin, trips, faults, online = time.monotonic(), 0, 0, 0
    for seed in range(args.seed, args.seed + args.runs):
        step(f"seed {seed}")
        day = Day(site, seed)
        try:
            injected = live(day, round(args.hours * 3_600_000 / site.config.cycle))
            faults += injected
            online += day.online
            trips += day.image.trips.trip_count if day.image is not None else 0
        except Violation as violation:
            done()
            print(violation, file=sys.stderr)
            return 1
        finally:
            day.close()
    done()
    hours, seconds = args.hours * args.runs, time.monotonic() - begin
    facts = {"site": args.site, "hours": hours, "faults": faults, "trips": trips, "times_real": hours * 3600 / seconds}
    facts["online_ratio"] = online * site.config.cycle / 3_600_000 / hours
    if args.json:
        print(json.dumps(facts))
    else:
        print(
            f"{args.site}: {hours:g} h of plant time, {100 * facts['online_ratio']:.0f} % of it online, "
            f"{faults} faults, {trips} trips, "
            "no invariant broken, "
            f"{facts['times_real']:.0f} times real time"
        )
    return 0


def live(day: object, cycles: int) -> int:
    """Random commands and faults for so many cycles; returns how many faults were injected. Violation when broken."""
    from tools.swarm.day import Day
    from tools.swarm.judge import Judge

    if not isinstance(day, Day):
        raise TypeError("a Day is wanted")
    judge, faults = Judge(day), 0
    for _ in range(cycles):
        commands = [day.random_command()] if day.rng.random() < COMMAND_CHANCE else []
        if day.rng.random() < FAULT_CHANCE:
            day.told.append(f"{day.number} FAULT {day.fault()}")
            faults += 1
        if day.rng.random() < HEAL_CHANCE:
            day.heal()
        judge.look(day.cycle(commands))
    return faults
