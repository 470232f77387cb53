"""One day of the shipped plant, 48 racks in four banks: connect, share the power, lose a bank, have it back."""

from __future__ import annotations

import numpy as np
import pytest

from controller.core.command import Kind
from controller.core.image import RackMode, SiteMode
from controller.core.signal import Quality
from tests.scenario.test_late_pcs import OF_PCS
from tests.story import REST_V, Story

BANKS, RACKS_PER_BANK, SECOND = 4, 12, slice(12, 24)
STEP_W = 400e3
"""The plant's ramp in one scan."""


class Plant(Story):
    """Racks sag under load as their cells do, by the resistance that the sheet gives them."""

    def _flow(self) -> None:
        super()._flow()
        p, t = self.points, self.program.topology
        cells = t.modules * t.cells
        sagging_v = REST_V - self.program.sequences.settings.rack_nominal_ohm / cells * p.rack_current_a.value
        p.cell_voltage_v.value[...] = sagging_v[:, None, None]
        p.rack_voltage_v.value[...] = sagging_v * cells


def modes(story: Story) -> np.ndarray:
    assert story.image is not None
    return story.image.modes.rack_mode


def told(story: Story) -> np.ndarray:
    assert story.image is not None
    return story.image.outputs.pcs_active_power_setpoint_w


def heard(story: Story, quality: Quality) -> None:
    """Of the second PCS."""
    for name in OF_PCS:
        of_pcs = getattr(story.points, name).quality
        if of_pcs[0] != Quality.NOT_FITTED:
            of_pcs[1] = int(quality)


def until_all_are_closed(story: Story) -> None:
    """Scans in which every bank connects rack by rack, no two of a bank at once; one that begins gives no power."""
    for _ in range(600):
        story.scans()
        closed = (modes(story) == RackMode.CLOSED).reshape(BANKS, RACKS_PER_BANK).all(axis=1)
        assert not told(story)[~closed].any()
        precharging = (modes(story) == RackMode.PRECHARGE).reshape(BANKS, RACKS_PER_BANK).sum(axis=1)
        assert (precharging <= 1).all()
        if (modes(story) == RackMode.CLOSED).all():
            return
    raise AssertionError(f"still open: {np.flatnonzero(modes(story) != RackMode.CLOSED)}")


def test_four_banks_connect_share_the_power_and_one_is_lost_and_comes_back() -> None:
    story = Plant("plant")
    story.until(SiteMode.STANDBY)
    story.tell(Kind.CONNECT)
    until_all_are_closed(story)
    story.until(SiteMode.ONLINE)

    story.tell(Kind.SET_ACTIVE_POWER, 6e6)
    totals = [float(told(story).sum()) for _ in range(17) if story.scans()]
    assert np.diff([0.0, *totals]).max() <= STEP_W + 1e-6
    assert told(story).tolist() == pytest.approx([1.5e6] * BANKS)
    assert np.ptp(story.points.rack_current_a.value) < 1e-6, "racks alike carry alike"

    heard(story, Quality.BAD_COMM)
    before = told(story).copy()
    for _ in range(20):
        story.scans()
        assert told(story)[1] == 0.0
        assert (told(story)[[0, 2, 3]] - before[[0, 2, 3]]).sum() <= STEP_W + 1e-6
        before = told(story).copy()
    assert told(story).tolist() == pytest.approx([2e6, 0.0, 2e6, 2e6])
    assert (modes(story)[SECOND] == RackMode.OPEN).all() and story.mode is SiteMode.ONLINE
    assert (np.delete(modes(story), SECOND) == RackMode.CLOSED).all()
    assert story.active("pcs_comm_lost", "P02") and not story.active("pcs_comm_lost", "P01")

    heard(story, Quality.GOOD)
    story.seconds(3)
    assert (modes(story)[SECOND] == RackMode.OPEN).all(), "it joins again only when somebody asks"
    again = story.tell(Kind.CONNECT)
    story.scans()
    assert story.answer(again).text == "12 more to connect"
    until_all_are_closed(story)
    assert told(story).tolist() == pytest.approx([1.5e6] * BANKS), "then it takes its share, and the total stays"
    story.seconds(1)
    assert told(story).tolist() == pytest.approx([1.5e6] * BANKS)
    assert story.mode is SiteMode.ONLINE and story.image is not None and story.image.trips.first_out == -1
