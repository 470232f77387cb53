"""What every process of a site does first: clocks, the bond to its parent, real-time priority, locked memory."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import Final

PR_SET_PDEATHSIG: Final = 1
MCL_CURRENT: Final = 1
MCL_FUTURE: Final = 2
MCL_ONFAULT: Final = 4
NS_PER_MS: Final = 1_000_000


def monotonic_ms() -> int:
    """CLOCK_MONOTONIC in whole ms: one clock for all processes of the machine."""
    return time.monotonic_ns() // NS_PER_MS


def utc_ms() -> int:
    """Wall time in ms since 1970; labels only, never compared."""
    return time.time_ns() // NS_PER_MS


def die_with_parent(parent_pid: int | None) -> None:
    """From now on the parent's death sends SIGTERM here; a parent that is dead already exits this process with 0."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if parent_pid is not None and os.getppid() != parent_pid:
        raise SystemExit(0)


def want_realtime(priority: int) -> bool:
    """SCHED_FIFO at `priority` for this process; False where it is not permitted."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError:
        return False
    return True


def lock_memory() -> bool:
    """Programs and libraries are in memory from now on, and every page once touched stays; False where not permitted.

    Memory that a library reserves and never touches (tens of MB of work space per library) is not brought in.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0:
        return False
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        mapped = [line.split(maxsplit=5) for line in maps]
    for place, rights, _, _, inode, *_ in mapped:
        if inode != "0" and rights.startswith("r-"):
            start, end = (int(part, 16) for part in place.split("-"))
            if libc.mlock(ctypes.c_void_p(start), ctypes.c_size_t(end - start)) != 0:
                return False
    return True
