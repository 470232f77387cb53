"""Dispatch, limits, heartbeat and balancing as stories."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from controller.core.command import Kind
from controller.core.image import SiteMode
from controller.core.protect import NAMES
from controller.core.signal import Quality
from plc_config.compile import compile_site
from tests.estimate_rig import CAPACITY_AH, GRID, sheet
from tests.sites import free_site
from tests.story import REST_V, Story


def power(story: Story) -> float:
    assert story.image is not None
    return float(story.image.outputs.pcs_active_power_setpoint_w.sum())


def test_a_setpoint_is_ramped(online: Story) -> None:
    online.tell(Kind.SET_ACTIVE_POWER, 40e3)
    seen = [power(online) for _ in range(10) if online.scans()]
    steps = np.diff([0.0, *seen])
    assert (steps <= 5000.0 + 1e-6).all() and seen[-1] == pytest.approx(40e3)


@pytest.mark.parametrize("value", [math.nan, math.inf, 101e3, -101e3])
def test_nonsense_is_refused_and_changes_nothing(online: Story, value: float) -> None:
    online.tell(Kind.SET_ACTIVE_POWER, 10e3)
    online.seconds(2)
    bad = online.tell(Kind.SET_ACTIVE_POWER, value)
    online.seconds(2)
    assert not online.answer(bad).accepted
    assert power(online) == pytest.approx(10e3)


def test_a_setpoint_while_disconnected_is_refused(story: Story) -> None:
    story.until(SiteMode.STANDBY)
    early = story.tell(Kind.SET_ACTIVE_POWER, 10e3)
    story.scans()
    assert "not ONLINE" in story.answer(early).text


def test_no_setpoint_survives_a_disconnect(online: Story) -> None:
    online.tell(Kind.SET_ACTIVE_POWER, 10e3)
    online.seconds(2)
    online.tell(Kind.DISCONNECT)
    online.until(SiteMode.STANDBY)
    online.tell(Kind.CONNECT)
    online.until(SiteMode.ONLINE)
    online.seconds(3)
    assert power(online) == 0.0


class TestHeartbeat:
    def test_without_one_nothing_is_armed(self, online: Story) -> None:
        online.tell(Kind.SET_ACTIVE_POWER, 10e3)
        online.seconds(60)
        assert power(online) == pytest.approx(10e3)

    def test_when_it_stops_power_ramps_to_the_fallback_and_returns_with_it(self, online: Story) -> None:
        online.tell(Kind.SET_ACTIVE_POWER, 50e3)
        for beat in range(5):
            online.tell(Kind.HEARTBEAT, float(beat))
            online.seconds(1)
        assert power(online) == pytest.approx(50e3)
        online.seconds(9.5)
        before = power(online)
        online.scans()
        assert before - power(online) <= 5000 + 1e-6, "ramped, not stepped"
        online.seconds(2)
        assert power(online) == 0.0
        assert online.active("scada_heartbeat_lost")
        online.tell(Kind.HEARTBEAT, 99.0)
        online.seconds(2)
        assert power(online) == pytest.approx(50e3)
        assert not online.active("scada_heartbeat_lost")

    def test_the_same_value_again_is_no_heartbeat(self, online: Story) -> None:
        online.tell(Kind.HEARTBEAT, 5.0)
        for _ in range(12):
            online.tell(Kind.HEARTBEAT, 5.0)
            online.seconds(1)
        assert online.active("scada_heartbeat_lost")


class TestLimits:
    def test_the_binding_limit_is_named(self, online: Story) -> None:
        online.points.cell_voltage_v.value[1, 2, 3] = 3.55
        image = online.seconds(1)
        assert NAMES[image.limits.charge_binding] == "cell voltage"
        assert image.limits.charge_binding_rack == 1
        expected = 2 * 140 * 0.2 * image.measured.points.rack_voltage_v.value.min()
        assert image.limits.charge_limit_w == pytest.approx(min(expected, 100e3), rel=0.01)

    def test_a_limit_that_shrinks_acts_at_once(self, online: Story) -> None:
        online.tell(Kind.SET_ACTIVE_POWER, -70e3)
        online.seconds(4)
        assert power(online) == pytest.approx(-(min(70e3, online.image.limits.charge_limit_w)), rel=1e-6)
        online.points.cell_voltage_v.value[0, 0, 0] = 3.599
        image = online.scans()
        assert -power(online) <= image.limits.charge_limit_w + 1e-6
        assert image.limits.charge_limit_w < 5e3

    def test_missing_data_give_zero_not_a_guess(self, online: Story) -> None:
        online.lose("rack_current_a", 0, Quality.BAD_SENSOR)
        image = online.scans()
        assert image.limits.rack_charge_limit_a[0] == 0
        assert NAMES[image.limits.rack_charge_binding[0]] == "data lost"

    def test_without_a_rack_there_is_no_power(self, story: Story) -> None:
        image = story.seconds(2)
        assert image.limits.charge_limit_w == image.limits.discharge_limit_w == 0
        assert NAMES[image.limits.charge_binding] == "no rack connected"


class TestBalancing:
    def test_the_fuller_cell_is_bled_and_only_when_it_may_be(self) -> None:
        s = Story("bench")
        s.points.cell_voltage_v.value[...] = 3.2058
        s.points.cell_voltage_v.value[0, 1, 3] = 3.33
        s.points.rack_voltage_v.value[...] = 3.2058 * 64
        s.until(SiteMode.STANDBY)
        image = s.seconds(61)
        assert image.outputs.cell_bleed_on[0, 1, 3]
        assert int(image.outputs.cell_bleed_on.sum()) == 1
        s.points.cell_temperature_degc.value[0, 1, 0] = 60.5
        assert not s.scans().outputs.cell_bleed_on.any(), "a hot module is not bled"

    def test_a_tripped_rack_is_not_bled(self) -> None:
        s = Story("bench")
        s.points.cell_voltage_v.value[...] = 3.2058
        s.points.cell_voltage_v.value[0, 1, 3] = 3.33
        s.points.rack_voltage_v.value[...] = 3.2058 * 64
        s.seconds(61)
        s.points.estop_channel_1_closed.value[...] = 0
        assert not s.scans(2).outputs.cell_bleed_on.any()


def draw(s: Story, amperes: float, seconds: int) -> float:
    """The racks discharge as cells do: along their OCV, less R0 and a slower branch. Returns the true SOC."""
    ocv, ohm = sheet()["ocv_mid_v"], 3.6e-4
    soc, slow_v = float(np.interp(REST_V, ocv, GRID)), 0.0
    s.points.rack_current_a.value[...] = amperes
    for _ in range(seconds):
        soc -= amperes / 3600.0 / CAPACITY_AH
        slow_v += (0.6 * ohm * amperes - slow_v) / 40.0
        s.points.cell_voltage_v.value[...] = float(np.interp(soc, GRID, ocv)) - ohm * amperes - slow_v
        s.points.rack_voltage_v.value[...] = s.points.cell_voltage_v.value.sum(axis=(1, 2))
        s.seconds(1)
    return soc


def of(tmp_path: Path, estimator: str) -> Story:
    """The bench with this estimator, online at rest."""
    path = free_site(tmp_path)
    path.write_text(path.read_text("utf-8") + f"estimator: {{soc: {estimator}}}\n", "utf-8")
    return Story(compile_site(str(path))).online()


def test_counted_charge_is_the_charge_drawn(tmp_path: Path) -> None:
    s = of(tmp_path, "coulomb")
    true = draw(s, 140.0, 90)
    after = s.scans().estimates
    assert after.soc_ratio == pytest.approx(true, abs=0.001)
    assert 0 < after.soc_sigma_ratio < 0.5


def test_the_filter_nears_the_truth_under_load_and_knows_how_far_it_may_be_off(tmp_path: Path) -> None:
    s = of(tmp_path, "ekf")
    before = s.scans().estimates
    begin = float(np.interp(REST_V, sheet()["ocv_mid_v"], GRID))
    assert abs(before.soc_ratio - begin) < 2 * before.soc_sigma_ratio < 0.5, "a plateau says little"
    true = draw(s, 140.0, 90)
    after = s.scans().estimates
    assert abs(after.soc_ratio - true) < abs(before.soc_ratio - begin)
    assert abs(after.soc_ratio - true) < 2 * after.soc_sigma_ratio < 2 * before.soc_sigma_ratio


def test_soc_is_unknown_until_every_cell_was_seen(story: Story) -> None:
    story.lose("cell_voltage_v", np.s_[1, 0, 0], Quality.BAD_SENSOR)
    image = story.seconds(5)
    assert not image.estimates.soc_valid
    assert image.estimates.cell_soc_sigma_ratio[1].min() == 1.0
