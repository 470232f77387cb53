"""The judgement of ten minutes: what each cell lost, warmed and resisted more than its sisters, and what to call it.

Scatter is the larger of the MAD over the sisters now and its own slow mean. Sensor faults are jumps that stay, cell
faults are drifts; a voltage that is in doubt says nothing of the cell behind it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.estimate import jumps
from controller.core.estimate.faults import WARM, Finding, worded
from controller.core.estimate.rows import put, rows
from controller.core.estimate.sisters import beside, median, scatter, upper
from controller.core.image_warnings import Fault
from controller.core.memory import EstimationMemory
from controller.core.memory_watch import WatchBins, WatchSamples
from controller.core.signal import Bools, Floats, Ints

BIN_MS: Final = 600_000
BIN_H: Final = BIN_MS / 3_600_000
DAY: Final = 144
WARM_BINS: Final = 144
"""Bins before drifts are judged: the filters first learn capacities and offsets from a day's swing."""
SLOW: Final = 1.0 / 144
FAST, LONG, LOSS_FAST, LOSS_SLOW, LACK, WARMTH, NOW = range(7)
ALLOWED_FAST, ALLOWED_SLOW = 2e-4, 2e-5
"""Loss (SOC per hour) that the cumulative sums forgive (Page 1954): spread of self-discharge, slow learning."""
LEAST_FAST, LEAST_SLOW = 0.008, 0.010
LEAK_SIGMAS, LEAK_BINS = 6.0, 6
LEAK_OWN_SIGMAS: Final = 4.0
"""Over the filter's own doubt when the loss began: what a knee teaches for the first time is no leak."""
LEAK_LACK: Final = 0.2
"""Share of a cell's lacking capacity that may pass for lost charge."""
GONE_MOST: Final = 0.0015
"""Most charge that one bin may add: learning comes in leaps, leaks do not."""
SHORT_PER_HOUR: Final = 1e-4
"""Leak above which self-discharge is called an internal short, capacity per hour: C/10,000."""
GROWTH_LEAST, GROWTH_SIGMAS, GROWTH_BINS = 0.05, 6.0, 12
STEP_LEAST, STEP_SIGMAS, STEP_BINS = 0.05, 6.0, 4
STEP_SHARE: Final = 0.33
"""A rise of which more than this share came between the short memories is a step, unless a slow rise does the same."""
LEARN_SIGMAS, FIRST_BINS, BASE_BINS = 9.0, 36, 36
"""The healthy resistance is taken a day after the start, or once the current has moved enough; it is refined for six
hours more, and then known for good."""
ACTIVE: Final = 1.0
"""What the current must have moved in a bin that counts (C-rate squared times s)."""
GROWTH_MOST_PER_H: Final = 0.006
"""No cell grows faster (of nominal per hour); a connection does."""
LEVEL_MOST: Final = 0.02
PEAK_ATTACK, PEAK_KEEP, PEAK_SIGMAS, PEAK_LEAST = 0.25, 0.995, 2.5, 0.015
MOVED_FAST, MOVED_LONG = 8.0, 50.0
"""Squared current movement (C-rate squared times s) that a resistance must rest on: a step of 0.2C gives 12."""
ARRHENIUS_PER_K: Final = 0.026
WARMTH_MOST_K: Final = 1.5
LACK_LEAST, LACK_SIGMAS, LACK_OWN_SIGMAS, LACK_BINS = 0.035, 4.5, 5.0, 36
JUMP_K, JUMP_BINS_K = 2.0, 3
STILL_DOUBT_V, STILL_V, STILL_K, STILL_BINS = 0.006, 0.012, 1.0, 2
CALM_BINS, STEADY_BINS = 6, 24
"""Bins after a doubt until resistances, and until charges are believed again: the filters must have settled."""
ABRUPT_V, ABRUPT_TIMES = 0.007, 2.5
"""A lone step that is no noise of the inputs puts the charge in doubt, whatever became of it."""
WARM_LEAST_K, WARM_SIGMAS, WARM_HELD, WARM_LOCAL = 0.35, 6.5, 2, 0.5
LOAD_FORGET: Final = 1.0 / 288
QUIET_BINS: Final = 240


