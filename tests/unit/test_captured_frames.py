"""Frames of real devices, as their owners published them, through the product's own frame checks and profiles.

Each is named with where it was published. What they show is taken from the frame's own plausibility (cells that add up
to the pack) or from what its owner said of it. No frame was found for EG4-LL, PowerCube M2, Soltaro C and KACO, nor a
reply with data of a JK PB.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest

from controller.fieldbus.frames import crc, write_frame, write_head
from controller.fieldbus.request import Failure, Request, fill, read_request, write_request
from controller.fieldbus.unit import Unit
from controller.fieldbus.wires import wire_for
from plc_config.plan import CYCLE, BusPlan, PointType, ReadBlock, WriteBlock
from plc_config.sunspec import MARKER
from tests.profile_rig import Bench, Case

LINE = BusPlan(0, "LINE", "rtu", baud=9600, timeout_ms=500)
SOCKET = BusPlan(0, "NET", "tcp", "127.0.0.1", 502)


class Heard:
    """Owns a wire: what it made of the bytes."""

    def __init__(self) -> None:
        self.payload: bytes | None = None
        self.wrong: list[str] = []

    def good(self, request: Request, payload: bytes, now_s: float) -> None:
        self.payload = payload

    def failed(self, request: Request, failure: Failure, code: int, now_s: float) -> None:
        self.wrong.append(failure.value)

    def held(self, request: Request, now_s: float) -> None:
        self.wrong.append("held")

    def stray(self, late: bool, unit: int) -> None:
        self.wrong.append("stray")

    def broken(self, reason: str, request: Request | None) -> None:
        self.wrong.append(reason)


def exchange(bus: BusPlan, request: Request, sent: str, reply: str) -> Heard:
    """The captured reply to our own request, which must be the captured one."""
    heard, frames = Heard(), list[bytes]()
    wire = wire_for(bus, heard)
    wire.write = frames.append
    wire.send(request, 0.0)
    ours, theirs = frames[0], bytes.fromhex(sent)
    if theirs:
        assert ours[0 if bus.serial else 2 :] == theirs[0 if bus.serial else 2 :], "we ask as the owner's program asked"
    answer = bytes.fromhex(reply)
    wire.feed(answer if bus.serial else ours[:2] + answer[2:])
    return heard


@dataclasses.dataclass(frozen=True)
class Read:
    """A captured read: unit and its reply's unit, what was asked, the request where it is known, the reply."""

    unit: int
    reply_unit: int
    function: int
    address: int
    count: int
    sent: str
    reply: str

    def registers(self, bus: BusPlan = LINE) -> dict[tuple[int, int], int]:
        """What came, as (function, address) -> word."""
        block = ReadBlock(0, 0, self.unit, self.reply_unit, self.function, self.address, self.count, CYCLE, 0, (), 0.0)
        request = read_request(bus, block, Unit("", self.unit, 0.0), cast(Any, None))
        heard = exchange(bus, request, self.sent, self.reply)
        assert heard.wrong == [] and heard.payload is not None
        words = [int.from_bytes(heard.payload[i : i + 2], "big") for i in range(0, len(heard.payload), 2)]
        return {(self.function, self.address + i): word for i, word in enumerate(words)}


SEPLOS = [
    # 16 cells, discharging; github.com/patman15/aiobmsble tests/bms/test_seplos_bms.py, PIA1 and PIB1
    Read(1, 1, 4, 0x1000, 17, "",
         "01 04 22 14 72 fd 30 34 64 6d 60 00 d5 01 df 03 e7 00 09 0c c7 0b 9f 0c c8 0c c6 0b a5 0b 99 00 00"
         "00 b4 00 b4 6f f3"),
    Read(1, 1, 4, 0x1100, 26, "",
         "01 04 34 0c c8 0c c8 0c c8 0c c7 0c c7 0c c7 0c c7 0c c6 0c c6 0c c7 0c c7 0c c7 0c c7 0c c8 0c c8 0c c8"
         "0b a5 0b 99 0b 9a 0b a4 0a ab 0a ab 0a ab 0a ab 0b c4 0b b5 97 1f"),
]  # fmt: skip
DALY = [
    # A 4s pack of the H/K/M/S dialect, discharging; github.com/patman15/BMS_BLE-HA issue 806
    Read(0x81, 0x51, 3, 0, 64, "",
         "51 03 80 0c b8 0c 79 0c 89 0c be" + "00 00" * 44 + "00 ff" * 8
         + "00 81 75 0b 00 59 00 76 00 04 00 02 0c be 00 04 65 88"),
]  # fmt: skip
RENOGY = [
    # RBT100LFP12-BT; github.com/patman15/aiobmsble tests/bms/test_renogy_bms.py
    Read(0x30, 0x30, 3, 5000, 34, "30 03 13 88 00 22 45 5c",
         "30 03 44 00 04 00 23 00 21 00 21 00 21" + "00 00" * 12 + "00 02 00 aa 00 aa" + "00 00" * 14 + "25 74"),
    Read(0x30, 0x30, 3, 5042, 7, "30 03 13 b2 00 07 a4 8a",
         "30 03 0e ff aa 00 88 00 01 7b b0 00 01 86 a0 00 0f e0 1e"),
]  # fmt: skip
SMA = [
    # Active power of an SMA converter; github.com/home-assistant/core issue 116683
    Read(3, 3, 3, 30775, 2, "00 01 00 00 00 06 03 03 78 37 00 02", "00 01 00 00 00 07 03 03 04 00 00 01 96"),
]  # fmt: skip


