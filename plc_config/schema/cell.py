"""A cell type: what the datasheet says, and the limits that come with the chemistry."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from plc_config.quantity import Ampere, AmpereHour, Celsius, Milliseconds, Ohm, Ratio, Volt, parse
from plc_config.schema.base import Strict

Kelvin = Annotated[float, BeforeValidator(lambda text: parse(text, "K"))]
MOST_FACTOR = 100.0


class BandV(Strict):
    """Thresholds of a voltage, and how long it may stay beyond the trip. Without `operate` it is `warn`."""

    operate: Volt | None = None
    warn: Volt
    trip: Volt
    clear: Volt
    delay: Milliseconds = Field(0, ge=0)


class BandT(Strict):
    """The same for a temperature."""

    operate: Celsius | None = None
    warn: Celsius
    trip: Celsius
    clear: Celsius
    delay: Milliseconds = Field(0, ge=0)


class BandA(Strict):
    """The same for a current magnitude.

    endure: how long it may stay just below `trip`; nearer to `warn` longer, by the square of the current (I2t).
    """

    operate: Ampere | None = None
    warn: Ampere
    trip: Ampere
    clear: Ampere
    delay: Milliseconds = Field(0, ge=0)
    endure: Milliseconds = Field(10_000, gt=0)


class BandK(Strict):
    """The same for a difference of temperatures."""

    warn: Kelvin
    trip: Kelvin
    clear: Kelvin
    delay: Milliseconds = Field(0, ge=0)


class BandOhm(Strict):
    """The same for a resistance."""

    warn: Ohm
    trip: Ohm
    clear: Ohm
    delay: Milliseconds = Field(0, ge=0)


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
    deep_discharge: BandV | None = Field(
        None, description="Below it a cell must not be charged again before inspection; else 80 % of cell_undervoltage"
    )
    cell_voltage_spread: BandV = BandV.model_validate(
        {"warn": "0.2 V", "trip": "0.3 V", "clear": "0.15 V", "delay": "10 s"}
    )
    temperature_spread: BandK = BandK.model_validate({"warn": "10 K", "trip": "15 K", "clear": "8 K", "delay": "60 s"})


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


class Hysteresis(Strict):
    """Half the voltage gap between the charge and the discharge branch, over the soc points of `ocv`."""

    source: str
    half_gap_volts: list[float] = Field(min_length=3)
    scale: float = Field(1.0, ge=0, le=2, description="Share of the gap that shows in service")
    gamma: float = Field(15.0, gt=0, le=1000, description="How many times per full charge the branch is reached")


class Circuit(Strict):
    """Fitted RC branches and temperature dependence; what is not given follows from the resistance."""

    r1: Ohm | None = None
    tau1: Milliseconds | None = None
    r2: Ohm | None = None
    tau2: Milliseconds | None = None
    r0_arrhenius: Kelvin = 2000.0
    rc_arrhenius: Kelvin = 2000.0


class ResistanceOverSoc(Strict):
    """By what the resistance, and every RC branch with it, is multiplied over the SOC; straight between, flat outside.

    1 where the sheet's resistance was measured.
    """

    source: str
    soc: list[float] = Field(min_length=2)
    factor: list[float] = Field(min_length=2)

    @model_validator(mode="after")
    def _rising(self) -> ResistanceOverSoc:
        if len(self.soc) != len(self.factor):
            raise ValueError(f"{len(self.soc)} SOC points but {len(self.factor)} factors")
        if self.soc[0] < 0 or self.soc[-1] > 1 or any(b <= a for a, b in zip(self.soc, self.soc[1:], strict=False)):
            raise ValueError("soc must rise, between 0 and 1")
        if any(not 0 < f <= MOST_FACTOR for f in self.factor):
            raise ValueError(f"a factor is above 0 and at most {MOST_FACTOR:g}")
        if not min(self.factor) <= 1 <= max(self.factor):
            raise ValueError("the factors must pass 1, where the sheet's resistance holds")
        return self


JoulePerKelvin = Annotated[float, BeforeValidator(lambda text: parse(text, "J/K"))]
WattPerKelvin = Annotated[float, BeforeValidator(lambda text: parse(text, "W/K"))]


class Thermal(Strict):
    """Heat of one cell; what is not given follows from the capacity."""

    heat_capacity: JoulePerKelvin | None = Field(None, description="Core and surface together")
    core_conductance: WattPerKelvin | None = Field(None, description="From the core to the surface")
    entropy_volts_per_kelvin: list[float] | None = Field(None, description="dU/dT over the soc points of `ocv`")


class CellType(Strict):
    """One cell type."""

    cell_type: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    describes: str
    chemistry: Literal["LFP", "NMC", "NCA", "LTO"]
    source: str
    capacity: AmpereHour = Field(gt=0)
    resistance: Ohm = Field(gt=0)
    charge_current: Ampere = Field(gt=0)
    discharge_current: Ampere = Field(gt=0)
    coulombic_efficiency: Ratio = Field(gt=0, le=1)
    ocv: Ocv
    hysteresis: Hysteresis | None = None
    circuit: Circuit = Circuit()
    resistance_over_soc: ResistanceOverSoc | None = None
    thermal: Thermal = Thermal()
    derate_charge_voltage: Derating
    derate_discharge_voltage: Derating
    derate_charge_temperature: Derating
    derate_discharge_temperature: Derating
    limits: CellLimits

    @model_validator(mode="after")
    def _on_the_same_points(self) -> CellType:
        if self.hysteresis is not None and len(self.hysteresis.half_gap_volts) != len(self.ocv.soc):
            raise ValueError(f"{len(self.ocv.soc)} ocv points but {len(self.hysteresis.half_gap_volts)} of hysteresis")
        entropy = self.thermal.entropy_volts_per_kelvin
        if entropy is not None and len(entropy) != len(self.ocv.soc):
            raise ValueError(f"{len(self.ocv.soc)} ocv points but {len(entropy)} of entropy")
        return self
