"""What can be chosen when the simulator starts, and the plant's own constants."""

from __future__ import annotations

import dataclasses
from typing import Final

STEP_MS: Final = 20
"""Step of contactors, DC link and PCS: half a contactor's actuation time."""

CELLS_MS: Final = 100
"""Step of the cells: their fastest time constant is some seconds."""

ENCODE_MS: Final = 40
"""How often module registers take new values; the module's sample counter counts these."""


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """How the plant starts. `noise` scales every sensor's noise; 0 makes the registers exact."""

    soc: float = 0.6
    seed: int = 1
    ambient_degc: float = 25.0
    noise: float = 1.0
    play: str = ""
    play_speed: float = 1.0
    play_from_s: float = 0.0
    paced: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Constants:
    """The plant's own parameters, none of which the controller can read."""

    capacity_spread: float = 0.01
    resistance_spread: float = 0.05
    soc_spread: float = 0.01
    leak_a: float = 0.008
    leak_spread: float = 0.5
    resistance_share: tuple[float, float, float] = (0.6, 0.25, 0.4)
    time_constants_s: tuple[float, float] = (15.0, 300.0)
    arrhenius_k: float = 2000.0
    hysteresis_v: float = 0.006
    hysteresis_rate: float = 40.0
    heat_capacity_j_k_per_ah: float = 19.0
    cooling_w_k_per_ah: float = 0.0018
    cooling_off_share: float = 0.2

    main_close_ms: float = 40.0
    main_open_ms: float = 40.0
    wiring_ohm: float = 0.010
    precharge_peak_a: float = 45.0
    precharge_time_constant_s: float = 0.3
    link_bleed_per_precharge: float = 700.0
    insulation_ohm: float = 2.0e6
    rack_watchdog_ms: float = 2000.0
    bleed_timeout_ms: float = 30_000.0
    aux_supply_v: float = 24.0
    aux_dropout_v: float = 16.0

    pcs_watchdog_ms: float = 1000.0
    pcs_start_ms: float = 100.0
    pcs_full_ramp_s: float = 0.4
    pcs_overload: float = 1.1
    pcs_efficiency: float = 0.98
    pcs_link_low: float = 0.6
    """Part of the nominal link voltage under which a PCS does not run."""

    noise_cell_v: float = 0.00015
    noise_temperature_k: float = 0.03
    noise_current_a: float = 0.05
    noise_voltage_v: float = 0.05
