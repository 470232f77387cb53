"""Reads a SunSpec device's chain of models, one small request after the other, in the slack of the bus's rounds.

What is guaranteed: nothing else is asked of the device until its chain is complete; a silent device is probed as any
other silent unit is, and costs no more; a chain that makes no sense is begun anew and never used.
"""

from __future__ import annotations

from typing import Any, Final, cast

from controller.fieldbus.field import Row
from controller.fieldbus.frames import read_frame
from controller.fieldbus.request import Request, read_request
from controller.fieldbus.unit import Unit
from plc_config.plan import BusPlan, ReadBlock
from plc_config.sunspec import END, MARKER, MARKER_AT, MAX_MODELS, Chain, Model

HOLDING: Final = 3
EVERY_MS: Final = 20
"""Least time from one request of a walk to the next."""

NEVER_CYCLE: Final = 2**62
LAST_HEAD: Final = 65_534
"""The last address at which the id and length of a model can lie."""


class Walk:
    """The walk of one unit; `chain` is set when it is complete, `trouble` says why the last one was given up."""

    def __init__(self) -> None:
        self.chain: Chain | None = None
        self.trouble = ""
        self._bus: BusPlan | None = None
        self._unit: Unit | None = None
        self._request: Request | None = None
        self._base = 0
        self._address = MARKER_AT[0]
        self._models: list[Model] | None = None

    def begin(self, bus: BusPlan, unit: Unit) -> None:
        """Give the unit the one request with which the walk is done, or nothing when the chain is known."""
        self._bus, self._unit = bus, unit
        if self.chain is None:
            self._request = read_request(bus, self._block(MARKER_AT[0]), unit, cast(Any, self))
            unit.slow.append(self._request)
            self._look(0)

    def _look(self, number: int) -> None:
        self._base, self._models = number % len(MARKER_AT), None
        self._ask(MARKER_AT[self._base])

    def _block(self, address: int) -> ReadBlock:
        bus, unit = (0, 0) if self._bus is None or self._unit is None else (self._bus.index, self._unit.unit)
        return ReadBlock(bus, 0, unit, unit, HOLDING, address, 2, EVERY_MS, 0, (), 0.0)

    def _ask(self, address: int) -> None:
        request, bus = self._request, self._bus
        if request is None or bus is None:
            return
        self._address = address
        request.block = self._block(address)
        request.frame = read_frame(bus.serial, request.block.unit, HOLDING, address, 2)
        request.refused = request.due_cycle = 0

    def _rest(self) -> None:
        """Ask no more."""
        if self._request is not None:
            self._request.due_cycle = NEVER_CYCLE

    # -- what the master tells a row -------------------------------------------------------------------------

    def store(self, payload: bytes, now_ms: int) -> None:
        """A good reply: the marker, or the id and length of a model."""
        if self.chain is not None:
            self._rest()
            return
        if self._models is None:
            if payload == MARKER:
                self._models = []
                self._ask(self._address + 2)
            else:
                self._look(self._base + 1)
            return
        number, length = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
        after = self._address + 2 + length
        if number == END:
            self._finish()
        elif number == 0 or length == 0 or after > LAST_HEAD or len(self._models) >= MAX_MODELS:
            self._again(f"model {number} of length {length} at {self._address} makes no sense")
        else:
            self._models.append(Model(number, self._address, length))
            self._ask(after)

    def lose(self) -> None:
        """The unit is silent, or refuses this address for good."""
        if self.chain is not None or self._unit is None or self._unit.failing:
            return
        if self._models is None:
            self._look(self._base + 1)
        else:
            self._again(f"the device refuses address {self._address}, where its next model should be")

    def _again(self, why: str) -> None:
        self.trouble = why
        self._look(0)

    def _finish(self) -> None:
        if not self._models:
            self._again("the chain ends before its first model")
            return
        self.chain = Chain(MARKER_AT[self._base], tuple(self._models))
        self.trouble = ""
        self._rest()


class Guard:
    """The head of a device's last model, read first in every round: once it differs, nothing is good or written."""

    def __init__(self, expected: tuple[int, int]) -> None:
        self.expected = b"".join(n.to_bytes(2, "big") for n in expected)
        self.moved = False
        self.seen = False
        self.slow: list[Request] = []
        """Reads behind this guard that come seldom: asked at once when it has been seen, their last reply was lost."""

    @property
    def stands(self) -> bool:
        """The map was seen where it was read, and nowhere else."""
        return self.seen and not self.moved

    def store(self, payload: bytes, now_ms: int) -> None:
        """A good reply: once moved, the map is not believed until it has been read anew."""
        if not self.seen:
            for request in self.slow:
                request.due_ms = 0
        self.seen = True
        self.moved = self.moved or payload != self.expected

    def lose(self) -> None:
        """Silent or refused: where the head was, there is none."""
        self.seen = False


class GuardedRow:
    """A row that takes replies only while its device's map stands where it was read."""

    def __init__(self, row: Row, guard: Guard) -> None:
        self.row, self.guard = row, guard

    def store(self, payload: bytes, now_ms: int) -> None:
        """A good reply."""
        if self.guard.stands:
            self.row.store(payload, now_ms)
        else:
            self.row.lose()

    def lose(self) -> None:
        """The device is silent or refuses."""
        self.row.lose()
