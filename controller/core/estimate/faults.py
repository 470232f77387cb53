"""What early warning can name, and how a finding reads."""

from __future__ import annotations

import dataclasses
from typing import Final

from controller.core.image_warnings import Fault

CONCERN: Final = (
    Fault.NONE, Fault.TEMPERATURE_SENSOR, Fault.VOLTAGE_SENSOR, Fault.STUCK_SENSOR, Fault.LITHIUM_PLATING,
    Fault.SELF_DISCHARGE, Fault.LOW_CAPACITY, Fault.RESISTANCE_GROWTH, Fault.BUSBAR_STEP, Fault.INTERNAL_SHORT,
    Fault.RUNAWAY,
)  # fmt: skip
"""By rising concern: a cell shows the worst of what was told of it. A loss that follows plating told for its exposure
alone is told by its own name, so it ranks above."""
WORSE: Final = {f: sum(1 << int(g) for g in CONCERN[CONCERN.index(f) + 1 :]) for f in CONCERN}
"""Bits of all that is worse than a fault."""
SEVERITY: Final = {
    Fault.RUNAWAY: 1.0, Fault.INTERNAL_SHORT: 0.8, Fault.BUSBAR_STEP: 0.6, Fault.RESISTANCE_GROWTH: 0.5,
    Fault.LOW_CAPACITY: 0.4, Fault.SELF_DISCHARGE: 0.4, Fault.STUCK_SENSOR: 0.3, Fault.VOLTAGE_SENSOR: 0.3,
    Fault.TEMPERATURE_SENSOR: 0.3, Fault.LITHIUM_PLATING: 0.4,
}  # fmt: skip
"""0..1: how much may follow from the fault; not how certain it is."""
WORDS: Final = {
    Fault.RUNAWAY: "heats by {0:.1f} K/s",
    Fault.INTERNAL_SHORT: "leaks {0:.3f} % of its capacity per hour, {1:.0f} sigma from its sisters",
    Fault.BUSBAR_STEP: "resistance stepped up by {0:.1f} % of nominal, {1:.0f} sigma",
    Fault.RESISTANCE_GROWTH: "resistance grew by {0:.1f} % of nominal, {1:.0f} sigma",
    Fault.LOW_CAPACITY: "capacity {0:.1f} % below the median, {1:.0f} sigma",
    Fault.SELF_DISCHARGE: "leaks {0:.4f} % of its capacity per hour, {1:.0f} sigma from its sisters",
    Fault.STUCK_SENSOR: "stands still while its sisters moved by {0:.3g}",
    Fault.VOLTAGE_SENSOR: "jumped by {0:+.1f} mV and stayed there",
    Fault.TEMPERATURE_SENSOR: "jumped by {0:+.1f} K and stayed there",
    Fault.LITHIUM_PLATING: "took {0:.0f} % of its capacity within weeks too fast for its temperature",
}
HARD: Final = (
    "draws about {0:.0f} A inside (C/{1:.0f}): fell by {2:.1f} mV against its sisters and warms by {3:.1f} K/min, "
    "{4:.0f} sigma"
)
PLATING_LACK: Final = WORDS[Fault.LITHIUM_PLATING] + " and has lost capacity against its sisters since, {1:.0f} sigma"
PLATING_LOSS: Final = WORDS[Fault.LITHIUM_PLATING] + " and loses charge against its sisters since, {1:.0f} sigma"
PLATING_ALONE: Final = "exposure: " + WORDS[Fault.LITHIUM_PLATING] + "; no fault of the cell is seen"
WARM: Final = "{0:.2f} K warmer than load and sisters explain, {1:.0f} sigma"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One onset. `element` counts the cells of the rack from 0, or its temperature sensors where `sensor` says so."""

    rack: int
    element: int
    sensor: bool
    fault: Fault
    value: float
    sigmas: float
    text: str


def worded(fault: Fault, value: float, sigmas: float) -> str:
    """The evidence as people read it."""
    return WORDS[fault].format(value, sigmas)
