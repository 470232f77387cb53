"""RTU frames, without a line: bytes in, request frames out."""

from __future__ import annotations

from typing import Final

from tools.simulator.crc import crc16, with_crc

FIXED_LENGTH: Final = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 22: 10}
COUNT_AT: Final = {15: 6, 16: 6, 23: 10}
"""Position of the byte count in requests of variable length; three bytes (count and CRC) frame the data."""

MAX_FRAME: Final = 256
LEAST_FRAME: Final = 4


class RtuReceiver:
    """Cuts a byte stream into request frames. What cannot be one is thrown away and counted in `bad`."""

    def __init__(self) -> None:
        self.buffer = b""
        self.bad = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The complete (unit, PDU) requests in what has come so far."""
        self.buffer += data
        frames: list[tuple[int, bytes]] = []
        while len(self.buffer) >= LEAST_FRAME:
            length = self._length()
            if length is None or len(self.buffer) < length:
                break
            frame = self.buffer[:length]
            if crc16(frame[:-2]) != int.from_bytes(frame[-2:], "little"):
                self.silence()
                break
            frames.append((frame[0], frame[1:-2]))
            self.buffer = self.buffer[length:]
        if len(self.buffer) > MAX_FRAME:
            self.silence()
        return frames

    def silence(self) -> None:
        """The line was silent: what has not become a frame never will."""
        if self.buffer:
            self.bad += 1
            self.buffer = b""

    def _length(self) -> int | None:
        function = self.buffer[1]
        fixed = FIXED_LENGTH.get(function)
        if fixed is not None:
            return fixed
        at = COUNT_AT.get(function)
        if at is None:
            whole = self.buffer
            return len(whole) if crc16(whole[:-2]) == int.from_bytes(whole[-2:], "little") else None
        return at + self.buffer[at] + 3 if len(self.buffer) > at else None


def reply_frame(unit: int, pdu: bytes, corrupt: bool = False) -> bytes:
    """A reply frame; with `corrupt` its CRC is wrong."""
    frame = with_crc(bytes((unit,)) + pdu)
    return frame[:-1] + bytes((frame[-1] ^ 0x5A,)) if corrupt else frame
