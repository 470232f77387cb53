"""Every shipped map: what the simulated registers show comes back as the same values, and a few registers by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from controller.core.image import FieldImage, OutputImage, Points
from controller.core.layout import Layout, tags_of
from controller.core.signal import Quality
from controller.fieldbus.codec import Decoder, Encoder
from controller.fieldbus.field import Field
from controller.fieldbus.outputs import Output, Outputs
from controller.fieldbus.unit import Unit
from plc_config import library
from plc_config.problem import ConfigError
from plc_config.schema import profile as schema
from tests.profile_rig import Bench, Case, write_site
from tools.simulator.device import EXTRA
from tools.simulator.encode import PACKED, RANGE

CASES = {
    c.profile: c
    for c in (
        Case("jk-pb", temperatures=5),
        Case("seplos-v3", unit=0),
        Case("eg4-ll"),
        Case("renogy-lfp", unit=0xF7, cells=4),
        Case("daly-hkms", unit=0x81, temperatures=8),
        Case("pylontech-powercube-m2", cells=2, temperatures=2, series_cells=16),
        Case("soltaro-c", cells=2, temperatures=2, series_cells=16),
        Case("sma-sunny-island", place="P01", unit=3),
        Case("sunspec-803", place="R01..R03/M01", racks=3, cells=2, temperatures=2, series_cells=16),
        Case("sunspec-804", place="R01/M01..M05", modules=5, cells=2, temperatures=2, series_cells=8),
        Case("sunspec-805", temperatures=16),
        Case("sunspec-103", place="P01"),
        Case("sunspec-7xx", place="P01"),
        Case("kaco-gridsave", place="P01"),
    )
}
TAGS = {t.name: t for t in tags_of(Points)}
PLAUSIBLE = {"cell_voltage_v": (2.6, 3.6), "cell_temperature_degc": (1, 55), "rack_voltage_v": (20, 60)}


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(tmp_path, CASES[request.param])


def each_profile() -> Any:
    return pytest.mark.parametrize("bench", list(CASES), indirect=True)


def test_every_shipped_profile_is_tried() -> None:
    assert {n for n in library.shipped("profiles") if not n.startswith("cellwarden-")} == set(CASES)


def plausible(bench: Bench, random: Random) -> dict[str, Any]:
    """A value for every element of every point, inside its instrument range and what its registers can carry."""
    faces, carried = {}, {}
    for slot in bench.group.points:
        ends = [(raw + slot.type.raw_offset) * slot.type.scale for raw in RANGE.get(slot.type.type, (0, 1))]
        carried[slot.point] = (-ends[1], -ends[0]) if slot.type.negate else (ends[0], ends[1])
    for name, tag in TAGS.items():
        low, high = PLAUSIBLE.get(name, (tag.low or 0.0, tag.high if tag.high is not None else 65535.0))
        least, most = carried.get(name, (low, high))
        low, high = max(low, least), min(high, most)
        shape = tag.shape(bench.compiled.topology.dims)
        values = np.array([random.uniform(low, high) for _ in range(int(np.prod(shape)))]).reshape(shape)
        faces[name] = np.rint(values) if tag.unit == "1" else values
    # Devices show these as states of one register, of which only one can be true.
    faces["rack_precharge_closed"] *= 1 - faces["rack_main_closed"]
    faces["pcs_fault"] *= 1 - faces["pcs_running"]
    faces["rack_main_confirmed"] = np.maximum(faces["rack_main_closed"], faces["rack_precharge_closed"])
    profile, _ = library.profile_at(library.DATA / "profiles" / f"{bench.case.profile}.yaml")
    for name in profile.points:
        if any(r.once for r in profile.segments(name)):
            faces[name][...] = faces[name].flat[0]
    return faces


@each_profile()
def test_what_the_simulated_device_shows_is_what_the_controller_reads(bench: Bench) -> None:
    random = Random(4711)
    resolution = {(s.point, s.ref.place): abs(s.type.scale) for s in bench.group.points}
    for _ in range(5):
        faces = plausible(bench, random)
        bench.group.encode(faces)
        seen = 0
        for block in bench.reads:
            raw = bench.registers(block)
            for ref in block.points:
                shown = np.atleast_1d(faces[ref.point][ref.place]).reshape(-1)[: ref.count]
                for value, true in zip(bench.values(ref, block, raw), shown, strict=True):
                    assert value == pytest.approx(true, abs=0.501 * resolution[ref.point, ref.place]), ref
                    seen += 1
        assert seen > 1


@each_profile()
def test_every_vendor_register_is_read_too(bench: Bench) -> None:
    random = Random(99)
    clean = {f: t.data.copy() for f, t in bench.group.tables.items()}
    for block in bench.extras:
        for ref in block.points:
            for function, data in clean.items():
                bench.group.tables[function].data[...] = data
            kind = ref.type
            if kind.type == "string" or kind.scale_from is not None:
                continue
            low, high = (0, 1) if kind.type == "bit" else RANGE[kind.type]
            low, high = (low, kind.mask or high) if not kind.sentinel else (low + 1, high - 1)
            raw = [random.choice([low, high, random.randint(low, high)]) for _ in range(ref.count)]
            want = [(r + kind.raw_offset) * kind.scale for r in raw]
            face = np.broadcast_to(np.array(want, float), (*(9,) * len(ref.place), ref.count))
            bench.group.encode({EXTRA + ref.point: face})
            assert bench.values(ref, block, bench.registers(block)) == pytest.approx(want), ref


@each_profile()
def test_no_request_is_longer_than_the_device_allows(bench: Bench) -> None:
    profile, _ = library.profile_at(library.DATA / "profiles" / f"{bench.case.profile}.yaml")
    for block in (*bench.reads, *bench.extras):
        if block.function in (3, 4):
            assert block.count <= profile.wire.max_registers
            last = block.address + (block.count - 1) * profile.wire.address_step
            inside = [low <= block.address and last <= high for low, high in profile.wire.windows]
            assert any(inside) or not inside


@each_profile()
def test_replies_find_their_places_in_the_field_image(bench: Bench) -> None:
    faces = plausible(bench, Random(5))
    bench.group.encode(faces)
    field = Field(bench.compiled.plan, Layout(FieldImage, bench.compiled.dims))
    for row, block in zip(field.rows, bench.compiled.plan.reads, strict=True):
        if block.device in bench.indices:
            row.store(bench.registers(block), 1234)
    field.refresh(1240, [True, True])
    steps: dict[str, float] = {}
    for slot in bench.group.points:
        steps[slot.point] = max(steps.get(slot.point, 0.0), abs(slot.type.scale))
    profile, _ = library.profile_at(library.DATA / "profiles" / f"{bench.case.profile}.yaml")
    for point in profile.points:
        samples = getattr(field.points, point)
        assert (samples.quality == Quality.GOOD).all(), point
        assert (samples.time_ms == 1234).all(), point
        assert np.allclose(samples.value, faces[point], rtol=0, atol=0.501 * steps[point] + 1e-6), point


# -- registers by hand, from the facts ------------------------------------------------------------------------


def two(value: int) -> tuple[int, int]:
    """A 32 bit number as two registers, high word first."""
    return (value >> 16) & 0xFFFF, value & 0xFFFF


def memory(function: int, *rows: tuple[int, tuple[int, ...]], step: int = 1) -> dict[tuple[int, int], int]:
    """Registers from (address, words)."""
    return {(function, address + i * step): w & 0xFFFF for address, words in rows for i, w in enumerate(words)}


BY_HAND: list[tuple[str, dict[tuple[int, int], int], dict[str, list[float | None]]]] = [
    (
        "jk-pb",
        memory(3, (0x1200, (3301, 3302)), (0x1290, two(52_800)), (0x1298, two(-12_500)), (0x12A6, (0x0241,)),
               (0x129C, (255, -12)), (0x12F8, (301, 0, -50)), (0x12A0, two(1 << 12)), step=2),
        {"cell_voltage_v": [3.301, 3.302] + [None] * 14, "rack_voltage_v": [52.8], "rack_current_a": [12.5],
         "rack_soc_reported_ratio": [0.65], "cell_temperature_degc": [25.5, -1.2, 30.1, 0.0, -5.0],
         "rack_alarm_word": [4096]},
    ),
    (
        "seplos-v3",
        memory(4, (0x1000, (5312, -1250)), (0x1005, (655,)), (0x100F, (110, 95)), (0x1100, (3321,) * 16),
               (0x1110, (2981, 2731, 2732, 3031))),
        {"rack_voltage_v": [53.12], "rack_current_a": [12.5], "rack_soc_reported_ratio": [0.655],
         "rack_discharge_limit_reported_a": [110], "rack_charge_limit_reported_a": [95],
         "cell_voltage_v": [3.321] * 16, "cell_temperature_degc": [24.95, -0.05, 0.05, 29.95]},
    ),
    (
        "eg4-ll",
        memory(3, (0, (5299, -301)), (2, (3312,) * 16), (22, (100,)), (24, (71,)), (27, (5,)), (33, (0x14F6, 0x1500))),
        {"rack_voltage_v": [52.99], "rack_current_a": [3.01], "cell_voltage_v": [3.312] * 16,
         "rack_charge_limit_reported_a": [100], "rack_soc_reported_ratio": [0.71], "rack_alarm_word": [5],
         "cell_temperature_degc": [20, -10, 21, None]},
    ),
    (
        "renogy-lfp",
        memory(3, (5001, (33, 33, 34, 33)), (5018, (211, 209, -15, 0)), (5042, (2500, 133))),
        {"cell_voltage_v": [3.3, 3.3, 3.4, 3.3], "cell_temperature_degc": [21.1, 20.9, -1.5, 0],
         "rack_current_a": [-25.0], "rack_voltage_v": [13.3]},
    ),
    (
        "daly-hkms",
        memory(3, (0, (3300,) * 16), (0x30, (65, 255, 30, 40)), (0x38, (528, 29_875, 812)), (0x3C, (14,))),
        {"cell_voltage_v": [3.3] * 14 + [None] * 2, "cell_temperature_degc": [25, None, -10, 0, -40, -40, -40, -40],
         "rack_voltage_v": [52.8], "rack_current_a": [-12.5], "rack_soc_reported_ratio": [0.812]},
    ),
    (
        "pylontech-powercube-m2",
        memory(3, (0x1101, (0x0101,)), (0x1103, (7680, *two(-2550))), (0x1107, (57,)), (0x110A, two(7400)),
               (0x110D, two(-14_800)), (0x110F, (3, 3341, 3299)), (0x1114, (251, -7)), (0x1148, (1500,))),
        {"rack_voltage_v": [768.0], "rack_current_a": [-25.5], "rack_soc_reported_ratio": [0.57],
         "rack_charge_limit_reported_a": [74], "rack_discharge_limit_reported_a": [148], "rack_main_closed": [1],
         "rack_precharge_closed": [0], "cell_voltage_v": [3.341, 3.299], "cell_temperature_degc": [25.1, -0.7],
         "rack_alarm_word": [257], "rack_insulation_ohm": [1.5e6]},
    ),
    (
        "pylontech-powercube-m2",
        memory(3, (0x110F, (6,))),
        {"rack_main_closed": [0], "rack_precharge_closed": [1]},
    ),
    (
        "soltaro-c",
        memory(3, (0x2010, (3,)), (0x2100, (7011, -333, 1, 45)), (0x2106, (3402,)), (0x2108, (3201,)), (0x210A, (311,)),
               (0x210C, (-21,)), (0x210E, (800, 1200, 1300)), (0x2140, (0x1000,))),
        {"rack_voltage_v": [701.1], "rack_current_a": [-33.3], "rack_soc_reported_ratio": [0.45],
         "cell_voltage_v": [3.402, 3.201], "cell_temperature_degc": [31.1, -2.1], "rack_insulation_ohm": [8e5],
         "rack_charge_limit_reported_a": [120], "rack_discharge_limit_reported_a": [130], "rack_main_closed": [1],
         "rack_precharge_closed": [0], "rack_alarm_word": [4096]},
    ),
    (
        "sma-sunny-island",
        memory(3, (30775, two(-4321)), (30843, two(-85_000)), (30851, two(5012))),
        {"pcs_active_power_w": [-4321], "pcs_dc_current_a": [-85], "pcs_dc_voltage_v": [50.12]},
    ),
    (
        "sma-sunny-island",
        memory(3, (30775, (0x8000, 0)), (30851, (0xFFFF, 0xFFFF))),
        {"pcs_active_power_w": [None], "pcs_dc_voltage_v": [None]},
    ),
    (
        "sunspec-803",
        memory(3, (40134 + 22, (-3, -1, -1, 0, -1, -1)), (40134 + 29, (0, 2)),
               (40134 + 32, (655, 990, -1205, 3412, 7, 3333)), (40134 + 40, (271, 3, 198)),
               (40166 + 34, (777, 3400)), (40198 + 32, (0xFFFF,))),
        {"cell_voltage_v": [3.412, 3.333, 3.4, 0.0, 0.0, 0.0], "rack_current_a": [-120.5, 77.7, 0.0],
         "cell_temperature_degc": [27.1, 19.8, 0, 0, 0, 0], "rack_soc_reported_ratio": [0.655, 0, None],
         "rack_main_closed": [1, 0, 0]},
    ),
    ("sunspec-803", memory(3, (40134 + 22, (-32768, 11, -11))),
     {"cell_voltage_v": [None] * 6, "cell_temperature_degc": [None] * 6, "rack_current_a": [None] * 3}),
    (
        "sunspec-804",
        memory(3, (40070 + 8, (61,)), (40070 + 13, (-250, 8123)), (40070 + 38, (0, 0, 0, -1, -1, -4, 0)),
               (40070 + 51, (34_120, 1, 33_330)), (40070 + 48 + 64 + 8, (25, 1, 19))),
        {"cell_voltage_v": [3.412, 3.333] + [0.0] * 8, "rack_voltage_v": [812.3], "rack_current_a": [-25.0],
         "rack_soc_reported_ratio": [0.61], "cell_temperature_degc": [0] * 8 + [25, 19]},
    ),
    (
        "sunspec-805",
        memory(3, (40070 + 42, (-3, -1)), (40070 + 44, (3301, 251, 0, 0, 3302, 252))),
        {"cell_voltage_v": [3.301, 3.302] + [0.0] * 14, "cell_temperature_degc": [25.1, 25.2] + [0.0] * 14},
    ),
    (
        "sunspec-103",
        memory(3, (40070 + 14, (-4321, 1)), (40070 + 20, (55, 0)), (40070 + 29, (8123, -1)), (40070 + 38, (4,))),
        {"pcs_active_power_w": [-43_210], "pcs_reactive_power_var": [55], "pcs_dc_voltage_v": [812.3],
         "pcs_running": [1], "pcs_fault": [0]},
    ),
    (
        "sunspec-7xx",
        memory(3, (40070 + 4, (6,)), (40070 + 10, (5000,)), (40070 + 12, (-20,)), (40070 + 116, (2,)),
               (40070 + 119, (3,)), (40372 + 5, (-3000,)), (40372 + 15, (-1,)), (40296 + 24, two(-250_000))),
        {"pcs_active_power_w": [500_000], "pcs_reactive_power_var": [-20_000], "pcs_running": [0], "pcs_fault": [1],
         "pcs_dc_current_a": [-300], "pcs_active_power_confirmed_w": [-250_000]},
    ),
    (
        "kaco-gridsave",
        memory(3, (40070 + 14, (-5120, 1)), (40070 + 20, (12, 1)), (40070 + 29, (7705, -1)), (40122 + 5, (11,))),
        {"pcs_active_power_w": [-51_200], "pcs_reactive_power_var": [120], "pcs_dc_voltage_v": [770.5],
         "pcs_running": [1], "pcs_fault": [0]},
    ),
    ("kaco-gridsave", memory(3, (40122 + 5, (7,))), {"pcs_running": [0], "pcs_fault": [1]}),
]  # fmt: skip


@pytest.mark.parametrize(("profile", "registers", "values"), BY_HAND, ids=[row[0] for row in BY_HAND])
def test_registers_written_out_by_hand(
    profile: str, registers: dict[tuple[int, int], int], values: dict[str, list[float | None]], tmp_path: Path
) -> None:
    found = Bench(tmp_path, CASES[profile]).decode(registers)
    for point, want in values.items():
        assert len(found[point]) == len(want), point
        for have, wanted in zip(found[point], want, strict=True):
            assert have == (wanted if wanted is None else pytest.approx(wanted)), point


def test_bits_of_a_device_that_has_them_in_a_table_of_their_own(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CASES["seplos-v3"])
    found = bench.decode({(1, 0x1248 + 2): 1, (1, 0x1279): 1}, extras=True)
    assert found["voltage_events"] == [0, 0, 1, 0, 0, 0, 0, 0]
    assert found["switches"][:2] == [0, 1]


def test_a_device_that_answers_under_another_unit_id(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CASES["daly-hkms"])
    assert {(b.unit, b.reply_unit) for b in (*bench.reads, *bench.extras)} == {(0x81, 0x51)}


def test_addresses_of_a_device_that_counts_bytes(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CASES["jk-pb"])
    assert {(b.address, b.count) for b in bench.reads} == {(0x1200, 16), (0x1290, 12), (0x12F8, 3)}


# -- writing --------------------------------------------------------------------------------------------------


def written(bench: Bench, output: str, value: float, number: int = 0) -> tuple[int, int, str]:
    """Function, address and data of a write."""
    block = [w for w in bench.writes if w.output == output and w.modulo != 1][number]
    data, wrong = Encoder(block.type, block.function, block.count, block.modulo)(np.array([[value]]))
    assert wrong == 0
    return block.function, block.address, data[0].tobytes().hex()


def constants(bench: Bench) -> dict[int, tuple[str, int]]:
    """Address -> data and refresh time of every constant, whatever the scan counts to."""
    found = {}
    for block in bench.writes:
        if block.modulo == 1:
            data = {
                Encoder(block.type, block.function, 1, 1)(np.array([[beat]]))[0].tobytes().hex() for beat in (0, 1, 77)
            }
            assert len(data) == 1
            found[block.address] = data.pop(), block.refresh_ms
    return found


def test_a_setpoint_with_its_enable_and_its_revert_timer(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CASES["sunspec-7xx"])
    assert written(bench, "pcs_active_power_setpoint_w", -250_000) == (16, 40320, "fffc2f70")
    assert written(bench, "pcs_run", 1)[2] == "0001" and written(bench, "pcs_run", 0)[2] == "0000"
    assert written(bench, "heartbeat", 2**32 + 5) == (16, 40422, "00000005")
    assert constants(bench)[40296 + 31] == ("0000000a", 2000)
    assert constants(bench)[40296 + 22] == ("0001", 10_000)


def test_a_converter_that_takes_percents_and_a_watchdog(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CASES["kaco-gridsave"])
    assert written(bench, "pcs_active_power_setpoint_w", -25_000) == (16, 40131, "ffe7")
    assert written(bench, "pcs_run", 1)[2] == "000b" and written(bench, "pcs_run", 0)[2] == "0001"
    assert constants(bench)[40130] == ("003c", 10_000), "the watchdog is rewritten in less than half its time"


def test_external_control_is_written_only_as_a_constant(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CASES["sma-sunny-island"])
    assert constants(bench) == {40151: ("00000322", 10_000)}
    assert written(bench, "pcs_active_power_setpoint_w", 4321) == (16, 40149, "000010e1")


def test_a_constant_is_written_once_and_again_when_its_time_has_come(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CASES["sunspec-7xx"])
    layout = Layout(OutputImage, bench.compiled.dims)
    units = [Unit(d.name, d.unit, 0.0) for d in bench.compiled.plan.devices]
    sent: list[Output] = []
    outputs = Outputs(bench.compiled.plan, layout, units, sent.append)

    def scan(beat: int, now_ms: int) -> list[int]:
        """Addresses of constants that this scan sends; every write is confirmed."""
        sent.clear()
        outputs.update(dataclasses.replace(layout.blank(), heartbeat=beat), now_ms)
        for output in tuple(sent):
            output.request.payload = output.desired or b""
            outputs.written(output, now_ms)
        return sorted({o.block.address for o in sent if o.block.modulo == 1})

    everything = sorted(constants(bench))
    assert scan(1, 1000) == everything
    assert scan(2, 1100) == []
    later = [scan(3 + i, 1200 + 100 * i) for i in range(31)]
    assert [a for again in later for a in again].count(40296 + 31) in (1, 2)
    outputs.silence()
    assert not any(outputs.permitted(o) for o in outputs.all if o.block.modulo == 1)


OWN = """
profile: own
describes: States as numbers, and a bank of racks behind one unit
level: rack
repeat: {stride: 20, most: 8}
points:
  rack_voltage_v:   {address: 100, scale: 1 V}
  rack_main_closed: {address: 101, equals: [3, 4]}
  rack_precharge_closed: {address: 101, mask: 0x0F00, equals: [0x0200]}
  rack_main_confirmed: {address: 101, equals: [0], active: low}
