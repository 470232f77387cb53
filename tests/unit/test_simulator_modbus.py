"""Simulated devices speak Modbus to the letter, refusals included."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plc_config.compile import compile_site
from tests.sites import free_site
from tools.simulator.crc import crc16, with_crc
from tools.simulator.modbus import Device
from tools.simulator.options import Options
from tools.simulator.rtu import RtuReceiver
from tools.simulator.simulator import Simulator


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    folder: Path = tmp_path_factory.mktemp("site")
    return Simulator(compile_site(str(free_site(folder))), Options(noise=0.0), folder / "run")


@pytest.fixture
def rack(simulator: Simulator) -> Device:
    return simulator.buses["GW01"].devices[100]


@pytest.fixture
def module(simulator: Simulator) -> Device:
    return simulator.buses["GW01"].devices[1]


@pytest.mark.parametrize(
    ("request_pdu", "code"),
    [
        ("07", 1),
        ("2b0e0100", 1),
        ("0400000000", 3),
        ("040000007e", 3),
        ("0400160001", 2),
        ("0400000017", 2),
        ("04ffff0001", 2),
        ("0300000001", 2),
        ("0400", 3),
        ("0500001234", 3),
        ("050063ff00", 2),
        ("0f00000011020000", 3),
        ("0f0000001103ffff01", 2),
        ("10000000010100", 3),
        ("1000000001020000", 2),
        ("0600000001", 2),
        ("0100000000", 3),
        ("01000007d1", 3),
    ],
)
def test_refusals(module: Device, request_pdu: str, code: int) -> None:
    request = bytes.fromhex(request_pdu)
    assert module.answer(request) == bytes((request[0] | 0x80, code))


def test_missing_unit_is_a_gateway_exception_on_tcp_and_silence_on_a_line(simulator: Simulator) -> None:
    request = bytes.fromhex("0400000001")
    assert simulator.buses["GW01"].answer(77, request) == bytes((0x84, 0x0B))
    assert simulator.buses["LINE1"].answer(77, request) is None


def test_coils_written_one_by_one_or_together(module: Device, simulator: Simulator) -> None:
    on = simulator.plant.cells.bleed_on
    assert module.answer(bytes.fromhex("050003ff00")) == bytes.fromhex("050003ff00")
    assert on[0, 0].nonzero()[0].tolist() == [3]
    assert module.answer(bytes.fromhex("0f00000010020180")) == bytes.fromhex("0f00000010")
    assert on[0, 0].nonzero()[0].tolist() == [0, 15]
    assert module.answer(bytes.fromhex("0100000010")) == bytes.fromhex("01020180")
    module.answer(bytes.fromhex("0f00000010020000"))
    assert not on.any()


def test_registers_single_multiple_masked_and_exchanged(simulator: Simulator) -> None:
    pcs = simulator.buses["PCS"].devices[1]
    plant = simulator.plant.pcs
    pcs.answer(struct.pack(">BHHBi", 16, 0, 2, 4, -12345))
    assert plant.setpoint_w[0] == -12345
    pcs.answer(struct.pack(">BHH", 6, 1, 7))
    assert plant.setpoint_w[0] == -12345 & ~0xFFFF | 7
    pcs.answer(struct.pack(">BHHBi", 16, 0, 2, 4, 0x00010F0F))
    assert pcs.answer(struct.pack(">BHHH", 22, 1, 0x00FF, 0x3000)) == struct.pack(">BHHH", 22, 1, 0x00FF, 0x3000)
    assert plant.setpoint_w[0] == 0x0001300F
    reply = pcs.answer(struct.pack(">BHHHHBi", 23, 0, 4, 2, 2, 4, 4321))
    assert reply == struct.pack(">BBii", 23, 8, 0x0001300F, 4321)
    assert plant.setpoint_var[0] == 4321
    pcs.answer(struct.pack(">BHHBii", 16, 0, 4, 8, 0, 0))


def test_command_is_read_back_at_once(rack: Device) -> None:
    rack.answer(bytes.fromhex("050001ff00"))
    status = struct.unpack_from(">H", rack.answer(struct.pack(">BHH", 4, 5, 1)), 2)[0]
    assert status & 0b1000
    rack.answer(bytes.fromhex("0500010000"))


@given(st.binary(min_size=0, max_size=260))
@settings(max_examples=300, deadline=None)
def test_no_request_breaks_a_device(simulator: Simulator, request: bytes) -> None:
    for device in simulator.buses["GW01"].devices.values():
        reply = device.answer(request)
        assert 2 <= len(reply) <= 253
    simulator.plant.cells.bleed_on[:] = False


def test_crc_of_the_specification() -> None:
    assert crc16(bytes.fromhex("0207")) == 0x1241
    assert with_crc(bytes.fromhex("010300000001")).hex() == "010300000001840a"


@given(st.lists(st.integers(1, 64), max_size=8))
@settings(max_examples=100, deadline=None)
def test_frames_survive_any_cutting(cuts: list[int]) -> None:
    frames = [with_crc(bytes.fromhex(f)) for f in ("010400000001", "64050000ff00", "02100000000204aabbccdd")]
    stream, receiver, found = b"".join(frames), RtuReceiver(), []
    for cut in cuts:
        found += receiver.feed(stream[:cut])
        stream = stream[cut:]
    found += receiver.feed(stream)
    assert [bytes((u,)) + p for u, p in found] == [f[:-2] for f in frames]
    assert receiver.bad == 0


def test_damaged_frame_is_counted_and_the_next_one_heard() -> None:
    receiver = RtuReceiver()
    frame = with_crc(bytes.fromhex("010400000001"))
    assert receiver.feed(frame[:-1] + b"\x00") == [] and receiver.bad == 1
    assert receiver.feed(frame) == [(1, bytes.fromhex("0400000001"))]
    receiver.feed(frame[:5])
    receiver.silence()
    assert receiver.bad == 2 and receiver.feed(frame)
