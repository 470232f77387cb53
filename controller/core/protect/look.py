"""What protection may look at in one scan, and how a look is shared.

Several rows look at the same thing (the power of a PCS, a lost module). Such a look is marked `once` and worked out
once per scan: a scan is made of many small array operations, and their number is what it costs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from controller.core.field_image import Links
from controller.core.image import Estimates, Measured, Modes, OutputImage, System
from controller.core.image_warnings import Warnings
from controller.core.memory import DispatchingMemory, TrendMemory
from controller.core.settings import LimitSettings
from controller.core.signal import Bools, Floats
from controller.core.topology import Topology


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """Everything protection may look at in one scan."""

    topology: Topology
    measured: Measured
    estimates: Estimates
    warnings: Warnings
    limit: LimitSettings
    modes: Modes
    outputs: OutputImage
    dispatching: DispatchingMemory
    links: Links
    system: System
    heartbeat_timeout_ms: int
    precharge_attempts: int
    trend: TrendMemory
    emergency_stop: int = 0
    overruns_in_a_row: int = 0
    utc_before_ms: int = 0
    lost_before: int = 0
    configuration_changed: bool = False
    interrupted: bool = False
    looks: dict[Any, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)
    """What `once` has worked out in this scan."""


Found = TypeVar("Found")


def once(look: Callable[[Facts], Found]) -> Callable[[Facts], Found]:
    """A look that several rows take, worked out once per scan; it may see only measurements, commands and the plant."""

    @functools.wraps(look)
    def taken(f: Facts) -> Found:
        if look not in f.looks:
            f.looks[look] = look(f)
        found: Found = f.looks[look]
        return found

    return taken


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """Values of one quantity at every place of a row; `known` is False where there are no data."""

    value: Floats
    known: Bools
    element: Any = None


Quantity = Callable[[Facts], Reading]
Condition = Callable[[Facts], Bools]
