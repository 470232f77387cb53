"""`screen`: the product's string and cell filters and its early warning over the log of one string."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from controller.core.estimate import Ekf
from controller.core.estimate.deviations import CALM_HALF_WIDTH, CALM_SLOPE_V, STUCK_STEPS
from controller.core.estimate.watch import Look, Watch
from controller.core.memory import EstimationMemory
from controller.core.signal import Floats
from controller.core.topology import Topology
from tools.score.bench import Rig, sheet_of

NOMINAL_SOC, NOMINAL_SIGMA = 0.5, 0.3
ARRHENIUS_K: Final = 2000.0
LONGEST_STEP_MS: Final = 3_600_000


def screen(
    time_s: Floats, current_a: Floats, voltage_v: Floats, temperature_c: Floats, sheet: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The onsets found in one string, in order of time: dicts of t_s, cell, fault, severity, evidence; causal.

    time_s, current_a (A, discharge positive): (K,); voltage_v (V): (K, cells); temperature_c: (K, sensors), sensors
    spread evenly over the cells. `sheet` as for `estimate`, its resistances at 25 degC.
    """
    voltage, warm = np.asarray(voltage_v, float), np.asarray(temperature_c, float)
    warm = warm.reshape(len(warm), -1)
    cells, sensors = voltage.shape[1], warm.shape[1]
    product = dataclasses.replace(sheet_of(sheet), r0_arrhenius_k=ARRHENIUS_K, rc_arrhenius_k=ARRHENIUS_K)
    rig = Rig(Topology.regular(1, 1, cells, sensors), product)
    rig.begin(np.array([NOMINAL_SOC]), NOMINAL_SIGMA)
    watch = Watch(cells, sensors)
    found: list[dict[str, Any]] = []
    before = float(time_s[0])
    middle = np.nanmedian(np.where(np.isfinite(warm), warm, 25.0), axis=1)
    for k, now in enumerate(np.asarray(time_s, float)):
        elapsed_ms = min(max(round((now - before) * 1000), 0), LONGEST_STEP_MS) if k else 1000
        before = float(now)
        memory = rig.step(np.asarray(current_a[k : k + 1], float), voltage[k][None, None, :], middle[k], elapsed_ms)
        look = look_at(memory, rig.estimator, voltage[k], warm[k])
        found += [dataclasses.asdict(f) for f in watch.look(before, look)]
    return found


def look_at(memory: EstimationMemory, estimator: Ekf, voltage_v: Floats, temperature_degc: Floats) -> Look:
    """What the filters of the first rack know now."""
    model, soc = estimator.model, memory.string["x"][0:1, 0]
    return Look(
        soc=float(soc[0]),
        shift=memory.cell_shift_ratio[0].ravel(),
        offset_v=memory.cell_offset_v[0].ravel().astype(float),
        lack=memory.cell_lack_ratio[0].ravel().astype(float),
        lack_sigma=np.sqrt(memory.cell_p_lack[0].ravel().astype(float)),
        resistance=memory.cell_resistance_shift_ohm[0].ravel().astype(float) / model.r0,
        stuck=memory.cell_stuck[0].ravel() >= STUCK_STEPS,
        calm=bool(model.slope(soc, CALM_HALF_WIDTH)[0] < CALM_SLOPE_V),
        voltage_v=voltage_v,
        temperature_degc=temperature_degc,
    )
