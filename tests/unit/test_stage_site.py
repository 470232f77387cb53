"""The table of the site's moves in the stage around it, scan by scan without a plant.

A precharge may take 3 s and be tried three times with 1 s between; the next rack of a bank waits 5 s; contactors may
break 200 A, a fuse has 3 s; below 5 A a rack opens without current.
"""

from __future__ import annotations

import dataclasses

import pytest

from controller.core.effect import Effect
from controller.core.image import RackMode, RetainedState, SiteMode
from tests.sequence_stage import CLOSED, FUSE_WAIT, OPEN, PRECHARGE, STOPPING, TRIPPED, Site, closed


class TestSite:
    @pytest.mark.parametrize(
        ("since_ms", "tripped", "mode"),
        [(800, False, "STARTING"), (900, False, "STANDBY"), (900, True, "STARTING"), (9800, True, "STARTING"),
         (9900, True, "STANDBY")],
    )  # fmt: skip
    def test_at_the_start_inputs_are_given_time(self, since_ms: int, tripped: bool, mode: str) -> None:
        site = Site(SiteMode.STARTING)
        if tripped:
            site.acts(Effect.TRIP, 3)
        assert site.site(since_ms, connect_wanted=0).name == mode

    @pytest.mark.parametrize(
        ("effect", "mode"),
        [
            (Effect.LOCKOUT, "LOCKED_OUT"),
            (Effect.TRIP, "TRIPPED"),
            (Effect.STOP, "STOPPING"),
            (Effect.DERATE, "ONLINE"),
        ],
    )
    def test_effects_on_the_site(self, effect: Effect, mode: str) -> None:
        site = closed()
        site.trips = dataclasses.replace(site.trips, site_effect=int(effect))
        assert site.site().name == mode

    def all_closed(self) -> Site:
        site = closed()
        site.modes = dataclasses.replace(site.modes, site_mode=int(SiteMode.CONNECTING))
        return site

    def test_all_joined(self) -> None:
        site = self.all_closed()
        assert site.site(since_ms=5000) is SiteMode.ONLINE
        assert site.modes.site_mode_ms == 0, "its time begins anew"

    def test_somebody_is_still_on_its_way(self) -> None:
        site = self.all_closed()
        site.since(1, OPEN, 0)
        site.put("rack_main_closed", 0.0, 1)
        site.memory.bank_pause_ms[:] = 5000
        assert site.site() is SiteMode.CONNECTING
        site.memory.join[1] = False
        assert site.site() is SiteMode.ONLINE, "who is not wanted is not waited for"

    def test_who_cannot_join_is_not_waited_for(self) -> None:
        site = self.all_closed()
        site.since(1, OPEN, 0)
        site.put("rack_main_closed", 0.0, 1)
        site.put("rack_voltage_v", 150.0, 1)
        assert site.site() is SiteMode.ONLINE

    def test_a_contactor_not_seen_closed_yet_has_not_joined(self) -> None:
        site = self.all_closed()
        site.put("rack_main_closed", 0.0, 1)
        assert site.site() is SiteMode.CONNECTING

    def test_without_any_rack_nothing_is_joined(self) -> None:
        site = Site()
        site.memory.join[:] = False
        assert site.site() is SiteMode.CONNECTING

    @pytest.mark.parametrize(("closed_racks", "least", "mode"), [(2, 2, "ONLINE"), (1, 2, "STOPPING")])
    def test_so_many_racks_must_stay(self, closed_racks: int, least: int, mode: str) -> None:
        site = closed()
        site.set(least_racks=least)
        for rack in range(closed_racks, 4):
            site.since(rack, TRIPPED, 0)
            site.acts(Effect.TRIP, rack)
        assert site.site().name == mode

    @pytest.mark.parametrize("mode", [PRECHARGE, CLOSED, STOPPING, FUSE_WAIT])
    def test_it_is_open_when_nobody_is_energised(self, mode: RackMode) -> None:
        site = Site(SiteMode.STOPPING)
        site.put("rack_current_a", 300.0)
        site.acts(Effect.TRIP if mode is FUSE_WAIT else Effect.NONE, 2)
        site.since(2, mode, 0)
        site.modes = dataclasses.replace(site.modes, connect_wanted=0)
        if mode is not PRECHARGE:
            assert site.site() is SiteMode.STOPPING
        site.since(2, OPEN, 0)
        site.acts(Effect.NONE, 2)
        site.put("rack_main_closed", 1.0, 1)
        assert site.site() is SiteMode.STOPPING, "a contactor is still seen closed"
        site.put("rack_main_closed", 0.0, 1)
        assert site.site() is SiteMode.STANDBY

    @pytest.mark.parametrize(("since_ms", "mode"), [(39_800, "STOPPING"), (39_900, "STANDBY")])
    def test_stopping_ends_with_its_time(self, since_ms: int, mode: str) -> None:
        site = Site(SiteMode.STOPPING)
        site.put("rack_main_closed", 1.0, 1)
        assert site.site(since_ms, connect_wanted=0).name == mode

    @pytest.mark.parametrize(("since_ms", "mode"), [(35_800, "CONNECTING"), (35_900, "STOPPING")])
    def test_connecting_has_time_for_all_attempts_and_one_more_of_every_rack_of_the_largest_bank(
        self, since_ms: int, mode: str
    ) -> None:
        """3 x (3 s + 1 s) for the attempts of one, and 3 x (3 s + 5 s) for the racks of the first bank."""
        site = Site()
        site.memory.join[:] = False
        assert site.site(since_ms).name == mode

    @pytest.mark.parametrize(
        ("site_mode", "wanted"), [("STANDBY", 0), ("STANDBY", 1), ("ONLINE", 1), ("CONNECTING", 1), ("STOPPING", 1)]
    )
    def test_the_wish_to_connect_ends_when_the_site_stops(self, site_mode: str, wanted: int) -> None:
        site = closed()
        site.trips = dataclasses.replace(site.trips, site_effect=int(Effect.STOP) if site_mode == "STANDBY" else 0)
        site.modes = dataclasses.replace(site.modes, site_mode=int(SiteMode[site_mode]), connect_wanted=wanted)
        site.put("rack_current_a", 100.0)
        after = site.scan()
        assert after.connect_wanted == (wanted if SiteMode(after.site_mode) is not SiteMode.STOPPING else 0)
        assert SiteMode(after.site_mode) is (SiteMode.ONLINE if site_mode == "CONNECTING" else SiteMode[site_mode])

    def test_an_armed_shutdown_runs_out(self) -> None:
        site = Site(SiteMode.STANDBY)
        site.memory = dataclasses.replace(site.memory, armed_ms=150)
        assert [site.scan().shutdown_armed_ms for _ in range(3)] == [50, 0, 0]
        assert site.memory.armed_ms == 0

    @pytest.mark.parametrize(
        ("state", "mode", "after"),
        [(RetainedState.DOUBTFUL, SiteMode.STANDBY, RetainedState.GOOD),
         (RetainedState.LOST, SiteMode.STANDBY, RetainedState.LOST),
         (RetainedState.LOST, SiteMode.MAINTENANCE, RetainedState.GOOD)],
    )  # fmt: skip
    def test_doubt_is_told_once_and_a_loss_until_an_engineer_is_at_it(
        self, state: RetainedState, mode: SiteMode, after: RetainedState
    ) -> None:
        site = Site(mode)
        site.modes = dataclasses.replace(site.modes, retained_state=int(state), connect_wanted=0)
        assert site.scan().retained_state == after

    def test_how_long_it_is_in_a_mode_is_counted(self) -> None:
        site = Site()
        site.memory.join[:] = False
        assert site.scan(3).site_mode_ms == 300
