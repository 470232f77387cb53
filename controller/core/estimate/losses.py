"""Charge that cells lose against their sisters: self-discharge and internal shorts, by charge or by heat."""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.core.estimate.faults import PLATING_LOSS, WARM
from controller.core.estimate.plating import Exposure
from controller.core.estimate.sisters import median
from controller.core.estimate.verdicts import BIN_H, HALF, LOSS_FAST, LOSS_SLOW, Verdicts
from controller.core.estimate.warm_sensors import Warm
from controller.core.image_warnings import Fault
from controller.core.signal import Bools

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


def judge(v: Verdicts, warm: Warm, steady: Bools, risen: Bools, exposed: Exposure | None) -> None:
    """Charge lost against the sisters, less what a smaller capacity explains, in two cumulative sums.

    exposed: cells charged too cold, in which a slow loss tells of plating.
    """
    ready = v.warm & steady
    lack, charge, swing = v.of("cell_lack_ratio"), v.at_half(), HALF - v.e.string["x"][v.s.racks, 0][:, None]
    p = v.of("cell_p_shift") + swing * (2 * v.of("cell_p_shift_lack") + swing * v.of("cell_p_lack"))
    doubt = np.sqrt(np.maximum(p, 0.0))
    gone = np.minimum(v.get("charge") - charge, GONE_MOST)
    v.set("charge", charge)
    may = ~v.told(Fault.RUNAWAY, Fault.STUCK_SENSOR)
    ready &= ~v.told(Fault.VOLTAGE_SENSOR)
    for name, which, allowed, least in (
        ("fast", LOSS_FAST, ALLOWED_FAST, LEAST_FAST), ("slow", LOSS_SLOW, ALLOWED_SLOW, LEAST_SLOW),
    ):  # fmt: skip
        g = np.where(ready, np.maximum(v.get(f"loss_{name}") + gone - allowed * BIN_H, 0.0), 0.0)
        since = np.where(g > 0, np.minimum(v.get(f"since_{name}").astype(int) + 1, 60_000), 0)
        over = g - median(g, ready)[:, None]
        sigma = v.sigma(which, over, ready, least / 10, tail=True)
        began = np.where(g > 0, v.get(f"sigma_{name}"), doubt)
        v.set(f"sigma_{name}", began)
        limit = np.maximum(np.maximum(least, LEAK_SIGMAS * sigma), LEAK_OWN_SIGMAS * began)
        leak = ready & may & (over > limit + LEAK_LACK * np.abs(lack))
        held = v.held(f"leak_{name}", leak)
        rate = g / np.maximum(since * BIN_H, BIN_H) + allowed
        short = rate > SHORT_PER_HOUR
        sure = held >= LEAK_BINS
        v.tell(sure & short, Fault.INTERNAL_SHORT, 100 * rate, over / sigma)
        slow = sure & ~short & ~v.told(Fault.INTERNAL_SHORT)
        if exposed is not None:
            plated = slow & exposed.explains(g, since)
            v.tell(plated, Fault.LITHIUM_PLATING, 100 * exposed.recent, over / sigma, PLATING_LOSS)
            slow &= ~plated
        v.tell(slow, Fault.SELF_DISCHARGE, 100 * rate, over / sigma)
        v.set(f"loss_{name}", g)
        v.set(f"since_{name}", since)
    _shorts_by_heat(v, warm, risen, may)


def _shorts_by_heat(v: Verdicts, warm: Warm, risen: Bools, may: Bools) -> None:
    """A cell that warms without reason, and whose resistance has not grown, has a short that grows."""
    if not warm.hot.any():
        return
    cells = np.zeros(v.s.cells.shape, bool)
    value, sigmas = np.zeros(cells.shape), np.zeros(cells.shape)
    loss = v.get("loss_fast")
    for n, k in zip(*warm.hot.nonzero(), strict=True):
        seated = np.flatnonzero(v.s.nearest == k)
        c = int(seated[np.argmax(loss[n, seated])]) if seated.size else int(v.s.seat[k])
        near = slice(max(c - 3, 0), c + 4)
        beside_told = (v.get("told")[n, near] >> int(Fault.INTERNAL_SHORT)).any()
        if not risen[n, c] and (not beside_told or v.told(Fault.INTERNAL_SHORT)[n, c]):
            cells[n, c], value[n, c], sigmas[n, c] = True, warm.excess_k[n, k], warm.sigmas[n, k]
    v.tell(cells & may, Fault.INTERNAL_SHORT, value, sigmas, WARM)
