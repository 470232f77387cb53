"""Stage: the only place where an output gets its value."""

from __future__ import annotations

import numpy as np

from controller.core.effect import OPEN_NOW
from controller.core.image import (
    Alarms,
    AlarmState,
    Limits,
    Modes,
    OutputImage,
    Power,
    RackMode,
    SiteMode,
    System,
    Trips,
)
from controller.core.signal import Bools, Ints, among, some
from controller.core.topology import Topology

OVERLAP_MS = 500
"""The precharge contactor stays closed this long after the main was told to close."""
HIGH = 3


def compose(
    trips: Trips,
    limits: Limits,
    modes: Modes,
    power: Power,
    bleeds: Bools,
    alarms: Alarms,
    priority: Ints,
    topology: Topology,
    system: System,
) -> OutputImage:
    """The output image. A rack under TRIP or LOCKOUT is never told to close, and power is never given without one.

    A PCS is told its part of its bank's limits; one that must not run has none.
    Only a rack in FUSE_WAIT stays closed under them.
    """
    # An output that TRIP or LOCKOUT forbids is refused here once more, whatever the modes say.
    may = (trips.rack_effect & OPEN_NOW) == 0
    closed = among(modes.rack_mode, RackMode.CLOSED, RackMode.STOPPING)
    # One command is all that a rack with its own precharge gets; it closes when it is ready.
    precharging = among(modes.rack_mode, RackMode.PRECHARGE)
    # The one exception, bounded by time: a contactor that broke this current would weld or burn.
    main = (may & (closed | (precharging & topology.self_precharging))) | among(modes.rack_mode, RackMode.FUSE_WAIT)
    overlap = among(modes.rack_mode, RackMode.CLOSED) & (modes.rack_mode_ms < OVERLAP_MS)
    precharge = may & (precharging | overlap) & ~topology.self_precharging
    running = not trips.site_effect & OPEN_NOW and modes.site_mode in (SiteMode.ONLINE, SiteMode.STOPPING)
    run = power.pcs_enable & (running and some(may & closed))
    part = np.where(run, 1.0 / topology.pcs_count[topology.pcs_bank], 0.0)
    unacked = among(alarms.alarm_state, AlarmState.UNACKNOWLEDGED, AlarmState.LATCHED_UNACKNOWLEDGED)
    return OutputImage(
        heartbeat=system.scan,
        rack_main_close=main,
        rack_precharge_close=precharge,
        cell_bleed_on=bleeds & may[:, None, None],
        pcs_run=run,
        pcs_active_power_setpoint_w=np.where(run, power.pcs_active_power_target_w, 0.0),
        pcs_reactive_power_setpoint_var=np.where(run, power.pcs_reactive_power_target_var, 0.0),
        pcs_charge_limit_w=limits.bank_charge_limit_w[topology.pcs_bank] * part,
        pcs_discharge_limit_w=limits.bank_discharge_limit_w[topology.pcs_bank] * part,
        horn_on=int(some(unacked & (priority == HIGH))),
        cooling_on=int(modes.site_mode in (SiteMode.CONNECTING, SiteMode.ONLINE, SiteMode.STOPPING)),
    )
