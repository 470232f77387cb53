"""`cellwarden bench io --serial`: how near the driver comes to what the wire itself allows, on a paced pty."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from plc_config.plan import BusPlan, PollingPlan, transaction_ms
from tools.bench.io_clients import REGISTERS, UNITS, Racing, files_for, plan_for

BAUDS: Final = (9600, 19200, 115200)
PARITY: Final = "even"
TURNAROUND_MS: Final = 2
TIMEOUT_MS: Final = 500
SECONDS: Final = 5.0
"""About so long each rate is measured."""

WITHIN_RATIO: Final = 0.05
WITHIN_MS: Final = 2.0
REQUEST_BYTES: Final = 8
REPLY_BYTES: Final = 5 + 2 * REGISTERS


def bench_serial(factory: Callable[[], asyncio.AbstractEventLoop]) -> list[dict[str, Any]]:
    """One row per baud rate: computed and measured ms per transaction."""
    rows = []
    for baud in BAUDS:
        with _line(baud) as device:
            bus = BusPlan(0, "LINE", "rtu", device=device, baud=baud, parity=PARITY, timeout_ms=TIMEOUT_MS)
            limit_ms = transaction_ms(bus, REQUEST_BYTES, REPLY_BYTES, TURNAROUND_MS)
            rounds = max(int(1000 * SECONDS / (UNITS * limit_ms)), 2)
            with asyncio.Runner(loop_factory=factory) as runner:
                measured_ms, failed = runner.run(_race(bus, rounds))
        over_ms = measured_ms - limit_ms
        rows.append(
            {
                "baud": baud,
                "limit_ms": round(limit_ms, 2),
                "measured_ms": round(measured_ms, 2),
                "over_ms": round(over_ms, 2),
                "over_pct": round(100 * over_ms / limit_ms, 2),
                "failed": failed,
                "met": failed == 0 and (over_ms <= WITHIN_MS or over_ms <= WITHIN_RATIO * limit_ms),
            }
        )
    return rows


async def _race(bus: BusPlan, rounds: int) -> tuple[float, int]:
    """(ms per transaction, requests without a correct reply): median of so many rounds, one right after the other."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        tcp = plan_for(0, 1, 100)
        plan = PollingPlan(tcp.cycle_ms, (bus,), tcp.devices, tcp.reads, ())
        driver = Racing(plan, files_for(plan, Path(name)), Path(name))
        driver.rounds_left = rounds
        driver.finished = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(driver.run())
        await asyncio.wait([task, driver.finished], return_when=asyncio.FIRST_COMPLETED)
        statistics = driver.buses[0].master.statistics
        task.cancel()
        await asyncio.wait([task])
    # The median: a round that the operating system has interrupted tells nothing of the line.
    return 1000 * float(np.median(driver.rounds_s)) / UNITS, statistics.timeouts + statistics.bad


@contextmanager
def _line(baud: int) -> Iterator[str]:
    """A paced line in a process of its own; its port."""
    command = [sys.executable, "-m", "tools.bench.line_server", str(baud), PARITY, str(TURNAROUND_MS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None or process.stdin is None:
            raise OSError("no pipe to the line")
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait()


def show(rows: list[dict[str, Any]]) -> None:
    """The table."""
    table = Table(
        title=f"{REGISTERS} registers of each of {UNITS} units, 8E1, turnaround {TURNAROUND_MS} ms, paced pty"
    )
    for column in ("baud", "wire limit ms", "measured ms", "over ms", "over %", "failed", "within 5 % or 2 ms"):
        table.add_column(column, justify="right")
    for row in rows:
        figures = (f"{row[k]:.2f}" for k in ("limit_ms", "measured_ms", "over_ms", "over_pct"))
        table.add_row(str(row["baud"]), *figures, str(row["failed"]), "yes" if row["met"] else "NO")
    Console().print(table)
