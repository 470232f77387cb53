"""Stage: from one power setpoint to a share per PCS, inside the limits, with ramp and heartbeat fallback.

Ramps start from the power last composed. A limit that shrinks acts at once; only wishes are ramped.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from controller.core.command import Answer, Command, Kind, Role
from controller.core.image import Limits, Modes, OutputImage, Power, RackMode, SiteMode, System
from controller.core.memory import DispatchingMemory
from controller.core.settings import DispatchSettings
from controller.core.signal import Bools, Floats, among
from controller.core.topology import Topology


@dataclasses.dataclass(frozen=True, slots=True)
class Dispatch:
    """What the dispatch is built from."""

    topology: Topology
    settings: DispatchSettings


def dispatch(
    plan: Dispatch,
    memory: DispatchingMemory,
    limits: Limits,
    modes: Modes,
    outputs: OutputImage,
    system: System,
    commands: Sequence[Command],
) -> tuple[Power, list[Answer], DispatchingMemory]:
    """The power of this scan, the answers to setpoints and heartbeats, and what was last accepted."""
    s = plan.settings
    site = SiteMode(modes.site_mode)
    age = memory.heartbeat_age_ms
    memory = dataclasses.replace(memory, heartbeat_age_ms=age + system.elapsed_ms if age >= 0 else age)
    memory, answers = _judge(s, memory, site, commands)
    if site not in (SiteMode.ONLINE, SiteMode.CONNECTING):
        memory = dataclasses.replace(memory, active_power_setpoint_w=0.0, reactive_power_setpoint_var=0.0)
    lost = memory.heartbeat_age_ms >= s.heartbeat_timeout_ms
    wish = s.fallback_w if lost else memory.active_power_setpoint_w
    online = site is SiteMode.ONLINE
    last = float(outputs.pcs_active_power_setpoint_w.sum())
    target = _ramp(last, wish if online else 0.0, s.ramp_w_per_s * system.elapsed_ms / 1000.0)
    target = min(max(target, -limits.charge_limit_w), limits.discharge_limit_w)
    if site not in (SiteMode.ONLINE, SiteMode.STOPPING):
        target = 0.0
    joined = _banks_joined(plan.topology, modes)
    share = _share(plan, limits, target, joined)
    reactive = 0.0 if lost or not online else memory.reactive_power_setpoint_var
    room = np.sqrt(np.maximum((s.rated_w / plan.topology.pcs) ** 2 - share**2, 0.0))
    enabled = joined[plan.topology.pcs_bank] & (online or (site is SiteMode.STOPPING and target != 0.0))
    reactive_share = np.where(enabled, np.clip(reactive / max(int(enabled.sum()), 1), -room, room), 0.0)
    share = np.where(enabled, share, 0.0)
    power = Power(
        active_power_setpoint_w=memory.active_power_setpoint_w,
        reactive_power_setpoint_var=memory.reactive_power_setpoint_var,
        active_power_target_w=float(share.sum()),
        reactive_power_target_var=float(reactive_share.sum()),
        pcs_active_power_target_w=share,
        pcs_reactive_power_target_var=reactive_share,
        pcs_enable=np.asarray(enabled),
        scada_heartbeat=memory.heartbeat,
        scada_heartbeat_age_ms=memory.heartbeat_age_ms,
        scada_lost=int(lost),
    )
    return power, answers, memory


def _ramp(last: float, wish: float, step: float) -> float:
    return last + min(max(wish - last, -step), step)


def _banks_joined(topology: Topology, modes: Modes) -> Bools:
    joined = np.zeros(topology.banks, bool)
    joined[topology.rack_bank[among(modes.rack_mode, RackMode.CLOSED, RackMode.STOPPING)]] = True
    return joined


def _share(plan: Dispatch, limits: Limits, target: float, joined: Bools) -> Floats:
    """Power per PCS: by what each bank may give, or equally; never more than a bank's limit."""
    t = plan.topology
    bank_limit = limits.bank_discharge_limit_w if target >= 0 else limits.bank_charge_limit_w
    bank_limit = np.where(joined, bank_limit, 0.0)
    pcs_per_bank = np.bincount(t.pcs_bank, minlength=t.banks)
    total = bank_limit.sum()
    if total <= 0.0:
        return np.zeros(t.pcs)
    equal = np.where(bank_limit > 0, 1.0, 0.0) / max(int((bank_limit > 0).sum()), 1)
    weight = bank_limit / total if plan.settings.share_by_limit else equal
    bank = np.sign(target) * np.minimum(np.abs(target) * weight, bank_limit)
    return np.asarray(bank[t.pcs_bank] / np.maximum(pcs_per_bank, 1)[t.pcs_bank])


def _judge(
    s: DispatchSettings, memory: DispatchingMemory, site: SiteMode, commands: Sequence[Command]
) -> tuple[DispatchingMemory, list[Answer]]:
    answers: list[Answer] = []
    for command in commands:
        if command.kind not in (Kind.SET_ACTIVE_POWER, Kind.SET_REACTIVE_POWER, Kind.HEARTBEAT):
            continue
        refusal = _refusal(s, site, command)
        answers.append(Answer(command, not refusal, refusal or _accepted(command), command.value))
        if refusal:
            continue
        if command.kind is Kind.SET_ACTIVE_POWER:
            memory = dataclasses.replace(memory, active_power_setpoint_w=command.value)
        elif command.kind is Kind.SET_REACTIVE_POWER:
            memory = dataclasses.replace(memory, reactive_power_setpoint_var=command.value)
        elif command.value != memory.heartbeat or memory.heartbeat_age_ms < 0:
            memory = dataclasses.replace(memory, heartbeat=command.value, heartbeat_age_ms=0)
    return memory, answers


def _accepted(command: Command) -> str:
    unit = {Kind.SET_ACTIVE_POWER: " W", Kind.SET_REACTIVE_POWER: " var"}.get(command.kind, "")
    return f"{command.value:.0f}{unit} from now on" if unit else "heard"


def _refusal(s: DispatchSettings, site: SiteMode, command: Command) -> str:
    """Why a setpoint is refused; empty when it is not. Nothing is clamped silently."""
    if command.role < Role.OPERATOR:
        return "needs the Operator role"
    if not math.isfinite(command.value):
        return "not a number"
    if command.kind is Kind.HEARTBEAT:
        return ""
    rated, unit = (s.rated_w, "W") if command.kind is Kind.SET_ACTIVE_POWER else (s.rated_var, "var")
    if abs(command.value) > rated:
        return f"{command.value:.0f} {unit} is beyond the rated {rated:.0f} {unit}"
    if site not in (SiteMode.ONLINE, SiteMode.CONNECTING) and command.value != 0.0:
        return f"the site is {site.name}, not ONLINE"
    return ""
