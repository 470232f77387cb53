"""Power conversion systems: ramp, start and stop, link limits, and a heartbeat they insist on."""

from __future__ import annotations

import numpy as np

from controller.core.signal import Bools, Floats, Ints, every, some
from tools.simulator.events import EventLog
from tools.simulator.options import Constants
from tools.simulator.racks import NEVER_MS


class Converters:
    """All PCS. AC power leaving the plant is positive; losses make the DC power differ."""

    def __init__(
        self, pcs_bank: Ints, rated_w: float, rated_var: float, nominal_v: float, constants: Constants, events: EventLog
    ) -> None:
        count = len(pcs_bank)
        self.constants, self.events, self.pcs_bank = constants, events, pcs_bank
        self.rated_w, self.rated_var = rated_w, max(rated_var, 1.0)
        self.low_v = constants.pcs_link_low * nominal_v
        self.run_command: Bools = np.zeros(count, bool)
        self.setpoint_w: Floats = np.zeros(count)
        self.setpoint_var: Floats = np.zeros(count)
        self.running: Bools = np.zeros(count, bool)
        self.fault: Bools = np.zeros(count, bool)
        self.ignores: Bools = np.zeros(count, bool)
        self.power_w: Floats = np.zeros(count)
        self.reactive_var: Floats = np.zeros(count)
        self.starting_ms: Floats = np.zeros(count)
        self.heartbeat: Ints = np.zeros(count, np.int64)
        self.heartbeat_age_ms: Floats = np.full(count, NEVER_MS)
        self.target_w: Floats = np.zeros(count)

    def beat(self, pcs: int, value: int) -> None:
        """A heartbeat write; only a new value counts as life."""
        if value != self.heartbeat[pcs]:
            self.heartbeat[pcs] = value
            self.heartbeat_age_ms[pcs] = 0.0

    def quiet(self, ms: float) -> bool:
        """Every converter stands as it is told and gives the power it aims at, and no watchdog ends within `ms`."""
        settled = (self.running == self.run_command) & (self.power_w == np.where(self.running, self._aim_w(), 0.0))
        alive = ~self.run_command | (self.heartbeat_age_ms + ms <= self.constants.pcs_watchdog_ms)
        return every(settled & alive)

    def step(self, dt_ms: float, link_v: Floats, fed: Bools, chain_closed: bool) -> None:
        """Advance all converters; `fed` says per bank whether any rack feeds the link."""
        self.heartbeat_age_ms += dt_ms
        c = self.constants
        for pcs in (self.run_command & (self.heartbeat_age_ms > c.pcs_watchdog_ms)).nonzero()[0]:
            self.run_command[pcs] = False
            self.setpoint_w[pcs] = self.setpoint_var[pcs] = 0.0
            self.events.add("pcs_watchdog_trip", f"P{pcs + 1:02d}", power_w=float(self.power_w[pcs]))
        bank = self.pcs_bank
        able = self.run_command & (link_v[bank] > self.low_v) & fed[bank] & ~self.fault
        if not chain_closed:
            able = np.zeros_like(able)
        self.starting_ms = np.where(able, self.starting_ms + dt_ms, 0.0)
        running = able & (self.starting_ms >= c.pcs_start_ms)
        for pcs in (running != self.running).nonzero()[0]:
            what = "pcs_started" if running[pcs] else "pcs_stopped"
            self.events.add(what, f"P{pcs + 1:02d}", power_w=round(float(self.power_w[pcs]), 1))
        self.running = running
        self._ramp(dt_ms / 1000)

    def _aim_w(self) -> Floats:
        top_w = self.constants.pcs_overload * self.rated_w
        return np.asarray(np.where(self.ignores, self.target_w, self.setpoint_w.clip(-top_w, top_w)))

    def _ramp(self, dt_s: float) -> None:
        c = self.constants
        self.target_w = self._aim_w()
        step_w = self.rated_w * dt_s / c.pcs_full_ramp_s
        power_w = self.power_w + (self.target_w - self.power_w).clip(-step_w, step_w)
        self.power_w = np.where(self.running, power_w, 0.0)
        if some(self.setpoint_var) or some(self.reactive_var):
            top_var = c.pcs_overload * self.rated_var
            step_var = self.rated_var * dt_s / c.pcs_full_ramp_s
            target_var = self.setpoint_var.clip(-top_var, top_var)
            reactive_var = self.reactive_var + (target_var - self.reactive_var).clip(-step_var, step_var)
            self.reactive_var = np.where(self.running, reactive_var, 0.0)

    def dc_power_w(self) -> Floats:
        """Power each PCS takes from its DC link; negative while charging."""
        eta = self.constants.pcs_efficiency
        return np.asarray(np.where(self.power_w > 0, self.power_w / eta, self.power_w * eta))
