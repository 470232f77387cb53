"""The DC links: one capacitor per bank, fed by racks in parallel, loaded by constant-power converters.

Between two steps the sources and the load current stand still, so the node is a first-order system with an exact
solution: stable at any step, and the charge that leaves the racks is the charge that arrives.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from controller.core.signal import Bools, Floats, Ints, some

LOAD_ROUNDS: Final = 3
"""Rounds of the fixed point i = P / V; each gains a factor of about P / (V^2 G), some percent."""

LEAST_LOAD_V: Final = 1.0
FADE_LIMIT: Final = 60.0
"""exp(-60) is nothing; beyond it the exponential would only underflow."""


@dataclasses.dataclass(frozen=True, slots=True)
class Flow:
    """Mean currents over one step: out of each rack, and into each bank's load."""

    rack_current_a: Floats
    load_current_a: Floats


class Links:
    """Voltage of every bank's DC link."""

    def __init__(
        self, rack_bank: Ints, banks: int, capacitance_f: float, bleed_ohm: float, precharge_ohm: float
    ) -> None:
        self.rack_bank = rack_bank
        self.member = (np.arange(banks)[:, None] == rack_bank[None, :]).astype(float)
        self.capacitance_f, self.bleed_ohm, self.precharge_ohm = capacitance_f, bleed_ohm, precharge_ohm
        self.voltage_v: Floats = np.zeros(banks)
        self.shorted: Bools = np.zeros(len(rack_bank), bool)
        """Racks whose precharge resistor is bridged."""

    def step(self, dt_s: float, emf_v: Floats, ohm: Floats, main: Bools, precharge: Bools, power_w: Floats) -> Flow:
        """Advance the links by `dt_s` under the banks' DC powers; a load without any source draws nothing."""
        beside: Floats | float = 0.0
        if some(precharge):
            resistor = np.where(self.shorted, 0.0, self.precharge_ohm)
            beside = np.where(precharge, 1 / (ohm + resistor), 0.0)
        siemens = np.where(main, 1 / ohm, beside)
        source_s = self.member @ siemens
        source_a = self.member @ (siemens * emf_v)
        total_s = source_s + 1 / self.bleed_ohm
        fade = np.minimum(total_s * dt_s / self.capacitance_f, FADE_LIMIT)
        decay = np.exp(-fade)
        mean_share = -np.expm1(-fade) / fade
        power_w = np.where(source_s > 0, power_w, 0.0)
        mean_v = self.voltage_v
        load_a = np.zeros_like(mean_v)
        final_v = mean_v
        loaded = power_w != 0
        for _ in range(LOAD_ROUNDS if some(loaded) else 1):
            load_a = np.where(loaded, power_w / np.maximum(mean_v, LEAST_LOAD_V), 0.0)
            final_v = (source_a - load_a) / total_s
            mean_v = final_v + (self.voltage_v - final_v) * mean_share
        self.voltage_v = np.maximum(final_v + (self.voltage_v - final_v) * decay, 0.0)
        return Flow(siemens * (emf_v - mean_v[self.rack_bank]), load_a)
