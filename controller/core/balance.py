"""Stage: which cells are bled. By estimated charge difference, never by raw plateau voltage, under permissives.

The pattern is chosen anew every minute only: coils are not to chatter, and charge differences change in hours.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from controller.core.effect import OPENING
from controller.core.image import Estimates, Measured, Modes, RackMode, System, Trips
from controller.core.memory import BalancingMemory
from controller.core.settings import BalancingSettings
from controller.core.signal import Bools, Quality, among
from controller.core.topology import Topology

HOLD_MS: Final = 60_000
SIGMAS: Final = 2.0
"""A difference below this many standard deviations is not believed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Balancing:
    """What the balancing is built from."""

    topology: Topology
    settings: BalancingSettings


def balance(
    plan: Balancing,
    memory: BalancingMemory,
    measured: Measured,
    estimates: Estimates,
    trips: Trips,
    modes: Modes,
    system: System,
) -> tuple[Bools, BalancingMemory]:
    """The cells to bleed now. A permissive that goes ends a bleed at once, whatever the pattern says."""
    hold = memory.hold_ms - system.elapsed_ms
    pattern = memory.bleed_on
    if hold <= 0:
        pattern, hold = _choose(plan, estimates), HOLD_MS
    allowed = _permissives(plan, measured, trips, modes)
    return pattern & allowed, BalancingMemory(hold, pattern)


def _choose(plan: Balancing, estimates: Estimates) -> Bools:
    s = plan.settings
    fitted = plan.topology.cell_fitted
    if not s.enabled or not estimates.soc_valid:
        return np.zeros(fitted.shape, bool)
    lowest = np.where(fitted, estimates.cell_soc_ratio, 1.0).min(axis=(1, 2), keepdims=True)
    difference = estimates.cell_soc_ratio - lowest
    believed = difference > np.maximum(s.start_ratio, SIGMAS * estimates.cell_soc_sigma_ratio)
    # Where only extremes are reported, a value belongs to no cell that could be bled.
    return np.asarray(fitted & believed & ~plan.topology.extremes_only[:, :, None])


def _permissives(plan: Balancing, measured: Measured, trips: Trips, modes: Modes) -> Bools:
    s, p, e = plan.settings, measured.points, measured.extremes
    rack = (trips.rack_effect & OPENING) == 0
    rack &= among(modes.rack_mode, RackMode.OPEN, RackMode.CLOSED)
    cool = among(e.module_temperature_max_degc.quality, Quality.GOOD) & (
        e.module_temperature_max_degc.value < s.most_temperature_degc
    )
    cell = among(p.cell_voltage_v.quality, Quality.GOOD) & (p.cell_voltage_v.value >= s.least_cell_voltage_v)
    return np.asarray(rack[:, None, None] & cool[:, :, None] & cell)
