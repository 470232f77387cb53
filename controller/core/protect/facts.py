"""What the rows look at, each quantity worked out once per scan and only when a row asks.

Protection compares the worst plausible value: the last one, pushed by its age times the fastest credible slew
towards the danger. Missing data are never "no danger": a reading says which of its values are known.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.image import DISK_FULL, STORE_FAULT, ClockSync, RackMode, RetainedState, SiteMode, WeldTest
from controller.core.image_warnings import Fault
from controller.core.protect.flow import worst_current
from controller.core.protect.look import Facts, Reading, once
from controller.core.signal import USABLE, Bools, Samples, among, every, lost, shows

CELL_SLEW_V_PER_S: Final = 0.02
TEMPERATURE_SLEW_K_PER_S: Final = 0.2
NOT_JOINED: Final = (int(RackMode.OPEN), int(RackMode.TRIPPED), int(RackMode.LOCKED_OUT))
LOST_SIGN_OF_LIFE_MS: Final = 2000
PROCESS_START_MS: Final = 30_000
EXCEED_RATIO: Final = 1.1
WORN: Final = 0.9


def _outermost(s: Samples, now_ms: int, slew_per_s: float) -> tuple[Reading, Reading]:
    """Highest and lowest plausible value of each module: every value pushed outwards by its age times the slew."""
    usable = s.quality <= USABLE
    push = (now_ms - s.time_ms) * (slew_per_s / 1000.0)
    high, low = np.where(usable, s.value + push, -np.inf), np.where(usable, s.value - push, np.inf)
    known, top, bottom = np.asarray(usable.any(axis=-1)), high.max(axis=-1), low.min(axis=-1)
    if not every(known):
        top, bottom = np.where(known, top, 0.0), np.where(known, bottom, 0.0)
    return Reading(top, known, high.argmax(axis=-1)), Reading(bottom, known, low.argmin(axis=-1))


def _plain(s: Samples) -> Reading:
    return Reading(np.asarray(s.value, np.float64), np.asarray(s.quality <= USABLE))


# -- quantities: one reading per place ------------------------------------------------------------------------


@once
def _outer_cell_voltages(f: Facts) -> tuple[Reading, Reading]:
    return _outermost(f.measured.points.cell_voltage_v, f.system.now_ms, CELL_SLEW_V_PER_S)


@once
def _outer_temperatures(f: Facts) -> tuple[Reading, Reading]:
    return _outermost(f.measured.points.cell_temperature_degc, f.system.now_ms, TEMPERATURE_SLEW_K_PER_S)


def cell_voltage_high(f: Facts) -> Reading:
    """Worst plausible highest cell voltage of each module."""
    return _outer_cell_voltages(f)[0]


def cell_voltage_low(f: Facts) -> Reading:
    """Worst plausible lowest cell voltage of each module."""
    return _outer_cell_voltages(f)[1]


def temperature_high(f: Facts) -> Reading:
    """Worst plausible hottest sensor of each module."""
    return _outer_temperatures(f)[0]


def temperature_low(f: Facts) -> Reading:
    """Worst plausible coldest sensor of each module."""
    return _outer_temperatures(f)[1]


def charge_current(f: Facts) -> Reading:
    """Charge current of each rack, as a magnitude; of two sensors the one that shows more."""
    current, known = worst_current(f)
    return Reading(current[0], known)


def discharge_current(f: Facts) -> Reading:
    """Discharge current of each rack; of two sensors the one that shows more."""
    current, known = worst_current(f)
    return Reading(current[1], known)


def insulation(f: Facts) -> Reading:
    """Insulation resistance of each rack."""
    return _plain(f.measured.points.rack_insulation_ohm)


def aux_supply(f: Facts) -> Reading:
    """Control supply voltage."""
    return _plain(f.measured.points.aux_supply_v)


def ambient(f: Facts) -> Reading:
    """Temperature inside the enclosure."""
    return _plain(f.measured.points.ambient_temperature_degc)


# -- conditions: true where the hazard is present --------------------------------------------------------------


def suspected(f: Facts, fault: Fault) -> tuple[Bools, Any]:
    """Racks in which early warning suspects `fault`, and the first such cell or sensor, flat in the rack; -1 none."""
    w = f.warnings
    racks = len(w.rack_warning)
    codes = w.temperature_warning if fault is Fault.TEMPERATURE_SENSOR else w.cell_warning
    here = (codes == fault).reshape(racks, -1)
    present = here.any(axis=1)
    element = np.where(present, here.argmax(axis=1), -1)
    if fault is Fault.STUCK_SENSOR:
        present = present | (w.temperature_warning == fault).any(axis=(1, 2))
    return np.asarray(present), element


@once
def module_lost(f: Facts) -> Bools:
    """No usable cell voltage of the module."""
    v = f.measured.points.cell_voltage_v
    return np.asarray(f.topology.module_fitted & ~(v.quality <= USABLE).any(axis=2))


def cell_voltage_lost(f: Facts) -> Bools:
    """A fitted cell voltage of the module is not usable, though others are (else `module_comm_lost` acts alike)."""
    v = f.measured.points.cell_voltage_v
    return np.asarray((f.topology.cell_fitted & (v.quality > USABLE)).any(axis=2)) & ~module_lost(f)


def temperature_lost(f: Facts) -> Bools:
    """No usable temperature of the module, though it is heard (else `module_comm_lost` acts alike)."""
    t = f.measured.points.cell_temperature_degc
    return np.asarray(f.topology.module_fitted & ~(t.quality <= USABLE).any(axis=2)) & ~module_lost(f)


@once
def rack_lost(f: Facts) -> Bools:
    """Rack voltage or contactor feedback is not usable: the rack controller is not heard."""
    p = f.measured.points
    return lost(p.rack_voltage_v) | lost(p.rack_main_closed)


def rack_current_lost(f: Facts) -> Bools:
    """The rack current is not usable."""
    return lost(f.measured.points.rack_current_a)


def insulation_lost(f: Facts) -> Bools:
    """The insulation monitor is not heard."""
    return lost(f.measured.points.rack_insulation_ohm)


def precharge_overdue(f: Facts) -> Bools:
    """As many precharge attempts as allowed have run out of time."""
    return np.asarray(f.modes.rack_attempts >= f.precharge_attempts)


def bus_lost(f: Facts) -> Bools:
    """Nothing that is read over the bus is heard."""
    w, p = f.topology.wires, f.measured.points
    heard = ~w.used | np.array([not all(lost(getattr(p, n)) for n in s) for s in w.site], bool)
    heard |= (w.racks & ~rack_lost(f)).any(axis=1) | (w.pcs & ~pcs_lost(f)).any(axis=1)
    return np.asarray(~(heard if every(heard) else heard | (w.modules & ~module_lost(f)).any(axis=(1, 2))))


@once
def pcs_lost(f: Facts) -> Bools:
    """The PCS is not heard."""
    return lost(f.measured.points.pcs_active_power_w)


def pcs_fault(f: Facts) -> Bools:
    """The PCS reports a fault."""
    return shows(f.measured.points.pcs_fault, True)


def pcs_exceeds_rating(f: Facts) -> Bools:
    """Power more than 10 % above the PCS rating."""
    p = f.measured.points.pcs_active_power_w
    return np.asarray((p.quality <= USABLE) & (np.abs(p.value) > EXCEED_RATIO * f.limit.pcs_rated_w))


def estop_pressed(f: Facts) -> Bools:
    """Either channel of the E-stop chain is open."""
    p = f.measured.points
    return shows(p.estop_channel_1_closed, False) | shows(p.estop_channel_2_closed, False)


def estop_discrepancy(f: Facts) -> Bools:
    """The two channels disagree."""
    a, b = f.measured.points.estop_channel_1_closed, f.measured.points.estop_channel_2_closed
    return np.asarray((a.quality <= USABLE) & (b.quality <= USABLE) & ((a.value >= 0.5) != (b.value >= 0.5)))


def estop_lost(f: Facts) -> Bools:
    """A channel of the E-stop chain cannot be read."""
    return lost(f.measured.points.estop_channel_1_closed) | lost(f.measured.points.estop_channel_2_closed)


def remote_emergency_stop(f: Facts) -> Bools:
    """An emergency stop was asked for remotely and not yet reset."""
    return np.asarray(bool(f.emergency_stop))


def fire(f: Facts) -> Bools:
    """The fire panel alarms."""
    return shows(f.measured.points.fire_alarm, True)


def fire_lost(f: Facts) -> Bools:
    """The fire panel or the smoke detector cannot be read."""
    return lost(f.measured.points.fire_alarm) | lost(f.measured.points.smoke_detected)


def smoke(f: Facts) -> Bools:
    """Smoke or off-gas."""
    return shows(f.measured.points.smoke_detected, True)


def hvac_failed(f: Facts) -> Bools:
    """The cooling plant reports a failure."""
    return shows(f.measured.points.hvac_healthy, False)


def hvac_lost(f: Facts) -> Bools:
    """Cooling plant, doors or enclosure temperature cannot be read."""
    p = f.measured.points
    return lost(p.hvac_healthy) | lost(p.door_closed) | lost(p.ambient_temperature_degc)


def door_open(f: Facts) -> Bools:
    """A door is open."""
    return shows(f.measured.points.door_closed, False)


def aux_supply_lost(f: Facts) -> Bools:
    """The control supply voltage cannot be read."""
    return lost(f.measured.points.aux_supply_v)


def scada_silent(f: Facts) -> Bools:
    """The SCADA heartbeat was armed and stopped."""
    return np.asarray(f.dispatching.heartbeat_age_ms >= f.heartbeat_timeout_ms)


def setpoints_contested(f: Facts) -> Bools:
    """Two masters set power against each other: one overruled another who had just overruled one."""
    return np.asarray(f.dispatching.contested_ms > 0)


def scan_overruns(f: Facts) -> Bools:
    """Several scans in a row took longer than the cycle."""
    return np.asarray(f.overruns_in_a_row >= f.limit.overrun_scans)


def io_lost(f: Facts) -> Bools:
    """The I/O process shows no sign of life, or had to be started anew since the last scan."""
    return np.asarray(f.system.io_age_ms > LOST_SIGN_OF_LIFE_MS or f.system.io_restarted)


def opcua_lost(f: Facts) -> Bools:
    """The OPC UA process shows no sign of life."""
    return np.asarray(f.system.opcua_age_ms > PROCESS_START_MS)


def store_lost(f: Facts) -> Bools:
    """The store process shows no sign of life."""
    return np.asarray(f.system.store_age_ms > PROCESS_START_MS)


def store_trouble(f: Facts) -> Bools:
    """The store cannot write durably."""
    return np.asarray(bool(f.system.store_trouble & STORE_FAULT))


def disk_full(f: Facts) -> Bools:
    """The disk of the state folder is as good as full."""
    return np.asarray(bool(f.system.store_trouble & DISK_FULL))


def clock_not_synchronised(f: Facts) -> Bools:
    """The kernel says that the machine's clock follows no time server; never where nobody asks or knows."""
    return np.asarray(f.system.clock_sync == ClockSync.NOT_SYNCHRONISED)


