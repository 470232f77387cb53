"""One supervised process: started, watched, restarted with back-off; its patience and its memory are bounded."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from typing import Any, Final

from controller.app.process import monotonic_ms
from controller.image.slots import SlotReader

BACKOFF_FIRST_MS: Final = 200
BACKOFF_MOST_MS: Final = 5000
HEALTHY_AFTER_MS: Final = 30_000
"""A process that ran this long starts its next back-off from the beginning."""
KILL_AFTER_MS: Final = 3000
ONE_THREAD: Final = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
"""NumPy's linear algebra would keep a pool of threads, each with tens of MB that the scan would lock in memory; and
one thread gives the same last bit on every machine."""
SPARE_MB: Final = 600.0
SPARE_MB_PER_CELL: Final = 0.05
"""One process alone may have more than the budget of all of them together (`bench budget`: 600 MB with 5000 cells,
1500 MB with 20 000), so that only one that grows without end meets its limit. Measured together under SCADA load:
534 MB and 818 MB, 0.02 MB for every further cell."""
TOLD_AT: Final = 0.5
"""Share of the limit that is told, in time to stop the site in order."""
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def memory_limit_mb(cells: int) -> float:
    """Most resident memory of one process of a site with so many cells, MB."""
    return SPARE_MB + SPARE_MB_PER_CELL * cells


@dataclasses.dataclass
class Child:
    """`patience_ms`: how old its sign of life may get; `grace_ms`: the same while it is starting.

    `most_mb`: resident memory above which it is killed and restarted. The kernel, when memory runs out, would choose
    any process of the machine and at any moment; this way it is the one that grows, and the others do not notice
    more than after any other restart of it: a restarted scan or I/O process comes up with contactors open.
    """

    name: str
    arguments: list[str]
    status: SlotReader[Any]
    patience_ms: int
    grace_ms: int
    most_mb: float
    pass_fds: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    started_ms: int = 0
    next_start_ms: int = 0
    backoff_ms: int = BACKOFF_FIRST_MS
    cpu_ticks: int = 0
    cpu_total_ticks: int = 0
    rss_mb: float = 0.0
    growth_told: bool = False
    first_exit: int | None = None

    @property
    def pid(self) -> int:
        """Process id, 0 when it does not run."""
        return self.process.pid if self.process is not None and self.process.poll() is None else 0

    def command(self) -> list[str]:
        """Program and arguments."""
        module = f"controller.app.{self.name}_process"
        return [sys.executable, "-m", module, *self.arguments, "--parent", str(os.getpid())]

    def start(self) -> None:
        """Start the process now."""
        self.started_ms = monotonic_ms()
        self.cpu_ticks = 0
        self.rss_mb, self.growth_told = 0.0, False
        self.process = subprocess.Popen(  # noqa: S603
            self.command(),
            pass_fds=self.pass_fds,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **ONE_THREAD},
        )

    def look(self, now_ms: int) -> str:
        """What happened since the last look, for people; empty if all is well. Restarts what ended, stalled or grew."""
        if self.process is None:
            if now_ms < self.next_start_ms:
                return ""
            self.restarts += 1
            self.start()
            return f"{self.name} restarted"
        code = self.process.poll()
        if code is not None:
            self.first_exit = code if self.first_exit is None else self.first_exit
            return self._ended(now_ms, f"{self.name} ended with {code}")
        age = now_ms - max(self.alive_ms(), self.started_ms)
        fresh = self.alive_ms() > self.started_ms
        if age > (self.patience_ms if fresh else self.grace_ms):
            return self._killed(now_ms, f"stalled for {age} ms")
        if self.rss_mb > self.most_mb:
            return self._killed(now_ms, f"grew to {self.rss_mb:.0f} MB, more than {self.most_mb:.0f} MB,")
        if now_ms - self.started_ms > HEALTHY_AFTER_MS:
            self.backoff_ms = BACKOFF_FIRST_MS
        if self.rss_mb > TOLD_AT * self.most_mb and not self.growth_told:
            self.growth_told = True
            return f"{self.name} has grown to {self.rss_mb:.0f} MB; above {self.most_mb:.0f} MB it is restarted"
        return ""

    def _killed(self, now_ms: int, why: str) -> str:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        return self._ended(now_ms, f"{self.name} {why} and was killed")

    def _ended(self, now_ms: int, what: str) -> str:
        self.process = None
        self.next_start_ms = now_ms + self.backoff_ms
        self.backoff_ms = min(2 * self.backoff_ms, BACKOFF_MOST_MS)
        return f"{what}; restart in {self.next_start_ms - now_ms} ms"

    def alive_ms(self) -> int:
        """Monotonic time of the last sign of life."""
        status = self.status.read_again()
        return int(status.alive_ms) if status is not None else 0

    def stop(self) -> None:
        """SIGTERM, then SIGKILL when it does not end in time."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(KILL_AFTER_MS / 1000)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def usage(self) -> tuple[int, float]:
        """(processor ticks since the last call, resident memory in MB); (0, 0) when it does not run."""
        ticks, self.rss_mb = process_usage(self.pid)
        used = max(ticks - self.cpu_ticks, 0)
        self.cpu_ticks = ticks
        self.cpu_total_ticks += used
        return used, self.rss_mb


def process_usage(pid: int) -> tuple[int, float]:
    """(processor ticks since its start, resident memory in MB) of a process; zeros when there is none."""
    if pid == 0:
        return 0, 0.0
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0, 0.0
    return int(fields[11]) + int(fields[12]), int(fields[21]) * PAGE_BYTES / 1e6
