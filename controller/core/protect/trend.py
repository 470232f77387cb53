"""What changes, and what does not although it should: kept from scan to scan for the rows that look at rates.

Work on every cell has its own cadence, so that a scan stays short. Nothing here acts; rows judge what it shows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.frozen import replace
from controller.core.image_warnings import Fault, Warnings
from controller.core.memory import TrendMemory
from controller.core.protect.contactors import precharge_commanded, told_ms
from controller.core.protect.flow import closed, expected_current, oldest_ms, worst_current
from controller.core.protect.live import commanded_open, swing
from controller.core.protect.look import Facts
from controller.core.protect.told import tell
from controller.core.signal import USABLE, Bools, some

TEMPERATURE_WINDOW_MS: Final = 800
RISE_K_PER_S: Final = 0.5
"""Half of what a cell in runaway shows on its surface (1 K/s), many times what any current of a sound cell gives."""
UNKNOWN_DEGC: Final = 1000.0
"""Stands for a temperature that was not usable: nothing can have risen from it."""
CELLS_MS: Final = 1000
STILL_V: Final = 0.0005
"""A value within this of the last one has not moved: below the resolution of any cell monitor that moves at all."""
STUCK_RATIO: Final = 0.2
"""Of 1C: a current that moved by so much must show in every cell."""
BLIND_V: Final = 0.02
"""Twice the step of the coarsest cell monitors (10 mV): where most of a module moved by so much, every value moved."""
NOISE_SHARE: Final = 0.4
NOISE_MOST_V: Final = 0.1
"""A jump counts for no more: one step or one spike is not noise, whatever its size."""
NOISY_V, NOISY_CLEAR_V = 0.05, 0.025
"""Noise is a matter of chance: without a lower end of its own the alarm would come and go about once a minute."""
COOLING_WINDOW_MS: Final = 60_000
COOLING_RISE_K: Final = 0.5
MOST_HEAT: Final = 2.0
EMPTY: Final = 0.1
"""Of the way from where precharge began to the rack's voltage: below it a link has not begun to fill."""
ECHO_WINDOW: Final = 50
"""A heartbeat echo is ours when it is one of so many last scans: what lies on the wire and in slow polling."""
FOREIGN_MS: Final = 2000


def follow(memory: TrendMemory, facts: Facts) -> TrendMemory:
    """The trends with this scan's data in them."""
    elapsed = facts.system.elapsed_ms
    return replace(
        memory,
        **_temperatures(memory, facts, elapsed),
        **_cells(memory, facts, elapsed),
        **_heat(memory, facts, elapsed),
        **_currents(memory, facts, elapsed),
        **_last_currents(memory, facts),
        **_contactors(memory, facts, elapsed),
        **_echo(memory, facts, elapsed),
        **tell(memory, facts, elapsed),
        **_cooling(memory, facts, elapsed),
        **swing(memory, facts, elapsed),
        utc_ms=facts.system.utc_ms,
    )


def _temperatures(m: TrendMemory, f: Facts, elapsed_ms: int) -> dict[str, Any]:
    """A rise counts when both of two windows rose: a sensor that jumps rises in one only."""
    age = m.window_ms + elapsed_ms
    if age < TEMPERATURE_WINDOW_MS:
        return {"window_ms": age}
    t = f.measured.points.cell_temperature_degc
    usable = t.quality <= USABLE
    step = RISE_K_PER_S * age / 1000.0
    rising = usable & (t.value - m.sensor_degc >= step) & (m.sensor_degc - m.sensor_before_degc >= step)
    return {
        "window_ms": 0,
        "module_rising": np.asarray(rising.any(axis=2)),
        "sensor_degc": np.where(usable, t.value, UNKNOWN_DEGC).astype(np.float32),
        "sensor_before_degc": m.sensor_degc,
    }