def records_lost(f: Facts) -> Bools:
    """Since the last scan commands were lost in a full ring, or events or history in the store."""
    # In the first scan the store may have counted for long.
    return np.asarray(f.utc_before_ms > 0 and f.system.lost_records > f.lost_before)


def rack_open_while_online(f: Facts) -> Bools:
    """The site is online without this rack."""
    out = among(f.modes.rack_mode, *NOT_JOINED)
    return np.asarray(out & (f.modes.site_mode == SiteMode.ONLINE))


def contactor_worn(f: Facts) -> Bools:
    """The contactors have used up nine tenths of their life."""
    return np.asarray(f.modes.contactors.rack_contactor_wear_ratio >= WORN)


def weld_test_failed(f: Facts) -> Bools:
    """The link did not part from the rack after its contactors were told to open."""
    return among(f.modes.contactors.rack_weld_test, WeldTest.FAILED)


def controller_interrupted(f: Facts) -> Bools:
    """The controller ended while racks were connected, and has begun anew with contactors open."""
    return np.asarray(f.interrupted)


def retained_doubtful(f: Facts) -> Bools:
    """The copies of the retained memory disagreed at the last start, or one was damaged."""
    return np.asarray(f.modes.retained_state == RetainedState.DOUBTFUL)


def retained_lost(f: Facts) -> Bools:
    """No copy of the retained memory could be read at the last start, though the site has run before."""
    return np.asarray(f.modes.retained_state == RetainedState.LOST)
