"""Coulomb counting per cell, started and corrected by the open-circuit voltage at rest.

Between corrections the variance grows with the charge moved (sensor gain) and with time (sensor offset), so the
published sigma stays honest. At rest the OCV is believed with 10 mV: on an LFP plateau that is worth little,
at its ends much, and the gain takes care of both.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.core.estimate.coarse import between
from controller.core.estimate.protocol import EstimatorInputs, summarize
from controller.core.frozen import replace
from controller.core.image import Estimates, Measured, OutputImage
from controller.core.memory import EstimationMemory
from controller.core.signal import USABLE, Bools, Floats

OCV_ERROR_V: Final = 0.010
GAIN_ERROR: Final = 0.01
OFFSET_ERROR_C: Final = 0.002
"""Assumed current offset, as a fraction of 1C."""
REST_CURRENT_C: Final = 0.01
REST_MS: Final = 1_800_000
REST_INTERVAL_MS: Final = 60_000
MIN_SLOPE_V: Final = 0.02
MS_PER_HOUR: Final = 3_600_000.0
START_SIGMA: Final = 0.3


class Coulomb:
    """SOC by charge counting; the rack current counts for every cell of the string, bleeds are booked."""

    def __init__(self, inputs: EstimatorInputs) -> None:
        self.inputs = inputs
        cell = inputs.cell
        slope = np.gradient(cell.ocv_v, cell.soc_grid)
        self.slope = np.maximum(slope, MIN_SLOPE_V)
        # Rising voltages are needed to invert the table: plateaus get a step far below the sensor's resolution.
        self.ocv_rising = cell.ocv_v + np.arange(len(cell.ocv_v)) * 1e-9

    def publish(self, memory: EstimationMemory) -> Estimates:
        """SOC as counted; sigma 1 where a rack has not begun."""
        known = memory.rack_known
        sigma = np.where(known[:, None, None], np.minimum(np.sqrt(memory.cell_variance), 1.0), 1.0)
        return summarize(self.inputs, memory.cell_charge_ratio, sigma, known)

    def step(
        self, memory: EstimationMemory, measured: Measured, outputs: OutputImage, elapsed_ms: int
    ) -> EstimationMemory:
        """The memory after `elapsed_ms` more."""
        p, cell = measured.points, self.inputs.cell
        current_ok = p.rack_current_a.quality <= USABLE
        current = np.where(current_ok, p.rack_current_a.value, 0.0)
        hours = elapsed_ms / MS_PER_HOUR
        idle = np.abs(current) < REST_CURRENT_C * cell.capacity_ah
        rest_ms = np.where(idle & current_ok, memory.rack_rest_ms + elapsed_ms, 0)
        moved = current * np.where(current < 0, cell.efficiency, 1.0) * hours / cell.capacity_ah
        bleed = self.inputs.balancing.bleed_current_a * hours / cell.capacity_ah
        soc = memory.cell_charge_ratio - moved[:, None, None] - bleed * outputs.cell_bleed_on
        spread = GAIN_ERROR * np.abs(moved) + OFFSET_ERROR_C * hours
        variance = memory.cell_variance + (2.0 * np.sqrt(memory.cell_variance)) * spread[:, None, None]
        start = ~memory.rack_known & idle & current_ok & self._complete(measured)
        due = (rest_ms >= REST_MS) & (rest_ms % REST_INTERVAL_MS < elapsed_ms)
        if start.any() or due.any():
            soc, variance = self._correct(measured, soc, variance, start, due)
        return replace(
            memory,
            cell_charge_ratio=np.clip(soc, 0.0, 1.0),
            cell_variance=variance,
            rack_known=memory.rack_known | start,
            rack_rest_ms=rest_ms,
            rack_throughput_ah=memory.rack_throughput_ah + np.abs(current) * hours,
        )

    def _complete(self, measured: Measured) -> Bools:
        v = measured.points.cell_voltage_v
        return np.asarray(((v.quality <= USABLE) | ~self.inputs.topology.cell_fitted).all(axis=(1, 2)))

    def _correct(
        self, measured: Measured, soc: Floats, variance: Floats, start: Bools, due: Bools
    ) -> tuple[Floats, Floats]:
        """Where a rack starts, the OCV is all there is; where it rested, it corrects by its worth."""
        v, grid = measured.points.cell_voltage_v, self.inputs.cell.soc_grid
        seen = np.interp(v.value, self.ocv_rising, grid)
        coarse = between(grid, self.inputs.cell.ocv_v, seen)
        noise = (OCV_ERROR_V**2 + coarse**2) / np.interp(seen, grid, self.slope) ** 2
        noise = np.clip(noise, 0.005**2, START_SIGMA**2)
        usable = v.quality <= USABLE
        gain = np.where(usable & due[:, None, None], variance / (variance + noise), 0.0)
        soc = soc + gain * (seen - soc)
        variance = variance * (1.0 - gain)
        begin = start[:, None, None]
        given = self.inputs.initial_soc
        soc = np.where(begin, seen if given is None else given, soc)
        variance = np.where(begin, noise if given is None else START_SIGMA**2 / 4, variance)
        return np.asarray(soc), np.asarray(variance)