def memory(reads: list[Read], bus: BusPlan = LINE) -> dict[tuple[int, int], int]:
    return {at: word for read in reads for at, word in read.registers(bus).items()}


def test_seplos_v3(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Case("seplos-v3"))
    found = bench.decode(memory(SEPLOS))
    cells = found["cell_voltage_v"]
    assert cells == pytest.approx([3.272] * 3 + [3.271] * 4 + [3.270] * 2 + [3.271] * 4 + [3.272] * 3)
    assert found["rack_voltage_v"] == [pytest.approx(52.34)]
    assert sum(cells) == pytest.approx(found["rack_voltage_v"][0], abs=0.02), "the cells add up to the pack"
    assert found["cell_temperature_degc"] == pytest.approx([24.95, 23.75, 23.85, 24.85])
    assert found["rack_current_a"] == [pytest.approx(7.2)], "their -7.2 A discharges: positive here"
    assert found["rack_soc_reported_ratio"] == [pytest.approx(0.479)]
    assert found["rack_discharge_limit_reported_a"] == found["rack_charge_limit_reported_a"] == [180]


def test_daly_that_answers_under_another_unit(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Case("daly-hkms", unit=0x81, cells=4, temperatures=2))
    found = bench.decode(memory(DALY))
    assert found["cell_voltage_v"] == pytest.approx([3.256, 3.193, 3.209, 3.262])
    assert found["cell_temperature_degc"] == [None, None], "255 is an absent sensor"
    assert found["rack_voltage_v"] == [pytest.approx(12.9)]
    assert sum(found["cell_voltage_v"]) == pytest.approx(found["rack_voltage_v"][0], abs=0.05)
    assert found["rack_current_a"] == [pytest.approx(-3.7)], "its direction is marked as not to be trusted"
    assert found["rack_soc_reported_ratio"] == [pytest.approx(0.089)]


def test_renogy(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Case("renogy-lfp", unit=0x30, cells=4, temperatures=2))
    registers = memory(RENOGY)
    found, extras = bench.decode(registers), bench.decode(registers, extras=True)
    assert found["cell_voltage_v"] == pytest.approx([3.5, 3.3, 3.3, 3.3])
    assert found["cell_temperature_degc"] == pytest.approx([17.0, 17.0])
    assert found["rack_voltage_v"] == [pytest.approx(13.6)]
    assert found["rack_current_a"] == [pytest.approx(0.86)], "their -0.86 A discharges: positive here"
    assert extras["cell_count"] == [4]
    assert extras["remaining"] == [pytest.approx(97.2)] and extras["full_capacity"] == [pytest.approx(100.0)]


def test_sma(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Case("sma-sunny-island", place="P01", unit=3))
    assert bench.decode(memory(SMA, SOCKET))["pcs_active_power_w"] == [406]


def test_the_marker_of_a_sunspec_map() -> None:
    """On a serial line; github.com, a SunSpec simulator's read-me with its traffic on the wire."""
    read = Read(1, 1, 3, 40000, 2, "01 03 9c 40 00 02 eb 8f", "01 03 04 53 75 6e 53 96 f0")
    assert b"".join(w.to_bytes(2, "big") for w in read.registers().values()) == MARKER


@pytest.mark.parametrize(
    ("bus", "unit", "address", "data", "sent", "reply"),
    [
        # JK PB: the write after which a pack streams; github.com/txubelaxu, jblance/mpp-solar issue 460
        (LINE, 1, 0x1620, "0000", "01 10 16 20 00 01 02 00 00 d6 f1", "01 10 16 20 00 01 04 4b"),
        # SMA Sunny Island, StorCtl_Mod; github.com/sunspec/pysunspec issue 27
        (SOCKET, 126, 40374, "0001", "00 01 00 00 00 09 7e 10 9d b6 00 01 02 00 01",
         "00 01 00 00 00 06 7e 10 9d b6 00 01"),
    ],
    ids=["jk-pb", "sma-sunny-island"],
)  # fmt: skip
def test_a_write_and_its_echo(bus: BusPlan, unit: int, address: int, data: str, sent: str, reply: str) -> None:
    block = WriteBlock(0, 0, unit, unit, 16, address, 1, "x", (), PointType("u16"), 0, -1, False, "", 0.0)
    request = write_request(bus, block, Unit("", unit, 0.0), 2)
    fill(request, bus.serial, write_head(unit, 16, address, 1), bytes.fromhex(data))
    heard = exchange(bus, request, sent, reply)
    assert heard.wrong == [] and heard.payload is not None


@pytest.mark.parametrize("reads", [SEPLOS, DALY, RENOGY], ids=["seplos-v3", "daly-hkms", "renogy-lfp"])
def test_a_captured_reply_with_one_bit_turned_is_never_believed(reads: list[Read]) -> None:
    read = reads[0]
    frame = bytes.fromhex(read.reply)
    assert crc(frame) == 0
    assert write_frame(True, frame[:2], frame[2:-2]) == frame, "our own sum of the same bytes"
    for bit in range(8 * len(frame)):
        turned = bytearray(frame)
        turned[bit // 8] ^= 1 << bit % 8
        block = ReadBlock(0, 0, read.unit, read.reply_unit, read.function, read.address, read.count, CYCLE, 0, (), 0.0)
        request = read_request(LINE, block, Unit("", read.unit, 0.0), cast(Any, None))
        assert exchange(LINE, request, read.sent, turned.hex()).payload is None
