"""The facts of one moment of a healthy bench under load, to be changed by hand before a cause is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from controller.core.command import Kind
from controller.core.image import RackMode
from controller.core.protect import Facts
from controller.core.signal import Quality, Samples
from tests.story import connected, fork

BASE = fork(connected())
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
        self.topology, self.system, self.dispatching = program.topology, BASE.inputs.system, memory.dispatching
        self.more: dict[str, Any] = {}
        self.estimates, self.modes, self.warnings = copy(image.estimates), copy(image.modes), copy(image.warnings)

    def facts(self) -> Facts:
        return Facts(
            self.topology, self.measured, self.estimates, self.warnings, self.limit, self.modes, self.outputs,
            self.dispatching, BASE.inputs.links, self.system, 10_000, 3, self.trend, **self.more,
        )  # fmt: skip

    def put(self, name: str, value: Any, where: Any = 0) -> None:
        samples = getattr(self.points, name)
        where = where if samples.value.ndim else ...
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


# -- changes, to be told in a table ------------------------------------------------------------------------------


def put(name: str, value: Any, where: Any = 0) -> Change:
    """A point shows this."""
    return lambda b: b.put(name, value, where)


def lose(name: str, where: Any = ...) -> Change:
    """A point is not heard."""
    return lambda b: b.lose(name, where)


def unfitted(name: str, where: Any) -> Change:
    """Some places have no module, cell or sensor."""

    def change(b: Bench) -> None:
        fitted = getattr(b.topology, name).copy()
        fitted[where] = False
        b.topology = dataclasses.replace(b.topology, **{name: fitted})

    return change


def own_precharge(b: Bench) -> None:
    """The first rack precharges by itself."""
    b.topology = dataclasses.replace(b.topology, self_precharging=np.array([True, False]))


def rack_mode(mode: RackMode) -> Change:
    """The first rack is in this mode."""
    return lambda b: b.modes.rack_mode.__setitem__(0, int(mode))


def trend(**values: Any) -> Change:
    """What was kept from the scans before."""

    def change(b: Bench) -> None:
        for name, value in values.items():
            array = getattr(b.trend, name)
            if isinstance(array, np.ndarray):
                array[...] = value
            else:
                b.trend = dataclasses.replace(b.trend, **{name: value})

    return change


def out(name: str, value: Any, where: Any = ...) -> Change:
    """What the scan before commanded."""
    return lambda b: getattr(b.outputs, name).__setitem__(where, value)


def all_of(*changes: Change) -> Change:
    """One after the other."""

    def change(b: Bench) -> None:
        for each in changes:
            each(b)

    return change
