"""A current sensor that is silent: what its voltage tells of the current meanwhile, and how much is doubted after.

A voltage that is still there moves with the current: what the model was off before the silence it is off now, so the
rest is drop. Where the voltage is silent too nothing is known but how much usually flows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.estimate.cell_model import CellModel, Heat, Trust
from controller.core.estimate.coarse import EVEN_WIDTH
from controller.core.signal import Bools, Floats

Strings = NDArray[Any]

BLIND_CURRENT_C: Final = 0.3
"""Error of the current that stands in for a silent sensor, as the filter takes it. Where more flowed before, the
published sigma says so; the filter does not believe the next voltage the more for it."""
EVEN: Final = 3.0**-0.5
"""Standard deviation of what lies anywhere between plus and minus one."""
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
    share = np.minimum(np.sqrt(trust * error) / (ohm * blind), 1.0)
    # Changes are told, from what was known; a current that was never heard stays as unknown as it was.
    return np.asarray(trust * told), np.where(s["load_square"] > 0, share, 1.0)


def _blind_c(model: CellModel, s: Strings) -> Floats:
    """Error of a silent current in C; where none was ever heard it may be anything that the cell is rated for."""
    rated = EVEN * max(model.sheet.charge_current_a, model.sheet.discharge_current_a) / model.capacity_ah
    return np.where(s["load_square"] > 0, BLIND_CURRENT_C, max(rated, BLIND_CURRENT_C))


def unheard(model: CellModel, s: Strings, silent: Bools | bool, heat: Heat) -> tuple[Floats, Floats, Floats]:
    """Standard deviations in V of the drops over R0 and both branches where the current is `silent`, else 0."""
    amps = np.where(silent, np.sqrt(np.maximum(s["load_square"], (_blind_c(model, s) * model.capacity_ah) ** 2)), 0.0)
    return amps * model.r0 * heat.r0, amps * model.r1 * heat.rc, amps * model.r2 * heat.rc


def still_open(model: CellModel, trust: Trust, s: Strings, heat: Heat) -> Floats:
    """Share of a silence's doubt that may still be added to the SOC: none once it is all that a voltage leaves open.

    A current told by the voltage keeps the model on it. So the SOC lies off by no more than an unknown drop, the sensor
    and the table amount to over the slope, however long the silence lasts.
    """
    soc, variance = s["x"][:, 0].clip(0.0, 1.0), s["p"][:, 0, 0]
    sigma = np.sqrt(variance)
    volts = sum(unheard(model, s, True, heat)) ** 2 + trust.offset_v**2 + trust.lasting_v**2
    volts = volts + trust.table_v**2 + np.interp(soc, model.grid, model.doubt_v) ** 2
    volts = volts + model.coarse(soc, EVEN_WIDTH * sigma)
    slope = model.slope(soc, (0.7 * sigma).clip(0.005, 0.15))
    return np.asarray((1.0 - variance * slope**2 / volts).clip(0.0, 1.0))


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
    lost = _blind_c(model, s) * blind / 3600.0

    def branch(ohm: float, tau_s: float) -> Floats:
        then, now = 1.0 - np.exp(-before / tau_s), 1.0 - np.exp(-(before + blind) / tau_s)
        volts = _blind_c(model, s) * model.capacity_ah * ohm * heat.rc
        return np.asarray(volts**2 * (now**2 - (np.exp(-blind / tau_s) * then) ** 2))

    return (
        lost * (2.0 * np.sqrt(soc_variance) + lost), branch(model.r1, model.tau1_s), branch(model.r2, model.tau2_s)
    )  # fmt: skip
