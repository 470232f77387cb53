"""What early warning shows: codes per cell and sensor, counts per fault, and the ranked list."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.estimate.faults import CONCERN, SEVERITY
from controller.core.estimate.verdicts import BIN_H
from controller.core.frozen import replace
from controller.core.image_warnings import Fault, Warnings
from controller.core.layout import Layout
from controller.core.memory_watch import WatchMemory
from controller.core.signal import some
from controller.core.topology import MOST_WARNINGS, Topology

BITS: Final = 1 << (max(Fault) + 1)
WORST: Final = np.array([next((int(f) for f in CONCERN[:0:-1] if n >> int(f) & 1), 0) for n in range(BITS)], np.uint8)
"""Worst fault of a set of bits."""
RANK: Final = np.array([CONCERN.index(f) for f in Fault])
"""By code: how much worse than others it is."""
SEVERITIES: Final = np.array([SEVERITY.get(f, 0.0) for f in Fault])
COUNTS: Final = {
    Fault.RUNAWAY: "runaways", Fault.INTERNAL_SHORT: "internal_shorts", Fault.BUSBAR_STEP: "busbar_steps",
    Fault.RESISTANCE_GROWTH: "resistance_growths", Fault.LOW_CAPACITY: "low_capacities",
    Fault.SELF_DISCHARGE: "self_discharges", Fault.LITHIUM_PLATING: "lithium_platings",
    Fault.STUCK_SENSOR: "stuck_sensors", Fault.VOLTAGE_SENSOR: "voltage_sensor_steps",
    Fault.TEMPERATURE_SENSOR: "temperature_sensor_steps",
}  # fmt: skip


NOT_RUNAWAY: Final = np.uint16((BITS - 1) ^ 1 << int(Fault.RUNAWAY))
OVER_BINS: Final = round(1.0 / BIN_H)
"""A runaway is shown for an hour after its last evidence. It trips: until it has left the list nobody can release the
rack, and one whose sensor failed must not wait for the 40 hours that other suspicions stay."""


class Board:
    """Publishes the memory of the watch; while nothing is suspected that costs next to nothing."""

    def __init__(self, topology: Topology) -> None:
        self.blank = Layout(Warnings, topology.dims).blank()
        for name in ("warning_rack", "warning_module", "warning_element"):
            getattr(self.blank, name)[...] = -1

    def publish(self, memory: WatchMemory) -> Warnings:
        """What is suspected now."""
        b = memory.bins
        stays: dict[str, Any] = {
            "warnings_told": memory.told_count, "warnings_withdrawn": memory.withdrawn_count,
            "healthy_cell_days": memory.healthy_cell_days,
            "rack_plating_exposure_ratio": memory.rack["exposed"].copy(),
        }  # fmt: skip
        if not some(b.told) and not some(b.told_k):
            return replace(self.blank, **stays)
        told = np.where(b.quiet >= OVER_BINS, b.told & NOT_RUNAWAY, b.told)
        cells, sensors = WORST[told], WORST[b.told_k]
        both = np.concatenate([told[told != 0], b.told_k[b.told_k != 0]])
        counts: dict[str, Any] = {name: int(((both >> int(f)) & 1).sum()) for f, name in COUNTS.items()}
        worst, sigmas = _per_rack(cells, sensors, b.sigmas, b.sigmas_k)
        ranked: dict[str, Any] = _ranked(cells, sensors, memory)
        return Warnings(
            cell_warning=cells, temperature_warning=sensors, rack_warning=worst, rack_warning_sigmas=sigmas, **ranked,
            **counts, **stays,
        )  # fmt: skip


def _per_rack(
    cells: NDArray[Any], sensors: NDArray[Any], sigmas: NDArray[Any], sigmas_k: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    codes = np.concatenate([cells.reshape(len(cells), -1), sensors.reshape(len(sensors), -1)], axis=1)
    evidence = np.concatenate([sigmas.reshape(len(cells), -1), sigmas_k.reshape(len(sensors), -1)], axis=1)
    at = RANK[codes].argmax(axis=1)
    row = np.arange(len(codes))
    worst = codes[row, at].astype(np.int64)
    return worst, np.where(worst > 0, evidence[row, at], 0.0).astype(np.float64)


def _ranked(cells: NDArray[Any], sensors: NDArray[Any], memory: WatchMemory) -> dict[str, NDArray[Any]]:
    """The `MOST_WARNINGS` worst, by severity, then by evidence, then by place."""
    b, parts = memory.bins, []
    for code, value, sigmas, age in (
        (cells, b.value, b.sigmas, b.age_bins), (sensors, b.value_k, b.sigmas_k, b.age_bins_k),
    ):  # fmt: skip
        at = code.nonzero()
        parts.append(np.stack([code[at], *at, value[at], sigmas[at], age[at]], axis=1).astype(np.float64))
    found = np.concatenate(parts)
    severity = SEVERITIES[found[:, 0].astype(int)]
    order = np.lexsort((found[:, 3], found[:, 2], found[:, 1], -found[:, 5], -severity))[:MOST_WARNINGS]
    table = np.zeros((MOST_WARNINGS, 7))
    table[:, 1:4] = -1.0
    table[: len(order)] = found[order]
    codes = table[:, 0].astype(np.int64)
    return {
        "warning_fault": codes, "warning_rack": table[:, 1].astype(np.int64),
        "warning_module": table[:, 2].astype(np.int64), "warning_element": table[:, 3].astype(np.int64),
        "warning_severity": SEVERITIES[codes], "warning_value": table[:, 4].copy(),
        "warning_sigmas": table[:, 5].copy(), "warning_age_h": table[:, 6] * BIN_H,
    }  # fmt: skip
