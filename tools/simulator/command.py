"""`cellwarden simulate SITE`: the simulated plant of a site, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import math
import os
import signal
import stat
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from plc_config.compile import Compiled, compile_site
from plc_config.problem import ConfigError
from tools.commands.check import tell
from tools.simulator import play, verbs
from tools.simulator.control import VERB_MODULES, AlreadyRunning
from tools.simulator.options import Options
from tools.simulator.simulator import CannotListen, Simulator
from tools.simulator.truth_file import TruthFile

HELP: Final = "simulate the devices of a site over Modbus, with faults on demand"
EXAMPLE: Final = "cellwarden simulate container --fault 'at 10s drop GW03 5s'"

OK, FAILED, USAGE, RUNNING = 0, 1, 2, 75
PR_SET_PDEATHSIG: Final = 1
PARENT_CHECK_S: Final = 0.5


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `simulate`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    listed = f"{len(VERB_MODULES)} groups of verbs, each usable with --fault and on the control socket:"
    parser.epilog = f"{verbs.__doc__}\n{listed}\n\n{verbs.describe()}\n\nexample:\n  {EXAMPLE}\n"
    parser.add_argument("site", help="a site file or the name of a shipped site")
    parser.add_argument(
        "--play",
        nargs="?",
        const=play.GENERATED,
        default="",
        metavar="FILE",
        help="play measured cell data (CSV or CSV.GZ) through every module; `generated` needs no file",
    )
    parser.add_argument("--speed", type=float, default=1.0, metavar="X", help="play X times as fast")
    parser.add_argument("--play-from", type=float, default=0.0, metavar="S", help="begin S seconds into the file")
    parser.add_argument("--fault", action="append", default=[], metavar="TEXT", help="a fault; may be repeated")
    parser.add_argument("--soc", type=float, default=0.6, help="initial state of charge, 0..1 (default 0.6)")
    parser.add_argument("--ambient", type=float, default=25.0, metavar="DEGC", help="ambient temperature (default 25)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all spread and noise (default 1)")
    parser.add_argument("--noise", type=float, default=1.0, metavar="X", help="sensor noise factor; 0 for none")
    parser.add_argument("--paced", action="store_true", help="let serial lines take the time their baud rate needs")
    parser.add_argument("--truth", metavar="FILE", help="write time-stamped truth and events as JSON lines")
    parser.add_argument("--with-parent", action="store_true", help="end when the starting process ends")


def run(args: argparse.Namespace) -> int:
    """Simulate until a signal; the exit code of the command line."""
    if not (0 <= args.soc <= 1 and 0 < args.speed < math.inf and 0 <= args.noise < math.inf):
        print("simulate: --soc lies between 0 and 1, --speed is positive, --noise not negative", file=sys.stderr)
        return USAGE
    try:
        faults = [verbs.parse_text(text) for text in args.fault]
        compiled = compile_site(args.site)
        simulator = Simulator(compiled, _options(args))
    except ConfigError as error:
        return tell(error)
    except verbs.RequestError as error:
        print(f"simulate: --fault {error}", file=sys.stderr)
        return USAGE
    except (play.PlayError, OSError) as error:
        print(f"simulate: {error}", file=sys.stderr)
        return FAILED
    return _run_loop(_serve(simulator, compiled, faults, args))


def _options(args: argparse.Namespace) -> Options:
    return Options(
        soc=args.soc,
        seed=args.seed,
        ambient_degc=args.ambient,
        noise=args.noise,
        play=args.play,
        play_speed=args.speed,
        play_from_s=args.play_from,
        paced=args.paced,
    )


def _run_loop(main: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def _serve(
    simulator: Simulator, compiled: Compiled, faults: list[dict[str, Any]], args: argparse.Namespace
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        await simulator.start()
    except AlreadyRunning as error:
        print(f"simulate: a simulator of {compiled.config.site.id!r} is already running ({error})", file=sys.stderr)
        return RUNNING
    except (CannotListen, OSError) as error:
        print(f"simulate: {error}", file=sys.stderr)
        return FAILED
    tasks: list[asyncio.Task[None]] = []
    try:
        if args.truth:
            tasks.append(asyncio.create_task(TruthFile(simulator, Path(args.truth)).run()))
        if args.with_parent:
            tasks.append(asyncio.create_task(_follow_parent(parent, stop.set)))
        for request in faults:
            answer = simulator.control.perform(request)
            if not answer["ok"]:
                print(f"simulate: --fault: {answer['error']}", file=sys.stderr)
                return USAGE
        site, path = compiled.config.site.id, simulator.control.path
        print(f"simulating {site}: {len(simulator.buses)} buses ready, control {path}", flush=True)
        return await _until_stopped(simulator, stop, tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await simulator.stop()


async def _until_stopped(simulator: Simulator, stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> int:
    """Until `stop`; what ends one of the tasks or the clock before is raised."""
    stopped = asyncio.create_task(stop.wait())
    watched = [stopped, *tasks] if simulator.clock is None else [stopped, *tasks, simulator.clock]
    done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for task in done:
        task.result()
    return OK


async def _follow_parent(parent: int, stop: Callable[[], None]) -> None:
    """End with the parent: by its death signal, by another parent's id, or by the end of a piped stdin."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    loop = asyncio.get_running_loop()
    piped = stat.S_ISFIFO(os.fstat(0).st_mode)
    if piped:
        loop.add_reader(0, lambda: stop() if not os.read(0, 4096) else None)
    try:
        while os.getppid() == parent:  # noqa: ASYNC110  (nobody tells when the parent changes)
            await asyncio.sleep(PARENT_CHECK_S)
        stop()
    finally:
        if piped:
            loop.remove_reader(0)


def main() -> int:
    """`python -m tools.simulator SITE`."""
    parser = argparse.ArgumentParser(prog="python -m tools.simulator", description=HELP)
    arguments(parser)
    return run(parser.parse_args())
