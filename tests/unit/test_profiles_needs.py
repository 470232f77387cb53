"""Everything that public register maps force a profile to say: each need, the keys that say it, and who uses them.

The list is section 0 of the facts about register maps; a need without a key, or a key without a shipped or written
example that the other tests run, fails here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from plc_config import library
from plc_config.schema.profile import Profile

Uses = Callable[[Profile], bool]


def entries(p: Profile) -> list[Any]:
    """Every point, vendor register, output and constant."""
    points = [r for n in p.points for r in p.segments(n)]
    outputs = [o for n in p.outputs for o in p.writes(n)]
    return [*points, *p.extras.values(), *outputs, *p.constants.values()]


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
    ("conflicting or unverified entries", lambda p: bool(p.doubts()), {"jk-pb", "soltaro-c", "kaco-gridsave"}),
]


def profiles() -> dict[str, Profile]:
    return {n: library.profile_at(library.DATA / "profiles" / f"{n}.yaml")[0] for n in library.shipped("profiles")}


@pytest.mark.parametrize(("need", "uses", "at_least"), NEEDS, ids=[n[0] for n in NEEDS])
def test_a_shipped_profile_says_it(need: str, uses: Uses, at_least: set[str]) -> None:
    missing = at_least - {name for name, profile in profiles().items() if uses(profile)}
    assert not missing, f"{need}: not said by {missing}"
