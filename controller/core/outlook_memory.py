"""What the outlook remembers: a record and a ledger per rack, cell arrays, and the groups as last published."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.layout import RECORDS
from controller.core.outlook import Health, Plan, RackEnergy, RackPower, SiteEnergy, SitePower, Warmth
from controller.core.signal import Floats, tag

POWER_DTYPE: Final = np.dtype(
    [
        ("amps", "f8", (2, 2, 4)),  # sure and likely, discharge and charge, horizons: current in A
        ("emf_v", "f8", (2, 4)),  # rack voltage at the end without the current's drop
        ("ohm", "f8", (2, 4)),  # what the current drops
        ("start_v", "f8", (2, 4)),  # rack voltage at the start under that current
        ("by", "i8", (2, 4)),  # what limits
        ("cell", "i8", (2, 4)),  # flat index of the limiting cell
    ]
)
ENERGY_DTYPE: Final = np.dtype(
    [
        ("wh", "f8", (2,)),  # discharge, charge
        ("wh_sigma", "f8", (2,)),
        ("ah", "f8", (2,)),
        ("now_ah", "f8"),  # to deliver at the present current
        ("fast_wh", "f8", (3,)),  # to deliver at half, three quarters and all of 1C
        ("limits_cell", "i8", (2,)),
        ("usable_wh", "f8"),
        ("balanced_wh", "f8"),
        ("capacity_ah", "f8"),  # charge from full to empty if balanced
        ("reference_w", "f8"),  # power at the reference rate without losses, and the losses
        ("loss_w", "f8"),
    ]
)
HEALTH_DTYPE: Final = np.dtype(
    [
        ("sums", "f8", (6,)),  # of the total least squares
        ("ratio", "f8"),  # capacity over the datasheet's: as solved, as published (slow), and its sigma
        ("slow_ratio", "f8"),
        ("ratio_sigma", "f8"),
        ("counted", "f8"),  # charge over the datasheet's capacity taken out since the base point, and the time
        ("counted_ms", "f8"),
        ("base", "f8", (3,)),  # SOC, its sigma (0: none) and `counted` there
        ("best", "f8", (3,)),
        ("pairs", "f8"),
        ("step_v", "f8"),  # mean cell voltage, current and age of the last calm look; age below 0: none
        ("step_a", "f8"),
        ("step_ms", "f8"),
        ("growth", "f8"),  # resistance over the datasheet's, and its variance
        ("growth_variance", "f8"),
        ("steps", "f8"),
    ]
)
PLAN_DTYPE: Final = np.dtype(
    [("sigma", "f8"), ("kind", "i8"), ("after", "f8"), ("gain_wh", "f8"), ("hours", "f8"), ("pays", "i8")]
)
RACK_DTYPE: Final = np.dtype(
    [
        ("ready", "i8"),  # 1 once it holds at least the datasheet
        ("warm", "i8"),  # 1 once the temperatures run; 0 after a start
        ("ms", "f8"),  # sums since the rack's last turn: time, current, current squared
        ("a_ms", "f8"),
        ("square_ms", "f8"),
        ("power", POWER_DTYPE),
        ("energy", ENERGY_DTYPE),
        ("health", HEALTH_DTYPE),
        ("plan", PLAN_DTYPE),
    ]
)
"""What the outlook knows of one rack."""
RECORDS["outlook"] = RACK_DTYPE

LEDGER_TEMPERATURES: Final = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0)
LEDGER_SOCS: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
LEDGER_RATES: Final = (-1.0, -0.5, -0.2, -0.02, 0.02, 0.2, 0.5, 1.0)
"""Edges of the histogram; the outer bins are open. Rates in C, discharge positive."""
EVENTS: Final = (
    "cell above its charge voltage", "cell below its discharge voltage", "too hot", "charged too cold",
    "discharge overcurrent", "charge overcurrent",
)  # fmt: skip
LEDGER_DTYPE: Final = np.dtype(
    [
        ("discharge_ah", "f8"),
        ("charge_ah", "f8"),
        ("discharge_wh", "f8"),
        ("charge_wh", "f8"),
        ("hours", "f8", (len(LEDGER_TEMPERATURES) + 1, len(LEDGER_SOCS) + 1, len(LEDGER_RATES) + 1)),
        ("hot_h", "f8"),
        ("cold_h", "f8"),
        ("full_h", "f8"),
        ("empty_h", "f8"),
        ("events", "i8", (len(EVENTS),)),
        ("acting", "i8", (len(EVENTS),)),  # 1 while the quantity has not come back
    ]
)
"""What one rack has been through since commissioning."""
RECORDS["ledger"] = LEDGER_DTYPE


@dataclasses.dataclass(frozen=True, slots=True)
class OutlookMemory:
    """Whose turn it is, what is known of racks and cells, and what was published last."""

    rack_power: RackPower
    site_power: SitePower
    rack_energy: RackEnergy
    site_energy: SiteEnergy
    health: Health
    warmth: Warmth
    plan: Plan
    turn: int = tag("1", doc="Jobs done in this round", dtype="i8")
    turn_ms: int = tag("ms", doc="Time since the round began", dtype="i8")
    rack: NDArray[Any] = tag("1", "rack", doc="What the outlook knows of the rack", dtype="outlook")
    ledger: NDArray[Any] = tag("1", "rack", doc="Ageing ledger of the rack", dtype="ledger")
    cell_lack: Floats = tag(
        "1", "rack", "module", "cell", doc="Capacity lacking to the string's, over it; best knowledge", dtype="f4"
    )
    cell_lack_variance: Floats = tag("1", "rack", "module", "cell", doc="Its variance; 0 none yet", dtype="f4")
    cell_resistance: Floats = tag(
        "1", "rack", "module", "cell", doc="Resistance less the string's, ohm; best knowledge", dtype="f4"
    )
    cell_resistance_variance: Floats = tag("1", "rack", "module", "cell", doc="Its variance; 0 none yet", dtype="f4")
    power_w: float = tag("W", doc="DC power of the site, slow mean, discharge positive")
    discharge_energy_wh: float = tag("Wh", doc="Energy the site can still deliver")
    charge_energy_wh: float = tag("Wh", doc="Energy the site can still take")
