"""`screen`: the product's string and cell filters and its early warning over the log of one string, or of many."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from controller.core.estimate.faults import SEVERITY, Finding
from controller.core.estimate.sisters import median
from controller.core.estimate.watch import Watch
from controller.core.layout import Layout
from controller.core.memory_watch import WatchMemory
from controller.core.signal import Floats, Quality
from controller.core.topology import Topology
from tools.score.bench import RANGE, UNTOLD_SIGMA, UNTOLD_SOC, Rig, shaped, sheet_of

ARRHENIUS_K: Final = 2000.0
FIRST_STEP_MS, LONGEST_STEP_MS = 1_000, 3_600_000


class Screen:
    """Strings of one cell type side by side: every row of their logs goes to the estimator, then to the watch."""

    def __init__(self, strings: int, cells: int, sensors: int, sheet: Mapping[str, Any]) -> None:
        product = dataclasses.replace(sheet_of(sheet), r0_arrhenius_k=ARRHENIUS_K, rc_arrhenius_k=ARRHENIUS_K)
        topology = Topology.regular(strings, 1, cells, sensors)
        self.rig = Rig(topology, product)
        self.rig.begin(np.full(strings, UNTOLD_SOC), UNTOLD_SIGMA)
        self.watch = Watch(topology, product, spread=False)
        self.memory = Layout(WatchMemory, {**topology.dims, "bus": 1, "slot": 1}).blank()
        self.middle = np.full(strings, 25.0)
        self.before_s: float | None = None
        self.known: set[tuple[int, int, bool, int]] = set()

    def row(self, t_s: float, current_a: Floats, voltage_v: Floats, warm_degc: Floats) -> list[Finding]:
        """One row: current (strings,), voltage (strings, cells), temperature (strings, sensors); the new onsets."""
        # Whole milliseconds as the controller counts them, which must not drift from the log's clock.
        passed_ms = FIRST_STEP_MS if self.before_s is None else round(t_s * 1000) - round(self.before_s * 1000)
        elapsed_ms = min(max(passed_ms, 0), LONGEST_STEP_MS)
        self.before_s = t_s
        low, high = RANGE["cell_temperature_degc"]
        # A sensor beyond its range is saturated, not silent: in a log of slow steps that may be all that is left.
        warm_degc = np.minimum(warm_degc, high)
        good = warm_degc >= low
        some = good.any(axis=1)
        if some.any():
            self.middle[some] = median(warm_degc, good)[some]
        warm = self.rig.points.cell_temperature_degc
        warm.value[:, 0, :] = np.where(good, warm_degc, 0.0)
        warm.quality[:, 0, :] = np.where(good, int(Quality.GOOD), int(Quality.BAD_SENSOR))
        estimation = self.rig.step(current_a, voltage_v[:, None, :], self.middle, elapsed_ms)
        self.memory, found = self.watch.step(self.memory, self.rig.points, estimation, elapsed_ms)
        new = []
        for f in found:
            key = (f.rack, f.element, f.sensor, int(f.fault))
            if key not in self.known:
                self.known.add(key)
                new.append(f)
        return new


def screen(
    time_s: ArrayLike, current_a: ArrayLike, voltage_v: ArrayLike, temperature_c: ArrayLike, sheet: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The onsets found in one string, in order of time: dicts of t_s, cell, fault, severity, evidence; causal.

    time_s, current_a (A, discharge positive): (K,); voltage_v (V): (K, cells); temperature_c: (K, sensors), sensors
    spread evenly over the cells. `sheet` as for `estimate`, its resistances at 25 degC. `cell` counts from 0; for a
    temperature sensor it is the sensor's index. ValueError where shapes do not belong together.
    """
    voltage, warm, current = (np.asarray(a, float) for a in (voltage_v, temperature_c, current_a))
    warm = warm[:, None] if warm.ndim == 1 else warm
    (rows,) = shaped("time_s", np.asarray(time_s, float), None)
    shaped("current_a", current, rows)
    shaped("voltage_v", voltage, rows, None)
    shaped("temperature_c", warm, rows, None)
    work = Screen(1, voltage.shape[1], warm.shape[1], sheet)
    found: list[dict[str, Any]] = []
    for k, now in enumerate(np.asarray(time_s, float)):
        if not np.isfinite(now):
            continue  # What has no time is no row.
        here = slice(k, k + 1)
        found += [told(float(now), f) for f in work.row(float(now), current[here], voltage[here], warm[here])]
    return found


def told(t_s: float, f: Finding) -> dict[str, Any]:
    """A finding as `screen` gives it."""
    name = f.fault.name.lower()
    return {"t_s": t_s, "cell": f.element, "fault": name, "severity": SEVERITY[f.fault], "evidence": f.text}