def _cells(m: TrendMemory, f: Facts, elapsed_ms: int) -> dict[str, Any]:
    """Once a second: which cells stand still while the current moves, and which jump while their module does not.

    Every sound cell answers a step of current at once by its resistance, on the flattest plateau too.
    """
    age = m.cells_ms + elapsed_ms
    if age < CELLS_MS:
        return {"cells_ms": age}
    v, i = f.measured.points.cell_voltage_v, f.measured.points.rack_current_a
    usable = v.quality <= USABLE
    mean = f.measured.extremes.module_cell_voltage_mean_v.value.astype(np.float32)
    step = v.value - m.cell_seen_v
    still = usable & (np.abs(step) <= STILL_V)
    amps = np.where(i.quality <= USABLE, i.value, m.seen_current_a).astype(np.float32)[:, None, None]
    low = np.where(still, np.minimum(m.cell_still_low_a, amps), amps)
    high = np.where(still, np.maximum(m.cell_still_high_a, amps), amps)
    # The median: one cell that jumps or is not heard moves the mean past all the others.
    around = np.median(np.where(usable, v.value, mean[..., None]), axis=2, keepdims=True).astype(np.float32)
    least = np.where(still, np.minimum(m.cell_still_low_v, around), around)
    most = np.where(still, np.maximum(m.cell_still_high_v, around), around)
    against = np.minimum(np.abs(step - (mean - m.module_mean_v)[..., None]), NOISE_MOST_V)
    known = usable & (m.cell_seen_v > 0.0)
    jitter = np.where(known, m.cell_jitter_v + NOISE_SHARE * (against - m.cell_jitter_v), 0.0)
    worst = jitter.max(axis=2)
    return {
        "cells_ms": 0,
        "cell_seen_v": np.where(still, m.cell_seen_v, np.where(usable, v.value, 0.0)).astype(np.float32),
        "module_mean_v": mean,
        "cell_still_low_a": low,
        "cell_still_high_a": high,
        "cell_still_low_v": least,
        "cell_still_high_v": most,
        "cell_jitter_v": jitter.astype(np.float32),
        "module_stuck": np.asarray((still & (high - low > STUCK_RATIO * f.limit.rack_1c_a)).any(axis=2)),
        "module_blind_cells": (still & (most - least > BLIND_V)).sum(axis=2),
        "module_noisy": np.asarray((worst > NOISY_V) | (m.module_noisy & (worst > NOISY_CLEAR_V))),
    }


def _heat(m: TrendMemory, f: Facts, elapsed_ms: int) -> dict[str, Any]:
    """I2t: 1 when a current just below the trip has flowed for as long as the cells endure it.

    Grows with the square of the current above the recommended limit, falls with the square below it.
    """
    limit, p = f.limit, f.measured.points
    current, known = worst_current(f)
    heard = (p.rack_current_a.quality <= USABLE) | (p.rack_current_redundant_a.quality <= USABLE)
    parts = {}
    for name, amps, band in (
        ("charge_heat_ratio", current[0], limit.charge_overcurrent),
        ("discharge_heat_ratio", current[1], limit.discharge_overcurrent),
    ):
        whole = max(band.trip**2 - band.warn**2, 1e-6) * max(band.endure_ms, 1)
        grown = getattr(m, name) + (np.maximum(amps, 0.0) ** 2 - band.warn**2) * elapsed_ms / whole
        # What nobody hears may go on as it was, but has not ended.
        least = np.where(heard, 0.0, getattr(m, name))
        parts[name] = np.where(known, grown.clip(least, MOST_HEAT), getattr(m, name))
    return parts


def _currents(m: TrendMemory, f: Facts, elapsed_ms: int) -> dict[str, Any]:
    """How far the PCS moved while a rack's current sensor showed exactly the same."""
    i = f.measured.points.rack_current_a
    share, known = expected_current(f)
    same = known & (i.quality <= USABLE) & (i.value == m.seen_current_a)
    still_ms = np.where(same, m.seen_current_ms + elapsed_ms, 0)
    # What the PCS did before the current came to rest may be seen only afterwards.
    still = same & (oldest_ms(f)[1][f.topology.rack_bank] <= still_ms)
    return {
        "seen_current_a": np.where(i.quality <= USABLE, i.value, 0.0),
        "seen_current_ms": still_ms,
        "share_low_a": np.where(still, np.minimum(m.share_low_a, share), share),
        "share_high_a": np.where(still, np.maximum(m.share_high_a, share), share),
    }


def _last_currents(m: TrendMemory, f: Facts) -> dict[str, Any]:
    """What each current sensor said last. A rack that is told to open carries nothing, whatever that was."""
    p, told_open = f.measured.points, commanded_open(f)
    kept = (("last_current_a", p.rack_current_a), ("last_redundant_current_a", p.rack_current_redundant_a))
    return {
        name: np.where(told_open, 0.0, np.where(s.quality <= USABLE, s.value, getattr(m, name))) for name, s in kept
    }


