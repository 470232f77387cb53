"""Faults act where they say, on the register face or in the plant, and are on the wire when they are answered."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plc_config.compile import compile_site
from tests.sites import free_site, own_contactor_site
from tools.simulator import verbs
from tools.simulator.control import VERB_MODULES
from tools.simulator.events import EVENTS_KEPT, EventLog
from tools.simulator.options import Options
from tools.simulator.simulator import Simulator


@pytest.fixture
def bench(tmp_path: Path) -> Simulator:
    return Simulator(compile_site(str(free_site(tmp_path))), Options(noise=0.0), tmp_path / "run")


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    folder = tmp_path_factory.mktemp("fuzzed")
    return Simulator(compile_site(str(free_site(folder))), Options(), folder / "run")


def do(simulator: Simulator, verb: str, **request: Any) -> dict[str, Any]:
    answer = simulator.control.perform({"do": verb, **request})
    assert answer["ok"], answer
    return answer


def registers(simulator: Simulator, bus: str, unit: int, address: int, count: int = 1, code: int = 4) -> list[int]:
    reply = simulator.buses[bus].devices[unit].answer(struct.pack(">BHH", code, address, count))
    return list(struct.unpack(f">{count}H", reply[2:]))


def bits(simulator: Simulator) -> int:
    return simulator.buses["AUX"].devices[1].answer(struct.pack(">BHH", 2, 0, 6))[2]


def test_override_is_visible_at_once_and_only_there(bench: Simulator) -> None:
    before = registers(bench, "GW01", 3, 0, 16)
    do(bench, "override", place="R01/M03/C16", value=3.8)
    after = registers(bench, "GW01", 3, 0, 16)
    assert after[:15] == before[:15] and after[15] == 38000
    assert bench.plant.cell_v[0, 2, 15] < 3.4, "the plant itself is untouched"
    do(bench, "clear", place="R01/M03/C16", point="cell_voltage_v")
    assert registers(bench, "GW01", 3, 0, 16) == before


def test_offset_and_ramp_move_with_the_truth(bench: Simulator) -> None:
    before = registers(bench, "GW01", 1, 0, 2)
    do(bench, "offset", place="R01/M01/C01", value=0.05)
    do(bench, "ramp", place="R01/M01/C02", value=0.01)
    bench.advance(2.0)
    after = registers(bench, "GW01", 1, 0, 2)
    assert after[0] - before[0] == 500 and after[1] - before[1] == 200


def test_stuck_cell_stays_while_its_neighbours_move(bench: Simulator) -> None:
    do(bench, "stick", place="R01/M01/C01")
    before = registers(bench, "GW01", 1, 0, 2)
    do(bench, "soc", place="R01/M01", ratio=0.9)
    after = registers(bench, "GW01", 1, 0, 2)
    assert after[0] == before[0] and after[1] > before[1] + 100


def test_noise_shakes_one_sensor(bench: Simulator) -> None:
    do(bench, "noise", place="R01/M01/T01", value=5.0)
    shown = set()
    for _ in range(20):
        bench.advance(0.04)
        shown.add(registers(bench, "GW01", 1, 16)[0])
    assert len(shown) > 10


def test_raw_patterns_and_missing_values(bench: Simulator) -> None:
    do(bench, "raw", place="R01/M01/C02", value=0xFFFE)
    do(bench, "nan", place="R01/M01/C03")
    do(bench, "nan", place="R01/M01/T01")
    do(bench, "nan", place="R01", point="rack_insulation_ohm")
    bench.advance(0.5)
    assert registers(bench, "GW01", 1, 0, 3)[1:] == [0xFFFE, 0xFFFF]
    assert registers(bench, "GW01", 1, 16)[0] == 0x8000
    assert registers(bench, "GW01", 100, 3, 2) == [0xFFFF, 0xFFFF]
    assert registers(bench, "GW01", 2, 2)[0] != 0xFFFF


def test_a_short_place_stands_for_all_below(bench: Simulator) -> None:
    do(bench, "nan", place="R01", point="cell_voltage_v")
    for unit in range(1, 5):
        assert set(registers(bench, "GW01", unit, 0, 16)) == {0xFFFF}
    assert 0xFFFF not in registers(bench, "LINE1", 1, 0, 16)
    assert do(bench, "clear", place="R01")["removed"] == 1


def test_frozen_device_answers_but_stands_still(bench: Simulator) -> None:
    do(bench, "freeze", target="R01/M02")
    before = registers(bench, "GW01", 2, 0, 21)
    do(bench, "soc", place="all", ratio=0.95)
    bench.advance(1.0)
    assert registers(bench, "GW01", 2, 0, 21) == before
    assert registers(bench, "GW01", 1, 20)[0] != before[20]
    do(bench, "freeze", target="GW01/2", on=False)
    bench.advance(0.1)
    assert registers(bench, "GW01", 2, 0, 21) != before


def test_enclosure(bench: Simulator) -> None:
    assert bits(bench) == 0b111111, "all inputs read healthy"
    for verb, bit in (("fire", 2), ("smoke", 3), ("hvac", 4), ("door", 5)):
        do(bench, verb)
        assert bits(bench) == 0b111111 & ~(1 << bit)
        do(bench, verb, on=False)
    do(bench, "estop", on="press", channel="2")
    assert bits(bench) == 0b111101
    do(bench, "estop")
    assert bits(bench) == 0b111100
    do(bench, "estop", on="release")
    do(bench, "aux_supply", volt=18.0)
    do(bench, "ambient", degc=-12.5)
    reply = bench.buses["AUX"].devices[1].answer(struct.pack(">BHH", 4, 0, 2))
    assert struct.unpack(">Hh", reply[2:]) == (1800, -125)


def test_plant_faults_reach_the_plant(bench: Simulator) -> None:
    do(bench, "weld", place="R01")
    do(bench, "fail_to_close", place="R02", which="precharge")
    do(bench, "insulation", place="R02", ohm=40e3)
    do(bench, "pcs_fault", place="P01")
    do(bench, "pcs_ignore", place="P01")
    plant = bench.plant
    assert plant.racks.main.welded.tolist() == [True, False]
    assert plant.racks.precharge.fails_to_close.tolist() == [False, True]
    assert registers(bench, "LINE1", 100, 3, 2) == [0, 40_000]
    assert registers(bench, "PCS", 1, 7)[0] & 2 and plant.pcs.ignores[0]
    do(bench, "clear")
    assert not plant.racks.main.welded.any() and not plant.pcs.fault.any()
    assert plant.racks.insulation_ohm.min() == plant.constants.insulation_ohm


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("stick R01/M03/C16", {"do": "stick", "place": "R01/M03/C16"}),
        ("at 10s drop GW01 5s", {"after_ms": 10_000.0, "do": "drop", "target": "GW01", "duration_ms": 5000.0}),
        ("offset R01/M03/C16 50mV", {"do": "offset", "place": "R01/M03/C16", "value": 0.05}),
        (
            "override R01 rack_current_a -300",
            {"do": "override", "place": "R01", "point": "rack_current_a", "value": -300},
        ),
        ("insulation R02 80kohm", {"do": "insulation", "place": "R02", "ohm": 80e3}),
        ("estop release", {"do": "estop", "on": "release"}),
        ("estop press 2", {"do": "estop", "on": "press", "channel": "2"}),
        ("delay GW01/3 80ms 2s", {"do": "delay", "target": "GW01/3", "delay_ms": 80.0, "duration_ms": 2000.0}),
        ("exception R01/M02 6", {"do": "exception", "target": "R01/M02", "code": 6.0}),
        ("weld R01 precharge", {"do": "weld", "place": "R01", "which": "precharge"}),
        ("soc all 0.2", {"do": "soc", "place": "all", "ratio": 0.2}),
        ("clear", {"do": "clear"}),
    ],
)
def test_texts(bench: Simulator, text: str, request_: dict[str, Any]) -> None:
    assert verbs.parse_text(text) == request_
    assert bench.control.perform(verbs.parse_text(text))["ok"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("melt R01", "unknown verb"),
        ("", "unknown verb"),
        ("drop GW01 5s now", "left over"),
        ("insulation R01", "'ohm' is missing"),
        ("insulation R01 80V/s2", "does not fit"),
    ],
)
def test_wrong_texts_say_what_would_be_right(text: str, part: str) -> None:
    with pytest.raises(verbs.RequestError, match=part):
        verbs.parse_text(text)


@pytest.mark.parametrize(
    ("request_", "part"),
    [
        ({"do": "override", "place": "R09", "point": "rack_voltage_v", "value": 1}, "R01..R02"),
        ({"do": "override", "place": "R01", "point": "rack_voltag_v", "value": 1}, "no point"),
        ({"do": "override", "place": "R01", "point": "rack_voltage_v", "value": "x"}, "number"),
        ({"do": "override", "place": "P01", "point": "rack_voltage_v", "value": 1}, "belongs to"),
        ({"do": "override", "place": "R01/M01/C01", "value": 1, "force": 1}, "unknown key"),
        ({"do": "drop", "target": "GW99"}, "not a place"),
        ({"do": "drop", "target": "GW01/55"}, "units: 1, 2"),
        ({"do": "soc", "place": "all", "ratio": 7}, "between 0 and 1"),
        ({"do": "truth_cells", "rack": 5}, "rack 0..1"),
        ({"do": "weld", "place": "R01", "which": "both"}, "precharge"),
        ({}, "unknown verb"),
    ],
)
def test_wrong_requests_change_nothing(bench: Simulator, request_: dict[str, Any], part: str) -> None:
    answer = bench.control.perform(request_)
    assert not answer["ok"] and part in answer["error"]
    assert not bench.sensors.faults


def test_later_requests_wait_for_plant_time(bench: Simulator) -> None:
    assert do(bench, "fire", after_ms=500)["scheduled"]
    bench.advance(0.4)
    assert not bench.plant.enclosure.fire
    bench.advance(0.12)
    assert bench.plant.enclosure.fire


def test_truth_tells_places(bench: Simulator) -> None:
    do(bench, "soc", place="R02/M03/C04", ratio=0.99)
    truth = do(bench, "truth")["truth"]
    assert truth["cell_voltage_v"]["max_place"] == "R02/M03/C04"
    assert [r["place"] for r in truth["racks"]] == ["R01", "R02"]
    assert truth["racks"][0]["main_closed"] is False and truth["power_w"] == 0
    cells = do(bench, "truth_cells", rack=1)
    assert cells["soc"][2][3] == 0.99


def test_a_changed_write_is_an_event_and_a_heartbeat_is_not(bench: Simulator) -> None:
    rack = bench.buses["LINE1"].devices[100]
    for value in (1, 2, 3):
        rack.answer(struct.pack(">BHH", 6, 0, value))
    rack.answer(bytes.fromhex("050000ff00"))
    rack.answer(bytes.fromhex("050000ff00"))
    written = [e for e in do(bench, "events")["events"] if e["event"] == "write"]
    assert [(e["place"], e["unit"], e["output"], e["value"]) for e in written] == [("R02", 100, "rack_main_close", 1.0)]


def test_event_log_is_bounded_and_counts_what_it_lost() -> None:
    log = EventLog()
    for i in range(EVENTS_KEPT + 10):
        log.add("tick", "", i=i)
    assert len(log.ring) == EVENTS_KEPT and log.since(0)[0]["n"] == 11
    assert [e["i"] for e in log.since(log.last - 2)] == [EVENTS_KEPT + 8, EVENTS_KEPT + 9]


def test_every_verb_is_described() -> None:
    assert VERB_MODULES
    text = verbs.describe()
    for name, verb in verbs.VERBS.items():
        assert name in text and verb.doc and verb.usage


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(
        ["", "all", "R01", "R02/M01", "R01/M02/C03", "R01/M01/T02", "P01", "B01", "GW01", "LINE1/2", "AUX"]
    ),
    st.sampled_from(["cell_voltage_v", "rack_main_closed", "rack_current_a", "fire_alarm", "pcs_active_power_w", "on"]),
    st.text(max_size=5),
)
KEYS = st.sampled_from(sorted({a.name for v in verbs.VERBS.values() for a in v.args} | {"after_ms", "bus", "unit"}))


@given(
    st.lists(st.tuples(st.sampled_from(sorted(verbs.VERBS)), st.dictionaries(KEYS, ANYTHING, max_size=4)), max_size=4)
)
@settings(max_examples=300, deadline=None)
def test_no_request_stops_the_plant(fuzzed: Simulator, requests: list[tuple[str, dict[str, Any]]]) -> None:
    for verb, arguments in requests:
        answer = fuzzed.control.perform({"do": verb, **arguments})
        assert answer["ok"] or answer["error"]
    fuzzed.advance(0.12)
    fuzzed.control.perform({"do": "clear"})


def test_a_module_of_which_each_extreme_is_a_point_of_its_own_says_no_value_for_both(tmp_path: Path) -> None:
    site = own_contactor_site(tmp_path, "soltaro-c", 3, 220)
    rack = Simulator(compile_site(str(site)), Options(noise=0.0), tmp_path)
    do(rack, "nan", place="R02/M01", point="cell_temperature_degc")
    do(rack, "nan", place="R03/M01/C02", point="cell_voltage_v")
    rack.advance(0.5)
    assert [registers(rack, "BAT", 2, address, code=3)[0] for address in (0x210A, 0x210C)] == [0x8000, 0x8000]
    assert [registers(rack, "BAT", 3, address, code=3)[0] == 0xFFFF for address in (0x2106, 0x2108)] == [False, True]
    assert 0x8000 not in [registers(rack, "BAT", unit, 0x210A, code=3)[0] for unit in (1, 3)]
