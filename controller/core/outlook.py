"""Variables of what the battery can still do: power, energy, health, temperature and the worth of a recalibration.

Groups of `image.Estimates`, renewed every two to four seconds. Power is at the DC terminals, a magnitude, and such that
no cell leaves its limits before the time is over; 0 where the SOC is not known. Places count from 0, -1 is nowhere.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from controller.core.signal import Floats, Ints, tag

HORIZONS: Final = (("2s", 2.0), ("10s", 10.0), ("30s", 30.0), ("15min", 900.0))
"""Name and duration (s) of every power horizon."""
DIRECTIONS: Final = (("discharge", 1.0), ("charge", -1.0))
CAUSES: Final = (
    "not known", "none", "cell voltage", "SOC", "rated current", "temperature", "PCS rating", "no rack connected",
)  # fmt: skip
"""What may limit power; `*_limited_by` is an index into this."""
NOT_KNOWN, FREE, VOLTAGE, CHARGE, RATED, TEMPERATURE, PCS, NO_RACK = range(len(CAUSES))
WINDOWS: Final = ("none", "rest", "full charge", "empty")
"""What would recalibrate a rack; `rack_recalibration_kind` is an index into this."""
NEVER_H: Final = 999.0
"""Hours that stand for `not at this power`."""


def _rack_w(direction: str, time: str) -> Any:
    return tag("W", "rack", doc=f"Power the rack can {direction} for {time}")


def _rack_by(direction: str, time: str) -> Any:
    return tag("1", "rack", doc=f"What limits the power to {direction} for {time}", dtype="i8")


def _rack_cell(direction: str, time: str) -> Any:
    return tag("1", "rack", doc=f"Cell that limits the power to {direction} for {time}; -1 none", dtype="i8")


def _site_w(direction: str, time: str) -> Any:
    return tag("W", doc=f"Power the connected racks can {direction} for {time}, not above the PCS rating")


def _site_sigma(direction: str, time: str) -> Any:
    return tag("W", doc=f"Standard deviation of the most the racks can {direction} for {time}")


def _site_by(direction: str, time: str) -> Any:
    return tag("1", doc=f"What limits the power to {direction} for {time}", dtype="i8")


def _site_cell(direction: str, time: str) -> Any:
    return tag("1", doc=f"Cell that limits the power to {direction} for {time}; -1 none", dtype="i8")


@dataclasses.dataclass(frozen=True, slots=True)
class RackPower:
    """State of power of every rack, with the limiting cell and what limits it."""

    rack_discharge_power_2s_w: Floats = _rack_w("deliver", "2 s")
    rack_discharge_power_10s_w: Floats = _rack_w("deliver", "10 s")
    rack_discharge_power_30s_w: Floats = _rack_w("deliver", "30 s")
    rack_discharge_power_15min_w: Floats = _rack_w("deliver", "15 min")
    rack_charge_power_2s_w: Floats = _rack_w("take", "2 s")
    rack_charge_power_10s_w: Floats = _rack_w("take", "10 s")
    rack_charge_power_30s_w: Floats = _rack_w("take", "30 s")
    rack_charge_power_15min_w: Floats = _rack_w("take", "15 min")
    rack_discharge_power_2s_limited_by: Ints = _rack_by("deliver", "2 s")
    rack_discharge_power_10s_limited_by: Ints = _rack_by("deliver", "10 s")
    rack_discharge_power_30s_limited_by: Ints = _rack_by("deliver", "30 s")
    rack_discharge_power_15min_limited_by: Ints = _rack_by("deliver", "15 min")
    rack_charge_power_2s_limited_by: Ints = _rack_by("take", "2 s")
    rack_charge_power_10s_limited_by: Ints = _rack_by("take", "10 s")
    rack_charge_power_30s_limited_by: Ints = _rack_by("take", "30 s")
    rack_charge_power_15min_limited_by: Ints = _rack_by("take", "15 min")
    rack_discharge_power_2s_place: Ints = _rack_cell("deliver", "2 s")
    rack_discharge_power_10s_place: Ints = _rack_cell("deliver", "10 s")
    rack_discharge_power_30s_place: Ints = _rack_cell("deliver", "30 s")
    rack_discharge_power_15min_place: Ints = _rack_cell("deliver", "15 min")
    rack_charge_power_2s_place: Ints = _rack_cell("take", "2 s")
    rack_charge_power_10s_place: Ints = _rack_cell("take", "10 s")
    rack_charge_power_30s_place: Ints = _rack_cell("take", "30 s")
    rack_charge_power_15min_place: Ints = _rack_cell("take", "15 min")


@dataclasses.dataclass(frozen=True, slots=True)
class SitePower:
    """State of power of the site: racks of a bank share by resistance and voltage, banks add up."""

    discharge_power_2s_w: float = _site_w("deliver", "2 s")
    discharge_power_10s_w: float = _site_w("deliver", "10 s")
    discharge_power_30s_w: float = _site_w("deliver", "30 s")
    discharge_power_15min_w: float = _site_w("deliver", "15 min")
    charge_power_2s_w: float = _site_w("take", "2 s")
    charge_power_10s_w: float = _site_w("take", "10 s")
    charge_power_30s_w: float = _site_w("take", "30 s")
    charge_power_15min_w: float = _site_w("take", "15 min")
    discharge_power_2s_sigma_w: float = _site_sigma("deliver", "2 s")
    discharge_power_10s_sigma_w: float = _site_sigma("deliver", "10 s")
    discharge_power_30s_sigma_w: float = _site_sigma("deliver", "30 s")
    discharge_power_15min_sigma_w: float = _site_sigma("deliver", "15 min")
    charge_power_2s_sigma_w: float = _site_sigma("take", "2 s")
    charge_power_10s_sigma_w: float = _site_sigma("take", "10 s")
    charge_power_30s_sigma_w: float = _site_sigma("take", "30 s")
    charge_power_15min_sigma_w: float = _site_sigma("take", "15 min")
    discharge_power_2s_limited_by: int = _site_by("deliver", "2 s")
    discharge_power_10s_limited_by: int = _site_by("deliver", "10 s")
    discharge_power_30s_limited_by: int = _site_by("deliver", "30 s")
    discharge_power_15min_limited_by: int = _site_by("deliver", "15 min")
    charge_power_2s_limited_by: int = _site_by("take", "2 s")
    charge_power_10s_limited_by: int = _site_by("take", "10 s")
    charge_power_30s_limited_by: int = _site_by("take", "30 s")
    charge_power_15min_limited_by: int = _site_by("take", "15 min")
    discharge_power_2s_place: int = _site_cell("deliver", "2 s")
    discharge_power_10s_place: int = _site_cell("deliver", "10 s")
    discharge_power_30s_place: int = _site_cell("deliver", "30 s")
    discharge_power_15min_place: int = _site_cell("deliver", "15 min")
    charge_power_2s_place: int = _site_cell("take", "2 s")
    charge_power_10s_place: int = _site_cell("take", "10 s")
    charge_power_30s_place: int = _site_cell("take", "30 s")
    charge_power_15min_place: int = _site_cell("take", "15 min")


@dataclasses.dataclass(frozen=True, slots=True)
class RackEnergy:
    """Energy of every rack beside `rack_discharge_energy_wh` and `rack_charge_energy_wh`, at a quarter of 1C."""

    rack_discharge_energy_sigma_wh: Floats = tag("Wh", "rack", doc="Standard deviation of the energy to deliver")
    rack_charge_energy_sigma_wh: Floats = tag("Wh", "rack", doc="Standard deviation of the energy to take")
    rack_discharge_energy_place: Ints = tag("1", "rack", doc="Cell that is empty first; -1 none", dtype="i8")
    rack_charge_energy_place: Ints = tag("1", "rack", doc="Cell that is full first; -1 none", dtype="i8")
    rack_usable_energy_wh: Floats = tag("Wh", "rack", doc="Energy from full to empty as the cells stand now")
    rack_balanced_energy_wh: Floats = tag("Wh", "rack", doc="Energy from full to empty if the cells were balanced")
    rack_discharge_charge_ah: Floats = tag("Ah", "rack", doc="Charge the rack can still deliver")
    rack_charge_charge_ah: Floats = tag("Ah", "rack", doc="Charge the rack can still take")
    rack_time_to_empty_h: Floats = tag("h", "rack", doc="Time to empty at the present current; 999 never")
    rack_time_to_full_h: Floats = tag("h", "rack", doc="Time to full at the present current; 999 never")


@dataclasses.dataclass(frozen=True, slots=True)
class SiteEnergy:
    """Energy of the site: a bank ends when its first rack ends, banks add up."""

    discharge_energy_sigma_wh: float = tag("Wh", doc="Standard deviation of the energy the site can deliver")
    charge_energy_sigma_wh: float = tag("Wh", doc="Standard deviation of the energy the site can take")
    discharge_energy_place: int = tag("1", doc="Cell that ends the discharge of the site; -1 none", dtype="i8")
    charge_energy_place: int = tag("1", doc="Cell that ends the charge of the site; -1 none", dtype="i8")
    usable_energy_wh: float = tag("Wh", doc="Energy of the site from full to empty as the cells stand now")
    balanced_energy_wh: float = tag("Wh", doc="Energy of the site from full to empty if all cells were balanced")
    discharge_energy_half_c_wh: float = tag("Wh", doc="Energy the site can deliver at twice the reference power")
    discharge_energy_three_quarters_c_wh: float = tag("Wh", doc="Energy it can deliver at three times that power")
    discharge_energy_1c_wh: float = tag("Wh", doc="Energy it can deliver at four times that power, 1C")
    energy_reference_power_w: float = tag("W", doc="Power for which the energies are told, a quarter of 1C")
    energy_loss_ratio: float = tag("ratio", doc="Share of the energy lost as heat at that power", low=0, high=1)
    time_to_empty_h: float = tag("h", doc="Time to empty at the present power; 999 never")
    time_to_full_h: float = tag("h", doc="Time to full at the present power; 999 never")
    time_to_target_h: float = tag("h", doc="Time to the SOC `estimator.target_soc` at the present power; 999 never")


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """Capacity and resistance of every cell, at 25 degC; the datasheet's until there is evidence."""

    cell_capacity_ah: Floats = tag("Ah", "rack", "module", "cell", doc="Cell capacity", dtype="f4")
    cell_capacity_sigma_ah: Floats = tag(
        "Ah", "rack", "module", "cell", doc="Standard deviation of the cell capacity", dtype="f4"
    )
    cell_resistance_ohm: Floats = tag(
        "ohm", "rack", "module", "cell", doc="Cell resistance within a second, at 25 degC", dtype="f4"
    )
    cell_resistance_sigma_ohm: Floats = tag(
        "ohm", "rack", "module", "cell", doc="Standard deviation of the cell resistance", dtype="f4"
    )
    rack_capacity_sigma_ah: Floats = tag("Ah", "rack", doc="Standard deviation of the rack's capacity")
    rack_capacity_place: Ints = tag("1", "rack", doc="Cell of the least capacity; -1 none", dtype="i8")
    rack_soh_sigma_ratio: Floats = tag("ratio", "rack", doc="Standard deviation of the rack's SOH", low=0, high=1)
    rack_resistance_growth_ratio: Floats = tag("ratio", "rack", doc="Mean resistance over the datasheet's less 1")


