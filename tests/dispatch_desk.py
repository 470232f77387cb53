"""What the dispatch looks at, to be changed by hand: two banks of one and two PCS, two racks and one, without a plant.

The site is ONLINE with every rack closed. Each bank may give 60 kW and take 40 kW; the ramp is 50 kW/s, a scan 100 ms.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from controller.core.command import Answer, Command, Kind, Origin, Role
from controller.core.dispatch import Dispatch, dispatch
from controller.core.image import Limits, Modes, OutputImage, Power, RackMode, SiteMode, System
from controller.core.layout import Layout
from controller.core.memory import DispatchingMemory
from controller.core.settings import DispatchSettings
from controller.core.topology import Topology

SETTINGS = DispatchSettings(
    rated_w=120e3, rated_var=60e3, ramp_w_per_s=50e3, heartbeat_timeout_ms=10_000, fallback_w=3e3, share_by_limit=True
)


class Desk:
    """One site scan by scan; what it told its PCS stands until `told` says otherwise."""

    def __init__(self, site: SiteMode = SiteMode.ONLINE) -> None:
        self.topology = Topology.regular(3, 1, 4, 2, 3, np.array([0, 0, 1]), np.array([0, 1, 1]))
        self.settings = SETTINGS
        dims = {**self.topology.dims, "slot": 1}
        self.modes: Modes = dataclasses.replace(Layout(Modes, dims).blank(), site_mode=int(site))
        self.modes.rack_mode[...] = int(RackMode.CLOSED)
        self.limits: Limits = Layout(Limits, dims).blank()
        self.limits.bank_discharge_limit_w[...], self.limits.bank_charge_limit_w[...] = 60e3, 40e3
        self.limits = dataclasses.replace(self.limits, discharge_limit_w=120e3, charge_limit_w=80e3)
        self.outputs: OutputImage = Layout(OutputImage, dims).blank()
        self.system: System = dataclasses.replace(Layout(System, dims).blank(), elapsed_ms=100)
        blank: DispatchingMemory = Layout(DispatchingMemory, dims).blank()
        self.memory = dataclasses.replace(blank, heartbeat_age_ms=-1, overruled_ms=-1)
        self.astray = np.zeros(3, bool)
        self.number = 0

    @property
    def plan(self) -> Dispatch:
        return Dispatch(self.topology, self.settings)

    def set(self, **settings: Any) -> None:
        self.settings = dataclasses.replace(self.settings, **settings)

    def keep(self, **memory: Any) -> None:
        self.memory = dataclasses.replace(self.memory, **memory)

    def may(self, **limits: float) -> None:
        self.limits = dataclasses.replace(self.limits, **limits)

    def after(self, elapsed_ms: int) -> None:
        self.system = dataclasses.replace(self.system, elapsed_ms=elapsed_ms)

    def told(self, *watts: float) -> None:
        self.outputs.pcs_active_power_setpoint_w[:] = watts

    def asked(self, watts: float, var: float = 0.0) -> None:
        self.keep(active_power_setpoint_w=watts, reactive_power_setpoint_var=var)

    def scan(self, *commands: Command) -> Power:
        power, self.answers, self.memory = dispatch(
            self.plan, self.memory, self.limits, self.modes, self.outputs, self.system, commands, self.astray
        )
        self.told(*power.pcs_active_power_target_w)
        return power

    def watts(self, scans: int = 1) -> list[float]:
        return [self.scan().active_power_target_w for _ in range(scans)]

    def shares(self) -> list[float]:
        found: list[float] = self.scan().pcs_active_power_target_w.tolist()
        return found

    def say(self, kind: Kind, value: float, user: str = "scada", role: Role = Role.OPERATOR) -> Answer:
        self.number += 1
        self.scan(Command(self.number, kind, Origin.OPCUA, role, 0, 10**9, value=value, user=user))
        return self.answers[0]
