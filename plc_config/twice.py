"""Registers from which a profile makes two values: nearly always a line that was copied and not changed.

Bits of one register, halves of it and its codes may each be a point of their own. What a device shows only once may be
meant twice (a feedback that also confirms the command), so this is told and not refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from plc_config import library
from plc_config.plan import PointRef, PointType
from plc_config.schema.profile import PACKED, REGISTERS

if TYPE_CHECKING:
    from plc_config.compile import Compiled

WORD: Final = 0xFFFF
HALVES: Final = {"u8_high": 0xFF00, "s8_high": 0xFF00, "u8_low": 0x00FF, "s8_low": 0x00FF}
ROW: Final = ("rack", "module")
"""Dimensions of a place; what an index has behind them numbers the elements of a row."""


def notes(site: Compiled) -> list[str]:
    """One line for each two points of a profile that share bits of a register, with the place of the second one."""
    first = {device.profile: device.index for device in reversed(site.plan.devices)}
    return [line for name, device in first.items() for line in _of_device(site, name, device)]


def _of_device(site: Compiled, name: str, device: int) -> list[str]:
    path = library.find("profiles", name, site.path.parent)
    if path is None:
        return []
    profile, document = library.profile_at(path)
    found: dict[tuple[str, str], str] = {}
    taken: dict[tuple[int, int], list[tuple[int, PointRef]]] = {}
    for function, register, bits, ref in _read(site, device):
        earlier = taken.setdefault((function, register), [])
        for others, other in earlier:
            if bits & others and not _apart(ref, other) and (other.point, ref.point) not in found:
                shown = register * (profile.wire.address_step if function in (3, 4) else 1)
                also = "twice" if other.point == ref.point else f"as {other.point} does"
                what = f"{ref.point} reads register {shown}, {also}: a copied line?"
                found[other.point, ref.point] = str(document.problem(("points", ref.point), what))
        earlier.append((bits, ref))
    return list(found.values())


def _read(site: Compiled, device: int) -> Iterator[tuple[int, int, int, PointRef]]:
    """Function, register, bits of it and the point, for everything that a device is asked for."""
    for block in site.plan.reads:
        for ref in block.points if block.device == device else ():
            for offset, bits in _used(ref):
                yield block.function, block.address + offset, bits, ref


def _apart(a: PointRef, b: PointRef) -> bool:
    """Other codes of one register for each point; or the same point of two places, which one register may serve."""
    codes, others = set(a.type.equals), set(b.type.equals)
    places = a.place[: len(ROW)] != b.place[: len(ROW)]
    return bool(codes and others and codes != others) or (a.point == b.point and places)


def _used(ref: PointRef) -> Iterator[tuple[int, int]]:
    """Offsets into the block of all registers that a point is made of, and which of their bits."""
    kind = ref.type
    if kind.type in PACKED:
        yield from ((ref.offset + k, WORD) for k in range((ref.count + 1) // 2))
        return
    for element in range(ref.count):
        for word in range(REGISTERS[kind.type]):
            yield ref.offset + element * kind.registers_each + word, _bits(kind, word)


def _bits(kind: PointType, word: int) -> int:
    """Bits that count in one of the registers of an element."""
    if kind.type in HALVES:
        return HALVES[kind.type]
    whole = 1 << kind.bit if kind.bit >= 0 else kind.mask
    if not whole:
        return WORD
    behind = word if kind.little_words else REGISTERS[kind.type] - 1 - word
    return whole >> (16 * behind) & WORD
