"""What is left when a witness falls silent: it is told, its last word stands, and the place runs on for an hour only.

A witness is a point whose loss leaves its place running, because another point measures the same or because it only
contradicts others: a second current sensor, a voltage across a contactor, a command read back. A place that is not
heard at all has rows of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from controller.core.field_image import Points
from controller.core.layout import tags_of
from controller.core.protect import contactors as c
from controller.core.protect import facts as f
from controller.core.protect import plausible as p
from controller.core.protect import told
from controller.core.protect.flow import seen_open
from controller.core.protect.look import Facts, once
from controller.core.protect.row import Row, Threshold, When
from controller.core.signal import USABLE, Bools, Ints, lost, some, usable

if TYPE_CHECKING:
    from controller.core.protect.engine import Matrix

RUN_WITHOUT_MS: Final = 3_600_000
"""Time to send somebody, or to end the day's schedule; a second fault in it is what would not be seen."""
OF_MODULE: Final = ("module_bleeding_cells", "module_sample_counter")
OF_RACK: Final = (
    "rack_current_redundant_a", "rack_link_voltage_v", "rack_precharge_closed", "rack_main_confirmed",
    "rack_heartbeat_echo",
)  # fmt: skip
OF_PCS: Final = ("pcs_running", "pcs_fault", "pcs_active_power_confirmed_w")
OF_PCS_AT_WORK: Final = ("pcs_dc_voltage_v", "pcs_dc_current_a")
"""A PCS at rest may have its DC switch open, and nothing to say of that side."""
CELLS: Final = ("cell_voltage_v",)
TEMPERATURES: Final = ("cell_temperature_degc",)
ESTOP: Final = ("estop_channel_1_closed", "estop_channel_2_closed")
RESTS_ON: Final[dict[Callable[..., Any], tuple[str, ...]]] = {
    f.cell_voltage_high: CELLS,
    f.cell_voltage_low: CELLS,
    f.temperature_high: TEMPERATURES,
    f.temperature_low: TEMPERATURES,
    f.insulation: ("rack_insulation_ohm",),
    p.bleed_switch_stuck: ("module_bleeding_cells",),
    p.rack_currents_differ: ("rack_current_a", "rack_current_redundant_a"),
    p.closed_without_contact: ("rack_link_voltage_v",),
    c.precharge_does_not_close: ("rack_precharge_closed",),
    c.precharge_does_not_open: ("rack_precharge_closed",),
    c.command_not_confirmed: ("rack_main_confirmed",),
    p.heartbeat_not_received: ("rack_heartbeat_echo",),
    p.second_controller: ("rack_heartbeat_echo",),
    f.pcs_fault: ("pcs_fault",),
    p.pcs_does_not_start: ("pcs_running",),
    told.pcs_command_not_confirmed: ("pcs_active_power_confirmed_w",),
    told.dc_power_differs: ("rack_current_a",),
    p.link_voltages_differ: ("pcs_dc_voltage_v", "rack_link_voltage_v"),
    f.estop_pressed: ESTOP,
    f.estop_discrepancy: ESTOP,
    f.fire: ("fire_alarm",),
    f.smoke: ("smoke_detected",),
}
"""What a cause cannot be seen to have ended without. Where several sensors are compared it is the one that was worst.

A rack's current has its own memory (`flow.worst_current`): which of its two sensors was worst is not kept."""
DIMS: Final = {t.name: t.dims for t in tags_of(Points)}


def _silent(facts: Facts, names: tuple[str, ...]) -> Bools:
    points = facts.measured.points
    found = lost(getattr(points, names[0]))
    for name in names[1:]:
        found = found | lost(getattr(points, name))
    return found


@once
def module_witness_lost(facts: Facts) -> Bools:
    """Sample counter or bleed switches of the module cannot be read, though its cells can."""
    return np.asarray(_silent(facts, OF_MODULE) & ~f.module_lost(facts))


@once
def rack_witness_lost(facts: Facts) -> Bools:
    """A second current sensor, link voltage, feedback or command read back is missing, though the rack is heard."""
    return np.asarray(_silent(facts, OF_RACK) & ~f.rack_lost(facts))


@once
def pcs_witness_lost(facts: Facts) -> Bools:
    """DC side, state or confirmed setpoint of the PCS is missing, though it is heard."""
    running = facts.measured.points.pcs_running
    resting = usable(running) & (running.value < 0.5)
    silent = _silent(facts, OF_PCS) | (_silent(facts, OF_PCS_AT_WORK) & ~resting)
    return np.asarray(silent & ~f.pcs_lost(facts))


def standing(matrix: Matrix, before: Bools, element: Ints, present: Bools, facts: Facts) -> Bools:
    """Slots of `before` that are not present, of which nobody can tell: what would show them is silent.

    element: the cell or sensor that showed them. A rack or PCS that is silent as a whole trips or stops by itself, and
    what it last said of its contactors and commands stands no longer; what concerns the site stands until it is heard.
    """
    stands = np.zeros(matrix.size, bool)
    fallen = before & ~present
    if not some(fallen):
        return stands
    for number in np.unique(matrix.row_of[fallen]).tolist():
        row = matrix.rows[number]
        names = RESTS_ON.get(_look(row), ())
        if names:
            at = slice(matrix.start[number], matrix.stop[number])
            stands[at] = fallen[at] & _missing(facts, row.place, names, element[at])
    return stands


def _look(row: Row) -> Any:
    cause = row.cause
    return cause.quantity if isinstance(cause, Threshold) else cause.condition if isinstance(cause, When) else None


def _missing(facts: Facts, place: str, names: tuple[str, ...], element: Ints) -> Bools:
    """Places of a row at which one of these points is silent."""
    t, points = facts.topology, facts.measured.points
    if place == "site":
        return np.array([some(_silent(facts, names))])
    if len(DIMS[names[0]]) == 3:
        quality = getattr(points, names[0]).quality.reshape(len(element), -1)
        return np.asarray(quality[np.arange(len(element)), element] > USABLE)
    if place == "module":
        return np.asarray(_silent(facts, names) & ~f.module_lost(facts)).reshape(-1)
    silent = np.zeros(t.pcs if place == "pcs" else t.racks, bool)
    for name in names:
        here = lost(getattr(points, name))
        of_bank = place == "pcs" and DIMS[name] == ("rack",)
        silent |= np.isin(t.pcs_bank, t.rack_bank[here & ~seen_open(facts)]) if of_bank else here
    return np.asarray(silent & ~(f.rack_lost if place == "rack" else f.pcs_lost)(facts))
