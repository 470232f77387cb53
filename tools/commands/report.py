"""`cellwarden report`: the last trip as a page, and how well the alarm list serves people."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

HELP = (
    "trip: replays the newest trip file of SITE (or a recording file or folder) and writes the trip as a\n"
    "self-contained page. alarms: rate, floods, chatter, stale alarms and priorities from the journal of SITE."
)
EXAMPLE = "cellwarden report trip container --out trip.html"
EXIT_NONE: Final = 1
EXIT_USAGE: Final = 2
EXIT_BAD: Final = 78
MOST_EVENTS: Final = 2_000_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `report`."""
    parser.add_argument("what", choices=("trip", "alarms"))
    parser.add_argument("site", metavar="SITE", help="a site; for trip also a recording file or folder")
    parser.add_argument("--number", type=int, default=-1, metavar="N", help="which trip, from 0; default the last")
    parser.add_argument("--out", type=Path, default=Path("trip.html"), metavar="FILE.html", help="for trip")
    parser.add_argument("--last", default="7d", metavar="7d", help="for alarms: the time up to now")
    parser.add_argument("--json", action="store_true", help="print JSON: the trips there are, or the figures")


def run(args: argparse.Namespace) -> int:
    """0 done, 1 when there is nothing to report, 2 for a bad time, 78 for a bad site or recording."""
    return _alarms(args) if args.what == "alarms" else _trip(args)


# -- trips -----------------------------------------------------------------------------------------------------


def _trip(args: argparse.Namespace) -> int:
    from controller.historian.segment import BadRecording, in_order
    from plc_config.compile import compile_site
    from tools.progress import done, step
    from tools.report.page import render
    from tools.report.trip import find
    from tools.state import state_of

    path, number, of = Path(args.site), args.number, ""
    try:
        if not (path.is_dir() or path.suffix == ".cwr"):
            state = state_of(compile_site(args.site).config.site.id)
            files = in_order(state / "trips")
            if args.json and files:
                print(json.dumps([_noted(f) for f in files], indent=1))
                return 0
            path = state / "recordings"
            if not files and not in_order(path):
                print(f"{state}: nothing is recorded there", file=sys.stderr)
                return EXIT_NONE
            if files and -len(files) <= number < len(files) and (number != -1 or not _newer(path, state / "trips")):
                path, number, of = files[number], 0, f"one of {len(files)} trip files"
        step(f"replaying {path}")
        program, trips = find(path)
        done()
    except (BadRecording, OSError) as error:
        done()
        told = str(error)
        print(told if str(path) in told else f"{path}: {told}", file=sys.stderr)
        if str(path) != args.site:
            print(f"what happened then: cellwarden history {args.site} --events", file=sys.stderr)
        return EXIT_BAD
    if args.json:
        found = [
            {"scan": t.scan, "utc_ms": t.utc_ms, "row": program.matrix.slots[t.slot].row.id, "place": t.place}
            for t in trips
        ]
        print(json.dumps(found, indent=1))
        return 0
    if not trips or not -len(trips) <= number < len(trips):
        print(f"{path}: {len(trips)} trips recorded", file=sys.stderr)
        return EXIT_NONE
    trip = trips[number]
    args.out.write_text(render(program, trip), "utf-8")
    row = program.matrix.slots[trip.slot].row
    print(f"{args.out}: {row.id} at {trip.place}, scan {trip.scan}, {of or f'one of {len(trips)} recorded trips'}")
    for later in trip.later.values():
        print(f"  {(later.now_ms - trip.t0_ms) / 1000:.1f} s later: {later.text}")
    return 0


def _noted(file: Path) -> dict[str, Any]:
    from tools.report.trip import noted

    note = noted(file)
    row, _, place = str(note.get("first_out", "")).partition(" ")
    return {"scan": note.get("scan"), "utc_ms": note.get("utc_ms"), "row": row, "place": place, "file": str(file)}


def _newer(recordings: Path, trips: Path) -> bool:
    """The recordings hold a trip whose file is still to come: its two minutes are not over."""
    from controller.historian.shelf import INDEX
    from controller.historian.trips import filed

    try:
        entries = json.loads((recordings / INDEX).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    notes = [t for e in entries for t in e.get("trips", ())]
    return bool(notes) and not filed(notes[-1], trips)


# -- alarms ----------------------------------------------------------------------------------------------------


def _alarms(args: argparse.Namespace) -> int:
    from controller.historian.reader import HistoryStore
    from plc_config.compile import compile_site
    from plc_config.quantity import duration_ms
    from tools.report.alarms import as_text, kpis
    from tools.state import state_of

    try:
        span_ms = duration_ms(args.last)
    except ValueError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    site = compile_site(args.site)
    store = HistoryStore(state_of(site.config.site.id))
    end = time.time_ns() // 1_000_000
    first = store.events(end - span_ms, end, 1)
    if not first:
        print(f"nothing in {store.journal}", file=sys.stderr)
        return EXIT_NONE
    start = int(first[0]["utc_ms"])
    found = kpis(store.alarms(start, end, MOST_EVENTS), start, end, site.program)
    print(json.dumps(dataclasses.asdict(found), indent=1) if args.json else as_text(found, site.config.site.id))
    return 0
