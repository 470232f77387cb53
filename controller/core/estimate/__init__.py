"""Stage: what cannot be measured. Estimators are interchangeable siblings behind one protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from controller.core.estimate.complete import Complete
from controller.core.estimate.coulomb import Coulomb
from controller.core.estimate.ekf import Ekf
from controller.core.estimate.none import NoEstimate
from controller.core.estimate.protocol import Estimator, EstimatorInputs
from controller.core.estimate.watch import Watch

REGISTRY: Final[dict[str, Callable[[EstimatorInputs], Estimator]]] = {
    "none": NoEstimate,
    "coulomb": Coulomb,
    "ekf": Ekf,
}
"""What `estimator.soc` may name; adding an estimator is one sibling module and one entry here."""

__all__ = ["REGISTRY", "Complete", "Coulomb", "Ekf", "Estimator", "EstimatorInputs", "NoEstimate", "Watch"]
