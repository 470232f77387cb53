"""What the instruments show: the plant's state plus noise, one array per measured point, and what is wrong with them.

`faces` are values in SI at the register face, discharge positive. Faults act here and never on the plant itself.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.signal import Bools, Floats
from plc_config.coverage import points_read
from tools.simulator.places import TAGS, Index
from tools.simulator.plant import Plant

NOISE_POOL: Final = 65_536
"""Noise is drawn once; every encode reads it from another place."""

NOISE_STRIDE: Final = 7919
MAX_FAULTS: Final = 1000

Kind = str
VALUE_KINDS: Final = ("value", "offset", "invert", "stick", "noise", "ramp")
FOREIGN_COUNT: Final = 30_000
"""How far a second controller's heartbeat is from ours."""


@dataclasses.dataclass(slots=True)
class SensorFault:
    """One fault of one point at one place: `value`, `offset`, `invert`, `stick`, `noise`, `ramp`, `raw` or `nan`."""

    point: str
    index: Index
    kind: Kind
    amount: float
    held: NDArray[Any] | None = None
    since_ms: int = 0


class TooManyFaults(ValueError):
    """The table of sensor faults is full."""


class Sensors:
    """Arrays of face values, refreshed from the plant on demand."""

    def __init__(self, plant: Plant) -> None:
        t = plant.compiled.topology
        self.plant = plant
        self.dims = t.dims
        random = np.random.default_rng(plant.options.seed + 1)
        self.pool = random.standard_normal(NOISE_POOL + max(t.racks * t.modules * max(t.cells, t.temperatures), 1))
        self.at = 0
        self.faces: dict[str, NDArray[Any]] = {n: np.zeros(tag.shape(t.dims)) for n, tag in TAGS.items()}
        self.spots = np.linspace(0, t.cells - 1, t.temperatures).round().astype(np.int64)
        self.extremes = t.extremes_only[:, :, None]
        read = points_read(plant.compiled.plan)
        self.reports_soc = "rack_soc_reported_ratio" in read
        cell, parallel = plant.compiled.cell, plant.compiled.config.topology.parallel
        self.limit_a = [np.full(t.racks, a * parallel) for a in (cell.charge_current, cell.discharge_current)]
        self.faults: list[SensorFault] = []
        self.counter = self.beats = 0

    def _noise(self, shape: tuple[int, ...], amount: float) -> Floats:
        self.at = (self.at + NOISE_STRIDE) % NOISE_POOL
        size = math.prod(shape)
        return (self.pool[self.at : self.at + size] * (amount * self.plant.options.noise)).reshape(shape)

    def refresh_modules(self) -> None:
        """New cell voltages, temperatures and sample counters."""
        plant, faces, c = self.plant, self.faces, self.plant.constants
        plant.refresh_voltages()
        self.counter = (self.counter + 1) % 65536
        volts = plant.cell_v
        temperature = plant.temperature_degc().take(self.spots, axis=2)
        if plant.options.noise:
            volts = volts + self._noise(volts.shape, c.noise_cell_v)
            temperature = temperature + self._noise(temperature.shape, c.noise_temperature_k)
        if plant.weighted:
            volts, temperature = _extremes_first(volts, self.extremes), _extremes_first(temperature, self.extremes)
        faces["cell_voltage_v"] = volts
        faces["cell_temperature_degc"] = temperature
        faces["module_bleeding_cells"] = plant.cells.bleed_on.sum(axis=2)
        faces["module_sample_counter"] = np.full(volts.shape[:2], float(self.counter))
        self._distort("cell_voltage_v", "cell_temperature_degc", "module_sample_counter", "module_bleeding_cells")

    def refresh_rest(self) -> None:
        """New values of racks, converters and the enclosure."""
        self._racks()
        self._pcs()
        self._enclosure()
        self._distort(*(f.point for f in self.faults if "module" not in TAGS[f.point].dims))

    def _racks(self) -> None:
        plant, faces, c = self.plant, self.faces, self.plant.constants
        racks = plant.racks
        n = len(plant.current_a)
        faces["rack_voltage_v"] = plant.rack_voltage_v_fast() + self._noise((n,), c.noise_voltage_v)
        faces["rack_current_a"] = plant.shown_current_a() + self._noise((n,), c.noise_current_a)
        faces["rack_current_redundant_a"] = plant.shown_current_a() + self._noise((n,), c.noise_current_a)
        faces["rack_link_voltage_v"] = plant.links.voltage_v[plant.links.rack_bank]
        faces["rack_insulation_ohm"] = racks.insulation_ohm
        faces["rack_main_closed"] = racks.main.feedback()
        faces["rack_precharge_closed"] = racks.precharge.feedback()
        own = plant.own_precharge
        faces["rack_main_confirmed"] = np.where(own.racks, own.wanted, racks.main.command)
        faces["rack_precharge_confirmed"] = racks.precharge.command
        if self.reports_soc:
            faces["rack_soc_reported_ratio"] = np.clip(plant.cells.soc.mean(axis=(1, 2)), 0.0, 1.0)
        faces["rack_charge_limit_reported_a"] = self.limit_a[0]
        faces["rack_discharge_limit_reported_a"] = self.limit_a[1]
        self.beats += 1
        other = (racks.heartbeat + FOREIGN_COUNT + self.beats) % 65536
        faces["rack_heartbeat_echo"] = np.where(racks.foreign & bool(self.beats % 2), other, racks.heartbeat)

    def _pcs(self) -> None:
        pcs, faces, links = self.plant.pcs, self.faces, self.plant.links
        link_v = links.voltage_v[pcs.pcs_bank]
        faces["pcs_active_power_w"] = pcs.power_w
        faces["pcs_reactive_power_var"] = pcs.reactive_var
        faces["pcs_dc_voltage_v"] = link_v
        faces["pcs_dc_current_a"] = pcs.dc_power_w() / np.maximum(link_v, 1.0)
        faces["pcs_running"] = pcs.running
        faces["pcs_fault"] = pcs.fault
        faces["pcs_active_power_confirmed_w"] = pcs.setpoint_w

    def _enclosure(self) -> None:
        e, faces = self.plant.enclosure, self.faces
        for point, value in (
            ("estop_channel_1_closed", e.estop_channel_1),
            ("estop_channel_2_closed", e.estop_channel_2),
            ("fire_alarm", e.fire),
            ("smoke_detected", e.smoke),
            ("hvac_healthy", e.hvac),
            ("door_closed", e.door_closed),
            ("aux_supply_v", e.aux_supply_v),
            ("ambient_temperature_degc", e.ambient_degc),
        ):
            faces[point] = np.asarray(float(value))

    # -- faults ----------------------------------------------------------------------------------------------

    def add(self, point: str, index: Index, kind: Kind, amount: float = 0.0) -> None:
        """Put a fault on a point at a place; the same kind at the same place replaces the earlier one."""
        if len(self.faults) >= MAX_FAULTS:
            raise TooManyFaults(f"{MAX_FAULTS} sensor faults are active; clear some")
        self.faults = [f for f in self.faults if (f.point, f.index, f.kind) != (point, index, kind)]
        fault = SensorFault(point, index, kind, amount, since_ms=self.plant.time_ms)
        if kind == "stick":
            fault.held = np.array(self.faces[point][index], copy=True)
        self.faults.append(fault)

    def clear(self, point: str = "", index: Index = ()) -> int:
        """Remove the faults of a point (or all) at or below a place; how many were removed."""
        kept = [f for f in self.faults if not (point in ("", f.point) and f.index[: len(index)] == index)]
        removed = len(self.faults) - len(kept)
        self.faults = kept
        return removed

    def _distort(self, *points: str) -> None:
        if not self.faults:
            return
        fresh: set[str] = set()
        for fault in self.faults:
            if fault.point not in points or fault.kind not in VALUE_KINDS:
                continue
            if fault.point not in fresh:
                self.faces[fault.point] = np.array(self.faces[fault.point], dtype=float)
                fresh.add(fault.point)
            self._apply(fault, self.faces[fault.point])

    def _apply(self, fault: SensorFault, face: Floats) -> None:
        if fault.kind == "value":
            face[fault.index] = fault.amount
        elif fault.kind == "offset":
            face[fault.index] += fault.amount
        elif fault.kind == "invert":
            face[fault.index] *= -1.0
        elif fault.kind == "ramp":
            face[fault.index] += fault.amount * (self.plant.time_ms - fault.since_ms) / 1000
        elif fault.kind == "noise":
            shape = np.shape(face[fault.index])
            self.at = (self.at + NOISE_STRIDE) % NOISE_POOL
            noise = self.pool[self.at : self.at + int(np.prod(shape, dtype=np.int64))].reshape(shape)
            face[fault.index] += fault.amount * noise
        elif fault.held is not None:
            face[fault.index] = fault.held


def _extremes_first(values: Floats, where: Bools) -> Floats:
    """The same values; where a device reports only extremes, the highest first and the lowest after it."""
    return np.asarray(np.where(where, -np.sort(-values, axis=2), values))
