"""Two days of a plant through the real scan: one rack with a fault of every kind, one that is well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from controller.core.image_warnings import Fault
from plc_config.compile import compile_site
from tests.sites import free_site
from tests.story import Story
from tools.score import fleet
from tools.score.fleet import Fleet, Plan

STEP_S = 90.0
HOURS = 46
ONSET_S = 28 * 3600.0
FAULTS = {
    "internal_short": (0, 8.0, "short 8 ohm"),
    "resistance_growth": (9, 1.0, "resistance +100 % in 72 h"),
    "busbar_step": (18, 90.0, "busbar"),
    "low_capacity": (27, 0.08, "capacity"),
    "voltage_sensor": (36, 15.0, "voltage"),
    "temperature_sensor": (44, 4.0, "temperature"),
    "stuck_sensor": (53, 0.0, "stuck voltage"),
}
"""Cell, size and label; what needs weeks (self-discharge) and what trips (runaway) have stories of their own."""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The plant after two days: rack R01 with the faults, rack R02 without."""
    path: Path = free_site(tmp_path_factory.mktemp("site"))
    text = path.read_text("utf-8")
    path.write_text(text if "estimator:" in text else text + "estimator: {soc: ekf}\n", "utf-8")
    s = Story(compile_site(str(path))).online()
    t = s.program.topology
    plan = Plan("LFP", 280.0, t.modules * t.cells, t.racks, HOURS / 24, STEP_S, 25.0, "grid", 5,
                sensors_per_cell=t.temperatures / t.cells, faults=False)  # fmt: skip
    made = Fleet(plan)
    made.faults = tuple(
        fleet.Fault(0, cell, name, 0.0 if name == "low_capacity" else ONSET_S, size, label)
        for name, (cell, size, label) in FAULTS.items()
    )
    made.capacity[0, FAULTS["low_capacity"][0]] *= 0.92
    s.cycle_ms = round(STEP_S * 1000)
    shape = (t.racks, t.modules, t.cells)
    for _, current, volts, warm in made.rows():
        s.points.rack_current_a.value[...] = current
        s.points.cell_voltage_v.value[...] = volts.reshape(shape)
        s.points.rack_voltage_v.value[...] = volts.sum(axis=1)
        s.points.cell_temperature_degc.value[...] = warm.reshape(t.racks, t.modules, t.temperatures)
        s.scans()
    return s


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_named_where_it_is(story: Story, name: str) -> None:
    assert story.image is not None
    fault, w, t = Fault[name.upper()], story.image.warnings, story.program.topology
    cell = FAULTS[name][0]
    sensor = name == "temperature_sensor"
    codes = (w.temperature_warning if sensor else w.cell_warning)[0].ravel()
    told = [x for x in story.events if x.text.startswith(f"{name}_suspected")]
    at = cell * t.temperatures // t.cells if sensor else cell
    place = f"R01/M{at // t.temperatures + 1:02d}/T{at % t.temperatures + 1:02d}" if sensor else (
        f"R01/M{cell // t.cells + 1:02d}/C{cell % t.cells + 1:02d}")  # fmt: skip
    assert [x.place for x in told[:1]] == [place], story.texts()[-20:]
    assert codes[at] in (fault, Fault.NONE), "a sensor's jump is withdrawn once it is part of the normal"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_called_in_healthy_cells_and_no_row_but_alarms(story: Story) -> None:
    assert story.image is not None
    w = story.image.warnings
    assert not w.cell_warning[1].any() and not w.temperature_warning[1].any()
    expected = {cell for name, (cell, *_) in FAULTS.items() if name != "temperature_sensor"}
    assert set(np.flatnonzero(w.cell_warning[0].ravel())) <= expected
    assert w.warnings_told == len(FAULTS)
    assert w.healthy_cell_days == pytest.approx(HOURS / 24 * 128, rel=0.05)
    assert w.warning_fault[0] == Fault.INTERNAL_SHORT, "the worst leads the list"
