"""What a profile asks for that no device or register can do: found when it is checked, not when the driver starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from controller.core.field_image import Points
from controller.core.image import OutputImage
from controller.core.layout import tags_of
from plc_config.registers import PART, own_unit, scale_of
from plc_config.schema.profile import REGISTERS, Constant, Extra, Output, Profile, Rating, Register

Complaint = tuple[tuple[str | int, ...], str, str]

POINTS: Final = {t.name: t for t in tags_of(Points)}
OUTPUTS: Final = {t.name: t for t in tags_of(OutputImage)}
BITS: Final = {"u8": 8, "s8": 8, "u8_high": 8, "u8_low": 8, "s8_high": 8, "s8_low": 8}
BIT_FUNCTIONS: Final = (1, 2)
COIL_FUNCTIONS: Final = (5, 15)
ONE_REGISTER: Final = 6
ONE_BIT: Final = 22
DIRECTED: Final = ("A", "W", "var")
"""Units of what flows one way or the other; nothing else has a direction that a device could count the other way."""
MOST_WRITTEN: Final = 123
"""Registers that one write of function 16 can carry."""


def nonsense(profile: Profile) -> list[Complaint]:
    """Where in the file, what is wrong, what would be right."""
    found: list[Complaint] = []
    for name in profile.points:
        several = isinstance(profile.points[name], list)
        for number, register in enumerate(profile.segments(name)):
            path: tuple[str | int, ...] = ("points", name, number) if several else ("points", name)
            found += _register(profile, path, register)
            if name in POINTS:
                found += _scale(path, register, POINTS[name].unit)
                if register.negate and POINTS[name].unit not in DIRECTED:
                    what = f"{name} has no direction that a device could count the other way"
                    found.append(((*path, "sign"), what, "leave `sign` out; it is for currents and powers"))
    for name, extra in profile.extras.items():
        found += _register(profile, ("extras", name), extra)
    for path, name, output in _pieces(profile):
        found += _output(profile, path, output)
        if name in OUTPUTS and output.raw_on is None:
            found += _scale(path, output, OUTPUTS[name].unit if output.rating is None else PART)
            if output.rating is not None:
                found += _scale((*path, "rating"), output.rating, OUTPUTS[name].unit)
    for name, constant in profile.constants.items():
        found += _constant(profile, ("constants", name), constant)
    return found + _collisions(profile)


def _pieces(profile: Profile) -> Iterator[tuple[tuple[str | int, ...], str, Output]]:
    """Every register that is written for an output: its place in the file, the output's name, and what it says."""
    for name, entry in profile.outputs.items():
        for number, output in enumerate(profile.writes(name)):
            yield ("outputs", name, number) if isinstance(entry, list) else ("outputs", name), name, output


def _collisions(profile: Profile) -> list[Complaint]:
    """Outputs and constants of different names that begin at the same register: each would undo the other.

    Of a row only its first element is looked at: how many more there are is judged with the topology.
    """
    found: list[Complaint] = []
    taken: dict[tuple[bool, int], str] = {}
    entries: list[tuple[tuple[str | int, ...], str, Output | Constant]] = list(_pieces(profile))
    entries += [(("constants", name), name, constant) for name, constant in profile.constants.items()]
    for path, name, entry in entries:
        function = entry.function or profile.wire.write_function
        if function == ONE_BIT or (_base(entry.address) and _base(entry.address) not in profile.bases):
            continue
        coils, step = function in COIL_FUNCTIONS, profile.wire.address_step
        first = profile.at(entry.address) // (1 if coils else step)
        for at in range(first, first + (1 if coils else REGISTERS[entry.type])):
            other = taken.setdefault((coils, at), name)
            if other != name:
                what = f"{name} writes {'coil' if coils else 'register'} {at * (1 if coils else step)}, as {other} does"
                found.append(((*path, "address"), what, "a register of its own, or function 22 for one bit of it"))
                break
    return found


def _base(address: int | str) -> str:
    """Name of the base that an address is counted from; "" for a plain number, which every profile has."""
    return address.partition("+")[0] if isinstance(address, str) else ""


def _fits(path: tuple[str | int, ...], key: str, kind: str, values: Sequence[int]) -> list[Complaint]:
    """Raw numbers that a register of this type can hold; codes may be given as the register shows them, too."""
    low, high = held(kind)[0], (1 << _width(kind)) - 1
    return [
        ((*path, key), f"{kind} never holds {value}", f"{low}..{high}") for value in values if not low <= value <= high
    ]


def _scale(path: tuple[str | int, ...], entry: Register | Output | Rating, unit: str) -> list[Complaint]:
    try:
        if scale_of(entry.scale, unit) == 0.0:
            return [((*path, "scale"), "a scale of 0 makes every value 0", "the factor from the vendor's document")]
    except ValueError as error:
        return [((*path, "scale"), str(error), "")]
    return []


