"""The cells: two RC branches, hysteresis and one thermal node each, as arrays over rack, module and cell."""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.core.signal import Bools, Floats, some
from plc_config.schema.cell import CellType
from tools.simulator.options import Constants, Options

TABLE_POINTS: Final = 4096
OUTSIDE: Final = 0.08
"""How far beyond 0..1 the OCV table runs, so that abused cells show it."""

SLOPE_EMPTY_V: Final = 15.0
SLOPE_FULL_V: Final = 12.0
"""Volts per unit of SOC below 0 and above 1."""

KELVIN: Final = 273.15
REFERENCE_K: Final = 298.15
AGEING_STEPS: Final = 10
"""The temperature factor of the resistances is worked out anew every so many steps."""


class OpenCircuit:
    """OCV over SOC as an evenly spaced table: one multiplication instead of a search per cell."""

    def __init__(self, soc: list[float], volts: list[float]) -> None:
        x = np.array([-OUTSIDE, *soc, 1 + OUTSIDE])
        y = np.array([volts[0] - SLOPE_EMPTY_V * OUTSIDE, *volts, volts[-1] + SLOPE_FULL_V * OUTSIDE])
        grid = np.linspace(-OUTSIDE, 1 + OUTSIDE, TABLE_POINTS)
        self.table = np.interp(grid, x, y)
        self.slope = np.append(np.diff(self.table), 0.0)
        self.scale = (TABLE_POINTS - 1) / (1 + 2 * OUTSIDE)

    def __call__(self, soc: Floats) -> Floats:
        """OCV at 25 degC, clamped to the ends of the table."""
        at = (soc + OUTSIDE) * self.scale
        at.clip(0.0, TABLE_POINTS - 1.0, out=at)
        index = at.astype(np.int32)
        at -= index
        at *= self.slope.take(index)
        at += self.table.take(index)
        return at


