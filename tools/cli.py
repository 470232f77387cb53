"""`cellwarden`: one command line. Each command is one module, imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Final

from controller.image.release import release
from plc_config.problem import ConfigError

EXIT_FAILED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_RUNNING, EXIT_CONFIG = 1, 2, 69, 75, 78

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("tools.commands.demo", "simulated container, controller and live view on this machine"),
    "run": ("tools.commands.run", "run the controller of a site"),
    "check": ("tools.commands.check", "check a site's configuration and show its polling plan"),
    "simulate": ("tools.simulator.command", "simulate a site's devices over Modbus"),
    "watch": ("tools.commands.watch", "live terminal view over OPC UA"),
    "operate": ("tools.commands.operate", "connect, set power, acknowledge, reset, shut down over OPC UA"),
    "why": ("tools.commands.why", "why power is limited, why it cannot connect, why it tripped"),
    "deliver": ("tools.commands.deliver", "whether the battery can give a power for a time, and what ends it"),
    "history": ("tools.commands.history", "list, filter and export what the store has kept"),
    "replay": ("tools.commands.replay", "run a recording again and compare bit for bit"),
    "fat": ("tools.commands.fat", "factory acceptance test: inject every fault and measure the reaction"),
    "report": ("tools.commands.report", "a trip as a page, from the recording"),
    "swarm": ("tools.commands.swarm", "simulated days with random faults, judged by the plant"),
    "discover": ("tools.commands.discover", "which units answer on one bus, and SunSpec devices with their models"),
    "read": ("tools.commands.read", "live decoded view of one device"),
    "write": ("tools.commands.write", "write one output by hand, with read-back, while the controller does not run"),
    "probe": ("tools.commands.probe", "walk the whole site point by point and print a point-to-point sheet"),
    "export": ("tools.commands.export", "print the information model, the points or the matrix"),
    "user": ("tools.commands.user", "set passwords of a site's users"),
    "cert": ("tools.commands.cert", "list and trust OPC UA certificates"),
    "score": ("tools.commands.score", "the estimators against recorded truth: table and page"),
    "fit": ("tools.commands.fit", "a cell type from a pulse test and a slow charge or discharge"),
    "bench": ("tools.commands.bench", "measure scan, I/O and OPC UA beside their peers"),
}


class _Version(argparse.Action):
    """Says which release and build this is; worked out only when asked, because it reads every source file."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"{parser.prog} {release()}")
        parser.exit()


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code; 2 for a wrong command line."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="cellwarden",
        description="Controller for grid-scale battery storage: Modbus in, OPC UA out, protection as a table.",
        epilog="Exit codes: 0 ok, 1 failed, 2 usage, 69 unreachable, 75 already running, 78 configuration.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show release and build, and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen, parse = argv[0] if argv and argv[0] in COMMANDS else None, parser.parse_args
    for name, (module, summary) in COMMANDS.items():
        if name != chosen:
            commands.add_parser(name, help=summary)
            continue
        loaded = importlib.import_module(module)
        sub = commands.add_parser(
            name,
            help=summary,
            description=loaded.HELP,
            epilog=f"Example:\n  {loaded.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        loaded.arguments(sub)
        sub.set_defaults(run=loaded.run)
        if not getattr(loaded, "HAS_PARTS", False):
            # So that options may stand before an argument that can be left out: `export alarms --html SITE`.
            parse, argv = sub.parse_intermixed_args, argv[1:]
    args = parse(argv)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except ConfigError as error:
        from tools.commands.check import tell

        return tell(error, getattr(args, "json", False))
    except OSError as error:
        # A folder that is not there, a full disk, no permission: the machine refuses, the program is well.
        why = error.strerror or str(error)
        print(f"cellwarden {chosen}: {f'{error.filename}: {why}' if error.filename else why}", file=sys.stderr)
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
