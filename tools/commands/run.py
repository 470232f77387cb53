"""`cellwarden run SITE`: the controller, all its processes, until Ctrl-C."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path

from plc_config.compile import compile_site, refuse_untimely
from plc_config.quantity import duration_ms

HELP = "Runs the controller of SITE: scan, field I/O, OPC UA server and store as processes of their own."
EXAMPLE = "cellwarden run container --for 60s --report r.json"
EXIT_RUNNING = 75
EXIT_LEFT_CLOSED = 1


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `run`."""
    parser.add_argument("site", metavar="SITE", help="a site file or the name of a shipped site")
    parser.add_argument("--for", dest="duration", metavar="20s", help="stop in order after this time")
    parser.add_argument("--report", metavar="FILE.json", type=Path, help="write figures of the run at its end")
    parser.add_argument(
        "--capture",
        metavar="FILE",
        type=Path,
        help="write every raw frame of every bus there (bounded); `cellwarden replay FILE` shows it",
    )
    parser.add_argument("--quiet", action="store_true", help="no journal of events (JSON lines) on standard output")
    parser.add_argument("--demo", action="store_true", help="allow anonymous reading and trust loopback clients")


def run(args: argparse.Namespace) -> int:
    """0 after an orderly stop, 1 when it left a contactor closed, 75 when the site already runs, 78 for a bad
    configuration."""
    from controller.app import driving, report
    from controller.app.lock import PATIENCE_S, AlreadyRunning
    from controller.app.supervisor import Options, Supervisor
    from controller.image.folder import run_folder, state_folder

    try:
        seconds = None if args.duration is None else duration_ms(args.duration) / 1000
    except ValueError as error:
        print(f"--for: {error}", file=sys.stderr)
        return 2
    site = compile_site(args.site)
    refuse_untimely(site, datetime.datetime.now(datetime.UTC))
    site_id = site.config.site.id
    for path in (args.capture, args.report):
        if path is not None:
            # Refused now, and not when the run is over.
            path.open("ab").close()
    journal = None if args.quiet else lambda line: print(line, flush=True)
    options = Options(seconds, args.demo, journal, args.capture)
    try:
        # Before anything is touched: a copy of the site with other folders, or of another user, may run here.
        driving.release(driving.take(site.plan, run_folder(site_id), PATIENCE_S))
        supervisor = Supervisor(site, run_folder(site_id), state_folder(site_id), options)
    except AlreadyRunning as error:
        print(f"{site_id} already runs: {error}", file=sys.stderr)
        return EXIT_RUNNING
    opcua = site.config.opcua
    print(f"running {site.config.site.name}: opc.tcp://{opcua.bind}:{opcua.port}/cellwarden", flush=True)
    if not site.config.users:
        print("no users are configured: there is no remote control", flush=True)
    for told in supervisor.advice:
        print(told, file=sys.stderr, flush=True)
    code = supervisor.run()
    if args.report is not None:
        figures = report.build(supervisor)
        args.report.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    if supervisor.left_closed:
        shut = ", ".join(supervisor.left_closed)
        print(f"stopped, but contactors are seen CLOSED: {shut}: isolate by hand", file=sys.stderr)
    return code or (EXIT_LEFT_CLOSED if supervisor.left_closed else 0)