outputs:
  rack_main_close:  {address: 110, function: 6, raw_on: 11, raw_off: 8, confirm: rack_main_confirmed}
"""


def own(tmp_path: Path, text: str, **more: Any) -> Bench:
    (tmp_path / "profiles").mkdir(exist_ok=True)
    (tmp_path / "profiles" / "own.yaml").write_text(text)
    return Bench(tmp_path, Case("own", **more))


def test_racks_behind_one_unit_each_have_their_registers(tmp_path: Path) -> None:
    bench = own(tmp_path, OWN, place="R01..R03", racks=3)
    assert len(bench.indices) == 1
    found = bench.decode(memory(3, (100, (701, 3)), (120, (702, 0x0204)), (140, (703, 0))))
    assert found["rack_voltage_v"] == [701, 702, 703]
    assert found["rack_main_closed"] == [1, 0, 0]
    assert found["rack_precharge_closed"] == [0, 1, 0]
    assert found["rack_main_confirmed"] == [1, 1, 0]
    assert [w.place for w in bench.writes] == [(0,), (1,), (2,)]
    assert written(bench, "rack_main_close", 1, number=2) == (6, 150, "000b")
    assert written(bench, "rack_main_close", 0, number=1) == (6, 130, "0008")


def test_the_simulated_device_tells_which_rack_was_commanded(tmp_path: Path) -> None:
    bench = own(tmp_path, OWN, place="R01..R03", racks=3)
    told: list[Any] = []
    bench.device.written = lambda device, slot, values: told.append((device.plan.level, device.plan.place, values))
    bench.device.answer(bytes.fromhex("060082000b"))
    assert told == [("rack", (1,), [1.0])]


WRONG = [
    ("{address: 100, scale: 1 V}", "{address: bank+4, scale: 1 V}", "no base of the name 'bank'"),
    (
        "level: rack\n",
        "level: rack\nbases: {bank: 65000}\nextras:\n  a: {address: bank+900, doc: b}\n",
        "beyond the last",
    ),
    ("{address: 100, scale: 1 V}", "{address: 1OO, scale: 1 V}", "'1OO' is not an address"),
    ("{address: 100, scale: 1 V}", "{address: 70000, scale: 1 V}", "70000 is not a register address"),
    ("{address: 100, scale: 1 V}", "{address: 100}", "a scale with a unit is needed; write it like 0.1 V"),
    ("{address: 100, scale: 1 V}", "{address: 100, scale: 0.1}", "a scale with a unit is needed; write it like 0.1 V"),
    ("{address: 100, scale: 1 V}", "{address: 100, scale: 1 A}", "'1 A' is in A, a value in V is wanted"),
    ("{address: 100, scale: 1 V}", "{address: 100, scale: 1 V, scale_register: 300}", "cannot come with one request"),
    ("{address: 100, scale: 1 V}", "{address: 100, scale: 1 V, type: string}", "put it under extras"),
    ("{address: 100, scale: 1 V}", "{address: 100, scale: 1 V, bits: 3}", "unknown key"),
    ("{address: 100, scale: 1 V}", "[{address: 100, scale: 1 V}, {address: 1, scale: 1 V}]", "the topology has 1"),
    ("raw_on: 11, raw_off: 8", "raw_on: 11", "raw_on and raw_off belong together"),
    ("equals: [3, 4]", "equals: [3, 4], bit: 1", "bit excludes equals and mask"),
    (
        "level: rack\n",
        "level: rack\nextras:\n  a: {address: 1, scale: 5 bananas, doc: b}\n",
        "'5 bananas' is not a quantity",
    ),
    ("level: rack\n", "level: rack\nextras:\n  a: {address: 1}\n", "'extras.a.doc' is missing"),
    ("level: rack\n", "level: rack\nwire: {windows: [0..99]}\n", "lie in no readable window"),
    ("address: 110, function: 6,", "address: 110, type: u8_low,", "type u8_low cannot be written"),
]


@pytest.mark.parametrize(("old", "new", "what"), WRONG, ids=[w[2][:40] for w in WRONG])
def test_a_mistake_in_a_profile_is_named(old: str, new: str, what: str, tmp_path: Path) -> None:
    assert old in OWN
    with pytest.raises(ConfigError) as caught:
        own(tmp_path, OWN.replace(old, new), place="R01..R03", racks=3)
    assert what in str(caught.value)
    assert all("own.yaml:" in str(p) for p in caught.value.problems)


def test_a_wrong_base_is_told_where_it_stands(tmp_path: Path) -> None:
    text = OWN.replace("address: 110,", "address: comand+10,")
    with pytest.raises(ConfigError) as caught:
        own(tmp_path, text, place="R01..R03", racks=3)
    (problem,) = caught.value.problems
    row = text.splitlines()[problem.line - 1]
    assert row[problem.column - 1 :].startswith("comand+10")
    assert problem.right == "bases of this profile: none"


def test_packed_bytes_fill_a_row() -> None:
    from plc_config.plan import PointRef, PointType

    raw = np.frombuffer(bytes.fromhex("00001415f6ff0002"), np.uint8).reshape(1, -1)
    for kind, want in (("s8", [20, 21, -10, -1, 0]), ("u8", [20, 21, 246, 255, 0])):
        assert kind in PACKED
        assert Decoder(PointRef("p", 1, 5, PointType(kind), ()), 3)(raw)[0][0].tolist() == want


def test_what_is_doubtful_is_said(tmp_path: Path) -> None:
    from tools.commands.check import describe

    notes = describe(Bench(tmp_path, CASES["jk-pb"]).compiled)["notes"]
    assert any("profile jk-pb: the map is unverified" in n for n in notes)
    assert any("profile jk-pb: extras.alarms is unverified: the driver in field use" in n for n in notes)
    site = write_site(tmp_path, CASES["renogy-lfp"])
    assert site.exists()
    notes = describe(Bench(tmp_path, CASES["renogy-lfp"]).compiled)["notes"]
    assert any("too coarse for imbalance" in n for n in notes)


def test_a_value_that_is_old_before_the_next_one_comes_is_told(tmp_path: Path) -> None:
    from tools.commands.check import describe

    notes = describe(Bench(tmp_path, CASES["jk-pb"]).compiled)["notes"]
    assert "rack_current_a is read every 2000 ms but is stale after 300 ms (limits.stale_after)" in notes


def test_the_example_of_the_guide_is_right(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text("utf-8")
    text = guide.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "acme-rack-3.yaml").write_text("\n".join(row[3:] for row in text.splitlines()))
    bench = Bench(tmp_path, Case("acme-rack-3", place="R01"))
    found = bench.decode(memory(3, (0x1000, (8123, -55, 12, 3, 0xFFFF))))
    assert found["rack_voltage_v"] == [pytest.approx(812.3)] and found["rack_current_a"] == [pytest.approx(5.5)]
    assert found["rack_main_closed"] == [1] and found["rack_insulation_ohm"] == [None]
    for model in (schema.Profile, schema.Wire, schema.Extra, schema.Output, schema.Constant, schema.Repeat):
        for name in model.model_fields:
            assert f"`{name}`" in guide or f"`{name}:" in guide, name
