"""Causes that no single value shows: rates, what was commanded and did not come, and witnesses that disagree."""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.core.image import RackMode
from controller.core.protect.flow import WITNESS_RATIO, closed, expected_current, rack_magnitudes, seen_open
from controller.core.protect.live import commanded_open
from controller.core.protect.look import Facts, Reading, once
from controller.core.protect.trend import EMPTY
from controller.core.signal import USABLE, Bools, Floats, Quality, among, lost, some, usable
from controller.core.topology import Topology

WIRE_LOW, WIRE_HIGH = 0.4, 1.6
"""An open sense wire between two cells lets one read next to nothing and the other the sum of both."""
REDUNDANT_RATIO, REDUNDANT_FLOOR = 0.05, 0.01
LEAST_SHARE: Final = 0.1
"""Of 1C: below it nothing is said about sign or presence of a current."""
NO_CURRENT_RATIO: Final = 0.2
OFFSET_RATIO: Final = 0.01
NO_FLOW_RATIO: Final = 0.05
CONTACT_DROP_RATIO: Final = 0.1
"""A closed contactor has no voltage across it; 10 % is beyond what two dividers may differ."""
LINK_RATIO: Final = 0.05
LINK_FLOOR_V: Final = 5.0
PRECHARGE_FULL: Final = 0.9
PRECHARGE_PATIENCE_MS: Final = 1500
ECHO_STILL_MS: Final = 1000
SUM_TOLERANCE: Final = 0.03
OPEN_RACK_CURRENT_A: Final = 5.0
SOC_DIFFERENCE: Final = 0.15
BMS_LIMIT_RATIO: Final = 1.1
JUMP_MS: Final = 1000


# -- quantities ------------------------------------------------------------------------------------------------


def charge_heat(f: Facts) -> Reading:
    """I2t used up by charging, of what the cells endure."""
    return Reading(f.trend.charge_heat_ratio, f.topology.every_rack)


def discharge_heat(f: Facts) -> Reading:
    """I2t used up by discharging, of what the cells endure."""
    return Reading(f.trend.discharge_heat_ratio, f.topology.every_rack)


def rack_mean_cell_voltage(f: Facts) -> Reading:
    """Rack voltage over its number of cells in series: a witness beside the cell monitors."""
    v, cells = f.measured.points.rack_voltage_v, f.topology.rack_cells
    return Reading(v.value / np.maximum(cells, 1), usable(v) & (cells > 0))


def cell_voltage_spread(f: Facts) -> Reading:
    """Highest less lowest cell voltage of each rack."""
    e = f.measured.extremes
    high, low = e.rack_cell_voltage_max_v, e.rack_cell_voltage_min_v
    return Reading(high.value - low.value, usable(high) & usable(low))


def temperature_spread(f: Facts) -> Reading:
    """Hottest less coldest sensor of each rack."""
    e = f.measured.extremes
    high, low = e.rack_temperature_max_degc, e.rack_temperature_min_degc
    return Reading(high.value - low.value, usable(high) & usable(low))


# -- cells and modules -----------------------------------------------------------------------------------------


def sense_wire_open(f: Facts) -> Bools:
    """A cell reads next to nothing and its neighbour about twice its module's mean."""
    v = f.measured.points.cell_voltage_v
    shown = v.quality <= int(Quality.BAD_RANGE)
    if not some(shown & (v.value < WIRE_LOW * f.measured.extremes.module_cell_voltage_mean_v.value[..., None])):
        return np.zeros(v.value.shape[:2], bool)
    count = np.maximum(shown.sum(axis=2, keepdims=True), 1)
    mean = np.where(shown, v.value, 0.0).sum(axis=2, keepdims=True) / count
    low, high = shown & (v.value < WIRE_LOW * mean), shown & (v.value > WIRE_HIGH * mean)
    pairs = (low[..., :-1] & high[..., 1:]) | (high[..., :-1] & low[..., 1:])
    return np.asarray(pairs.any(axis=2))


def cell_voltage_stuck(f: Facts) -> Bools:
    """A cell voltage stands still although the rack's current moved."""
    return f.trend.module_stuck


def cell_unwitnessed(f: Facts) -> Bools:
    """A cell voltage stands still although those around it moved: nobody sees what the cell does."""
    return np.asarray(f.trend.module_blind_cells > 0)


def cell_voltage_noisy(f: Facts) -> Bools:
    """A cell voltage jumps from sample to sample while its module does not."""
    return f.trend.module_noisy


