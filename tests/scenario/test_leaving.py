"""How racks leave, and what their contactors remember and prove."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.core.command import Kind, Role
from controller.core.image import RackMode, SiteMode, WeldTest
from controller.core.protect.limits import NAMES
from tests.scenario.test_connecting import CELLS, site
from tests.story import REST_V, Story


class TestLeaving:
    def test_a_rack_taken_out_under_load_gives_its_current_up_by_a_ramp_and_the_others_go_on(
        self, online: Story
    ) -> None:
        online.tell(Kind.SET_ACTIVE_POWER, 80e3)
        online.seconds(4)
        assert online.points.rack_current_a.value == pytest.approx(190.0, rel=0.01)
        online.tell(Kind.RACK_OUT_OF_SERVICE, target=0, role=Role.ENGINEER)
        powers = []
        for _ in range(20):
            image = online.scans()
            powers.append(float(image.outputs.pcs_active_power_setpoint_w.sum()))
            assert image.outputs.rack_main_close.all(), "not under current"
        assert powers[0] == pytest.approx(80e3) and max(powers[i] - powers[i + 1] for i in range(19)) < 8e3
        assert NAMES[image.limits.discharge_binding] == "rack being disconnected"
        online.seconds(5)
        assert (online.rack(0), online.rack(1)) == (RackMode.OUT_OF_SERVICE, RackMode.CLOSED)
        assert online.mode is SiteMode.ONLINE
        assert online.image.outputs.pcs_active_power_setpoint_w.sum() > 50e3
        assert online.image.modes.contactors.rack_contactor_hot_openings.tolist() == [0, 0]
        assert not online.image.trips.slot_active.any(), "nothing is wrong with a rack that leaves"

    def test_a_rack_put_back_in_service_waits_for_connect_also_if_somebody_connected_meanwhile(
        self, online: Story
    ) -> None:
        online.tell(Kind.RACK_OUT_OF_SERVICE, target=0, role=Role.ENGINEER)
        online.seconds(5)
        online.tell(Kind.CONNECT)
        online.seconds(2)
        online.tell(Kind.RACK_IN_SERVICE, target=0, role=Role.ENGINEER)
        online.seconds(20)
        assert (online.rack(0), online.rack(1)) == (RackMode.OPEN, RackMode.CLOSED)
        online.tell(Kind.CONNECT)
        online.seconds(20)
        assert online.rack(0) is RackMode.CLOSED

    def test_the_limits_of_the_others_stand_in_the_scan_in_which_a_rack_trips(self, online: Story) -> None:
        before = online.scans().limits.discharge_limit_w
        online.points.rack_current_a.value[1] = 340.0
        for _ in range(5):
            image = online.scans()
            if online.rack(1) is RackMode.TRIPPED:
                break
        assert online.rack(1) is RackMode.TRIPPED
        assert image.limits.discharge_limit_w == pytest.approx(min(before, 280.0 * REST_V * CELLS), rel=0.01)
        assert image.outputs.rack_main_close.tolist() == [True, False]


class TestLedger:
    def test_closings_openings_and_their_currents_are_counted(self, online: Story) -> None:
        ledger = online.scans().modes.contactors
        assert ledger.rack_contactor_operations.tolist() == [1, 1]
        online.points.rack_current_a.value[...] = (140.0, 2.0)
        online.points.smoke_detected.value[...] = 1
        ledger = online.seconds(1).modes.contactors
        assert ledger.rack_contactor_hot_openings.tolist() == [1, 0]
        assert ledger.rack_contactor_breaks[0] == pytest.approx((140 / 280) ** 2)
        assert ledger.rack_contactor_wear_ratio[0] == pytest.approx(1 / 100_000 + 0.25 / 100)

    def test_an_opening_that_nobody_commanded_counts_with_the_current_of_the_scan_before(self, online: Story) -> None:
        online.points.rack_current_a.value[0] = 200.0
        online.scans()
        online.hold.add("rack_main_closed")
        online.points.rack_main_closed.value[0] = 0
        online.points.rack_current_a.value[0] = 0.0
        ledger = online.seconds(2).modes.contactors
        assert online.rack() is RackMode.TRIPPED
        assert ledger.rack_contactor_hot_openings[0] == 1, "once, though it is told to open later"
        assert ledger.rack_contactor_breaks[0] == pytest.approx((200 / 280) ** 2)

    def test_a_contactor_without_usable_feedback_is_counted_by_its_commands(self, online: Story) -> None:
        online.points.rack_current_a.value[...] = 100.0
        online.scans()
        online.points.rack_main_closed.quality[...] = 5
        online.points.smoke_detected.value[...] = 1
        ledger = online.seconds(1).modes.contactors
        assert ledger.rack_contactor_hot_openings.tolist() == [1, 1]


class TestWeld:
    def result(self, story: Story, rack: int = 0) -> WeldTest:
        assert story.image is not None
        return WeldTest(int(story.image.modes.contactors.rack_weld_test[rack]))

    def test_a_link_that_decays_proves_the_contactor_open(self, online: Story) -> None:
        online.hold.add("rack_link_voltage_v")
        online.tell(Kind.DISCONNECT)
        online.seconds(2)
        assert self.result(online) is WeldTest.RUNNING
        for _ in range(8):
            online.points.rack_link_voltage_v.value[...] -= 1.0
            online.seconds(1)
        assert self.result(online) is WeldTest.PASSED
        assert online.image.modes.contactors.rack_weld_test_utc_ms[0] > 0

    def test_a_link_that_stays_up_blocks_closing_until_an_engineer_looked(self, online: Story) -> None:
        online.hold.add("rack_link_voltage_v")
        online.tell(Kind.DISCONNECT)
        online.seconds(63)
        assert self.result(online) is WeldTest.FAILED and online.active("weld_test_failed", "R01")
        refused = online.tell(Kind.CONNECT)
        online.scans()
        assert "blocked" in online.answer(refused).text
        online.hold.clear()
        online.tell(Kind.ENTER_MAINTENANCE, role=Role.ENGINEER)
        online.seconds(1)
        online.tell(Kind.RESET_TRIPS, role=Role.ENGINEER)
        online.tell(Kind.LEAVE_MAINTENANCE, role=Role.ENGINEER)
        online.seconds(1)
        assert self.result(online) is WeldTest.NONE and not online.active("weld_test_failed")
        online.tell(Kind.CONNECT)
        online.until(SiteMode.ONLINE)

    def test_closed_again_before_the_link_could_tell_is_undecided(self, online: Story) -> None:
        online.hold.add("rack_link_voltage_v")
        online.tell(Kind.DISCONNECT)
        online.seconds(5)
        online.tell(Kind.CONNECT)
        online.until(SiteMode.ONLINE)
        assert self.result(online) is WeldTest.UNDECIDED

    def test_a_running_pcs_may_hold_the_link_so_nothing_is_concluded(self, online: Story) -> None:
        online.hold |= {"rack_link_voltage_v", "pcs_running"}
        online.points.pcs_running.value[...] = 1
        online.tell(Kind.DISCONNECT)
        online.seconds(90)
        assert self.result(online) is WeldTest.RUNNING

    def test_on_a_live_link_the_current_of_the_others_tells(self, online: Story) -> None:
        online.tell(Kind.RACK_OUT_OF_SERVICE, target=0, role=Role.ENGINEER)
        online.seconds(70)
        assert self.result(online) is WeldTest.RUNNING, "no load: the link says nothing about the rack"
        online.points.rack_current_a.value[1] = 100.0
        online.seconds(1)
        assert self.result(online) is WeldTest.PASSED

    def test_a_rack_that_takes_its_share_is_not_passed(self, online: Story) -> None:
        online.tell(Kind.RACK_OUT_OF_SERVICE, target=0, role=Role.ENGINEER)
        online.seconds(5)
        online.points.rack_current_a.value[...] = 100.0
        online.scans(3)
        assert self.result(online) is WeldTest.RUNNING
        online.seconds(2)
        assert online.active("current_on_open_rack", "R01")

    def test_it_can_be_switched_off(self, tmp_path: Path) -> None:
        story = Story(site(tmp_path, contactors="{weld_test: 0 s}")).online()
        story.hold.add("rack_link_voltage_v")
        story.tell(Kind.DISCONNECT)
        story.seconds(70)
        assert self.result(story) is WeldTest.NONE
