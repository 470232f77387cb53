"""`estimate`: the product's own estimator, one rack of one cell per virtual cell, fed row by row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from controller.core.estimate import Ekf, EstimatorInputs
from controller.core.field_image import Points
from controller.core.image import Measured, OutputImage, System
from controller.core.layout import Layout, tags_of
from controller.core.memory import EstimationMemory
from controller.core.settings import BalancingSettings, CellSheet
from controller.core.signal import Floats, Quality
from controller.core.topology import Topology

START_SIGMA: Final = 0.2
UNTOLD_SOC, UNTOLD_SIGMA = 0.5, 0.3
NO_BALANCING: Final = BalancingSettings(False, 1.0, 5.0, 0.0, 0.0)
RANGE: Final = {t.name: (t.low, t.high) for t in tags_of(Points) if t.low is not None and t.high is not None}
"""Instrument ranges, from the tags."""
Progress = Callable[[int, int], None]


class Rig:
    """Racks of the product's estimator with plain arrays in front; feedback of contactors and PCS is not fitted."""

    def __init__(self, topology: Topology, sheet: CellSheet) -> None:
        self.estimator = Ekf(EstimatorInputs(topology, sheet, NO_BALANCING, None))
        dims = {**topology.dims, "bus": 1, "slot": 1}
        self.measured = Layout(Measured, dims).blank()
        self.outputs = Layout(OutputImage, dims).blank()
        self.system = Layout(System, dims).blank()
        self.memory = Layout(EstimationMemory, dims).blank()
        self.points = self.measured.points
        for field in dataclasses.fields(self.points):
            getattr(self.points, field.name).quality[...] = int(Quality.NOT_FITTED)

    def begin(self, soc: Floats, sigma: Floats | float) -> None:
        """What is believed before the first value: SOC per rack and its standard deviation; NaN: nothing is."""
        told = np.isfinite(soc) & np.isfinite(sigma)
        self.memory.cell_charge_ratio[...] = np.where(told, soc, UNTOLD_SOC)[:, None, None]
        self.memory.cell_variance[...] = np.square(np.where(told, sigma, UNTOLD_SIGMA))[:, None, None]

    def step(self, current_a: Floats, voltage_v: Floats, temperature_degc: Floats, elapsed_ms: int) -> EstimationMemory:
        """One row of data; what is outside its instrument range is no value, as in the stage `validate`."""
        p, extremes = self.points, self.measured.extremes
        for samples, value, (low, high) in (
            (p.rack_current_a, current_a, RANGE["rack_current_a"]),
            (p.cell_voltage_v, voltage_v, RANGE["cell_voltage_v"]),
            (extremes.rack_temperature_min_degc, temperature_degc, RANGE["cell_temperature_degc"]),
            (extremes.rack_temperature_max_degc, temperature_degc, RANGE["cell_temperature_degc"]),
        ):
            good = (value >= low) & (value <= high)
            samples.value[...] = np.where(good, value, 0.0)
            samples.quality[...] = np.where(good, int(Quality.GOOD), int(Quality.BAD_SENSOR))
        self.memory = self.estimator.step(self.memory, self.measured, self.outputs, elapsed_ms)
        return self.memory


