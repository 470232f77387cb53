"""What is known of the cells of some racks at one moment, on flat (rack, cell) arrays: the base of every outlook.

The one place that reads the SOC filter's memory: another filter is connected here.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.estimate.cell_model import HIGH, LOW, CellModel
from controller.core.image import Measured
from controller.core.memory import EstimationMemory
from controller.core.signal import USABLE, Bools, Floats, Ints, every, some
from controller.core.topology import Topology

SIGMAS: Final = 3.0
"""Standard deviations that a promise keeps clear of."""
UNSEEN_V: Final = 0.01
"""Standard deviation of a cell's open-circuit voltage when its own voltage is not usable."""
OFFSET_V, BRANCH_ERROR, UNKNOWN_BRANCH_V, CIRCUIT_ERROR = 0.010, 0.5, 0.010, 0.5
"""Doubt of what a voltage tells of the SOC: sensor, share of the hysteresis (or all of it), share of the drops."""
UNTOLD_V: Final = 1.0
"""Added where a cell's own voltage is not usable: it then bounds nothing."""
EVEN_SIGMA: Final = 0.2887
"""Standard deviation of what may lie anywhere in a span, as a share of it."""
DEGC_UNKNOWN: Final = 25.0
INVERSE_POINTS: Final = 2048
UNCHANGED: Final = np.ones(1)
UNCHANGED.setflags(write=False)


class Table:
    """A uniform table: one take and one multiply-add per element; flat outside."""

    def __init__(self, low: float, high: float, values: Floats) -> None:
        self.low, self.scale = low, (len(values) - 1) / (high - low)
        self.values = np.asarray(values, float)
        self.steps = np.append(np.diff(self.values), 0.0)
        self.last = len(values) - 1.0

    def _between(self, at: Floats) -> tuple[Floats, NDArray[np.int32]]:
        place = (at - self.low) * self.scale
        place.clip(0.0, self.last, out=place)
        index = place.astype(np.int32)
        place -= index
        place *= self.steps.take(index)
        place += self.values.take(index)
        return np.asarray(place), index

    def beside(self, at: Floats, steps: Floats, spot: Any = ...) -> tuple[Floats, Floats]:
        """The values, and what a table of as many steps says at `at[spot]`, for little more than the values alone."""
        values, index = self._between(at)
        return values, np.asarray(steps.take(index[spot]))

    def __call__(self, at: Floats) -> Floats:
        """Linear between the points, for any shape."""
        return self._between(at)[0]


class Circuit:
    """Tables and constants of the cell type that every outlook works with."""

    def __init__(self, model: CellModel) -> None:
        self.model = model
        self.ocv = Table(LOW, HIGH, model.ocv_v)
        steps = np.diff(model.grid) * (model.ocv_v[1:] + model.ocv_v[:-1]) / 2
        self.energy = Table(LOW, HIGH, np.concatenate([[0.0], np.cumsum(steps)]))
        """Integral of the OCV over SOC, V."""
        inside = (model.grid >= 0) & (model.grid <= 1)
        rising = model.ocv_v[inside] + np.arange(int(inside.sum())) * 1e-9
        volts = np.linspace(rising[0], rising[-1], INVERSE_POINTS)
        self.soc_at = Table(rising[0], rising[-1], np.interp(volts, rising, model.grid[inside]))
        """SOC of an open-circuit voltage."""
        self.rise = np.maximum(model.rise, np.append(model.rise[1:], model.rise[-1]))
        """Factor on the resistances in every step of `ocv`'s table: the larger of its ends."""
        self.full_ohm = model.r0 + model.r1 + model.r2
        self.ohm_share = (model.r1 / model.r0, model.r2 / model.r0)

    def rise_at(self, soc: Floats) -> Floats:
        """Factor on all resistances at a SOC, never less than the sheet's curve there."""
        return np.asarray(self.rise.take(((soc - LOW) * self.ocv.scale).astype(np.int32), mode="clip"))

    def given_back(self, rise: Floats, amps: Floats) -> Floats:
        """Factor on a drop of today that ends with its current, whose sign (or the drop's) is `amps`.

        Where the rise is only a margin, what discharge gives back counts without it and what charge takes with it.
        """
        if self.model.rise_known:
            return rise
        charge = amps < 0
        return np.where(charge, rise, 1.0) if some(charge) else UNCHANGED


