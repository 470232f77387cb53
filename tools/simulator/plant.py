"""The whole plant: cells, racks, DC links, converters and the enclosure, advanced in fixed steps.

Inside, current and power that leave the battery are positive. Outputs of the controller arrive through `command`;
what instruments would show is made by `sensors.Sensors` from this state.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.signal import Bools, Floats, some
from controller.core.topology import place_name
from plc_config.compile import Compiled
from tools.simulator.cells import Cells
from tools.simulator.events import EventLog
from tools.simulator.link import Links
from tools.simulator.options import CELLS_MS, STEP_MS, Constants, Options
from tools.simulator.own_precharge import OwnPrecharge
from tools.simulator.pcs import Converters
from tools.simulator.play import Player
from tools.simulator.racks import Racks

INRUSH_SHARE: Final = 1.5
"""An inrush event is a closing current above this many times the cell's discharge current."""


class Enclosure:
    """What belongs to the site as a whole. All flags True when well, except `fire` and `smoke`."""

    def __init__(self, options: Options, constants: Constants) -> None:
        self.estop_channel_1 = self.estop_channel_2 = True
        self.fire = self.smoke = False
        self.hvac = self.door_closed = True
        self.aux_supply_v = constants.aux_supply_v
        self.ambient_degc = options.ambient_degc
        self.horn_on = self.cooling_on = False


