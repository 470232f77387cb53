"""Cell types and sites that contradict themselves are refused where they stand; what is improbable is noted."""

from __future__ import annotations

from pathlib import Path

import pytest

from plc_config import advice, datasheet, library
from plc_config.compile import compile_site
from plc_config.problem import ConfigError

BENCH = (library.DATA / "sites" / "bench.yaml").read_text("utf-8")
NMC = (library.DATA / "cells" / "nmc-94.yaml").read_text("utf-8").replace("cell_type: nmc-94", "cell_type: own")
RACK = (library.DATA / "profiles" / "cellwarden-rack.yaml").read_text("utf-8").replace(
    "profile: cellwarden-rack", "profile: own-rack"
)  # fmt: skip


def site(folder: Path, cell: str = NMC, text: str = BENCH, rack: str = RACK) -> str:
    """A bench with a cell type and a rack profile of its own; the path of its file."""
    for kind, name, content in (("cells", "own", cell), ("profiles", "own-rack", rack)):
        (folder / kind).mkdir()
        (folder / kind / f"{name}.yaml").write_text(content, "utf-8")
    path = folder / "site.yaml"
    text = text.replace("cell_type: lfp-280", "cell_type: own").replace("profile: cellwarden-rack", "profile: own-rack")
    path.write_text(text, "utf-8")
    return str(path)


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


IMPOSSIBLE = [
    ("resistance: 0.75 mohm", "resistance: 0.75 ohm", "would drop 70.5 V at 1C", "1 mV to 1 V"),
    ("capacity: 94 Ah", "capacity: 94 kAh", "is 0.001C of 94000 Ah", "0.01C to 100C"),
    ("charge_current: 94 A", "charge_current: 120 A", "rated operation would trip", "99 A or less"),
    ("volts: [2.5, 2.6146", "volts: [250, 2614.6", "", "volts must not fall"),
    ("4.1907, 4.2]", "4.1907, 42.0]", "42 V is beyond what a cell voltage may read", "0.5 to 5 V"),
    ("trip: 4.25 V", "trip: 42.5 V", "it would never trip", "0.5 to 5 V"),
    ("trip: 55 degC", "trip: 550 degC", "it would never trip", "-45 to 150 degC"),
    ("trip: 226 A", "trip: 22600 A", "it would never trip", "-3000 to 3000 A"),
    ("clear: 4.10 V, delay: 100 ms", "clear: 4.10 V, delay: 100 s", "100000 ms is too long", "at most 10000 ms"),
    ("warn: 4.20 V", "warn: 4.30 V", "cell_overvoltage: limits out of order", "operate <= warn <= trip"),
    (
        "{operate: 3.15 V, warn: 3.10 V, trip: 3.00 V, clear: 3.30 V",
        "{operate: 4.35 V, warn: 4.30 V, trip: 4.28 V, clear: 4.40 V",
        "no value is clear of both",
        "cell_undervoltage.clear < cell_overvoltage.clear",
    ),
    (
        "derate_charge_voltage:        {at: [4.10, 4.17, 4.20], fraction: [1.0, 0.2, 0.0]}",
        "derate_charge_voltage:        {at: [4.10, 4.17, 4.20], fraction: [0.0, 0.2, 1.0]}",
        "derate_charge_voltage: 1 at the trip of cell_overvoltage (4.25), 0 where it is clear",
        "turn the fractions round",
    ),
]


@pytest.mark.parametrize(("old", "new", "what", "right"), IMPOSSIBLE, ids=[row[1][:40] for row in IMPOSSIBLE])
def test_what_no_cell_can_do_is_refused_in_the_file_of_the_cell(
    old: str, new: str, what: str, right: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_site(site(tmp_path, changed(NMC, old, new)))
    told = [p for p in caught.value.problems if what in p.what and right in f"{p.what} {p.right}"]
    assert told, [str(p) for p in caught.value.problems]
    assert all(p.file.endswith("cells/own.yaml") and p.line > 1 for p in told)


def test_a_limit_of_the_site_out_of_order_is_told_in_the_site(tmp_path: Path) -> None:
    text = changed(BENCH, "limits:\n", "limits:\n  cell_overvoltage: {trip: 4.15 V}\n")
    with pytest.raises(ConfigError) as caught:
        compile_site(site(tmp_path, text=text))
    (problem,) = caught.value.problems
    assert problem.file.endswith("site.yaml") and "limits out of order" in problem.what


@pytest.mark.parametrize("name", library.shipped("cells"))
def test_shipped_cell_types_raise_no_doubt(name: str) -> None:
    cell, _ = library.cell_type_at(library.DATA / "cells" / f"{name}.yaml")
    assert not datasheet.complaints(cell) and not datasheet.notes(cell)


IMPROBABLE = [
    ("site", "rated_power: 100 kW", "rated_power: 100 MW", "dispatch.rated_power 100,000 kW is 1,108 times"),
    ("site", "ramp: 50 kW/s", "ramp: 50 W/s", "rated power is reached after 33 min"),
    ("site", "trip: 50 kohm", "trip: 50 ohm", "limits.insulation.trip is 0.208 ohm per volt"),
    ("cell", "cell_type: own", "cell_type: nmc-94", "cells/own.yaml calls itself 'nmc-94'"),
    ("cell", "at: [4.10, 4.17, 4.20]", "at: [4.10, 4.17, 4.35]", "still allows 11% where cell_overvoltage trips"),
    ("rack", "profile: own-rack", "profile: cellwarden-rack", "profiles/own-rack.yaml calls itself 'cellwarden-rack'"),
    ("rack", "scale: 0.1 A", "scale: 1 mA", "rack_current_a reaches 32.77 at most, charge_overcurrent trips at 113"),
    (
        "rack",
        "  heartbeat:                {address: 0, type: u16, function: 6, modulo: 65536, refresh: cycle}\n",
        "",
        "no heartbeat or watchdog of R01, R02 is written",
    ),
]


@pytest.mark.parametrize(("file", "old", "new", "note"), IMPROBABLE, ids=[row[3][:40] for row in IMPROBABLE])
def test_what_is_possible_and_improbable_is_noted(file: str, old: str, new: str, note: str, tmp_path: Path) -> None:
    files = {"site": BENCH, "cell": NMC, "rack": RACK}
    files[file] = changed(files[file], old, new)
    found = advice.notes(compile_site(site(tmp_path, files["cell"], files["site"], files["rack"])))
    assert any(note in told for told in found), found


def test_a_sound_site_is_noted_nowhere(tmp_path: Path) -> None:
    assert not advice.notes(compile_site(site(tmp_path)))
    for name in library.shipped("sites"):
        assert not advice.notes(compile_site(name))
