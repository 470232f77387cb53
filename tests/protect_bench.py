"""The facts of one moment of a healthy bench under load, to be changed by hand before a cause is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from controller.core.command import Kind
from controller.core.protect import Facts
from controller.core.signal import Quality, Samples
from tests.story import Story

BASE = Story("bench").online()
BASE.tell(Kind.SET_ACTIVE_POWER, 60e3)
BASE.seconds(5)
Change = Callable[["Bench"], None]


class Bench:
    """The facts of one moment at 60 kW discharge, to be changed by hand."""

    def __init__(self) -> None:
        image, program, memory = BASE.image, BASE.program, BASE.memory
        assert image is not None
        points = BASE.layout.view(np.frombuffer(bytearray(BASE.layout.to_bytes(BASE.inputs)), np.uint8)).points
        self.measured = dataclasses.replace(image.measured, points=points, extremes=copy(image.measured.extremes))
        self.points, self.trend = points, copy(memory.protection.trend)
        self.outputs, self.limit = copy(memory.outputs), program.limit
        self.more: dict[str, Any] = {}
        self.estimates, self.modes, self.warnings = copy(image.estimates), copy(image.modes), copy(image.warnings)

    def facts(self) -> Facts:
        program = BASE.program
        return Facts(
            program.topology, self.measured, self.estimates, self.warnings, self.limit, self.modes, self.outputs,
            BASE.memory.dispatching, BASE.inputs.links, BASE.inputs.system, 10_000, 3, self.trend, **self.more,
        )  # fmt: skip

    def put(self, name: str, value: Any, where: Any = 0) -> None:
        samples = getattr(self.points, name)
        samples.value[where] = value
        samples.quality[where] = 0

    def lose(self, name: str, where: Any = ...) -> None:
        getattr(self.points, name).quality[where] = int(Quality.BAD_COMM)


def copy(image: Any) -> Any:
    """The same with arrays of its own."""
    parts = {f.name: getattr(image, f.name) for f in dataclasses.fields(image)}
    arrays: dict[str, Any] = {n: v.copy() for n, v in parts.items() if isinstance(v, np.ndarray)}
    samples = {
        n: Samples(v.value.copy(), v.quality.copy(), v.time_ms) for n, v in parts.items() if isinstance(v, Samples)
    }
    return dataclasses.replace(image, **arrays, **samples)
