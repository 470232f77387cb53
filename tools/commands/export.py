"""`cellwarden export`: what SCADA engineers, auditors and editors read, printed from the tables."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from typing import TYPE_CHECKING, Any, Final

from plc_config.problem import ConfigError
from tools.commands.check import tell

if TYPE_CHECKING:
    from plc_config.compile import Compiled

HELP = (
    "Prints the OPC UA types, a site's variables or their pattern, the protection matrix, the alarm list,\n"
    "the sequences, the schema of site files, or the ageing ledger that the controller keeps per rack (for warranty\n"
    "and battery passport)."
)
EXAMPLE = "cellwarden export points container > points.csv; cellwarden export alarms container --html > alarms.html"
DEFAULT_SITE: Final = "container"
EXIT_FAILED: Final = 1
DIAGRAMS_HEAD: Final = """# The sequences

Printed by `cellwarden export diagrams` from the tables the scan runs. Of all lines that apply in a mode the first one
is taken, so safe moves stand first. Racks step before the site in every scan. A cause that is fatal (TRIP, LOCKOUT)
opens the contactors in the scan in which its row acts.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to export, of which site."""
    kinds = ("nodeset", "points", "pattern", "matrix", "alarms", "schema", "diagrams", "ageing")
    parser.add_argument("what", choices=kinds)
    parser.add_argument(
        "site", nargs="?", default=DEFAULT_SITE, help=f"points, matrix, alarms and ageing; default {DEFAULT_SITE}"
    )
    parser.add_argument("--json", action="store_true", help="points, pattern, matrix, alarms and ageing as JSON")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="alarms as CSV (the default)")
    form.add_argument("--html", action="store_true", help="alarms as a page")


def run(args: argparse.Namespace) -> int:
    """0 done, 1 nothing kept yet, 78 configuration."""
    from opcua_model.model import node_rows, pattern_rows
    from opcua_model.server import NODESET

    if args.what == "nodeset":
        sys.stdout.write(NODESET.read_text(encoding="utf-8"))
        return 0
    if args.what == "schema":
        sys.stdout.write(schema())
        return 0
    if args.what == "diagrams":
        sys.stdout.write(diagrams())
        return 0
    if args.what == "pattern":
        return _write(pattern_rows(), args.json)
    from controller.app.opcua_process import catalog_of
    from opcua_model.server import model_of
    from plc_config.compile import compile_site

    try:
        compiled = compile_site(args.site)
    except ConfigError as error:
        return tell(error, args.json)
    if args.what == "ageing":
        return _ageing(compiled, args.json)
    if args.what == "points":
        return _write(node_rows(model_of(compiled, catalog_of(compiled.program)).points), args.json)
    if args.what == "alarms":
        return _alarms(compiled.program, args)
    return _matrix(compiled.program, args.json)


def _ageing(site: Compiled, as_json: bool) -> int:
    """The newest ledger: of the running controller, else of the state folder."""
    from controller.core.layout import Layout
    from controller.core.retained import Retained
    from controller.historian import identity
    from controller.historian.restore import load
    from controller.historian.retained import Catalog
    from controller.image.files import SiteFiles
    from controller.image.folder import run_folder
    from controller.image.slots import ImageMismatch
    from tools.report.ageing import HEAD, rows
    from tools.state import state_of

    program, site_id = site.program, site.config.site.id
    layout = Layout(Retained, program.dims)
    files = SiteFiles(run_folder(site_id), site.dims)
    try:
        image = files.reader("retained").read()
    except (OSError, ImageMismatch):  # never ran here, or what ran last was another program: the state folder knows
        image = None
    names = Catalog.of(program).names
    folder = state_of(site_id)
    loaded = load(folder, layout, program.matrix.digest, image, names)
    if loaded.retained is None:
        print("\n".join(loaded.problems) or "nothing kept yet", file=sys.stderr)
        return EXIT_FAILED
    for problem in loaded.problems:
        print(problem, file=sys.stderr)
    table = rows(loaded.retained, program.topology, site.program.derating.settings.cell.capacity_ah)
    if as_json:
        of = identity.stranger(folder, site_id) or site_id
        told = {"site": site_id, "state_of": of, "utc_ms": loaded.retained.utc_ms, "source": loaded.source}
        print(json.dumps({**told, "ledger": table}))
        return 0
    writer = csv.DictWriter(sys.stdout, HEAD, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return 0


def schema() -> str:
    """JSON Schema of a site file, for editors: the same model as the checker's."""
    from plc_config.schema.site import SiteConfig

    return json.dumps(SiteConfig.model_json_schema(), indent=1, sort_keys=True) + "\n"


def diagrams() -> str:
    """Both sequences as a page: Mermaid diagrams, tables by priority, and what every guard means."""
    from controller.core.image import RackMode, SiteMode
    from controller.core.sequence import RACK_MOVES, SITE_MOVES, Sequence
    from controller.core.sequence.rack import RackView
    from controller.core.sequence.site import SiteView

    parts = [DIAGRAMS_HEAD]
    for title, modes, moves, view in (
        ("Site", SiteMode, SITE_MOVES, SiteView),
        ("Rack", RackMode, RACK_MOVES, RackView),
    ):
        table: Sequence[Any] = Sequence(modes, moves)
        parts += [f"\n## {title}\n\n```mermaid\n{table.diagram(title.lower())}```\n\n{table.listing()}\n"]
        parts += [f"- `{name}`: {meaning}\n" for name, meaning in view.MEANING.items()]
    return "".join(parts)


def _matrix(program: Any, as_json: bool) -> int:
    from plc_config.cause_effect import facts, render

    if as_json:
        print(json.dumps([facts(row, program) for row in program.matrix.rows], indent=1))
    else:
        sys.stdout.write(render(program))
    return 0


def _alarms(program: Any, args: argparse.Namespace) -> int:
    from plc_config.alarm_list import as_csv, as_html, rows

    if args.json:
        print(json.dumps(rows(program), indent=1))
    else:
        sys.stdout.write(as_html(program) if args.html else as_csv(program))
    return 0


def _write(rows: list[str], as_json: bool) -> int:
    if as_json:
        print(json.dumps(list(csv.DictReader(rows))))
    else:
        print("\n".join(rows))
    return 0
