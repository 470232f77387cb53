"""Cell temperatures that no sensor shows: surfaces between sensors, and the cores.

Two nodes per cell: the core makes the heat (I2R with the cell's own resistance, and the reversible part -i T dU/dT) and
passes it to the surface; the surface is measured, or taken from the module's sensors by their distance. The surface
node follows its sensors with an observer's gain, so that one that jumps is smoothed and one that fails is bridged.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.estimate.cell_model import KELVIN
from controller.core.estimate.circuit import DEGC_UNKNOWN, Circuit
from controller.core.image import Measured
from controller.core.memory import EstimationMemory
from controller.core.signal import USABLE, Bools, Floats, Ints
from controller.core.topology import Topology

CORE_SHARE: Final = 0.9
"""Share of the heat capacity in the core; the rest is can and terminals."""
HEAT_CAPACITY_J_K_AH: Final = 19.0
CONDUCTANCE_W_K_AH: Final = 1.67 / 280.0
"""A 280 Ah LFP cell: about 5300 J/K and 0.6 K/W from core to surface."""
SENSOR_TAU_S: Final = 20.0
REACH_CELLS: Final = 0.5
"""Distance at which a sensor counts half as much as right at the cell, in cells."""
RISE_MOST_K: Final = 60.0


def heat_capacity(told: float | None, capacity_ah: float) -> float:
    """J/K of one cell position, from the sheet or the usual share per Ah."""
    return HEAT_CAPACITY_J_K_AH * capacity_ah if told is None else told


class Temperatures:
    """Works on some racks at a time, on the cell arrays of the outlook's memory."""

    def __init__(self, circuit: Circuit, topology: Topology) -> None:
        sheet = circuit.model.sheet
        whole = heat_capacity(sheet.heat_capacity_j_per_k, sheet.capacity_ah)
        told = sheet.core_conductance_w_per_k
        self.circuit, self.topology = circuit, topology
        self.core_j_k = CORE_SHARE * whole
        self.conductance = CONDUCTANCE_W_K_AH * sheet.capacity_ah if told is None else told
        self.weights = nearness(topology.temperatures, topology.cells)

    def surface(self, measured: Measured, racks: Ints) -> tuple[Floats, Bools]:
        """(n, module, cell) surface from the sensors in reach, and which racks have any usable sensor."""
        s = measured.points.cell_temperature_degc
        usable = (s.quality[racks] <= USABLE) & self.topology.temperature_fitted[racks]
        value = np.where(usable, s.value[racks], 0.0)
        weight = usable.astype(float) @ self.weights
        count = usable.sum(axis=(1, 2))
        mean = value.sum(axis=(1, 2)) / np.maximum(count, 1)
        near = (value @ self.weights) / np.maximum(weight, 1e-12)
        return np.where(weight > 0, near, mean[:, None, None]), count > 0

    def rack(
        self, memory: EstimationMemory, kept: Any, measured: Measured, racks: Ints, elapsed_ms: Floats,
        mean_square_a2: Floats, mean_a: Floats, fresh: Bools,
    ) -> Floats:  # fmt: skip
        """One step since the last look; `kept.surface` and `kept.core` change in place. Returns W per rack.

        mean_square_a2, mean_a: of the rack current over that time.
        """
        seen, heard = self.surface(measured, racks)
        surface, core = kept.surface[racks].astype(float), kept.core[racks].astype(float)
        begin = fresh[:, None, None]
        unknown = begin & ~heard[:, None, None]
        seen = np.where(heard[:, None, None], seen, surface)
        surface = np.where(begin, np.where(unknown, DEGC_UNKNOWN, seen), surface)
        core = np.where(begin, surface, core)
        seconds = (elapsed_ms / 1000.0)[:, None, None]
        surface += (1.0 - np.exp(-seconds / SENSOR_TAU_S)) * (seen - surface)
        heat = self.heat(memory, racks, core, mean_square_a2, mean_a)
        # Exact over the step with the surface held: any length of step is stable.
        rest = surface + heat / self.conductance
        core = rest + (core - rest) * np.exp(-seconds * self.conductance / self.core_j_k)
        core = core.clip(surface - RISE_MOST_K, surface + RISE_MOST_K)
        kept.surface[racks], kept.core[racks] = surface, core
        return np.asarray((self.topology.cell_weight[racks] * heat).sum(axis=(1, 2)))

    def heat(
        self, memory: EstimationMemory, racks: Ints, core: Floats, mean_square_a2: Floats, mean_a: Floats
    ) -> Floats:
        """W in every cell: losses of the resistances at its temperature, and the entropic part."""
        m = self.circuit.model
        ohm = memory.outlook.health.cell_resistance_ohm[racks].astype(float)
        warm = m.heat(core.mean(axis=(1, 2)))
        factor = np.asarray(warm[0] + (self.circuit.ohm_share[0] + self.circuit.ohm_share[1]) * warm[1])
        joule = ohm * (mean_square_a2 * factor)[:, None, None]
        if m.sheet.entropy_v_per_k is None:
            return np.asarray(joule)
        soc = memory.cell_charge_ratio[racks]
        slope = np.interp(soc, m.sheet.soc_grid, m.sheet.entropy_v_per_k)
        return np.asarray(joule - mean_a[:, None, None] * (core + KELVIN) * slope)


def nearness(sensors: int, cells: int) -> Floats:
    """(sensor, cell) weights: sensors sit evenly along the module, and count by the inverse fourth power of distance.

    Every sensor has some weight everywhere, so that a cell whose own sensor is lost still has neighbours.
    """
    at = (np.arange(sensors) + 0.5) * cells / sensors - 0.5
    away = np.abs(at[:, None] - np.arange(cells)[None, :])
    return np.asarray(1.0 / (REACH_CELLS + away) ** 4)
