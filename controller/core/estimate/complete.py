"""Any SOC estimator made complete: power, energy, health, temperatures, ageing and recalibration around it.

Throughput is booked in every scan; the rest goes round every two seconds (four on large sites) in small jobs, a group
of racks and a subject at a time, so that no scan pays for all of it. What is published is the last finished round.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from controller.core.estimate import capacity
from controller.core.estimate.ageing import Ledger
from controller.core.estimate.cell_model import CellModel
from controller.core.estimate.circuit import Cells, Circuit, look
from controller.core.estimate.energy import STILL_C, Energies, rack_energy, site_energy
from controller.core.estimate.planner import Planner, plan_of
from controller.core.estimate.power import PowerLimits, members, rack_power, site_power
from controller.core.estimate.protocol import Estimator, EstimatorInputs
from controller.core.estimate.thermal import Temperatures
from controller.core.frozen import replace
from controller.core.image import Estimates, Measured, OutputImage
from controller.core.memory import EstimationMemory
from controller.core.outlook import Health, Outlook, Warmth
from controller.core.outlook_memory import OutlookMemory
from controller.core.settings import DeratingSettings
from controller.core.signal import USABLE, Floats, Ints, seen_on, some

ROUND_MS: Final = (2_000, 4_000)
JOB_MS: Final = 200
"""A round takes so long for every job, but no less and no more than `ROUND_MS`."""
GROUP_CELLS: Final = 2_500
"""Cells that one job looks at, roughly."""
POWER_TAU_S: Final = 30.0
MS_PER_HOUR: Final = 3_600_000.0
STILL_W: Final = 0.001
"""Site power below which nothing gets emptier or fuller, as a fraction of the PCS rating."""
LONGEST_MS: Final = 60_000
"""A longer gap is not booked as if its last current had flowed all the time."""


Done = tuple[OutlookMemory, Cells]
"""What a job leaves: the outlook with its part renewed, and the look that it was made with."""


class Complete:
    """Estimates of `soc` with everything that follows from them; deterministic, the memory given is never changed."""

    def __init__(self, soc: Estimator, inputs: EstimatorInputs, derating: DeratingSettings, target_soc: float) -> None:
        self.soc, self.inputs, self.target_soc = soc, inputs, target_soc
        t = self.topology = inputs.topology
        self.pcs_rated_w = derating.pcs_rated_w
        self.circuit = circuit = Circuit(CellModel(inputs.cell))
        self.limits, self.energies = PowerLimits(circuit, derating), Energies(circuit, derating)
        self.capacities, self.temperatures = capacity.Capacities(circuit), Temperatures(circuit, t)
        self.ledger, self.planner = Ledger(derating), Planner(circuit)
        per_group = max(GROUP_CELLS // max(t.modules * t.cells, 1), 1)
        racks = np.arange(t.racks)
        self.groups = [racks[k : k + per_group] for k in range(0, t.racks, per_group)]
        self.jobs = [(subject, group) for group in self.groups for subject in (self._health, self._discharge,
                     self._charge, self._energy)]  # fmt: skip
        self.round_ms = int(np.clip(JOB_MS * (len(self.jobs) + 1), *ROUND_MS))

    def step(
        self, memory: EstimationMemory, measured: Measured, outputs: OutputImage, elapsed_ms: int
    ) -> EstimationMemory:
        """The memory after `elapsed_ms` more, with the jobs that were due in it."""
        memory = self.soc.step(memory, measured, outputs, elapsed_ms)
        kept = self._book(memory.outlook, measured, min(elapsed_ms, LONGEST_MS))
        return self._round(replace(memory, outlook=kept), measured)

    # -- every scan ----------------------------------------------------------------------------------------------

    def _book(self, kept: OutlookMemory, measured: Measured, elapsed_ms: int) -> OutlookMemory:
        """Throughput, on records that are this scan's own: what follows in it may change them."""
        p = measured.points
        rack, ledger = kept.rack.copy(), kept.ledger.copy()
        heard = p.rack_current_a.quality <= USABLE
        i = np.where(heard, p.rack_current_a.value, 0.0)
        v = np.where(p.rack_voltage_v.quality <= USABLE, p.rack_voltage_v.value, 0.0)
        rack["ms"] += elapsed_ms
        rack["a_ms"] += i * elapsed_ms
        rack["square_ms"] += i * i * elapsed_ms
        out, into = np.maximum(i, 0.0) * (elapsed_ms / MS_PER_HOUR), np.maximum(-i, 0.0) * (elapsed_ms / MS_PER_HOUR)
        ledger["discharge_ah"] += out
        ledger["charge_ah"] += into
        ledger["discharge_wh"] += out * v
        ledger["charge_wh"] += into * v
        return replace(kept, rack=rack, ledger=ledger, turn_ms=kept.turn_ms + elapsed_ms)

    def _round(self, memory: EstimationMemory, measured: Measured) -> EstimationMemory:
        """The jobs that are due, on this scan's own records; a long scan does one round at most."""
        kept = memory.outlook
        count = len(self.jobs) + 1
        due = min(kept.turn_ms * count // self.round_ms, count)
        seen: Cells | None = None
        for turn in range(kept.turn, due):
            if turn < len(self.jobs):
                subject, racks = self.jobs[turn]
                kept, seen = subject(memory, measured, racks, seen)
            else:
                kept = self._site(memory, measured)
            if kept is not memory.outlook:
                memory = replace(memory, outlook=kept)
        done = due >= count
        left = min(kept.turn_ms - self.round_ms, self.round_ms) if done else kept.turn_ms
        return replace(memory, outlook=replace(kept, turn=0 if done else max(due, kept.turn), turn_ms=left))

    def publish(self, memory: EstimationMemory) -> Estimates:
        """SOC as the memory has it now, and everything else as the last finished round found it."""
        estimates, kept = self.soc.publish(memory), memory.outlook
        e, ready = kept.rack["energy"], kept.rack["warm"] == 1
        least = kept.health.cell_capacity_ah.ravel()[kept.health.rack_capacity_place]
        capacity_ah = np.where(ready, least, estimates.rack_capacity_ah)
        soh = (capacity_ah / self.inputs.cell.capacity_ah).clip(0.0, 1.0)
        return replace(
            estimates,
            rack_soh_ratio=soh,
            rack_capacity_ah=capacity_ah,
            rack_discharge_energy_wh=e["wh"][:, 0].copy(),
            rack_charge_energy_wh=e["wh"][:, 1].copy(),
            soh_ratio=float(soh.sum() / soh.size),
            discharge_energy_wh=kept.discharge_energy_wh,
            charge_energy_wh=kept.charge_energy_wh,
            outlook=Outlook(
                kept.rack_power,
                kept.site_power,
                kept.rack_energy,
                kept.site_energy,
                kept.health,
                kept.warmth,
                kept.plan,
            ),
        )

    # -- the jobs ------------------------------------------------------------------------------------------------

    def _look(self, memory: EstimationMemory, measured: Measured, racks: Ints, seen: Cells | None) -> Cells:
        """What is known of the cells now. Only the first job of a group changes that: the others share its look."""
        if seen is not None and seen.racks is racks:
            return seen
        return look(self.circuit, memory, measured, self.topology, racks)

    def _health(self, memory: EstimationMemory, measured: Measured, racks: Ints, _: Cells | None) -> Done:
        """Temperatures, capacity, resistance and the ledger of some racks."""
        kept = memory.outlook
        r, book = kept.rack[racks], kept.ledger[racks]
        fresh = r["ready"] == 0
        if some(fresh):
            begin = r["health"]
            new = begin[fresh]
            capacity.first(new)
            begin[fresh] = new
        elapsed = np.maximum(r["ms"], 1.0)
        mean_a, square = r["a_ms"] / elapsed, r["square_ms"] / elapsed
        cells = SimpleNamespace(
            **{n: getattr(kept, n).copy() for n in ("cell_lack", "cell_lack_variance", "cell_resistance",
                                                    "cell_resistance_variance")},
            surface=kept.warmth.cell_surface_temperature_degc.copy(),
            core=kept.warmth.cell_core_temperature_degc.copy(),
        )  # fmt: skip
        capacity.cells(memory, cells, racks, self.circuit, fresh)
        health = self._cell_health(kept.health, cells, r, racks)
        memory = replace(memory, outlook=replace(kept, health=health))
        heat = self.temperatures.rack(memory, cells, measured, racks, r["ms"], square, mean_a, r["warm"] == 0)
        warmth = self._warmth(kept.warmth, cells, racks, heat)
        memory = replace(memory, outlook=replace(kept, health=health, warmth=warmth))
        seen = self._look(memory, measured, racks, None)
        self.capacities.rack(seen, r["health"], r["ms"], self._counted(memory, r, racks), mean_a)
        middle = (seen.soc * seen.weight).sum(axis=1) / np.maximum(seen.count, 1.0)
        self.ledger.rack(book, measured, racks, r["ms"], mean_a, middle)
        for name in ("ms", "a_ms", "square_ms"):
            r[name] = 0.0
        r["ready"], r["warm"] = 1, 1
        kept.rack[racks], kept.ledger[racks] = r, book
        return replace(
            kept, health=health, warmth=warmth, cell_lack=cells.cell_lack, cell_lack_variance=cells.cell_lack_variance,
            cell_resistance=cells.cell_resistance, cell_resistance_variance=cells.cell_resistance_variance,
        ), seen  # fmt: skip

    def _counted(self, memory: EstimationMemory, r: Any, racks: Ints) -> Floats:
        """Ah out of the racks since their last turn, without what the SOC filter knows to be the sensor's bias."""
        s = memory.string[racks]
        bias = np.where(s["ready"] == 1, s["x"][:, 3], 0.0)
        clean_ms = r["a_ms"] - bias * r["ms"]
        return np.asarray(np.where(clean_ms < 0, self.inputs.cell.efficiency, 1.0) * clean_ms / MS_PER_HOUR)

    def _cell_health(self, old: Health, cells: Any, r: Any, racks: Ints) -> Health:
        """Capacity and resistance of the cells of some racks, and their sigma."""
        h, q, r0 = r["health"], self.inputs.cell.capacity_ah, self.circuit.model.r0
        fitted = self.topology.cell_fitted[racks]
        ah, sigma = capacity.capacity_of(h["slow_ratio"], h["ratio"], h["ratio_sigma"], q)
        lack = cells.cell_lack[racks].clip(*capacity.LACK_RANGE)
        own = np.where(fitted, ah[:, None, None] / (1.0 + lack), 0.0)
        doubt = own * np.sqrt(cells.cell_lack_variance[racks] + (sigma / np.maximum(ah, 1e-9))[:, None, None] ** 2)
        ohm = np.where(
            fitted, np.maximum(r0 * h["growth"][:, None, None] + cells.cell_resistance[racks], 0.1 * r0), 0.0
        )
        ohm_doubt = np.sqrt(cells.cell_resistance_variance[racks] + (r0**2 * h["growth_variance"])[:, None, None])
        arrays = [getattr(old, f.name).copy() for f in dataclasses.fields(Health)]
        flat = np.where(fitted, own, np.inf).reshape(len(racks), -1)
        least = flat.argmin(axis=1)
        least_sigma = doubt.reshape(len(racks), -1)[np.arange(len(racks)), least]
        per_cell = [np.where(fitted, a, 0.0) for a in (own, doubt, ohm, ohm_doubt)]
        place, soh_sigma = least + racks * flat.shape[1], np.minimum(least_sigma / q, 1.0)
        values = (*per_cell, least_sigma, place, soh_sigma, h["growth"] - 1.0)
        for array, value in zip(arrays, values, strict=True):
            array[racks] = value
        return Health(*arrays)

    def _warmth(self, old: Warmth, cells: Any, racks: Ints, heat_w: Floats) -> Warmth:
        fitted = self.topology.cell_fitted[racks]
        core = np.where(fitted, cells.core[racks], -np.inf).reshape(len(racks), -1)
        hottest = core.argmax(axis=1)
        most, heat = old.rack_core_temperature_max_degc.copy(), old.rack_heat_w.copy()
        place = old.rack_core_temperature_max_place.copy()
        most[racks] = np.where(fitted.any(axis=(1, 2)), core[np.arange(len(racks)), hottest], 0.0)
        place[racks], heat[racks] = racks * core.shape[1] + hottest, heat_w
        return Warmth(cells.surface, cells.core, most, place, heat)

    def _discharge(self, memory: EstimationMemory, measured: Measured, racks: Ints, seen: Cells | None) -> Done:
        return self._power(memory, self._look(memory, measured, racks, seen), 0)

    def _charge(self, memory: EstimationMemory, measured: Measured, racks: Ints, seen: Cells | None) -> Done:
        return self._power(memory, self._look(memory, measured, racks, seen), 1)

    def _power(self, memory: EstimationMemory, seen: Cells, direction: int) -> Done:
        records = memory.outlook.rack
        r = records[seen.racks]
        self.limits.rack(seen, r["power"], direction)
        records[seen.racks] = r
        return memory.outlook, seen

    def _energy(self, memory: EstimationMemory, measured: Measured, racks: Ints, seen: Cells | None) -> Done:
        records = memory.outlook.rack
        r = records[racks]
        seen = self._look(memory, measured, racks, seen)
        self.energies.rack(seen, r["energy"])
        self.planner.rack(seen, r["plan"], r["energy"])
        records[racks] = r
        return memory.outlook, seen

    def _site(self, memory: EstimationMemory, measured: Measured) -> OutlookMemory:
        """Racks to banks to site, and everything that was found in this round is published."""
        kept, t, p = memory.outlook, self.topology, measured.points
        ok = (p.rack_current_a.quality <= USABLE) & (p.rack_voltage_v.quality <= USABLE)
        current = np.where(ok, p.rack_current_a.value, 0.0)
        now_w = float((current * np.where(ok, p.rack_voltage_v.value, 0.0)).sum())
        power_w = kept.power_w + (now_w - kept.power_w) * (1.0 - float(np.exp(-self.round_ms / 1000.0 / POWER_TAU_S)))
        closed = seen_on(p.rack_main_closed)
        racks_of = members(t, closed, memory.rack_known)
        soc_ratio = self.soc.publish(memory).soc_ratio
        soe, sop = kept.rack["energy"], kept.rack["power"]
        still_w = STILL_W * self.pcs_rated_w * max(t.pcs, 1)
        group, out_wh, in_wh = site_energy(soe, racks_of, power_w, still_w, soc_ratio, self.target_soc)
        return replace(
            kept,
            power_w=power_w,
            discharge_energy_wh=out_wh,
            charge_energy_wh=in_wh,
            rack_power=rack_power(sop),
            site_power=site_power(t, sop, racks_of, self.pcs_rated_w),
            rack_energy=rack_energy(soe, current, STILL_C * self.inputs.cell.capacity_ah),
            site_energy=group,
            plan=plan_of(kept.rack["plan"]),
        )