def temperature_rises_fast(f: Facts) -> Bools:
    """A temperature of the module rises by 0.5 K/s or more, and goes on rising."""
    return f.trend.module_rising


def temperature_sensor_lost(f: Facts) -> Bools:
    """A temperature sensor of the module is not usable, though others are."""
    t = f.measured.points.cell_temperature_degc
    usable = t.quality <= USABLE
    return np.asarray((f.topology.temperature_fitted & ~usable).any(axis=2) & usable.any(axis=2))


def bleed_switch_stuck(f: Facts) -> Bools:
    """The monitor reads back more bleed switches on than were commanded."""
    s = f.measured.points.module_bleeding_cells
    return np.asarray(usable(s) & (s.value > f.outputs.cell_bleed_on.sum(axis=2)))


# -- racks -----------------------------------------------------------------------------------------------------


def several_cells_unwitnessed(f: Facts) -> Bools:
    """Two cell voltages of the rack, or more, stand still although those around them moved."""
    return np.asarray(f.trend.module_blind_cells.sum(axis=1) > 1)


def current_on_open_rack(f: Facts) -> Bools:
    """Current through a rack whose contactors are commanded open."""
    i = f.measured.points.rack_current_a
    return np.asarray(commanded_open(f) & (i.quality <= USABLE) & (np.abs(i.value) > OPEN_RACK_CURRENT_A))


def sum_of_cells_differs(f: Facts) -> Bools:
    """Rack voltage and sum of cell voltages disagree by more than 3 %.

    Modules that report only extremes bound the sum: all cells as low as the lowest, all as high as the highest.
    """
    p, t = f.measured.points, f.topology
    fitted, rack_v = t.cell_fitted, p.rack_voltage_v.value
    complete = ((p.cell_voltage_v.quality <= USABLE) | ~fitted).all(axis=(1, 2)) & (p.rack_voltage_v.quality <= USABLE)
    if not some(t.extremes_only):
        cell_v = p.cell_voltage_v.value if t.all_cells_fitted else np.where(fitted, p.cell_voltage_v.value, 0.0)
        total = cell_v.sum(axis=(1, 2), dtype=np.float64)
        return np.asarray(complete & (np.abs(total - rack_v) > SUM_TOLERANCE * np.maximum(total, 1.0)))
    least, most = _sum_bounds(t, np.asarray(p.cell_voltage_v.value, np.float64))
    low = rack_v < least - SUM_TOLERANCE * np.maximum(least, 1.0)
    return np.asarray(complete & (low | (rack_v > most + SUM_TOLERANCE * np.maximum(most, 1.0))))


def _sum_bounds(t: Topology, cell_v: Floats) -> tuple[Floats, Floats]:
    """Least and largest sum of cell voltages of each rack that the reported values allow."""
    total = np.where(t.cell_fitted, cell_v, 0.0).sum(axis=2)
    low = np.where(t.cell_fitted, cell_v, np.inf).min(axis=2)
    high = np.where(t.cell_fitted, cell_v, -np.inf).max(axis=2)
    extremes = (np.where(t.module_fitted, v, 0.0) for v in (low, high))
    least, most = (np.where(t.extremes_only, t.series_cells * v, total).sum(axis=1) for v in extremes)
    return np.asarray(least), np.asarray(most)


def rack_currents_differ(f: Facts) -> Bools:
    """The two current sensors of the rack disagree by more than 5 %."""
    a, b = f.measured.points.rack_current_a, f.measured.points.rack_current_redundant_a
    most = REDUNDANT_RATIO * np.maximum(np.abs(a.value), np.abs(b.value)) + REDUNDANT_FLOOR * f.limit.rack_1c_a
    return np.asarray(usable(a) & usable(b) & (np.abs(a.value - b.value) > most))


def rack_current_reversed(f: Facts) -> Bools:
    """The rack's current has the size that its PCS asks for, the other sign, and with its sign turned the sum fits."""
    i, t = f.measured.points.rack_current_a, f.topology
    share, known = expected_current(f)
    enough = np.abs(share) > LEAST_SHARE * f.limit.rack_1c_a
    # Racks that have just joined charge one another: then a sound sensor shows the other sign, and the sum is right.
    excess = np.where(known & usable(i), i.value - share, 0.0)
    off = np.bincount(t.rack_bank, excess, t.banks)[t.rack_bank]
    fits = np.abs(off - 2.0 * i.value) < np.abs(off)
    return np.asarray(known & usable(i) & enough & fits & (np.abs(i.value + share) < 0.5 * np.abs(share)))


