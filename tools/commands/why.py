"""`cellwarden why SITE`: why power is limited, why the site cannot connect, why it tripped; asked over OPC UA."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Final

from tools.commands.operate import EXIT_UNREACHABLE, connection

HELP = (
    "answer why power is limited, why the site cannot connect, why it tripped: rule, place, value, what lifts it;\n"
    "and whether a recalibration would pay, and why"
)
EXAMPLE = "cellwarden why container trip"
QUESTIONS: Final = ("limited", "connect", "trip", "recalibrate")
EXIT_REFUSED: Final = 1


def arguments(parser: argparse.ArgumentParser) -> None:
    """SITE and the question."""
    parser.add_argument("site", help="file, or name of a shipped site")
    parser.add_argument("question", nargs="?", choices=QUESTIONS, help="all when not given")
    connection(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0 answered, 1 refused, 69 unreachable, 78 configuration."""
    return asyncio.run(_ask(args))


async def _ask(args: argparse.Namespace) -> int:
    from opcua_model.library import ua
    from tools.commands.operate import reach

    client = await reach(args)
    if client is None:
        return EXIT_UNREACHABLE
    try:
        answer = await client.call("Why", args.question or "")
    except ua.UaStatusCodeError as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    finally:
        await client.close()
    print(json.dumps(json.loads(answer.token), indent=2) if args.json else answer.reason)
    return 0
