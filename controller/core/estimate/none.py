"""The null estimator: knows nothing and says so. It makes everything else testable without a battery model."""

from __future__ import annotations

import numpy as np

from controller.core.estimate.protocol import EstimatorInputs, summarize
from controller.core.image import Estimates, Measured, OutputImage
from controller.core.memory import EstimationMemory


class NoEstimate:
    """SOC 0.5 with sigma 1, never valid."""

    def __init__(self, inputs: EstimatorInputs) -> None:
        t = inputs.topology
        soc = np.full((t.racks, t.modules, t.cells), 0.5)
        self._estimates = summarize(inputs, soc, soc * 2, np.zeros(t.racks, bool))

    def publish(self, memory: EstimationMemory) -> Estimates:
        """Always the same."""
        return self._estimates

    def step(
        self, memory: EstimationMemory, measured: Measured, outputs: OutputImage, elapsed_ms: int
    ) -> EstimationMemory:
        """Learns nothing."""
        return memory
