"""What a cause takes before it is there, of rows that then act without a delay of their own: `0 ms` would not tell it.

The figures are those that the causes use, of the modules that work them out and of the site's own settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from controller.core.program import Program
from controller.core.protect.facts import LOST_SIGN_OF_LIFE_MS, PROCESS_START_MS
from controller.core.protect.plausible import ECHO_STILL_MS, PRECHARGE_PATIENCE_MS
from controller.core.protect.trend import COOLING_RISE_K, COOLING_WINDOW_MS, TEMPERATURE_WINDOW_MS
from controller.core.settings import Band
from controller.core.signal import amount


def cause_takes(row: str, program: Program) -> str:
    """In words that follow `after` or `by`, like `60 s of cooling`; empty for a cause that is there at once."""
    return _TAKES[row](program) if row in _TAKES else ""


def _seconds(time_ms: float) -> str:
    return amount(time_ms / 1000, "s")


def _lost(p: Program) -> str:
    return f"after {_seconds(p.sensors.settings.lost_after_ms)} without a value"


def _i2t(p: Program, current: Band, at: str) -> str:
    """Heat grows evenly while a current stands just below its trip, and is 1 after `endure_ms`."""
    time_ms = getattr(p.limit.overcurrent_heat, at) * current.endure_ms
    return f"by I2t: after {_seconds(time_ms)} just below {amount(current.trip, 'A')}"


def _precharge(p: Program) -> str:
    s = p.sequences.settings
    return f"after {s.precharge_attempts} attempts of {_seconds(s.precharge_timeout_ms)}"


def _weld_test(p: Program) -> str:
    time_ms = p.sequences.settings.contactor.weld_test_ms
    return f"after {_seconds(time_ms)} on a dead link" if time_ms else "never: there is no weld test"


_TAKES: Final[dict[str, Callable[[Program], str]]] = {
    "temperature_rises_fast": lambda p: f"after two looks, each over {_seconds(TEMPERATURE_WINDOW_MS)} or more",
    "charge_overcurrent_lasting": lambda p: _i2t(p, p.limit.charge_overcurrent, "trip"),
    "discharge_overcurrent_lasting": lambda p: _i2t(p, p.limit.discharge_overcurrent, "trip"),
    "charge_overcurrent_warning": lambda p: _i2t(p, p.limit.charge_overcurrent, "warn"),
    "discharge_overcurrent_warning": lambda p: _i2t(p, p.limit.discharge_overcurrent, "warn"),
    "module_comm_lost": _lost,
    "rack_comm_lost": _lost,
    "pcs_comm_lost": _lost,
    "estop_lost": _lost,
    "bus_lost": _lost,
    "heartbeat_not_received": lambda p: f"after {_seconds(ECHO_STILL_MS)} without a new echo",
    "precharge_overdue": _precharge,
    "precharge_without_rise": lambda p: f"after {_seconds(PRECHARGE_PATIENCE_MS)} of precharge",
    "weld_test_failed": _weld_test,
    "cooling_without_fall": lambda p: (
        f"after {_seconds(COOLING_WINDOW_MS)} of cooling in which it rose by {amount(COOLING_RISE_K, 'K')}"
    ),
    "scada_heartbeat_lost": lambda p: f"after {_seconds(p.dispatch.settings.heartbeat_timeout_ms)} without a beat",
    "scan_overrun": lambda p: f"after {p.limit.overrun_scans} scans in a row",
    "io_process_lost": lambda p: f"after {_seconds(LOST_SIGN_OF_LIFE_MS)} of silence; at once when started anew",
    "opcua_process_lost": lambda p: f"after {_seconds(PROCESS_START_MS)} of silence",
    "store_process_lost": lambda p: f"after {_seconds(PROCESS_START_MS)} of silence",
}
