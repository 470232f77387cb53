"""A serial line as a pseudo terminal: the simulator holds the master, a symlink names the slave."""

from __future__ import annotations

import asyncio
import errno
import os
import tty
from pathlib import Path
from typing import Final

from plc_config.plan import BusPlan
from tools.simulator.bus import GARBAGE, Bus, Reply
from tools.simulator.rtu import RtuReceiver, reply_frame

READ_BYTES: Final = 4096
PTY_FOLDER: Final = "/dev/pts/"
IDLE_S: Final = 0.02
"""A frame that has not become complete after this silence is thrown away."""


class SerialLine:
    """One RTU bus on a pty. `paced` makes a reply arrive when a real line of that baud rate would have carried it."""

    def __init__(self, bus: Bus, plan: BusPlan, folder: Path, paced: bool) -> None:
        self.bus, self.plan, self.paced = bus, plan, paced
        self.path = Path(plan.device) if "/" in plan.device else folder / plan.device
        self.receiver = RtuReceiver()
        self.master = self.slave = -1
        self.idle: asyncio.TimerHandle | None = None
        self.turnaround_ms = 0

    async def start(self) -> None:
        """Open the pty and put its name where the site expects it."""
        if self.master >= 0:
            return
        self._make_room()
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.path.symlink_to(os.ttyname(self.slave))
        asyncio.get_running_loop().add_reader(self.master, self._readable)
        self.bus.stats.connections = self.bus.stats.accepted = 1

    def _make_room(self) -> None:
        """Only a symlink to a pseudo terminal may be replaced: anything else may be a real serial port."""
        left_over = self.path.is_symlink() and str(self.path.readlink()).startswith(PTY_FOLDER)
        if os.path.lexists(self.path) and not left_over:
            raise FileExistsError(errno.EEXIST, f"{self.path} exists and was not left by a simulator")
        self.path.unlink(missing_ok=True)

    async def stop(self) -> None:
        """Close the pty and take its name away."""
        if self.master < 0:
            return
        asyncio.get_running_loop().remove_reader(self.master)
        if self.idle is not None:
            self.idle.cancel()
        if self.path.is_symlink():
            self.path.unlink()
        os.close(self.slave)
        os.close(self.master)
        self.master = self.slave = -1

    def drop(self) -> None:
        """A serial line has no connection to drop."""

    def _readable(self) -> None:
        try:
            data = os.read(self.master, READ_BYTES)
        except BlockingIOError:
            return
        loop = asyncio.get_running_loop()
        if self.idle is not None:
            self.idle.cancel()
            self.idle = None
        for unit, pdu in self.receiver.feed(data):
            self._answer(unit, pdu)
        self.bus.stats.bad_frames = self.receiver.bad
        if self.receiver.buffer:
            self.idle = loop.call_later(IDLE_S, self.receiver.silence)

    def _answer(self, unit: int, pdu: bytes) -> None:
        if self.bus.faults:
            reply = self.bus.answer_faulty(unit, pdu)
        else:
            answered = self.bus.answer(unit, pdu)
            reply = Reply(unit, answered or b"", copies=0 if answered is None else 1)
        if reply.copies == 0 or reply.close:
            return
        frame = GARBAGE if reply.garbage else reply_frame(reply.unit, reply.pdu, reply.corrupt)
        delay_ms = reply.delay_ms
        if self.paced:
            plan = self.plan
            characters = len(pdu) + 3 + len(frame)
            delay_ms += characters * plan.character_ms + max(plan.silence_ms, self.turnaround_ms)
        if delay_ms > 0:
            asyncio.get_running_loop().call_later(delay_ms / 1000, self._send, frame * reply.copies)
        else:
            self._send(frame * reply.copies)

    def _send(self, frame: bytes) -> None:
        if self.master < 0:
            return
        try:
            os.write(self.master, frame)
        except BlockingIOError:
            self.bus.stats.dropped += 1
