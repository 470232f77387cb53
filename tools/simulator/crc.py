"""The CRC of Modbus RTU, by table."""

from __future__ import annotations

from typing import Final

POLYNOMIAL: Final = 0xA001


def _entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
    return value


TABLE: Final = tuple(_entry(i) for i in range(256))


def crc16(data: bytes) -> int:
    """CRC of a frame without its CRC; it is sent low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc


def with_crc(data: bytes) -> bytes:
    """The frame with its CRC behind it."""
    return data + crc16(data).to_bytes(2, "little")
