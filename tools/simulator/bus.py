"""One simulated bus: its devices, its statistics, and the faults of its wire."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

from tools.simulator.events import EventLog, now_ms
from tools.simulator.modbus import GATEWAY_NO_RESPONSE, Device

MAX_WIRE_FAULTS: Final = 200
EVERY_UNIT: Final = -1
DOWN: Final = ("refuse", "reboot")
REPLY_UNIT: Final = "reply_unit"
"""Not a fault but the nature of some devices: they answer under another unit id. It cannot be cleared."""

GARBAGE: Final = bytes(range(0x55, 0x75))


@dataclasses.dataclass(slots=True)
class WireFault:
    """A fault of a bus or of one unit until `until_ms` (monotonic), or for `left` requests."""

    kind: str
    unit: int
    amount: float = 0.0
    until_ms: float = math.inf
    left: float = math.inf

    def active(self, now: float) -> bool:
        """Whether it still acts."""
        return now < self.until_ms and self.left > 0


@dataclasses.dataclass(slots=True)
class Reply:
    """A reply on its way: what the wire does with it. `copies` 0 is silence."""

    unit: int
    pdu: bytes
    delay_ms: float = 0.0
    copies: int = 1
    close: bool = False
    garbage: bool = False
    corrupt: bool = False
    foreign: bool = False


@dataclasses.dataclass(slots=True)
class Stats:
    """Counters since start."""

    connections: int = 0
    accepted: int = 0
    requests: int = 0
    ok: int = 0
    exceptions: int = 0
    dropped: int = 0
    bad_frames: int = 0

    def as_dict(self) -> dict[str, int]:
        """For the control socket."""
        return dataclasses.asdict(self)


class Devices(dict[int, Device]):
    """The devices of a bus by unit id. One that answers under another id makes the bus take the slow path."""

    def __init__(self, faults: list[WireFault]) -> None:
        super().__init__()
        self.faults = faults

    def __setitem__(self, unit: int, device: Device) -> None:
        super().__setitem__(unit, device)
        if device.group.reply_offset:
            self.faults.append(WireFault(REPLY_UNIT, unit, device.group.reply_offset))


class TooManyWireFaults(ValueError):
    """The table of wire faults is full."""


class Bus:
    """The devices behind one link. `silent_unknown`: on a serial line nobody answers for a missing unit."""

    def __init__(self, name: str, kind: str, events: EventLog) -> None:
        self.name, self.kind, self.events = name, kind, events
        self.silent_unknown = kind in ("rtu", "rtu_over_tcp")
        self.stats = Stats()
        self.faults: list[WireFault] = []
        self.devices: dict[int, Device] = Devices(self.faults)

    # -- faults ----------------------------------------------------------------------------------------------

    def add_fault(self, fault: WireFault) -> None:
        """Put a fault on the wire; the same kind on the same unit replaces the earlier one."""
        if len(self.faults) >= MAX_WIRE_FAULTS:
            raise TooManyWireFaults(f"{MAX_WIRE_FAULTS} wire faults are active on {self.name}; clear some")
        self.faults = [f for f in self.faults if (f.kind, f.unit) != (fault.kind, fault.unit)]
        self.faults.append(fault)

    def clear_faults(self, unit: int = EVERY_UNIT) -> int:
        """Remove the faults of a unit, or all; how many were removed."""
        kept = [f for f in self.faults if unit not in (EVERY_UNIT, f.unit) or f.kind == REPLY_UNIT]
        removed = len(self.faults) - len(kept)
        self.faults = kept
        return removed

    def down(self) -> bool:
        """Whether the gateway refuses connections now."""
        now = now_ms()
        return any(f.kind in DOWN and f.active(now) for f in self.faults)

    def expire(self) -> None:
        """Forget the faults whose time is over, and say so."""
        now = now_ms()
        ended = [f for f in self.faults if not f.active(now)]
        if ended:
            self.faults = [f for f in self.faults if f.active(now)]
            for fault in ended:
                self.events.add("wire_fault_ended", self.target(fault.unit), kind=fault.kind)

    def target(self, unit: int) -> str:
        """The name of the bus, or of one unit on it."""
        return self.name if unit == EVERY_UNIT else f"{self.name}/{unit}"

    # -- answering -------------------------------------------------------------------------------------------

    def answer(self, unit: int, pdu: bytes) -> bytes | None:
        """The reply PDU of a healthy wire; None is silence."""
        stats = self.stats
        stats.requests += 1
        device = self.devices.get(unit)
        if device is None:
            return self._nobody(unit, pdu)
        reply = device.answer(pdu)
        if reply[0] & 0x80:
            stats.exceptions += 1
        else:
            stats.ok += 1
        return reply

    def _nobody(self, unit: int, pdu: bytes) -> bytes | None:
        if self.silent_unknown:
            if unit == 0:
                for device in self.devices.values():
                    device.answer(pdu)
            return None
        self.stats.exceptions += 1
        return bytes((pdu[0] | 0x80 if pdu else 0x80, GATEWAY_NO_RESPONSE))

    def answer_faulty(self, unit: int, pdu: bytes) -> Reply:
        """The reply and what the faulty wire does with it."""
        self.expire()
        now = now_ms()
        acting = [f for f in self.faults if f.unit in (EVERY_UNIT, unit) and f.active(now)]
        kinds: dict[str, Any] = {f.kind: f.amount for f in acting}
        for fault in acting:
            fault.left -= 1
        if "drop" in kinds or kinds.keys() & set(DOWN):
            self.stats.requests += 1
            self.stats.dropped += 1
            return Reply(unit, b"", copies=0)
        if "exception" in kinds and pdu:
            self.stats.requests += 1
            self.stats.exceptions += 1
            reply = Reply(unit, bytes((pdu[0] | 0x80, int(kinds["exception"]) & 0xFF)))
        else:
            answered = self.answer(unit, pdu)
            if answered is None:
                return Reply(unit, b"", copies=0)
            reply = Reply(unit, answered)
        return _spoil(reply, kinds)


def _spoil(reply: Reply, kinds: dict[str, Any]) -> Reply:
    pdu = reply.pdu
    reply.unit = (reply.unit + int(kinds.get(REPLY_UNIT, 0))) & 0xFF
    if "wrong_unit" in kinds:
        reply.unit = (reply.unit + 1) & 0xFF
    if "wrong_function" in kinds:
        pdu = bytes((pdu[0] ^ 0x07,)) + pdu[1:]
    if "short" in kinds and len(pdu) > 4 and pdu[1] >= 2:
        pdu = bytes((pdu[0], pdu[1] - 2)) + pdu[2:-2]
    reply.pdu = pdu
    reply.delay_ms = float(kinds.get("delay", 0.0))
    reply.copies = 2 if "duplicate" in kinds else 1
    reply.close = "close" in kinds
    reply.garbage = "garbage" in kinds
    reply.corrupt = "corrupt_crc" in kinds
    reply.foreign = "wrong_transaction" in kinds
    return reply
