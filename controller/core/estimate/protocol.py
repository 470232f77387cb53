"""What every estimator offers, and what follows from a SOC whichever way it was found."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Protocol

import numpy as np

from controller.core.image import Estimates, Measured, OutputImage, System
from controller.core.layout import Layout
from controller.core.memory import EstimationMemory
from controller.core.outlook import Outlook
from controller.core.settings import BalancingSettings, CellSheet
from controller.core.signal import Bools, Floats
from controller.core.topology import Topology


@dataclasses.dataclass(frozen=True, slots=True)
class EstimatorInputs:
    """What an estimator is built from."""

    topology: Topology
    cell: CellSheet
    balancing: BalancingSettings
    initial_soc: float | None


class Estimator(Protocol):
    """Turns measurements into estimates; deterministic, all state in the memory."""

    def update(
        self, memory: EstimationMemory, measured: Measured, outputs: OutputImage, system: System
    ) -> tuple[Estimates, EstimationMemory]:
        """Estimates of this scan. `outputs` are those of the last scan: bleeds count as discharge."""
        ...


class EnergyTable:
    """Energy content over SOC: integral of the OCV table, per Ah of capacity."""

    def __init__(self, cell: CellSheet) -> None:
        steps = np.diff(cell.soc_grid) * (cell.ocv_v[1:] + cell.ocv_v[:-1]) / 2
        self.grid = cell.soc_grid
        self.integral = np.concatenate([[0.0], np.cumsum(steps)])

    def between(self, low: Floats, high: Floats) -> Floats:
        """Mean-voltage integral from `low` to `high` SOC, in V."""
        i = np.interp(high, self.grid, self.integral) - np.interp(low, self.grid, self.integral)
        return np.asarray(i)


def summarize(inputs: EstimatorInputs, table: EnergyTable, soc: Floats, sigma: Floats, known: Bools) -> Estimates:
    """Rack and site figures from cell SOCs. The weakest cell bounds what can be taken out, the fullest what fits in."""
    t, cell = inputs.topology, inputs.cell
    fitted = t.cell_fitted
    count = fitted.sum(axis=(1, 2))
    series = t.series_cells.sum(axis=1)
    low = np.where(fitted, soc, 1.0).min(axis=(1, 2))
    high = np.where(fitted, soc, 0.0).max(axis=(1, 2))
    if t.extremes_only.any():
        # Two values may stand for a hundred cells: every module weighs as many cells as it has.
        module_mean = np.where(fitted, soc, 0.0).sum(axis=2) / np.maximum(fitted.sum(axis=2), 1)
        mean = (module_mean * t.series_cells).sum(axis=1) / np.maximum(series, 1)
    else:
        mean = np.where(fitted, soc, 0.0).sum(axis=(1, 2)) / np.maximum(count, 1)
    rack_soc = low / np.maximum(1.0 - (high - low), 1e-6)
    weight = cell.capacity_ah * series
    discharge = weight * table.between(np.maximum(mean - low, 0.0), mean)
    charge = weight * table.between(mean, np.minimum(mean + 1.0 - high, 1.0))
    discharge, charge = np.where(known, discharge, 0.0), np.where(known, charge, 0.0)
    capacity = np.full(t.racks, cell.capacity_ah)
    total = max(int(known.sum()), 1)
    site_sigma = float(np.sqrt(np.where(fitted, sigma**2, 0.0).sum(axis=(1, 2)) / np.maximum(count, 1)).max(initial=0))
    return Estimates(
        cell_soc_ratio=soc,
        cell_soc_sigma_ratio=sigma,
        rack_soc_ratio=np.clip(rack_soc, 0.0, 1.0),
        rack_soc_min_ratio=low,
        rack_soc_max_ratio=high,
        rack_soh_ratio=np.ones(t.racks),
        rack_capacity_ah=capacity,
        rack_discharge_energy_wh=discharge,
        rack_charge_energy_wh=charge,
        soc_ratio=float(np.where(known, np.clip(rack_soc, 0, 1), 0.0).sum() / total),
        soc_sigma_ratio=site_sigma if known.any() else 1.0,
        soh_ratio=1.0,
        discharge_energy_wh=float(discharge.sum()),
        charge_energy_wh=float(charge.sum()),
        soc_valid=int(known.all()),
        outlook=no_outlook(t.racks, t.modules, t.cells),
    )


@cache
def no_outlook(racks: int, modules: int, cells: int) -> Outlook:
    """The outlook of an estimator that has none: zeros, nothing known. Shared: never to be changed."""
    return Layout(Outlook, {"rack": racks, "module": modules, "cell": cells}).blank()
