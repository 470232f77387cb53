"""`cellwarden replay FILE`: runs a recording again through the same program and compares every scan."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

from controller.core.image import ProcessImage, RackMode, SiteMode
from controller.historian.replay import Replay, Result, Step, segments_of
from controller.historian.segment import BadRecording
from tools import capture

HELP = (
    "Replays a recording (a .cwr file, or a folder of them) from its keyframe and compares the digest of every\n"
    "process image with the recorded one. Exit codes: 0 all identical, 1 a scan differs, 78 no usable recording.\n"
    "A capture of raw frames (`run --capture`) is printed decoded, one line per frame."
)
EXAMPLE = "cellwarden replay ~/.local/state/cellwarden/container/recordings --from 12000 --to 13000"
EXIT_DIFFERENT, EXIT_USAGE, EXIT_BAD_FILE = 1, 2, 78
PROGRESS_EVERY_S: Final = 0.2


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `replay`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a recording or a folder of recordings")
    parser.add_argument("--from", dest="first", metavar="SCAN", type=int, help="first scan that counts")
    parser.add_argument("--to", dest="last", metavar="SCAN", type=int, help="last scan to replay")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--bus", metavar="NAME", help="of a capture: only this bus")
    parser.add_argument("--show", action="store_true", help="print one line per scan")


def run(args: argparse.Namespace) -> int:
    """0 when all scans are identical, 1 at the first that differs, 78 for a bad file."""
    if args.first is not None and args.last is not None and args.last < args.first:
        print("--to lies before --from", file=sys.stderr)
        return EXIT_USAGE
    teller = _Teller(args.show and not args.json, sys.stderr.isatty() and not args.show)
    try:
        if capture.is_capture(args.file):
            return capture.show(args.file, args.bus, args.json)
        result = Replay(segments_of(args.file), args.first, args.last).run(teller)
    except (BadRecording, OSError) as error:
        teller.end()
        print(error, file=sys.stderr)
        return EXIT_BAD_FILE
    teller.end()
    if not result.replayed and result.difference is None:
        print(f"{args.file}: nothing to replay: no keyframe with a scan after it in that range", file=sys.stderr)
        return EXIT_BAD_FILE
    if args.json:
        print(json.dumps(_plain(result), indent=2))
    else:
        _print(result)
    return 0 if result.difference is None else EXIT_DIFFERENT


class _Teller:
    """Shows scans as they are replayed: one line each, or a counter that moves."""

    def __init__(self, show: bool, progress: bool) -> None:
        self.show, self.progress = show, progress
        self.count = 0
        self.next_s = time.monotonic() + PROGRESS_EVERY_S
        self.drawn = False

    def __call__(self, step: Step) -> None:
        """One more scan."""
        self.count += 1
        if self.show:
            print(f"{step.scan:>9} {'same' if step.same else 'DIFFERENT'}  {summary(step.image)}")
        elif self.progress and time.monotonic() >= self.next_s:
            self.next_s = time.monotonic() + PROGRESS_EVERY_S
            self.drawn = True
            print(f"\r{self.count} scans replayed, at {step.scan}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line of the counter."""
        if self.drawn:
            print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)


def summary(image: ProcessImage) -> str:
    """Modes, power and trips of an image on one line."""
    modes = [RackMode(int(m)).name for m in image.modes.rack_mode]
    racks = ", ".join(f"{modes.count(name)} {name}" for name in dict.fromkeys(modes))
    trips = int(image.trips.slot_active.sum())
    return (
        f"{SiteMode(image.modes.site_mode).name}, racks {racks}, "
        f"power {image.power.active_power_target_w / 1000:.1f} kW, {trips} rows active, "
        f"{image.trips.trip_count} trips, close {int(image.outputs.rack_main_close.sum())}"
    )


def _plain(result: Result) -> dict[str, Any]:
    names = [f.name for f in dataclasses.fields(result) if f.name != "difference"]
    plain = {name: getattr(result, name) for name in names}
    d = result.difference
    plain["identical"] = d is None
    if d is not None:
        what = "memory" if d.same else "image"
        plain["difference"] = {"scan": d.scan, "what": what, "replayed": summary(d.image)}
    return plain


def _print(result: Result) -> None:
    notes = [
        f"{count} {text}"
        for count, text in (
            (result.keyframes_checked, "keyframes compared"),
            (result.skipped, "scans without a memory to start from"),
            (result.gaps, "gaps"),
            (result.torn, "segments with a cut-off end"),
        )
        if count
    ]
    more = f" ({', '.join(notes)})" if notes else ""
    if result.difference is None:
        print(f"{result.site}: {result.replayed} scans replayed, all identical{more}")
        print(f"scans {result.first_scan} to {result.last_scan}")
        return
    d = result.difference
    what = "the image has another digest" if not d.same else "the memory differs from the recorded keyframe"
    before = max(result.replayed - 1, 0)
    print(f"{result.site}: scan {d.scan} differs: {what}; {before} scans before it are identical{more}")
    print(f"replayed: {summary(d.image)}")
