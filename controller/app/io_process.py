"""The I/O process: `python -m controller.app.io_process SITE --run FOLDER [--wake-fd N] [--parent PID]`.

What is guaranteed: one instance per run folder, and one per unit that is written on this machine (a second exits with
75, before it has written anything); when it is told to stop or its parent dies,
the power setpoints are zeroed on the wire, within 300 ms, before the links are closed; a broken invariant does the
same and exits with 70.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from controller.app import driving, lock
from controller.app.process import die_with_parent, monotonic_ms, want_realtime
from controller.app.self_config import SelfConfig
from controller.fieldbus.capture import Capture
from controller.image.files import SiteFiles
from controller.image.folder import run_folder
from controller.image.slots import ImageMismatch
from plc_config.compile import Compiled, compile_site
from plc_config.problem import ConfigError

EXIT_FAILED: Final = 1
EXIT_UNREACHABLE: Final = 69
EXIT_PROGRAMMER: Final = 70
EXIT_RUNNING: Final = 75
EXIT_CONFIG: Final = 78
FILES_WAIT_MS: Final = 5000
FILES_POLL_S: Final = 0.05
UNITS_WAIT_S: Final = 1.0
"""A tool that looks who drives the units holds them for a moment."""
REALTIME_PRIORITY: Final = 20
"""Below the scan's: it must never be kept from starting by replies that come in."""


class FilesMissing(Exception):
    """The supervisor has not created the images of this site."""


def open_files(folder: Path, compiled: Compiled) -> SiteFiles:
    """The site's images, waited for a bounded time; FilesMissing when they do not come."""
    files = SiteFiles(folder, compiled.dims)
    end_ms = monotonic_ms() + FILES_WAIT_MS
    while True:
        try:
            files.reader("field"), files.reader("output"), files.reader("status.io"), files.event_reader("io")
        except (OSError, ValueError, ImageMismatch) as error:
            if monotonic_ms() > end_ms:
                raise FilesMissing(f"{folder}: no images of this site ({error}); is the supervisor running?") from error
            time.sleep(FILES_POLL_S)
        else:
            return files


async def serve(compiled: Compiled, files: SiteFiles, wake_fd: int | None, capture: Capture | None = None) -> int:
    """Run the driver until SIGTERM or SIGINT; the exit code."""
    loop = asyncio.get_running_loop()
    field = SelfConfig(compiled, files, run_folder(compiled.config.site.id), wake_fd, capture)
    task = asyncio.ensure_future(field.run())
    broken: list[dict[str, Any]] = []

    def give_up(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        broken.append(context)
        task.cancel()

    loop.set_exception_handler(give_up)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    gc.collect()
    gc.freeze()
    try:
        await task
    except asyncio.CancelledError:
        pass
    except Exception:  # noqa: BLE001  # the root of the process: say it and leave
        traceback.print_exc()
        return EXIT_PROGRAMMER
    for context in broken:
        print_context(context)
    return EXIT_PROGRAMMER if broken else 0


def print_context(context: dict[str, Any]) -> None:
    """One unexpected error, to standard error."""
    error = context.get("exception")
    sys.stderr.write(f"io: {context.get('message')}\n")
    if isinstance(error, BaseException):
        traceback.print_exception(error)


def run_loop(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run `main` on uvloop where it is installed, else on asyncio."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.run(main())
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return int(runner.run(main()))


def main(argv: list[str] | None = None) -> int:
    """Entry of the process."""
    parser = argparse.ArgumentParser(prog="controller.app.io_process", description=__doc__)
    parser.add_argument("site", metavar="SITE", help="a file or the name of a shipped site")
    parser.add_argument("--run", type=Path, required=True, metavar="FOLDER", help="the site's run folder")
    parser.add_argument("--wake-fd", type=int, metavar="N", help="eventfd that the scan writes after publishing")
    parser.add_argument("--capture", type=Path, metavar="FILE", help="write all raw frames there")
    parser.add_argument("--parent", type=int, metavar="PID", help="stop when this process is gone")
    arguments = parser.parse_args(argv)
    die_with_parent(arguments.parent)
    try:
        compiled = compile_site(arguments.site)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIG
    try:
        files = open_files(arguments.run, compiled)
    except FilesMissing as error:
        sys.stderr.write(f"io: {error}\n")
        return EXIT_UNREACHABLE
    try:
        held = lock.take(arguments.run / "io.lock")
        units = driving.take(compiled.plan, arguments.run, UNITS_WAIT_S)
    except lock.AlreadyRunning as error:
        sys.stderr.write(f"io: another process drives this site: {error}\n")
        return EXIT_RUNNING
    capture = None
    if arguments.capture is not None:
        try:
            capture = Capture(arguments.capture, compiled.config.site.id, compiled.plan)
        except OSError as error:
            # The plant is more important than its capture.
            sys.stderr.write(f"io: no capture: {error}\n")
    want_realtime(REALTIME_PRIORITY)
    try:
        return run_loop(lambda: serve(compiled, files, arguments.wake_fd, capture))
    finally:
        if capture is not None:
            capture.close()
        driving.release(units)
        os.close(held)


if __name__ == "__main__":
    sys.exit(main())