def sheet_of(sheet: Mapping[str, Any]) -> CellSheet:
    """The product's cell sheet from a plain dict whose resistances are already at the temperature of the profile.

    Points of the tables may come in any order; ValueError where fewer than two are finite, or the capacity is none.
    """
    capacity, half = float(sheet["capacity_ah"]), sheet.get("hyst_half_v")
    if not capacity > 0:
        raise ValueError(f"capacity_ah is {capacity}; more than 0")
    if half is not None and not np.isfinite(np.asarray(half, float)).any():
        half = None
    given = np.asarray(sheet["soc_grid"], float)
    volts = np.broadcast_to(np.asarray(sheet["ocv_mid_v"], float), given.shape)
    gap = np.zeros(given.shape) if half is None else np.broadcast_to(np.asarray(half, float), given.shape)
    told = np.isfinite(given) & np.isfinite(volts) & np.isfinite(gap)
    grid, at = np.unique(given[told], return_index=True)
    if len(grid) < 2:
        raise ValueError("soc_grid and ocv_mid_v have no two points")
    return CellSheet(
        capacity_ah=capacity,
        resistance_ohm=float(sheet["r0"]),
        charge_current_a=capacity,
        discharge_current_a=capacity,
        efficiency=_given(sheet, "eta", 1.0),
        soc_grid=grid,
        ocv_v=volts[told][at],
        hysteresis_half_v=None if half is None else gap[told][at],
        hysteresis_scale=_given(sheet, "ms", 1.0),
        hysteresis_gamma=_given(sheet, "gamma", 15.0),
        r1_ohm=_optional(sheet, "r1"),
        tau1_s=_optional(sheet, "tau1"),
        r2_ohm=_optional(sheet, "r2"),
        tau2_s=_optional(sheet, "tau2"),
        r0_arrhenius_k=0.0,
        rc_arrhenius_k=0.0,
    )


def _given(sheet: Mapping[str, Any], name: str, usual: float) -> float:
    value = _optional(sheet, name)
    return usual if value is None else value


def _optional(sheet: Mapping[str, Any], name: str) -> float | None:
    value = sheet.get(name)
    return None if value is None else float(value)


def shaped(name: str, found: Floats, *wanted: int | None) -> tuple[int, ...]:
    """The shape of an argument; ValueError where it is not the one wanted (None: any length)."""
    if len(found.shape) == len(wanted) and all(w in (None, n) for n, w in zip(found.shape, wanted, strict=True)):
        return found.shape
    words = ", ".join("any" if w is None else str(w) for w in wanted)
    raise ValueError(f"{name} has the shape {found.shape}; ({words}) is wanted")


def estimate(
    i: ArrayLike,
    v: ArrayLike,
    temp: ArrayLike,
    dt: float,
    z0: ArrayLike,
    sheet: Mapping[str, Any],
    told: Progress | None = None,
) -> tuple[Floats, Floats]:
    """SOC and its standard deviation, both (N, K) in 0..1, of N virtual cells with a current sensor each; causal.

    i (A, discharge positive), v (V): (N, K); temp (degC): (K,); dt in s; z0: (N,) the SOC believed at the start, wrong
    by `sheet["s0"]` (default 0.2; one figure or one per cell, as `h0`). `told` hears about progress: (row, rows).
    ValueError where shapes do not belong together, or `dt` is no time.
    """
    current, voltage, start = np.asarray(i, float), np.asarray(v, float), np.asarray(z0, float)
    count, rows = shaped("i", current, None, None)
    shaped("v", voltage, count, rows)
    shaped("z0", start, count)
    if not dt > 0:
        raise ValueError(f"dt is {dt} s; more than 0")
    warm = np.broadcast_to(np.asarray(temp, float), (rows,))
    rig = Rig(Topology.regular(count, 1, 1, 1), sheet_of(sheet))
    rig.begin(start, np.broadcast_to(np.asarray(sheet.get("s0", START_SIGMA), float), start.shape))
    rig.memory.string["hysteresis"] = np.asarray(sheet.get("h0", 0.0), float)
    soc, sigma = np.empty((count, rows)), np.empty((count, rows))
    volts, amperes = np.ascontiguousarray(voltage.T), np.ascontiguousarray(current.T)
    # Whole milliseconds as the controller counts them, which must not drift from the rows.
    elapsed_ms = np.diff(np.round(np.arange(rows + 1) * (1000.0 * dt))).astype(int).tolist()
    for k in range(rows):
        memory = rig.step(amperes[k], volts[k, :, None, None], warm[k], elapsed_ms[k])
        soc[:, k] = memory.cell_charge_ratio[:, 0, 0]
        sigma[:, k] = np.sqrt(memory.cell_variance[:, 0, 0])
        if told is not None and k % 1000 == 0:
            told(k, rows)
    return soc, sigma
