"""Stage: from one power setpoint to a share per PCS, inside the limits, with ramp and heartbeat fallback.

Ramps start from the power last composed. A limit that shrinks acts at once; only wishes are ramped, and what a PCS
that went astray no longer gives.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from controller.core.command import Answer, Command, Kind, missing_role, words
from controller.core.frozen import replace
from controller.core.image import FEEDING, Limits, Modes, OutputImage, Power, RackMode, SiteMode, System
from controller.core.memory import DispatchingMemory
from controller.core.settings import DispatchSettings
from controller.core.signal import Bools, Floats, among, some
from controller.core.topology import Topology

CONTEST_MS: Final = 60_000
"""Two masters who overrule each other within this time fight; one who overrules another once has taken over."""
NOBODY: Final[dict[str, Any]] = {
    "active_power_set_by": b"", "reactive_power_set_by": b"", "active_power_setter": 0, "reactive_power_setter": 0,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Dispatch:
    """What the dispatch is built from."""

    topology: Topology
    settings: DispatchSettings

    def silent(self, memory: DispatchingMemory) -> bool:
        """The SCADA heartbeat was armed and stopped."""
        return memory.heartbeat_age_ms >= self.settings.heartbeat_timeout_ms


def dispatch(
    plan: Dispatch,
    memory: DispatchingMemory,
    limits: Limits,
    modes: Modes,
    outputs: OutputImage,
    system: System,
    commands: Sequence[Command],
    astray: Bools,
) -> tuple[Power, list[Answer], DispatchingMemory]:
    """The power of this scan, the answers to setpoints and heartbeats, and what was last accepted.

    astray: over PCS, one that protection stops by a row of its own: nobody knows what it gives.
    """
    s = plan.settings
    site = SiteMode(modes.site_mode)
    age, overruled, elapsed = memory.heartbeat_age_ms, memory.overruled_ms, system.elapsed_ms
    memory = replace(
        memory,
        heartbeat_age_ms=age + elapsed if age >= 0 else age,
        overruled_ms=overruled + elapsed if 0 <= overruled < CONTEST_MS else -1,
        contested_ms=max(memory.contested_ms - elapsed, 0),
    )
    memory, answers = _judge(s, memory, site, commands)
    if site not in (SiteMode.ONLINE, SiteMode.CONNECTING):
        memory = replace(memory, active_power_setpoint_w=0.0, reactive_power_setpoint_var=0.0, **NOBODY)
    lost = plan.silent(memory)
    wish = s.fallback_w if lost else memory.active_power_setpoint_w
    online = site is SiteMode.ONLINE
    # What an obedient PCS may no longer give the others take over at once, for the total stays. One that went astray
    # may go on for a while or have stopped before: its part is no part of the ramp's beginning.
    last = float(outputs.pcs_active_power_setpoint_w[~astray].sum())
    target = _ramp(last, wish if online else 0.0, s.ramp_w_per_s * system.elapsed_ms / 1000.0)
    if some(astray) and some(astray & _banks_in(plan.topology, modes, *FEEDING)[plan.topology.pcs_bank]):
        target = min(max(target, min(last, 0.0)), max(last, 0.0))
    target = min(max(target, -limits.charge_limit_w), limits.discharge_limit_w)
    joined = _banks_in(plan.topology, modes, RackMode.CLOSED, RackMode.STOPPING)
    share = _share(plan, limits, target, joined & ~modes.bank_connecting)
    reactive = 0.0 if lost or not online else memory.reactive_power_setpoint_var
    room = np.sqrt(np.maximum((s.rated_w / plan.topology.pcs) ** 2 - share**2, 0.0))
    enabled = joined[plan.topology.pcs_bank] & (online or (site is SiteMode.STOPPING and target != 0.0))
    reactive_share = np.where(enabled, np.asarray(reactive / max(int(enabled.sum()), 1)).clip(-room, room), 0.0)
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
        active_power_set_by=memory.active_power_set_by,
        reactive_power_set_by=memory.reactive_power_set_by,
    )
    return power, answers, memory


def hand_over(plan: Dispatch, memory: DispatchingMemory, beats: bool) -> DispatchingMemory:
    """What a new holder of control begins with: no quarrel of others, and no heartbeat but its own.

    beats: the heartbeat in force is its own, or nobody's new. Where power was at the fallback because another one's
    heartbeat had stopped it stays there: a setpoint from before must not come back by itself.
    """
    memory = replace(memory, overruled_ms=-1, contested_ms=0)
    if beats:
        return memory
    if plan.silent(memory):
        memory = replace(
            memory, active_power_setpoint_w=plan.settings.fallback_w, reactive_power_setpoint_var=0.0, **NOBODY
        )
    return replace(memory, heartbeat_age_ms=-1)


def _ramp(last: float, wish: float, step: float) -> float:
    return last + min(max(wish - last, -step), step)


def _banks_in(topology: Topology, modes: Modes, *wanted: RackMode) -> Bools:
    """Banks of which a rack is in one of these modes."""
    found = np.zeros(topology.banks, bool)
    found[topology.rack_bank[among(modes.rack_mode, *wanted)]] = True
    return found


def _share(plan: Dispatch, limits: Limits, target: float, joined: Bools) -> Floats:
    """Power per PCS: by what each bank may give, or equally; never more than a bank's limit."""
    t = plan.topology
    bank_limit = limits.bank_discharge_limit_w if target >= 0 else limits.bank_charge_limit_w
    bank_limit = np.where(joined, bank_limit, 0.0)
    total = bank_limit.sum()
    if total <= 0.0:
        return np.zeros(t.pcs)
    equal = np.where(bank_limit > 0, 1.0, 0.0) / max(int((bank_limit > 0).sum()), 1)
    weight = bank_limit / total if plan.settings.share_by_limit else equal
    bank = np.sign(target) * np.minimum(np.abs(target) * weight, bank_limit)
    return np.asarray(bank[t.pcs_bank] / np.maximum(t.pcs_count, 1)[t.pcs_bank])


