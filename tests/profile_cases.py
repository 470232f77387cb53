"""How every shipped profile is placed in a site, values for its points, and registers written out by hand."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from controller.core.field_image import Points
from controller.core.layout import tags_of
from controller.fieldbus.codec import Encoder
from plc_config import library
from tests.profile_rig import Bench, Case
from tools.simulator.encode import RANGE

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
        Case("sunspec-103-124", place="P01"),
    )
}


TAGS = {t.name: t for t in tags_of(Points)}


PLAUSIBLE = {"cell_voltage_v": (2.6, 3.6), "cell_temperature_degc": (1, 55), "rack_voltage_v": (20, 60)}


def each_profile() -> Any:
    return pytest.mark.parametrize("bench", list(CASES), indirect=True)


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


def two(value: int) -> tuple[int, int]:
    """A 32 bit number as two registers, high word first."""
    return (value >> 16) & 0xFFFF, value & 0xFFFF


def memory(function: int, *rows: tuple[int, tuple[int, ...]], step: int = 1) -> dict[tuple[int, int], int]:
    """Registers from (address, words)."""
    return {(function, address + i * step): w & 0xFFFF for address, words in rows for i, w in enumerate(words)}


def written(bench: Bench, output: str, value: float, number: int = 0) -> tuple[int, int, str]:
    """Function, address and data of a write."""
    block = [w for w in bench.writes if w.output == output and w.modulo != 1][number]
    value = value / bench.group.divisor(block, 0)
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
"""A profile as an integrator may write it for a device of his own."""


def own(tmp_path: Path, text: str, **more: Any) -> Bench:
    (tmp_path / "profiles").mkdir(exist_ok=True)
    (tmp_path / "profiles" / "own.yaml").write_text(text)
    return Bench(tmp_path, Case("own", **more))
