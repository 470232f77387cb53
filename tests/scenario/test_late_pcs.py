"""A PCS whose values come late: they are held against what it had been told when they were read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from controller.core.command import Kind
from controller.core.field_image import Points
from plc_config.compile import Compiled, compile_site
from plc_config.library import DATA
from tests.story import Story, connected, fork

OF_PCS = frozenset(f.name for f in dataclasses.fields(Points) if f.name.startswith("pcs_"))
DISOBEDIENT = ("pcs_command_not_confirmed", "pcs_does_not_follow", "pcs_exceeds_limits")
HIGH_V = 3.61
"""Beyond the band at which charging is blocked at once."""


class Late(Story):
    """The values of a PCS are one cycle old: each was read before the command that it is held against was sent."""

    def __init__(self, site: Compiled) -> None:
        super().__init__(site)
        self.read: dict[str, float] = {}

    def _follow(self) -> None:
        super()._follow()
        self.silent |= OF_PCS
        for name in OF_PCS:
            samples = getattr(self.points, name)
            shown, self.read[name] = self.read.get(name, 0.0), float(samples.value[0])
            samples.value[0] = shown
            samples.time_ms[...] = self.now_ms - self.cycle_ms - 10


class LateBesideRacks(Late):
    """The same, and the racks carry what the PCS gives, not what it shows."""

    def _follow(self) -> None:
        for name in OF_PCS & self.read.keys():
            getattr(self.points, name).value[0] = self.read[name]
        super()._follow()


def slow(tmp_path: Path) -> Compiled:
    """The bench at a cycle of 500 ms."""
    text = (DATA / "sites" / "bench.yaml").read_text("utf-8")
    path = tmp_path / "site.yaml"
    path.write_text(text.replace("cycle: 100 ms", "cycle: 500 ms"), "utf-8")
    return compile_site(str(path))


def told(story: Story) -> list[str]:
    return [row for row in DISOBEDIENT if story.active(row)]


def charging(watts: float = 50e3) -> Story:
    story = fork(connected())
    story.tell(Kind.SET_ACTIVE_POWER, -watts)
    story.seconds(4)
    assert story.points.pcs_active_power_w.value[0] == pytest.approx(-watts)
    return story


def test_a_ramp_that_is_read_back_a_cycle_late_is_no_other_setpoint(tmp_path: Path) -> None:
    """Every read-back of a ramp shows the setpoint before the last one: 25 kW less, at 100 kW rated."""
    story = Late(slow(tmp_path)).online()
    for watts in (100e3, -100e3):
        story.tell(Kind.SET_ACTIVE_POWER, watts)
        for _ in range(12):
            story.scans()
            assert told(story) == []


def test_racks_and_a_late_pcs_contradict_each_other_in_no_ramp(tmp_path: Path) -> None:
    """Derated for it the power would fall, the two agree, the power rise again, and so on."""
    story = LateBesideRacks(slow(tmp_path)).online()
    for watts in (100e3, -100e3, 0.0, 50e3):
        story.tell(Kind.SET_ACTIVE_POWER, watts)
        for _ in range(12):
            story.scans()
            assert not story.active("dc_power_differs", "P01") and not story.active("rack_current_stuck", "R01")
    assert story.memory.outputs.pcs_active_power_setpoint_w[0] == pytest.approx(50e3)


def test_racks_that_lastingly_contradict_a_late_pcs_are_told(tmp_path: Path) -> None:
    story = LateBesideRacks(slow(tmp_path)).online()
    story.tell(Kind.SET_ACTIVE_POWER, 60e3)
    story.seconds(6)
    story.points.rack_current_a.value[...] = 60.0
    story.seconds(1.5)
    assert not story.active("dc_power_differs", "P01")
    story.seconds(1)
    assert story.active("dc_power_differs", "P01")


def test_a_current_that_stands_still_beside_a_late_pcs_is_told(tmp_path: Path) -> None:
    story = LateBesideRacks(slow(tmp_path)).online()
    story.points.rack_current_a.value[0] = 0.3
    story.tell(Kind.SET_ACTIVE_POWER, 40e3)
    story.seconds(6)
    assert story.active("rack_current_stuck", "R01") and not story.active("rack_current_stuck", "R02")


def test_a_setpoint_that_is_another_one_all_the_time_is_told_however_late(tmp_path: Path) -> None:
    story = Late(slow(tmp_path))
    story.online()
    story.tell(Kind.SET_ACTIVE_POWER, 40e3)
    story.seconds(6)
    story.hold.add("pcs_active_power_confirmed_w")
    story.read["pcs_active_power_confirmed_w"] = 90e3
    for _ in range(3):
        story.points.pcs_active_power_confirmed_w.value[0] = 90e3
        story.scans()
    assert "pcs_command_not_confirmed" in told(story)


@pytest.mark.parametrize("watts", [30e3, 50e3])
@pytest.mark.parametrize("stall_s", [0.3, 0.4, 0.7])
def test_a_limit_cut_while_the_link_stalls_is_followed_from_when_it_is_heard(watts: float, stall_s: float) -> None:
    """The PCS hears of it with the first frame after the stall, and needs a second for its rated power."""
    story = charging(watts)
    story.points.cell_voltage_v.value[0, 0, 0] = HIGH_V
    story.hold |= OF_PCS
    story.silent |= OF_PCS
    for _ in range(round(stall_s * 10)):
        story.scans()
        assert told(story) == []
    assert story.memory.outputs.pcs_charge_limit_w[0] == 0.0
    story.silent -= OF_PCS
    for _ in range(round(watts / 1e4)):
        story.scans()
        assert told(story) == []
        story.points.pcs_active_power_w.value[0] += 1e4
        story.points.pcs_active_power_confirmed_w.value[0] = 0.0
    story.hold -= OF_PCS
    story.seconds(3)
    assert told(story) == []


def test_a_pcs_that_goes_on_after_the_stall_is_stopped_within_its_time_to_follow() -> None:
    story = charging()
    story.points.cell_voltage_v.value[0, 0, 0] = HIGH_V
    story.hold |= OF_PCS
    story.silent |= OF_PCS
    story.seconds(0.7)
    story.silent -= OF_PCS
    story.seconds(1)
    assert "pcs_exceeds_limits" in told(story)
