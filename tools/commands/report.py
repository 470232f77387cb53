"""`cellwarden report trip`: the last trip as a page, from the recording."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from plc_config.problem import ConfigError
from tools.commands.check import tell

HELP = "Replays the recording of SITE (or a recording file or folder) and writes each trip as a self-contained page."
EXAMPLE = "cellwarden report trip container --out trip.html"
EXIT_NONE = 1
EXIT_BAD = 78


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `report`."""
    parser.add_argument("what", choices=("trip",))
    parser.add_argument("site", metavar="SITE", help="a site, or a recording file or folder")
    parser.add_argument("--number", type=int, default=-1, metavar="N", help="which trip, from 0; default the last")
    parser.add_argument("--out", type=Path, default=Path("trip.html"), metavar="FILE.html")
    parser.add_argument("--json", action="store_true", help="list the trips found as JSON instead")


def run(args: argparse.Namespace) -> int:
    """0 written, 1 when nothing tripped in what is recorded, 78 for a recording of another version."""
    from controller.historian.segment import BadRecording
    from controller.image.folder import state_folder
    from plc_config.compile import compile_site
    from tools.progress import done, step
    from tools.report.page import render
    from tools.report.trip import find

    path = Path(args.site)
    try:
        if not (path.is_dir() or path.suffix == ".cwr"):
            path = state_folder(compile_site(args.site).config.site.id) / "recordings"
        step(f"replaying {path}")
        program, trips = find(path)
        done()
    except ConfigError as error:
        return tell(error)
    except (BadRecording, OSError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return EXIT_BAD
    if args.json:
        found = [
            {"scan": t.scan, "utc_ms": t.utc_ms, "row": program.matrix.slots[t.slot].row.id, "place": t.place}
            for t in trips
        ]
        print(json.dumps(found, indent=1))
        return 0
    if not trips or not -len(trips) <= args.number < len(trips):
        print(f"{path}: {len(trips)} trips recorded", file=sys.stderr)
        return EXIT_NONE
    trip = trips[args.number]
    args.out.write_text(render(program, trip), "utf-8")
    row = program.matrix.slots[trip.slot].row
    print(f"{args.out}: {row.id} at {trip.place}, scan {trip.scan}, one of {len(trips)} recorded trips")
    return 0
