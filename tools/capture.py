"""A capture of raw frames, read back and decoded: what was asked, what was answered, after how long."""

from __future__ import annotations

import dataclasses
import datetime
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from controller.fieldbus.blame import exception_text
from controller.fieldbus.capture import VERSION
from controller.fieldbus.frames import crc

EXIT_BAD_FILE: Final = 78
SERIAL: Final = ("rtu", "rtu_over_tcp")
NAMES: Final = {
    1: "read coils", 2: "read inputs", 3: "read holding", 4: "read input", 5: "write coil", 6: "write register",
    15: "write coils", 16: "write registers", 22: "mask register", 23: "read/write registers",
}  # fmt: skip
MBAP: Final = 7
LEAST_SERIAL: Final = 4
SHOWN_VALUES: Final = 12


class BadCapture(ValueError):
    """The file is no capture, or of another version."""


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """One line: bytes that passed, or a note."""

    t: float
    bus: str
    direction: str
    data: bytes = b""
    text: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """A piece with its meaning; `took_ms` from the request to this reply, below zero where it answers nothing."""

    piece: Piece
    meaning: str
    took_ms: float = -1.0


def is_capture(path: Path) -> bool:
    """Whether a file begins as a capture does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(14) == b'{"cellwarden":'


def read(path: Path) -> Iterator[tuple[dict[str, str], Piece]]:
    """Every piece, oldest first, with the kinds of the buses; a cut-off last line is left out. BadCapture."""
    kinds: dict[str, str] = {}
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.endswith(b"\n"):
                return
            try:
                line: dict[str, Any] = json.loads(raw)
                if "cellwarden" in line:
                    if line["version"] != VERSION:
                        raise BadCapture(f"{path}: version {line['version']}, this is version {VERSION}")
                    kinds = line["buses"]
                    continue
                data, text = bytes.fromhex(line.get("hex", "")), str(line.get("text", ""))
                piece = Piece(float(line["t"]), str(line["bus"]), str(line["dir"]), data, text)
            except (ValueError, KeyError, TypeError) as error:
                if isinstance(error, BadCapture):
                    raise
                raise BadCapture(f"{path}:{number}: no line of a capture: {error}") from error
            yield kinds, piece


def decode(path: Path, only: str | None = None) -> Iterator[Decoded]:
    """Every piece of a capture with its meaning. Replies are compared with the latest request of their bus."""
    asked: dict[str, Piece] = {}
    for kinds, piece in read(path):
        if only is not None and piece.bus not in (only, ""):
            continue
        if piece.direction == "note":
            yield Decoded(piece, piece.text)
            continue
        serial = kinds.get(piece.bus) in SERIAL
        if piece.direction == "tx":
            asked[piece.bus] = piece
            yield Decoded(piece, _request(piece.data, serial))
            continue
        request = asked.get(piece.bus)
        took_ms = 1000 * (piece.t - request.t) if request is not None else -1.0
        yield Decoded(piece, _reply(piece.data, serial, request.data if request else b""), took_ms)


def _parts(frame: bytes, serial: bool) -> tuple[int, bytes, str]:
    """(unit, PDU, complaint); without a PDU where the bytes are no whole frame."""
    if serial:
        if len(frame) < LEAST_SERIAL:
            return 0, b"", "a piece of a frame"
        return frame[0], frame[1:-2], "" if not crc(frame) else "CRC error, or a piece of a frame"
    if len(frame) <= MBAP or frame[2:4] != b"\0\0":
        return 0, b"", "not a Modbus TCP frame, or a piece of one"
    length = int.from_bytes(frame[4:6], "big")
    if length + 6 != len(frame):
        return frame[6], frame[MBAP : 6 + length], f"{len(frame)} bytes, the header says {length + 6}"
    return frame[6], frame[MBAP:], ""


def _request(frame: bytes, serial: bool) -> str:
    unit, pdu, complaint = _parts(frame, serial)
    if len(pdu) < 5:
        return complaint or "no request"
    function, address, value = pdu[0], int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
    name = NAMES.get(function, f"function {function}")
    if function in (5, 6):
        return f"unit {unit} {name} {address} = {value}"
    data = f" = {_values(pdu[6:], function)}" if function in (15, 16) else ""
    return f"unit {unit} {name} {address}..{address + value - 1}{data}"


def _reply(frame: bytes, serial: bool, request: bytes) -> str:
    unit, pdu, complaint = _parts(frame, serial)
    if not pdu:
        return complaint
    asked_unit, asked, _ = _parts(request, serial) if request else (0, b"", "")
    function, notes = pdu[0], [complaint] if complaint else []
    if request and unit != asked_unit:
        notes.append(f"unit {asked_unit} was asked")
    if not serial and request and frame[:2] != request[:2]:
        notes.append("another transaction id: late, or nobody's")
    if asked and function & 0x7F != asked[0]:
        notes.append(f"function {asked[0]} was asked")
    if function & 0x80:
        meaning = exception_text(pdu[1]) if len(pdu) > 1 else "exception without a code"
    elif function in (1, 2, 3, 4):
        meaning = _values(pdu[2:], function)
        if asked and asked[0] == function and len(pdu) - 2 != _bytes_of(asked):
            notes.append(f"{len(pdu) - 2} data bytes, {_bytes_of(asked)} were asked for")
    else:
        meaning = "written" if pdu[1:5] == asked[1:5] else f"echo {pdu[1:].hex(' ')}"
    return f"unit {unit} {meaning}" + "".join(f" [{n}]" for n in notes)


def _bytes_of(pdu: bytes) -> int:
    count = int.from_bytes(pdu[3:5], "big")
    return 2 * count if pdu[0] in (3, 4) else (count + 7) // 8


def _values(data: bytes, function: int) -> str:
    if function in (1, 2, 15):
        return "bits " + " ".join(f"{byte:08b}"[::-1] for byte in data)
    values = [str(int.from_bytes(data[i : i + 2], "big")) for i in range(0, len(data), 2)]
    more = f" ... ({len(values)} registers)" if len(values) > SHOWN_VALUES else ""
    return " ".join(values[:SHOWN_VALUES]) + more


def show(path: Path, only: str | None, as_json: bool) -> int:
    """Print a capture; 78 when it is none."""
    arrows = {"tx": ">", "rx": "<", "note": "-"}
    try:
        for item in decode(path, only):
            piece = item.piece
            if as_json:
                fields = {"t": piece.t, "bus": piece.bus, "dir": piece.direction, "hex": piece.data.hex()}
                print(json.dumps({**fields, "meaning": item.meaning, "took_ms": round(item.took_ms, 3)}))
                continue
            when = datetime.datetime.fromtimestamp(piece.t, datetime.UTC).strftime("%H:%M:%S.%f")
            took = f"  ({item.took_ms:.1f} ms)" if piece.direction == "rx" and item.took_ms >= 0 else ""
            print(f"{when} {piece.bus:<8} {arrows.get(piece.direction, '?')} {item.meaning}{took}")
    except BadCapture as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_FILE
    except BrokenPipeError:
        sys.stderr.close()
    return 0
