"""`cellwarden fat SITE`: the factory acceptance test, on the real controller processes and the simulated plant."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tools.fat.campaign import Part

HELP = (
    "Factory acceptance test: starts the controller of SITE against its simulated plant, injects every fault that\n"
    "software can inject, measures detection and reaction in plant time, and judges by what happened in the plant.\n"
    "Rows that take longer than ten minutes run on a simulated clock afterwards and are reported apart.\n"
    "Exit codes: 0 all passed, 1 a case failed, 2 usage, 69 the processes do not start, 78 configuration."
)
EXAMPLE = "cellwarden fat container --repeat 20 --out fat-report"
EXIT_USAGE, EXIT_UNREACHABLE = 2, 69
SEED: Final = 1


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `fat`."""
    parser.add_argument("site", metavar="SITE", help="a site file or the name of a shipped site")
    parser.add_argument("--cycle", metavar="TIME", help="run the site at another scan cycle, such as 50ms")
    parser.add_argument("--row", action="extend", nargs="+", default=[], help="only these rows or cases")
    parser.add_argument("--long", action="store_true", help="also the rows that take hours on a simulated clock")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="trials per case; slow ones are done once")
    parser.add_argument("--seed", type=int, default=SEED, metavar="S", help="seed of places and phases")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="share K of N of the trials")
    parser.add_argument("--merge", nargs="+", type=Path, metavar="FOLDER", help="run nothing: put reports together")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write report.html, report.json and junit.xml")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """0 when every case passed, 1 when one failed, 2 usage, 69 no start, 78 configuration."""
    from tools.fat.merge import merged

    if args.out is not None:
        try:
            args.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            print(f"--out: {error}", file=sys.stderr)
            return EXIT_USAGE
    if args.merge:
        try:
            report = merged([json.loads((folder / "report.json").read_text("utf-8")) for folder in args.merge])
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"--merge: {error}", file=sys.stderr)
            return EXIT_USAGE
        _hand_over(args, report)
        return 0 if report["passed"] else 1
    with tempfile.TemporaryDirectory(prefix="cellwarden-fat-") as folder:
        return _run(args, Path(folder))


def _run(args: argparse.Namespace, folder: Path) -> int:
    from plc_config.compile import compile_site
    from tools.commands.operate import quiet
    from tools.fat.campaign import Part, chosen, chosen_long, refusal
    from tools.fat.rig import RigError

    # What cannot be read is told of the site itself, not of its copy.
    compile_site(args.site)
    args.site = at_cycle(args.site, args.cycle, folder)
    site = compile_site(args.site)
    try:
        cases = chosen(args.row)
        part = Part.parse(args.part)
        args.long = chosen_long(args.row, part) if args.long or args.row else ()
    except KeyError as error:
        print(f"--row: there is no row or case {error}", file=sys.stderr)
        return EXIT_USAGE
    except ValueError:
        print(f"--part: {args.part!r} is not such as 2/4", file=sys.stderr)
        return EXIT_USAGE
    if args.repeat < 1 or (why := refusal(site)):
        print("--repeat is at least 1" if args.repeat < 1 else f"{args.site}: {why}", file=sys.stderr)
        return EXIT_USAGE
    quiet()
    log = (args.out or folder) / "processes.log"
    try:
        report = asyncio.run(_campaign(args, site, cases, log, part))
    except RigError as error:
        print(error, file=sys.stderr)
        return EXIT_UNREACHABLE
    _hand_over(args, report)
    return 0 if report["passed"] else 1


def at_cycle(site: str, cycle: str | None, folder: Path) -> str:
    """SITE, or a copy of it in `folder` with another `cycle`; its own profiles and cells stay beside it."""
    from plc_config.library import site_path

    if cycle is None:
        return site
    path = site_path(site)
    text, found = re.subn(r"(?m)^cycle:.*$", f"cycle: {cycle}", path.read_text("utf-8"))
    copy = folder / path.name
    copy.write_text(text if found else f"{text}\ncycle: {cycle}\n", "utf-8")
    for kind in ("profiles", "cells"):
        if (path.parent / kind).is_dir():
            (folder / kind).symlink_to((path.parent / kind).resolve(), target_is_directory=True)
    return str(copy)


async def _campaign(args: argparse.Namespace, site: Any, cases: Any, log: Path, part: Part) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from tools.fat.campaign import Campaign
    from tools.fat.fitting import missing
    from tools.fat.report import build

    begun = datetime.now(UTC)
    unfit = {c.id: why for c in cases if (why := missing(c, site))}
    cases = [c for c in cases if c.id not in unfit]
    total = sum(len(part.trials(c, args.repeat)) for c in cases)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("starting", total=total)
        done = iter(range(total + 1))

        def show(case: str, number: int) -> None:
            progress.update(bar, description=f"{case} {number + 1}", completed=next(done))

        campaign = Campaign(args.site, site, args.repeat, args.seed, log, show, part)
        running = asyncio.create_task(campaign.run(cases))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        interrupted = False
        try:
            await running
        except asyncio.CancelledError:
            # All processes are ended already; what has been measured is still reported.
            interrupted = True
        long: list[Any] = []
        if not interrupted:
            long, interrupted = await _on_the_clock(args, site, progress)
    return build(
        site,
        campaign.results,
        repeat=args.repeat,
        seed=args.seed,
        begun=begun,
        controllers=campaign.controllers,
        interrupted=interrupted,
        part=args.part,
        long=long,
        unfit=unfit,
    )


class _StoppedError(Exception):
    """Somebody ended the campaign in the middle of a case."""


async def _on_the_clock(args: argparse.Namespace, site: Any, progress: Any) -> tuple[list[Any], bool]:
    """The rows that take hours, one after the other, and whether Ctrl-C ended them: the case at work is left out."""
    from tools.fat.clocked import run_long

    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    found: list[Any] = []
    for case in args.long:
        bar = progress.add_task(case.id, total=case.healthy_h + case.most_h)

        def show(name: str, hours: float, bar: Any = bar) -> None:
            if stopped.is_set():
                raise _StoppedError
            progress.update(bar, description=f"{name}, {hours:.0f} h of plant time", completed=hours)

        try:
            found.append(await asyncio.to_thread(run_long, case, site, args.seed, show))
        except _StoppedError:
            return found, True
        progress.remove_task(bar)
    return found, False


def _hand_over(args: argparse.Namespace, report: dict[str, Any]) -> None:
    """Files first, then the table or the JSON."""
    from tools.fat.page import render
    from tools.fat.report import junit

    text = json.dumps(report, indent=2) + "\n"
    if args.out is not None:
        (args.out / "report.json").write_text(text, "utf-8")
        (args.out / "report.html").write_text(render(report), "utf-8")
        (args.out / "junit.xml").write_text(junit(report), "utf-8")
    if args.json:
        print(text, end="")
        return
    _table(report)
    if args.out is not None:
        print(f"report: {args.out / 'report.html'}")


def _table(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from tools.fat.clocked import LONG
    from tools.fat.page import figures

    table = Table(title=f"Factory acceptance test of {report['site']}: times in ms, p50 / p99 / max", box=None)
    for name in ("case", "row", "bound", "detected", "reaction", "trials", ""):
        table.add_column(name, no_wrap=name != "")
    for case in report["cases"]:
        bound = "/".join("-" if b is None else f"{b:.0f}" for b in case["bound_ms"].values())
        word = "[green]pass" if case["passed"] else f"[red]FAIL[/] {'; '.join(case['wrong'])}"
        row = case["row"] if case["row"] != case["case"] else ""
        measured = (figures(case["detection_ms"]), figures(case["reaction_ms"]), str(case["trials"]))
        table.add_row(case["case"], row, bound, *measured, word)
    wide = Console() if sys.stdout.isatty() else Console(width=200)
    wide.print(table)
    if report["long"]:
        wide.print(_long_table(report["long"]))
    every = [*report["cases"], *report["long"]]
    failed = sum(not c["passed"] for c in every)
    if report["interrupted"]:
        print("interrupted: the cases above are all that was done")
    print(f"{len(every) - failed} of {len(every)} cases passed, {failed} failed")
    hours = sorted({c.row for c in LONG} & set(report["not_run"]))
    if hours and len(report["not_run"]) == len(hours):
        print(f"not run: {', '.join(hours)}: they take hours on a simulated clock (--long)")
    for row, why in report["not_injected"].items():
        print(f"not injected: {row}: {why}")


def _long_table(cases: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(title="On a simulated clock, in hours of plant time", box=None)
    for name in ("case", "bound", "detected", "plant time", "took", ""):
        table.add_column(name, no_wrap=name != "")
    for c in cases:
        word = "[green]pass" if c["passed"] else f"[red]FAIL[/] {'; '.join(c['wrong'])}"
        found = "-" if c["detection_h"] is None else f"{c['detection_h']:.2f}"
        table.add_row(c["case"], f"{c['bound_h']:g}", found, f"{c['plant_h']:g}", f"{c['took_s']:.0f} s", word)
    return table
