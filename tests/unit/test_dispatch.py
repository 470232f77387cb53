"""From one setpoint to the power of each PCS, number by number: two banks of one and two PCS, without a plant."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from controller.core.image import RackMode, SiteMode
from tests.dispatch_desk import Desk

FED = (SiteMode.ONLINE, SiteMode.STOPPING)
ASKED = (SiteMode.ONLINE, SiteMode.CONNECTING)


class TestRamp:
    def test_a_wish_is_reached_step_by_step_in_both_directions(self) -> None:
        desk = Desk()
        desk.asked(12e3)
        assert desk.watts(4) == pytest.approx([5e3, 10e3, 12e3, 12e3])
        desk.asked(-2e3)
        assert desk.watts(4) == pytest.approx([7e3, 2e3, -2e3, -2e3])

    def test_a_scan_that_took_twice_as_long_may_move_twice_as_far(self) -> None:
        desk = Desk()
        desk.asked(50e3)
        desk.after(200)
        assert desk.watts() == pytest.approx([10e3])

    @pytest.mark.parametrize(("asked", "last", "may", "given"), [
        (50e3, 50e3, {"discharge_limit_w": 7e3}, 7e3), (-50e3, -50e3, {"charge_limit_w": 7e3}, -7e3),
        (50e3, 50e3, {"charge_limit_w": 7e3}, 50e3), (-50e3, -50e3, {"discharge_limit_w": 7e3}, -50e3),
    ])  # fmt: skip
    def test_a_limit_acts_at_once_and_in_its_own_direction_only(
        self, asked: float, last: float, may: dict[str, float], given: float
    ) -> None:
        desk = Desk()
        desk.asked(asked)
        desk.told(last, 0.0, 0.0)
        desk.may(**may)
        assert desk.watts() == pytest.approx([given])

    def test_a_site_that_stops_ramps_down_and_its_pcs_run_until_nothing_is_left(self) -> None:
        desk = Desk(SiteMode.STOPPING)
        desk.told(4e3, 2e3, 2e3)
        seen = [desk.scan() for _ in range(3)]
        assert [p.active_power_target_w for p in seen] == pytest.approx([3e3, 0.0, 0.0])
        assert [p.pcs_enable.all() for p in seen] == [True, False, False]
        assert [p.pcs_enable.any() for p in seen] == [True, False, False]

    @pytest.mark.parametrize("site", [m for m in SiteMode if m not in FED])
    def test_in_any_other_mode_nothing_is_given_and_no_pcs_runs(self, site: SiteMode) -> None:
        desk = Desk(site)
        desk.told(4e3, 2e3, 2e3)
        desk.asked(8e3, 3e3)
        power = desk.scan()
        assert not power.pcs_active_power_target_w.any() and not power.pcs_reactive_power_target_var.any()
        assert (power.active_power_target_w, power.reactive_power_target_var) == (0.0, 0.0)
        assert not power.pcs_enable.any()

    @pytest.mark.parametrize("site", SiteMode)
    def test_what_was_asked_for_stays_only_while_the_site_is_connected_or_connects(self, site: SiteMode) -> None:
        desk = Desk(site)
        desk.asked(8e3, 3e3)
        desk.keep(active_power_set_by=b"scada", active_power_setter=7, reactive_power_setter=7)
        power = desk.scan()
        stays = site in ASKED
        assert (power.active_power_setpoint_w, power.reactive_power_setpoint_var) == ((8e3, 3e3) if stays else (0, 0))
        assert bool(desk.memory.active_power_setter) is bool(desk.memory.reactive_power_setter) is stays
        assert bool(power.active_power_set_by) is stays


class TestShares:
    """A bank gets its part, its PCS equal parts of that."""

    def steady(self, watts: float, change: Callable[[Desk], None] = lambda _: None) -> list[float]:
        desk = Desk()
        desk.asked(watts)
        desk.told(watts, 0.0, 0.0)
        change(desk)
        return desk.shares()

    def test_banks_share_by_what_they_may_give_or_take(self) -> None:
        def weaker(desk: Desk) -> None:
            desk.limits.bank_discharge_limit_w[0], desk.limits.bank_charge_limit_w[1] = 20e3, 10e3

        assert self.steady(40e3, weaker) == pytest.approx([10e3, 15e3, 15e3])
        assert self.steady(-40e3, weaker) == pytest.approx([-32e3, -4e3, -4e3])

    def test_or_equally_and_never_more_than_a_bank_may(self) -> None:
        def weaker(desk: Desk) -> None:
            desk.set(share_by_limit=False)
            desk.limits.bank_discharge_limit_w[0] = 15e3

        assert self.steady(20e3, weaker) == pytest.approx([10e3, 5e3, 5e3])
        assert self.steady(40e3, weaker) == pytest.approx([15e3, 10e3, 10e3])

    @pytest.mark.parametrize("by_limit", [True, False])
    def test_a_bank_that_may_give_nothing_leaves_all_to_the_other(self, by_limit: bool) -> None:
        def none(desk: Desk) -> None:
            desk.set(share_by_limit=by_limit)
            desk.limits.bank_discharge_limit_w[0] = 0.0

        assert self.steady(40e3, none) == pytest.approx([0.0, 20e3, 20e3])

    @pytest.mark.parametrize("by_limit", [True, False])
    def test_where_no_bank_may_give_anything_nothing_is_given(self, by_limit: bool) -> None:
        def none(desk: Desk) -> None:
            desk.set(share_by_limit=by_limit)
            desk.limits.bank_discharge_limit_w[:] = 0.0

        assert self.steady(40e3, none) == [0.0, 0.0, 0.0]

    @pytest.mark.parametrize("by_limit", [True, False])
    def test_the_last_half_watt_is_given_by_the_one_bank_that_may(self, by_limit: bool) -> None:
        desk = Desk()
        desk.asked(40e3)
        desk.set(share_by_limit=by_limit)
        desk.limits.bank_discharge_limit_w[:], desk.limits.bank_charge_limit_w[:] = (0.5, 0.0), 0.0
        assert desk.shares() == pytest.approx([0.5, 0.0, 0.0])
        desk.limits.bank_discharge_limit_w[:] = (40e3, 0.5)
        desk.asked(0.5)
        desk.told(0.5, 0.0, 0.0)
        assert sum(desk.shares()) == pytest.approx(0.5), "no matter that nothing may be taken"

    @pytest.mark.parametrize("mode", RackMode)
    def test_a_bank_takes_part_while_one_of_its_racks_is_connected(self, mode: RackMode) -> None:
        desk = Desk()
        desk.asked(40e3, 30e3)
        desk.told(40e3, 0.0, 0.0)
        desk.modes.rack_mode[:2] = int(RackMode.OPEN)
        desk.modes.rack_mode[1] = int(mode)
        power = desk.scan()
        joined = mode in (RackMode.CLOSED, RackMode.STOPPING)
        expected = [20e3, 10e3, 10e3] if joined else [0.0, 20e3, 20e3]
        assert power.pcs_active_power_target_w.tolist() == pytest.approx(expected)
        assert power.pcs_enable.tolist() == [joined, True, True]
        assert bool(power.pcs_reactive_power_target_var[0]) is joined

    def test_a_bank_that_still_begins_gives_no_power_the_other_gives_all(self) -> None:
        desk = Desk()
        desk.asked(40e3)
        desk.told(40e3, 0.0, 0.0)
        desk.modes.bank_connecting[0] = True
        assert desk.shares() == pytest.approx([0.0, 20e3, 20e3])


class TestReactive:
    def test_pcs_share_it_equally_in_what_their_rating_leaves(self) -> None:
        desk = Desk()
        desk.asked(0.0, 30e3)
        power = desk.scan()
        assert power.pcs_reactive_power_target_var.tolist() == pytest.approx([10e3, 10e3, 10e3])
        assert power.reactive_power_target_var == pytest.approx(30e3)

    def test_one_that_runs_alone_gives_all_of_it(self) -> None:
        desk = Desk()
        desk.asked(0.0, 30e3)
        desk.modes.rack_mode[2] = int(RackMode.OPEN)
        assert desk.scan().pcs_reactive_power_target_var.tolist() == pytest.approx([30e3, 0.0, 0.0])

    @pytest.mark.parametrize("asked", [60e3, -60e3])
    def test_active_power_comes_first(self, asked: float) -> None:
        """40 kVA each: beside 36 kW no more than 17.4 kvar are left, beside 12 kW all that is asked for."""
        desk = Desk()
        desk.asked(60e3, asked)
        desk.told(60e3, 0.0, 0.0)
        desk.limits.bank_discharge_limit_w[:] = 36e3, 24e3
        left = math.sqrt(40e3**2 - 36e3**2)
        expected = [left, 20e3, 20e3] if asked > 0 else [-left, -20e3, -20e3]
        assert desk.scan().pcs_reactive_power_target_var.tolist() == pytest.approx(expected)

    def test_a_pcs_at_more_than_its_rating_gives_none(self) -> None:
        desk = Desk()
        desk.asked(60e3, 30e3)
        desk.told(60e3, 0.0, 0.0)
        desk.limits.bank_discharge_limit_w[:] = 60e3, 0.0
        assert desk.scan().pcs_reactive_power_target_var.tolist() == pytest.approx([0.0, 10e3, 10e3])

    def test_a_site_that_stops_gives_none(self) -> None:
        desk = Desk(SiteMode.STOPPING)
        desk.told(20e3, 0.0, 0.0)
        desk.asked(0.0, 30e3)
        power = desk.scan()
        assert power.pcs_enable.all() and not power.pcs_reactive_power_target_var.any()

    def test_where_no_pcs_runs_nobody_is_asked(self) -> None:
        desk = Desk()
        desk.asked(0.0, 30e3)
        desk.modes.rack_mode[:] = int(RackMode.OPEN)
        assert not desk.scan().pcs_reactive_power_target_var.any()


class TestAstray:
    """One PCS that protection stops, with its bank: nobody knows what it gives, and no more is asked of it."""

    def desk(self, asked: float, *told: float) -> Desk:
        desk = Desk()
        desk.asked(asked)
        desk.told(*told)
        desk.astray[0] = True
        desk.limits.bank_discharge_limit_w[0] = desk.limits.bank_charge_limit_w[0] = 0.0
        return desk

    @pytest.mark.parametrize("sign", [1, -1])
    def test_its_part_is_no_part_of_the_ramps_beginning(self, sign: int) -> None:
        desk = self.desk(sign * 30e3, *(sign * np.array([10e3, 10e3, 10e3])))
        assert desk.watts(2) == pytest.approx([sign * 20e3] * 2), "and grows no further while its racks may feed it"
        desk.modes.rack_mode[:2] = int(RackMode.OPEN)
        assert desk.watts(3) == pytest.approx([sign * 25e3, sign * 30e3, sign * 30e3])

    @pytest.mark.parametrize("mode", RackMode)
    def test_the_others_wait_while_a_contactor_of_its_bank_is_told_to_be_closed(self, mode: RackMode) -> None:
        desk = self.desk(30e3, 10e3, 5e3, 5e3)
        desk.modes.rack_mode[:2] = int(RackMode.OPEN), int(mode)
        waits = mode in (RackMode.CLOSED, RackMode.STOPPING, RackMode.FUSE_WAIT)
        assert desk.scan().active_power_target_w == pytest.approx(10e3 if waits else 15e3)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_the_others_may_give_less_but_never_the_other_way(self, sign: int) -> None:
        desk = self.desk(sign * -30e3, *(sign * np.array([10e3, 4e3, 4e3])))
        assert desk.watts(3) == pytest.approx([sign * 3e3, 0.0, 0.0])
