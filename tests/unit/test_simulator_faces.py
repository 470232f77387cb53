"""Every register the plan reads shows the plant, decoded here by other means than it was encoded."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plc_config.compile import compile_site
from plc_config.plan import PointRef, PointType, ReadBlock
from tests.sites import free_site
from tools.simulator.encode import raw_of, value_of, words_of
from tools.simulator.modbus import Device
from tools.simulator.options import Options
from tools.simulator.simulator import Simulator

FORMATS = {"u16": ">H", "s16": ">h", "u32": ">I", "s32": ">i", "u64": ">Q", "s64": ">q", "f32": ">f"}

ODD_PROFILE = """
profile: odd-rack
describes: Every way of writing a number, in one device
level: rack
wire: {read_function: 3, word_order: little, write_function: 16}
points:
  rack_voltage_v:           {address: 100, type: u32, scale: 1 mV}
  rack_current_a:           {address: 102, type: s32, scale: 10 mA, sign: charge_positive, word_order: big}
  rack_link_voltage_v:      {address: 104, type: f32, scale: 1 V}
  rack_insulation_ohm:      {address: 106, type: u64, scale: 1 ohm, sentinel: [0xFFFFFFFF]}
  rack_main_closed:         {address: 3, type: bit, function: 2, active: low}
  rack_precharge_closed:    {address: 4, type: bit, function: 1}
  rack_main_confirmed:      {address: 110, type: u16, bit: 9}
  rack_precharge_confirmed: {address: 110, type: u16, bit: 10, active: low}
  rack_heartbeat_echo:      {address: 111, type: u8_high, raw_offset: -3}
outputs:
  rack_main_close:          {address: 50, type: u16, function: 6}
  rack_precharge_close:     {address: 51, type: u16, function: 6}
  heartbeat:                {address: 60, type: u32, modulo: 100000, refresh: cycle}
