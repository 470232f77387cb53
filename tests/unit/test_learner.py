"""The estimator of the scoring tools that promises nothing: what it learns is what the product learns."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from controller.core.estimate import Ekf, EstimatorInputs
from controller.core.estimate.complete import Complete
from controller.core.memory import EstimationMemory
from controller.core.settings import DeratingSettings, Polyline
from controller.core.topology import Topology
from tests.estimate_rig import duty, sheet, string
from tools.score.bench import NO_BALANCING, Rig, sheet_of
from tools.score.learner import Learner

CELLS, STEP_S = 6, 20.0
LEARNT = ("health", "ready", "warm", "ms", "a_ms", "square_ms")
"""Of a rack's record; the others are its promises."""


def learnt(kind: type[Complete]) -> EstimationMemory:
    """After an hour of duty."""
    topology, cell = Topology.regular(1, 1, CELLS, 2), sheet_of(sheet())
    rig = Rig(topology, cell)
    rig.begin(np.full(1, 0.5), 0.02)
    inputs = EstimatorInputs(topology, cell, NO_BALANCING, None)
    volts, always = (Polyline(np.array([a, b]), np.ones(2)) for a, b in ((2.5, 3.6), (-60.0, 100.0)))
    derating = DeratingSettings(cell, volts, volts, always, always, 1e5)
    rig.estimator = kind(Ekf(inputs), inputs, derating, 0.5)  # type: ignore[assignment]
    current = duty(0.04, STEP_S)
    shown, _ = string(current, STEP_S, CELLS)
    for amps, row in zip(current, shown, strict=True):
        rig.step(np.full(1, amps), row[None, None, :], np.full(1, 25.0), round(1000 * STEP_S))
    return rig.memory


def arrays(part: Any) -> dict[str, Any]:
    return {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}


def test_what_is_learnt_is_the_same_to_the_last_bit() -> None:
    ours, product = learnt(Learner), learnt(Complete)
    assert product.outlook.discharge_energy_wh > 0 and ours.outlook.discharge_energy_wh == 0, "only one promises"
    pairs = [(arrays(m.outlook.health) | arrays(m.outlook.warmth) | arrays(m)) for m in (ours, product)]
    for name, value in pairs[0].items():
        if name != "outlook":
            assert np.array_equal(value, pairs[1][name], equal_nan=np.asarray(value).dtype.kind == "f"), name
    assert ours.outlook.ledger.tobytes() == product.outlook.ledger.tobytes()
    for name in LEARNT:
        assert ours.outlook.rack[name].tobytes() == product.outlook.rack[name].tobytes(), name
