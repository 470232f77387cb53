"""What survives a stop: the retained part of a memory, how two copies of it become one, and how it comes back.

A new retained field is one tag in `Retained`, one line in `MERGE`, and its place in `retain` and `restore`.
"""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.image import RetainedState
from controller.core.memory import AnnunciationMemory, EstimationMemory, Memory
from controller.core.memory_watch import WatchMemory
from controller.core.signal import Bools, Floats, Ints, tag


@dataclasses.dataclass(frozen=True, slots=True)
class Retained:
    """The part of the memory that survives a restart and a power cut."""

    scan: int = tag("1", doc="Scan that wrote it", dtype="i8")
    utc_ms: int = tag("ms", doc="Wall time of that scan", dtype="i8")
    program: int = tag("1", doc="Digest of the rows and places the slots stand for", dtype="u8")
    latched: Bools = tag("1", "slot", doc="Latches", dtype="?")
    latched_value: Floats = tag("1", "slot", doc="Value that a latch was set at")
    latched_element: Ints = tag("1", "slot", doc="Cell or sensor of that value; -1 none", dtype="i8")
    alarm_state: NDArray[Any] = tag("1", "slot", doc="AlarmState behind shelving and suppression", dtype="u1")
    alarm_shown: NDArray[Any] = tag("1", "slot", doc="AlarmState as people saw it", dtype="u1")
    alarm_age_ms: Ints = tag("ms", "slot", doc="Time since it sounded, while it is active", dtype="i8")
    occurrence: Ints = tag("1", "slot", doc="How often the alarm came", dtype="i8")
    shelf: NDArray[Any] = tag("1", "shelf", doc="Alarms shelved or out of service", dtype="shelf")
    shelf_changes: int = tag("1", doc="Times that the shelf changed", dtype="i8")
    first_out: int = tag("1", doc="Slot of the first trip; -1 none", dtype="i8")
    first_out_utc_ms: int = tag("ms", doc="Wall time of the first trip", dtype="i8")
    trip_count: int = tag("1", doc="Trips since commissioning", dtype="i8")
    emergency_stop: int = tag("1", doc="Remote emergency stop held", dtype="i8")
    maintenance: int = tag("1", doc="An engineer asked for maintenance and has not left it", dtype="i8")
    out_of_service: Bools = tag("1", "rack", doc="Racks out of service", dtype="?")
    rack_known: Bools = tag("1", "rack", doc="The rack's SOC rests on data", dtype="?")
    rack_throughput_ah: Floats = tag("Ah", "rack", doc="Charge moved in both directions")
    cell_charge_ratio: Floats = tag("ratio", "rack", "module", "cell", doc="Cell SOC")
    cell_variance: Floats = tag("1", "rack", "module", "cell", doc="Variance of the cell SOC")
    configuration: int = tag("1", doc="Digest of the limits that ran last and were accepted; 0 none", dtype="u8")
    retained_state: int = tag("1", doc="RetainedState", dtype="i8")
    connected: int = tag("1", doc="Racks were told to be closed: 1", dtype="i8")
    rack_contactor_operations: Ints = tag("1", "rack", doc="Closings of the main contactors", dtype="i8")
    rack_contactor_hot_openings: Ints = tag("1", "rack", doc="Openings under current", dtype="i8")
    rack_contactor_breaks: Floats = tag("1", "rack", doc="Openings weighted by the square of their current")
    rack_weld_test: Ints = tag("1", "rack", doc="WeldTest", dtype="i8")
    rack_weld_test_utc_ms: Ints = tag("ms", "rack", doc="Wall time of that result", dtype="i8")
    rack_precharge_heat_wh: Floats = tag("Wh", "rack", doc="Energy in the precharge resistor, not yet given off")
    rack: NDArray[Any] = tag("1", "rack", doc="Capacity and resistance of the rack", dtype="outlook")
    ledger: NDArray[Any] = tag("1", "rack", doc="Ageing ledger of the rack", dtype="ledger")
    cell_lack: Floats = tag("1", "rack", "module", "cell", doc="Capacity lacking to the string's", dtype="f4")
    cell_lack_variance: Floats = tag("1", "rack", "module", "cell", doc="Its variance", dtype="f4")
    cell_resistance: Floats = tag("1", "rack", "module", "cell", doc="Resistance less the string's", dtype="f4")
    cell_resistance_variance: Floats = tag("1", "rack", "module", "cell", doc="Its variance", dtype="f4")
    cell_told: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Warnings told, one bit each", dtype="u2")
    cell_told_value: Floats = tag("1", "rack", "module", "cell", doc="Evidence of the worst", dtype="f4")
    cell_told_sigmas: Floats = tag("1", "rack", "module", "cell", doc="The same over its scatter", dtype="f4")
    cell_resistance_base: Floats = tag("1", "rack", "module", "cell", doc="Resistance when healthy", dtype="f4")
    sensor_told: NDArray[Any] = tag("1", "rack", "module", "temperature", doc="As for cells", dtype="u2")
    sensor_told_value: Floats = tag("1", "rack", "module", "temperature", doc="As for cells", dtype="f4")
    cell_plating: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Charging while too cold", dtype="plating")
    cell_pairs: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Resistance by halves of cycles", dtype="pairs")
    rack_pairs: NDArray[Any] = tag("1", "rack", doc="Currents and times of those halves", dtype="rack_pairs")
    rack_based: Ints = tag("1", "rack", doc="Bins from which the healthy resistance was learnt", dtype="i8")
    healthy_cell_days: float = tag("1", doc="Cell-days watched without a warning")
    told_count: int = tag("1", doc="Warnings told since commissioning", dtype="i8")
    withdrawn_count: int = tag("1", doc="Warnings whose evidence went away by itself", dtype="i8")


