"""`cellwarden export`: the model for SCADA engineers."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from typing import TYPE_CHECKING

from plc_config.problem import ConfigError
from tools.commands.check import tell

if TYPE_CHECKING:
    from controller.core.protect.engine import Matrix

HELP = "print the OPC UA types (nodeset), a site's variables (points), their pattern, or the protection matrix"
EXAMPLE = "cellwarden export points container > points.csv"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to export, of which site."""
    parser.add_argument("what", choices=("nodeset", "points", "pattern", "matrix"))
    parser.add_argument("site", nargs="?", help="points and matrix: file, or name of a shipped site")
    parser.add_argument("--json", action="store_true", help="points and pattern as JSON")


def run(args: argparse.Namespace) -> int:
    """0 done, 2 usage, 78 configuration."""
    from opcua_model.model import node_rows, pattern_rows
    from opcua_model.server import NODESET

    if args.what == "nodeset":
        sys.stdout.write(NODESET.read_text(encoding="utf-8"))
        return 0
    if args.what == "pattern":
        return _write(pattern_rows(), args.json)
    if not args.site:
        print(f"{args.what} of which site? {EXAMPLE}", file=sys.stderr)
        return 2
    from controller.app.opcua_process import catalog_of
    from opcua_model.server import model_of
    from plc_config.compile import compile_site

    try:
        compiled = compile_site(args.site)
    except ConfigError as error:
        return tell(error, args.json)
    if args.what == "matrix":
        return _write(matrix_rows(compiled.program.matrix), args.json)
    return _write(node_rows(model_of(compiled, catalog_of(compiled.program)).points), args.json)


def matrix_rows(matrix: Matrix) -> list[str]:
    """One CSV line per row of the protection matrix, with the delay in force."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "place", "effect", "delay_ms", "reset", "priority", "because", "advice", "standard"))
    for row, start in zip(matrix.rows, matrix.start, strict=True):
        effect = (row.effect | row.bank_effect).name or ""
        delay = int(matrix.delay_ms[start])
        standard = row.standard
        fields = (
            row.id,
            row.place,
            effect,
            delay,
            row.reset.name,
            row.priority.name,
            row.because,
            row.advice,
            standard,
        )
        writer.writerow(fields)
    return text.getvalue().splitlines()


def _write(rows: list[str], as_json: bool) -> int:
    if as_json:
        print(json.dumps(list(csv.DictReader(rows))))
    else:
        print("\n".join(rows))
    return 0
