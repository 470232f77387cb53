"""Everything that public register maps force a profile to say: each need, the keys that say it, and who uses them.

The list is section 0 of the facts about register maps; a need without a key, or a key without a shipped or written
example that the other tests run, fails here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plc_config import library
from plc_config.schema.profile import Profile
from tests.profile_cases import own
from tools.field_line import Answer
from tools.field_view import View

Memory = dict[tuple[int, int], int]
Uses = Callable[[Profile], bool]


def entries(p: Profile) -> list[Any]:
    """Every point, vendor register, output and constant."""
    points = [r for n in p.points for r in p.segments(n)]
    outputs = [o for n in p.outputs for o in p.writes(n)]
    return [*points, *p.extras.values(), *outputs, *p.constants.values()]


def outputs(p: Profile) -> list[Any]:
    """Every output."""
    return [o for n in p.outputs for o in p.writes(n)]


def some(key: str, *values: Any) -> Uses:
    """A profile with an entry whose `key` is one of these values, or is given at all."""

    def uses(p: Profile) -> bool:
        found = [getattr(e, key, None) for e in entries(p)]
        return any(v in values for v in found) if values else any(v not in (None, [], {}, 0, 0.0, "") for v in found)

    return uses


BYTES = ("u8_high", "u8_low", "s8_high", "s8_low", "u8", "s8")
OWN_SEQUENCE = {"soltaro-c", "pylontech-powercube-m2", "sunspec-803", "sunspec-804"}
NEEDS: list[tuple[str, Uses, set[str]]] = [
    ("function code of a whole map", lambda p: p.wire.read_function == 4, {"seplos-v3"}),
    (
        "function code of one block",
        lambda p: any(e.function == 1 for e in p.extras.values()),
        {"seplos-v3"},
    ),
    ("write functions 6 and 16", lambda p: p.wire.write_function == 6 or some("function", 6)(p), {"soltaro-c"}),
    ("addresses that count bytes", lambda p: p.wire.address_step == 2, {"jk-pb"}),
    ("answers under another unit id", lambda p: p.wire.reply_unit_offset != 0, {"daly-hkms"}),
    ("offset before scale", some("raw_offset"), {"daly-hkms", "seplos-v3"}),
    (
        "two bytes packed in a register",
        some("type", "u8_high", "u8_low", "s8_high", "s8_low", "u8", "s8"),
        {"jk-pb", "eg4-ll"},
    ),
    ("scale factor at run time", some("scale_register"), {"sunspec-803", "sunspec-103"}),
    ("repeating groups", lambda p: p.repeat is not None, {"sunspec-803", "sunspec-804"}),
    (
        "count register of repeating groups",
        lambda p: p.repeat is not None and p.repeat.count_register is not None,
        {"sunspec-803"},
    ),
    ("count register of a row", some("count_register"), {"daly-hkms"}),
    ("no value", some("sentinel"), {"daly-hkms", "sunspec-803"}),
    ("which direction is positive", some("sign", "charge_positive"), {"jk-pb", "seplos-v3"}),
    ("a limit that is sent negative", some("sign", "negated"), {"pylontech-powercube-m2"}),
    ("gap between requests", lambda p: p.wire.gap > 0, {"jk-pb", "eg4-ll"}),
    ("time that the device takes", lambda p: p.wire.turnaround > 2, {"jk-pb"}),
    ("most registers per read", lambda p: p.wire.max_registers < 125, {"jk-pb"}),
    ("readable windows", lambda p: bool(p.wire.windows), {"renogy-lfp", "pylontech-powercube-m2"}),
    ("keep-alive writes", lambda p: any(c.refresh for c in p.constants.values()), {"kaco-gridsave", "sunspec-7xx"}),
    ("heartbeat that counts", some("modulo"), {"sunspec-7xx"}),
    ("write and read back", some("confirm"), {"sunspec-7xx", "soltaro-c"}),
    (
        "revert timer",
        lambda p: any("revert" in n for n in p.constants),
        {"sunspec-7xx", "sunspec-103-124"},
    ),
    ("codes of states", some("equals"), {"soltaro-c", "kaco-gridsave"}),
    ("one bit of a word", some("bit"), {"sunspec-803"}),
    ("numbers of a switch", some("raw_on"), {"soltaro-c", "kaco-gridsave"}),
    (
        "only extremes",
        lambda p: p.cells == "extremes",
        OWN_SEQUENCE,
    ),
    (
        "own precharge",
        lambda p: p.precharge == "device",
        OWN_SEQUENCE,
    ),
    ("models that lie anywhere", lambda p: bool(p.models), {"sunspec-7xx", "kaco-gridsave", "sunspec-805"}),
    ("one value in two registers", lambda p: any(isinstance(o, list) for o in p.outputs.values()), {"sunspec-103-124"}),
    ("strings", some("type", "string"), {"seplos-v3", "sunspec-803"}),
    ("bits that mean yes at 0", some("active", "low"), {"cellwarden-aux"}),
    ("scale factor of an output at run time", lambda p: any(o.scale_register for o in outputs(p)), {"sunspec-7xx"}),
    (
        "part of a rating that the device gives",
        lambda p: any(o.rating for o in outputs(p)),
        {"sunspec-103-124", "kaco-gridsave"},
    ),
    ("conflicting or unverified entries", lambda p: bool(p.doubts()), {"jk-pb", "soltaro-c", "kaco-gridsave"}),
]


def profiles() -> dict[str, Profile]:
    return {n: library.profile_at(library.DATA / "profiles" / f"{n}.yaml")[0] for n in library.shipped("profiles")}


@pytest.mark.parametrize(("need", "uses", "at_least"), NEEDS, ids=[n[0] for n in NEEDS])
def test_a_shipped_profile_says_it(need: str, uses: Uses, at_least: set[str]) -> None:
    missing = at_least - {name for name, profile in profiles().items() if uses(profile)}
    assert not missing, f"{need}: not said by {missing}"


WRITTEN: list[tuple[str, dict[str, Any], str, Memory, dict[str, list[Any]]]] = [
    (
        "word order of a map, and of one entry",
        {},
        """
