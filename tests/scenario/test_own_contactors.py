"""Racks that report only extremes and precharge by themselves, told as stories."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from controller.core.command import Kind
from controller.core.field_image import Points
from controller.core.image import RackMode, SiteMode
from controller.core.sequence.closing import joined_voltage, may_start
from controller.core.signal import Quality
from controller.core.topology import Topology
from plc_config.compile import compile_site
from plc_config.problem import ConfigError
from tests.protect_bench import Bench
from tests.sites import own_contactor_site
from tests.story import REST_V, Story

SERIES = 240


class OwnRacks(Story):
    """Racks that wait `takes` scans between the one command and their closed main contactor."""

    def __init__(self, folder: Path, profile: str = "soltaro-c", racks: int = 2, estimator: str = "coulomb") -> None:
        path = own_contactor_site(folder, profile, racks, SERIES)
        path.write_text(path.read_text() + f"estimator: {{soc: {estimator}}}\n")
        super().__init__(compile_site(str(path)))
        self.takes = 8
        self.asked = np.zeros(racks, int)
        self.answers = np.ones(racks, bool)
        p = self.points
        p.rack_voltage_v.value[...] = REST_V * SERIES
        p.rack_link_voltage_v.quality[...] = int(Quality.NOT_FITTED)
        p.module_sample_counter.quality[...] = int(Quality.NOT_FITTED)

    def _follow(self) -> None:
        command = self.memory.outputs.rack_main_close & self.answers
        self.asked = np.where(command, self.asked + 1, 0)
        held = {name: getattr(self.points, name).value.copy() for name in ("rack_link_voltage_v",)}
        super()._follow()
        p = self.points
        p.rack_link_voltage_v.value[...] = held["rack_link_voltage_v"]
        if "rack_main_closed" not in self.hold:
            p.rack_main_closed.value[...] = self.asked > self.takes
        if "rack_precharge_closed" not in self.hold:
            p.rack_precharge_closed.value[...] = (self.asked > 0) & (self.asked <= self.takes)
        p.rack_main_confirmed.value[...] = self.memory.outputs.rack_main_close


def test_one_command_closes_a_rack_and_no_precharge_command_is_ever_given(tmp_path: Path) -> None:
    story = OwnRacks(tmp_path)
    story.until(SiteMode.STANDBY)
    story.tell(Kind.CONNECT)
    seen: list[tuple[bool, bool, RackMode]] = []
    while story.mode is not SiteMode.ONLINE:
        o = story.scans().outputs
        assert not o.rack_precharge_close.any()
        assert not o.pcs_run.any() or story.rack() is RackMode.CLOSED, "no power before a rack is closed"
        seen.append((bool(o.rack_main_close[0]), bool(story.points.rack_main_closed.value[0]), story.rack()))
        assert len(seen) < 300
    assert (True, False, RackMode.PRECHARGE) in seen, "the command stands while the device precharges"
    assert not any(mode is RackMode.CLOSED and not closed for _, closed, mode in seen), (
        "never claimed before its feedback"
    )
    assert not story.active("contactor_does_not_close"), "a precharge of 0.8 s is not a contactor that hangs"


def test_a_precharge_that_does_not_end_runs_out_of_time_and_trips_after_its_attempts(tmp_path: Path) -> None:
    story = OwnRacks(tmp_path, racks=1)
    story.takes = 10**6
    story.until(SiteMode.STANDBY)
    story.tell(Kind.CONNECT)
    for _ in range(900):
        story.scans()
        assert story.rack() is not RackMode.CLOSED
        if story.active("precharge_overdue"):
            break
    assert story.active("precharge_overdue")
    assert not story.scans().outputs.rack_main_close.any()


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.BAD_COMM, Quality.BAD_SENSOR])
def test_bad_data_never_ends_a_precharge(quality: Quality, tmp_path: Path) -> None:
    story = OwnRacks(tmp_path, racks=1)
    story.until(SiteMode.STANDBY)
    story.tell(Kind.CONNECT)
    while story.rack() is not RackMode.PRECHARGE:
        story.scans()
    story.hold.add("rack_main_closed")
    story.points.rack_main_closed.value[...] = 1.0
    story.points.rack_main_closed.quality[...] = int(quality)
    for _ in range(30):
        story.scans()
        assert story.rack() is not RackMode.CLOSED


def test_a_main_that_opens_by_itself_trips(tmp_path: Path) -> None:
    story = OwnRacks(tmp_path)
    story.online()
    story.answers[0] = False
    story.seconds(1)
    assert story.active("contactor_opened_by_itself", "R01") and story.rack(0) is RackMode.TRIPPED
    assert story.rack(1) is RackMode.CLOSED


def test_a_link_whose_sample_is_older_than_the_main_s_is_waited_for(tmp_path: Path) -> None:
    story = OwnRacks(tmp_path, racks=1)
    story.until(SiteMode.STANDBY)
    link = story.points.rack_link_voltage_v
    link.quality[...] = int(Quality.GOOD)
    link.value[...] = 0.0
    story.tell(Kind.CONNECT)
    story.seconds(2.5)
    assert story.points.rack_main_closed.value[0] and story.rack() is RackMode.PRECHARGE
    assert not story.image.trips.slot_active.any()
    link.value[...] = REST_V * SERIES
    story.scans(2)
    assert story.rack() is RackMode.CLOSED
    link.value[...] = 0.0
    story.seconds(1)
    assert story.active("closed_without_contact", "R01") and story.rack() is RackMode.TRIPPED


def test_a_main_that_stays_closed_after_its_command_is_gone_is_a_weld(tmp_path: Path) -> None:
    story = OwnRacks(tmp_path)
    story.online()
    story.hold.add("rack_main_closed")
    story.tell(Kind.DISCONNECT)
    story.seconds(4)
    assert story.active("contactor_does_not_open", "R01")


def test_a_precharge_contactor_that_stays_closed_after_the_command_is_gone_is_a_weld(tmp_path: Path) -> None:
    story = OwnRacks(tmp_path)
    story.hold.add("rack_precharge_closed")
    story.online()
    story.points.rack_precharge_closed.value[0] = 1.0
    story.seconds(2)
    assert not story.active("precharge_does_not_open"), "its own affair while it is told to be closed"
    story.tell(Kind.DISCONNECT)
    story.seconds(4)
    assert story.active("precharge_does_not_open", "R01") and not story.active("precharge_does_not_open", "R02")


def test_a_rack_far_from_those_already_joined_waits(tmp_path: Path) -> None:
    story = OwnRacks(tmp_path)
    story.points.rack_voltage_v.value[1] -= 15.0
    story.points.cell_voltage_v.value[1] -= 15.0 / SERIES
    story.until(SiteMode.STANDBY)
    story.tell(Kind.CONNECT)
    story.until(SiteMode.ONLINE)
    assert story.rack(0) is RackMode.CLOSED and story.rack(1) is RackMode.OPEN


def test_in_rush_is_foretold_from_the_mean_of_those_already_joined(tmp_path: Path) -> None:
    story = OwnRacks(tmp_path, racks=3)
    for rack, more in enumerate((1.0, -1.0, -20.0)):
        story.points.rack_voltage_v.value[rack] += more
        story.points.cell_voltage_v.value[rack] += more / SERIES
    image = story.online().scans()
    assert [story.rack(r) for r in range(3)] == [RackMode.CLOSED, RackMode.CLOSED, RackMode.OPEN]
    settings = story.program.sequences.settings
    path_ohm = settings.rack_resistance_ohm * (1 + 1 / 2)
    assert image.modes.contactors.rack_inrush_a[2] == pytest.approx(20.0 / path_ohm, rel=1e-3)


def test_a_link_that_is_measured_and_not_heard_keeps_its_rack_open(tmp_path: Path) -> None:
    story = OwnRacks(tmp_path)
    story.points.rack_link_voltage_v.quality[1] = int(Quality.BAD_COMM)
    story.until(SiteMode.STANDBY)
    image = story.scans()
    assert image.modes.rack_ready.tolist() == [True, False], "nobody knows what its link holds"


def test_a_rack_beside_one_whose_own_voltage_is_lost_waits_for_it(tmp_path: Path) -> None:
    """The link is alive and not measured, and the only rack that feeds it cannot say its voltage."""
    story = OwnRacks(tmp_path, racks=2)
    story.points.rack_voltage_v.value[1] -= 15.0
    story.points.cell_voltage_v.value[1] -= 15.0 / SERIES
    story.online()
    story.lose("rack_voltage_v", 0)
    story.points.rack_voltage_v.value[1] += 15.0
    assert not story.scans().modes.rack_ready[1]


class TestMixed:
    """A bank in which only the second rack precharges by itself and has no link measurement."""

    def plant(self, second_link: Quality = Quality.NOT_FITTED) -> tuple[Topology, Points]:
        topology = dataclasses.replace(Topology.regular(2, 4, 16, 4), self_precharging=np.array([False, True]))
        points = Bench().points
        points.rack_voltage_v.value[...] = (210.0, 200.0)
        points.rack_link_voltage_v.value[...] = (209.0, 0.0)
        points.rack_link_voltage_v.quality[1] = int(second_link)
        return topology, points

    def test_who_measures_the_link_is_believed_and_who_does_not_takes_the_joined_racks(self) -> None:
        volts, known = joined_voltage(*self.plant(), joined=np.array([True, False]))
        assert volts.tolist() == [209.0, 210.0] and known.tolist() == [True, True]

    def test_nobody_joined_nothing_known(self) -> None:
        _, known = joined_voltage(*self.plant(), joined=np.array([False, False]))
        assert known.tolist() == [True, False]

    def test_only_a_rack_without_a_link_measurement_may_start_without_it(self) -> None:
        topology, points = self.plant()
        points.rack_link_voltage_v.quality[0] = int(Quality.BAD_COMM)
        dead = np.zeros(2, bool)
        assert may_start(topology, points, dead).tolist() == [False, True]
        assert not may_start(topology, points, ~dead).any(), "another rack feeds the link"
        assert not may_start(*self.plant(Quality.BAD_COMM), dead).any(), "it is measured, and not heard"


# -- extremes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rack_v", "differs"),
    [(3.20 * SERIES, False), (3.30 * SERIES, False), (3.25 * SERIES, False), (3.20 * SERIES * 0.96, True),
     (3.30 * SERIES * 1.04, True), (3.20 * SERIES * 0.98, False), (6.5, True)],
)  # fmt: skip
def test_the_sum_of_cells_lies_between_what_the_extremes_allow(rack_v: float, differs: bool, tmp_path: Path) -> None:
    story = OwnRacks(tmp_path, racks=1)
    story.points.cell_voltage_v.value[0, 0] = (3.30, 3.20)
    story.points.rack_voltage_v.value[0] = rack_v
    story.seconds(3)
    assert story.active("sum_of_cells_differs", "R01") is differs


@pytest.mark.parametrize("estimator", ["coulomb", "ekf"])
def test_energy_counts_every_cell_in_series(estimator: str, tmp_path: Path) -> None:
    story = OwnRacks(tmp_path, racks=2, estimator=estimator)
    image = story.seconds(3)
    sheet = story.program.estimator.inputs.cell  # type: ignore[attr-defined]
    whole_wh = 2 * SERIES * sheet.capacity_ah * float(np.trapezoid(sheet.ocv_v, sheet.soc_grid))
    assert image.estimates.soc_valid
    # Usable energy ends where the derating curves do, and losses are taken off.
    told_wh = image.estimates.discharge_energy_wh + image.estimates.charge_energy_wh
    assert 0.88 * whole_wh < told_wh < whole_wh


def test_usable_energy_is_bounded_by_both_extremes(tmp_path: Path) -> None:
    story = OwnRacks(tmp_path, racks=1)
    story.points.cell_voltage_v.value[0, 0] = (3.45, 2.9)
    story.points.rack_voltage_v.value[0] = 3.2 * SERIES
    e = story.seconds(2).estimates
    assert e.rack_soc_min_ratio[0] < 0.1 and e.rack_soc_max_ratio[0] > 0.95
    whole = e.rack_capacity_ah[0] * SERIES * 3.3
    assert e.rack_discharge_energy_wh[0] < 0.1 * whole and e.rack_charge_energy_wh[0] < 0.06 * whole


def test_an_extreme_trips_its_rack_and_is_told_by_its_name(tmp_path: Path) -> None:
    story = OwnRacks(tmp_path)
    story.online()
    story.points.cell_voltage_v.value[0, 0, 0] = 3.75
    story.seconds(1)
    assert story.active("cell_overvoltage", "R01/M01") and not story.scans().outputs.rack_main_close[0]
    assert story.rack(1) is RackMode.CLOSED
    assert any(t.startswith("R01/M01/highest: cell_overvoltage") for t in story.texts())


def test_extremes_are_never_bled(tmp_path: Path) -> None:
    story = OwnRacks(tmp_path)
    story.points.cell_voltage_v.value[:, 0] = (3.5, 3.25)
    assert not story.seconds(70).outputs.cell_bleed_on.any()


# -- what the checker says -----------------------------------------------------------------------------------


def wrong(folder: Path, old: str, new: str) -> str:
    path = own_contactor_site(folder, "soltaro-c", 2, SERIES)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        compile_site(str(path))
    return str(caught.value)


def test_how_many_cells_stand_behind_the_extremes_must_be_said(tmp_path: Path) -> None:
    said = wrong(tmp_path, f", series_cells: {SERIES}", "")
    assert "reports only its highest and lowest cell; say how many cells are in series" in said


def test_a_device_that_reports_every_cell_takes_no_count(tmp_path: Path) -> None:
    said = wrong(tmp_path, "place: P01", "place: P01, series_cells: 20")
    assert "this device reports every cell; leave it out" in said
