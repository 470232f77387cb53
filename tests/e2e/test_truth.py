"""No value in the image is ever wrong against the plant's own truth, also while devices misbehave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.core.signal import USABLE
from tests.e2e.plant import Plant

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

TOLERANCE_V = 0.002
"""Sensor noise of 0.15 mV, a register of 0.1 mV, and what the voltage moves between the two looks at the truth."""
TOLERANCE_K = 0.3
FAULTS: tuple[dict[str, Any], ...] = (
    {"verb": "delay", "target": "GW01", "delay_ms": 70, "duration_ms": 1500},
    {"verb": "duplicate", "target": "GW01", "duration_ms": 1500},
    {"verb": "wrong_function", "target": "GW01/2", "duration_ms": 1500},
    {"verb": "wrong_unit", "target": "LINE1/3", "duration_ms": 1500},
    {"verb": "short", "target": "LINE1/2", "duration_ms": 1500},
    {"verb": "corrupt_crc", "target": "LINE1", "duration_ms": 1500},
    {"verb": "garbage", "target": "GW01", "duration_ms": 1500},
    {"verb": "reboot", "target": "GW01", "duration_ms": 1500},
)


def truth(plant: Plant, name: str) -> Any:
    racks = range(plant.site.topology.racks)
    return np.array([plant.plant.cells(r)[name] for r in racks])


def wrong_values(plant: Plant) -> list[str]:
    """Usable voltages and temperatures that lie outside what the plant was before and after."""
    before = truth(plant, "voltage_v")
    warm = truth(plant, "temperature_degc")
    image = plant.image()
    after = truth(plant, "voltage_v")
    assert image is not None
    volts, degrees = image.measured.points.cell_voltage_v, image.measured.points.cell_temperature_degc
    low = np.minimum(before, after) - TOLERANCE_V
    high = np.maximum(before, after) + TOLERANCE_V
    wrong = (volts.quality <= USABLE) & ((volts.value < low) | (volts.value > high))
    found = [f"cell {tuple(int(n) for n in i)}: {volts.value[tuple(i)]:.4f} V" for i in np.argwhere(wrong)]
    bounds = warm.min(axis=2, keepdims=True) - TOLERANCE_K, warm.max(axis=2, keepdims=True) + TOLERANCE_K
    odd = (degrees.quality <= USABLE) & ((degrees.value < bounds[0]) | (degrees.value > bounds[1]))
    return found + [f"sensor {tuple(int(n) for n in i)}: {degrees.value[tuple(i)]:.2f} degC" for i in np.argwhere(odd)]


async def test_no_wrong_value_under_any_fault(tmp_path: Path) -> None:
    with Plant(tmp_path) as plant:
        for _ in range(20):
            assert not wrong_values(plant)
        for fault in FAULTS:
            scan = (plant.image() or pytest.fail("no image")).system.scan
            plant.plant.do(fault["verb"], **{k: v for k, v in fault.items() if k != "verb"})
            while (plant.image() or pytest.fail("no image")).system.scan < scan + 20:
                assert not wrong_values(plant), fault
            plant.until(lambda: (i := plant.image()) and i.measured.bad_values == 0, f"recovery from {fault}")