wire: {word_order: little}
points:
  rack_current_a:    {address: 10, type: s32, scale: 1 mA}
  rack_voltage_v:    {address: 12, type: u32, scale: 0.1 V, word_order: big}
extras:
  made:              {address: 20, type: f32, doc: A float with its low word first}
""",
        {(3, 10): 0xFFF6, (3, 11): 0xFFFF, (3, 12): 0, (3, 13): 8000, (3, 20): 0, (3, 21): 0x3FC0},
        {"rack_current_a": [-0.01], "rack_voltage_v": [800.0], "made": [1.5]},
    ),
    (
        "string byte order and what stands behind a NUL",
        {},
        """
points:
  rack_voltage_v: {address: 0, scale: 1 V}
extras:
  straight: {address: 2, type: string, count: 3, doc: Text}
  swapped:  {address: 5, type: string, count: 2, byte_order: little, doc: Text}
""",
        {(3, 0): 7, (3, 2): 0x4142, (3, 3): 0x4300, (3, 4): 0x5858, (3, 5): 0x4241, (3, 6): 0x0043},
        {"rack_voltage_v": [7.0], "straight": ["ABC"], "swapped": ["ABC"]},
    ),
    (
        "unit 0 as any other, and a bit that means yes at 0",
        {"unit": 0},
        """
points:
  rack_voltage_v:   {address: 0, scale: 1 V}
  rack_main_closed: {address: 1, bit: 3, active: low}
""",
        {(3, 0): 7, (3, 1): 0xFFF7},
        {"rack_voltage_v": [7.0], "rack_main_closed": [1]},
    ),
]
"""Needs that no shipped map has, or not in this way: a map written for the purpose says them."""


@pytest.mark.parametrize(("need", "where", "text", "memory", "expected"), WRITTEN, ids=[n[0] for n in WRITTEN])
def test_a_written_profile_says_it(
    need: str, where: dict[str, Any], text: str, memory: Memory, expected: dict[str, list[Any]], tmp_path: Path
) -> None:
    bench = own(tmp_path, f"profile: own\ndescribes: {need}\nlevel: rack\n{text}", place="R01", **where)
    device = bench.compiled.plan.devices[bench.indices[0]]
    view, found = View(bench.compiled, device), dict[str, list[Any]]()
    for block, extra in view.blocks:
        words = [memory.get((block.function, block.address + i), 0) for i in range(block.count)]
        for reading in view.readings(block, extra, Answer(b"".join(w.to_bytes(2, "big") for w in words))):
            found.setdefault(reading.point, []).append(reading.text if reading.value is None else reading.value)
    assert {name: found[name] for name in expected} == expected
    assert {r.unit for r in bench.reads} == {where.get("unit", 1)}