"""


def simulated(site: Path, **options: Any) -> Simulator:
    return Simulator(compile_site(str(site)), Options(**{"noise": 0.0, **options}), site.parent / "run")


@pytest.fixture
def bench(tmp_path: Path) -> Simulator:
    return simulated(free_site(tmp_path))


@pytest.fixture
def odd(tmp_path: Path) -> Simulator:
    site = free_site(tmp_path)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "odd-rack.yaml").write_text(ODD_PROFILE)
    site.write_text(site.read_text().replace("profile: cellwarden-rack", "profile: odd-rack"))
    return simulated(site)


def device_of(simulator: Simulator, block: Any) -> Device:
    bus = simulator.compiled.plan.buses[block.bus].name
    return simulator.buses[bus].devices[block.unit]


def read_block(simulator: Simulator, block: ReadBlock) -> bytes:
    request = struct.pack(">BHH", block.function, block.address, block.count)
    reply = device_of(simulator, block).answer(request)
    assert reply[0] == block.function and reply[1] == block.reply_bytes == len(reply) - 2
    return reply[2:]


def decode(ref: PointRef, element: int, data: bytes, function: int) -> float:
    """One element by struct, the way a datasheet describes it."""
    kind = ref.type
    at = ref.offset + element * kind.registers_each
    if function in (1, 2):
        return float((data[at // 8] >> at % 8 & 1) ^ kind.active_low)
    if kind.bit >= 0:
        return float((struct.unpack_from(">H", data, 2 * at)[0] >> kind.bit & 1) ^ kind.active_low)
    if kind.type in ("u8_high", "u8_low"):
        raw: float = data[2 * at] if kind.type == "u8_high" else data[2 * at + 1]
    else:
        size = struct.calcsize(FORMATS[kind.type])
        words = [data[2 * at + i : 2 * at + i + 2] for i in range(0, size, 2)]
        raw = struct.unpack(FORMATS[kind.type], b"".join(reversed(words) if kind.little_words else words))[0]
    return (raw + kind.raw_offset) * kind.scale * (-1 if kind.negate else 1)


def compare_everything(simulator: Simulator) -> int:
    compared = 0
    for block in simulator.compiled.plan.reads:
        data = read_block(simulator, block)
        for ref in block.points:
            face = np.asarray(simulator.sensors.faces[ref.point], float)[ref.place]
            for element in range(ref.count):
                true = float(np.atleast_1d(face)[element])
                shown = decode(ref, element, data, block.function)
                tolerance = 1e-4 * abs(true) if ref.type.type == "f32" else abs(ref.type.scale) * 0.501
                assert abs(shown - true) <= tolerance, (ref.point, ref.place, element)
                compared += 1
    return compared


def work(simulator: Simulator) -> None:
    """Bring life into the plant, so that no value is a trivial zero."""
    plant = simulator.plant
    for beat in range(1, 60):
        for rack in range(2):
            plant.command("rack", "heartbeat", (rack,), [beat])
            plant.command("rack", "rack_precharge_close", (rack,), [1.0])
            if beat > 30:
                plant.command("rack", "rack_main_close", (rack,), [1.0])
        plant.command("pcs", "heartbeat", (0,), [beat])
        plant.command("pcs", "pcs_run", (0,), [1.0])
        plant.command("pcs", "pcs_active_power_setpoint_w", (0,), [-43_210.0])
        plant.command("pcs", "pcs_reactive_power_setpoint_var", (0,), [12_345.0])
        simulator.advance(0.1)
    assert plant.pcs.power_w[0] == -43_210.0


@pytest.mark.parametrize("name", ["bench", "container", "plant"])
def test_every_point_of_every_site(tmp_path: Path, name: str) -> None:
    simulator = simulated(free_site(tmp_path, name))
    t = simulator.compiled.topology
    assert compare_everything(simulator) > t.racks * t.modules * (t.cells + t.temperatures)


def test_every_point_at_work(bench: Simulator) -> None:
    work(bench)
    compare_everything(bench)


def test_every_way_of_writing_a_number(odd: Simulator) -> None:
    work(odd)
    odd.plant.racks.insulation_ohm[:] = 123_456_789.0
    odd.plant.racks.heartbeat[:] = 77
    odd.encode_all()
    compare_everything(odd)


def test_charging_is_positive_on_a_wire_that_says_so(bench: Simulator) -> None:
    work(bench)
    assert bench.plant.current_a[0] < 0
    block = next(b for b in bench.compiled.plan.reads if any(p.point == "rack_current_a" for p in b.points))
    raw = struct.unpack_from(">h", read_block(bench, block), 2)[0]
    assert raw == round(-bench.plant.current_a[0] * 10) > 0


def test_written_number_arrives_whatever_its_form(odd: Simulator) -> None:
    device = odd.buses["GW01"].devices[100]
    assert device.answer(bytes.fromhex("10003c00020411700001")) == bytes.fromhex("10003c0002")
    assert odd.plant.racks.heartbeat[0] == 0x00011170
    device.answer(struct.pack(">BHH", 6, 50, 1))
    assert odd.plant.racks.main.command.tolist() == [True, False]


def test_sample_counter_moves_with_every_encode(bench: Simulator) -> None:
    block = next(b for b in bench.compiled.plan.reads if any(p.point == "module_sample_counter" for p in b.points))
    ref = next(p for p in block.points if p.point == "module_sample_counter")
    first = decode(ref, 0, read_block(bench, block), block.function)
    bench.advance(0.4)
    assert decode(ref, 0, read_block(bench, block), block.function) == first + 10


def test_out_of_range_saturates() -> None:
    kind = PointType("u16", 0.0001)
    assert words_of(raw_of(np.array([9.99, -1.0]), kind), kind).tolist() == [65535, 0]


def test_value_of_reads_signed_little_words() -> None:
    assert value_of([0xFFFE, 0xFFFF], PointType("s32", 0.1, little_words=True)) == pytest.approx(-0.2)
    assert value_of([0x3FC0, 0], PointType("f32")) == 1.5


def test_every_device_has_a_unit(bench: Simulator) -> None:
    assert sum(len(b.devices) for b in bench.buses.values()) == len(bench.compiled.plan.devices)
