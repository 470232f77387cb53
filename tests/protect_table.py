"""Tables of one or two rows over the bench, judged scan by scan, with causes that a test switches."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from controller.core.command import Answer, Command, Kind, Origin, Role
from controller.core.effect import Effect
from controller.core.image import Trips
from controller.core.layout import Layout
from controller.core.memory import ProtectionMemory
from controller.core.protect import Facts, Priority, Reset, Row, protect
from controller.core.protect.engine import Matrix
from controller.core.protect.look import Reading
from controller.core.protect.row import Cause
from controller.core.topology import Topology, Wires
from tests.protect_bench import BASE, Bench

TWO_BANKS = dataclasses.replace(
    Topology.regular(4, 2, 16, 4, 2, np.array([0, 0, 1, 1]), np.array([0, 1])),
    wires=Wires(
        ("GW1", "GW2"),
        np.array([np.zeros((4, 2)), [[0, 0], [0, 0], [0, 0], [0, 1]]], bool),
        np.array([[1, 0, 0, 0], [0, 0, 1, 0]], bool),
        np.zeros((2, 2), bool),
        ((), ()),
    ),
)
"""R01 and R02 with P01 on the first bank, R03 and R04 with P02 on the second; R01's controller is on GW1, R03's and a
module of R04 on GW2."""
BENCH = BASE.program.topology


class Table:
    """A table of rows over the bench, judged scan by scan; `present` says where the causes are."""

    def __init__(self, *rows: Row, topology: Topology = BENCH, cycle_ms: int = 100) -> None:
        self.matrix = Matrix(rows, topology, BASE.program.limit, cycle_ms)
        dims = {**BASE.program.dims, "slot": self.matrix.size}
        self.memory = dataclasses.replace(Layout(ProtectionMemory, dims).blank(), first_out=-1)
        self.bench, self.utc_ms, self.overruns, self.answers = Bench(), 10**12, 0, list[Answer]()

    def scan(self, *commands: Command, elapsed_ms: int = 100) -> Trips:
        self.utc_ms += elapsed_ms
        facts = self.bench.facts()
        system = dataclasses.replace(
            facts.system, elapsed_ms=elapsed_ms, utc_ms=self.utc_ms, overruns=self.overruns
        )  # fmt: skip
        facts = dataclasses.replace(facts, system=system)
        verdict, self.answers, self.memory = protect(self.matrix, self.memory, facts, commands)
        return verdict

    def scans(self, count: int) -> list[bool]:
        """Whether the first slot acts, scan by scan."""
        return [bool(self.scan().slot_active[0]) for _ in range(count)]


class Switch:
    """A cause that a test switches at any place, or a quantity that it sets."""

    def __init__(self, shape: tuple[int, ...] = (BENCH.racks,), at_rest: float = 0.0) -> None:
        self.on, self.value, self.known = np.zeros(shape, bool), np.full(shape, at_rest), np.ones(shape, bool)

    def __call__(self, facts: Facts) -> Any:
        return self.on

    def read(self, facts: Facts) -> Reading:
        return Reading(self.value, self.known)


def row(cause: Cause, delay: int | None = 0, reset: Reset = Reset.SELF, name: str = "hazard", **more: Any) -> Row:
    more = {"place": "rack", "effect": Effect.ALARM | Effect.TRIP, **more}
    return Row(name, cause=cause, delay=delay, reset=reset, priority=Priority.LOW, because="", advice="", **more)


def reset(target: int = -1, role: Role = Role.OPERATOR) -> Command:
    return Command(1, Kind.RESET_TRIPS, Origin.OPCUA, role, 0, 10**9, target=target)


def stop() -> Command:
    return Command(2, Kind.EMERGENCY_STOP, Origin.OPCUA, Role.OPERATOR, 0, 10**9)
