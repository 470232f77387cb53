"""The product's estimator as far as it learns: what promises of its own cost is left out where nobody asks for them."""

from __future__ import annotations

from controller.core.estimate.circuit import Cells
from controller.core.estimate.complete import Complete, Done
from controller.core.image import Measured
from controller.core.memory import EstimationMemory
from controller.core.outlook_memory import OutlookMemory
from controller.core.signal import Ints


class Learner(Complete):
    """`Complete` without the power and energy of every round, half of what a step costs.

    Charge, capacity, resistance, temperatures and the ledger are the same to the last bit: they learn in the same
    scans, and nothing that is promised goes back into them.
    """

    def _power(self, memory: EstimationMemory, seen: Cells, direction: int) -> Done:
        return memory.outlook, seen

    def _energy(self, memory: EstimationMemory, measured: Measured, racks: Ints, seen: Cells | None) -> Done:
        return memory.outlook, self._look(memory, measured, racks, seen)

    def _site(self, memory: EstimationMemory, measured: Measured) -> OutlookMemory:
        return memory.outlook
