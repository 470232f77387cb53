"""What a site engineer gets wrong, and what he is told: file, line, column, what is wrong, what would be right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ConfigDict

from controller.core.signal import UNIT_SUFFIX
from plc_config import coverage, library
from plc_config.cause_effect import render
from plc_config.compile import compile_site
from plc_config.problem import ConfigError
from plc_config.quantity import duration_ms, parse
from plc_config.ranges import expand, expand_places
from plc_config.schema.base import Strict, check
from plc_config.strict_yaml import loads
from tests.story import Story


class Anything(Strict):
    """A model that takes any keys, so that only the YAML itself can be wrong."""

    model_config = ConfigDict(extra="allow")


BENCH = (library.DATA / "sites" / "bench.yaml").read_text("utf-8")


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "site.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        compile_site(str(path))
    return [str(p).replace(str(path), "site.yaml") for p in caught.value.problems]


@pytest.mark.parametrize("name", ["bench", "container", "plant"])
def test_the_shipped_sites_are_right(name: str) -> None:
    site = compile_site(name)
    assert site.config.site.id == name
    assert site.config.opcua.bind == "127.0.0.1"
    assert all(b.kind == "rtu" or b.host == "127.0.0.1" for b in site.plan.buses)


@pytest.mark.parametrize("name", library.shipped("cells"))
def test_the_shipped_cell_types_are_right(name: str) -> None:
    cell, _ = library.cell_type_at(library.DATA / "cells" / f"{name}.yaml")
    assert cell.cell_type == name


@pytest.mark.parametrize("name", library.shipped("profiles"))
def test_the_shipped_profiles_are_right(name: str) -> None:
    profile, _ = library.profile_at(library.DATA / "profiles" / f"{name}.yaml")
    assert profile.profile == name


WRONG = [
    ("cycle: 100 ms", "cycle: 100", "site.yaml:", "100 has no unit; write it like 500 ms"),
    ("cycle: 100 ms", "cycle: 100 V", "site.yaml:", "is in V, a value in ms is wanted"),
    ("cycle: 100 ms", "cycel: 100 ms", "unknown key 'cycel'", "did you mean 'cycle'?"),
    ("cell_type: lfp-280", "cell_type: lfp-281", "no cell type of the name 'lfp-281'", "known: lfp-280"),
    ("racks: 2", "racks: 3", "no device reads cell_voltage_v of R03/M01", "add a device"),
    ("simulated: true", "simulated: yes", "'yes' is ambiguous", "write true or false"),
    ("racks: 2", "racks: 2\n  racks: 3", "duplicate key 'racks'", "it stands first at line"),
    ("racks: 2", "racks: 0", "topology.racks: 0 is out of range", "at least 1"),
    ("racks: 2", "racks: two", "topology.racks: a whole number is wanted", "two"),
    ("racks: 2", "racks: 1", "'R02' is not in the topology", "R01..R01"),
    ("unit: 1..4, place: R01", "unit: 1..3, place: R01", "3 values for 4 places", "give 1 or 4"),
    ("unit: 100, place: R02", "unit: 1, place: R02", "unit 1 on bus LINE1 (LINE1) is already", "each unit id"),
    ("profile: cellwarden-pcs", "profile: cellwarden-psc", "no profile of the name", "cellwarden-pcs"),
    ("bus: AUX", "bus: AUXX", "no bus of the name 'AUXX'", "defined buses"),
    ("baud: 115200", "baud: 9600", "wire time in every cycle of 100 ms", "a cycle of at least"),
    ("trip: 50 kohm", "trip: 130 kohm", "insulation: limits out of order", "wanted is clear > warn >= trip"),
    ("ramp: 50 kW/s", "ramp: 50 kW", "a value in W/s is wanted", "500 kW/s"),
    ("operator: Operator", "operator: Root", "Observer", "Root"),
    (
        "limits:\n",
        "limits:\n  cell_overvoltage: {trip: 3.70 V}\n",
        "laxer than the cell type's 3.65 V",
        "3.65 V or less",
    ),
    ("limits:\n", "limits:\n  cell_overvoltage: {clear: 3.40}\n", "3.4 has no unit", "write it like 3.65 V"),
    ("id: bench", "id: Bench 1", "site.id: 'Bench 1' is not of the form", "small letters, digits"),
    ("kind: rtu,", "kind: rtx,", "buses.LINE1: no kind 'rtx'", "one of 'tcp'"),
    ("kind: rtu, ", "", "buses.LINE1: 'kind' is missing", "LINE1"),
    ("port: 15053,", "port: 15053, baud: 9600,", "unknown key 'buses.AUX.baud'", "known keys: host, kind, port"),
    ("port: 15053,", "port: 15052,", "unit 1 on bus AUX (127.0.0.1:15052) is already pcs", "serves one device"),
    ("  PCS: {", "  LINE2: {kind: rtu, port: LINE1}\n  PCS: {", "LINE1 is already that of LINE1", "one bus for each"),
    ("127.0.0.1, port: 15053", "127.0.0.999, port: 15053", "'127.0.0.999' is not an address", "10.0.1.11"),
    ("users:", "opcua: {bind: 0.0.0}\nusers:", "'0.0.0' is not an address", "write it like"),
    ("127.0.0.1, port: 15053", '"127.0.0.1:15053", port: 15053', "'127.0.0.1:15053' is not an address", "own key"),
    ("users:", "opcua: {bind: 'localhost:4840'}\nusers:", "'localhost:4840' is not an address", "its own key"),
    ("parity: none", "parity: NONE", "none, even or odd is wanted, not 'NONE'", "buses.LINE1.parity"),
    ("users:\n", "users: none\nu:\n", "users: keys with values are wanted, not 'none'", "{key: value}"),
    ("rated_power: 100 kW", "rated_power: -100 kW", "'-100 kW' is out of range", "more than 0 W"),
    ("ramp: 50 kW/s", "ramp: 50 kW/s\n  fallback_power: 2 MW", "is beyond rated_power 100000 W", "fallback_power"),
    ("timeout: 60 ms", "timeout: 0 s", "buses.LINE1.timeout: '0 s' is out of range", "more than 0 ms"),
    ("users:", "estimator: {initial_soc: 150 %}\nusers:", "'150 %' is out of range", "at most 100 %"),
    ("limits:\n", "limits:\n  lost_after: 1 h\n", "limits.lost_after: '1 h' is out of range", "at most 60000 ms"),
    ("limits:\n", "limits:\n  stale_after: 1 s\n", "is beyond lost_after 800 ms", "doubted before it is lost"),
    ("limits:\n", "limits:\n  cell_overvoltage: {delay: -1 s}\n", "delay: -1000 ms is below zero", "0 ms or more"),
    ("limits:\n", "limits:\n  cell_overvoltage: {delay: 1 s}\n", "laxer than the cell type's 100 ms", "100 ms or less"),
    ("trip: 50 kohm", "trip: -50 kohm", "-50000 ohm never trips", "above 0 ohm"),
    (
        "  insulation: {warn: 100 kohm, trip: 50 kohm, clear: 120 kohm, delay: 1 s}\n",
        "",
        "insulation is missing: a device reads rack_insulation_ohm",
        "warn, trip, clear, delay",
    ),
]


@pytest.mark.parametrize(("old", "new", "what", "right"), WRONG, ids=[w[1].strip()[:30] for w in WRONG])
def test_a_mistake_is_named_with_its_place_and_its_cure(
    old: str, new: str, what: str, right: str, tmp_path: Path
) -> None:
    assert old in BENCH
    told = problems(tmp_path, BENCH.replace(old, new, 1))
    assert any(any(w in t for w in what.split("|")) for t in told), told
    assert any(right in t for t in told), told
    assert all(t.split(":")[0] == "site.yaml" and t.split(":")[1].isdigit() for t in told)


def test_an_address_of_the_sixth_version_is_one(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(BENCH.replace("users:", "opcua: {bind: '::1'}\nusers:"), "utf-8")
    assert compile_site(str(path)).config.opcua.bind == "::1"


def test_the_line_is_the_right_one(tmp_path: Path) -> None:
    text = BENCH.replace("cycle: 100 ms", "cycle: 100")
    line = next(i for i, row in enumerate(text.splitlines(), 1) if row.startswith("cycle"))
    assert problems(tmp_path, text)[0].startswith(f"site.yaml:{line}:8: ")


def test_all_mistakes_are_told_together(tmp_path: Path) -> None:
    told = problems(tmp_path, BENCH.replace("bus: AUX", "bus: NOT").replace("trip: 50 kohm", "trip: 500 kohm"))
    assert len(told) == 2
    told = problems(tmp_path, BENCH.replace("true", "yes").replace("cycle: 100 ms", "cycle: 100\nspeed: 1"))
    assert len(told) == 3


def test_a_stricter_site_limit_is_in_force(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(BENCH.replace("limits:\n", "limits:\n  cell_overvoltage: {trip: 3.62 V}\n", 1), "utf-8")
    assert compile_site(str(path)).program.limit.cell_overvoltage.trip == 3.62


def test_a_site_without_an_insulation_monitor_needs_no_limit_for_it(tmp_path: Path) -> None:
    profile = (library.DATA / "profiles" / "cellwarden-rack.yaml").read_text("utf-8")
    (tmp_path / "profiles").mkdir()
    plain = profile.replace("profile: cellwarden-rack", "profile: plain-rack")
    plain = "".join(x for x in plain.splitlines(keepends=True) if "rack_insulation_ohm" not in x)
    (tmp_path / "profiles" / "plain-rack.yaml").write_text(plain, "utf-8")
    limit = "  insulation: {warn: 100 kohm, trip: 50 kohm, clear: 120 kohm, delay: 1 s}\n"
    text = BENCH.replace("profile: cellwarden-rack,", "profile: plain-rack,")
    for site, useless in ((text, True), (text.replace(limit, ""), False)):
        path = tmp_path / "site.yaml"
        path.write_text(site, "utf-8")
        compiled = compile_site(str(path))
        told = coverage.notes(compiled.plan, compiled.topology, compiled.config.limits)
        assert "no device reads rack_insulation_ohm: its protection is not there" in told
        assert ("limits.insulation limits nothing: no device reads rack_insulation_ohm" in told) == useless
    assert "Insulation resistance of each rack: not measured at this site" in render(compiled.program)
    story = Story(compiled).online()
    assert not story.active("insulation_low", "R01") and not story.active("insulation_lost", "R01")


def test_a_shorter_module_leaves_the_rest_unfitted_and_says_so(tmp_path: Path) -> None:
    path, longer = (
        tmp_path / "site.yaml",
        BENCH.replace("cells: 16", "cells: 52").replace("temperatures: 4", "temperatures: 26"),
    )
    path.write_text(longer.replace("cellwarden-module-16, bus: GW01", "cellwarden-module-52, bus: GW01"), "utf-8")
    site = compile_site(str(path))
    fitted = site.topology.cell_fitted
    assert fitted[0].all() and fitted[1, :, :16].all() and not fitted[1, :, 16:].any()
    told = "R02/M04 reports 16 of 52 cells: the others are taken for not fitted, and nothing protects them"
    assert told in coverage.notes(site.plan, site.topology, site.config.limits)


@pytest.mark.parametrize(("cell", "most_v"), [("lfp-280", 3.65), ("nmc-94", 4.25), ("lto-40", 2.8)])
def test_cells_of_every_chemistry_may_be_bled_in_the_upper_part_of_their_range(
    tmp_path: Path, cell: str, most_v: float
) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(BENCH.replace("cell_type: lfp-280", f"cell_type: {cell}"), "utf-8")
    site = compile_site(str(path))
    from_v = site.program.balancing.settings.least_cell_voltage_v
    half_v = np.interp(0.5, site.cell.ocv.soc, site.cell.ocv.volts)
    assert site.cell.limits.cell_undervoltage.warn < from_v < half_v < most_v
    assert from_v == 3.2 if cell != "lto-40" else from_v == pytest.approx(2.06, abs=0.01)


def test_a_missing_key_is_told_where_it_belongs(tmp_path: Path) -> None:
    text = BENCH.replace("  ramp: 50 kW/s\n", "")
    line = next(i for i, row in enumerate(text.splitlines(), 1) if row.startswith("  rated_power"))
    assert problems(tmp_path, text) == [f"site.yaml:{line}:3: 'dispatch.ramp' is missing"]


def test_a_file_that_is_no_text_or_has_tabs_is_told_where(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    for data, told in (
        ("site:\n  name: Süd\n".encode("latin-1"), "site.yaml:2:10: byte 0xfc is not UTF-8; save the file as UTF-8"),
        (b"site:\n\tid: a\n", "site.yaml:2:1: a tab cannot indent YAML; write spaces"),
        (b"- a\n", "site.yaml:1:1: keys with values are wanted; write it like {key: value}"),
    ):
        path.write_bytes(data)
        with pytest.raises(ConfigError) as caught:
            compile_site(str(path))
        assert str(caught.value.problems[0]).replace(str(path), "site.yaml") == told


def test_a_missing_file_and_an_unknown_name_are_told() -> None:
    for site in ("nowhere.yaml", "nosuchsite"):
        with pytest.raises(ConfigError) as caught:
            compile_site(site)
        assert site in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "a: [1", "a: 1\n b: 2", "? [1, 2]\n: 3", "a: &x [*x]", "<<: 1", "\x00", "a: 010"], ids=repr
)
def test_odd_yaml_is_refused_not_guessed(text: str) -> None:
    with pytest.raises(ConfigError):
        check(Anything, loads(text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: {b: 1 s\nc: 1\n", "close the { that opens at line 1, column 4"),
        ("a: [1, 2\nb: 3\n", "close the [ that opens at line 1, column 4"),
        ("a: 'x\nb: 1\n", "close the quote that opens at line 1, column 4"),
        ("name: North: 2\n", "quote a text that contains ': '"),
        ("a:\n  b: 1\n c: 2\n", "indent keys of one block alike"),
        ("a: 1\n---\nb: 2\n", "remove the line ---"),
        ("- a\nb: c\n", "do not stand side by side"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_cure(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(text)
    assert told in str(caught.value)


def test_scalars_mean_what_they_look_like() -> None:
    data = loads("a: 1\nb: 1.5\nc: true\nd: '010'\ne: 1e3\nf: 0xFFFF\ng: null\nh: 3.65 V\n").data
    assert data == {"a": 1, "b": 1.5, "c": True, "d": "010", "e": 1000.0, "f": 65535, "g": None, "h": "3.65 V"}


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("3.65 V", "V", 3.65),
        ("500 ms", "ms", 500),
        ("2.5 MW", "W", 2.5e6),
        ("5 %", "ratio", 0.05),
        ("-5 °C", "degC", -5),
        ("0.4 mohm", "ohm", 4e-4),
        ("280 Ah", "Ah", 280),
        ("10 mV", "V", 0.01),
        ("2 GB", "B", 2e9),
        ("1 MW/s", "W/s", 1e6),
    ],
)
def test_quantities(text: str, unit: str, value: float) -> None:
    assert parse(text, unit) == pytest.approx(value)


@pytest.mark.parametrize("text", ["3.65", "V", "1 V V", "1e999 V", "nan V", "1 mm", "", 3.65, True, None])
def test_a_quantity_without_a_unit_or_number_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"write it like 3\.65 V"):
        parse(text, "V")


def test_the_last_digit_of_a_number_is_no_unit() -> None:
    with pytest.raises(ValueError, match="'31' is not a quantity"):
        parse("31", "1")
    assert parse("31 1", "1") == 31


@pytest.mark.parametrize(("text", "ms"), [("20s", 20_000), ("500ms", 500), ("2 min", 120_000), ("0.5s", 500)])
def test_durations(text: str, ms: int) -> None:
    assert duration_ms(text) == ms


def test_ranges() -> None:
    assert expand("GW01..GW03") == ["GW01", "GW02", "GW03"]
    assert expand("8..10") == ["8", "9", "10"]
    assert expand(7) == ["7"]
    assert expand_places("R01..R02/M01..M02")[0] == [("R01", "M01"), ("R01", "M02"), ("R02", "M01"), ("R02", "M02")]
    assert expand("10.0.1.9..10.0.1.11") == expand("10.0.1.9..11") == ["10.0.1.9", "10.0.1.10", "10.0.1.11"]
    for wrong in ("GW03..GW01", "A1..B2", "1..99999", "..", "10.0.1.11..10.0.2.3"):
        with pytest.raises(ValueError, match=r"\.\."):
            expand(wrong)


def test_every_unit_has_a_suffix_and_every_name_carries_its_unit() -> None:
    from controller.core.image import InputImage, ProcessImage
    from controller.core.layout import tags_of
    from controller.core.memory import Memory
    from controller.core.retained import Retained

    for cls in (InputImage, ProcessImage, Memory, Retained):
        for t in tags_of(cls):
            suffix = UNIT_SUFFIX.get(t.unit)
            assert t.unit == "1" or suffix is not None, t.path
            if suffix is not None:
                assert t.name.endswith("_" + suffix), f"{t.path} is in {t.unit}"