@dataclasses.dataclass(frozen=True, slots=True)
class Strings:
    """What a judgement works on: the memories, the racks, what is fitted, and where sensors sit."""

    bins: WatchBins
    samples: WatchSamples
    rack: NDArray[Any]
    racks: Ints
    cells: Bools
    sensors: Bools
    seat: Ints
    nearest: Ints


def judge(s: Strings, e: EstimationMemory, r0: float, capacity_ah: float) -> tuple[list[Finding], int]:
    """Closes the bin of the racks in `s`, in place; the onsets found, and how many warnings were withdrawn."""
    j = _Judge(s, e, r0, capacity_ah)
    j.warmth()
    j.doubt()
    j.resistance()
    j.losses()
    j.lack()
    j.close()
    return j.found, j.withdrawn


class _Judge:
    """One judgement of some racks; every array is (racks, cells) or (racks, sensors)."""

    def __init__(self, s: Strings, e: EstimationMemory, r0: float, capacity_ah: float) -> None:
        self.s, self.e, self.r0, self.q = s, e, r0, capacity_ah
        self.found: list[Finding] = []
        self.withdrawn = 0
        self.w = s.rack
        self.warm = (self.w["bins"] >= WARM_BINS)[:, None] & s.cells
        self.evidence = np.zeros(s.cells.shape, bool)
        self.evidence_k = np.zeros(s.sensors.shape, bool)

    def get(self, name: str) -> NDArray[Any]:
        return rows(getattr(self.s.bins, name), self.s.racks)

    def set(self, name: str, x: NDArray[Any]) -> None:
        put(getattr(self.s.bins, name), self.s.racks, x)

    def of(self, name: str) -> Floats:
        return rows(getattr(self.e, name), self.s.racks).astype(np.float64)

    def sigma(self, which: int, x: Floats, ok: Bools, least: float, tail: bool = False) -> Floats:
        """Scatter per rack (n, 1): now over the sisters, at least its own slow mean; `tail` where it is lopsided."""
        now = scatter(x, ok)
        if tail:
            now = np.maximum(now, upper(x, ok))
        slow = self.w["scatter"][:, which]
        slow = np.where(slow > 0, slow + SLOW * (np.minimum(now, 4 * slow + least) - slow), now)
        self.w["scatter"][:, which] = slow
        return np.asarray(np.maximum(np.maximum(now, slow), least)[:, None])

    def held(self, name: str, where: Bools, counts: Bools | None = None) -> NDArray[Any]:
        """Bins in a row in which `where` was true, of those that `counts`."""
        record = self.s.bins.held
        before = rows(record[name], self.s.racks)
        now = np.where(where, np.minimum(before, 250) + 1, 0)
        now = (now if counts is None else np.where(counts, now, before)).astype(np.uint8)
        record[name][self.s.racks] = now.reshape((len(now), *record.shape[1:]))
        return now

    def told(self, *faults: Fault) -> Bools:
        """Cells of which one of these was told."""
        bits = sum(1 << int(f) for f in faults)
        return np.asarray((self.get("told") & bits) != 0)

    def tell(
        self, where: Bools, fault: Fault, value: Floats, sigmas: Floats, text: str = "", sensor: bool = False
    ) -> None:
        """Notes the evidence, and tells those that were not told yet."""
        end = "_k" if sensor else ""
        if sensor:
            self.evidence_k |= where
        else:
            self.evidence |= where
        if not where.any():
            return
        told = self.get(f"told{end}")
        new = where & ((told & (1 << int(fault))) == 0)
        if not new.any():
            return
        worst = new & (told >> (int(fault) + 1) == 0)
        for name, x in (("value", value), ("sigmas", sigmas)):
            a = self.get(f"{name}{end}")
            self.set(f"{name}{end}", np.where(worst, x, a))
        age = self.get(f"age_bins{end}")
        self.set(f"age_bins{end}", np.where(worst, 0, age))
        self.set(f"told{end}", np.where(new, told | (1 << int(fault)), told))
        for n, c in zip(*new.nonzero(), strict=True):
            size, z = float(value[n, c]), float(np.broadcast_to(sigmas, new.shape)[n, c])
            words = text.format(size, z) if text else worded(fault, size, z)
            self.found.append(Finding(int(self.s.racks[n]), int(c), sensor, fault, size, z, words))

    # -- temperature ---------------------------------------------------------------------------------------------

    def warmth(self) -> None:
        """Jumps and standstill of sensors, and warmth that neither load nor sisters explain."""
        s, w, ok = self.s, self.w, self.s.sensors
        dev = rows(s.samples.sum_k, s.racks) / np.maximum(w["looks"], 1)[:, None]
        sharp = rows(s.samples.sharp_k, s.racks)
        before, bins = self.get("before_k"), w["bins"][:, None]
        jump, start, age = self.get("jump_k"), self.get("jump_from_k"), self.get("jump_bins_k").astype(int)
        age = np.where(jump != 0, age + 1, 0)
        # The bin of the jump itself is mixed; from the second one on it must stand.
        stays = np.abs(dev - start - jump) < 0.3 * np.abs(jump)
        jump = np.where((age > 0) & ~stays, 0.0, jump)
        sure = ok & (jump != 0) & (age >= JUMP_BINS_K) & (np.abs(jump) > JUMP_K)
        self.tell(sure, Fault.TEMPERATURE_SENSOR, jump, np.abs(jump) / 0.1, sensor=True)
        amount = dev - before
        lone = np.maximum(sharp, self.get("sharp_before_k"))
        fresh = ok & (jump == 0) & (bins >= 3) & (np.abs(amount) > JUMP_K) & (lone > 0.7 * np.abs(amount))
        self.doubt_k = (jump != 0) | fresh | (sharp > JUMP_K)
        jump = np.where(sure, 0.0, np.where(fresh, amount, jump))
        start = np.where(fresh, before, start)
        still = rows(s.samples.still_high_degc, s.racks) - rows(s.samples.still_low_degc, s.racks)
        self.tell(ok & (still > STILL_K) & (bins >= 6), Fault.STUCK_SENSOR, still, np.zeros_like(still), sensor=True)
        self.doubt_k |= still > 0.5 * STILL_K
        self._excess(dev, sure)
        self.dev_k = np.where(self.doubt_k, 0.0, dev - self.get("warmth_k"))
        for name, x in (
            ("jump_k", jump), ("jump_from_k", start), ("jump_bins_k", age), ("before_k", self.get("last_k")),
            ("last_k", dev), ("sharp_before_k", sharp),
        ):  # fmt: skip
            self.set(name, x)

    def _excess(self, dev: Floats, jumped: Bools) -> None:
        """What is left of a warmth after its mean and its share of the load; kept from learning while it is large."""
        w, ok = self.w, self.s.sensors
        n = np.minimum(w["bins"] + 1, round(1 / LOAD_FORGET))
        gain = (1.0 / n)[:, None]
        x = (w["load"] - w["load_mean"])[:, None]
        mean, cov, var = self.get("warmth_k"), self.get("warmth_load"), self.get("warmth_square")
        spread = w["load_square"][:, None]
        slope = np.where((n > 36)[:, None], cov / np.maximum(spread, 1e-9), 0.0) * (spread > 1e-7)
        left = dev - mean - slope * x
        left = left - median(left, ok)[:, None]
        excess = self.get("excess_k")
        excess = excess + 0.5 * (left - excess)
        sigma = self.sigma(WARMTH, left, ok, 0.03)
        own = np.sqrt(np.maximum(var, 0.0))
        sigma = np.maximum(sigma, np.minimum(own, 0.3))
        local = excess - beside(excess) > WARM_LOCAL * excess if excess.shape[1] >= 8 else np.ones_like(ok)
        limit = np.maximum(WARM_LEAST_K, WARM_SIGMAS * sigma)
        hot = ok & (excess > limit) & local & ~self.doubt_k & (w["bins"] >= 72)[:, None]
        held = np.where(hot, np.minimum(self.get("held_k"), 250) + 1, 0)
        self.hot, self.excess, self.hot_sigmas = held >= WARM_HELD, excess, excess / sigma
        learn = np.where(ok & ~self.doubt_k & (excess < 0.7 * limit), gain, 0.0)
        learn = np.where(jumped, 1.0, learn)
        self.set("warmth_k", mean + learn * (dev - mean))
        learn = np.where(jumped, 0.0, learn)
        self.set("warmth_load", cov + learn * ((dev - mean) * x - cov))
        self.set("warmth_square", var + learn * (left**2 - var))
        self.set("excess_k", np.where(jumped | self.doubt_k, 0.0, excess))
        self.set("held_k", held)
        w["load_mean"] += (w["load"] - w["load_mean"]) / n
        w["load_square"] += (x[:, 0] ** 2 - w["load_square"]) / n

    # -- voltage -------------------------------------------------------------------------------------------------

    def doubt(self) -> None:
        """Standstill and jumps of cell voltages; a voltage in doubt is left out of everything that follows."""
        s, ok = self.s, self.s.cells
        still = rows(s.samples.still_high_v, s.racks) - rows(s.samples.still_low_v, s.racks)
        held = self.held("still", ok & (still > STILL_V))
        stuck = held >= STILL_BINS
        self.tell(stuck, Fault.STUCK_SENSOR, still, np.zeros_like(still))
        charge = self.of("cell_shift_ratio")
        charge = charge - median(charge, ok)[:, None]
        jumped, by, sharp, probation = jumps.judge(s.bins, s.samples, self.w, s.racks, ok & ~stuck, charge)
        known = self.told(
            Fault.INTERNAL_SHORT, Fault.RUNAWAY, Fault.STUCK_SENSOR, Fault.LOW_CAPACITY, Fault.BUSBAR_STEP,
            Fault.RESISTANCE_GROWTH,
        )  # fmt: skip
        jumped &= np.abs(charge) < LEVEL_MOST
        self.tell(jumped & ~known, Fault.VOLTAGE_SENSOR, 1e3 * by, np.abs(by) / 0.001)
        abrupt = np.abs(sharp) > np.maximum(ABRUPT_V, ABRUPT_TIMES * median(np.abs(sharp), ok)[:, None])
        doubted = probation | (still > STILL_DOUBT_V) | abrupt | ~ok
        calm = np.where(doubted, 0, np.minimum(self.get("calm_bins"), 250) + 1)
        self.clear = ok & (calm > CALM_BINS) & ~stuck
        self.steady = ok & (calm > STEADY_BINS) & ~stuck
        # A connection that came loose makes every step of the current a lone step: that must not hide it.
        self.alive = ok & (still <= STILL_DOUBT_V)
        self.set("calm_bins", calm)

    def resistance(self) -> None:
        """Against the base that was learnt first: a step within hours is a connection, a slow rise the cell."""
        s, w = self.s, self.w
        fast, mid, long = (self._ohm(getattr(s.samples, f"drop_{n}"), w[f"moved_{n}"]) for n in ("fast", "mid", "long"))
        trusted = (w["moved_fast"] > MOVED_FAST * self.q**2)[:, None]
        calm = (w["moved_long"] > MOVED_LONG * self.q**2)[:, None]
        base = self.get("resistance_base")
        base = np.where((base == 0) & calm & (w["bins"] >= WARM_BINS)[:, None], long, base)
        # A cell that is fuller or emptier than its sisters bends elsewhere: that is no resistance.
        level = np.abs(self.of("cell_shift_ratio") - median(self.of("cell_shift_ratio"), s.cells)[:, None])
        has = (base != 0) & self.alive & (level < LEVEL_MOST)
        now, step, rise = fast - base, fast - mid, long - base
        now, step, rise = (x - median(x, has)[:, None] for x in (now, step, rise))
        sigma_now, sigma_step = self.sigma(NOW, now, has, 0.006), self.sigma(FAST, step, has, 0.004)
        sigma_rise = self.sigma(LONG, rise, has, 0.006)
        near = has & ~self.told(Fault.INTERNAL_SHORT, Fault.RUNAWAY, Fault.STUCK_SENSOR, Fault.LOW_CAPACITY)
        # What one step of the current showed must show again at the next.
        active = (w["moved_bin"] > ACTIVE * self.q**2)[:, None]
        # Where the current seldom moves the memories lie far apart: a slow rise parts them too, by so much.
        age = [w[f"aged_{n}"] / np.maximum(w[f"moved_{n}"], 1e-9) for n in ("fast", "mid")]
        slow = (GROWTH_MOST_PER_H * np.maximum(age[1] - age[0], 0.0))[:, None]
        peak = _attack(self.get("resistance_step"), np.where(near & trusted & (step > slow), step, 0.0))
        stepped = near & trusted & (now > np.maximum(STEP_LEAST, STEP_SIGMAS * sigma_now))
        stepped = self.held("step", stepped, active) >= STEP_BINS
        grown = near & calm & (rise > np.maximum(GROWTH_LEAST, GROWTH_SIGMAS * sigma_rise))
        grown = self.held("growth", grown, active) >= GROWTH_BINS
        sharp = (peak > STEP_SHARE * np.maximum(now, rise)) & (peak > np.maximum(PEAK_LEAST, PEAK_SIGMAS * sigma_step))
        new = ~self.told(Fault.RESISTANCE_GROWTH, Fault.BUSBAR_STEP)
        self.tell((stepped | grown) & new & sharp, Fault.BUSBAR_STEP, 100 * np.maximum(now, rise),
                  np.maximum(now / sigma_now, rise / sigma_rise))  # fmt: skip
        self.tell(grown & new & ~sharp, Fault.RESISTANCE_GROWTH, 100 * rise, rise / sigma_rise)
        self.evidence |= ~new & (rise > 0.5 * GROWTH_LEAST)
        self.risen = (has & (rise > np.maximum(0.8 * GROWTH_LEAST, 4 * sigma_rise))) | stepped | ~new
        # The longer the healthy resistance is known the better; a cell that leaves its sisters is not learnt from.
        learn = has & calm & (np.abs(rise) < LEARN_SIGMAS * sigma_rise) & (w["based"] < BASE_BINS)[:, None]
        self.set("resistance_base", base + np.where(learn, rise / (w["based"] + FIRST_BINS)[:, None], 0.0))
        w["based"] += learn.any(axis=1)
        self.set("resistance_step", peak)

    def _ohm(self, sums: NDArray[Any], squares: Floats) -> Floats:
        """Resistance over the median's, as a share of the nominal one and at the median's temperature."""
        x = rows(sums, self.s.racks) / np.maximum(squares, 1e-9)[:, None] / self.r0
        warmth = np.clip(self.dev_k, -WARMTH_MOST_K, WARMTH_MOST_K)[:, self.s.nearest]
        return np.asarray(x + ARRHENIUS_PER_K * warmth, np.float64)

    def losses(self) -> None:
        """Charge lost against the sisters, less what a smaller capacity explains, in two cumulative sums."""
        ok, warm = self.s.cells, self.warm & self.steady
        soc = self.e.string["x"][self.s.racks, 0][:, None]
        lack, swing = self.of("cell_lack_ratio"), 0.5 - soc
        charge = self.of("cell_shift_ratio") + lack * swing
        charge = charge - median(charge, ok)[:, None]
        p = self.of("cell_p_shift") + swing * (2 * self.of("cell_p_shift_lack") + swing * self.of("cell_p_lack"))
        doubt = np.sqrt(np.maximum(p, 0.0))
        gone = np.minimum(self.get("charge") - charge, GONE_MOST)
        self.set("charge", charge)
        may = ~self.told(Fault.RUNAWAY, Fault.STUCK_SENSOR)
        warm &= ~self.told(Fault.VOLTAGE_SENSOR)
        for name, which, allowed, least in (
            ("fast", LOSS_FAST, ALLOWED_FAST, LEAST_FAST), ("slow", LOSS_SLOW, ALLOWED_SLOW, LEAST_SLOW),
        ):  # fmt: skip
            g = np.where(warm, np.maximum(self.get(f"loss_{name}") + gone - allowed * BIN_H, 0.0), 0.0)
            since = np.where(g > 0, np.minimum(self.get(f"since_{name}").astype(int) + 1, 60_000), 0)
            over = g - median(g, warm)[:, None]
            sigma = self.sigma(which, over, warm, least / 10, tail=True)
            began = np.where(g > 0, self.get(f"sigma_{name}"), doubt)
            self.set(f"sigma_{name}", began)
            limit = np.maximum(np.maximum(least, LEAK_SIGMAS * sigma), LEAK_OWN_SIGMAS * began)
            leak = warm & may & (over > limit + LEAK_LACK * np.abs(lack))
            held = self.held(f"leak_{name}", leak)
            rate = g / np.maximum(since * BIN_H, BIN_H) + allowed
            short = rate > SHORT_PER_HOUR
            sure = held >= LEAK_BINS
            self.tell(sure & short, Fault.INTERNAL_SHORT, 100 * rate, over / sigma)
            self.tell(sure & ~short & ~self.told(Fault.INTERNAL_SHORT), Fault.SELF_DISCHARGE, 100 * rate, over / sigma)
            self.set(f"loss_{name}", g)
            self.set(f"since_{name}", since)
        self._shorts_by_heat(may)

    def _shorts_by_heat(self, may: Bools) -> None:
        """A cell that warms without reason, and whose resistance has not grown, has a short that grows."""
        hot = self.hot
        if not hot.any():
            return
        cells = np.zeros(self.s.cells.shape, bool)
        value, sigmas = np.zeros(cells.shape), np.zeros(cells.shape)
        loss = self.get("loss_fast")
        for n, k in zip(*hot.nonzero(), strict=True):
            seated = np.flatnonzero(self.s.nearest == k)
            c = int(seated[np.argmax(loss[n, seated])]) if seated.size else int(self.s.seat[k])
            near = slice(max(c - 3, 0), c + 4)
            beside_told = (self.get("told")[n, near] >> int(Fault.INTERNAL_SHORT)).any()
            if not self.risen[n, c] and (not beside_told or self.told(Fault.INTERNAL_SHORT)[n, c]):
                cells[n, c], value[n, c], sigmas[n, c] = True, self.excess[n, k], self.hot_sigmas[n, k]
        self.tell(cells & may, Fault.INTERNAL_SHORT, value, sigmas, WARM)

    def lack(self) -> None:
        """Capacity below the sisters', from what the knees showed over whole swings."""
        ok = self.warm & self.clear
        lack = self.of("cell_lack_ratio")
        lack = lack - median(lack, self.s.cells)[:, None]
        own = np.sqrt(self.of("cell_p_lack"))
        sigma = self.sigma(LACK, lack, self.s.cells, 0.002)
        low = ok & (lack > np.maximum(LACK_LEAST, LACK_SIGMAS * sigma)) & (lack > LACK_OWN_SIGMAS * own)
        sure = (self.held("lack", low) >= LACK_BINS) & ~self.told(
            Fault.INTERNAL_SHORT, Fault.SELF_DISCHARGE, Fault.RUNAWAY, Fault.STUCK_SENSOR
        )
        self.tell(sure, Fault.LOW_CAPACITY, 100 * lack, lack / sigma)

    # -- the end -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ages what was told, forgets what has had no evidence for a day, and begins the next bin."""
        s, w = self.s, self.w
        for end, evidence in (("", self.evidence), ("_k", self.evidence_k)):
            told = self.get(f"told{end}")
            quiet = np.where(evidence, 0, np.minimum(self.get(f"quiet{end}"), 250) + 1)
            gone = (quiet >= QUIET_BINS) & (told != 0)
            self.withdrawn += int(gone.sum())
            self.set(f"quiet{end}", quiet)
            self.set(f"told{end}", np.where(gone, 0, told))
            self.set(f"age_bins{end}", np.minimum(self.get(f"age_bins{end}").astype(int) + 1, 65_000))
        for name in ("sharp_k", "sum_k"):
            getattr(s.samples, name)[s.racks] = 0
        w["looks"], w["moved_bin"], w["bins"] = 0, 0.0, w["bins"] + 1


def _attack(peak: Floats, now: Floats) -> Floats:
    """The highest `now` of about a day, smoothed: noise of one bin does not make a peak."""
    peak = PEAK_KEEP * peak
    return np.asarray(np.where(now > peak, peak + PEAK_ATTACK * (now - peak), peak))
