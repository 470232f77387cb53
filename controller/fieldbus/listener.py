"""What the queue of a bus tells its bus."""

from __future__ import annotations

from typing import Protocol

from controller.fieldbus.outputs import Output
from controller.fieldbus.request import Failure, Request
from controller.fieldbus.unit import Unit


class Listener(Protocol):
    """What the queue of a bus tells, and asks."""

    def round_done(self) -> None:
        """All FAST blocks of this cycle were asked for, and answered or given up."""

    def first_reply(self) -> None:
        """A correct reply after none of the units had answered."""

    def written(self, output: Output, payload: bytes, now_ms: int) -> None:
        """A write was confirmed; `payload` is the reply's data."""

    def write_failed(self, output: Output, failure: Failure, code: int, now_ms: int) -> None:
        """A write was not confirmed."""

    def may_write(self, output: Output) -> bool:
        """Whether an output may be written now."""

    def unit_changed(self, unit: Unit, up: bool, failure: Failure | None) -> None:
        """A unit began or ceased to fail."""

    def refused(self, request: Request, code: int) -> None:
        """A read was refused (or with code 0: not answered) often enough to be called a fault."""
