"""`cellwarden bench io`: our transport beside pymodbus' client, a raw asyncio protocol and libmodbus, on one server."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import monotonic, process_time
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from controller.fieldbus.driver import Driver
from tools.bench.io_clients import (
    UNITS,
    Client,
    Figures,
    build_libmodbus,
    files_for,
    libmodbus,
    ours,
    plan_for,
    pymodbus,
    raw,
)
from tools.bench.io_serial import bench_serial
from tools.bench.io_serial import show as show_serial

HELP = (
    "Measures Modbus TCP reads of 100 registers: processor time per read and reads per second, medians of several runs."
)
EXAMPLE = "cellwarden bench io --reads 12000 --runs 5"
CONNECTIONS: Final = (1, 12)
CLIENTS: Final[dict[str, Client]] = {"cellwarden driver": ours, "pymodbus client": pymodbus, "raw asyncio": raw}
CADENCE_MS: Final = 100
CADENCES: Final = (12, 48)
"""Buses of 8 modules each: 96 and 384 reads per cycle."""

WARM_UP_S: Final = 1.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `bench io`."""
    parser.add_argument(
        "--reads",
        type=int,
        default=12000,
        help="reads per run (default 12000: shorter ones tell more of the scheduler)",
    )
    parser.add_argument("--runs", type=int, default=5, help="runs, of which the median is shown (default 5)")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="length of each run at a cadence of 100 ms (default 5)"
    )
    parser.add_argument("--serial", action="store_true", help="RTU on a paced pty beside the wire's own limit instead")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0 when everything could be measured."""
    if args.serial:
        lines = bench_serial(next(reversed(_loops().values())))
        if args.json:
            print(json.dumps(lines, indent=2))
        else:
            show_serial(lines)
        return 0
    result = bench_io(args.reads, args.runs, args.seconds, quiet=args.json)
    if args.json:
        print(json.dumps(result, indent=2))
        return 0
    _print(result)
    return 0


def bench_io(reads: int, runs: int, seconds: float, quiet: bool = False) -> dict[str, Any]:
    """All rows, as data."""
    rows: list[dict[str, Any]] = []
    cadence: list[dict[str, Any]] = []
    loops = _loops()
    with tempfile.TemporaryDirectory() as name, _server() as port, Progress(disable=quiet, transient=True) as progress:
        program, why = build_libmodbus(Path(name))
        steps = len(CONNECTIONS) * runs + len(CADENCES) * len(loops)
        bar = progress.add_task("bench io", total=steps)
        for connections in CONNECTIONS:
            measured: dict[tuple[str, str], list[Figures]] = {}
            for _ in range(runs):
                # Taking turns: what else the machine does then meets all of them, and the ratios stand.
                for loop_name, factory in loops.items():
                    for name_, client in CLIENTS.items():
                        figures = _run(lambda c=client, n=connections: c(port, n, reads), factory)  # type: ignore[misc]
                        measured.setdefault((name_, loop_name), []).append(figures)
                if program is not None:
                    figures = libmodbus(program, port, connections, reads)
                    measured.setdefault(("libmodbus (C)", "threads"), []).append(figures)
                progress.advance(bar)
            rows += [_row(*key, connections, figures) for key, figures in measured.items()]
        for buses in CADENCES:
            for loop_name, factory in loops.items():
                cadence.append({"loop": loop_name, **_run(lambda n=buses: _cadence(port, n, seconds), factory)})  # type: ignore[misc]
                progress.advance(bar)
    return {"reads": reads, "runs": runs, "rows": rows, "cadence": cadence, "libmodbus": why or "measured"}


async def _cadence(port: int, buses: int, seconds: float) -> dict[str, Any]:
    """The driver as it runs in the plant, at one image per 100 ms."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        plan = plan_for(port, buses, CADENCE_MS)
        driver = Paced(plan, files_for(plan, Path(name)), Path(name))
        task = asyncio.ensure_future(driver.run())
        await asyncio.sleep(WARM_UP_S)
        driver.rounds_ms.clear()
        begin_s, begin_cpu_s = monotonic(), process_time()
        await asyncio.sleep(seconds)
        cpu = (process_time() - begin_cpu_s) / (monotonic() - begin_s)
        rounds = driver.rounds_ms or [0.0]
        task.cancel()
        await asyncio.wait([task])
    p50, p95, worst = (float(x) for x in np.percentile(rounds, [50, 95, 100]))
    shown = {"p50": round(p50, 2), "p95": round(p95, 2), "max": round(worst, 2)}
    return {"reads_per_cycle": buses * UNITS, "cpu_pct": round(100 * cpu, 2), "round_ms": shown, "cycles": len(rounds)}


class Paced(Driver):
    """The driver, noting how long each cycle took from its first request to its last reply."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.rounds_ms: list[float] = []

    def _round_done(self, bus: int) -> None:
        if self._waiting == {bus}:
            self.rounds_ms.append(1000 * (monotonic() - min(b.master.round.began_s for b in self.buses)))
        super()._round_done(bus)


@contextmanager
def _server() -> Iterator[int]:
    """The peer, in a process of its own; its port."""
    command = [sys.executable, "-m", "tools.bench.io_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None or process.stdin is None:
            raise OSError("no pipe to the server")
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait()


def _loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    try:
        from uvloop import new_event_loop
    except ImportError:
        return loops
    return {**loops, "uvloop": new_event_loop}


def _run(main: Callable[[], Coroutine[Any, Any, Any]], factory: Callable[[], asyncio.AbstractEventLoop]) -> Any:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


def _row(name: str, loop: str, connections: int, figures: list[Figures]) -> dict[str, Any]:
    return {
        "client": name,
        "loop": loop,
        "connections": connections,
        "cpu_us_per_read": round(median(f.us_per_read for f in figures), 1),
        "reads_per_s": round(median(f.reads_per_s for f in figures)),
    }


def _print(result: dict[str, Any]) -> None:
    console = Console()
    table = Table(title=f"100 input registers, Modbus TCP on loopback, medians of {result['runs']} runs")
    for column, justify in (("conn", "right"), ("client", "left"), ("loop", "left"), ("CPU us/read", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for column in ("of pymodbus", "of raw", "reads/s"):
        table.add_column(column, justify="right")
    costs = {(r["client"], r["connections"], r["loop"]): r["cpu_us_per_read"] for r in result["rows"]}
    for row in result["rows"]:
        where, cost = (row["connections"], row["loop"]), row["cpu_us_per_read"]
        peers = (costs.get((name, *where)) for name in ("pymodbus client", "raw asyncio"))
        ratios = (f"{cost / peer:.2f}" if peer else "" for peer in peers)
        table.add_row(str(where[0]), row["client"], where[1], f"{cost:.1f}", *ratios, f"{row['reads_per_s']:,}")
    console.print(table)
    if result["libmodbus"] != "measured":
        console.print(f"libmodbus (C): {result['libmodbus']}")
    table = Table(title="the driver at a cadence of 100 ms")
    for column in ("reads/cycle", "loop", "CPU % of a core", "cycle p50 ms", "p95 ms", "max ms"):
        table.add_column(column, justify="left" if column == "loop" else "right")
    for row in result["cadence"]:
        times = (f"{row['round_ms'][k]:.1f}" for k in ("p50", "p95", "max"))
        table.add_row(str(row["reads_per_cycle"]), row["loop"], f"{row['cpu_pct']:.1f}", *times)
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=HELP)
    arguments(parser)
    sys.exit(run(parser.parse_args()))
