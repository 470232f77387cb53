"""Shipped maps before registers that were written out by hand, from the facts of each map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from controller.fieldbus.codec import Decoder
from plc_config.plan import PointRef, PointType
from tests.profile_cases import CASES, memory, two
from tests.profile_rig import Bench
from tools.simulator.encode import PACKED

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
        memory(3, (40070 + 14, (-5120, 1)), (40070 + 20, (12, 1)), (40070 + 29, (7705, -1)), (40154 + 5, (11,))),
        {"pcs_active_power_w": [-51_200], "pcs_reactive_power_var": [120], "pcs_dc_voltage_v": [770.5],
         "pcs_running": [1], "pcs_fault": [0]},
    ),
    ("kaco-gridsave", memory(3, (40154 + 5, (7,))), {"pcs_running": [0], "pcs_fault": [1]}),
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


def test_packed_bytes_fill_a_row() -> None:
    raw = np.frombuffer(bytes.fromhex("00001415f6ff0002"), np.uint8).reshape(1, -1)
    for kind, want in (("s8", [20, 21, -10, -1, 0]), ("u8", [20, 21, 246, 255, 0])):
        assert kind in PACKED
        assert Decoder(PointRef("p", 1, 5, PointType(kind), ()), 3)(raw)[0][0].tolist() == want
