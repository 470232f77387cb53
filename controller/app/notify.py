"""The watchdog outside: systemd's, over its notification socket. Kicked only while scan and I/O show fresh tokens."""

from __future__ import annotations

import os
import socket
import time
from typing import Final

KICK_EVERY_S: Final = 0.5


class Watchdog:
    """Kicks systemd's watchdog when there is one; counts the kicks either way."""

    def __init__(self) -> None:
        self.address = os.environ.get("NOTIFY_SOCKET", "")
        self.kicks = 0
        self.last_s = 0.0
        self.ready_told = False

    def kick(self, fresh: bool) -> None:
        """Kick at most every half second, and only when the tokens are fresh."""
        now = time.monotonic()
        if not fresh or now - self.last_s < KICK_EVERY_S:
            return
        self.last_s = now
        self.kicks += 1
        if self.address:
            self._send("WATCHDOG=1" if self.ready_told else "READY=1\nWATCHDOG=1")
            self.ready_told = True

    def _send(self, text: str) -> None:
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            try:
                s.sendto(text.encode(), address)
            except OSError:
                return
