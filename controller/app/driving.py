"""On one machine a unit that is written is driven by one controller only, whatever run folder, user or site id it has.

A file lock lies in the run folder; a copy of the site file with another folder, or another user, has another one, and
its first outputs would open every contactor of the plant under load. So whoever drives a unit also holds a name made
of its address: an abstract socket, which the kernel frees when its process ends.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import time
from pathlib import Path
from typing import Final

from controller.app.lock import RETRY_S, AlreadyRunning
from plc_config.plan import BusPlan, PollingPlan

MOST: Final = 200
"""Names held: each is an open file, of which a process may have 1024 (the usual limit), and links need theirs."""


def take(plan: PollingPlan, folder: Path, patience_s: float = 0.0) -> list[socket.socket]:
    """What is held while it is kept open: the units that the plan writes, of a large site 200, racks and PCS first.
    AlreadyRunning when somebody keeps one beyond `patience_s`.

    folder: where serial ports without a slash lie. Where the system has no such names nothing is held.
    """
    end = time.monotonic() + patience_s
    while True:
        try:
            return _take(plan, folder)
        except AlreadyRunning:
            if time.monotonic() >= end:
                raise
            time.sleep(RETRY_S)


def _take(plan: PollingPlan, folder: Path) -> list[socket.socket]:
    held: list[socket.socket] = []
    for (where, unit), device in _written(plan, folder).items():
        try:
            name = b"\0cellwarden-" + hashlib.sha256(f"{where} unit {unit}".encode()).hexdigest()[:32].encode()
            held.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            held[-1].bind(name)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                # The plant is more important than this precaution.
                return held
            release(held)
            what = f"{device} (unit {unit} at {where})"
            raise AlreadyRunning(f"{what} is driven by another controller of this machine") from error
    return held


def release(held: list[socket.socket]) -> None:
    """Let somebody else drive them."""
    for each in held:
        each.close()


def _written(plan: PollingPlan, folder: Path) -> dict[tuple[str, int], str]:
    """Addresses of units that are written, and their devices; those that switch contactors and power first."""
    found: dict[tuple[str, int], str] = {}
    # One that configures itself has nothing to write until it was read.
    written = {block.device for block in plan.writes} | {d.index for d in plan.devices if d.models}
    for device in sorted((plan.devices[i] for i in written), key=lambda d: (d.level == "module", d.index)):
        found.setdefault((_where(plan.buses[device.bus], folder), device.unit), device.name)
    return dict(list(found.items())[:MOST])


def _where(bus: BusPlan, folder: Path) -> str:
    if bus.kind == "rtu":
        return os.path.realpath(folder / bus.device)
    return f"{bus.host}:{bus.port}"
