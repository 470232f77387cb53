"""The peer of `cellwarden bench io --serial`: RTU slaves on a pty, each reply when a real line would have brought it.

`python -m tools.bench.line_server BAUD PARITY TURNAROUND_MS` prints the port's name and ends with its standard input.
One blocking process: it sleeps for the time of the characters, more exactly than an event loop could.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
import tty
from typing import Final

from controller.fieldbus.frames import crc
from plc_config.plan import BusPlan

REQUEST_BYTES: Final = 8
READ_BYTES: Final = 256


def serve(line: BusPlan, turnaround_ms: float) -> None:
    """Answer reads of registers until standard input is closed."""
    master, slave = os.openpty()
    tty.setraw(slave)
    print(os.ttyname(slave), flush=True)
    buffer = b""
    while True:
        ready, _, _ = select.select([master, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        heard_s = time.monotonic()
        buffer += os.read(master, READ_BYTES)
        while len(buffer) >= REQUEST_BYTES:
            request, buffer = buffer[:REQUEST_BYTES], buffer[REQUEST_BYTES:]
            if crc(request):
                continue
            count = int.from_bytes(request[4:6], "big")
            body = request[:2] + bytes([2 * count]) + b"\x82\x35" * count
            reply = body + crc(body).to_bytes(2, "little")
            characters = REQUEST_BYTES + len(reply)
            line_ms = characters * line.character_ms + max(line.silence_ms, turnaround_ms)
            time.sleep(max(heard_s + line_ms / 1000 - time.monotonic(), 0.0))
            os.write(master, reply)


if __name__ == "__main__":
    baud, parity, turnaround = sys.argv[1:4]
    with contextlib.suppress(KeyboardInterrupt):  # the terminal's Ctrl-C is for the benchmark, which says what it means
        serve(BusPlan(0, "LINE", "rtu", baud=int(baud), parity=parity), float(turnaround))
