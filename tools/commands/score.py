"""`cellwarden score [DIR]`: the product's estimators against recorded or simulated truth, as a table and a page."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

HELP = "Runs SOC estimation and early warning over data sets with a known truth; prints the table, writes a page."
EXAMPLE = "cellwarden score ../shared/data/cells --page score.html; cellwarden score --campaign --plans 1"
EXIT_STOPPED: Final = 130
STOPPED: Final = "what follows is what was finished"
WIDTH = 150
"""Columns the table needs; a narrower terminal or a pipe would break its words."""
SENSORS = ("S1", "S3", "S1nan", "S1missing", "S1frozen", "S1swapped", "S1gaps", "S1F", "all")
MISSING = (
    "no data sets found: name their folder, set CELLWARDEN_DATA, or put them in ../shared/data/cells "
    "(folders pybamm, packs, lfp_a123, nca_panasonic, nmc_dmegc)"
)


class Patience:
    """Work that an interrupt ends early: what it has finished until then stays, and `ended` tells."""

    ended = False

    def __enter__(self) -> Patience:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self.ended = kind is KeyboardInterrupt
        if self.ended:
            print(f"interrupted: {STOPPED}", file=sys.stderr)
        return self.ended


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where the data lie, how many virtual cells, what to write."""
    parser.add_argument("dir", nargs="?", metavar="DIR", help="folder of data sets; default $CELLWARDEN_DATA/cells")
    parser.add_argument("--cells", type=int, default=40, help="virtual cells per profile (40)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], metavar="SEED",
                        help="virtual cells of each seed; the same seeds give the same figures (1)")  # fmt: skip
    parser.add_argument(
        "--sensors",
        nargs="+",
        choices=SENSORS,
        default=["S1", "S3"],
        help=(
            "sensor scenarios: S1 ordinary, S3 good; S1 with NaN, 10 s missing, frozen, swapped, gaps of 10 min; all"
        ),
    )
    parser.add_argument("--only", metavar="WORD", default="", help="only profiles with WORD in their name")
    parser.add_argument("--page", type=Path, default=Path("score.html"), help="HTML page to write (score.html)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="SVG of the first profile to write")
    parser.add_argument("--no-packs", action="store_true", help="leave out the strings: their cells and early warning")
    parser.add_argument(
        "--campaign",
        action="store_true",
        help="early warning over many simulated strings with faults put in; needs no data, takes long",
    )
    parser.add_argument(
        "--promises",
        action="store_true",
        help="power, time to empty and energy as promised before measured loads, against what the cell did",
    )
    parser.add_argument("--plans", type=int, default=0, metavar="N",
                        help="with --campaign: only the first N plans (all)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """0 done, 1 a virtual cell diverged, 2 no data, 130 interrupted: what was finished is shown and written."""
    from tools.score.page import HEAD, STRING_HEAD, cells_of, picture, render, strings_of
    from tools.score.scenario import SCENARIOS
    from tools.score.sets import folder

    if args.campaign:
        return _campaign(args)
    data = folder(args.dir)
    if data is None or args.cells < 1:
        print(MISSING if data is None else "at least one virtual cell is needed", file=sys.stderr)
        return 2
    if args.promises:
        return _promises(args, data)
    wanted = [s for s in SCENARIOS if s in args.sensors or "all" in args.sensors]
    runs: list[Any] = []
    strings: list[Any] = []
    findings: dict[str, Any] = {}
    with Patience() as patience:
        _work(args, data, [SCENARIOS[s] for s in wanted], runs, strings, findings)
    note = (
        f"{args.cells} virtual cells per profile and seed {args.seeds}, each with its own sensor errors, started 20 % "
        "wrong. SOC errors in %, after ten minutes (a day for grid duty). Median, p95, worst and divergences together."
    )
    note = f"Interrupted: {STOPPED}. {note}" if patience.ended else note
    args.page.write_text(render(runs, strings, findings, note), encoding="utf-8")
    if args.picture is not None and runs:
        args.picture.write_text(picture(runs[0]), encoding="utf-8")
    if args.json:
        figures = {"soc": [asdict(r.score) for r in runs], "strings": [asdict(s) for s in strings]}
        print(json.dumps({**figures, "warnings": findings}, indent=1))
    else:
        console = Console()
        console.width = max(console.width, WIDTH)
        for head, rows in ((HEAD, [cells_of(r.score) for r in runs]), (STRING_HEAD, [strings_of(s) for s in strings])):
            table = Table(*head)
            for row in rows:
                table.add_row(*row)
            if rows:
                console.print(table)
        for name, items in findings.items():
            console.print(f"[bold]{name}[/bold]: {len(items)} entries")
            for item in items:
                console.print(
                    f"  {item['t_s'] / 3600:7.1f} h  cell {item['cell']:3d}  {item['fault']:18s} {item['truth']}"
                )
        console.print(f"page: {args.page}")
    return EXIT_STOPPED if patience.ended else 1 if any(r.score.diverged for r in runs) else 0


def _campaign(args: argparse.Namespace) -> int:
    """0 done, 1 a class was called wrong or a healthy cell was warned of, 130 interrupted."""
    from tools.score.campaign import HEAD, Outcome, drawn, listed, run, summary, totals

    plans = drawn(args.seeds[0])
    plans = plans[: args.plans] if args.plans > 0 else plans
    outcomes: list[Outcome] = []
    with Patience() as patience, Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=sum(p.rows for p in plans))
        done = 0
        for plan in plans:
            base = done

            def told(name: str, row: int, _rows: int, base: int = base) -> None:
                progress.update(bar, description=name, completed=base + row)

            outcomes.append(run(plan, told))
            done += plan.rows
    if args.json:
        print(json.dumps([asdict(o) for o in outcomes], indent=1))
    else:
        console = _show(HEAD, summary(outcomes))
        for line in (*listed(outcomes), totals(outcomes)):
            console.print(line, highlight=False)
    wrong = any(c.called not in (None, c.fault.name) for o in outcomes for c in o.cases)
    return EXIT_STOPPED if patience.ended else 1 if wrong or any(o.false for o in outcomes) else 0


def _promises(args: argparse.Namespace, data: Path) -> int:
    """0 done, 2 no recording to ask about, 130 interrupted."""
    from tools.score import energies
    from tools.score.promises import HEAD, NOTE, SHEETS, ask, table, variants
    from tools.score.sets import loads

    chosen = [p for p in loads(data) if args.only.lower() in p.name.lower()]
    wholes = [p for p in energies.recordings(data) if args.only.lower() in p.name.lower()]
    if not chosen and not wholes:
        print(MISSING, file=sys.stderr)
        return 2
    questions: list[Any] = []
    asked: list[Any] = []
    with Patience() as patience, Progress(console=Console(stderr=True), transient=True) as progress:
        total = sum(len(SHEETS) * len(p.soc) for p in chosen) + sum(len(p.soc) for p in wholes)
        bar = progress.add_task("", total=total)
        done = 0
        for profile in chosen:
            for sheet, cell in variants(profile).items():
                progress.update(bar, description=profile.name, completed=done)
                questions += ask(profile, sheet, cell, partial(_advance, progress, bar, done))
                done += len(profile.soc)
        for profile in wholes:
            progress.update(bar, description=profile.name, completed=done)
            asked += energies.ask(profile, variants(profile)["fitted"], partial(_advance, progress, bar, done))
            done += len(profile.soc)
    if args.json:
        print(json.dumps([asdict(q) for q in (*questions, *asked)], indent=1))
        return EXIT_STOPPED if patience.ended else 0
    _show(HEAD, table(questions)).print(NOTE)
    _show(energies.HEAD, energies.table(asked))
    return EXIT_STOPPED if patience.ended else 0


def _show(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Console:
    """Prints a table, wide enough for all of it even where the output is no terminal."""
    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table)
    return console


def _work(
    args: argparse.Namespace,
    data: Path,
    scenarios: list[Any],
    runs: list[Any],
    strings: list[Any],
    findings: dict[str, Any],
) -> None:
    """Fills the last three, profile by profile and string by string."""
    from tools.score.packs import judged, packs, string_score
    from tools.score.scenario import run_all
    from tools.score.sets import profiles

    chosen = [p for p in profiles(data) if args.only.lower() in p.name.lower()]
    logs = [] if args.no_packs else [(n, p) for n, p in packs(data) if args.only.lower() in n]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=sum(len(p.soc) for p in chosen))
        done = 0
        for profile in chosen:
            progress.update(bar, description=profile.name, completed=done)
            runs += run_all(profile, scenarios, args.cells, args.seeds, partial(_advance, progress, bar, done))
            done += len(profile.soc)
        for name, path in logs:
            progress.update(bar, description=name, completed=done)
            strings.append(string_score(path))
            findings[name] = judged(path)


def _advance(progress: Progress, bar: TaskID, base: int, row: int, _rows: int) -> None:
    progress.update(bar, completed=base + row)
