"""The Modbus application layer of simulated devices: request in, reply out, no sockets."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from struct import Struct
from typing import Any, Final

import numpy as np

from tools.simulator.device import BIT_TABLES, COILS, HOLDING, DeviceGroup, OutputSlot, words_each
from tools.simulator.encode import value_of

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
GATEWAY_NO_RESPONSE: Final = 0x0B

MAX_READ_REGISTERS: Final = 125
MAX_READ_BITS: Final = 2000
MAX_WRITE_REGISTERS: Final = 123
MAX_WRITE_BITS: Final = 1968
MAX_EXCHANGE_WRITE: Final = 121

TWO: Final = Struct(">HH")
Written = Callable[["Device", OutputSlot, list[float]], None]


class ModbusError(Exception):
    """A request that the device refuses, with the exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Device:
    """One unit on one bus: a row of its group's tables."""

    def __init__(self, group: DeviceGroup, row: int, written: Written, refresh: Callable[[DeviceGroup], None]) -> None:
        self.group, self.row = group, row
        self.plan = group.devices[row]
        self.written, self.refresh = written, refresh
        self.step = group.step
        self.windows: dict[int, tuple[memoryview, int, int]] = {}
        for function, table in group.tables.items():
            each = 1 if function in BIT_TABLES else 2
            start = row * table.width * each
            self.windows[function] = (table.view[start : start + table.width * each], table.first, table.width)

    def answer(self, pdu: bytes) -> bytes:
        """The reply PDU; a refused request gives an exception reply."""
        function = pdu[0] if pdu else 0
        try:
            if function == 4 or function == 3:
                return self._read_registers(function, pdu)
            handler = _HANDLERS.get(function)
            if handler is None:
                raise ModbusError(ILLEGAL_FUNCTION)
            return handler(self, pdu)
        except ModbusError as refused:
            return bytes((function | 0x80, refused.code))

    # -- reading ---------------------------------------------------------------------------------------------

    def _at(self, function: int, address: int, count: int) -> int:
        """Index of an address in its table; the whole range must exist."""
        if self.step != 1:
            if address % self.step:
                raise ModbusError(ILLEGAL_ADDRESS)
            address //= self.step
        window = self.windows.get(function)
        if window is None:
            raise ModbusError(ILLEGAL_ADDRESS)
        index = address - window[1]
        if index < 0 or index + count > window[2]:
            raise ModbusError(ILLEGAL_ADDRESS)
        return index

    def _read_registers(self, function: int, pdu: bytes) -> bytes:
        if len(pdu) != 5:
            raise ModbusError(ILLEGAL_VALUE)
        address, count = TWO.unpack_from(pdu, 1)
        if not 1 <= count <= MAX_READ_REGISTERS:
            raise ModbusError(ILLEGAL_VALUE)
        index = self._at(function, address, count)
        if self.group.dirty:
            self.refresh(self.group)
        data = self.windows[function][0][2 * index : 2 * (index + count)]
        return b"".join((bytes((function, 2 * count)), data))

    def _read_bits(self, pdu: bytes) -> bytes:
        if len(pdu) != 5:
            raise ModbusError(ILLEGAL_VALUE)
        address, count = TWO.unpack_from(pdu, 1)
        if not 1 <= count <= MAX_READ_BITS:
            raise ModbusError(ILLEGAL_VALUE)
        index = self._at(pdu[0], address, count)
        if self.group.dirty:
            self.refresh(self.group)
        bits = np.frombuffer(self.windows[pdu[0]][0], np.uint8)[index : index + count]
        packed = np.packbits(bits, bitorder="little").tobytes()
        return bytes((pdu[0], len(packed))) + packed

    # -- writing ---------------------------------------------------------------------------------------------

    def _write_coil(self, pdu: bytes) -> bytes:
        if len(pdu) != 5:
            raise ModbusError(ILLEGAL_VALUE)
        address, value = TWO.unpack_from(pdu, 1)
        if value not in (0x0000, 0xFF00):
            raise ModbusError(ILLEGAL_VALUE)
        self._store(COILS, address, [1 if value else 0])
        return pdu

    def _write_coils(self, pdu: bytes) -> bytes:
        if len(pdu) < 6:
            raise ModbusError(ILLEGAL_VALUE)
        address, count = TWO.unpack_from(pdu, 1)
        data = pdu[6:]
        if not 1 <= count <= MAX_WRITE_BITS or pdu[5] != (count + 7) // 8 or len(data) != pdu[5]:
            raise ModbusError(ILLEGAL_VALUE)
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[:count]
        self._store(COILS, address, [int(b) for b in bits])
        return pdu[:5]

    def _write_register(self, pdu: bytes) -> bytes:
        if len(pdu) != 5:
            raise ModbusError(ILLEGAL_VALUE)
        address, value = TWO.unpack_from(pdu, 1)
        self._store(HOLDING, address, [value])
        return pdu

    def _write_registers(self, pdu: bytes) -> bytes:
        if len(pdu) < 6:
            raise ModbusError(ILLEGAL_VALUE)
        address, count = TWO.unpack_from(pdu, 1)
        data = pdu[6:]
        if not 1 <= count <= MAX_WRITE_REGISTERS or pdu[5] != 2 * count or len(data) != pdu[5]:
            raise ModbusError(ILLEGAL_VALUE)
        self._store(HOLDING, address, [int(w) for w in np.frombuffer(data, ">u2")])
        return pdu[:5]

    def _mask_write(self, pdu: bytes) -> bytes:
        if len(pdu) != 7:
            raise ModbusError(ILLEGAL_VALUE)
        address, keep = TWO.unpack_from(pdu, 1)
        put = int.from_bytes(pdu[5:7], "big")
        index = self._at(HOLDING, address, 1)
        now = int(self.group.tables[HOLDING].data[self.row, index])
        self._store(HOLDING, address, [(now & keep) | (put & ~keep & 0xFFFF)])
        return pdu

    def _exchange(self, pdu: bytes) -> bytes:
        if len(pdu) < 10:
            raise ModbusError(ILLEGAL_VALUE)
        count = TWO.unpack_from(pdu, 1)[1]
        address, written = TWO.unpack_from(pdu, 5)
        data = pdu[10:]
        if not 1 <= count <= MAX_READ_REGISTERS or not 1 <= written <= MAX_EXCHANGE_WRITE:
            raise ModbusError(ILLEGAL_VALUE)
        if pdu[9] != 2 * written or len(data) != pdu[9]:
            raise ModbusError(ILLEGAL_VALUE)
        self._at(HOLDING, TWO.unpack_from(pdu, 1)[0], count)
        self._store(HOLDING, address, [int(w) for w in np.frombuffer(data, ">u2")])
        reply = self._read_registers(HOLDING, b"\x03" + pdu[1:5])
        return b"\x17" + reply[1:]

    def _store(self, function: int, address: int, values: list[int]) -> None:
        """Write into a table; every register must belong to an output, and every touched output is told."""
        index = self._at(function, address, len(values))
        end = index + len(values)
        touched = [
            s for s in self.group.outputs if s.function == function and s.column < end and index < s.column + s.width
        ]
        covered = sum(min(end, s.column + s.width) - max(index, s.column) for s in touched)
        if covered < len(values):
            raise ModbusError(ILLEGAL_ADDRESS)
        data: Any = self.group.tables[function].data
        data[self.row, index:end] = values
        for slot in touched:
            if not slot.constant:
                self.written(self._acting_at(slot.places[self.row]), slot, self._decode(slot, data[self.row]))

    def _acting_at(self, place: tuple[int, ...]) -> Device:
        """This device as the one of a place that it serves besides its first."""
        if place in (self.plan.place, ()):
            return self
        twin = copy.copy(self)
        level = "rack" if self.plan.level == "module" and len(place) == 1 else self.plan.level
        twin.plan = dataclasses.replace(self.plan, place=place, level=level)
        return twin

    def _decode(self, slot: OutputSlot, row: Any) -> list[float]:
        words = [int(w) for w in row[slot.column : slot.column + slot.width]]
        if slot.function in BIT_TABLES or slot.block.type.type == "bit":
            return [float(w != 0) for w in words]
        each = words_each(slot.block.type)
        divisor = self.group.divisor(slot.block, self.row)
        return [
            divisor * value_of(words[i : i + each], slot.block.type, slot.block.modulo)
            for i in range(0, len(words), each)
        ]


_HANDLERS: Final[dict[int, Callable[[Device, bytes], bytes]]] = {
    1: Device._read_bits,
    2: Device._read_bits,
    5: Device._write_coil,
    6: Device._write_register,
    15: Device._write_coils,
    16: Device._write_registers,
    22: Device._mask_write,
    23: Device._exchange,
}
