"""A string of cells of its own making, and the outlook's view of it: for promises that are then put to the test."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np

from controller.core.estimate.cell_model import CellModel
from controller.core.estimate.circuit import Cells, Circuit
from controller.core.outlook_memory import RACK_DTYPE
from controller.core.settings import DeratingSettings
from controller.core.signal import Floats
from plc_config.compile import compile_site


@cache
def derating() -> DeratingSettings:
    """Derating curves and cell sheet of the shipped LFP site."""
    return compile_site("bench").program.derating.settings


@cache
def circuit() -> Circuit:
    """The circuit of that sheet."""
    return Circuit(CellModel(derating().cell))


@dataclasses.dataclass
class String:
    """A string that is driven: truth per cell, advanced by `step` at constant power."""

    soc: Floats
    capacity_ah: Floats
    r0: Floats
    degc: Floats
    v1: Floats
    v2: Floats

    @staticmethod
    def drawn(seed: int, soc: float, degc: float, cells: int = 12, warmed_a: float = 0.0) -> String:
        """Cells that differ as cells do, after a long current of `warmed_a`."""
        random = np.random.default_rng(seed)
        m = circuit().model
        r0 = m.r0 * np.clip(1 + random.normal(0, 0.08, cells), 0.7, 1.5)
        rc = m.heat(np.array(degc))[1] * r0 / m.r0
        return String(
            np.clip(soc + random.normal(0, 0.01, cells), 0.0, 1.0),
            m.capacity_ah * np.clip(1 + random.normal(0, 0.01, cells), 0.8, 1.1),
            r0 * float(m.heat(np.array(degc))[0]), np.full(cells, degc), warmed_a * m.r1 * rc, warmed_a * m.r2 * rc,
        )  # fmt: skip

    def seen(self, sigma: float = 1e-5, off: Floats | float = 0.0) -> Cells:
        """What a perfect estimator knows; `off` is the error of its SOC."""
        m, n = circuit().model, len(self.soc)
        rc = self.r0 / m.heat(self.degc)[0] / m.r0 * m.heat(self.degc)[1]
        soc = np.clip(self.soc + off, 0, 1)
        row = lambda a: np.broadcast_to(np.asarray(a, float), (n,))[None, :].copy()  # noqa: E731
        return Cells(
            racks=np.array([0]), place=np.array([0]), known=np.array([True]), fitted=np.ones((1, n), bool),
            weight=np.ones((1, n)),
            count=np.array([float(n)]), current_a=np.zeros(1), soc=row(soc),
            sigma=row(sigma), low_soc=row(np.maximum(soc - 3 * sigma, 0.0)),
            high_soc=row(np.minimum(soc + 3 * sigma, 1.0)), emf_v=row(self.emf()), emf_sigma_v=row(0.0),
            v1=np.array([self.v1.mean()]),
            v2=np.array([self.v2.mean()]), hysteresis=np.zeros(1), r0=row(self.r0), r0_sigma=row(0.0),
            r1=row(m.r1 * rc), r2=row(m.r2 * rc), rise=row(circuit().rise_at(soc)),
            capacity_ah=row(self.capacity_ah), capacity_sigma_ah=row(0.0),
            surface_degc=row(self.degc),
        )  # fmt: skip

    def emf(self) -> Floats:
        """Voltage behind R0."""
        return np.asarray(circuit().model.ocv(self.soc) - self.v1 - self.v2)

    def rise(self) -> Floats:
        """By how much the resistances of the cells have risen at their SOC: the sheet's curve, all of it."""
        m = circuit().model
        return np.asarray(np.interp(self.soc, m.grid, m.rise))

    def drive(self, power_w: float, seconds: float, steps: int = 200) -> float:
        """Constant power (discharge positive); the worst share of what was asked to what was permitted: <= 1 is well.

        Infinite where no current gives the power, or a cell runs out of charge.
        """
        m, d = circuit().model, derating()
        dt = seconds / steps
        sign = 1.0 if power_w > 0 else -1.0
        rated = d.cell.discharge_current_a if sign > 0 else d.cell.charge_current_a
        volts_curve = d.discharge_voltage if sign > 0 else d.charge_voltage
        heat_curve = d.discharge_temperature if sign > 0 else d.charge_temperature
        rc = self.r0 / m.heat(self.degc)[0] / m.r0 * m.heat(self.degc)[1]
        heat_capacity = 19.0 * m.capacity_ah
        degc = self.degc.copy()
        worst = 0.0
        for _ in range(steps + 1):
            rise = self.rise()
            r0 = self.r0 * rise
            total, ohm = self.emf().sum(), r0.sum()
            square = total**2 - 4 * ohm * power_w
            if square < 0:
                return np.inf
            i = (total - np.sqrt(square)) / (2 * ohm)
            volts = self.emf() - i * r0
            allowed = rated * min(float(volts_curve(volts).min()), float(heat_curve(degc).min()))
            worst = max(worst, abs(i) / max(allowed, 1e-9))
            if self.soc.min() < 0 or self.soc.max() > 1:
                return np.inf
            self.soc = self.soc - i * dt / 3600 / self.capacity_ah
            self.v1 += (m.r1 * rc * rise * i - self.v1) * (1 - np.exp(-dt / m.tau1_s))
            self.v2 += (m.r2 * rc * rise * i - self.v2) * (1 - np.exp(-dt / m.tau2_s))
            degc = degc + i * (i * r0 + self.v1 + self.v2) * dt / heat_capacity
        return worst


def record() -> np.ndarray:  # type: ignore[type-arg]
    """A blank record of one rack."""
    return np.zeros(1, RACK_DTYPE)