@dataclasses.dataclass(frozen=True, slots=True)
class Warmth:
    """Temperatures that no sensor shows: surface of the cells between sensors, and the cores of all."""

    cell_surface_temperature_degc: Floats = tag(
        "degC", "rack", "module", "cell", doc="Cell surface temperature, from its own and neighbouring sensors",
        dtype="f4",
    )  # fmt: skip
    cell_core_temperature_degc: Floats = tag("degC", "rack", "module", "cell", doc="Cell core temperature", dtype="f4")
    rack_core_temperature_max_degc: Floats = tag("degC", "rack", doc="Hottest core of the rack")
    rack_core_temperature_max_place: Ints = tag("1", "rack", doc="Cell of the hottest core; -1 none", dtype="i8")
    rack_heat_w: Floats = tag("W", "rack", doc="Heat made by the cells of the rack")


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """When and why a recalibration window would pay."""

    rack_soc_sigma_ratio: Floats = tag("ratio", "rack", doc="Standard deviation of the rack's SOC", low=0, high=1)
    rack_recalibration_kind: Ints = tag("1", "rack", doc="What would recalibrate the rack best", dtype="i8")
    rack_recalibration_sigma_ratio: Floats = tag(
        "ratio", "rack", doc="Standard deviation of the SOC after it", low=0, high=1
    )
    rack_recalibration_gain_wh: Floats = tag("Wh", "rack", doc="Energy that its certainty would set free")
    rack_recalibration_time_h: Floats = tag("h", "rack", doc="Time it would take at a quarter of 1C, with its rest")
    rack_recalibration_pays: Ints = tag("1", "rack", doc="A window would pay: 1 yes", low=0, high=1, dtype="i8")
    recalibration_gain_wh: float = tag("Wh", doc="Energy that recalibrating every rack that pays would set free")


@dataclasses.dataclass(frozen=True, slots=True)
class Outlook:
    """All groups together, as kept from scan to scan."""

    rack_power: RackPower
    site_power: SitePower
    rack_energy: RackEnergy
    site_energy: SiteEnergy
    health: Health
    warmth: Warmth
    plan: Plan
