"""`cellwarden history SITE`: what the store has kept, to look at or to export, also while the controller runs."""

from __future__ import annotations

import argparse
import csv
import datetime
import itertools
import json
import math
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

from controller.core.event import What
from controller.core.signal import Quality
from controller.historian.journal import verify_audit
from controller.historian.reader import EVER_MS, HistoryStore, Known
from plc_config.compile import compile_site
from plc_config.quantity import duration_ms
from tools.state import state_of

HELP = (
    "Lists the variables, samples, events and audit trail of SITE. Without a variable it lists what there is;\n"
    "a variable is a name or a pattern: soc_ratio, 'rack_*[R01]', 'cell_voltage_*'. Times are ISO 8601, UTC unless\n"
    "they say otherwise. Order and newest go by how they came, not by their times: a clock may have been wrong."
)
EXAMPLE = "cellwarden history container soc_ratio 'rack_current_a[R0*]' --last 1h --csv out.csv"
EXIT_FAILED, EXIT_USAGE = 1, 2
SHOWN: Final = 200
CHUNK: Final = 10_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `history`."""
    parser.add_argument("site", metavar="SITE", help="a site file or the name of a shipped site")
    parser.add_argument("variables", metavar="VARIABLE", nargs="*", help="names or patterns")
    parser.add_argument("--from", dest="start", metavar="T", help="begin, such as 2025-03-01T08:00")
    parser.add_argument("--to", dest="end", metavar="T", help="end")
    parser.add_argument("--last", metavar="1h", help="the time up to now, instead of --from")
    parser.add_argument("--events", action="store_true", help="events instead of variables")
    parser.add_argument("--audit", action="store_true", help="who did what, and the result")
    parser.add_argument("--verify", action="store_true", help="check that nobody edited the audit trail")
    parser.add_argument("--csv", metavar="FILE", help="write CSV to a file, or to standard output with -")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--limit", metavar="N", type=int, help=f"newest N of each; {SHOWN}, for --csv all")


def run(args: argparse.Namespace) -> int:
    """0, or 1 when nothing was found or the audit trail was edited, 2 for a bad time, 78 for a bad site."""
    site_id = compile_site(args.site).config.site.id
    try:
        start, end = _times(args)
    except ValueError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    if args.limit is not None and args.limit < 1:
        print("--limit: at least 1", file=sys.stderr)
        return EXIT_USAGE
    folder = state_of(site_id)
    try:
        if args.verify:
            return _verify(folder, args.json)
        if args.events or args.audit:
            return _journal(args, HistoryStore(folder), start, end)
        return _history(args, HistoryStore(folder), start, end)
    except sqlite3.Error as error:
        print(f"{folder}: {error}", file=sys.stderr)
        return EXIT_FAILED


def _times(args: argparse.Namespace) -> tuple[int, int]:
    if args.last is not None and args.start is not None:
        raise ValueError("--last and --from exclude each other")
    end = EVER_MS if args.end is None else _utc_ms(args.end)
    if args.last is not None:
        end = int(time.time() * 1000) if args.end is None else end
        return end - duration_ms(args.last), end
    return (0 if args.start is None else _utc_ms(args.start)), end


def _utc_ms(text: str) -> int:
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a time; write it like 2025-03-01T08:00 or 2025-03-01T08:00+01:00") from error
    return int((when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp() * 1000)


def _iso(utc_ms: int | None) -> str:
    if utc_ms is None:
        return ""
    when = datetime.datetime.fromtimestamp(utc_ms / 1000, datetime.UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{utc_ms % 1000:03d}Z"


# -- variables -----------------------------------------------------------------------------------------------


def _history(args: argparse.Namespace, store: HistoryStore, start: int, end: int) -> int:
    known = store.variables(args.variables)
    if not known:
        wanted = f"no variable matches {' '.join(args.variables)}" if args.variables else "there is no history yet"
        print(f"{wanted} in {store.history}", file=sys.stderr)
        return EXIT_FAILED
    if not args.variables and args.csv is None:
        return _list(known, args.json)
    rows = _samples(store, known, start, end, args.limit, everything=args.csv is not None)
    if args.csv is not None:
        with _output(args.csv) as file:
            table = csv.writer(file)
            table.writerow(["utc", "variable", "value", "unit", "quality"])
            table.writerows(rows)
    elif args.json:
        names = ("utc", "variable", "value", "unit", "quality")
        print(json.dumps([dict(zip(names, r, strict=True)) for r in rows], indent=1))
    else:
        for utc, name, value, unit, quality in rows:
            shown = "-" if value is None else f"{value:.6g}"
            print(f"{utc}  {name:<40} {shown:>14} {unit if unit != '1' else '':<5} {quality}")
    return 0


def _list(known: list[Known], as_json: bool) -> int:
    if as_json:
        found = [
            {
                "variable": k.name,
                "unit": k.unit,
                "doc": k.doc,
                "first": _iso(k.first_utc_ms),
                "last": _iso(k.last_utc_ms),
            }
            for k in known
        ]
        print(json.dumps(found, indent=1))
        return 0
    for k in known:
        print(f"{k.name:<44} {k.unit:<6} {_iso(k.last_utc_ms):<24}  {k.doc}")
    return 0


def _samples(
    store: HistoryStore, known: list[Known], start: int, end: int, limit: int | None, everything: bool
) -> Iterator[tuple[str, str, float | None, str, str]]:
    whole = limit is None and everything
    for k in known:
        pages = store.pages(k.name, start, end, CHUNK) if whole else [store.newest(k.name, start, end, limit or SHOWN)]
        for p in itertools.chain.from_iterable(pages):
            value = None if math.isnan(p.value) else p.value
            yield _iso(p.utc_ms), k.name, value, k.unit, Quality(p.quality).name


# -- events and audit ----------------------------------------------------------------------------------------


def _journal(args: argparse.Namespace, store: HistoryStore, start: int, end: int) -> int:
    read = store.audit if args.audit else store.events
    most = args.limit or (SHOWN if args.csv is None else EVER_MS)
    found = [{"utc": _iso(r.pop("utc_ms")), **r} for r in read(start, end, most, newest=True)]
    if args.csv is not None:
        with _output(args.csv) as file:
            table = csv.DictWriter(file, list(found[0]) if found else ["utc"])
            table.writeheader()
            table.writerows(found)
    elif args.json:
        print(json.dumps(found, indent=1))
    else:
        for r in found:
            print(_audit_line(r) if args.audit else _event_line(r))
    if not found and args.csv is None and not args.json:
        print(f"nothing in {store.journal}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _event_line(r: dict[str, Any]) -> str:
    who = f" [{r['user']}]" if r["user"] else ""
    no = "refused: " if r["what"] == What.ANSWER.name and not r["accepted"] else ""
    return f"{r['utc']}  {r['scan']:>9} {r['what']:<10} {r['place']:<18} {no}{r['text']}{who}"


def _audit_line(r: dict[str, Any]) -> str:
    old, new = ("" if v is None else f"{v:.6g}" for v in (r["old"], r["new"]))
    return f"{r['utc']}  {r['who'] or '-':<16} {r['what']:<20} {old:>10} {new:>10}  {r['result']:<9} {r['text']}"


def _verify(folder: Path, as_json: bool) -> int:
    verdict = verify_audit(folder)
    if as_json:
        print(json.dumps({"intact": verdict.intact, "rows": verdict.rows, "problem": verdict.problem}))
    elif verdict.intact:
        print(f"audit trail intact, {verdict.rows} rows")
    else:
        print(f"audit trail broken after {verdict.rows} rows: {verdict.problem}")
    return 0 if verdict.intact else EXIT_FAILED


@contextmanager
def _output(name: str) -> Iterator[TextIO]:
    if name == "-":
        yield sys.stdout
        return
    with Path(name).open("w", encoding="utf-8", newline="") as file:
        yield file
