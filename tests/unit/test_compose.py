"""Every output by what decides it: three racks on two banks of one and two PCS, connected and at work."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from controller.core.compose import HIGH, OVERLAP_MS, compose
from controller.core.effect import OPEN_NOW, Effect
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
from controller.core.layout import Layout
from controller.core.topology import Topology

RUNS = (SiteMode.ONLINE, SiteMode.STOPPING)
OPENS = tuple(e for e in Effect if e & OPEN_NOW)
SOUNDS = (AlarmState.UNACKNOWLEDGED, AlarmState.LATCHED_UNACKNOWLEDGED)


class Desk:
    """What was decided in this scan, to be changed by hand: every cell bleeds, every PCS gives 10 kW and 2 kvar."""

    def __init__(self) -> None:
        self.topology = Topology.regular(3, 1, 2, 2, 3, np.array([0, 0, 1]), np.array([0, 1, 1]))
        dims = {**self.topology.dims, "slot": 2}
        self.trips: Trips = Layout(Trips, dims).blank()
        self.limits: Limits = Layout(Limits, dims).blank()
        self.limits.bank_charge_limit_w[:], self.limits.bank_discharge_limit_w[:] = (40e3, 30e3), (60e3, 50e3)
        self.modes: Modes = dataclasses.replace(Layout(Modes, dims).blank(), site_mode=int(SiteMode.ONLINE))
        self.modes.rack_mode[...], self.modes.rack_mode_ms[...] = int(RackMode.CLOSED), OVERLAP_MS
        self.power: Power = Layout(Power, dims).blank()
        self.power.pcs_enable[...] = True
        self.power.pcs_active_power_target_w[...], self.power.pcs_reactive_power_target_var[...] = 10e3, 2e3
        self.bleeds = np.ones((3, 1, 2), bool)
        self.alarms: Alarms = Layout(Alarms, dims).blank()
        self.priority = np.array([HIGH, HIGH - 1])
        self.system: System = dataclasses.replace(Layout(System, dims).blank(), scan=7)

    def site(self, **values: Any) -> None:
        self.modes = dataclasses.replace(self.modes, **values)

    def rack(self, mode: RackMode, since_ms: int = 0, rack: int = 0) -> None:
        self.modes.rack_mode[rack], self.modes.rack_mode_ms[rack] = int(mode), since_ms

    def acts(self, effect: Effect, rack: int = 0) -> None:
        self.trips.rack_effect[rack] = int(effect)

    def precharges_by_itself(self) -> None:
        self.topology = dataclasses.replace(self.topology, self_precharging=np.array([True, False, False]))

    def outputs(self) -> OutputImage:
        return compose(
            self.trips, self.limits, self.modes, self.power, self.bleeds, self.alarms, self.priority, self.topology,
            self.system,
        )  # fmt: skip


class TestContactors:
    @pytest.mark.parametrize("mode", RackMode)
    def test_the_mode_commands_them(self, mode: RackMode) -> None:
        desk = Desk()
        desk.rack(mode, OVERLAP_MS)
        outputs = desk.outputs()
        assert outputs.rack_main_close[0] == (mode in (RackMode.CLOSED, RackMode.STOPPING, RackMode.FUSE_WAIT))
        assert outputs.rack_precharge_close[0] == (mode is RackMode.PRECHARGE)
        assert outputs.rack_main_close[1:].all() and not outputs.rack_precharge_close[1:].any(), "the others"

    @pytest.mark.parametrize("mode", RackMode)
    def test_one_command_is_all_that_a_rack_with_its_own_precharge_gets(self, mode: RackMode) -> None:
        desk = Desk()
        desk.precharges_by_itself()
        desk.rack(mode)
        outputs = desk.outputs()
        closes = (RackMode.PRECHARGE, RackMode.CLOSED, RackMode.STOPPING, RackMode.FUSE_WAIT)
        assert outputs.rack_main_close[0] == (mode in closes)
        assert not outputs.rack_precharge_close[0]

    def test_the_precharge_contactor_stays_until_the_main_one_carries(self) -> None:
        desk = Desk()
        desk.rack(RackMode.CLOSED, OVERLAP_MS - 1)
        assert desk.outputs().rack_precharge_close.tolist() == [True, False, False]
        desk.rack(RackMode.STOPPING, 0)
        assert not desk.outputs().rack_precharge_close.any()

    @pytest.mark.parametrize("effect", Effect)
    @pytest.mark.parametrize("mode", RackMode)
    def test_what_a_trip_forbids_is_refused_whatever_the_mode_says(self, effect: Effect, mode: RackMode) -> None:
        """Only a rack that waits for its fuse stays closed: its contactor would weld or burn."""
        desk = Desk()
        for own in (False, True):
            desk.rack(mode)
            desk.acts(effect)
            outputs = desk.outputs()
            if effect in OPENS:
                assert outputs.rack_main_close[0] == (mode is RackMode.FUSE_WAIT)
                assert not outputs.rack_precharge_close[0] and not outputs.cell_bleed_on[0].any()
                assert outputs.rack_main_close[1:].all() and outputs.cell_bleed_on[1:].all(), "the others"
            else:
                free = Desk()
                if own:
                    free.precharges_by_itself()
                free.rack(mode)
                assert outputs.rack_main_close[0] == free.outputs().rack_main_close[0]
                assert outputs.rack_precharge_close[0] == free.outputs().rack_precharge_close[0]
                assert outputs.cell_bleed_on.all()
            desk.precharges_by_itself()

    def test_what_was_not_chosen_is_not_bled(self) -> None:
        desk = Desk()
        desk.bleeds[1, 0, 1] = False
        assert (desk.outputs().cell_bleed_on == desk.bleeds).all()


class TestPcs:
    def test_it_gets_its_power_and_its_part_of_what_its_bank_may(self) -> None:
        outputs = Desk().outputs()
        assert outputs.pcs_run.all()
        assert outputs.pcs_active_power_setpoint_w.tolist() == [10e3] * 3
        assert outputs.pcs_reactive_power_setpoint_var.tolist() == [2e3] * 3
        assert outputs.pcs_charge_limit_w.tolist() == [40e3, 15e3, 15e3]
        assert outputs.pcs_discharge_limit_w.tolist() == [60e3, 25e3, 25e3]

    def rests(self, desk: Desk, *which: bool) -> None:
        outputs = desk.outputs()
        runs = (~np.array(which)).tolist()
        assert outputs.pcs_run.tolist() == runs
        for name in ("active_power_setpoint_w", "reactive_power_setpoint_var", "charge_limit_w", "discharge_limit_w"):
            assert (getattr(outputs, f"pcs_{name}") != 0.0).tolist() == runs, name

    def test_one_that_is_not_enabled_has_nothing_to_give(self) -> None:
        desk = Desk()
        desk.power.pcs_enable[1] = False
        self.rests(desk, False, True, False)

    @pytest.mark.parametrize("site", SiteMode)
    def test_it_runs_only_where_the_site_is_connected_or_stops(self, site: SiteMode) -> None:
        desk = Desk()
        desk.site(site_mode=int(site))
        self.rests(desk, *[site not in RUNS] * 3)

    @pytest.mark.parametrize("effect", Effect)
    def test_none_runs_where_the_whole_site_is_to_open(self, effect: Effect) -> None:
        desk = Desk()
        desk.trips = dataclasses.replace(desk.trips, site_effect=int(effect))
        self.rests(desk, *[effect in OPENS] * 3)

    def test_none_runs_without_a_rack_that_is_commanded_closed(self) -> None:
        desk = Desk()
        for rack, mode in enumerate((RackMode.FUSE_WAIT, RackMode.PRECHARGE, RackMode.CLOSED)):
            desk.rack(mode, rack=rack)
        self.rests(desk, False, False, False)
        desk.acts(Effect.TRIP, rack=2)
        self.rests(desk, True, True, True)


class TestTheRest:
    def test_the_heartbeat_is_the_scans_number(self) -> None:
        assert Desk().outputs().heartbeat == 7

    @pytest.mark.parametrize("state", AlarmState)
    def test_the_horn_calls_for_an_urgent_alarm_that_nobody_has_acknowledged(self, state: AlarmState) -> None:
        desk = Desk()
        desk.alarms.alarm_state[0] = int(state)
        assert desk.outputs().horn_on == (state in SOUNDS)
        desk.alarms.alarm_state[:] = desk.alarms.alarm_state[::-1].copy()
        assert desk.outputs().horn_on == 0, "a lesser one waits"

    @pytest.mark.parametrize("site", SiteMode)
    def test_cooling_runs_while_power_may_flow(self, site: SiteMode) -> None:
        desk = Desk()
        desk.site(site_mode=int(site))
        assert desk.outputs().cooling_on == (site in (SiteMode.CONNECTING, *RUNS))
