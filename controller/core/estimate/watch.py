"""Early warning: which cell leaves its sisters, since when, and what kind of fault that is.

Ten-minute means of what the cell filters found are compared over hours and days with the median cell; the scatter is
the median absolute deviation over the cells, frozen at its median over a day. Sensor faults are jumps, cell faults
are drifts: a voltage that jumps is never charge, a temperature that jumps is never heat. It informs; it never trips.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from controller.core.signal import Bools, Floats, Ints

BIN_S: Final = 600.0
DAY: Final = 144
"""Bins of a day."""
MOST_BINS: Final = 4 * DAY + 6
WARM_BINS: Final = DAY
"""Bins before drifts are judged: the filters first learn capacities and offsets from a day's swing."""
SIGMAS: Final = 6.0
MAD_TO_SIGMA: Final = 1.4826
LEAK_WINDOWS: Final = ((6, 0.015), (18, 0.010), (36, 0.007), (72, 0.006), (144, 0.006), (288, 0.005), (576, 0.005))
"""Window in bins and the least charge (SOC) that a cell must have lost against the median in it."""
LEAK_PERSISTS: Final = 6
LACK_DOUBT: Final = 0.2
"""Share of what a cell's capacity explains over a swing that may be wrong."""
SHORT_PER_HOUR: Final = 1e-4
"""Leak above which self-discharge is called an internal short, capacity per hour: C/10,000."""
RESISTANCE_GROWTH, RESISTANCE_STEP = 0.07, 0.06
"""Rise over the nominal resistance that counts: since the baseline, and within `STEP_BINS`."""
STEP_BINS: Final = 36
RESISTANCE_PERSISTS: Final = 12
LACK, LACK_SIGMAS, LACK_PERSISTS = 0.035, 4.5, 36
OFFSET_STEP_V, OFFSET_PERSISTS = 0.0075, 18
CALM_STEP_V: Final = 0.03
"""Step of the median voltage up to which a cell's own step beside it is no matter of resistance."""
KEPT: Final = 0.6
"""Share of a jump that must have come within one sample: heat and charge come gradually."""
HEAT_STEP_K, HEAT_PERSISTS = 2.5, 3
WARMER_K, HOTTER_K, HEAT_WINDOW = 0.9, 1.5, 36
HEAT_SIGMAS: Final = 8.0
STILL_BINS, STILL_RANGE_K = 36, 1.0
RUNAWAY_K_PER_S, RUNAWAY_S, RUNAWAY_DROP, RUNAWAY_DEGC = 1.0, 3.0, 0.25, 60.0
"""GB 38031-2025 C.5.3.7: (voltage down by a quarter or above the maker's maximum) and >= 1 K/s for over 3 s."""
SEVERITY: Final = {
    "runaway": 1.0, "internal_short": 0.8, "busbar_step": 0.6, "resistance_growth": 0.5, "low_capacity": 0.4,
    "self_discharge": 0.4, "voltage_sensor": 0.3, "temperature_sensor": 0.3, "stuck_sensor": 0.3,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One onset: when it was certain (s), cell or sensor, fault, severity 0..1, and the numbers that convinced."""

    t_s: float
    cell: int
    fault: str
    severity: float
    evidence: str


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """What the filters know of a string at one moment; per cell, and per temperature sensor."""

    soc: float
    shift: Floats
    offset_v: Floats
    lack: Floats
    lack_sigma: Floats
    resistance: Floats
    stuck: Bools
    calm: bool
    """The string is on a stretch of its OCV on which a voltage cannot move fast."""
    voltage_v: Floats
    temperature_degc: Floats


class Watch:
    """The detectors of one string. `look` takes every sample in order of time and returns the onsets found."""

    def __init__(self, cells: int, sensors: int) -> None:
        self.cells, self.sensors = cells, sensors
        self.sums: list[Floats] = []
        self.count = 0
        self.until_s: float | None = None
        self.history: list[tuple[Floats, ...]] = []
        self.scatter: dict[str, list[float]] = {}
        self.persists: dict[str, Floats] = {}
        self.told: set[tuple[int, str]] = set()
        self.jumped_at = np.full(cells, -MOST_BINS)
        self.bins = 0
        self.base_resistance: Floats | None = None
        self.last: tuple[float, Look] | None = None
        self.sharpest_k, self.sharpest_v = np.zeros(sensors), np.zeros(cells)
        self.sharp_k: list[Floats] = []
        self.sharp_v: list[Floats] = []
        self.heating_s = np.zeros(sensors)
        self.resting_v = np.full(cells, np.nan)

    def look(self, t_s: float, now: Look) -> list[Finding]:
        """The onsets that this sample makes certain."""
        found = self._raw(t_s, now)
        self.last = (t_s, now)
        if self.until_s is None:
            self.until_s = t_s + BIN_S
        values = (np.array([now.soc]), now.shift, now.offset_v, now.lack, now.resistance, now.temperature_degc)
        self.sums = [a + b for a, b in zip(self.sums, values, strict=True)] if self.count else list(values)
        self.count += 1
        if t_s >= self.until_s - 1e-6:
            self.until_s = t_s + BIN_S
            self.history.append(tuple(a / self.count for a in self.sums))
            del self.history[:-MOST_BINS]
            self.count = 0
            self.bins += 1
            self.sharp_k = [*self.sharp_k, self.sharpest_k][-HEAT_PERSISTS - 2 :]
            self.sharp_v = [*self.sharp_v, self.sharpest_v][-OFFSET_PERSISTS - 4 :]
            self.sharpest_k, self.sharpest_v = np.zeros(self.sensors), np.zeros(self.cells)
            found += self._judge(t_s, now)
        return found

    # -- every sample --------------------------------------------------------------------------------------------

    def _raw(self, t_s: float, now: Look) -> list[Finding]:
        """The runaway rule on raw values, and the sharpest step of every temperature."""
        if self.last is None or t_s <= self.last[0]:
            return []
        step_s = t_s - self.last[0]
        rise = now.temperature_degc - self.last[1].temperature_degc
        sharp = np.abs(rise - np.nanmedian(rise))
        self.sharpest_k = np.fmax(self.sharpest_k, sharp)
        step_v = now.voltage_v - self.last[1].voltage_v
        if now.calm and self.last[1].calm and abs(np.nanmedian(step_v)) < CALM_STEP_V:
            self.sharpest_v = np.fmax(self.sharpest_v, np.abs(step_v - np.nanmedian(step_v)))
        fast = rise / step_s >= RUNAWAY_K_PER_S
        self.heating_s = np.where(fast, self.heating_s + step_s, 0.0)
        slow = min(1.0, step_s / BIN_S)
        before = self.resting_v
        self.resting_v = np.where(np.isfinite(before), before + slow * (now.voltage_v - before), now.voltage_v)
        hot = np.flatnonzero(self.heating_s > RUNAWAY_S)
        found = []
        for k in hot:
            c = self._cell(int(k))
            fallen = now.voltage_v[c] < (1.0 - RUNAWAY_DROP) * before[c]
            if fallen or now.temperature_degc[k] > RUNAWAY_DEGC:
                text = f"{rise[k] / step_s:.1f} K/s for {self.heating_s[k]:.0f} s at {now.temperature_degc[k]:.0f} degC"
                found += self._tell(t_s, c, "runaway", text)
        return found

    def _cell(self, sensor: int) -> int:
        return sensor * self.cells // self.sensors

    # -- every ten minutes ---------------------------------------------------------------------------------------

    def _judge(self, t_s: float, now: Look) -> list[Finding]:
        found = self._temperatures(t_s) + self._stuck(t_s, now) + self._jumps(t_s)
        if self.bins >= WARM_BINS:
            found += self._leaks(t_s) + self._resistances(t_s) + self._capacities(t_s, now)
        return found

    def _tell(self, t_s: float, cell: int, fault: str, evidence: str) -> list[Finding]:
        if (cell, fault) in self.told:
            return []
        self.told.add((cell, fault))
        return [Finding(t_s, cell, fault, SEVERITY[fault], evidence)]

    def _has(self, cell: int, *faults: str) -> bool:
        return any((cell, f) in self.told for f in faults)

    def _sigma(self, name: str, x: Floats, least: float) -> float:
        """Scatter over the cells: the MAD now, but not below its own median over the last day."""
        log = self.scatter.setdefault(name, [])
        log.append(float(np.nanmedian(np.abs(x))) * MAD_TO_SIGMA)
        del log[:-DAY]
        return max(log[-1], float(np.median(log)), least)

    def _lasting(self, name: str, where: Bools, bins: int) -> Ints:
        """Indices for which `where` has held for `bins` bins in a row."""
        held = np.where(where, self.persists.get(name, np.zeros(len(where))) + 1, 0)
        self.persists[name] = held
        return np.flatnonzero(held >= bins)

    def _ago(self, bins: int, quantity: int) -> Floats:
        return self.history[-1 - bins][quantity]

    def _leaks(self, t_s: float) -> list[Finding]:
        """Charge lost against the median, less what a smaller capacity explains over the same swing."""
        found = []
        for window, least in LEAK_WINDOWS:
            if self.bins - WARM_BINS < window // 2 or window >= len(self.history):
                continue
            swing = self._ago(window, 0) - self._ago(0, 0)
            lost = self._ago(0, 1) - self._ago(window, 1) + swing * self._ago(0, 3)
            half = self._ago(0, 1) - self._ago(window // 2, 1)
            half = half + (self._ago(window // 2, 0) - self._ago(0, 0)) * self._ago(0, 3)
            lost, half = lost - np.median(lost), half - np.median(half)
            sigma = self._sigma(f"leak{window}", lost, least / 12)
            clear = self.bins - self.jumped_at > window + STEP_BINS
            explained = LACK_DOUBT * np.abs(swing * self._ago(0, 3))
            drift = (lost < -max(least, SIGMAS * sigma) - explained) & (half < 0.2 * lost) & (half > 0.9 * lost) & clear
            for c in self._lasting(f"leak{window}", drift, LEAK_PERSISTS):
                hours = window * BIN_S / 3600.0
                rate = -lost[c] / hours
                fault = "internal_short" if rate > SHORT_PER_HOUR else "self_discharge"
                if window <= DAY and self._has(int(c), "low_capacity"):
                    continue
                if not self._has(int(c), "internal_short", fault):
                    text = (
                        f"lost {-100 * lost[c]:.2f} % against the median in {hours:.0f} h, {-lost[c] / sigma:.0f} sigma"
                    )
                    found += self._tell(t_s, int(c), fault, text)
        return found

    def _resistances(self, t_s: float) -> list[Finding]:
        r = self._ago(0, 4) - np.median(self._ago(0, 4))
        if self.base_resistance is None:
            self.base_resistance = r
        rise = r - self.base_resistance
        back = min(STEP_BINS, len(self.history) - 1)
        step = r - (self._ago(back, 4) - np.median(self._ago(back, 4)))
        step_sigma = self._sigma("step", step, 0.005)
        sigma = self._sigma("rise", rise, 0.005)
        found = []
        for c in self._lasting("step", step > max(RESISTANCE_STEP, SIGMAS * step_sigma), RESISTANCE_PERSISTS):
            if not self._has(int(c), "resistance_growth", "internal_short"):
                found += self._tell(t_s, int(c), "busbar_step", f"resistance +{100 * step[c]:.0f} % of nominal in 6 h")
        for c in self._lasting("rise", rise > max(RESISTANCE_GROWTH, SIGMAS * sigma), RESISTANCE_PERSISTS):
            if not self._has(int(c), "busbar_step", "internal_short"):
                text = f"resistance +{100 * rise[c]:.0f} % of nominal since the start ({rise[c] / sigma:.0f} sigma)"
                found += self._tell(t_s, int(c), "resistance_growth", text)
        return found

    def _capacities(self, t_s: float, now: Look) -> list[Finding]:
        lack = self._ago(0, 3) - np.median(self._ago(0, 3))
        sigma = self._sigma("lack", lack, 0.002)
        low = (lack > max(LACK, LACK_SIGMAS * sigma)) & (lack > 5 * now.lack_sigma)
        found = []
        for c in self._lasting("lack", low, LACK_PERSISTS):
            if not self._has(int(c), "internal_short"):
                text = f"capacity {100 * lack[c]:.1f} % below the median ({lack[c] / sigma:.1f} sigma)"
                found += self._tell(t_s, int(c), "low_capacity", text)
        return found

    def _jumps(self, t_s: float) -> list[Finding]:
        """A lasting deviation of voltage that came within two bins and stayed."""
        if len(self.history) < OFFSET_PERSISTS + 4:
            return []
        offsets = np.array([h[2] for h in self.history[-OFFSET_PERSISTS - 4 :]])
        offsets = offsets - np.median(offsets, axis=1, keepdims=True)
        before, after = offsets[1], offsets[4:]
        jump = np.median(after, axis=0) - before
        sigma = self._sigma("jump", jump, 0.0004)
        stays = (np.abs(after - before - jump) < 0.35 * np.abs(jump)).all(axis=0)
        calm = np.abs(offsets[1] - offsets[0]) < 0.35 * np.abs(jump)
        large = np.abs(jump) > max(OFFSET_STEP_V, HEAT_SIGMAS * sigma)
        large &= np.max(self.sharp_v[:6], axis=0) > KEPT * np.abs(jump)
        self.jumped_at = np.where(large, self.bins, self.jumped_at)
        found = []
        for c in np.flatnonzero(large & stays & calm):
            if self.bins > WARM_BINS // 2 and not self._has(int(c), "internal_short", "low_capacity"):
                found += self._tell(
                    t_s, int(c), "voltage_sensor", f"jumped by {1e3 * jump[c]:+.1f} mV and stayed there"
                )
        return found

    def _temperatures(self, t_s: float) -> list[Finding]:
        if len(self.history) < HEAT_PERSISTS + 3:
            return []
        warm = np.array([h[5] for h in self.history[-HEAT_WINDOW - 1 :]])
        warm = warm - np.nanmedian(warm, axis=1, keepdims=True)
        before, after = warm[-HEAT_PERSISTS - 2], warm[-HEAT_PERSISTS:]
        jump = np.median(after, axis=0) - before
        sigma = self._sigma("heat", jump, 0.05)
        sharp = np.max(self.sharp_k, axis=0) > KEPT * np.abs(jump)
        stays = (np.abs(after - before - jump) < 0.4 * np.abs(jump)).all(axis=0)
        found = []
        for k in np.flatnonzero((np.abs(jump) > max(HEAT_STEP_K, HEAT_SIGMAS * sigma)) & stays & sharp):
            found += self._tell(t_s, int(k), "temperature_sensor", f"jumped by {jump[k]:+.1f} K within one sample")
        rise = warm[-1] - warm[0]
        spread = self._sigma("ramp", rise, 0.06)
        shift = np.array([h[1] for h in self.history[-HEAT_WINDOW - 1 :]])
        shift = shift - np.median(shift, axis=1, keepdims=True)
        for k in np.flatnonzero(rise > max(WARMER_K, HEAT_SIGMAS * spread)):
            c, largest = self._cell(int(k)), float(np.abs(np.diff(warm[:, k])).max())
            falling = shift[-1, c] - shift[0, c] < -0.002
            ramp = largest < 0.45 * rise[k] and not self._has(int(k), "temperature_sensor")
            if ramp and (falling or rise[k] > HOTTER_K):
                found += self._tell(t_s, c, "internal_short", f"{rise[k]:.1f} K warmer than its sisters in 6 h, a ramp")
        return found

    def _stuck(self, t_s: float, now: Look) -> list[Finding]:
        found = []
        for c in self._lasting("stuck", now.stuck, 2):
            found += self._tell(t_s, int(c), "stuck_sensor", "the voltage stands still although the current steps")
        if len(self.history) > STILL_BINS:
            warm = np.array([h[5] for h in self.history[-STILL_BINS:]])
            moved = np.ptp(warm, axis=0)
            if np.nanmedian(moved) > STILL_RANGE_K:
                for k in np.flatnonzero(moved == 0.0):
                    found += self._tell(
                        t_s, int(k), "stuck_sensor", "the temperature stands still while its sisters move"
                    )
        return found
