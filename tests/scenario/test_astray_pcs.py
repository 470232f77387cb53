"""A PCS that protection stops: what it gave the others make up for along the ramp, once it can give nothing more."""

from __future__ import annotations

import numpy as np
import pytest

from controller.core.command import Kind
from controller.core.image import RackMode, SiteMode
from controller.core.signal import Quality
from plc_config.compile import Compiled, compile_site
from plc_config.library import DATA
from tests.scenario.test_late_pcs import OF_PCS
from tests.story import Story

STEP_W = 5e3
"""The bench's ramp in one scan."""
BANKS = "  pcs: 2\n  banks: {B01: {racks: R01, pcs: P01}, B02: {racks: R02, pcs: P02}}\n"


@pytest.fixture(scope="module")
def two_banks(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The bench as two banks of one rack and one PCS each."""
    text = (DATA / "sites" / "bench.yaml").read_text("utf-8").replace("  pcs: 1\n", BANKS)
    text = text.replace("bus: PCS, unit: 1, place: P01", "bus: PCS, unit: 1..2, place: P01..P02")
    path = tmp_path_factory.mktemp("site") / "two-banks.yaml"
    path.write_text(text, "utf-8")
    return compile_site(str(path))


@pytest.fixture
def story(two_banks: Compiled) -> Story:
    """Both PCS give 15 kW."""
    story = Story(two_banks).online()
    story.tell(Kind.SET_ACTIVE_POWER, 30e3)
    story.seconds(3)
    assert told(story).tolist() == pytest.approx([15e3, 15e3])
    return story


def told(story: Story) -> np.ndarray:
    assert story.image is not None
    return story.image.outputs.pcs_active_power_setpoint_w


def unheard(story: Story) -> None:
    for name in OF_PCS:
        getattr(story.points, name).quality[0] = int(Quality.BAD_COMM)


def goes_on(story: Story) -> None:
    """It gives what it gave, whatever it is told."""
    story.hold |= {"pcs_active_power_w"}


def seen(story: Story, seconds: float) -> list[float]:
    """What the second PCS is told, scan by scan, until it stays."""
    return [float(told(story)[1]) for _ in range(round(seconds * 10)) if story.scans()]


def test_the_others_wait_until_the_racks_of_a_silent_pcs_have_opened_then_follow_the_ramp(story: Story) -> None:
    unheard(story)
    goes_on(story)
    waits = seen(story, 1.0)
    assert waits == pytest.approx([15e3] * 10), "together they may give 30 kW even now"
    story.hold.clear()
    steps = np.diff([15e3, *seen(story, 2.0)])
    assert story.rack(0) is RackMode.OPEN
    assert 0.0 < steps.max() <= STEP_W + 1e-6
    assert told(story).tolist() == pytest.approx([0.0, 30e3])
    assert story.mode is SiteMode.ONLINE


def test_what_a_faulted_pcs_no_longer_gives_comes_back_along_the_ramp(story: Story) -> None:
    story.points.pcs_fault.value[0] = 1.0
    steps = np.diff([15e3, *seen(story, 3.0)])
    assert 0.0 < steps.max() <= STEP_W + 1e-6
    assert told(story).tolist() == pytest.approx([0.0, 30e3])


def test_the_others_may_give_less_meanwhile_and_never_work_against_it(story: Story) -> None:
    unheard(story)
    goes_on(story)
    story.tell(Kind.SET_ACTIVE_POWER, -20e3)
    steps = np.diff([15e3, *seen(story, 2.0)])
    assert steps.min() >= -STEP_W - 1e-6
    assert told(story).tolist() == pytest.approx([0.0, 0.0]), "charging begins when it is known what the other gives"
    assert story.rack(0) is RackMode.STOPPING
    story.hold.clear()
    story.seconds(2)
    assert story.rack(0) is RackMode.OPEN
    assert told(story).tolist() == pytest.approx([0.0, -20e3])


def test_a_limit_of_the_others_holds_at_once_meanwhile(story: Story) -> None:
    unheard(story)
    goes_on(story)
    story.seconds(0.5)
    story.points.cell_voltage_v.value[1, 0, 0] = 2.65
    image = story.scans()
    assert told(story)[1] <= image.limits.bank_discharge_limit_w[1] < 15e3


def test_what_an_obedient_pcs_may_no_longer_give_the_others_take_over_at_once(story: Story) -> None:
    """It is told so in the same scan: the total stays."""
    story.points.cell_voltage_v.value[0, 0, 0] = 2.65
    for _ in range(5):
        story.scans()
        assert told(story).sum() == pytest.approx(30e3)
    assert told(story).tolist() == pytest.approx([0.0, 30e3])


def test_a_bank_that_trips_hands_its_power_over_at_once(story: Story) -> None:
    """Its contactors open in the scan in which the others are told to give more."""
    story.points.cell_voltage_v.value[0, 0, 0] = 2.4
    for _ in range(5):
        story.scans()
        assert told(story).sum() == pytest.approx(30e3)
    assert story.rack(0) is RackMode.TRIPPED