def rack_current_stuck(f: Facts) -> Bools:
    """The current sensor shows exactly the same although the power of the PCS moved."""
    i = f.measured.points.rack_current_a
    moved = f.trend.share_high_a - f.trend.share_low_a > LEAST_SHARE * f.limit.rack_1c_a
    return np.asarray(usable(i) & closed(f) & moved)


def rack_current_offset(f: Facts) -> Bools:
    """The current sensor shows more than 1 % of 1C although nothing can flow."""
    i = f.measured.points.rack_current_a
    return np.asarray(commanded_open(f) & ~closed(f) & usable(i) & (np.abs(i.value) > OFFSET_RATIO * f.limit.rack_1c_a))


def contactor_opened_by_itself(f: Facts) -> Bools:
    """The main contactor had closed and is open against its command."""
    return np.asarray(f.outputs.rack_main_close & f.trend.main_followed & seen_open(f))


def closed_without_contact(f: Facts) -> Bools:
    """The main contactor reports closed, and yet link and rack differ by more than 10 % of the voltage.

    A rack that precharges by itself has joined only once both voltages say so; until then its precharge has a time.
    """
    p = f.measured.points
    closing_itself = f.topology.self_precharging & among(f.modes.rack_mode, RackMode.PRECHARGE)
    known = usable(p.rack_voltage_v) & usable(p.rack_link_voltage_v)
    apart = np.abs(p.rack_voltage_v.value - p.rack_link_voltage_v.value) > CONTACT_DROP_RATIO * p.rack_voltage_v.value
    return np.asarray(f.outputs.rack_main_close & ~closing_itself & closed(f) & known & apart)


def _filled(f: Facts) -> tuple[Bools, Floats]:
    """Racks that precharge a link which began empty, or lost what it had, and there how full it is by now."""
    p = f.measured.points
    rack, link, began = p.rack_voltage_v, p.rack_link_voltage_v, f.trend.link_start_v
    precharging = (f.trend.precharge_ms > 0) & among(f.modes.rack_mode, RackMode.PRECHARGE)
    if not some(precharging):
        return precharging, began
    began = np.minimum(began, link.value)
    gap = rack.value - began
    judged = precharging & usable(rack) & usable(link) & (gap > 0.5 * rack.value)
    return np.asarray(judged), np.asarray((link.value - began) / np.where(gap > 0, gap, 1.0))


def precharge_too_fast(f: Facts) -> Bools:
    """The link filled faster than the precharge resistor of the site lets it, seen to or between two values."""
    judged, part = _filled(f)
    if not some(judged):
        return judged
    took_ms = f.trend.link_rise_ms - (f.system.now_ms - f.measured.points.rack_link_voltage_v.time_ms)
    return np.asarray(judged & (part > PRECHARGE_FULL) & (took_ms < f.limit.precharge_fastest_ms))


def precharge_without_rise(f: Facts) -> Bools:
    """The link stays where it was although precharge has run for a while."""
    judged, part = _filled(f)
    return np.asarray(judged & (f.trend.precharge_ms >= PRECHARGE_PATIENCE_MS) & (part < EMPTY))


def heartbeat_not_received(f: Facts) -> Bools:
    """The rack controller's echo of our heartbeat stands still: what we write does not arrive.

    An echo proves that only up to the moment when it was read: one lost reply of a slow cycle is no still echo.
    """
    echo = f.measured.points.rack_heartbeat_echo
    unread_ms = np.maximum(f.system.now_ms - echo.time_ms - f.system.elapsed_ms, 0)
    return np.asarray(usable(echo) & (f.trend.echo_still_ms - unread_ms >= ECHO_STILL_MS))


def second_controller(f: Facts) -> Bools:
    """The rack controller hears a heartbeat that is not ours."""
    return np.asarray(f.trend.echo_foreign_ms > 0)


def rack_bms_alarm(f: Facts) -> Bools:
    """The rack's own BMS reports a protection."""
    s = f.measured.points.rack_alarm_word
    return np.asarray(usable(s) & (s.value != 0))


def rack_bms_lost(f: Facts) -> Bools:
    """Limits or protections of the rack's own BMS cannot be read."""
    p = f.measured.points
    return lost(p.rack_alarm_word) | lost(p.rack_charge_limit_reported_a) | lost(p.rack_discharge_limit_reported_a)


