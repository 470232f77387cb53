"""Early warning: which cell leaves its sisters, since when, and what kind of fault that is. It informs, it never trips.

Every rack is looked at once a second, in scans in which the estimator leaves it alone, and judged every ten minutes,
racks taking turns. All that is remembered is in `WatchMemory`; the same inputs give the same warnings.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.estimate import hard, runaway
from controller.core.estimate.bins import judge
from controller.core.estimate.board import Board
from controller.core.estimate.cell_model import CellModel
from controller.core.estimate.faults import HARD, WORSE, Finding, worded
from controller.core.estimate.looks import take
from controller.core.estimate.plating import ColdCharge
from controller.core.estimate.rows import Look, rows
from controller.core.estimate.verdicts import BIN_MS, HALF, Strings
from controller.core.field_image import Points
from controller.core.frozen import copied, replace
from controller.core.image_warnings import Fault, Warnings
from controller.core.memory import EstimationMemory
from controller.core.memory_watch import WatchMemory
from controller.core.settings import CellSheet, Polyline
from controller.core.signal import USABLE, Ints, every, some
from controller.core.topology import Topology

LOOK_MS: Final = 1_000
DAY_MS: Final = 86_400_000
LOAD_TAU_S: Final = 5_000.0
"""Thermal time constant of a large cell in moving air: heat capacity over surface conductance."""
BESIDE: Final = 3
"""Cells to both sides of one that has a short, which its heat reaches."""


class Watch:
    """The detectors of all racks; `spread` lets racks take turns over a bin instead of all being judged at once.

    cold_charge: the charge current that the cell type permits, over temperature; without it plating is not looked for.
    """

    def __init__(
        self, topology: Topology, cell: CellSheet, spread: bool = True, cold_charge: Polyline | None = None
    ) -> None:
        t = topology
        self.cold_charge = None if cold_charge is None else ColdCharge(cell, cold_charge)
        self.topology, self.model = t, CellModel(cell)
        self.cells = t.cell_fitted.reshape(t.racks, -1)
        self.sensors = t.temperature_fitted.reshape(t.racks, -1)
        per_cells, per_sensors = t.cells, t.temperatures
        sensor = np.arange(t.modules * per_sensors)
        self.seat: Ints = sensor // per_sensors * per_cells + sensor % per_sensors * per_cells // per_sensors
        cell_of = np.arange(t.modules * per_cells)
        self.nearest: Ints = np.searchsorted(self.seat, cell_of, "right") - 1
        self.board = Board(t)
        racks = np.arange(t.racks)
        self.phase_ms = racks * BIN_MS // max(t.racks, 1) if spread else np.zeros(t.racks, int)

    def publish(self, memory: WatchMemory) -> Warnings:
        """What is suspected now, worst first."""
        return self.board.publish(memory)

    def step(
        self, memory: WatchMemory, points: Points, estimation: EstimationMemory, elapsed_ms: int
    ) -> tuple[WatchMemory, list[Finding]]:
        """The memory after `elapsed_ms` more, and the onsets found in it: `heed`, then `look`."""
        memory, found = self.heed(memory, points, elapsed_ms)
        memory, more = self.look(memory, points, estimation, elapsed_ms)
        return memory, found + more

    def heed(self, memory: WatchMemory, points: Points, elapsed_ms: int) -> tuple[WatchMemory, list[Finding]]:
        """What waits for no look: runaway."""
        samples, lasting = runaway.follow(memory.samples, points, self.sensors, elapsed_ms)
        if samples is not memory.samples:
            memory = replace(memory, samples=samples)
        if lasting is None:
            return memory, []
        r = np.flatnonzero(lasting.any(axis=1))
        return self._runaways(memory, r, points, *runaway.judge(samples, points, r, self.cells, self.seat, elapsed_ms))

    def look(
        self, memory: WatchMemory, points: Points, estimation: EstimationMemory, elapsed_ms: int
    ) -> tuple[WatchMemory, list[Finding]]:
        """The looks and verdicts that are due."""
        w = memory.rack.copy()
        string = estimation.string
        if not every(w["bin_ms"]):
            fresh = (w["bins"] == 0) & (w["looks"] == 0) & (w["bin_ms"] == 0)
            w["bin_ms"] = np.where(fresh, self.phase_ms, w["bin_ms"])
        w["bin_ms"] += elapsed_ms
        w["wait_ms"] += elapsed_ms
        memory = replace(memory, rack=w)
        found: list[Finding] = []
        late = 2 * w["wait_ms"] >= 2 * LOOK_MS - elapsed_ms
        if not some(late):
            return memory, found
        # The estimator samples a rack in the scan in which its own clock returns to zero: look in another one.
        elsewhere = (string["sample_ms"] > 0) | (string["ready"] == 0) | (elapsed_ms >= LOOK_MS)
        due = np.flatnonzero(late & elsewhere)
        if due.size:
            memory, more = self._look(memory, points, estimation, due)
            found += more
        closing = np.flatnonzero((memory.rack["bin_ms"] >= BIN_MS) & (memory.rack["looks"] > 0))
        if closing.size:
            memory, more = self._judge(memory, estimation, closing)
            found += more
        return memory, found

    def _look(
        self, memory: WatchMemory, points: Points, estimation: EstimationMemory, r: Ints
    ) -> tuple[WatchMemory, list[Finding]]:
        v, t, i = points.cell_voltage_v, points.cell_temperature_degc, points.rack_current_a
        own = memory.rack[r]
        soc = np.where(estimation.string["ready"][r] == 1, estimation.string["x"][r, 0].clip(0.0, 1.0), HALF)
        swing = rows(estimation.cell_lack_ratio, r) * (soc - HALF)[:, None]
        look = Look(
            racks=r,
            voltage_v=rows(v.value, r),
            ok=(rows(v.quality, r) <= USABLE) & rows(self.cells, r),
            current_a=np.asarray(i.value[r], np.float64),
            current_ok=i.quality[r] <= USABLE,
            warm_degc=rows(t.value, r),
            warm_ok=(rows(t.quality, r) <= USABLE) & rows(self.sensors, r),
            soc=soc,
            charge=rows(estimation.cell_shift_ratio, r),
            level=rows(memory.bins.level_charge, r) + swing,
            apart=rows(memory.bins.apart, r),
            elapsed_ms=own["wait_ms"].copy(),
        )
        square = np.where(look.current_ok, look.current_a / self.model.capacity_ah, 0.0) ** 2
        own["load"] += (square - own["load"]) * np.minimum(1.0, look.elapsed_ms / 1000.0 / LOAD_TAU_S)
        memory = replace(memory, samples=copied(memory.samples), means=copied(memory.means))
        over_v, over_k = take(memory.samples, own, look, self.model)
        full = hard.add(memory.means, own, look, over_v, over_k)
        if self.cold_charge is not None:
            bins = self.cold_charge.book(memory.bins, own, look, estimation, self.nearest)
            memory = replace(memory, bins=bins)
        own["wait_ms"] = 0
        own["looks"] += 1
        found: list[Finding] = []
        if full.size:
            memory, found = self._hard(memory, own, look, full)
        memory.rack[r] = own
        return memory, found

    def _hard(self, memory: WatchMemory, own: Any, look: Look, full: Ints) -> tuple[WatchMemory, list[Finding]]:
        memory = replace(memory, blocks=copied(memory.blocks))
        shorts = hard.close(
            memory.means, memory.blocks, own, look, full, self.nearest, self.model, memory.samples.drop_long
        )
        q, seen = self.model.capacity_ah, []
        short = 1 << int(Fault.INTERNAL_SHORT)
        bits = short | 1 << int(Fault.RUNAWAY)
        for s in shorts:
            # What warms and eases the cells beside it is told already, and so is what burns.
            near = rows(memory.bins.told, look.racks[s.row : s.row + 1])[0]
            if not near[s.cell] & short and (near[max(s.cell - BESIDE, 0) : s.cell + BESIDE + 1] & bits).any():
                continue
            words = HARD.format(s.current_a, q / s.current_a, 1e3 * s.fallen_v, 60 * s.rate_k_per_s, s.sigmas)
            value = 100 * s.current_a / q
            seen.append(Finding(int(look.racks[s.row]), s.cell, False, Fault.INTERNAL_SHORT, value, s.sigmas, words))
        return self._told_at_once(memory, seen) if seen else (memory, [])

    def _runaways(
        self, memory: WatchMemory, r: Ints, points: Points, where: Any, rate: Any
    ) -> tuple[WatchMemory, list[Finding]]:
        """Told at once, in the lowest of the cells that the sensor stands for."""
        seen = []
        for n, k in zip(*where.nonzero(), strict=True):
            mine = np.flatnonzero(self.nearest == k)
            volts = np.where(self.cells[r[n], mine], rows(points.cell_voltage_v.value, r)[n, mine], np.inf)
            c, size = int(mine[volts.argmin()]) if mine.size else int(self.seat[k]), float(rate[n, k])
            seen.append(Finding(int(r[n]), c, False, Fault.RUNAWAY, size, 0.0, worded(Fault.RUNAWAY, size, 0.0)))
        return self._told_at_once(memory, seen) if seen else (memory, [])

    def _told_at_once(self, memory: WatchMemory, seen: list[Finding]) -> tuple[WatchMemory, list[Finding]]:
        """What waits for no bin; the onsets among it. The evidence of the worst fault of a cell is kept."""
        bins, found = copied(memory.bins), []
        for f in seen:
            at = (f.rack, *divmod(f.element, bins.told.shape[2]))
            told, bit = int(bins.told[at]), 1 << int(f.fault)
            bins.quiet[at] = 0
            if not told & WORSE[f.fault] and (not told & bit or f.value > bins.value[at]):
                bins.value[at], bins.sigmas[at] = f.value, f.sigmas
            if not told & bit:
                bins.age_bins[at] = 0
                bins.told[at] = told | bit
                found.append(f)
        return replace(memory, bins=bins, told_count=memory.told_count + len(found)), found

    def _judge(self, memory: WatchMemory, estimation: EstimationMemory, r: Ints) -> tuple[WatchMemory, list[Finding]]:
        memory = replace(memory, samples=copied(memory.samples), bins=copied(memory.bins))
        own = memory.rack[r]
        strings = Strings(memory.bins, memory.samples, own, r, self.cells[r], self.sensors[r], self.seat, self.nearest)
        found, withdrawn = judge(strings, estimation, self.model.r0, self.model.capacity_ah)
        own["bin_ms"] %= BIN_MS
        memory.rack[r] = own
        healthy = int((self.cells[r] & (rows(memory.bins.told, r) == 0)).sum())
        return replace(
            memory,
            healthy_cell_days=memory.healthy_cell_days + healthy * BIN_MS / DAY_MS,
            told_count=memory.told_count + len(found),
            withdrawn_count=memory.withdrawn_count + withdrawn,
        ), found
