"""`cellwarden bench PART`: figures beside a peer's, in one run."""

from __future__ import annotations

import argparse
import importlib
from typing import Final

HELP = "Measures one part of the controller beside its peers; each prints a table of medians and ratios."
EXAMPLE = "cellwarden bench scan"
PARTS: Final = {
    "scan": "the pure scan over the number of cells",
    "estimate": "the SOC filter over thousands of cells, and filterpy cell by cell",
    "io": "our Modbus transport, pymodbus's client, a raw socket",
    "budget": "every budget of a reference site in one run of the real processes",
    "trip": "from a cell crossing its limit on the wire to the open command on the wire",
    "opcua": "publishing only what is monitored, and writing every node",
}
HAS_PARTS: Final = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command per part."""
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for name, summary in PARTS.items():
        module = importlib.import_module(f"tools.bench.{name}")
        sub = parts.add_parser(name, help=summary, description=module.HELP)
        module.arguments(sub)
        sub.set_defaults(bench=module.run)


def run(args: argparse.Namespace) -> int:
    """Runs the chosen part."""
    return int(args.bench(args))