class Merge(Enum):
    """Which of two copies of a retained field is in force."""

    NEWER = "the newer one"
    LARGER = "the larger one: flags add up, counters never go back"
    FIRST_OUT = "that of the copy which knows a first-out, the newer one first"


LARGER: Final = Merge.LARGER
MERGE: Final[dict[str, Merge]] = {
    "scan": Merge.NEWER,
    "utc_ms": Merge.NEWER,
    "program": Merge.NEWER,
    "latched": LARGER,
    "latched_value": LARGER,
    "latched_element": LARGER,
    "alarm_state": LARGER,
    "alarm_shown": LARGER,
    "alarm_age_ms": LARGER,
    "occurrence": LARGER,
    "shelf": Merge.NEWER,
    "shelf_changes": LARGER,
    "first_out": Merge.FIRST_OUT,
    "first_out_utc_ms": Merge.FIRST_OUT,
    "trip_count": LARGER,
    "emergency_stop": LARGER,
    "maintenance": LARGER,
    "out_of_service": LARGER,
    "rack_known": Merge.NEWER,
    "rack_throughput_ah": LARGER,
    "cell_charge_ratio": Merge.NEWER,
    "cell_variance": Merge.NEWER,
    "configuration": Merge.NEWER,
    "retained_state": LARGER,
    "connected": Merge.NEWER,
    "rack_contactor_operations": LARGER,
    "rack_contactor_hot_openings": LARGER,
    "rack_contactor_breaks": LARGER,
    "rack_weld_test": Merge.NEWER,
    "rack_weld_test_utc_ms": Merge.NEWER,
    "rack_precharge_heat_wh": LARGER,
    "rack": Merge.NEWER,
    "ledger": Merge.NEWER,
    "cell_lack": Merge.NEWER,
    "cell_lack_variance": Merge.NEWER,
    "cell_resistance": Merge.NEWER,
    "cell_resistance_variance": Merge.NEWER,
    "cell_told": LARGER,
    "cell_told_value": Merge.NEWER,
    "cell_told_sigmas": Merge.NEWER,
    "cell_resistance_base": Merge.NEWER,
    "sensor_told": LARGER,
    "sensor_told_value": Merge.NEWER,
    "cell_plating": Merge.NEWER,
    "cell_pairs": Merge.NEWER,
    "rack_pairs": Merge.NEWER,
    "rack_based": Merge.NEWER,
    "healthy_cell_days": LARGER,
    "told_count": LARGER,
    "withdrawn_count": LARGER,
}
"""How two copies become one: a new retained field says it here."""


