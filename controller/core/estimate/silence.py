"""A current sensor that is silent: what its voltage tells of the current meanwhile, and how much is doubted after.

A voltage that is still there moves with the current: what the model was off before the silence it is off now, so the
rest is drop. Where the voltage is silent too nothing is known but how much usually flows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.estimate.cell_model import CellModel, Heat
from controller.core.signal import Floats

Strings = NDArray[Any]

BLIND_CURRENT_C: Final = 0.3
"""Error of the current that stands in for a silent sensor, as the filter takes it. Where more flowed before, the
published sigma says so; the filter does not believe the next voltage the more for it."""
TOLD_V, TOLD_SHARE, TOLD_MOST_C = 0.008, 0.2, 3.0
"""Error of a drop from which a current is told, in V and as a share of it; and the most it may tell."""


def told_current(
    model: CellModel, s: Strings, i: Floats, off_v: Floats, soc: Floats, slow: Floats, dt_s: float, heat: Heat
) -> tuple[Floats, Floats]:
    """The current in A that the median voltage tells of the last `dt_s`, for which `i` stood in, and its doubt.

    off_v: the voltage over the one expected with `i`; slow: factor on the slow branch. The doubt is a share of
    `BLIND_CURRENT_C`, 1 at most: on small resistances a voltage tells little of a current.
    """
    m, factor = model, s["fast_factor"]
    ohm = factor * (m.r0 * heat.r0 + m.r1 * heat.rc * (1 - np.exp(-dt_s / m.tau1_s)))
    ohm += slow * m.r2 * heat.rc * (1 - np.exp(-dt_s / m.tau2_s))
    ohm += m.slope(soc.clip(0.0, 1.0), 0.01) * (dt_s / 3600.0 / m.capacity_ah)
    most, blind = TOLD_MOST_C * m.capacity_ah, BLIND_CURRENT_C * m.capacity_ah
    told = (i - (off_v - s["amiss_v"]) / ohm).clip(-most, most)
    free = ohm * ohm * np.maximum(blind**2, s["load_square"])
    error = TOLD_V**2 + (TOLD_SHARE * ohm * told) ** 2
    trust = free / (free + error)
    return np.asarray(trust * told), np.minimum(np.sqrt(trust * error) / (ohm * blind), 1.0)


def unseen(model: CellModel, s: Strings) -> Floats:
    """Variance of the SOC by what flowed in the present silence, told by no voltage, beyond `BLIND_CURRENT_C`."""
    hours = (s["silent_ms"] + s["blind_ms"]) / 3.6e6
    beyond = np.maximum(s["load_square"] / model.capacity_ah**2 - BLIND_CURRENT_C**2, 0.0)
    return np.asarray(np.where(s["median_v"] > 0, 0.0, beyond * hours**2))


def doubt(model: CellModel, s: Strings, soc_variance: Floats, heat: Heat) -> tuple[Floats, Floats, Floats]:
    """What a silence adds to the variances of the SOC and of both RC voltages (V^2): an unknown current flowed on.

    The RC voltages hold what flowed last, the SOC the sum of it all: they are taken to err apart.
    """
    before, blind = s["silent_ms"] / 1000.0, s["blind_ms"] / 1000.0
    lost = BLIND_CURRENT_C * blind / 3600.0

    def branch(ohm: float, tau_s: float) -> Floats:
        then, now = 1.0 - np.exp(-before / tau_s), 1.0 - np.exp(-(before + blind) / tau_s)
        volts = BLIND_CURRENT_C * model.capacity_ah * ohm * heat.rc
        return np.asarray(volts**2 * (now**2 - (np.exp(-blind / tau_s) * then) ** 2))

    return (
        lost * (2.0 * np.sqrt(soc_variance) + lost), branch(model.r1, model.tau1_s), branch(model.r2, model.tau2_s)
    )  # fmt: skip
