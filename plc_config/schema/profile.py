"""A device profile: a register map as data. Nothing in code knows a device.

Every key under `points` is the name of a measured point (`core.image.Points`), every key under `outputs` the
name of an output (`core.image.OutputImage`); `extras` are vendor registers that are read and shown but drive nothing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from plc_config.quantity import Milliseconds
from plc_config.schema.base import Strict

Type = Literal[
    "bit", "u16", "s16", "u32", "s32", "u64", "s64", "f32", "u8_high", "u8_low", "s8_high", "s8_low", "string"
]
REGISTERS: dict[str, int] = {
    "bit": 1, "u16": 1, "s16": 1, "u32": 2, "s32": 2, "u64": 4, "s64": 4, "f32": 2,
    "u8_high": 1, "u8_low": 1, "s8_high": 1, "s8_low": 1, "string": 1,
}  # fmt: skip


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


class Register(Strict):
    """One point or one row of equal points in the register map."""

    address: int = Field(ge=0, le=65535)
    count: int = Field(1, ge=1, le=2000)
    type: Type = "u16"
    function: Literal[1, 2, 3, 4] | None = None
    scale: str | int | float = "1"
    raw_offset: float = Field(0.0, description="Added to the raw value before scaling")
    scale_register: int | None = Field(None, ge=0, le=65535, description="SunSpec scale factor register")
    sentinel: list[int] = []
    sign: Literal["as_is", "charge_positive"] = "as_is"
    bit: int | None = Field(None, ge=0, le=63, description="Bit within the register")
    active: Literal["high", "low"] = "high"
    stride: int | None = Field(None, ge=1, le=1000, description="Registers from one element to the next")
    word_order: Literal["big", "little"] | None = None
    every: Milliseconds | Literal["cycle"] = "cycle"
    note: str = ""
    unverified: str = Field("", description="Why this entry is not to be trusted yet; shown by `check`")

    @property
    def registers_each(self) -> int:
        """Registers (or bits) from one element to the next."""
        return self.stride or REGISTERS[self.type]


class Output(Strict):
    """One output: where it is written, and where it can be read back."""

    address: int = Field(ge=0, le=65535)
    count: int = Field(1, ge=1, le=2000)
    type: Type = "u16"
    function: Literal[5, 6, 15, 16] | None = None
    scale: str | int | float = "1"
    sign: Literal["as_is", "charge_positive"] = "as_is"
    word_order: Literal["big", "little"] | None = None
    modulo: int | None = Field(None, ge=2, le=2**32, description="The value counts modulo this (heartbeats)")
    refresh: Milliseconds | Literal["cycle"] | None = Field(None, description="Write at least this often")
    confirm: str | None = Field(None, description="The point that reads this output back")
    note: str = ""


class Profile(Strict):
    """One device type."""

    profile: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    describes: str
    source: str = ""
    level: Literal["module", "rack", "pcs", "site"]
    wire: Wire = Wire()
    points: dict[str, Register] = {}
    outputs: dict[str, Output] = {}
    extras: dict[str, Register] = {}

    @model_validator(mode="after")
    def _confirmations_exist(self) -> Profile:
        for name, output in self.outputs.items():
            if output.confirm is not None and output.confirm not in self.points:
                raise ValueError(f"outputs.{name}.confirm: {output.confirm!r} is not among the points of this profile")
        return self