def _contactors(m: TrendMemory, f: Facts, elapsed_ms: int) -> dict[str, Any]:
    """Since when each contactor has its command, from which link voltage precharge began, and for how long the link
    may have been filling.

    It fills neither before the command nor while a value shows it empty, however late contactor and values are.
    """
    p, main, told = f.measured.points, f.outputs.rack_main_close, precharge_commanded(f)
    rack, link, precharge = p.rack_voltage_v, p.rack_link_voltage_v, p.rack_precharge_closed
    alone = f.outputs.rack_precharge_close & ~main
    rise = np.where(alone, m.link_rise_ms + elapsed_ms, 0)
    if some(alone):
        empty = (link.quality <= USABLE) & (link.value - m.link_start_v <= EMPTY * (rack.value - m.link_start_v))
        rise = np.where(empty, np.minimum(rise, f.system.now_ms - link.time_ms), rise)
    return {
        "precharge_ms": np.where(alone, m.precharge_ms + elapsed_ms, 0),
        "link_rise_ms": rise,
        "link_start_v": np.where(alone, m.link_start_v, link.value),
        "main_followed": main & (m.main_followed | closed(f)),
        "main_told": main,
        "main_told_ms": told_ms(f, main, m.main_told, m.main_told_ms, p.rack_main_closed, elapsed_ms),
        "precharge_told": told,
        "precharge_told_ms": told_ms(f, told, m.precharge_told, m.precharge_told_ms, precharge, elapsed_ms),
    }


def _echo(m: TrendMemory, f: Facts, elapsed_ms: int) -> dict[str, Any]:
    """Whether the rack controller hears our heartbeat, and only ours."""
    echo, modulo = f.measured.points.rack_heartbeat_echo, f.limit.heartbeat_modulo
    heard = echo.quality <= USABLE
    # Before the first echo nothing has moved: what a rack still holds from before a silence, or an earlier run, is
    # nobody's heartbeat. Nor is the 0 of one that has just started.
    moved = heard & (echo.value != m.echo) & (m.echo != 0)
    foreign = np.zeros(len(moved), bool)
    if modulo > ECHO_WINDOW:
        foreign = moved & (echo.value != 0) & ((f.system.scan - echo.value) % modulo > ECHO_WINDOW)
    return {
        "echo": np.where(heard, echo.value, 0.0),
        "echo_still_ms": np.where(moved | ~heard | (m.echo == 0), 0, m.echo_still_ms + elapsed_ms),
        "echo_foreign_ms": np.where(foreign, FOREIGN_MS, np.maximum(m.echo_foreign_ms - elapsed_ms, 0)),
    }


def _cooling(m: TrendMemory, f: Facts, elapsed_ms: int) -> dict[str, Any]:
    """Once a minute: whether the hottest sensor rose although cooling was asked for all the time."""
    hottest = f.measured.extremes.temperature_max_degc
    if not f.outputs.cooling_on or int(hottest.quality) > USABLE:
        return {"hottest_ms": 0, "cooling_vain": 0, "hottest_degc": UNKNOWN_DEGC}
    age, value = m.hottest_ms + elapsed_ms, float(hottest.value)
    if age < COOLING_WINDOW_MS:
        return {"hottest_ms": age, "hottest_degc": value if m.hottest_degc >= UNKNOWN_DEGC else m.hottest_degc}
    return {"hottest_ms": 0, "hottest_degc": value, "cooling_vain": int(value - m.hottest_degc >= COOLING_RISE_K)}


def standing_still(m: TrendMemory, w: Warnings) -> tuple[Bools, Bools]:
    """Modules in which a cell voltage, or a temperature, stands still as protection or early warning sees it."""
    cells, sensors = m.module_stuck | (m.module_blind_cells > 0), np.zeros_like(m.module_stuck)
    if some(w.rack_warning):
        cells = cells | (w.cell_warning == Fault.STUCK_SENSOR).any(axis=2)
        sensors = (w.temperature_warning == Fault.STUCK_SENSOR).any(axis=2)
    return np.asarray(cells), np.asarray(sensors)