def held(kind: str) -> tuple[int, int]:
    """Least and largest whole number that a register of this type can hold."""
    signed = kind.startswith("s")
    end = 1 << (_width(kind) - signed)
    return -end if signed else 0, end - 1


def _width(kind: str) -> int:
    return BITS.get(kind, 16 * REGISTERS.get(kind, 1))


def _register(profile: Profile, path: tuple[str | int, ...], register: Register) -> list[Complaint]:
    found: list[Complaint] = []
    function = register.function or profile.wire.read_function
    width = _width(register.type)
    if function in BIT_FUNCTIONS and register.type not in ("bit", "u16"):
        found.append(((*path, "type"), f"function {function} reads single bits, not {register.type}", "type: bit"))
    if function in BIT_FUNCTIONS and (register.scale_register is not None or register.equals or register.mask):
        what = f"function {function} reads single bits: no scale_register, mask or equals"
        found.append((path, what, "read the register with function 3 or 4, or leave them out"))
    if register.bit is not None and register.bit >= width:
        found.append(((*path, "bit"), f"{register.type} has no bit {register.bit}", f"0..{width - 1}"))
    if register.mask >= 1 << width:
        found.append(
            ((*path, "mask"), f"{register.type} has not all bits of {register.mask:#x}", f"at most {width} bits")
        )
    if register.type not in ("f32", "string"):
        found += _fits(path, "equals", register.type, register.equals)
        found += _fits(path, "sentinel", register.type, register.sentinel)
    if register.type == "f32" and (register.equals or register.mask or register.bit is not None):
        found.append((path, "f32 has neither bits nor codes", "the type of a register that holds codes"))
    if isinstance(register, Extra) and register.type == "string":
        found += _string(path, register)
    elif isinstance(register, Extra):
        try:
            own_unit(register.scale)
        except ValueError as error:
            found.append(((*path, "scale"), str(error), ""))
    return found


def _string(path: tuple[str | int, ...], extra: Extra) -> list[Complaint]:
    wrong = [k for k in ("sentinel", "equals", "values", "bits", "mask", "scale_register", "expect", "bit")
             if getattr(extra, k) not in (None, [], {}, 0)]  # fmt: skip
    return [((*path, key), f"a string has no {key}", "leave it out, or give the type of a number") for key in wrong]


def _output(profile: Profile, path: tuple[str | int, ...], output: Output) -> list[Complaint]:
    function = output.function or profile.wire.write_function
    found = _written(path, function, output.type, output.count)
    if output.confirm is not None and output.confirm not in profile.points:
        what = f"confirm: {output.confirm!r} is not among the points of this profile"
        found.append(((*path, "confirm"), what, f"one of: {', '.join(profile.points) or 'none'}"))
    if output.raw_on is not None and output.raw_off is not None and output.type != "f32":
        kind = "bit" if function in COIL_FUNCTIONS else output.type
        for key in ("raw_on", "raw_off"):
            found += _fits(path, key, kind, [getattr(output, key)])
    if output.modulo is not None and output.type != "f32":
        high = held(output.type)[1]
        if output.modulo - 1 > high and function not in COIL_FUNCTIONS:
            right = f"at most {high + 1}"
            found.append(((*path, "modulo"), f"{output.type} cannot count to {output.modulo - 1}", right))
    return found


def _written(path: tuple[str | int, ...], function: int, kind: str, count: int) -> list[Complaint]:
    registers = REGISTERS[kind] * count
    if function == ONE_REGISTER and registers > 1:
        what = f"function 6 writes one register, {count} x {kind} needs {registers}"
        return [((*path, "function"), what, "function: 16, if the device knows it")]
    if function == COIL_FUNCTIONS[0] and count > 1:
        return [((*path, "function"), f"function 5 writes one coil, not {count}", "function: 15")]
    if function not in COIL_FUNCTIONS and registers > MOST_WRITTEN:
        return [((*path, "count"), f"one write carries {MOST_WRITTEN} registers, not {registers}", "fewer elements")]
    return []


def _constant(profile: Profile, path: tuple[str | int, ...], constant: Constant) -> list[Complaint]:
    function = constant.function or profile.wire.write_function
    if function in COIL_FUNCTIONS:
        what = f"wire.write_function {function} writes coils, a constant is a register"
        return [(path, what, "give the constant its own function: 6 or 16")]
    found = _written(path, function, constant.type, 1)
    bits = _width(constant.type)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if constant.type.startswith("s") else (0, (1 << bits) - 1)
    if not low <= constant.value <= high:
        found.append(((*path, "value"), f"{constant.value} does not fit {constant.type}", f"{low}..{high}"))
    return found


def complaints(profile: Profile) -> list[Any]:
    """Everything that can be said of a profile without the site that uses it."""
    return profile.mistakes() + nonsense(profile)
