"""A cell type: what the datasheet says, and the limits that come with the chemistry."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from plc_config.quantity import Ampere, AmpereHour, Celsius, Milliseconds, Ohm, Ratio, Volt
from plc_config.schema.base import Strict


class BandV(Strict):
    """Warning, trip and clear thresholds of a voltage, and how long it may stay beyond the trip."""

    warn: Volt
    trip: Volt
    clear: Volt
    delay: Milliseconds = 0


class BandT(Strict):
    """The same for a temperature."""

    warn: Celsius
    trip: Celsius
    clear: Celsius
    delay: Milliseconds = 0


class BandA(Strict):
    """The same for a current magnitude."""

    warn: Ampere
    trip: Ampere
    clear: Ampere
    delay: Milliseconds = 0


class BandOhm(Strict):
    """The same for a resistance."""

    warn: Ohm
    trip: Ohm
    clear: Ohm
    delay: Milliseconds = 0


class Derating(Strict):
    """A polyline of current fraction over a quantity; flat outside. Points in rising order."""

    at: list[float] = Field(min_length=2)
    fraction: list[float] = Field(min_length=2)

    @model_validator(mode="after")
    def _in_order(self) -> Derating:
        if len(self.at) != len(self.fraction):
            raise ValueError(f"{len(self.at)} points but {len(self.fraction)} fractions")
        if any(b <= a for a, b in zip(self.at, self.at[1:], strict=False)):
            raise ValueError("the points must rise")
        if any(not 0 <= f <= 1 for f in self.fraction):
            raise ValueError("a fraction lies between 0 and 1")
        return self


class CellLimits(Strict):
    """Protection that belongs to the cell; a site may only be stricter."""

    cell_overvoltage: BandV
    cell_undervoltage: BandV
    charge_overtemperature: BandT
    charge_undertemperature: BandT
    discharge_overtemperature: BandT
    discharge_undertemperature: BandT
    charge_overcurrent: BandA
    discharge_overcurrent: BandA


class Ocv(Strict):
    """Open-circuit voltage over state of charge at 25 degC, both rising."""

    source: str
    soc: list[float] = Field(min_length=3)
    volts: list[float] = Field(min_length=3)

    @model_validator(mode="after")
    def _rising(self) -> Ocv:
        if len(self.soc) != len(self.volts):
            raise ValueError(f"{len(self.soc)} SOC points but {len(self.volts)} voltages")
        if self.soc[0] != 0 or self.soc[-1] != 1 or any(b <= a for a, b in zip(self.soc, self.soc[1:], strict=False)):
            raise ValueError("soc must rise from 0 to 1")
        if any(b < a for a, b in zip(self.volts, self.volts[1:], strict=False)):
            raise ValueError("volts must not fall")
        return self


class CellType(Strict):
    """One cell type."""

    cell_type: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    describes: str
    chemistry: Literal["LFP", "NMC", "NCA", "LTO"]
    source: str
    capacity: AmpereHour
    resistance: Ohm
    charge_current: Ampere
    discharge_current: Ampere
    coulombic_efficiency: Ratio
    ocv: Ocv
    derate_charge_voltage: Derating
    derate_discharge_voltage: Derating
    derate_charge_temperature: Derating
    derate_discharge_temperature: Derating
    limits: CellLimits
