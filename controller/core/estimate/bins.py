"""The judgement of ten minutes: what each cell lost, warmed and resisted more than its sisters, and what to call it.

Scatter is the larger of the MAD over the sisters now and its own slow mean. Sensor faults are jumps that stay, cell
faults are drifts; a voltage that is in doubt says nothing of the cell behind it.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from controller.core.estimate import colder, halves, jumps, losses, plating, resistances, warm_sensors
from controller.core.estimate.faults import Finding
from controller.core.estimate.rows import rows
from controller.core.estimate.sisters import median
from controller.core.estimate.verdicts import LACK, LEVEL_MOST, Strings, Verdicts
from controller.core.image_warnings import Fault
from controller.core.memory import EstimationMemory
from controller.core.signal import Bools

LACK_LEAST, LACK_SIGMAS, LACK_OWN_SIGMAS, LACK_BINS = 0.035, 4.5, 5.0, 36
LACK_CHARGE: Final = 0.5
"""Share of a cell's charge over its sisters' that may pass for lacking capacity: a knee that only the fullest cell
reaches is judged by the table alone, which may be wrong there."""
STILL_DOUBT_V, STILL_V, STILL_BINS = 0.006, 0.012, 2
CALM_BINS, STEADY_BINS = 6, 24
"""Bins after a doubt until resistances, and until charges are believed again: the filters must have settled."""
ABRUPT_V, ABRUPT_TIMES = 0.007, 2.5
"""A lone step that is no noise of the inputs puts the charge in doubt, whatever became of it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Trust:
    """Cells whose voltage has long been beyond doubt: for resistances, for charges; and those whose voltage moves."""

    clear: Bools
    steady: Bools
    alive: Bools


def judge(s: Strings, e: EstimationMemory, r0: float, capacity_ah: float) -> tuple[list[Finding], int]:
    """Closes the bin of the racks in `s`, in place; the onsets found, and how many warnings were withdrawn."""
    v = Verdicts(s, e, r0, capacity_ah)
    warm = warm_sensors.judge(v)
    colder.follow(v, warm)
    paired = halves.close(v, warm)
    trust = _trust(v)
    risen = resistances.judge(v, warm, trust.alive, paired)
    exposed = plating.exposure(v)
    losses.judge(v, warm, trust.steady, risen, exposed)
    _lack(v, trust.clear, plating.judge(v, exposed, trust.clear))
    v.close()
    return v.found, v.withdrawn


def _trust(v: Verdicts) -> Trust:
    """Standstill and jumps of cell voltages; a voltage in doubt is left out of everything that follows."""
    s, ok = v.s, v.s.cells
    still = rows(s.samples.still_high_v, s.racks) - rows(s.samples.still_low_v, s.racks)
    held = v.held("still", ok & (still > STILL_V))
    stuck = held >= STILL_BINS
    v.tell(stuck, Fault.STUCK_SENSOR, still, np.zeros_like(still))
    charge = v.of("cell_shift_ratio")
    charge = charge - median(charge, ok)[:, None]
    apart_ohm = v.r0 * v.get("apart")
    jumped, by, sharp, probation = jumps.judge(s.bins, s.samples, v.w, s.racks, ok & ~stuck, v.at_half(), apart_ohm)
    known = v.told(
        Fault.INTERNAL_SHORT, Fault.RUNAWAY, Fault.STUCK_SENSOR, Fault.LOW_CAPACITY, Fault.BUSBAR_STEP,
        Fault.RESISTANCE_GROWTH, Fault.LITHIUM_PLATING,
    )  # fmt: skip
    jumped &= np.abs(charge) < LEVEL_MOST
    v.tell(jumped & ~known, Fault.VOLTAGE_SENSOR, 1e3 * by, np.abs(by) / 0.001)
    abrupt = np.abs(sharp) > np.maximum(ABRUPT_V, ABRUPT_TIMES * median(np.abs(sharp), ok)[:, None])
    doubted = probation | (still > STILL_DOUBT_V) | abrupt | ~ok
    calm = np.where(doubted, 0, np.minimum(v.get("calm_bins"), 250) + 1)
    v.set("calm_bins", calm)
    sound = ok & ~stuck
    # A connection that came loose makes every step of the current a lone step: that must not hide it.
    return Trust(sound & (calm > CALM_BINS), sound & (calm > STEADY_BINS), ok & (still <= STILL_DOUBT_V))


def _lack(v: Verdicts, clear: Bools, plated: Bools) -> None:
    """Capacity below the sisters', from what the knees showed over whole swings, but for what plating explains."""
    ok = v.warm & clear
    lack = v.of("cell_lack_ratio")
    lack = lack - median(lack, v.s.cells)[:, None]
    own = np.sqrt(v.of("cell_p_lack"))
    charge = v.at_half()
    sigma = v.sigma(LACK, lack, v.s.cells, 0.002)
    least = np.maximum(LACK_LEAST, LACK_SIGMAS * sigma) + LACK_CHARGE * np.abs(charge)
    # A weak cell comes to the ends before its sisters, and steps there alone: a doubt is no evidence against it.
    low = ok & (lack > least) & (lack > LACK_OWN_SIGMAS * own)
    sure = (
        (v.held("lack", low, clear) >= LACK_BINS)
        & ~plated
        & ~v.told(Fault.INTERNAL_SHORT, Fault.SELF_DISCHARGE, Fault.RUNAWAY, Fault.STUCK_SENSOR)
    )
    v.tell(sure, Fault.LOW_CAPACITY, 100 * lack, lack / sigma)
