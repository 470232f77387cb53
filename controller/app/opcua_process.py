"""The OPC UA process, the communication card. `python -m controller.app.opcua_process SITE --run FOLDER`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import signal
import sys
from pathlib import Path
from typing import Final

from controller.app.process import die_with_parent, monotonic_ms, utc_ms
from controller.core.program import Program
from controller.image.files import SiteFiles
from controller.image.folder import state_folder
from opcua_model.catalog import Catalog, SlotInfo
from opcua_model.server import OpcuaServer
from opcua_model.view import Clock
from plc_config.compile import Compiled, compile_site
from plc_config.problem import ConfigError

EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 78


def main(argv: list[str] | None = None) -> int:
    """Serves until SIGTERM. A server that cannot start ends the process at once, with the reason on stderr."""
    args = _arguments().parse_args(argv)
    if args.parent is not None:
        die_with_parent(args.parent)
    logging.basicConfig(level=logging.ERROR, format="opcua: %(levelname)s %(name)s: %(message)s")
    # The library logs at this level what any peer can provoke; our own refusals are events.
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    try:
        compiled = compile_site(args.site)
    except ConfigError as error:
        return _say(str(error), EXIT_CONFIG)
    state = Path(args.state) if args.state else state_folder(compiled.config.site.id)
    try:
        return asyncio.run(serve(compiled, Path(args.run), state, args.demo))
    except OSError as error:
        return _say(f"opcua: cannot serve: {error}", EXIT_FAILED)


async def serve(compiled: Compiled, run: Path, state: Path, demo: bool) -> int:
    """Serves one site from the images in `run` until a signal comes."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    files = SiteFiles(run, compiled.dims)
    server = OpcuaServer(compiled, catalog_of(compiled.program), files, state, Clock(monotonic_ms, utc_ms), demo)
    await server.start()
    # What was built stays: the collector need never walk it again.
    gc.collect()
    gc.freeze()
    failed = asyncio.create_task(server.wait())
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    error = failed.exception() if failed.done() else None
    failed.cancel()
    await server.stop()
    if error is not None:
        raise error
    return 0


def catalog_of(program: Program) -> Catalog:
    """The names behind the program's numbers."""
    slots = [
        SlotInfo(s.index, s.row.id, s.place, int(s.row.priority), s.row.because, s.row.advice, s.row.unit)
        for s in program.matrix.slots
    ]
    return Catalog(slots, program.reasons, program.limit_names, program.place_of)


def _say(text: str, code: int) -> int:
    print(text, file=sys.stderr)  # noqa: T201
    return code


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="opcua_process")
    parser.add_argument("site")
    parser.add_argument("--run", required=True, help="folder of the shared images")
    parser.add_argument("--state", help="folder of the durable state")
    parser.add_argument("--demo", action="store_true", help="anyone may read, clients of this machine are trusted")
    parser.add_argument("--parent", type=int, help="process id of the supervisor")
    return parser


if __name__ == "__main__":
    sys.exit(main())
