"""What stands between a rack and the link, number by number: permissives, in-rush, whose turn it is, the resistor.

Voltages may differ by 5 V after a precharge and by 8 V on a live link, in-rush may be 100 A, a rack has 20 mohm or more
and by its data sheet 30 mohm; the resistor takes 2 Wh and needs 60 s to give them off.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from controller.core.effect import Effect
from controller.core.image import RackMode
from controller.core.sequence.connect import Heat, Permit, cool_enough, its_turn, permit, precharging, warm
from controller.core.signal import Quality
from tests.sequence_bench import Racks

Change = Callable[[Racks], None]


def asked(racks: Racks) -> Permit:
    return permit(racks.topology, racks.settings, racks.modes, racks.memory, racks.measured, racks.trips)


def live(joined: int = 1, link_v: float = 200.0) -> Racks:
    """So many racks of the first bank are closed, and its link has this voltage."""
    racks = Racks()
    racks.mode(RackMode.CLOSED, *range(joined))
    racks.put("rack_main_closed", 1.0, np.s_[:joined])
    racks.put("rack_link_voltage_v", link_v, np.s_[:3])
    return racks


class TestDeadLink:
    def test_everything_in_order(self) -> None:
        found = asked(Racks())
        assert found.ready.all() and not found.live.any() and not found.close_enough.any()
        assert found.inrush_a.tolist() == [0.0] * 4 and found.difference_v.tolist() == [200.0] * 4

    @pytest.mark.parametrize(
        ("change", "ready"),
        [
            (lambda r: r.lose("rack_voltage_v", 1), False),
            (lambda r: r.lose("rack_link_voltage_v", 1), False),
            (lambda r: r.lose("rack_link_voltage_v", 1, Quality.NOT_FITTED), False),
            (lambda r: r.lose("rack_main_closed", 1), False),
            (lambda r: r.lose("rack_current_a", 1), True),
            (lambda r: r.put("rack_main_closed", 0.49, 1), True),
            (lambda r: r.memory.out_of_service.__setitem__(1, True), False),
            (lambda r: r.trips.rack_effect.__setitem__(1, int(Effect.ALARM | Effect.DERATE)), True),
            (lambda r: r.trips.rack_effect.__setitem__(1, int(Effect.BLOCK_CLOSE)), False),
            (lambda r: r.trips.rack_effect.__setitem__(1, int(Effect.STOP)), False),
            (lambda r: r.trips.rack_effect.__setitem__(1, int(Effect.TRIP)), False),
            (lambda r: r.trips.rack_effect.__setitem__(1, int(Effect.LOCKOUT)), False),
        ],
    )
    def test_every_permissive_stands_alone(self, change: Change, ready: bool) -> None:
        racks = Racks()
        change(racks)
        assert asked(racks).ready.tolist() == [True, ready, True, True]

    @pytest.mark.parametrize(("volts", "enough"), [(195.0, True), (194.9, False), (205.0, True), (205.1, False)])
    def test_a_precharge_is_done_when_the_voltages_meet(self, volts: float, enough: bool) -> None:
        racks = Racks()
        racks.put("rack_link_voltage_v", volts, 0)
        assert asked(racks).close_enough.tolist() == [enough, False, False, False]

    @pytest.mark.parametrize("name", ["rack_voltage_v", "rack_link_voltage_v"])
    def test_unknown_voltages_never_meet(self, name: str) -> None:
        racks = Racks()
        racks.put("rack_link_voltage_v", 200.0, 0)
        racks.lose(name, 0)
        assert not asked(racks).close_enough.any()


class TestLiveLink:
    def test_a_bank_is_live_when_a_rack_feeds_it_and_the_other_bank_is_not(self) -> None:
        assert asked(live()).live.tolist() == [True, True, True, False]

    @pytest.mark.parametrize("mode", [RackMode.CLOSED, RackMode.STOPPING, RackMode.FUSE_WAIT])
    def test_who_is_told_to_be_closed_feeds_it(self, mode: RackMode) -> None:
        racks = Racks()
        racks.mode(mode, 0)
        assert asked(racks).live[0]

    def test_who_is_seen_closed_feeds_it_whatever_it_was_told(self) -> None:
        racks = Racks()
        racks.put("rack_main_closed", 0.5, 2)
        found = asked(racks)
        assert found.live.tolist() == [True, True, True, False] and not found.ready[2]

    def test_who_is_seen_closed_is_not_ready_to_close(self) -> None:
        racks = live()
        racks.put("rack_main_closed", 1.0, 1)
        assert asked(racks).ready.tolist() == [False, False, True, True]

    @pytest.mark.parametrize(("own", "fed"), [(True, False), (False, True)])
    def test_a_rack_that_precharges_by_itself_shows_its_main_closed_before_it_has_joined(
        self, own: bool, fed: bool
    ) -> None:
        racks = Racks()
        if own:
            racks.precharge_by_themselves(0)
        racks.mode(RackMode.PRECHARGE, 0)
        racks.put("rack_main_closed", 1.0, 0)
        assert bool(asked(racks).live[0]) is fed

    @pytest.mark.parametrize(("volts", "ready"), [(208.0, True), (208.1, False), (192.0, True), (191.9, False)])
    def test_a_rack_joins_when_its_voltage_is_near(self, volts: float, ready: bool) -> None:
        racks = live()
        racks.set(inrush_a=1e6)
        racks.put("rack_voltage_v", volts, 1)
        found = asked(racks)
        assert found.ready[1] == ready and found.close_enough[1] == ready

    @pytest.mark.parametrize(
        ("joined", "volts", "amps"), [(1, 204.0, 100.0), (1, 204.1, 102.5), (2, 203.0, 100.0), (2, 203.1, 103.333)]
    )
    def test_in_rush_flows_through_the_rack_and_through_those_on_the_link_in_parallel(
        self, joined: int, volts: float, amps: float
    ) -> None:
        racks = live(joined)
        racks.put("rack_voltage_v", volts, 2)
        racks.put("rack_voltage_v", 200.0, np.s_[:2])
        found = asked(racks)
        assert found.inrush_a[2] == pytest.approx(amps, rel=1e-4)
        assert found.ready[2] == found.close_enough[2] == (amps <= 100.001)
        assert not found.inrush_a[:joined].any() and found.inrush_a[3] == 0.0

    def test_what_the_load_pulls_the_link_down_drives_nothing(self) -> None:
        racks = live(2, link_v=197.0)
        racks.put("rack_current_a", (150.0, 50.0), np.s_[:2])
        assert asked(racks).inrush_a[2] == pytest.approx(0.0, abs=1e-6)
        racks.put("rack_current_a", 900.0, 2)
        assert asked(racks).inrush_a[2] == pytest.approx(0.0, abs=1e-6), "who does not feed carries none of it"
        racks.lose("rack_current_a", 1)
        assert asked(racks).inrush_a[2] == pytest.approx((3.0 - 150.0 * 0.03) / -0.03), "of those that are heard"

    def test_without_any_current_the_whole_difference_drives(self) -> None:
        racks = live(1, link_v=197.0)
        racks.put("rack_current_a", 100.0, 0)
        racks.lose("rack_current_a")
        assert asked(racks).inrush_a[2] == pytest.approx(3.0 / 0.04)

    def test_unknown_voltages_foretell_nothing_and_permit_nothing(self) -> None:
        racks = live()
        racks.put("rack_voltage_v", 150.0, 1)
        racks.lose("rack_voltage_v", 1)
        found = asked(racks)
        assert found.inrush_a[1] == 0.0 and not found.ready[1] and not found.close_enough[1]

    def test_without_a_known_resistance_any_difference_is_too_much(self) -> None:
        racks = live()
        racks.set(rack_resistance_ohm=0.0)
        racks.put("rack_voltage_v", 200.001, 1)
        found = asked(racks)
        assert found.inrush_a[1] == pytest.approx(1e6, rel=1e-3) and not found.ready[1]


def test_a_precharge_contactor_without_feedback_is_believed_and_one_that_is_not_heard_is_not() -> None:
    racks = Racks()
    racks.put("rack_precharge_closed", (1.0, 0.0, 0.0, 1.0))
    racks.lose("rack_precharge_closed", 2, Quality.NOT_FITTED)
    racks.lose("rack_precharge_closed", 3)
    assert precharging(racks.points.rack_precharge_closed).tolist() == [True, False, True, False]


class TestTurn:
    def turn(self, racks: Racks, who: tuple[int, ...] = (0, 1, 2, 3), pause: tuple[int, int] = (0, 0)) -> list[int]:
        candidates = np.zeros(4, bool)
        candidates[list(who)] = True
        found = its_turn(
            racks.topology, racks.settings, candidates, asked(racks), racks.measured, np.array(pause)
        )  # fmt: skip
        return np.flatnonzero(found).tolist()

    @pytest.mark.parametrize(("policy", "first"), [("lowest", 2), ("highest", 1), ("median", 0)])
    def test_on_a_dead_link_the_policy_says_who_is_first_in_each_bank(self, policy: str, first: int) -> None:
        racks = Racks()
        racks.set(first_rack=policy)
        racks.put("rack_voltage_v", (200.0, 202.0, 197.0, 150.0))
        assert self.turn(racks) == [first, 3]

    @pytest.mark.parametrize(("volts", "first"), [(0.5, 0), (0.6, 1)])
    def test_as_good_as_equal_the_first_by_number_begins(self, volts: float, first: int) -> None:
        racks = Racks()
        racks.set(first_rack="lowest")
        racks.put("rack_voltage_v", (200.0, 200.0 - volts, 201.0, 200.0))
        assert self.turn(racks)[0] == first

    def test_on_a_live_link_the_nearest_voltage_is_next(self) -> None:
        racks = live()
        racks.set(first_rack="highest")
        racks.put("rack_voltage_v", (200.0, 204.0, 198.0, 200.0))
        assert self.turn(racks, (1, 2)) == [2]

    def test_a_bank_that_pauses_has_no_turn(self) -> None:
        assert self.turn(Racks(), pause=(1, 0)) == [3]

    def test_only_candidates_count(self) -> None:
        assert self.turn(Racks(), (2,)) == [2]


class TestResistor:
    def heat(self, racks: Racks) -> Heat:
        return warm(racks.topology, racks.settings, racks.modes, racks.memory, racks.measured, racks.system)

    def hot(self) -> Racks:
        """R01 precharges with 36 A at 100 V across the resistor: 0.1 Wh in 0.1 s; R02 is open and 0.5 Wh warm."""
        racks = Racks()
        racks.mode(RackMode.PRECHARGE, 0)
        racks.put("rack_current_a", -36.0, np.s_[:2])
        racks.put("rack_link_voltage_v", 100.0)
        racks.memory.precharge_heat_wh[:2] = (0.0, 0.5)
        return racks

    def test_power_is_current_times_the_voltage_across_it(self) -> None:
        found = self.heat(self.hot())
        assert found.power_w.tolist() == [3600.0, 0.0, 0.0, 0.0]
        assert found.attempt_wh.tolist() == pytest.approx([0.1, 0.0, 0.0, 0.0])

    def test_the_whole_budget_is_given_off_in_its_time_and_no_more_than_there_is(self) -> None:
        given = 2.0 * 100 / 60_000
        assert self.heat(self.hot()).held_wh.tolist() == pytest.approx([0.1, 0.5 - given, 0.0, 0.0])

    def test_energy_and_the_greatest_power_of_an_attempt_add_up(self) -> None:
        racks = self.hot()
        racks.memory.precharge_attempt_wh[0], racks.memory.precharge_power_w[0] = 0.3, 9000.0
        racks.memory.precharge_heat_wh[0] = 1.0
        found = self.heat(racks)
        assert (found.attempt_wh[0], found.power_w[0]) == (pytest.approx(0.4), 9000.0)
        assert found.held_wh[0] == pytest.approx(1.0 - 2.0 * 100 / 60_000 + 0.1)

    @pytest.mark.parametrize("name", ["rack_current_a", "rack_voltage_v", "rack_link_voltage_v"])
    def test_without_data_the_greatest_power_of_the_attempt_goes_on(self, name: str) -> None:
        racks = self.hot()
        racks.memory.precharge_power_w[0] = 7200.0
        racks.put("rack_current_a", 1000.0)
        racks.lose(name)
        found = self.heat(racks)
        assert (found.attempt_wh[0], found.power_w[0]) == (pytest.approx(0.2), 7200.0)

    def test_a_rack_that_precharges_by_itself_has_a_resistor_of_its_own(self) -> None:
        racks = self.hot()
        racks.precharge_by_themselves(0)
        assert not self.heat(racks).attempt_wh.any()

    def test_without_a_budget_nothing_is_held(self) -> None:
        racks = self.hot()
        racks.set(precharge_energy_wh=np.inf)
        found = self.heat(racks)
        assert found.held_wh.tolist() == pytest.approx([0.1, 0.0, 0.0, 0.0])
        assert cool_enough(racks.settings, found, np.zeros(4, bool)).all()

    @pytest.mark.parametrize(
        ("held", "attempt", "live", "cool"),
        [(1.5, 0.5, False, True), (1.5, 0.51, False, False), (0.0, 9.0, False, True), (0.01, 9.0, False, False),
         (1.5, 9.0, True, True), (2.0, 0.0, True, True), (2.01, 0.0, True, False)],
    )  # fmt: skip
    def test_it_must_bear_another_attempt_like_the_last_and_on_a_live_link_hardly_any(
        self, held: float, attempt: float, live: bool, cool: bool
    ) -> None:
        heat = Heat(np.array([held]), np.array([attempt]), np.zeros(1))
        assert cool_enough(Racks().settings, heat, np.array([live])).tolist() == [cool]
