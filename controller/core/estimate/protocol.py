"""What every estimator offers, and what follows from a SOC whichever way it was found."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Protocol

import numpy as np

from controller.core.image import Estimates, Measured, OutputImage
from controller.core.layout import Layout
from controller.core.memory import EstimationMemory
from controller.core.outlook import Outlook
from controller.core.settings import BalancingSettings, CellSheet
from controller.core.signal import Bools, Floats, every, some
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

    def publish(self, memory: EstimationMemory) -> Estimates:
        """What the memory says, as the stages of a scan want it."""
        ...

    def step(
        self, memory: EstimationMemory, measured: Measured, outputs: OutputImage, elapsed_ms: int
    ) -> EstimationMemory:
        """The memory after `elapsed_ms` more; the one given never changes. Bleeds in `outputs` count as discharge."""
        ...


def summarize(inputs: EstimatorInputs, soc: Floats, sigma: Floats, known: Bools) -> Estimates:
    """Rack and site figures from cell SOCs. The weakest cell bounds what can be taken out, the fullest what fits in.

    Energy and all that follows from more than a SOC is 0 here: `Complete` fills it in.
    """
    t = inputs.topology
    fitted = t.cell_fitted
    whole = t.all_cells_fitted
    low = (soc if whole else np.where(fitted, soc, 1.0)).min(axis=(1, 2))
    high = (soc if whole else np.where(fitted, soc, 0.0)).max(axis=(1, 2))
    rack_soc = (low / np.maximum(1.0 - (high - low), 1e-6)).clip(0.0, 1.0)
    total = max(int(known.sum()), 1)
    square = np.square(sigma) if whole else np.where(fitted, np.square(sigma), 0.0)
    site_sigma = float(np.sqrt(square.sum(axis=(1, 2)) / np.maximum(t.cell_count, 1)).max(initial=0))
    return Estimates(
        cell_soc_ratio=soc,
        cell_soc_sigma_ratio=sigma,
        rack_soc_ratio=rack_soc,
        rack_soc_min_ratio=low,
        rack_soc_max_ratio=high,
        rack_soh_ratio=np.ones(t.racks),
        rack_capacity_ah=np.full(t.racks, inputs.cell.capacity_ah),
        rack_discharge_energy_wh=np.zeros(t.racks),
        rack_charge_energy_wh=np.zeros(t.racks),
        soc_ratio=float(np.where(known, rack_soc, 0.0).sum() / total),
        soc_sigma_ratio=site_sigma if some(known) else 1.0,
        soh_ratio=1.0,
        discharge_energy_wh=0.0,
        charge_energy_wh=0.0,
        soc_valid=int(every(known)),
        outlook=no_outlook(t.racks, t.modules, t.cells),
    )


@cache
def no_outlook(racks: int, modules: int, cells: int) -> Outlook:
    """The outlook of an estimator that has none: zeros, nothing known. Shared: never to be changed."""
    return Layout(Outlook, {"rack": racks, "module": modules, "cell": cells}).blank()