def worse(newer: Retained, older: Retained) -> Retained:
    """Both copies together by MERGE: a latch that either knows is in force, counters never go back."""
    source = {Merge.NEWER: newer, Merge.FIRST_OUT: newer if newer.first_out >= 0 else older}
    values: dict[str, Any] = {}
    for name, rule in MERGE.items():
        if rule is not LARGER:
            values[name] = getattr(source[rule], name)
            continue
        a, b = getattr(newer, name), getattr(older, name)
        values[name] = np.maximum(a, b) if isinstance(a, np.ndarray) else max(a, b)
    return Retained(**values)


def retain(memory: Memory, scan: int, utc_ms: int, program: int) -> Retained:
    """The retained part of a memory."""
    p, a, e, c = memory.protection, memory.annunciation, memory.estimation, memory.modes.contactors
    kept = e.outlook
    w = memory.watching
    return Retained(
        scan,
        utc_ms,
        program,
        p.latched,
        np.where(p.latched, p.value, 0.0),
        np.where(p.latched, p.element, -1),
        a.state,
        a.shown,
        a.age_ms,
        a.occurrence,
        a.shelf,
        a.shelf_changes,
        p.first_out,
        p.first_out_utc_ms,
        p.trip_count,
        p.emergency_stop,
        memory.sequencing.maintenance_wanted,
        memory.sequencing.out_of_service,
        e.rack_known,
        e.rack_throughput_ah,
        e.cell_charge_ratio,
        e.cell_variance,
        p.configuration,
        memory.modes.retained_state,
        int(memory.outputs.rack_main_close.any()),
        c.rack_contactor_operations,
        c.rack_contactor_hot_openings,
        c.rack_contactor_breaks,
        c.rack_weld_test,
        c.rack_weld_test_utc_ms,
        memory.sequencing.precharge_heat_wh,
        kept.rack,
        kept.ledger,
        kept.cell_lack,
        kept.cell_lack_variance,
        kept.cell_resistance,
        kept.cell_resistance_variance,
        w.bins.told,
        w.bins.value,
        w.bins.sigmas,
        w.bins.resistance_base,
        w.bins.told_k,
        w.bins.value_k,
        w.bins.plating,
        w.bins.pairs,
        w.rack["pairs"],
        w.rack["based"],
        w.healthy_cell_days,
        w.told_count,
        w.withdrawn_count,
    )


def lost(memory: Memory) -> Memory:
    """A fresh memory of a site that has run before and cannot know what was latched."""
    return dataclasses.replace(memory, modes=dataclasses.replace(memory.modes, retained_state=int(RetainedState.LOST)))


def restore(memory: Memory, retained: Retained) -> Memory:
    """A fresh memory with the retained part in place: latches act from the first scan, contactors are open."""
    replace = dataclasses.replace
    return replace(
        memory,
        protection=replace(
            memory.protection,
            latched=retained.latched.copy(),
            active=retained.latched.copy(),
            value=retained.latched_value.copy(),
            element=np.where(retained.latched, retained.latched_element, -1),
            first_out=retained.first_out,
            first_out_utc_ms=retained.first_out_utc_ms,
            trip_count=retained.trip_count,
            emergency_stop=retained.emergency_stop,
            configuration=retained.configuration,
            interrupted=retained.connected,
        ),
        annunciation=_annunciation(memory.annunciation, retained),
        sequencing=replace(
            memory.sequencing,
            maintenance_wanted=retained.maintenance,
            out_of_service=retained.out_of_service.copy(),
            precharge_heat_wh=retained.rack_precharge_heat_wh.copy(),
        ),
        modes=replace(
            memory.modes,
            retained_state=retained.retained_state,
            contactors=replace(
                memory.modes.contactors,
                rack_contactor_operations=retained.rack_contactor_operations.copy(),
                rack_contactor_hot_openings=retained.rack_contactor_hot_openings.copy(),
                rack_contactor_breaks=retained.rack_contactor_breaks.copy(),
                rack_weld_test=retained.rack_weld_test.copy(),
                rack_weld_test_utc_ms=retained.rack_weld_test_utc_ms.copy(),
            ),
        ),
        estimation=_estimation(memory.estimation, retained),
        watching=_watching(memory.watching, retained),
    )


