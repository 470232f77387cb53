"""What `check` says of profiles: what no register can do, what the wire cannot keep, and everything at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plc_config.compile import compile_site
from plc_config.problem import ConfigError
from tests.profile_rig import RTU, Bench, Case, write_site
from tools.commands.check import describe

OWN = """
profile: own
describes: One of everything
level: rack
wire: {turnaround: 5 ms}
points:
  rack_voltage_v:   {address: 100, scale: 0.1 V}
  rack_main_closed: {address: 101, equals: [3, 4]}
outputs:
  rack_main_close:  {address: 110, function: 6}
  heartbeat:        {address: 111, function: 6, modulo: 65536}
constants:
  watchdog:         {address: 112, value: 2}
extras:
  serial:           {address: 200, type: string, count: 8, doc: Serial number}
"""
PLACED = Case("own", place="R01")


def problems(folder: Path, text: str, case: Case = PLACED, **more: Any) -> list[Any]:
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "profiles" / "own.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        compile_site(str(write_site(folder, case, **more)))
    return caught.value.problems


def test_the_example_itself_is_right(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "own.yaml").write_text(OWN)
    assert Bench(tmp_path, PLACED).reads


IMPOSSIBLE = [
    ("scale: 0.1 V}", "scale: 0 V}", "a scale of 0 makes every value 0"),
    ("scale: 0.1 V}", "scale: 0.1 V, function: 2, type: s16}", "function 2 reads single bits, not s16"),
    ("equals: [3, 4]}", "equals: [3, 70000]}", "u16 never holds 70000"),
    ("equals: [3, 4]}", "bit: 16}", "u16 has no bit 16"),
    ("equals: [3, 4]}", "type: u8_low, bit: 9}", "u8_low has no bit 9"),
    ("equals: [3, 4]}", "mask: 0x1FFFF}", "u16 has not all bits of 0x1ffff"),
    ("equals: [3, 4]}", "type: f32, bit: 1}", "f32 has neither bits nor codes"),
    ("address: 110, function: 6}", "address: 110, function: 6, type: u32}", "1 x u32 needs 2"),
    ("address: 110, function: 6}", "address: 110, function: 5, count: 2}", "function 5 writes one coil, not 2"),
    ("address: 110, function: 6}", "address: 110, function: 16, count: 3}", "3 elements to write, the topology has 1"),
    ("modulo: 65536}", "modulo: 65536, type: s16}", "s16 cannot count to 65535"),
    ("value: 2}", "value: 70000}", "70000 does not fit u16"),
    ("value: 2}", "value: 2, type: u32, function: 6}", "function 6 writes one register, 1 x u32 needs 2"),
    ("doc: Serial number}", "doc: Serial number, sentinel: [0]}", "a string has no sentinel"),
    ("doc: Serial number}", "doc: Serial number, values: {0: a}}", "a string has no values"),
    ("wire: {turnaround: 5 ms}", "wire: {reply_unit_offset: -48}", "unit 1 would answer as -47"),
    ("wire: {turnaround: 5 ms}", "wire: {write_function: 15}", "a constant is a register"),
    ("level: rack\n", "level: rack\ncells: extremes\n", "extremes are two values of cell_voltage_v"),
    ("level: rack\n", "level: rack\nmodels: {bank: 802}\n", "no base of the name 'bank'"),
    ("scale: 0.1 V}", "scale: 0.1 V, sentinel: [0x1FFFF]}", "u16 never holds 131071"),
    ("scale: 0.1 V}", "scale: 0.1 V, sign: charge_positive}", "rack_voltage_v has no direction"),
    ("address: 110, function: 6}", "address: 110, function: 6, raw_on: 100000, raw_off: 0}", "u16 never holds 100000"),
    ("address: 110, function: 6}", "address: 110, function: 6, confirm: rack_main}", "'rack_main' is not among"),
    ("address: 111, function: 6,", "address: 110, function: 6,", "heartbeat writes register 110, as rack_main_close"),
    ("address: 112, value: 2}", "address: 111, value: 2}", "watchdog writes register 111, as heartbeat does"),
    ("rack_main_close:  {address: 110, function: 6}", "rack_precharge_close: {address: 110}\nprecharge: device",
     "needs rack_main_close and its feedback"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "what"), IMPOSSIBLE, ids=[row[2][:50] for row in IMPOSSIBLE])
def test_what_no_register_can_do_is_refused_with_its_place(old: str, new: str, what: str, tmp_path: Path) -> None:
    assert old in OWN
    text = OWN.replace(old, new) if "\nprecharge" not in new else OWN.replace(old, new.partition("\n")[0]).replace(
        "level: rack\n", "level: rack\nprecharge: device\n")  # fmt: skip
    found = problems(tmp_path, text)
    (problem,) = [p for p in found if what in p.what]
    assert problem.file.endswith("own.yaml") and problem.line > 1


def test_semantic_errors_are_told_together_with_those_of_the_schema(tmp_path: Path) -> None:
    text = (
        OWN.replace("scale: 0.1 V}", "scale: 0.1 A}")
        .replace("address: 110,", "addres: 110,")
        .replace("value: 2", "value: 70000")
    )
    told = "\n".join(str(p) for p in problems(tmp_path, text))
    assert "unknown key 'outputs.rack_main_close.addres'; did you mean 'address'?" in told
    assert "'0.1 A' is in A, a value in V is wanted" in told
    assert "70000 does not fit u16" in told


def test_a_wrong_key_of_the_site_does_not_hide_what_else_is_wrong(tmp_path: Path) -> None:
    site = write_site(tmp_path, Case("soltaro-c", cells=2, temperatures=2, series_cells=200))
    text = site.read_text().replace("bus: DUT, unit: 1,", "bus: DUT, unit: 1000,")
    site.write_text(
        text.replace("insulation: {", "insulatoin: 3\n  insulation: {").replace(
            "cell_type: lfp-280", "cell_type: lfp-28"
        )
    )
    with pytest.raises(ConfigError) as caught:
        compile_site(str(site))
    told = str(caught.value)
    assert "unknown key 'limits.insulatoin'" in told
    assert "no cell type of the name 'lfp-28'" in told and "'1000' is not a unit id" in told
    assert "no device reads" not in told, "what follows from a mistake is not told as another one"


# -- wire time ----------------------------------------------------------------------------------------------

SLOW = """
profile: own
describes: A line that must carry much
level: rack
wire: {turnaround: 20 ms, max_registers: 100}
points:
  rack_voltage_v:   {address: 100, scale: 0.1 V, every: %s}
  rack_insulation_ohm: {address: 900, scale: 1 ohm, every: %s}
  rack_main_closed: {address: 101, bit: 0}
