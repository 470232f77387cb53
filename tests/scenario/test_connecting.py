"""In which order racks join, and what holds them back."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from controller.core.command import Kind, Role
from controller.core.image import RackMode, SiteMode
from plc_config.compile import Compiled, compile_site
from plc_config.library import DATA
from tests.story import REST_V, Story

CELLS = 64
RACK_OHM = 0.5 * 0.4e-3 * CELLS
"""Half of what the cell sheet says, 64 in series."""


def site(tmp_path: Path, racks: int = 2, **sections: str) -> Compiled:
    """The bench with other settings, or with more racks on its first gateway."""
    text = (DATA / "sites" / "bench.yaml").read_text("utf-8")
    if racks != 2:
        text = text.replace("racks: 2", f"racks: {racks}")
        more = "".join(
            f"  modules-{r}: {{profile: cellwarden-module-16, bus: GW01, unit: {10 * r}..{10 * r + 3}, "
            f"place: R{r:02d}/M01..M04}}\n"
            f"  rack-{r}: {{profile: cellwarden-rack, bus: GW01, unit: {120 + r}, place: R{r:02d}}}\n"
            for r in range(3, racks + 1)
        )
        text = text.replace("  pcs: {profile", more + "  pcs: {profile").replace("cycle: 100 ms", "cycle: 500 ms")
        text = text.replace("aux_supply: {warn", "stale_after: 2 s\n  lost_after: 3 s\n  aux_supply: {warn")
    if "precharge" in sections:
        text = re.sub(r"precharge: \{.*\}", f"precharge: {sections.pop('precharge')}", text)
    text += "".join(f"{name}: {value}\n" for name, value in sections.items())
    path = tmp_path / "site.yaml"
    path.write_text(text, "utf-8")
    return compile_site(str(path))


def voltages(story: Story, *volts: float) -> None:
    """Rack voltages around the one of the story, the cells with them."""
    for r, difference in enumerate(volts):
        story.points.rack_voltage_v.value[r] = REST_V * CELLS + difference
        story.points.cell_voltage_v.value[r] = REST_V + difference / CELLS


def joined(story: Story, seconds: float = 60.0) -> list[int]:
    """Racks in the order in which they closed."""
    order: list[int] = []
    for _ in range(round(seconds * 1000 / story.cycle_ms)):
        closed = np.flatnonzero(story.scans().modes.rack_mode == RackMode.CLOSED).tolist()
        order += [r + 1 for r in closed if r + 1 not in order]
    return order


class TestOrder:
    @pytest.mark.parametrize(
        ("policy", "order"),
        [
            ("lowest", [2, 5, 1, 4, 3]),
            ("highest", [3, 4, 1, 5, 2]),
            ("median", [1, 4, 5, 3, 2]),
        ],
    )
    def test_the_first_by_policy_the_others_by_the_nearest_voltage(
        self, tmp_path: Path, policy: str, order: list[int]
    ) -> None:
        made = site(tmp_path, 5, connection=f"{{first_rack: {policy}, inrush: 500 A}}")
        story = Story(made)
        voltages(story, 0.0, -2.4, 2.4, 1.0, -1.2)
        story.until(SiteMode.STANDBY)
        story.tell(Kind.CONNECT)
        first, *others = joined(story)
        assert first == order[0]
        assert sorted([first, *others]) == [1, 2, 3, 4, 5]
        if policy != "median":
            assert [first, *others][-1] == order[-1]

    def test_equal_voltages_begin_with_the_first_rack(self, online: Story) -> None:
        modes = [e.place for e in online.events if "-> PRECHARGE" in e.text]
        assert modes == ["R01", "R02"]

    def test_there_is_a_pause_between_two_racks_of_a_bank(self, tmp_path: Path) -> None:
        story = Story(site(tmp_path, connection="{interval: 5 s}"))
        story.until(SiteMode.STANDBY)
        story.tell(Kind.CONNECT)
        closed_at = {}
        for _ in range(150):
            image = story.scans()
            for r in np.flatnonzero(image.modes.rack_mode == RackMode.CLOSED):
                closed_at.setdefault(int(r), story.now_ms)
        assert closed_at[1] - closed_at[0] >= 5000

    @pytest.mark.parametrize(
        ("broken", "seconds", "first"),
        [("rack_link_voltage_v", 5.0, RackMode.OPEN), ("rack_precharge_closed", 0.8, RackMode.TRIPPED)],
    )
    def test_a_rack_whose_precharge_failed_lets_the_next_one_begin(
        self, broken: str, seconds: float, first: RackMode, tmp_path: Path
    ) -> None:
        """A link that does not fill may be tried again; a contactor that does not close trips at once."""
        story = Story(site(tmp_path))
        story.until(SiteMode.STANDBY)
        story.hold.add(broken)
        story.tell(Kind.CONNECT)
        story.seconds(seconds)
        assert (story.rack(0), story.rack(1)) == (first, RackMode.PRECHARGE)

    def test_too_few_racks_do_not_run(self, tmp_path: Path) -> None:
        story = Story(site(tmp_path, connection="{least_racks: 2}"))
        voltages(story, 0.0, -12.0)
        story.until(SiteMode.STANDBY)
        story.tell(Kind.CONNECT)
        story.seconds(60)
        assert story.mode is SiteMode.STANDBY
        assert any("too few racks" in t for t in story.texts())


class TestInrush:
    def test_it_is_predicted_from_the_difference_and_both_resistances(self, tmp_path: Path) -> None:
        story = Story(site(tmp_path))
        voltages(story, 0.0, -3.8)
        story.until(SiteMode.STANDBY)
        story.tell(Kind.CONNECT)
        image = story.seconds(20)
        assert image.modes.contactors.rack_inrush_a[1] == pytest.approx(3.8 / (2 * RACK_OHM), rel=0.02)
        assert story.rack(1) is RackMode.OPEN, "148 A is beyond the 140 A the cells may be charged with"
        assert story.mode is SiteMode.ONLINE

    def test_it_joins_by_itself_when_its_voltage_allows(self, tmp_path: Path) -> None:
        story = Story(site(tmp_path))
        voltages(story, 0.0, -3.8)
        story.until(SiteMode.STANDBY)
        story.tell(Kind.CONNECT)
        story.seconds(20)
        voltages(story, 0.0, -2.0)
        story.seconds(5)
        assert story.rack(1) is RackMode.CLOSED

    def test_a_measured_resistance_counts_instead(self, tmp_path: Path) -> None:
        story = Story(site(tmp_path, connection="{rack_resistance: 30 mohm}"))
        voltages(story, 0.0, -8.0)
        story.until(SiteMode.STANDBY)
        story.tell(Kind.CONNECT)
        story.seconds(20)
        assert story.rack(1) is RackMode.CLOSED

    def test_what_the_load_pulls_the_link_down_is_no_inrush(self, online: Story) -> None:
        online.tell(Kind.RACK_OUT_OF_SERVICE, target=1, role=Role.ENGINEER)
        online.seconds(4)
        online.tell(Kind.RACK_IN_SERVICE, target=1, role=Role.ENGINEER)
        online.hold.add("rack_link_voltage_v")
        online.points.rack_link_voltage_v.value[...] = REST_V * CELLS - 4.6
        image = online.scans(2)
        assert image.modes.contactors.rack_inrush_a[1] == pytest.approx(4.6 / (2 * RACK_OHM), rel=0.02)
        assert not image.modes.rack_ready[1]
        online.points.rack_current_a.value[0] = 190.0
        image = online.scans()
        assert image.modes.contactors.rack_inrush_a[1] < 20
        assert image.modes.rack_ready[1]

    def test_a_welded_rack_makes_the_link_live(self, story: Story) -> None:
        story.until(SiteMode.STANDBY)
        story.hold |= {"rack_main_closed", "rack_link_voltage_v"}
        story.points.rack_main_closed.value[1] = 1
        story.points.rack_link_voltage_v.value[...] = story.points.rack_voltage_v.value[0] - 4.0
        image = story.scans()
        assert image.modes.contactors.rack_inrush_a[0] > 140
        assert not image.modes.rack_ready[0]


class TestResistor:
    def test_a_shorted_link_ends_the_attempt_by_energy_long_before_time(self, tmp_path: Path) -> None:
        story = Story(site(tmp_path, precharge="{energy: 10 kJ, recovery: 60 s, timeout: 4 s}"))
        story.until(SiteMode.STANDBY)
        story.hold.add("rack_link_voltage_v")
        story.points.rack_current_a.value[0] = 45.0
        story.tell(Kind.CONNECT)
        story.seconds(2)
        told = [t for t in story.texts() if "resistor too hot" in t]
        assert told == ["R01: PRECHARGE -> OPEN: precharge resistor too hot"]

    def test_the_next_attempt_waits_until_the_resistor_is_cold(self, tmp_path: Path) -> None:
        story = Story(site(tmp_path, precharge="{energy: 10 kJ, recovery: 60 s, cool_down: 1 s}"))
        story.until(SiteMode.STANDBY)
        story.tell(Kind.RACK_OUT_OF_SERVICE, target=1, role=Role.ENGINEER)
        story.hold.add("rack_link_voltage_v")
        story.points.rack_current_a.value[0] = 45.0
        story.tell(Kind.CONNECT)
        story.seconds(2)
        assert story.image is not None and 0.9 < story.image.modes.contactors.rack_precharge_heat_ratio[0] < 1.2
        story.points.rack_current_a.value[0] = 0.0
        story.hold.clear()
        story.seconds(50)
        assert story.rack() is RackMode.OPEN
        story.tell(Kind.CONNECT)
        story.seconds(15)
        story.tell(Kind.CONNECT)
        story.seconds(10)
        assert story.rack() is RackMode.CLOSED

    def test_without_data_the_greatest_power_of_the_attempt_goes_on(self, tmp_path: Path) -> None:
        story = Story(site(tmp_path, precharge="{energy: 10 kJ, recovery: 60 s, timeout: 4 s}"))
        story.until(SiteMode.STANDBY)
        story.hold.add("rack_link_voltage_v")
        story.points.rack_current_a.value[...] = 20.0
        story.tell(Kind.CONNECT)
        story.scans(4)
        before = float(story.memory.sequencing.precharge_heat_wh[0])
        story.lose("rack_link_voltage_v")
        story.scans(3)
        gained = float(story.memory.sequencing.precharge_heat_wh[0]) - before
        assert gained == pytest.approx(3 * 20.0 * REST_V * CELLS * 0.1 / 3600, rel=0.15)


class TestWitnesses:
    """What is legitimate while racks join must not look like a fault."""

    def test_racks_that_charge_one_another_after_joining_are_no_reversed_sensor(self, online: Story) -> None:
        online.tell(Kind.SET_ACTIVE_POWER, 42e3)
        online.seconds(3)
        share = online.points.rack_current_a.value.copy()
        assert share == pytest.approx(100.0, rel=0.05)
        online.points.rack_current_a.value[...] = share + np.array([180.0, -180.0])
        online.seconds(5)
        assert not online.image.trips.slot_active.any()
        assert (online.rack(0), online.rack(1)) == (RackMode.CLOSED, RackMode.CLOSED)

    def test_a_pcs_at_rest_with_its_own_dc_switch_open_keeps_no_rack_from_joining(self, tmp_path: Path) -> None:
        story = Story(site(tmp_path, connection="{interval: 5 s}"))
        story.until(SiteMode.STANDBY)
        story.hold.add("pcs_dc_voltage_v")
        story.points.pcs_dc_voltage_v.value[...] = 0.0
        story.tell(Kind.CONNECT)
        story.seconds(6)
        assert (story.rack(0), story.rack(1)) == (RackMode.CLOSED, RackMode.OPEN)
        story.until(SiteMode.ONLINE, most_s=10)
        assert story.rack(1) is RackMode.CLOSED and not story.active("link_voltages_differ")
        assert story.seconds(3) and story.active("link_voltages_differ"), "running, it is a contradiction"

    def test_a_rack_that_drops_its_precharge_as_soon_as_its_main_closes_is_sound(self, story: Story) -> None:
        story.until(SiteMode.STANDBY)
        story.tell(Kind.CONNECT)
        while story.rack() is not RackMode.CLOSED:
            story.scans()
        story.hold.add("rack_precharge_closed")
        story.points.rack_precharge_closed.value[...] = 0.0
        story.seconds(0.5)
        assert story.memory.outputs.rack_main_close[0] and not story.active("precharge_does_not_close", "R01")
        assert story.rack() is RackMode.CLOSED