def _annunciation(old: AnnunciationMemory, retained: Retained) -> AnnunciationMemory:
    return dataclasses.replace(
        old,
        state=retained.alarm_state.copy(),
        shown=retained.alarm_shown.copy(),
        # What people saw is not told again, and an occurrence that was shown does not count twice.
        told=retained.alarm_shown | (retained.alarm_state << 4),
        noted=(retained.alarm_state > 0) | (retained.alarm_shown > 0),
        heard=(retained.alarm_state > 0) | (retained.alarm_shown > 0),
        age_ms=retained.alarm_age_ms.copy(),
        occurrence=retained.occurrence.copy(),
        shelf=retained.shelf.copy(),
        shelf_changes=retained.shelf_changes,
        busy=1,
    )


def _estimation(old: EstimationMemory, retained: Retained) -> EstimationMemory:
    return dataclasses.replace(
        old,
        rack_known=retained.rack_known.copy(),
        rack_throughput_ah=retained.rack_throughput_ah.copy(),
        cell_charge_ratio=retained.cell_charge_ratio.copy(),
        cell_variance=retained.cell_variance.copy(),
        outlook=dataclasses.replace(
            old.outlook,
            rack=_slow(retained.rack),
            ledger=retained.ledger.copy(),
            cell_lack=retained.cell_lack.copy(),
            cell_lack_variance=retained.cell_lack_variance.copy(),
            cell_resistance=retained.cell_resistance.copy(),
            cell_resistance_variance=retained.cell_resistance_variance.copy(),
        ),
    )


def _slow(retained: NDArray[Any]) -> NDArray[Any]:
    """What of a rack's record is still true after a stop of unknown length: capacity and resistance."""
    rack = np.zeros_like(retained)
    rack["ready"] = retained["ready"]
    for name in ("sums", "ratio", "slow_ratio", "ratio_sigma", "pairs", "growth", "growth_variance", "steps"):
        rack["health"][name] = retained["health"][name]
    rack["health"]["step_ms"] = -1.0
    return rack


def _watching(watching: WatchMemory, retained: Retained) -> WatchMemory:
    """What was told stays told, and the healthy resistances stay the measure; everything else is learnt anew.

    So do the charges and discharges that ended: where one follows the other once a day, two make a pair after the stop.
    """
    rack = watching.rack.copy()
    rack["based"], rack["pairs"] = retained.rack_based, retained.rack_pairs
    rack["exposed"] = retained.cell_plating["recent"].max(axis=(1, 2), initial=0.0)
    bins = dataclasses.replace(
        watching.bins, told=retained.cell_told.copy(), value=retained.cell_told_value.copy(),
        sigmas=retained.cell_told_sigmas.copy(), resistance_base=retained.cell_resistance_base.copy(),
        told_k=retained.sensor_told.copy(), value_k=retained.sensor_told_value.copy(),
        plating=retained.cell_plating.copy(), pairs=retained.cell_pairs.copy(),
    )  # fmt: skip
    return dataclasses.replace(
        watching, rack=rack, bins=bins, healthy_cell_days=retained.healthy_cell_days, told_count=retained.told_count,
        withdrawn_count=retained.withdrawn_count,
    )  # fmt: skip
