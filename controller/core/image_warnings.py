"""The variables of early warning, part of the process image."""

from __future__ import annotations

import dataclasses
from enum import IntEnum
from typing import Any

from numpy.typing import NDArray

from controller.core.signal import Floats, Ints, tag

Flags = NDArray[Any]


class Fault(IntEnum):
    """What early warning can name. The codes are published and stay; `CONCERN` orders them."""

    NONE = 0
    TEMPERATURE_SENSOR = 1
    VOLTAGE_SENSOR = 2
    STUCK_SENSOR = 3
    SELF_DISCHARGE = 4
    LOW_CAPACITY = 5
    RESISTANCE_GROWTH = 6
    BUSBAR_STEP = 7
    INTERNAL_SHORT = 8
    RUNAWAY = 9
    LITHIUM_PLATING = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Warnings:
    """Early warning: what may become a hazard, worst first; codes are those of `Fault`, 0 none, -1 nowhere."""

    cell_warning: Flags = tag(
        "1", "rack", "module", "cell", doc="Worst fault suspected in the cell (Fault)", dtype="u1"
    )
    temperature_warning: Flags = tag(
        "1", "rack", "module", "temperature", doc="Fault suspected in the temperature sensor (Fault)", dtype="u1"
    )
    rack_warning: Ints = tag("1", "rack", doc="Worst fault suspected in the rack (Fault)", dtype="i8")
    rack_warning_sigmas: Floats = tag("1", "rack", doc="Its evidence over the scatter of the sisters")
    rack_plating_exposure_ratio: Floats = tag(
        "ratio", "rack", doc="Charge put too fast for its temperature into the most exposed cell, of capacity; fades"
    )
    warning_fault: Ints = tag("1", "warning", doc="Ranked warnings: fault (Fault)", dtype="i8")
    warning_rack: Ints = tag("1", "warning", doc="Ranked warnings: rack from 0; -1 no entry", dtype="i8")
    warning_module: Ints = tag("1", "warning", doc="Ranked warnings: module from 0", dtype="i8")
    warning_element: Ints = tag("1", "warning", doc="Ranked warnings: cell or sensor of the module from 0", dtype="i8")
    warning_severity: Floats = tag("1", "warning", doc="Ranked warnings: how much may follow, 0..1")
    warning_sigmas: Floats = tag("1", "warning", doc="Ranked warnings: evidence over the scatter of the sisters")
    warning_value: Floats = tag("1", "warning", doc="Ranked warnings: evidence in the unit of the fault's row")
    warning_age_h: Floats = tag("1", "warning", doc="Ranked warnings: hours since it was told")
    runaways: int = tag("1", doc="Cells that run away", dtype="i8")
    internal_shorts: int = tag("1", doc="Cells with a suspected internal short", dtype="i8")
    busbar_steps: int = tag("1", doc="Connections whose resistance stepped up", dtype="i8")
    resistance_growths: int = tag("1", doc="Cells whose resistance grows", dtype="i8")
    low_capacities: int = tag("1", doc="Cells of low capacity", dtype="i8")
    self_discharges: int = tag("1", doc="Cells that discharge themselves", dtype="i8")
    lithium_platings: int = tag("1", doc="Cells charged too cold, with a loss since or extremely", dtype="i8")
    stuck_sensors: int = tag("1", doc="Voltage and temperature sensors that stand still", dtype="i8")
    voltage_sensor_steps: int = tag("1", doc="Voltage sensors that jumped", dtype="i8")
    temperature_sensor_steps: int = tag("1", doc="Temperature sensors that jumped", dtype="i8")
    warnings_told: int = tag("1", doc="Warnings told since commissioning", dtype="i8")
    warnings_withdrawn: int = tag("1", doc="Warnings whose evidence went away by itself", dtype="i8")
    healthy_cell_days: float = tag("1", doc="Cell-days watched without a warning")
