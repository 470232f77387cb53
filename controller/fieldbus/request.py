"""One request on the wire and what a correct reply to it looks like; built at load, reused for ever."""

from __future__ import annotations

import struct
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from controller.fieldbus.frames import CRC_BYTES, MBAP_BYTES, read_frame, write_frame, write_head
from plc_config.plan import BusPlan, ReadBlock, WriteBlock

if TYPE_CHECKING:
    from controller.fieldbus.field import Row
    from controller.fieldbus.outputs import Output
    from controller.fieldbus.unit import Unit

EXCEPTION_FLAG: Final = 0x80
ECHO_BYTES: Final = 4
MASK, READ_WRITE = 22, 23
MASK_ECHO_BYTES: Final = 6
RTU_OVERHEAD_BYTES: Final = 1 + CRC_BYTES
RTU_EXCEPTION_BYTES: Final = 5
RTU_REQUEST_BYTES: Final = 8
MS_PER_S: Final = 1000.0
TCP_REPLY: Final = struct.Struct(">HHBB")
"""A reply behind its transaction id: protocol, length, unit, function."""


class Failure(Enum):
    """Why a request brought nothing."""

    TIMEOUT = "no reply"
    BAD = "wrong reply"
    EXCEPTION = "refused"
    LOST = "link lost"


class Request:
    """A read or a write of one unit.

    `row` is where a read's data go; `output` is what a write writes. `size` is the PDU size of a correct reply and
    `head` its first data bytes: the byte count of a read, the echo of a write; on TCP the whole frame has `reply_bytes`
    and begins, behind its transaction id, with `reply_head`. A read that was refused `refused`
    times in a row is not asked again before `due_cycle`; a slow one is due at `due_ms`. `in_round`: the running round
    waits for it.
    """

    __slots__ = (
        "block",
        "due_cycle",
        "due_ms",
        "frame",
        "function",
        "head",
        "in_round",
        "output",
        "payload",
        "refused",
        "reply_bytes",
        "reply_head",
        "reply_unit",
        "row",
        "sent_s",
        "size",
        "timeout_s",
        "unit",
    )

    def __init__(self, unit: Unit, function: int, reply_unit: int, timeout_s: float) -> None:
        self.unit, self.function, self.reply_unit, self.timeout_s = unit, function, reply_unit, timeout_s
        self.frame = b""
        self.head = b""
        self.size = 0
        self.reply_head = b""
        self.reply_bytes = 0
        self.row: Row | None = None
        self.block: ReadBlock | None = None
        self.output: Output | None = None
        self.payload = b""
        self.in_round = False
        self.refused = 0
        self.due_cycle = 0
        self.due_ms = 0
        self.sent_s = 0.0

    def expect(self, head: bytes) -> None:
        """The data of the only reply that counts begin with `head`."""
        self.head = head
        self.reply_head = TCP_REPLY.pack(0, self.size + 1, self.reply_unit, self.function) + head
        self.reply_bytes = MBAP_BYTES + self.size


class Owner(Protocol):
    """Who owns a wire and is told what became of each request."""

    def good(self, request: Request, payload: bytes, now_s: float) -> None:
        """The correct reply; `payload` is a read's data."""

    def failed(self, request: Request, failure: Failure, code: int, now_s: float) -> None:
        """No correct reply, and none will be accepted any more; `code` is the exception code."""

    def held(self, request: Request, now_s: float) -> None:
        """A reply came but is not believed yet: `good` or `failed` follows, and nothing waits for it."""

    def stray(self, late: bool, unit: int) -> None:
        """A reply with this unit id that nobody waits for; `late` when it was asked for once."""

    def broken(self, reason: str, request: Request | None) -> None:
        """The byte stream makes no sense any more: the link must be closed. `request` is the one that brought it."""


def read_request(bus: BusPlan, block: ReadBlock, unit: Unit, row: Row) -> Request:
    """The request of a read block."""
    size = 2 + block.reply_bytes
    request = Request(unit, block.function, block.reply_unit, _timeout_s(bus, RTU_REQUEST_BYTES, size))
    request.frame = read_frame(bus.serial, block.unit, block.function, block.address, block.count)
    request.size = size
    request.expect(bytes([block.reply_bytes]))
    request.row, request.block = row, block
    return request


def write_request(bus: BusPlan, block: WriteBlock, unit: Unit, data_bytes: int) -> Request:
    """The request of a write block; its frame is filled in by `fill` before it is sent."""
    size = {MASK: 1 + MASK_ECHO_BYTES, READ_WRITE: 2 + data_bytes}.get(block.function, 1 + ECHO_BYTES)
    timeout_s = _timeout_s(bus, RTU_REQUEST_BYTES + data_bytes, size)
    request = Request(unit, block.function, block.reply_unit, timeout_s)
    request.size = size
    return request


def head_of(block: WriteBlock, data_bytes: int) -> bytes:
    """Unit id and PDU of a write block up to its data."""
    count = data_bytes // 2 if block.function in (16, READ_WRITE) else block.count
    return write_head(block.unit, block.function, block.address, count)


def fill(request: Request, serial: bool, head: bytes, data: bytes) -> None:
    """Make `request` write `data`, and its echo the only reply that counts; 23 answers with what it reads back."""
    request.payload = data
    request.frame = write_frame(serial, head, data)
    if request.function == READ_WRITE:
        request.expect(bytes([len(data)]))
    else:
        request.expect((head + data)[2 : 1 + request.size])


def _timeout_s(bus: BusPlan, request_bytes: int, reply_pdu_bytes: int) -> float:
    """The bus's time-out, plus on a serial line what the frames themselves take: a slow line is not a silent device."""
    wire_ms = (request_bytes + reply_pdu_bytes + RTU_OVERHEAD_BYTES) * bus.character_ms + bus.latency_ms
    return (bus.timeout_ms + (wire_ms if bus.serial else 0.0)) / MS_PER_S


TCP_HEAD_BYTES: Final = MBAP_BYTES + 1
"""MBAP header and function code."""
