"""A cell that is cold is no fault: what its temperature explains, and what a sensor that errs may not explain."""

from __future__ import annotations

import numpy as np
import pytest

from controller.core.estimate.faults import Finding
from controller.core.image_warnings import Fault
from tests.early_rig import String, kinds

CELL, HEALTHY_OHM, LOOSE_OHM = 7, 2.5e-4, 5e-5


def brought(s: String, to_k: float, hours: float, activation_k: float) -> list[Finding]:
    """The onsets while the cell goes to `to_k` over its sisters, its resistance after it; 0 K: only the sensor goes."""
    found: list[Finding] = []
    for k in np.linspace(s.warm_k[0, 0, CELL], to_k, round(hours * 10) + 1)[1:]:
        s.warm_k[0, 0, CELL] = k
        if activation_k:
            s.ohm[0, 0, CELL] = HEALTHY_OHM * np.exp(activation_k * (1 / (298.15 + k) - 1 / 298.15))
        found += s.hours(0.1)
    return found


@pytest.mark.parametrize("activation_k", [1200.0, 2300.0, 4000.0])
def test_a_cell_that_cools_by_10_k_within_hours_and_warms_up_again_is_called_nothing(
    known: String, activation_k: float
) -> None:
    assert brought(known, -10.0, 3, activation_k) == []
    assert known.hours(30) == []
    assert brought(known, 0.0, 3, activation_k) == []
    assert known.hours(12) == []


def test_a_connection_in_a_cold_cell_is_told_once_it_exceeds_all_that_cold_explains(known: String) -> None:
    brought(known, -5.0, 3, 2300.0)
    assert known.hours(6) == []
    known.ohm[0, 0, CELL] += 4 * LOOSE_OHM
    assert kinds(known.hours(6)) == {(CELL, Fault.BUSBAR_STEP)}


def test_a_sensor_that_drifts_10_k_down_hides_a_connection_for_hours_only(known: String) -> None:
    assert brought(known, -10.0, 3, 0.0) == []
    known.hours(9)
    known.ohm[0, 0, CELL] += LOOSE_OHM
    assert kinds(known.hours(6)) == {(CELL, Fault.BUSBAR_STEP)}


def test_a_sensor_that_jumps_10_k_down_hides_no_connection(known: String) -> None:
    known.warm_k[0, 0, CELL] -= 10.0
    assert kinds(known.hours(2)) == {(CELL, Fault.TEMPERATURE_SENSOR)}
    known.ohm[0, 0, CELL] += LOOSE_OHM
    assert kinds(known.hours(6)) == {(CELL, Fault.BUSBAR_STEP)}