def _judge(
    s: DispatchSettings, memory: DispatchingMemory, site: SiteMode, commands: Sequence[Command]
) -> tuple[DispatchingMemory, list[Answer]]:
    answers: list[Answer] = []
    for command in commands:
        if command.kind not in (Kind.SET_ACTIVE_POWER, Kind.SET_REACTIVE_POWER, Kind.HEARTBEAT):
            continue
        refusal = _refusal(s, site, command)
        said = refusal
        if not refusal:
            memory, said = _accept(memory, command)
        answers.append(Answer(command, not refusal, said, command.value))
    return memory, answers


def _accept(memory: DispatchingMemory, command: Command) -> tuple[DispatchingMemory, str]:
    """The request in force, and what its master is told; also whom it overruled."""
    if command.kind is Kind.HEARTBEAT:
        if command.value != memory.heartbeat or memory.heartbeat_age_ms < 0:
            memory = replace(memory, heartbeat=command.value, heartbeat_age_ms=0)
        return memory, "heard"
    active = command.kind is Kind.SET_ACTIVE_POWER
    field, unit = ("active_power_setpoint_w", "W") if active else ("reactive_power_setpoint_var", "var")
    name = "active_power" if active else "reactive_power"
    before, setter = getattr(memory, field), getattr(memory, f"{name}_setter")
    told = f"{command.value:.0f} {unit} from now on"
    # Who asks for what is in force anyway, like the second of a redundant pair, overrules nobody.
    if setter and command.value == before:
        return memory, told
    if setter and setter != command.master_digest:
        told += f"; {_name(memory, name)} had set {before:.0f} {unit}"
        contested = CONTEST_MS if memory.overruled_ms >= 0 else memory.contested_ms
        memory = replace(memory, overruled_ms=0, contested_ms=contested)
    new: dict[str, Any] = {
        field: command.value, f"{name}_set_by": command.master.encode(), f"{name}_setter": command.master_digest,
    }  # fmt: skip
    return replace(memory, **new), told


def _name(memory: DispatchingMemory, name: str) -> str:
    return words(getattr(memory, f"{name}_set_by"))


def _refusal(s: DispatchSettings, site: SiteMode, command: Command) -> str:
    """Why a setpoint is refused; empty when it is not. Nothing is clamped silently."""
    missing = missing_role(command)
    if missing:
        return missing
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