"""


def line(baud: int) -> str:
    return RTU.replace("115200", str(baud))


def test_a_period_that_the_line_cannot_keep_is_refused_where_it_stands(tmp_path: Path) -> None:
    text = SLOW % ("20 ms", "10 ms")
    (tmp_path / "profiles").mkdir()
    (problem,) = problems(tmp_path, text, bus=line(9600))
    row = text.splitlines()[problem.line - 1]
    assert row[problem.column - 1 :].startswith("10 ms") and "rack_insulation_ohm" in row
    assert "bus DUT cannot read this every 10 ms: it would come every" in problem.what
    assert "a longer `every`" in problem.right


def test_the_refresh_that_check_shows_follows_from_the_line(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "own.yaml").write_text(SLOW % ("5 s", "20 s"))
    shown = describe(compile_site(str(write_site(tmp_path, PLACED, bus=line(9600)))))
    rows = {b["address"]: b for b in shown["blocks"] if b["profile"] == "own"}
    assert [rows[a]["class"] for a in (101, 100, 900)] == ["FAST", "SLOW", "SLOW"]
    assert [rows[a]["refresh_ms"] for a in (101, 100, 900)] == [2000, 6000, 20_000]
    characters, character_ms = 8 + 7, 10 / 9600 * 1000
    by_hand_ms = characters * character_ms + 20 + 3.5 * character_ms
    assert rows[101]["wire_ms"] == pytest.approx(by_hand_ms, abs=0.01), "Modbus over serial line 2.5.1.1"


def test_a_read_that_does_not_fit_between_two_rounds_is_refused(tmp_path: Path) -> None:
    text = (
        SLOW.replace("every: %s}\n  rack_insulation", "every: 60 s, scale_register: 190}\n  rack_insulation") % "60 s"
    )
    (tmp_path / "profiles").mkdir()
    case = Case("own", place="R01", cycle="100 ms")
    (problem,) = problems(tmp_path, text, case, bus=line(9600))
    assert "this read takes" in problem.what and "between two rounds there are" in problem.what