class Plant:
    """The simulated plant of one site. `step` is the only way in which time passes."""

    def __init__(self, compiled: Compiled, options: Options, events: EventLog, player: Player | None = None) -> None:
        t, cell = compiled.topology, compiled.cell
        self.compiled, self.options, self.events, self.player = compiled, options, events, player
        self.constants = c = Constants()
        parallel = compiled.config.topology.parallel
        self.cells = Cells(cell, (t.racks, t.modules, t.cells), parallel, options, c)
        nominal_cell_v = float(self.cells.ocv(np.array([0.5]))[0])
        self.cells.set_bleed_current(compiled.config.balancing.bleed_current, nominal_cell_v)
        # Two values may stand for many cells in series: each then weighs as many of them as it represents.
        fitted = np.maximum(t.cell_fitted.sum(axis=2), 1)
        self.cells_each: Floats = np.where(t.extremes_only, t.series_cells / fitted, 1.0)[:, :, None] * t.cell_fitted
        self.weighted = bool(t.extremes_only.any())
        self.nominal_v = nominal_cell_v * float(self.cells_each.sum(axis=(1, 2)).max())
        precharge_ohm = self.nominal_v / c.precharge_peak_a
        self.links = Links(
            t.rack_bank,
            t.banks,
            c.precharge_time_constant_s / precharge_ohm,
            c.link_bleed_per_precharge * precharge_ohm,
            precharge_ohm,
        )
        self.racks = Racks(t.racks, c, events, with_heartbeat(compiled))
        self.own_precharge = OwnPrecharge(t.self_precharging, self.racks.main, self.racks.precharge, events)
        dispatch = compiled.config.dispatch
        self.pcs = Converters(
            t.pcs_bank, dispatch.rated_power / t.pcs, dispatch.rated_reactive_power / t.pcs, self.nominal_v, c, events
        )
        self.bank_of_pcs = (np.arange(t.banks)[:, None] == t.pcs_bank[None, :]).astype(float)
        self.enclosure = Enclosure(options, c)
        self.current_limit_a = cell.discharge_current * parallel
        self.limits = cell.limits
        self.time_ms = self.cells_due_ms = 0
        self.current_a: Floats = np.zeros(t.racks)
        self.load_a: Floats = np.zeros(t.banks)
        self.carried_as: Floats = np.zeros(t.racks)
        self.outside: dict[str, Bools] = {}
        self.cell_v: Floats = self._cell_voltages()
        self._sum_racks()

    # -- time ------------------------------------------------------------------------------------------------

    def step(self, step_ms: int = STEP_MS) -> None:
        """Advance by `step_ms`; when `CELLS_MS` have gathered, the cells follow."""
        dt_s = step_ms / 1000
        chain = self.chain_closed()
        if some(self.own_precharge.wanted):
            self.own_precharge.step(step_ms, self.rack_emf_v, self.links.voltage_v[self.links.rack_bank])
        for rack in self.racks.step(step_ms, self.current_a, chain):
            self._note_closing(int(rack))
        main, precharge = self.racks.main.closed, self.racks.precharge.closed
        bank = self.links.rack_bank
        fed = np.bincount(bank[main | precharge], minlength=len(self.links.voltage_v)) > 0
        self.pcs.step(step_ms, self.links.voltage_v, fed, chain)
        power_w = self.bank_of_pcs @ self.pcs.dc_power_w()
        ohm = self.rack_ohm
        flow = self.links.step(dt_s, self.rack_emf_v, ohm, main, precharge, power_w)
        self.current_a, self.load_a = flow.rack_current_a, flow.load_current_a
        self.carried_as += self.current_a * dt_s
        self.time_ms += step_ms
        self.cells_due_ms += step_ms
        if self.cells_due_ms >= CELLS_MS:
            self._step_cells(self.cells_due_ms / 1000)
            self.cells_due_ms = 0

    def pass_time(self, ms: int) -> None:
        """Advance by `ms` in small steps while anything moves, and in one when nothing does."""
        end = self.time_ms + ms
        while self.time_ms < end:
            left = end - self.time_ms
            self.step(left if left > STEP_MS and self.quiet(left) else min(STEP_MS, left))

    def quiet(self, ms: int) -> bool:
        """True when no contactor or converter moves, and no watchdog ends within `ms`."""
        if self.player is not None or not self.chain_closed():
            return False
        return self.pcs.quiet(ms) and self.racks.quiet(ms) and self.own_precharge.quiet()

    def advance(self, seconds: float) -> None:
        """Step through `seconds` of plant time."""
        for _ in range(round(seconds * 1000 / STEP_MS)):
            self.step()

    def _step_cells(self, dt_s: float) -> None:
        e = self.enclosure
        if self.player is not None:
            self.player.advance(dt_s)
        else:
            cooling = self.constants.cooling_off_share if not e.hvac else 2.0 if e.cooling_on else 1.0
            self.cells.step(dt_s, self.carried_as / dt_s, e.ambient_degc, cooling)
        self.carried_as[:] = 0
        self._sum_racks()
        self.cell_v = self._cell_voltages()
        self._watch_region()

    def _sum_racks(self) -> None:
        self.rack_r0_ohm: Floats = self._over_rack(self.cells.r0_ohm) if self.weighted else self.cells.rack_r0_ohm
        self.rack_ohm: Floats = self.rack_r0_ohm + self.constants.wiring_ohm
        source = self.cells.emf_v if self.player is None else self.player.cell_voltage_v()
        self.rack_emf_v: Floats = self._over_rack(source)

    def _over_rack(self, of_cells: Floats) -> Floats:
        """Sum over the cells in series of every rack."""
        return np.asarray((of_cells * self.cells_each if self.weighted else of_cells).sum(axis=(1, 2)))

    # -- what is true ----------------------------------------------------------------------------------------

    def chain_closed(self) -> bool:
        """The hardware trip chain: E-stop not pressed on either channel, and enough control voltage."""
        e = self.enclosure
        return e.estop_channel_1 and e.estop_channel_2 and e.aux_supply_v > self.constants.aux_dropout_v

    def _cell_voltages(self) -> Floats:
        return self.cells.voltage_v(self.current_a) if self.player is None else self.player.cell_voltage_v()

    def refresh_voltages(self) -> None:
        """Cell voltages at the present rack currents."""
        self.cell_v = self._cell_voltages()

    def refresh_states(self) -> None:
        """After someone set a state by hand: everything that follows from the states at once."""
        self.cells.refresh()
        self._sum_racks()
        self.refresh_voltages()

    def temperature_degc(self) -> Floats:
        """True cell temperatures."""
        return self.cells.temperature_degc if self.player is None else self.player.cell_temperature_degc()

    def shown_current_a(self) -> Floats:
        """Rack currents as an ideal meter shows them; played data replace them while the contactors are closed."""
        if self.player is None:
            return self.current_a
        return np.asarray(np.where(self.racks.main.closed, self.player.current_a(), 0.0))

    def rack_voltage_v(self) -> Floats:
        """Battery-side voltage of every rack."""
        return self._over_rack(self.cell_v)

    def rack_voltage_v_fast(self) -> Floats:
        """The same from sums that are kept, without touching every cell."""
        if self.player is not None:
            return self.rack_emf_v
        return np.asarray(self.rack_emf_v - self.rack_r0_ohm * self.current_a)

    def power_w(self) -> float:
        """AC power leaving the site."""
        return float(self.pcs.power_w.sum())

    # -- commands --------------------------------------------------------------------------------------------

    def command(self, level: str, output: str, place: tuple[int, ...], values: list[float]) -> bool:
        """An output of the controller reached a device of that level; True when it changed more than a heartbeat."""
        value = values[0]
        if output == "heartbeat":
            if level in ("rack", "module"):
                self.racks.beat(place[0], int(value))
            elif level == "pcs":
                self.pcs.beat(place[0], int(value))
            return False
        if output == "rack_main_close" and self.own_precharge.racks[place[0]]:
            return self.own_precharge.write(place[0], bool(value))
        if output in ("rack_main_close", "rack_precharge_close"):
            contactors = self.racks.main if output == "rack_main_close" else self.racks.precharge
            changed = bool(contactors.command[place[0]]) != bool(value)
            contactors.write(place[0], bool(value))
            return changed
        if output == "cell_bleed_on":
            return self.bleed(place, np.asarray(values, float) != 0)
        if output in _PCS_COMMANDS:
            array: Any = getattr(self.pcs, _PCS_COMMANDS[output])
            changed = bool(array[place[0]] != value)
            array[place[0]] = value
            return changed
        if output in ("horn_on", "cooling_on"):
            changed = getattr(self.enclosure, output) != bool(value)
            setattr(self.enclosure, output, bool(value))
            return bool(changed)
        return False

    def bleed(self, place: tuple[int, ...], wanted: Bools) -> bool:
        """The first cells of every module of a rack or module are told to bleed or not; True when any changed."""
        on = self.cells.bleed_on[place]
        told = on[..., : wanted.shape[-1]]
        changed = some(told != wanted)
        told[...] = wanted
        on |= self.cells.bleed_stuck[place]
        self.cells.bleed_age_ms[place] = 0.0
        self.cells.any_bleed = self.cells.any_bleed or some(wanted)
        return changed

    # -- truth events ----------------------------------------------------------------------------------------

    def _note_closing(self, rack: int) -> None:
        difference_v = float(self.rack_emf_v[rack] - self.links.voltage_v[self.links.rack_bank[rack]])
        inrush_a = difference_v / float(self.rack_ohm[rack])
        place = f"R{rack + 1:02d}"
        self.events.add("main_joined_link", place, difference_v=round(difference_v, 3), inrush_a=round(inrush_a, 1))
        if abs(inrush_a) > INRUSH_SHARE * self.current_limit_a:
            self.events.add("inrush", place, difference_v=round(difference_v, 3), inrush_a=round(inrush_a, 1))

    def _watch_region(self) -> None:
        limits, dims = self.limits, ("rack", "module", "cell")
        temperature = self.temperature_degc()
        for kind, values, limit, above in (
            ("cell_overvoltage", self.cell_v, limits.cell_overvoltage.trip, True),
            ("cell_undervoltage", self.cell_v, limits.cell_undervoltage.trip, False),
            ("cell_overtemperature", temperature, limits.discharge_overtemperature.trip, True),
            ("cell_undertemperature", temperature, limits.discharge_undertemperature.trip, False),
        ):
            worst = values.max() if above else values.min()
            now_outside = worst > limit if above else worst < limit
            was = self.outside.get(kind)
            if not now_outside and was is None:
                continue
            racks: Bools = np.asarray((values > limit if above else values < limit).any(axis=(1, 2)))
            before = np.zeros_like(racks) if was is None else was
            for rack in np.flatnonzero(racks & ~before):
                flat = values[rack].argmax() if above else values[rack].argmin()
                module, cell = (int(i) for i in np.unravel_index(flat, values[rack].shape))
                place = place_name(dims, (int(rack), module, cell))
                value = round(float(values[rack, module, cell]), 4)
                self.events.add("cell_outside_region", place, kind=kind, value=value, limit=limit)
            for rack in np.flatnonzero(before & ~racks):
                self.events.add("cell_back_in_region", f"R{rack + 1:02d}", kind=kind)
            self.outside[kind] = racks
            if not some(racks):
                del self.outside[kind]


_PCS_COMMANDS: Final = {
    "pcs_run": "run_command",
    "pcs_active_power_setpoint_w": "setpoint_w",
    "pcs_reactive_power_setpoint_var": "setpoint_var",
}


def with_heartbeat(compiled: Compiled) -> Bools:
    """Racks whose controller is written a heartbeat; one that knows none has no watchdog either."""
    plan, watched = compiled.plan, np.zeros(compiled.topology.racks, bool)
    for write in plan.writes:
        device = plan.devices[write.device]
        if write.output == "heartbeat" and write.modulo != 1 and device.level in ("rack", "module"):
            watched[device.place[0]] = True
    return watched
