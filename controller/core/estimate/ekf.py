"""SOC with an honest sigma: a string filter on the median cell, and a small filter per cell against it.

Charge counting carries every scan; voltages are sampled once a second, racks taking turns on large sites, and
listened to every ten. Whatever is missing, frozen or absurd is not listened to, and the sigma grows meanwhile.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from controller.core.estimate import sisters
from controller.core.estimate.bar import BIAS, END_V, OFFSET, SIGMA_FLOOR, SOC, V1, BarFilter, Strings
from controller.core.estimate.cell_model import CellModel, Heat
from controller.core.estimate.deviations import Deviations
from controller.core.estimate.protocol import EstimatorInputs, summarize
from controller.core.estimate.silence import unseen
from controller.core.frozen import replace
from controller.core.image import Estimates, Measured, OutputImage
from controller.core.memory import EstimationMemory
from controller.core.signal import NOT_FITTED, USABLE, Bools, Floats, Ints, Samples, some

SAMPLE_MS: Final = 1_000
CORRECT_MS: Final = 10_000
TURN_CELLS: Final = 4_096
"""Cells that one scan samples at most, roughly: larger sites spread their racks over the second."""
MOST_TURNS: Final = 10
WAIT_MS: Final = 60_000
"""So long a start waits for the voltages of all cells, and for the current."""
REST_CURRENT_C: Final = 0.01
STEADY_MS: Final = 60_000
STEADY_LEAST: Final = 5
STEADY_SCATTER_C: Final = 0.006
STEADY_FLOOR_C: Final = 0.001
BREAK_SIGMAS: Final = 5.0
MOST_C: Final = 20.0
"""No cell carries more than this many times its capacity: the sensor has failed."""
NO_MEMORY_SIGMA: Final = 0.3
GIVEN_SIGMA: Final = 0.15
RESTART_SIGMA: Final = 0.002
"""Added at a restart: what a battery loses or gains unseen in an hour, 0.2 %."""
RESTART_CORRELATION: Final = -0.7
"""A retained SOC already holds what its voltages said; without this the same lasting offset would be learnt twice."""
RESTART_SHIFT_SIGMA: Final = 0.01
MS_PER_HOUR: Final = 3_600_000.0
STEP_SHARE, STEP_MOST_MS = 1.0 / 12.0, 10_000
"""A step of the current came anywhere between two scans: variance of when, as a share of their distance squared. What
logs more seldom than this logs means."""
HELD_MS, HELD_FADE_MS = 30_000.0, 300_000.0
AMISS_MOST_V: Final = 0.1
LOAD_MS: Final = 600_000.0
"""Memory of how much current flows usually."""
RUNNING: Final = (
    "error_v", "samples", "sampled_a", "charge", "moved", "blind_ms", "median_v", "seen_a", "fast_v",
)  # fmt: skip
"""What a string sums up between corrections or saw last: nothing yet, after a start."""
PER_CELL: Final = tuple(f.name for f in dataclasses.fields(EstimationMemory) if f.name.startswith("cell_"))


class Ekf:
    """String filter and cell filters over all racks; deterministic, the memory given is never changed."""

    def __init__(self, inputs: EstimatorInputs) -> None:
        t = inputs.topology
        self.inputs = inputs
        self.model = CellModel(inputs.cell)
        self.bar = BarFilter(self.model)
        self.cells = Deviations(t.cell_fitted, self.model)
        self.count = t.cell_count
        turns = min(max(-(-int(t.cell_fitted.sum()) // TURN_CELLS), 1), MOST_TURNS)
        self.phase = np.arange(t.racks) % turns / turns

    def publish(self, memory: EstimationMemory) -> Estimates:
        """SOC of every cell as it stands in the memory; sigma 1 where a rack has not begun."""
        known = memory.rack_known
        sigma = np.where(known[:, None, None], np.sqrt(memory.cell_variance), 1.0)
        return summarize(self.inputs, memory.cell_charge_ratio, sigma, known)

    def step(
        self, memory: EstimationMemory, measured: Measured, outputs: OutputImage, elapsed_ms: int
    ) -> EstimationMemory:
        """The memory after `elapsed_ms` more: SOC of every cell and its variance."""
        p, s = measured.points, memory.string.copy()
        ok = (p.rack_current_a.quality <= USABLE) & (np.abs(p.rack_current_a.value) < MOST_C * self.model.capacity_ah)
        s["held_a"] = self._held(s, p.rack_current_a, ok, elapsed_ms)
        current = np.where(ok, p.rack_current_a.value, s["held_a"])
        idle = self._idle(s, measured, current, ok, elapsed_ms)
        heat = self._heat(measured)
        i = self.bar.predict(s, current, idle, elapsed_ms / 1000.0, heat)
        s["elapsed_ms"] += elapsed_ms
        s["sample_ms"] += elapsed_ms
        s["blind_ms"] += np.where(ok, 0, elapsed_ms)
        memory = self._own(memory, s, current, ok, elapsed_ms)
        self._bleed(memory, outputs, elapsed_ms)
        start = (s["ready"] == 0) & (ok | (s["elapsed_ms"] >= WAIT_MS))
        if some(start):
            self._start(memory, p.cell_voltage_v, np.flatnonzero(start), i, ok, heat)
        due = np.flatnonzero((s["ready"] == 1) & (2 * s["sample_ms"] >= 2 * SAMPLE_MS - elapsed_ms))
        if due.size:
            self._sample(memory, p.cell_voltage_v, due, i, ok, idle, heat, elapsed_ms)
        self._spread(memory)
        return memory

    # -- every scan ----------------------------------------------------------------------------------------------

    def _held(self, s: Strings, current: Samples, ok: Bools, elapsed_ms: int) -> Floats:
        """A slow mean of the current: what most likely flows while the sensor is silent, fading to nothing."""
        step = np.where(ok, current.value - s["held_a"], 0.0) * min(1.0, elapsed_ms / HELD_MS)
        fade = np.where(ok, 1.0, np.exp(-elapsed_ms / HELD_FADE_MS))
        square = np.where(ok, current.value * current.value - s["load_square"], 0.0)
        s["load_square"] += square * min(1.0, elapsed_ms / LOAD_MS)
        return np.asarray((s["held_a"] + step) * fade)

    def _idle(self, s: Strings, measured: Measured, current: Floats, ok: Bools, elapsed_ms: int) -> Bools:
        """Racks in which nothing flows: the contactors are open or the PCS rests, and the sensor is steady.

        Without either feedback, a minute of steady small current counts as rest.
        """
        q = self.model.capacity_ah
        n, mean, square = s["steady_n"], s["steady_mean_a"], s["steady_square"]
        scatter = np.sqrt(square / np.maximum(n - 1, 1))
        broken = ~ok | (np.abs(current - mean) > BREAK_SIGMAS * np.maximum(scatter, STEADY_FLOOR_C * q))
        n = np.where(broken, 1.0, n + 1.0)
        away = current - mean
        mean = np.where(broken, current, mean + away / n)
        square = np.where(broken, 0.0, square + away * (current - mean))
        time_ms = np.where(broken, 0, s["steady_ms"] + elapsed_ms)
        s["steady_n"], s["steady_mean_a"], s["steady_square"], s["steady_ms"] = n, mean, square, time_ms
        steady = (time_ms >= STEADY_MS) & (n >= STEADY_LEAST) & (np.abs(mean) < REST_CURRENT_C * q)
        steady &= square < (STEADY_SCATTER_C * q) ** 2 * np.maximum(n - 1, 1)
        return np.asarray(steady & self._may_rest(measured))

    def _may_rest(self, measured: Measured) -> Bools:
        p, t = measured.points, self.inputs.topology
        closed, running = p.rack_main_closed, p.pcs_running
        is_open = (closed.quality <= USABLE) & (closed.value < 0.5)
        still = (running.quality <= USABLE) & (running.value < 0.5)
        at_rest = np.bincount(t.pcs_bank, ~still, t.banks) == 0
        told = np.bincount(t.pcs_bank, running.quality != NOT_FITTED, t.banks) > 0
        untold = (closed.quality == NOT_FITTED) & ~told[t.rack_bank]
        return np.asarray(is_open | (at_rest & told)[t.rack_bank] | untold)

    def _heat(self, measured: Measured) -> Heat:
        low, high = measured.extremes.rack_temperature_min_degc, measured.extremes.rack_temperature_max_degc
        middle = 0.5 * (low.value + high.value)
        return self.model.warmth(np.where((low.quality <= USABLE) & (high.quality <= USABLE), middle, 25.0))

    def _own(
        self, memory: EstimationMemory, s: Strings, current: Floats, ok: Bools, elapsed_ms: int
    ) -> EstimationMemory:
        """A memory on fresh arrays that this scan may change; cells keep theirs while no rack has its turn."""
        small = np.abs(current) < REST_CURRENT_C * self.model.capacity_ah
        rest_ms = np.where(small & ok, memory.rack_rest_ms + elapsed_ms, 0)
        through = memory.rack_throughput_ah + np.where(ok, np.abs(current), 0.0) * elapsed_ms / MS_PER_HOUR
        fresh: dict[str, Any] = {name: getattr(memory, name).copy() for name in PER_CELL}
        return replace(
            memory, rack_rest_ms=rest_ms, rack_throughput_ah=through, string=s, rack_known=memory.rack_known.copy(),
            **fresh,
        )  # fmt: skip

    def _bleed(self, memory: EstimationMemory, outputs: OutputImage, elapsed_ms: int) -> None:
        if some(outputs.cell_bleed_on):
            lost = self.inputs.balancing.bleed_current_a * elapsed_ms / MS_PER_HOUR / self.model.capacity_ah
            memory.cell_shift_ratio[...] -= lost * outputs.cell_bleed_on

    def _spread(self, memory: EstimationMemory) -> None:
        s = memory.string
        ready = (s["ready"] == 1)[:, None, None]
        soc = (s["x"][:, SOC, None, None] + memory.cell_shift_ratio).clip(0.0, 1.0)
        np.copyto(memory.cell_charge_ratio, soc, where=ready)
        variance = (s["p"][:, SOC, SOC, None, None] + memory.cell_p_shift) * self.bar.published**2
        if some(s["silent_ms"] + s["blind_ms"] > 0):
            variance += unseen(self.model, s)[:, None, None]
        np.copyto(memory.cell_variance, variance.clip(SIGMA_FLOOR**2, 1.0), where=ready)

    # -- start ---------------------------------------------------------------------------------------------------

    def _start(self, m: EstimationMemory, voltage: Samples, start: Ints, i: Floats, ok: Bools, heat: Heat) -> None:
        """Racks begin from what was retained, else from what was given and the first voltages.

        All cells and the current are waited for a while; then half of the cells tell the median, and no broken sensor
        holds it up. `ok`: racks whose current is heard.
        """
        fitted = self.inputs.topology.cell_fitted
        v, usable = _usable(voltage, start)
        usable &= fitted[start]
        heard, count = usable.sum(axis=(1, 2)), self.count[start]
        waited = m.string["elapsed_ms"][start] >= WAIT_MS
        enough = (heard > 0) & (heard >= np.where(waited, count / 2, count))
        known = m.rack_known[start]
        for r in start[known & ok[start] | enough]:
            r1 = np.array([r])
            prior = float(np.median(m.cell_charge_ratio[r][fitted[r]]))
            spread = float(np.median(m.cell_variance[r][fitted[r]]))
            s = m.string[r1]
            if m.rack_known[r]:
                spread /= self.bar.published**2
                sigma = np.array([min(np.sqrt(spread + RESTART_SIGMA**2), 1.0)])
                self.bar.begin(s, np.array([prior]), sigma, int(self.count[r]))
                lean = RESTART_CORRELATION * sigma * np.sqrt(s["p"][:, OFFSET, OFFSET])
                s["p"][:, SOC, OFFSET] = s["p"][:, OFFSET, SOC] = lean
                self.cells.begin(m, r1, m.cell_charge_ratio[r1] - prior, np.full((1, 1, 1), RESTART_SHIFT_SIGMA**2))
            else:
                sigma = np.array([np.clip(np.sqrt(spread), SIGMA_FLOOR, NO_MEMORY_SIGMA)])
                if self.inputs.initial_soc is not None:
                    prior, sigma = self.inputs.initial_soc, np.array([GIVEN_SIGMA])
                self.bar.begin(s, np.array([prior]), sigma, int(self.count[r]))
                at = np.flatnonzero(start == r)[0]
                median = np.array([np.median(v[at][usable[at]])])
                self.bar.begin_from_voltage(s, median, i[r1], heat.of(r1), ~ok[r1])
                self.cells.begin(m, r1, np.zeros((1, 1, 1)), np.full((1, 1, 1), -1.0))
            s["sample_ms"] = int(self.phase[r] * SAMPLE_MS)
            s["elapsed_ms"] = int(self.phase[r] * CORRECT_MS)
            for name in RUNNING:
                s[name] = 0
            m.string[r1] = s
            m.rack_known[r] = True

    # -- a rack's turn -------------------------------------------------------------------------------------------

    def _sample(
        self, m: EstimationMemory, voltage: Samples, due: Ints, i: Floats, ok: Bools, idle: Bools,
        heat: Heat, elapsed_ms: int,
    ) -> None:  # fmt: skip
        s, i, ok, idle = m.string[due], i[due], ok[due], idle[due]
        warm = heat.of(due)
        v, usable = _usable(voltage, due)
        usable &= self.inputs.topology.cell_fitted[due]
        median, heard = self._median(v, usable, due)
        shown, known = median, (s["median_v"] > 0) & heard
        # A voltage that stands still to the last digit tells of no current: it may be frozen.
        told = known & ~ok & (median != s["median_v"])
        if some(told):
            self._stand_in(s, i, median, told, elapsed_ms, warm)
        seen = known & ok & (s["silent_ms"] + s["blind_ms"] == 0)
        step_a = np.where(seen, i - s["seen_a"], 0.0)
        step_v = np.where(seen, median - s["median_v"], 0.0)
        unseen = step_a * min(elapsed_ms, STEP_MOST_MS) / MS_PER_HOUR / self.model.capacity_ah
        s["p"][:, SOC, SOC] += STEP_SHARE * unseen**2
        lone = self.bar.unanswered(s, step_a, step_v, warm) & (s["sample_ms"] <= STEP_MOST_MS)
        if some(lone):
            # The sample before counts instead, once: what stays must be believed, and this sample teaches nothing.
            self.bar.recount(s, np.where(lone, step_a, 0.0), elapsed_ms / 1000.0, warm)
            step_a, step_v = np.where(lone, 0.0, step_a), np.where(lone, 0.0, step_v)
            ok = ok & ~lone
        soc, seen_v = s["x"][:, SOC].clip(0.0, 1.0), np.where(seen, s["median_v"], 0.0)
        usable = self.cells.sample(m, due, v, usable & (heard & ok)[:, None, None], i, step_a, step_v, soc, seen_v)
        median, heard = self._median(v, usable, due)
        listen = heard & ok
        self.bar.learn_resistance(s, i, step_a, step_v, warm)
        error = np.where(listen, median - self.bar.voltage(s, i, warm), 0.0)
        near = listen & (np.abs(error) < AMISS_MOST_V)
        s["amiss_v"] += np.where(near, error - s["amiss_v"], 0.0) * np.minimum(1.0, s["sample_ms"] / HELD_MS)
        s["error_v"] += error
        s["samples"] += listen
        s["sampled_a"] += np.where(listen, i, 0.0)
        s["median_v"], s["seen_a"] = np.where(ok & ~heard | lone, 0.0, np.where(ok, median, shown)), i
        s["sample_ms"] = 0
        turn = s["elapsed_ms"] >= CORRECT_MS
        if some(turn):
            own, at = s[turn], due[turn]
            charge, time_s = own["charge"].copy(), own["elapsed_ms"] / 1000.0
            self.bar.correct(own, idle[turn], warm.of(turn), np.abs(step_v[turn]) < END_V)
            soc = own["x"][:, SOC].clip(0.0, 1.0)
            drive = i[turn] + own["x"][:, V1] / self.model.r0
            heard_cells = usable[turn] & listen[turn][:, None, None]
            deviation = v[turn] - median[turn][:, None, None]
            doubt = own["p"][:, SOC, SOC]
            self.cells.correct(m, at, deviation, heard_cells, soc, drive, charge, time_s, doubt)
            s[turn] = own
        m.string[due] = s

    def _stand_in(self, s: Strings, i: Floats, median: Floats, where: Bools, elapsed_ms: int, heat: Heat) -> None:
        """A silent sensor's current, as the voltage tells it: for the last scan, and to go on with."""
        time_s = elapsed_ms / 1000.0
        told, share = self.bar.stand_in(s, i, median, time_s, heat)
        self.bar.recount(s, np.where(where, i - told, 0.0), time_s, heat)
        s["held_a"] = np.where(where, told + s["x"][:, BIAS], s["held_a"])
        since = np.minimum(s["sample_ms"], s["blind_ms"])
        s["blind_ms"] -= np.where(where, (1.0 - share) * since, 0.0).astype(np.int64)

    def _median(self, v: Floats, usable: Bools, racks: Ints) -> tuple[Floats, Bools]:
        """Median over the usable cells of each rack; heard where at least half of what is fitted is usable."""
        one_row = (len(v), -1)
        n = usable.reshape(one_row).sum(axis=1)
        heard = (n > 0) & (2 * n >= self.count[racks])
        return np.where(heard, sisters.median(v.reshape(one_row), usable.reshape(one_row)), 0.0), heard


def _usable(voltage: Samples, racks: Ints) -> tuple[Floats, Bools]:
    v = voltage.value[racks]
    usable = (voltage.quality[racks] <= USABLE) & np.isfinite(v)
    return np.where(usable, v, 0.0), usable
