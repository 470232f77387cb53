"""From a profile's register to what the codec does with it: unit and scale, pieces of a row, distance of helpers."""

from __future__ import annotations

import dataclasses
from typing import Final

from plc_config.plan import PointRef, PointType
from plc_config.quantity import EXAMPLE, NUMBER, parse, unit_of
from plc_config.schema.profile import PACKED, Constant, Output, Profile, Register

LARGEST_COUNT: Final = 2000
PART: Final = "ratio"
"""Unit of an output that is a part of a rating, and is scaled in percent."""


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """A part of a point that one request must cover whole: where it starts, how long it is, what it gives."""

    start: int
    length: int
    ref: PointRef


def scale_of(scale: str | int | float, unit: str) -> float:
    """The factor to `unit`; ValueError where the text carries no unit or another one."""
    if isinstance(scale, int | float) or scale == "1":
        if unit != "1":
            raise ValueError(f"a scale with a unit is needed; write it like 0.1 {unit}")
        return float(scale)
    return parse(scale, unit)


def own_unit(scale: str | int | float) -> str:
    """The SI unit that a vendor register's own scale names; ValueError where it is not a known one."""
    if not isinstance(scale, str) or scale == "1":
        return "1"
    match = NUMBER.match(scale)
    found = unit_of(match.group(2)) if match else None
    if found is None:
        raise ValueError(f"{scale!r} is not a quantity; write it like {EXAMPLE['V']}, or 1 for a plain number")
    return found[0]


def point_type(profile: Profile, register: Register, scale: float) -> PointType:
    """How the registers of one piece become values."""
    little = (register.word_order or profile.wire.word_order) == "little"
    return PointType(
        type=register.type,
        scale=scale,
        raw_offset=register.raw_offset,
        sentinel=tuple(register.sentinel),
        negate=register.negate,
        bit=-1 if register.bit is None else register.bit,
        active_low=register.active == "low",
        little_words=little,
        registers_each=register.registers_each,
        mask=register.mask,
        equals=tuple(register.equals),
    )


def output_type(profile: Profile, output: Output, scale: float) -> PointType:
    """How a value becomes the registers of one output."""
    offset = output.raw_offset
    if output.raw_on is not None and output.raw_off is not None:
        scale, offset = 1.0 / (output.raw_on - output.raw_off), -float(output.raw_off)
    return PointType(
        type=output.type,
        scale=scale,
        raw_offset=offset,
        negate=output.sign != "as_is",
        bit=-1 if output.bit is None else output.bit,
        little_words=(output.word_order or profile.wire.word_order) == "little",
    )


def divisors_of(profile: Profile, output: Output, unit: str) -> list[Item]:
    """What the device itself says an output in `unit` is divided by; each item's reference names it for people."""
    found, step = [], profile.wire.address_step
    if output.scale_register is not None:
        at = profile.at(output.scale_register) // step
        kind = PointType("s16", power=True)
        found.append(Item(at, 1, PointRef(f"scale factor in register {at * step}", 0, 1, kind, ())))
    if output.rating is not None:
        rating = output.rating
        register = Register.model_validate({n: getattr(rating, n) for n in type(rating).model_fields})
        name = f"rating in register {profile.at(rating.address)}"
        kind = point_type(profile, register, scale_of(rating.scale, unit))
        found.append(item(profile, register, name, 1, kind, ()))
    return found


def constant_type(profile: Profile, constant: Constant) -> PointType:
    """How a counter modulo 1 becomes a constant."""
    little = (constant.word_order or profile.wire.word_order) == "little"
    return PointType(type=constant.type, raw_offset=-float(constant.value), little_words=little)


def item(profile: Profile, register: Register, name: str, count: int, kind: PointType, place: tuple[int, ...],
         shift: int = 0) -> Item:  # fmt: skip
    """One piece as one part: the scale factor and the count of elements are covered by the same request."""
    step = profile.wire.address_step
    first = profile.at(register.address) // step + shift
    start, end = first, first + register.span(count)
    if register.scale_register is not None:
        at = profile.at(register.scale_register) // step
        kind = dataclasses.replace(kind, scale_from=at - first)
        start, end = min(start, at), max(end, at + 1)
    if register.count_register is not None:
        at = profile.at(register.count_register) // step
        kind = dataclasses.replace(kind, count_from=at - first)
        start, end = min(start, at), max(end, at + 1)
    return Item(start, end - start, PointRef(name, first - start, count, kind, place))


def single(whole: Item, register: Register, element: int, index: int) -> Item:
    """One element of a piece, as a part of its own that fills position `index` of the row."""
    ref, kind = whole.ref, whole.ref.type
    if register.type in PACKED:
        half = "high" if element % 2 == 0 else "low"
        away = element // 2
        kind = dataclasses.replace(kind, type=f"{register.type}_{half}")
    else:
        away = element * kind.registers_each
    if kind.scale_from is not None:
        kind = dataclasses.replace(kind, scale_from=kind.scale_from - away)
    offset = ref.offset + away
    return Item(whole.start, whole.length, PointRef(ref.point, offset, 1, kind, (*ref.place, index)))
