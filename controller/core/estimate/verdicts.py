"""The book of a judgement: what is remembered per cell and sensor, how long it holds, and what is told of it."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.estimate.faults import WORSE, Finding, worded
from controller.core.estimate.rows import put, rows
from controller.core.estimate.sisters import median, scatter, upper
from controller.core.image_warnings import Fault
from controller.core.memory import EstimationMemory
from controller.core.memory_watch import WatchBins, WatchSamples
from controller.core.signal import Bools, Floats, Ints

BIN_MS: Final = 600_000
BIN_H: Final = BIN_MS / 3_600_000
WARM_BINS: Final = 144
"""Bins before drifts are judged: the filters first learn capacities and offsets from a day's swing."""
SLOW: Final = 1.0 / 144
FAST, LONG, LOSS_FAST, LOSS_SLOW, LACK, WARMTH, NOW, HALVES = range(8)
LEVEL_MOST: Final = 0.02
HALF: Final = 0.5
"""SOC at which a cell's charge over its sisters' is compared: what it lacks in capacity parts them by the swing."""
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


class Verdicts:
    """The book of one judgement: what is remembered, told, withdrawn; arrays are (racks, cells) or (racks, sensors)."""

    def __init__(self, s: Strings, e: EstimationMemory, r0: float, capacity_ah: float) -> None:
        self.s, self.e, self.r0, self.q = s, e, r0, capacity_ah
        self.found: list[Finding] = []
        self.withdrawn = 0
        self.w = s.rack
        self.warm = (self.w["bins"] >= WARM_BINS)[:, None] & s.cells
        self.evidence = np.zeros(s.cells.shape, bool)
        self.evidence_k = np.zeros(s.sensors.shape, bool)

    def get(self, name: str) -> NDArray[Any]:
        """What is remembered of the racks' cells or sensors."""
        return rows(getattr(self.s.bins, name), self.s.racks)

    def set(self, name: str, x: NDArray[Any]) -> None:
        """Remembers it."""
        put(getattr(self.s.bins, name), self.s.racks, x)

    def of(self, name: str) -> Floats:
        """What the estimator says of the racks' cells."""
        return rows(getattr(self.e, name), self.s.racks).astype(np.float64)

    def at_half(self) -> Floats:
        """The cells' charge over the median's (SOC), as it would be with the string at half charge."""
        swing = HALF - self.e.string["x"][self.s.racks, 0][:, None]
        charge = self.of("cell_shift_ratio") + self.of("cell_lack_ratio") * swing
        return np.asarray(charge - median(charge, self.s.cells)[:, None])

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

    def told(self, *faults: Fault, sensor: bool = False) -> Bools:
        """Cells, or temperature sensors, of which one of these was told."""
        bits = sum(1 << int(f) for f in faults)
        return np.asarray((self.get("told_k" if sensor else "told") & bits) != 0)

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
        new = where & ((told & (1 << int(fault))) == 0) & ~self._burning(sensor)
        if not new.any():
            return
        worst = new & ((told & WORSE[fault]) == 0)
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

    def _burning(self, sensor: bool) -> Bools:
        """Cells that run away, or the sensors that stand for them: what these show from then on is the fire."""
        cells = self.told(Fault.RUNAWAY)
        if not sensor:
            return cells
        hot = np.zeros(self.s.sensors.shape, bool)
        rack, cell = cells.nonzero()
        hot[rack, self.s.nearest[cell]] = True
        return hot

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
        for name in ("sharp_k", "sum_k", "count_k"):
            getattr(s.samples, name)[s.racks] = 0
        w["looks"], w["moved_bin"], w["bins"] = 0, 0.0, w["bins"] + 1