def rack_bms_limit_exceeded(f: Facts) -> Bools:
    """The rack carries over 10 % more than its own BMS allows."""
    p = f.measured.points
    i, c, d = p.rack_current_a, p.rack_charge_limit_reported_a, p.rack_discharge_limit_reported_a
    floor = OFFSET_RATIO * f.limit.rack_1c_a
    charging = usable(c) & (-i.value > BMS_LIMIT_RATIO * c.value + floor)
    discharging = usable(d) & (i.value > BMS_LIMIT_RATIO * d.value + floor)
    return np.asarray(usable(i) & (charging | discharging))


@once
def soc_unknown(f: Facts) -> Bools:
    """The SOC of the rack does not rest on data."""
    sigma = np.where(f.topology.cell_fitted[:, 0], f.estimates.cell_soc_sigma_ratio[:, 0], 0.0)
    return np.asarray(f.limit.soc_estimated & (sigma.max(axis=1) >= 1.0))


def soc_differs(f: Facts) -> Bools:
    """The SOC of the rack and that of its own BMS differ by more than 15 %, though ours is known well."""
    s, e = f.measured.points.rack_soc_reported_ratio, f.estimates
    sure = ~soc_unknown(f) & (e.soc_sigma_ratio < SOC_DIFFERENCE / 3)
    return np.asarray(usable(s) & sure & (np.abs(s.value - e.rack_soc_ratio) > SOC_DIFFERENCE))


# -- PCS -------------------------------------------------------------------------------------------------------


def no_current_though_commanded(f: Facts) -> Bools:
    """The PCS is told to give power, and its racks carry next to nothing."""
    t, o = f.topology, f.outputs
    wanted = np.bincount(t.pcs_bank, np.where(o.pcs_run, o.pcs_active_power_setpoint_w, 0.0), t.banks)
    asked = np.abs(wanted) > WITNESS_RATIO * f.limit.pcs_rated_w
    if not some(asked):
        return np.zeros(t.pcs, bool)
    # Magnitudes: a reversed sensor beside a sound one must not look like no current at all.
    racks, known = rack_magnitudes(f)
    return np.asarray(known & asked & (racks < NO_CURRENT_RATIO * np.abs(wanted)))[t.pcs_bank]


def link_voltages_differ(f: Facts) -> Bools:
    """A PCS that does not stand still and a closed rack measure different voltages of the same link."""
    p, t = f.measured.points, f.topology
    dc, link = p.pcs_dc_voltage_v, p.rack_link_voltage_v
    # A PCS at rest may have its own DC switch open; it must not keep racks from joining.
    resting = usable(p.pcs_running) & (p.pcs_running.value < 0.5)
    heard = (usable(dc) & ~resting)[:, None]
    same = t.fed_by & (closed(f) & usable(link))[None, :] & heard
    apart = np.abs(dc.value[:, None] - link.value[None, :])
    return np.asarray((same & (apart > LINK_RATIO * np.abs(dc.value)[:, None] + LINK_FLOOR_V)).any(axis=1))


def pcs_power_uncommanded(f: Facts) -> Bools:
    """Power flows although the PCS is told to stand still."""
    p = f.measured.points.pcs_active_power_w
    return np.asarray(~f.outputs.pcs_run & usable(p) & (np.abs(p.value) > NO_FLOW_RATIO * f.limit.pcs_rated_w))


def pcs_does_not_start(f: Facts) -> Bools:
    """The PCS is told to run and does not."""
    s = f.measured.points.pcs_running
    return np.asarray(f.outputs.pcs_run & usable(s) & (s.value < 0.5))


# -- site ------------------------------------------------------------------------------------------------------


def cooling_without_fall(f: Facts) -> Bools:
    """Cooling runs, and the hottest sensor is above its operating limit and still rises."""
    hottest = f.measured.extremes.temperature_max_degc
    hot = bool(hottest.quality <= USABLE) and float(hottest.value) > f.limit.charge_overtemperature.operate
    return np.asarray(bool(f.trend.cooling_vain) and hot)


def clock_jumped(f: Facts) -> Bools:
    """Wall time moved by more than a second against the monotonic clock."""
    drift = f.system.utc_ms - f.utc_before_ms - f.system.elapsed_ms
    return np.asarray(f.utc_before_ms > 0 and abs(drift) > JUMP_MS)


def configuration_changed(f: Facts) -> Bools:
    """The limits in force are not those that ran last."""
    return np.asarray(f.configuration_changed)
