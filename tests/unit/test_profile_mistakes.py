"""A mistake in a profile is named with its place; what is doubtful is said; the guide is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from plc_config.compile import compile_site
from plc_config.library import DATA
from plc_config.problem import ConfigError
from plc_config.schema import profile as schema
from tests.profile_cases import CASES, OWN, memory, own
from tests.profile_rig import Bench, Case, write_site
from tools.commands.check import describe

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
    ("raw_on: 11, raw_off: 8,", "raw_on: 11, raw_off: 8, scale_register: 9,", "belong to numbers, not to switches"),
]

CONVERTER = """
profile: own
describes: A converter that is set in parts of its rating
level: pcs
points:
  pcs_active_power_w: {address: 0, type: s16, scale: 1 W}
outputs:
  pcs_active_power_setpoint_w:
    address: 10
    type: s16
    scale: 1 %
    scale_register: 20
    rating: {address: 30, scale: 1 kW}
"""
PARTS_WRONG = [
    ("scale: 1 %", "scale: 10 W", "'10 W' is in W, a value in ratio is wanted"),
    ("{address: 30, scale: 1 kW}", "{address: 30, scale: 1 V}", "'1 V' is in V, a value in W is wanted"),
    ("{address: 30, scale: 1 kW}", "{address: 30}", "scale' is missing"),
    ("{address: 30, scale: 1 kW}", "{address: setup+30, scale: 1 kW}", "no base of the name 'setup'"),
    ("{address: 30, scale: 1 kW}", "{address: 30, scale: 1 kW, scale_register: 300}", "cannot come with one request"),
    ("level: pcs\n", "level: pcs\nwire: {windows: [0..15]}\n", "lie in no readable window"),
]


@pytest.mark.parametrize(("old", "new", "what"), PARTS_WRONG, ids=[w[2][:40] for w in PARTS_WRONG])
def test_a_mistake_in_what_an_output_is_divided_by_is_named(old: str, new: str, what: str, tmp_path: Path) -> None:
    right = tmp_path / "right"
    right.mkdir()
    assert own(right, CONVERTER, place="P01").writes[0].divisors
    with pytest.raises(ConfigError) as caught:
        own(tmp_path, CONVERTER.replace(old, new), place="P01")
    assert what in str(caught.value)
    assert all("own.yaml:" in str(p) for p in caught.value.problems)


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


def test_what_is_doubtful_is_said(tmp_path: Path) -> None:
    notes = describe(Bench(tmp_path, CASES["jk-pb"]).compiled)["notes"]
    assert any("profile jk-pb: the map is unverified" in n for n in notes)
    assert any("profile jk-pb: extras.alarms is unverified: the driver in field use" in n for n in notes)
    site = write_site(tmp_path, CASES["renogy-lfp"])
    assert site.exists()
    notes = describe(Bench(tmp_path, CASES["renogy-lfp"]).compiled)["notes"]
    assert any("too coarse for imbalance" in n for n in notes)


def test_a_value_that_is_old_before_the_next_one_comes_is_told(tmp_path: Path) -> None:
    notes = describe(Bench(tmp_path, CASES["jk-pb"]).compiled)["notes"]
    said = "more points are read every 2000 ms but stale after 300 ms (limits.stale_after)"
    (note,) = [n for n in notes if f"{said} and lost after 800 ms (limits.lost_after): their rows act" in n]
    assert note.startswith("cell_voltage_v, ")


def test_contactors_that_are_read_too_seldom_to_be_judged_are_told(tmp_path: Path) -> None:
    def said(follow: str) -> list[str]:
        path = tmp_path / "site.yaml"
        text = (DATA / "sites" / "bench.yaml").read_text("utf-8").replace("cycle: 100 ms", "cycle: 500 ms")
        path.write_text(text.replace("limits:\n", f"limits:\n  contactor_follow: {follow}\n"), "utf-8")
        return [n for n in describe(compile_site(str(path)))["notes"] if "contactor" in n]

    assert said("1200 ms") == []
    (note,) = said("300 ms")
    assert note.startswith("contactor feedback is read every 500 ms, limits.contactor_follow is 300 ms: one lost reply")


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


MAP = """
profile: own
describes: A rack whose map fills register after register
level: rack
points:
  rack_voltage_v:           {address: 100, scale: 1 V}
  rack_insulation_ohm:      {address: 102, type: u32, scale: 1 ohm}
  rack_current_a:           {address: 104, type: s16, scale: 1 A}
  rack_main_closed:         {address: 105, bit: 0}
  rack_precharge_closed:    {address: 105, bit: 1}
  rack_main_confirmed:      {address: 106, equals: [3]}
  rack_precharge_confirmed: {address: 106, equals: [2, 3]}
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("", "", ""),
        ("address: 104", "address: 100", "rack_current_a reads register 100, as rack_voltage_v does"),
        ("address: 104", "address: 103", "rack_current_a reads register 103, as rack_insulation_ohm does"),
        ("address: 104", "address: 102", "rack_current_a reads register 102, as rack_insulation_ohm does"),
        ("105, bit: 1", "105, bit: 0", "rack_precharge_closed reads register 105, as rack_main_closed does"),
        ("105, bit: 1", "105, mask: 0xFFFE", ""),
        ("105, bit: 1", "105, mask: 3", "rack_precharge_closed reads register 105, as rack_main_closed does"),
        ("105, bit: 1", "105, function: 4", ""),
        ("[2, 3]", "[3]", "rack_precharge_confirmed reads register 106, as rack_main_confirmed does"),
        ("equals: [3]", "mask: 3", "rack_precharge_confirmed reads register 106, as rack_main_confirmed does"),
    ],
)
def test_two_points_of_one_register_are_told_with_their_place(old: str, new: str, told: str, tmp_path: Path) -> None:
    """Accepted all the same: a device may show but once what is meant twice."""
    notes = describe(own(tmp_path, MAP.replace(old, new), place="R01").compiled)["notes"]
    found = [n for n in notes if "a copied line?" in n]
    assert bool(found) == bool(told)
    for note in found:
        assert told in note
        row = MAP.splitlines().index(next(x for x in MAP.splitlines() if f"  {told.split()[0]}:" in x)) + 1
        assert f"profiles/own.yaml:{row}:" in note


def test_one_register_for_two_elements_of_a_row_is_told(tmp_path: Path) -> None:
    """The highest and the lowest cell of a rack that reports only these would always agree."""
    rows = (DATA / "profiles" / "soltaro-c.yaml").read_text("utf-8").replace("profile: soltaro-c", "profile: own")
    for address, told in (("0x2108", 0), ("0x2106", 1)):
        folder = tmp_path / address
        folder.mkdir()
        bench = own(folder, rows.replace("0x2108", address), cells=2, temperatures=2, series_cells=16)
        notes = describe(bench.compiled)["notes"]
        assert sum("cell_voltage_v reads register 8454, twice: a copied line?" in n for n in notes) == told


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_no_shipped_profile_makes_two_points_of_one_register(case: Case, tmp_path: Path) -> None:
    assert not [n for n in describe(Bench(tmp_path, case).compiled)["notes"] if "a copied line?" in n]
