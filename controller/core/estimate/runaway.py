"""The runaway rule, in every scan: a cell that heats by 1 K/s for 3 s while it is hot or its voltage has fallen.

GB 38031-2025 C.5.3.7: (voltage down by a quarter or above the maker's maximum) and 1 K/s or more for over 3 s.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.core.estimate.rows import rows
from controller.core.field_image import Points
from controller.core.frozen import replace
from controller.core.layout import tags_of
from controller.core.memory_watch import WatchSamples
from controller.core.signal import USABLE, Bools, Floats, Ints, some

RATE_K_PER_S, LASTS_MS, DROP, HOT_DEGC = 1.0, 3000, 0.25, 60.0
TRIGGER_K: Final = 0.6
"""Rise since the last look with which the clock starts: above noise and resolution of 2,500 sensors at once."""
AHEAD_K, BEHIND_K = 1.0, 0.3
"""How far a temperature may be ahead of the line that rises at the rate, so that a jump holds for a second and a slow
poll bridges one; and behind, for resolution."""
TOP_DEGC: Final = next(
    float(t.high) for t in tags_of(Points) if t.name == "cell_temperature_degc" and t.high is not None
)
"""Where a sensor ends: it shows no more of a rise."""


def follow(s: WatchSamples, points: Points, fitted: Bools, elapsed_ms: int) -> tuple[WatchSamples, Bools | None]:
    """The samples after this scan, and the sensors (rack, sensor) that heated long enough; None where nothing heats."""
    t, running = points.cell_temperature_degc, some(s.heating_ms)
    rise = t.value - s.seen_degc
    need = max(TRIGGER_K, RATE_K_PER_S * elapsed_ms / 1000.0)
    if not running and rise.max(initial=0.0) < need:
        return s, None
    known = (t.quality <= USABLE) & fitted.reshape(t.value.shape) & (s.known_degc == 1)
    if not running and not some(known & (rise >= need)):
        return s, None
    clock = s.heating_ms > 0
    step = np.where(known, t.value - s.scan_degc, 0.0)
    # A sensor at its end may go on rising: in slow rows its clock must outlast the voltage's fall.
    step = np.where(known & (t.value >= TOP_DEGC), np.maximum(step, RATE_K_PER_S * elapsed_ms / 1000.0), step)
    lead = np.where(clock, np.minimum(s.lead_k + step - RATE_K_PER_S * elapsed_ms / 1000.0, AHEAD_K), 0.0)
    begins = ~clock & known & (rise >= need)
    on = begins | (clock & (lead >= -BEHIND_K))
    heating = np.where(on, np.minimum(s.heating_ms + elapsed_ms, 10_000_000), 0).astype(np.int32)
    now = replace(
        s, heating_ms=heating, lead_k=lead.astype(np.float32),
        from_degc=np.where(begins, s.seen_degc, s.from_degc).astype(np.float32),
        scan_degc=np.where(known, t.value, s.scan_degc).astype(np.float32),
    )  # fmt: skip
    lasting = (heating >= LASTS_MS).reshape(len(heating), -1)
    return now, lasting if some(lasting) else None


def judge(s: WatchSamples, points: Points, r: Ints, cells: Bools, seat: Ints, elapsed_ms: int) -> tuple[Bools, Floats]:
    """Sensors of the racks `r` that run away, and K/s: long heated, and hot or over a cell whose voltage fell."""
    heating, t = rows(s.heating_ms, r), rows(points.cell_temperature_degc.value, r)
    v, ok = rows(points.cell_voltage_v.value, r), (rows(points.cell_voltage_v.quality, r) <= USABLE) & cells[r]
    middle = np.nanmedian(np.where(ok, v, np.nan), axis=1) if ok.any() else np.zeros(len(r))
    fallen = np.logical_or.reduceat(ok & (v < (1 - DROP) * middle[:, None]), seat, axis=1)
    # Heat alone needs two values that rose: a single step is a sensor that jumped, or that broke if it is at its end.
    rose = (t < TOP_DEGC) | (rows(s.lead_k, r) > 0)
    hot = (t > HOT_DEGC) & (heating > elapsed_ms) & rose
    rate = (t - rows(s.from_degc, r)) / np.maximum(heating / 1000.0, 1e-3)
    return (heating >= LASTS_MS) & (fallen | hot), rate
