"""The polling plan: which registers are read and written when, worked out once at load.

The checker needs it to refuse a cycle that the wire cannot keep; the I/O process executes it.
"""

from __future__ import annotations

import dataclasses
from typing import Final

CYCLE: Final = 0
"""`every_ms` of a block that is read in every scan (class FAST)."""

NORMAL_MS: Final = 2000
"""Blocks at least as frequent as this are class NORMAL, the others SLOW."""

TCP_MERGE_REGISTERS: Final = 30
"""On TCP an unused gap of this many registers costs less than another request (facts/modbus.md section 6)."""

TCP_TRANSACTION_MS: Final = 1.0
"""Planning figure for one direct TCP read."""


@dataclasses.dataclass(frozen=True, slots=True)
class BusPlan:
    """One link: `kind` is tcp, tls, udp, rtu_over_tcp or rtu. Serial fields are meaningful for the RTU kinds."""

    index: int
    name: str
    kind: str
    host: str = ""
    port: int = 0
    device: str = ""
    baud: int = 0
    parity: str = "none"
    stop_bits: int = 1
    timeout_ms: int = 50
    window: int = 1
    latency_ms: int = 0
    echo: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""
    server_name: str = ""

    @property
    def serial(self) -> bool:
        """True where frames are RTU frames paced by a baud rate."""
        return self.kind in ("rtu", "rtu_over_tcp")

    @property
    def character_ms(self) -> float:
        """Time of one character on the line (start, 8 data, parity, stop bits)."""
        bits = 9 + (self.parity != "none") + self.stop_bits
        return 1000.0 * bits / self.baud if self.baud else 0.0

    @property
    def silence_ms(self) -> float:
        """t3.5: the least silence between frames; fixed 1.75 ms above 19200 baud (Modbus over serial line 2.5.1.1)."""
        return 3.5 * self.character_ms if 0 < self.baud <= 19200 else 1.75


@dataclasses.dataclass(frozen=True, slots=True)
class PointType:
    """How raw registers become a value: (raw + raw_offset) * scale, then the sign.

    `scale_from`, `count_from`: registers from the first element to a run-time scale factor (a power of ten) and to
    the register that says how many elements there are. `equals`: 1 where the masked raw value is one of these.
    `power`: the register is itself a scale factor, and the value ten to its power.
    """

    type: str = "u16"
    scale: float = 1.0
    raw_offset: float = 0.0
    sentinel: tuple[int, ...] = ()
    negate: bool = False
    bit: int = -1
    active_low: bool = False
    little_words: bool = False
    registers_each: int = 1
    mask: int = 0
    equals: tuple[int, ...] = ()
    scale_from: int | None = None
    count_from: int | None = None
    power: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class PointRef:
    """Part of a block: `count` elements starting `offset` registers (or bits) into it, for one point of the image.

    `place` is the index prefix in the point's array: () site, (rack,), (pcs,) or (rack, module); the elements
    of a row (cells, sensors) fill the last dimension from 0. A single element of a row that lies in several pieces
    has the whole index as its place.
    """

    point: str
    offset: int
    count: int
    type: PointType
    place: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ReadBlock:
    """One read request. `group` is the same for equal blocks of equal devices, which are decoded together.

    `divisors`: registers that hold what this device's outputs are divided by; such a block has no `points`.
    """

    bus: int
    device: int
    unit: int
    reply_unit: int
    function: int
    address: int
    count: int
    every_ms: int
    group: int
    points: tuple[PointRef, ...]
    cost_ms: float
    divisors: tuple[PointRef, ...] = ()

    @property
    def reply_bytes(self) -> int:
        """Data bytes in a correct reply."""
        return (self.count + 7) // 8 if self.function in (1, 2) else 2 * self.count


@dataclasses.dataclass(frozen=True, slots=True)
class WriteBlock:
    """One output of one device: element(s) of the output image and where they are written.

    `refresh_ms`: -1 only on change, 0 every scan, else at least this often. `zero_on_silence`: write zero
    when the scan falls silent. `modulo`: the value counts modulo this; modulo 1 is a constant (minus `raw_offset`),
    which is written like a heartbeat: only while the scan lives. `divisors`: names of what the device itself says the
    value is divided by before it is scaled; until all are known nothing is written.
    """

    bus: int
    device: int
    unit: int
    reply_unit: int
    function: int
    address: int
    count: int
    output: str
    place: tuple[int, ...]
    type: PointType
    modulo: int
    refresh_ms: int
    zero_on_silence: bool
    confirm: str
    cost_ms: float
    divisors: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class DevicePlan:
    """One device on one bus: its name for people (`R01/M03 module`), unit id and least gap between requests."""

    index: int
    name: str
    profile: str
    level: str
    bus: int
    unit: int
    place: tuple[int, ...]
    gap_ms: int
    turnaround_ms: int
    models: tuple[int, ...] = ()
    """SunSpec models that its profile looks for; where they lie is read from the device at start."""

    guard: tuple[int, int] = (0, 0)
    """Id and length of the last of those models as they were read at start: the block without points must show them."""

    misfit: str = ""
    """Why no profile fits the models that the device was found to have."""


@dataclasses.dataclass(frozen=True, slots=True)
class PollingPlan:
    """Everything the I/O process does; `extras` are vendor registers that drive nothing and only the tools read."""

    cycle_ms: int
    buses: tuple[BusPlan, ...]
    devices: tuple[DevicePlan, ...]
    reads: tuple[ReadBlock, ...]
    writes: tuple[WriteBlock, ...]
    extras: tuple[ReadBlock, ...] = ()

    def of_bus(self, bus: int) -> tuple[tuple[ReadBlock, ...], tuple[WriteBlock, ...]]:
        """The reads and writes of one bus, in the order of the file."""
        return tuple(r for r in self.reads if r.bus == bus), tuple(w for w in self.writes if w.bus == bus)

    def load_ms(self, bus: int) -> float:
        """Wire time per cycle of everything that happens every cycle on a bus."""
        reads, writes = self.of_bus(bus)
        return sum(r.cost_ms for r in reads if r.every_ms == CYCLE) + sum(
            w.cost_ms for w in writes if w.refresh_ms == CYCLE
        )


def transaction_ms(bus: BusPlan, request_bytes: int, reply_bytes: int, turnaround_ms: int) -> float:
    """Wire time of one transaction (facts/modbus.md section 3).

    RTU: request characters + max(t3.5, turnaround) + reply characters + t3.5; frames include unit, code and CRC.
    """
    if not bus.serial:
        return TCP_TRANSACTION_MS
    characters = request_bytes + reply_bytes
    return characters * bus.character_ms + max(bus.silence_ms, turnaround_ms) + bus.silence_ms + bus.latency_ms


def merge_limit(bus: BusPlan, turnaround_ms: int) -> int:
    """Largest gap in registers that is cheaper to read through than to skip with a second request."""
    if not bus.serial:
        return TCP_MERGE_REGISTERS
    overhead = transaction_ms(bus, 8, 5, turnaround_ms)
    return int(overhead / (2 * bus.character_ms))
