"""One controller per site: file locks that end with their process."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 3.0
RETRY_S: Final = 0.05


class AlreadyRunning(Exception):
    """Another process holds the lock; the message says which."""


def take(path: Path, patience_s: float = 0.0) -> int:
    """The descriptor of the held lock; AlreadyRunning when another process keeps it beyond `patience_s`."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() >= end:
                holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
                os.close(fd)
                raise AlreadyRunning(f"{path.name} is held by process {holder or 'unknown'}") from error
            time.sleep(RETRY_S)
            continue
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return fd


def free(path: Path) -> None:
    """Returns once nobody holds the lock; AlreadyRunning after `PATIENCE_S`."""
    fd = take(path, PATIENCE_S)
    os.close(fd)
