"""The plant's own truth, for tests that judge by what happened in the plant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from controller.core.signal import Floats
from controller.core.topology import place_name
from tools.simulator.events import EVENTS_KEPT, now_ms
from tools.simulator.verbs import Arg, Arguments, verb

if TYPE_CHECKING:
    from tools.simulator.simulator import Simulator

CELL_DIMS: Final = ("rack", "module", "cell")


def truth_of(simulator: Simulator) -> dict[str, Any]:
    """A summary of the true state of the plant; `time_ms` is CLOCK_MONOTONIC, `plant_ms` the plant's own time."""
    plant = simulator.plant
    plant.refresh_voltages()
    e = plant.enclosure
    return {
        "time_ms": now_ms(),
        "plant_ms": plant.time_ms,
        "power_w": plant.power_w(),
        "reactive_power_var": float(plant.pcs.reactive_var.sum()),
        "dc_current_a": float(plant.shown_current_a().sum()),
        "cell_voltage_v": _extremes(plant.cell_v),
        "temperature_degc": _extremes(plant.temperature_degc()),
        "soc": _extremes(plant.cells.soc),
        "racks": _racks(simulator),
        "pcs": _pcs(simulator),
        "banks": [{"link_voltage_v": float(v)} for v in plant.links.voltage_v],
        "estop_pressed": not (e.estop_channel_1 and e.estop_channel_2),
        "fire": e.fire,
        "smoke": e.smoke,
        "hvac_healthy": e.hvac,
        "door_closed": e.door_closed,
        "aux_supply_v": e.aux_supply_v,
        "ambient_degc": e.ambient_degc,
        "horn_on": e.horn_on,
        "cooling_on": e.cooling_on,
        "bleeding_cells": int(plant.cells.bleed_on.sum()),
        "skipped_steps": simulator.skipped_steps,
    }


def _extremes(values: Floats) -> dict[str, Any]:
    low, high = int(values.argmin()), int(values.argmax())
    places = [
        place_name(CELL_DIMS, tuple(int(i) for i in np.unravel_index(flat, values.shape))) for flat in (low, high)
    ]
    return {
        "min": float(values.flat[low]),
        "min_place": places[0],
        "max": float(values.flat[high]),
        "max_place": places[1],
        "mean": float(values.mean()),
    }


def _racks(simulator: Simulator) -> list[dict[str, Any]]:
    plant = simulator.plant
    racks, current, voltage = plant.racks, plant.shown_current_a(), plant.rack_voltage_v()
    soc = plant.cells.soc.mean(axis=(1, 2))
    return [
        {
            "place": f"R{i + 1:02d}",
            "voltage_v": float(voltage[i]),
            "current_a": float(current[i]),
            "link_voltage_v": float(plant.links.voltage_v[plant.links.rack_bank[i]]),
            "main_closed": bool(racks.main.closed[i]),
            "precharge_closed": bool(racks.precharge.closed[i]),
            "main_command": bool(racks.main.command[i]),
            "precharge_command": bool(racks.precharge.command[i]),
            "held_open": bool(racks.main.blocked[i]),
            "heartbeat": int(racks.heartbeat[i]),
            "insulation_ohm": float(racks.insulation_ohm[i]),
            "soc": float(soc[i]),
        }
        for i in range(len(current))
    ]


def _pcs(simulator: Simulator) -> list[dict[str, Any]]:
    pcs = simulator.plant.pcs
    return [
        {
            "place": f"P{i + 1:02d}",
            "running": bool(pcs.running[i]),
            "run_command": bool(pcs.run_command[i]),
            "power_w": float(pcs.power_w[i]),
            "reactive_power_var": float(pcs.reactive_var[i]),
            "setpoint_w": float(pcs.setpoint_w[i]),
            "fault": bool(pcs.fault[i]),
            "heartbeat": int(pcs.heartbeat[i]),
        }
        for i in range(len(pcs.power_w))
    ]


@verb("summary of the plant's true state")
def truth(simulator: Simulator, a: Arguments) -> dict[str, Any]:
    """The truth in short."""
    return {"truth": truth_of(simulator)}


@verb("true voltage, temperature, SOC and bleed of every cell of a rack (counted from 0)", Arg("rack", "number", 0.0))
def truth_cells(simulator: Simulator, a: Arguments) -> dict[str, Any]:
    """The truth of one rack, cell by cell."""
    plant, rack = simulator.plant, int(a["rack"])
    if not 0 <= rack < plant.cells.shape[0]:
        raise ValueError(f"rack 0..{plant.cells.shape[0] - 1}, not {rack}")
    plant.refresh_voltages()
    return {
        "rack": rack,
        "voltage_v": plant.cell_v[rack].tolist(),
        "temperature_degc": plant.temperature_degc()[rack].tolist(),
        "soc": plant.cells.soc[rack].tolist(),
        "bleed_on": plant.cells.bleed_on[rack].tolist(),
    }


@verb(
    "what happened in the plant after event number SINCE", Arg("since", "number", 0.0), Arg("limit", "number", 1000.0)
)
def events(simulator: Simulator, a: Arguments) -> dict[str, Any]:
    """The event log."""
    log = simulator.events
    found = log.since(int(a["since"]), min(int(a["limit"]), EVENTS_KEPT))
    oldest = log.ring[0]["n"] if log.ring else log.last + 1
    return {"events": found, "last": log.last, "missed": max(0, oldest - 1 - int(a["since"]))}


@verb(
    "answer when an event of this name happens (SINCE -1: from now on)",
    Arg("event", "text", required=True),
    Arg("place", "text", ""),
    Arg("timeout_ms", "ms", 5000.0),
    Arg("since", "number", -1.0),
)
def wait(simulator: Simulator, a: Arguments) -> dict[str, Any]:
    """Only the control socket can wait."""
    raise ValueError("wait works on the control socket only")


@verb("counters of every bus")
def stats(simulator: Simulator, a: Arguments) -> dict[str, Any]:
    """What the wires have seen."""
    return {
        "buses": {name: bus.stats.as_dict() for name, bus in simulator.buses.items()},
        "skipped_steps": simulator.skipped_steps,
        "events": simulator.events.last,
    }


@verb("who is simulated")
def ping(simulator: Simulator, a: Arguments) -> dict[str, Any]:
    """A sign of life."""
    site = simulator.compiled.config.site
    return {"site": site.id, "name": site.name, "buses": len(simulator.buses)}