class Cells:
    """State and parameters of every cell. Discharge current is positive; `emf_v` is the voltage behind R0."""

    def __init__(
        self, cell: CellType, shape: tuple[int, int, int], parallel: int, options: Options, constants: Constants
    ) -> None:
        random = np.random.default_rng(options.seed)
        self.constants = c = constants
        self.shape = shape
        self.ocv = OpenCircuit(cell.ocv.soc, cell.ocv.volts)
        self.efficiency = cell.coulombic_efficiency
        capacity_ah = cell.capacity * parallel
        self.capacity_as = capacity_ah * 3600 * (1 + c.capacity_spread * random.standard_normal(shape))
        spread = 1 + c.resistance_spread * random.standard_normal(shape)
        base = np.maximum(spread, 0.5) * cell.resistance / parallel
        self.r0_25_ohm, self.r1_25_ohm, self.r2_25_ohm = (base * share for share in c.resistance_share)
        self.short_siemens: Floats = np.zeros(shape)
        self.sound = self.capacity_as.copy(), self.r0_25_ohm.copy(), self.r1_25_ohm.copy(), self.r2_25_ohm.copy()
        """Capacity and resistances as they were made."""
        self.leak_a = c.leak_a * np.exp(c.leak_spread * random.standard_normal(shape)) * capacity_ah / 280
        self.soc = np.clip(options.soc + c.soc_spread * random.standard_normal(shape), 0.0, 1.0)
        self.v1_v, self.v2_v = np.zeros(shape), np.zeros(shape)
        self.hysteresis = np.zeros(shape)
        self.temperature_degc = np.full(shape, options.ambient_degc) + 0.2 * random.standard_normal(shape)
        self.heat_capacity_j_k = c.heat_capacity_j_k_per_ah * capacity_ah
        self.cooling_w_k = c.cooling_w_k_per_ah * capacity_ah
        self.bleed_on: Bools = np.zeros(shape, bool)
        self.bleed_stuck: Bools = np.zeros(shape, bool)
        self.bleed_age_ms: Floats = np.zeros(shape[:2])
        self.any_bleed = self.any_short = False
        self.steps = 0
        self._age_resistance()
        self.emf_v = self.ocv(self.soc)
        self.bleed_ohm = 1.0

    def set_bleed_current(self, bleed_a: float, nominal_v: float) -> None:
        """Choose the bleed resistor so that a cell at nominal voltage loses `bleed_a`."""
        self.bleed_ohm = nominal_v / bleed_a

    def _age_resistance(self) -> None:
        kelvin = np.clip(self.temperature_degc, -60.0, 400.0) + KELVIN
        factor = np.exp(self.constants.arrhenius_k * (1 / kelvin - 1 / REFERENCE_K))
        self.r0_ohm = self.r0_25_ohm * factor
        self.r1_ohm = self.r1_25_ohm * factor
        self.r2_ohm = self.r2_25_ohm * factor
        self.rack_r0_ohm: Floats = self.r0_ohm.sum(axis=(1, 2))

    def mend(self) -> None:
        """Every cell as it was made, without shorts; what charge it lost stays lost."""
        made = (a.copy() for a in self.sound)
        self.capacity_as, self.r0_25_ohm, self.r1_25_ohm, self.r2_25_ohm = made
        self.short_siemens[:] = 0.0
        self.any_short = False
        self._age_resistance()

    def wear(self, capacity: Floats | None = None, resistance: Floats | None = None) -> None:
        """Capacity or resistance of every cell as a part of what it was made with."""
        if capacity is not None:
            self.capacity_as = self.sound[0] * capacity
        if resistance is not None:
            self.r0_25_ohm, self.r1_25_ohm, self.r2_25_ohm = (a * resistance for a in self.sound[1:])
            self._age_resistance()

    def bleed_current_a(self) -> Floats:
        """Current through each cell's bleed resistor."""
        return np.asarray(np.where(self.bleed_on, self.emf_v / self.bleed_ohm, 0.0))

    def step(self, dt_s: float, rack_current_a: Floats, ambient_degc: float, cooling: float) -> None:
        """Advance all cells by `dt_s` under the mean rack currents of that time."""
        current = rack_current_a[:, None, None]
        if self.any_bleed:
            self.bleed_age_ms += dt_s * 1000
            self.bleed_on[self.bleed_age_ms > self.constants.bleed_timeout_ms] = False
            self.bleed_on |= self.bleed_stuck
            self.any_bleed = some(self.bleed_on)
            current = current + self.bleed_current_a()
        if self.any_short:
            current = current + self.emf_v * self.short_siemens
        self._charge(dt_s, current, rack_current_a)
        for voltage, ohm, tau in (
            (self.v1_v, self.r1_ohm, self.constants.time_constants_s[0]),
            (self.v2_v, self.r2_ohm, self.constants.time_constants_s[1]),
        ):
            keep = float(np.exp(-dt_s / tau))
            voltage *= keep
            voltage += ohm * current * (1 - keep)
        self._heat(dt_s, current, ambient_degc, cooling)
        self.steps += 1
        if self.steps % AGEING_STEPS == 0:
            self._age_resistance()
        self.refresh()

    def _charge(self, dt_s: float, current: Floats, rack_current_a: Floats) -> None:
        part = current * dt_s / self.capacity_as
        pull = np.abs(part)
        pull *= self.constants.hysteresis_rate
        np.minimum(pull, 1.0, out=pull)
        self.hysteresis -= pull * (self.hysteresis + np.sign(current))
        if some(rack_current_a < 0):
            part = np.where(part < 0, part * self.efficiency, part)
        self.soc -= part
        self.soc -= self.leak_a * dt_s / self.capacity_as

    def _heat(self, dt_s: float, current: Floats, ambient_degc: float, cooling: float) -> None:
        heat_w = current * current * (self.r0_ohm + self.r1_ohm + self.r2_ohm)
        heat_w -= (self.cooling_w_k * cooling) * (self.temperature_degc - ambient_degc)
        if self.any_short:
            heat_w += self.emf_v**2 * self.short_siemens
        heat_w *= dt_s / self.heat_capacity_j_k
        self.temperature_degc += heat_w

    def refresh(self) -> None:
        """Work out the voltages behind R0 from the states (after a step, or after someone set a state)."""
        emf = self.ocv(self.soc)
        emf += self.constants.hysteresis_v * self.hysteresis
        emf -= self.v1_v
        emf -= self.v2_v
        self.emf_v = emf

    def voltage_v(self, rack_current_a: Floats) -> Floats:
        """Terminal voltage of every cell at these rack currents."""
        drop = self.r0_ohm * rack_current_a[:, None, None]
        if self.any_bleed:
            drop += self.r0_ohm * self.bleed_current_a()
        if self.any_short:
            drop += self.r0_ohm * self.emf_v * self.short_siemens
        return np.asarray(self.emf_v - drop)
