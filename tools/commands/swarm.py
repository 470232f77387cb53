"""`cellwarden swarm`: simulated days with random faults and commands, judged by the plant."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time

from plc_config.compile import compile_site
from plc_config.quantity import duration_ms

HELP = "Runs the pure scan against the simulated plant in one process, with seeded random faults and commands."
EXAMPLE = "cellwarden swarm bench --cycle 1s --hours 24 --runs 10 --jobs 2"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `swarm`."""
    parser.add_argument("site", nargs="?", default="bench", metavar="SITE", help="default: bench")
    parser.add_argument("--hours", type=float, default=1.0, help="plant time of each run")
    parser.add_argument("--cycle", metavar="TIME", help="another scan cycle than the site's, 1s for instance")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first run")
    parser.add_argument("--runs", type=int, default=1, help="runs, each with the next seed")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0 when no invariant was broken; 1 with the seed and the story of the first that was; 130 when interrupted."""
    from tools.progress import done, step
    from tools.swarm.campaign import Campaign

    try:
        compile_site(args.site)
        cycle_ms = None if args.cycle is None else duration_ms(args.cycle)
    except ValueError as error:
        print(f"--cycle {args.cycle}: {error}", file=sys.stderr)
        return 2
    if not (0 < args.hours < math.inf and cycle_ms != 0 and min(args.runs, args.jobs) >= 1 and args.seed >= 0):
        # A campaign that runs nothing breaks nothing either, and must not pass.
        print("--hours, --cycle, --runs and --jobs are more than nothing, --seed is not negative", file=sys.stderr)
        return 2
    begin, total = time.monotonic(), Campaign(args.site, cycle_ms, args.hours)
    try:
        for finished in total.runs(range(args.seed, args.seed + args.runs), args.jobs):
            step(f"{finished} of {args.runs} runs, {total.hours:g} h, {total.faults} faults, {total.trips} trips")
            if total.broken:
                break
        code = 0
    except KeyboardInterrupt:
        code = 130
        print("interrupted: what follows are the runs that were finished", file=sys.stderr)
    done()
    seconds = time.monotonic() - begin
    facts = total.facts() | {"seconds": round(seconds, 1), "times_real": total.hours * 3600 / seconds}
    if args.json:
        print(json.dumps(facts | {"broken": total.broken}))
    elif not total.broken:
        print(
            f"{args.site}: {total.hours:g} h of plant time ({total.hours / 24:.1f} days, {total.scans} scans), "
            f"{100 * facts['online_ratio']:.0f} % of it online, {100 * facts['loaded_ratio']:.0f} % under load, "
            f"{total.faults} faults, {total.trips} trips, "
            f"no invariant broken, {facts['times_real']:.0f} times real time"
        )
    if total.broken:
        print(total.broken, file=sys.stderr)
    return 1 if total.broken else code
