"""Stage: the cause & effect table, the engine that evaluates any table, and the named limits."""

from __future__ import annotations

from controller.core.effect import Effect
from controller.core.protect.engine import Matrix, Slot, protect
from controller.core.protect.limits import NAMES, Derating, limit_power
from controller.core.protect.look import Facts
from controller.core.protect.matrix import ROWS
from controller.core.protect.relations import pairs
from controller.core.protect.row import Priority, Reset, Row, Warned
from controller.core.protect.trend import standing_still

__all__ = [
    "NAMES",
    "ROWS",
    "Derating",
    "Effect",
    "Facts",
    "Matrix",
    "Priority",
    "Reset",
    "Row",
    "Slot",
    "Warned",
    "limit_power",
    "pairs",
    "protect",
    "standing_still",
]
