"""A contactor is welded and its feedback says open: the rack stays on the bus under load, and two witnesses see it.

Told on the simulated plant, because what matters is what really flows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from controller.core.command import Kind
from controller.core.image import RackMode, SiteMode, WeldTest
from controller.core.signal import Quality
from plc_config.compile import compile_site
from tools.swarm.campaign import at_cycle
from tools.swarm.day import Day
from tools.swarm.faults import Faults

SECOND_SENSORS = ("pcs_dc_current_a", "pcs_dc_voltage_v", "rack_current_redundant_a")
RATED_W = 100e3
SLOW_MS = 1000
"""Cycle of a site in which minutes matter and no fraction of a second does."""


class Site(Day):
    """A site under load, with the sensors that it happens to have."""

    def __init__(
        self, name: str = "bench", without: tuple[str, ...] = (), watts: float = 0.3 * RATED_W, slow: bool = False
    ) -> None:
        site = compile_site(name)
        super().__init__(at_cycle(site, SLOW_MS) if slow else site, 3)
        for name in without:
            getattr(self.input.points, name).quality[...] = int(Quality.NOT_FITTED)
        self.until(SiteMode.STANDBY)
        self.cycle([self.ask(Kind.CONNECT)])
        self.until(SiteMode.ONLINE)
        self.power(watts)

    def until(self, mode: SiteMode) -> None:
        for _ in range(600):
            if self.cycle([]).modes.site_mode == mode:
                return
        raise AssertionError(f"not {mode.name}: {list(self.told)[-5:]}")

    def power(self, watts: float, seconds: float = 5.0) -> None:
        self.cycle([self.ask(Kind.SET_ACTIVE_POWER, watts)])
        self.seconds(seconds)

    def seconds(self, seconds: float) -> None:
        for _ in range(round(1000 * seconds / self.program.cycle_ms)):
            self.cycle([])

    def do(self, verb: str, place: str = "R01", **more: object) -> None:
        answer = self.simulator.control.perform({"do": verb, "place": place, **more})
        assert answer.get("ok"), answer

    def weld_and_lie(self) -> None:
        """A cell of R01 is over-charged, so R01 trips; its contactor stays closed, and its feedback says open."""
        self.do("weld_unseen")
        self.do("override", "R01/M01/C01", point="cell_voltage_v", value=3.9)

    def open_rack(self) -> None:
        """R01 goes out of service and really opens; R02 carries the load alone."""
        self.cycle([dataclasses.replace(self.ask(Kind.RACK_OUT_OF_SERVICE), target=0)])
        self.seconds(12)
        assert not self.plant.racks.main.closed[0] and self.plant.racks.main.closed[1]

    def active(self, row: str) -> bool:
        assert self.image is not None
        slots = self.program.matrix.slots
        return any(slots[i].row.id == row for i in np.flatnonzero(self.image.trips.slot_active))

    def mode_of(self, rack: int) -> RackMode:
        assert self.image is not None
        return RackMode(int(self.image.modes.rack_mode[rack]))


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


def test_a_weld_whose_feedback_lies_stops_its_bank(site: Site) -> None:
    """Before the second witness it was R01 that was locked out, and R01 that carried half of the load all the same."""
    site.weld_and_lie()
    site.seconds(0.5)
    assert site.plant.current_a[0] > 50.0, "R01 is commanded open and carries its share"
    site.seconds(1.5)
    assert site.active("open_rack_live")
    assert site.plant.power_w() == pytest.approx(0.0, abs=100.0)
    assert abs(site.plant.current_a[0]) < 1.0
    site.seconds(11)
    assert not site.plant.racks.main.closed[1], "the sound rack has opened, without load"
    assert site.mode_of(0) is RackMode.LOCKED_OUT


def test_its_sisters_are_not_called_welded_for_a_link_that_it_holds_up(site: Site) -> None:
    site.weld_and_lie()
    site.seconds(80)
    assert site.image is not None
    assert site.image.modes.contactors.rack_weld_test.tolist() == [WeldTest.FAILED, WeldTest.RUNNING]


def test_the_bank_stays_stopped_until_an_engineer_has_mended_it(site: Site) -> None:
    site.weld_and_lie()
    site.seconds(15)
    site.cycle([site.ask(Kind.RESET_TRIPS)])
    site.cycle([site.ask(Kind.CONNECT)])
    site.seconds(10)
    assert site.active("open_rack_live") and not site.plant.racks.main.closed[1]
    Faults(site).heal()
    for kind in (Kind.ENTER_MAINTENANCE, Kind.RESET_TRIPS, Kind.LEAVE_MAINTENANCE, Kind.CONNECT):
        site.cycle([site.ask(kind)])
        site.seconds(2)
    site.until(SiteMode.ONLINE)
    assert site.plant.racks.main.closed.all()


def test_one_witness_less_still_stops_it() -> None:
    """No second sensor in the rack, and a PCS that tells only its AC power."""
    site = Site(without=SECOND_SENSORS)
    site.weld_and_lie()
    site.seconds(2)
    assert site.active("open_rack_live") and abs(site.plant.power_w()) < 100.0
    site.close()


def test_where_the_pcs_cannot_tell_the_cells_do() -> None:
    """One of twelve racks at a small load: its share is within what the losses of a PCS hide, charging as
    discharging. Once the load changes, the cells of the rack that should be open move like their sisters."""
    site = Site("container", without=SECOND_SENSORS, watts=375e3, slow=True)
    site.weld_and_lie()
    site.seconds(45)
    assert site.active("current_on_open_rack") and not site.active("open_rack_live")
    for watts in (-375e3, 375e3, -375e3, 375e3):
        site.power(watts, 15)
    assert site.active("open_rack_live") and abs(site.plant.power_w()) < 1e3
    site.close()


@pytest.mark.parametrize("shown_a", [20.0, 74.0, -74.0, 400.0])
def test_a_faulty_current_sensor_alone_does_not_stop_the_bank(site: Site, shown_a: float) -> None:
    """R01 is open. Its sensor shows a current that nothing else knows of, whatever the load does."""
    site.open_rack()
    site.do("override", point="rack_current_a", value=shown_a)
    for watts in (30e3, 90e3, -50e3, 10e3, 0.0, 25e3):
        site.power(watts)
        assert not site.active("open_rack_live")
    assert site.active("current_on_open_rack"), "its own rack is locked out, as before"
    assert site.plant.racks.main.closed[1] and site.plant.power_w() == pytest.approx(25e3, rel=0.02)


def test_a_faulty_sensor_of_the_pcs_or_of_a_closed_rack_does_not_either(site: Site) -> None:
    site.open_rack()
    site.do("offset", "P01", point="pcs_dc_current_a", value=80.0)
    site.power(30e3)
    assert not site.active("open_rack_live")
    site.do("clear", "P01")
    site.do("offset", "R02", point="rack_current_a", value=-80.0)
    site.power(50e3)
    assert not site.active("open_rack_live")


def test_a_healthy_open_rack_beside_a_load_that_swings_is_quiet() -> None:
    """Its own cells recover and stand still while the bank goes up and down for five minutes."""
    site = Site(slow=True)
    site.open_rack()
    for i in range(30):
        site.power((60e3, -60e3, 20e3, 0.0)[i % 4], 10)
        assert not site.active("open_rack_live") and not site.active("current_on_open_rack")
    assert site.memory.protection.trend.swing.bank_square[0] > 25e-6, "the closed rack's cells did move"
    site.close()


def test_a_welded_rack_at_rest_does_not_stop_anything() -> None:
    """Without load nothing flows through the weld, and nothing tells it from an open contactor."""
    site = Site(watts=0.0)
    site.weld_and_lie()
    site.seconds(60)
    assert not site.active("open_rack_live") and site.plant.racks.main.closed[1]
    site.close()
