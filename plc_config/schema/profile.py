"""A device profile: a register map as data. Nothing in code knows a device.

Every key under `points` is the name of a measured point (`core.image.Points`), every key under `outputs` the
name of an output (`core.image.OutputImage`); `extras` are vendor registers that are read and shown but drive nothing.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from plc_config.quantity import Milliseconds
from plc_config.schema.base import Strict

Type = Literal[
    "bit",
    "u16",
    "s16",
    "u32",
    "s32",
    "u64",
    "s64",
    "f32",
    "u8",
    "s8",
    "u8_high",
    "u8_low",
    "s8_high",
    "s8_low",
    "string",
]
REGISTERS: Final[dict[str, int]] = {
    "bit": 1, "u16": 1, "s16": 1, "u32": 2, "s32": 2, "u64": 4, "s64": 4, "f32": 2, "u8": 1, "s8": 1,
    "u8_high": 1, "u8_low": 1, "s8_high": 1, "s8_low": 1, "string": 1,
}  # fmt: skip
PACKED: Final = ("u8", "s8")
"""Rows of bytes, two in every register, the high byte first."""

WRITABLE: Final = ("bit", "u16", "s16", "u32", "s32", "u64", "s64", "f32")
ADDRESS: Final = re.compile(r"^(?P<base>[a-z][a-z0-9_]*)\+(?P<offset>\d+|0x[0-9a-fA-F]+)$")
MAX_ADDRESS: Final = 65535
COUNTS: Final = re.compile(r"^(\d+)\.\.(\d+)$")
WINDOW: Final = re.compile(r"^(\d+|0x[0-9a-fA-F]+)\.\.(\d+|0x[0-9a-fA-F]+)$")


def _address(value: int | str) -> int | str:
    if isinstance(value, int):
        if not 0 <= value <= MAX_ADDRESS:
            raise ValueError(f"{value} is not a register address; 0..{MAX_ADDRESS}")
    elif not ADDRESS.match(value):
        raise ValueError(f"{value!r} is not an address; a number, or the name of a base like bank+34 or live+0x40")
    return value


def _count(value: int | str) -> int | str:
    low, high = (value, value) if isinstance(value, int) else _range(value)
    if not 1 <= low <= high <= 2000:
        raise ValueError(f"{value!r} is not a count; 1..2000, or a range like 1..16")
    return value


def _range(text: str) -> tuple[int, int]:
    match = COUNTS.match(text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _window(text: Any) -> tuple[int, int]:
    match = WINDOW.match(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a range of addresses; write it like 5000..5033")
    low, high = int(match[1], 0), int(match[2], 0)
    if not 0 <= low <= high <= MAX_ADDRESS:
        raise ValueError(f"{text!r} runs backwards or leaves 0..{MAX_ADDRESS}")
    return low, high


Address = Annotated[int | str, AfterValidator(_address)]
Count = Annotated[int | str, AfterValidator(_count)]
Window = Annotated[tuple[int, int], BeforeValidator(_window), WithJsonSchema({"type": "string"})]


class Wire(Strict):
    """How the device speaks."""

    read_function: Literal[1, 2, 3, 4] = 3
    write_function: Literal[5, 6, 15, 16] = 16
    max_registers: int = Field(125, ge=1, le=125)
    word_order: Literal["big", "little"] = "big"
    address_step: int = Field(1, ge=1, le=2, description="2 where addresses count bytes")
    reply_unit_offset: int = Field(0, ge=-255, le=255, description="Reply unit id minus request unit id")
    gap: Milliseconds = 0
    turnaround: Milliseconds = 2
    windows: list[Window] = Field([], description="Readable address ranges; no request crosses their ends")


class Repeat(Strict):
    """Several places behind one unit id: the registers of the next place lie `stride` further on."""

    stride: int = Field(ge=1, le=20_000)
    most: int = Field(ge=1, le=256, description="Most places behind one unit")
    count_register: Address | None = Field(None, description="Where the device says how many there are")


class Register(Strict):
    """One point or one row of equal points in the register map."""

    address: Address
    count: Count = Field(1, description="Elements of the row; 1..16 takes as many as the topology has, at most 16")
    count_register: Address | None = Field(None, description="Where the device says how many elements there are")
    type: Type = "u16"
    function: Literal[1, 2, 3, 4] | None = None
    scale: str | int | float = "1"
    raw_offset: float = Field(0.0, description="Added to the raw value before scaling")
    scale_register: Address | None = Field(None, description="SunSpec scale factor register")
    sentinel: list[int] = []
    sign: Literal["as_is", "charge_positive", "negated"] = "as_is"
    mask: int = Field(0, ge=0, le=2**32 - 1, description="Bits of the register that belong to this point; 0 all")
    bit: int | None = Field(None, ge=0, le=63, description="Bit within the register")
    equals: list[int] = Field([], description="The point is 1 where the register holds one of these, else 0")
    active: Literal["high", "low"] = "high"
    stride: int | None = Field(None, ge=1, le=1000, description="Registers from one element to the next")
    word_order: Literal["big", "little"] | None = None
    once: bool = Field(False, description="With `repeat`: one register for all places, it does not repeat")
    optional: bool = Field(False, description="With `models`: a device without its model goes without this point")
    every: Milliseconds | Literal["cycle"] = "cycle"
    note: str = ""
    caution: str = Field("", description="What the value is not good for; shown by `check`")
    unverified: str = Field("", description="Why this entry is not to be trusted yet; shown by `check`")

    @model_validator(mode="after")
    def _one_meaning(self) -> Register:
        if self.bit is not None and (self.equals or self.mask):
            raise ValueError("bit excludes equals and mask")
        if self.type in PACKED and self.stride is not None:
            raise ValueError(
                f"{self.type} is a row of bytes and has no stride; use {self.type}_high or {self.type}_low"
            )
        return self

    @property
    def registers_each(self) -> int:
        """Registers (or bits) from one element to the next."""
        return self.stride or REGISTERS[self.type]

    @property
    def negate(self) -> bool:
        """The device counts the other way."""
        return self.sign != "as_is"

    def elements(self, room: int) -> int:
        """How many elements there are where the topology has room for `room`."""
        if isinstance(self.count, int):
            return self.count
        low, high = _range(self.count)
        return max(low, min(high, room))

    def span(self, count: int) -> int:
        """Registers (or bits) from the first element's first to the last element's last."""
        if self.type in PACKED:
            return (count + 1) // 2
        return (count - 1) * self.registers_each + REGISTERS[self.type]


def _shape(value: Any) -> str:
    return "pieces" if isinstance(value, list) else "piece"


Rows = Annotated[
    Annotated[Register, Tag("piece")] | Annotated[list[Register], Tag("pieces")],
    Discriminator(_shape),
]
"""A point in one piece of the register map, or in several that follow each other."""


class Extra(Register):
    """A vendor register that is read and shown by the tools and drives nothing. `count` of a string is in registers."""

    doc: str
    expect: int | None = Field(None, description="The raw value it must have; anything else is another device")
    values: dict[str, str] = Field({}, description="Names of the raw values of an enumeration")
    bits: dict[str, str] = Field({}, description="Names of the bits of an alarm or status word")
    byte_order: Literal["big", "little"] = Field("big", description="Of a string: which byte of a register is first")


class Rating(Strict):
    """A register in which the device gives the size of which an output is a part."""

    address: Address
    type: Literal["u16", "s16", "u32", "s32", "f32"] = "u16"
    scale: str = Field(description="With its unit, like 1 W")
    scale_register: Address | None = Field(None, description="SunSpec scale factor register")
    sentinel: list[int] = []
    word_order: Literal["big", "little"] | None = None


class Output(Strict):
    """One output: where it is written, and where it can be read back."""

    address: Address
    count: int = Field(1, ge=1, le=2000)
    type: Type = "u16"
    function: Literal[5, 6, 15, 16, 22, 23] | None = Field(
        None, description="22 changes one `bit` of a register, 23 writes and reads back in one request"
    )
    bit: int | None = Field(None, ge=0, le=15, description="With function 22: which bit; the others stay as they are")
    scale: str | int | float = "1"
    raw_offset: float = Field(0.0, description="Added to the raw value before scaling, as for points")
    scale_register: Address | None = Field(None, description="SunSpec scale factor register, read from the device")
    rating: Rating | None = Field(None, description="The output is a part of this: `scale: 1 %` of what it holds")
    raw_on: int | None = Field(None, description="Raw value of a switched-on output; needs `raw_off`")
    raw_off: int | None = Field(None, description="Raw value of a switched-off output; needs `raw_on`")
    sign: Literal["as_is", "charge_positive", "negated"] = "as_is"
    word_order: Literal["big", "little"] | None = None
    modulo: int | None = Field(None, ge=2, le=2**32, description="The value counts modulo this (heartbeats)")
    refresh: Milliseconds | Literal["cycle"] | None = Field(None, description="Write at least this often")
    confirm: str | None = Field(None, description="The point that reads this output back")
    optional: bool = Field(False, description="With `models`: a device without its model goes without this output")
    note: str = ""
    unverified: str = Field("", description="Why this entry is not to be trusted yet; shown by `check`")

    @model_validator(mode="after")
    def _both_or_none(self) -> Output:
        if (self.raw_on is None) != (self.raw_off is None) or (self.raw_on is not None and self.raw_on == self.raw_off):
            raise ValueError("raw_on and raw_off belong together and differ")
        if (self.function == 22) != (self.bit is not None) or (self.bit is not None and self.count != 1):
            raise ValueError("function 22 and `bit` belong together, for one element")
        if (self.scale_register is not None or self.rating is not None) and (
            self.bit is not None or self.raw_on is not None or self.modulo is not None or self.function in (5, 15)
        ):
            raise ValueError("scale_register and rating belong to numbers, not to switches and heartbeats")
        if self.type not in WRITABLE:
            raise ValueError(f"type {self.type} cannot be written; one of {', '.join(WRITABLE)}")
        return self


Writes = Annotated[
    Annotated[Output, Tag("piece")] | Annotated[list[Output], Tag("pieces")],
    Discriminator(_shape),
]
"""An output that is written to one register, or to several that follow the same value."""


class Constant(Strict):
    """A fixed value that is written while the scan lives: a watchdog time, a mode, an enable."""

    address: Address
    value: int = Field(ge=-(2**31), le=2**32 - 1)
    type: Literal["u16", "s16", "u32", "s32"] = "u16"
    function: Literal[6, 16] | None = None
    word_order: Literal["big", "little"] | None = None
    refresh: Milliseconds | None = Field(None, description="Write again at least this often")
    note: str = ""
    unverified: str = Field("", description="Why this entry is not to be trusted yet; shown by `check`")


class Profile(Strict):
    """One device type."""

    profile: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    describes: str
    source: str = ""
    unverified: str = Field("", description="Why the whole map is not to be trusted yet; shown by `check`")
    level: Literal["module", "rack", "pcs", "site"]
    cells: Literal["all", "extremes"] = Field(
        "all", description="extremes: cell_voltage_v is the highest and the lowest cell, in this order, and no others"
    )
    precharge: Literal["commanded", "device"] = Field(
        "commanded", description="device: it precharges and closes by itself after `rack_main_close`"
    )
    wire: Wire = Wire()
    bases: dict[str, Annotated[int, Field(ge=0, le=MAX_ADDRESS)]] = {}
    models: dict[str, Annotated[int, Field(ge=1, le=65534)]] = Field(
        {}, description="SunSpec model that lies at each base; the device's own chain decides where that is"
    )
    repeat: Repeat | None = None
    points: dict[str, Rows] = {}
    outputs: dict[str, Writes] = {}
    constants: dict[str, Constant] = {}
    extras: dict[str, Extra] = {}

    def mistakes(self) -> list[tuple[tuple[str | int, ...], str, str]]:
        """What is wrong with the addresses: where in the file, what, and what would be right."""
        found = self._contradictions()
        for path, address in self._addresses():
            base = str(address).partition("+")[0] if isinstance(address, str) else ""
            if base and base not in self.bases:
                known = ", ".join(self.bases) or "none"
                found.append((path, f"no base of the name {base!r}", f"bases of this profile: {known}"))
            elif self.at(address) > MAX_ADDRESS:
                found.append((path, f"{address} is beyond the last register", f"0..{MAX_ADDRESS}"))
        return found

    def _contradictions(self) -> list[tuple[tuple[str | int, ...], str, str]]:
        """Keys of the profile that its points or outputs do not bear out."""
        found: list[tuple[tuple[str | int, ...], str, str]] = []
        for base in self.models:
            if base not in self.bases:
                found.append((("models", base), f"no base of the name {base!r}", "name it under `bases` too"))
        if self.cells == "extremes":
            rows = self.segments("cell_voltage_v") if "cell_voltage_v" in self.points else []
            if self.level != "module" or sum(r.elements(1) for r in rows) != 2:
                what = "extremes are two values of cell_voltage_v: the highest cell, then the lowest, of a module"
                found.append((("cells",), what, "give both, or leave `cells` out"))
        if self.precharge == "device":
            if "rack_main_close" not in self.outputs or "rack_main_closed" not in self.points:
                what = "a device that precharges by itself needs rack_main_close and its feedback rack_main_closed"
                found.append((("precharge",), what, "add both, or leave `precharge` out"))
            if "rack_precharge_close" in self.outputs:
                path = ("outputs", "rack_precharge_close")
                found.append((path, "this device precharges by itself (`precharge: device`)", "remove one of the two"))
        return found

    def _addresses(self) -> list[tuple[tuple[str | int, ...], int | str]]:
        entries: list[tuple[tuple[str | int, ...], Any]] = []
        for name, rows in self.points.items():
            if isinstance(rows, list):
                entries += [(("points", name, i), row) for i, row in enumerate(rows)]
            else:
                entries.append((("points", name), rows))
        for name, entry in self.outputs.items():
            several = isinstance(entry, list)
            entries += [(("outputs", name, i) if several else ("outputs", name), o)
                        for i, o in enumerate(self.writes(name))]  # fmt: skip
        for group in ("extras", "constants"):
            entries += [((group, name), entry) for name, entry in getattr(self, group).items()]
        entries += [((*path, "rating"), e.rating) for path, e in entries if getattr(e, "rating", None) is not None]
        entries.append((("repeat",), self.repeat))
        keys = ("address", "scale_register", "count_register")
        found = [((*path, key), getattr(entry, key, None)) for path, entry in entries for key in keys]
        return [(path, address) for path, address in found if address is not None]

    def at(self, address: int | str) -> int:
        """The register address that a number or `base+offset` stands for."""
        if isinstance(address, int):
            return address
        base, _, offset = address.partition("+")
        return self.bases.get(base, 0) + int(offset, 0)

    def segments(self, point: str) -> list[Register]:
        """The registers of a point: a row may lie in several pieces, which follow each other."""
        entry = self.points[point]
        return entry if isinstance(entry, list) else [entry]

    def writes(self, output: str) -> list[Output]:
        """The registers of an output: one, or several that follow the same value."""
        entry = self.outputs[output]
        return entry if isinstance(entry, list) else [entry]

    def doubts(self) -> list[str]:
        """One line for every entry that is marked as unverified or to be used with caution."""
        entries: list[tuple[str, Any]] = [("the map", self)]
        entries += [(f"points.{n}", r) for n in self.points for r in self.segments(n)]
        entries += [(f"outputs.{n}", o) for n in self.outputs for o in self.writes(n)]
        for group in ("constants", "extras"):
            entries += [(f"{group}.{n}", entry) for n, entry in getattr(self, group).items()]
        found = [f"{where} is unverified: {e.unverified}" for where, e in entries if e.unverified]
        found += [f"{where}: {e.caution}" for where, e in entries if getattr(e, "caution", "")]
        return list(dict.fromkeys(found))