@dataclasses.dataclass(frozen=True, slots=True)
class Cells:
    """Racks `racks`: (n,) per rack, (n, cells) per cell. `emf_v` is the voltage behind R0, without current.

    `known` is False where nothing may be promised: no SOC, or no current. `place` is the flat index of a rack's
    first cell; what is not fitted is masked by `fitted`. `r0`, `r1`, `r2` hold at the cell's temperature and the SOC of
    the sheet's resistance; `rise` is the factor on all three at the cell's SOC.
    `weight`: cells in series that a value stands for, `count` of them. `low_soc`, `high_soc`: what a cell has at least
    and at most, three sigma away, and not further than its voltage allows.
    """

    racks: Ints
    place: Ints
    known: Bools
    fitted: Bools
    weight: Floats
    count: Floats
    current_a: Floats
    soc: Floats
    sigma: Floats
    low_soc: Floats
    high_soc: Floats
    emf_v: Floats
    emf_sigma_v: Floats
    v1: Floats
    v2: Floats
    hysteresis: Floats
    r0: Floats
    r0_sigma: Floats
    r1: Floats
    r2: Floats
    rise: Floats
    capacity_ah: Floats
    capacity_sigma_ah: Floats
    surface_degc: Floats

    def mean_rise(self) -> Floats:
        """(n,) factor on the resistances of the mean cell."""
        return np.asarray((self.rise * self.weight).sum(axis=1) / np.maximum(self.count, 1.0))


def string_of(memory: EstimationMemory, racks: Ints) -> tuple[Any, Bools]:
    """The string filters of some racks, and which of them run; a counter without filter has none running."""
    s = memory.string[racks]
    return s, s["ready"] == 1


def look(circuit: Circuit, memory: EstimationMemory, measured: Measured, topology: Topology, racks: Ints) -> Cells:
    """What is known now of `racks` (rising). Voltages anchor the promise: the model only tells how they move from here.

    The arrays may be views of the memory's: they are only read.
    """
    m, n = circuit.model, len(racks)
    # Neighbours are looked at in place: it saves ten copies.
    at: Any = slice(int(racks[0]), int(racks[-1]) + 1) if racks[-1] - racks[0] == n - 1 else racks
    s, ready = string_of(memory, racks)
    health, warmth = memory.outlook.health, memory.outlook.warmth
    flat = memory.cell_charge_ratio.shape[1] * memory.cell_charge_ratio.shape[2]

    def cells(a: Any) -> Floats:
        return np.asarray(a[at], np.float64).reshape(n, flat)

    i = measured.points.rack_current_a
    heard = i.quality[at] <= USABLE
    current = np.where(heard, i.value[at], 0.0)
    surface = cells(warmth.cell_surface_temperature_degc)
    cold = m.heat(surface.sum(axis=1) / flat) if m.sheet.r0_arrhenius_k or m.sheet.rc_arrhenius_k else (1.0, 1.0)
    warm0, warm1 = (np.reshape(h, (-1, 1)) for h in cold)
    r25 = cells(health.cell_resistance_ohm)
    r0 = r25 * warm0
    soc = cells(memory.cell_charge_ratio)
    v1, v2 = np.where(ready, s["x"][:, 1], 0.0), np.where(ready, s["x"][:, 2], 0.0)
    h = np.where(ready, s["hysteresis"], 0.0)
    rise = circuit.rise_at(soc)
    v = measured.points.cell_voltage_v
    usable = (v.quality[at] <= USABLE).reshape(n, flat) & heard[:, None]
    seen = np.asarray(v.value[at], np.float64).reshape(n, flat)
    seen = seen + r0 * circuit.given_back(rise, current[:, None]) * current[:, None]
    if not every(usable):
        model_v = circuit.ocv(soc) + m.branch(soc) * h[:, None] - (v1 + v2)[:, None]
        seen = np.where(usable, seen, model_v)
    mask, weight = topology.cell_fitted[at].reshape(n, flat), topology.cell_weight[at].reshape(n, flat)
    sigma = np.sqrt(cells(memory.cell_variance))
    drops = np.abs(current)[:, None] * (r0 + np.where(ready, 0.0, 1.0)[:, None] * r25 * sum(circuit.ohm_share))
    drops = drops + (np.abs(v1) + np.abs(v2))[:, None]
    half = m.branch(soc) * BRANCH_ERROR if m.branch_v.any() else UNKNOWN_BRANCH_V
    coarse = m.coarse(soc, SIGMAS * sigma) if m.coarse_v.any() else 0.0
    doubt = np.sqrt(OFFSET_V**2 + half**2 + coarse + (CIRCUIT_ERROR * drops) ** 2)
    doubt = SIGMAS * (doubt + np.where(usable, 0.0, UNTOLD_V))
    open_v = seen + (v1 + v2)[:, None]
    told = circuit.soc_at(np.array([open_v - doubt, open_v + doubt]))
    low = np.maximum(soc - SIGMAS * sigma, np.minimum(told[0], soc))
    high = np.minimum(soc + SIGMAS * sigma, np.maximum(told[1], soc))
    low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
    sigma = np.minimum(sigma, (high - low) * EVEN_SIGMA)
    return Cells(
        racks, racks * flat, memory.rack_known[at] & heard & mask.any(axis=1), mask, weight, weight.sum(axis=1),
        current, soc, sigma, low, high, seen, np.where(usable, 0.0, UNSEEN_V), v1, v2, h,
        r0, cells(health.cell_resistance_sigma_ohm) * warm0, r25 * circuit.ohm_share[0] * warm1,
        r25 * circuit.ohm_share[1] * warm1, rise, cells(health.cell_capacity_ah), cells(health.cell_capacity_sigma_ah),
        surface,
    )  # fmt: skip
