"""Which alarm is the consequence of which: data beside the rows, resolved over the plant's topology.

A consequence acts like any row; only its annunciation is told with its root, so that one lost gateway is one alarm
with a count. The relation holds between places that belong together: the same rack, bank or bus, or the site above.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from controller.core.protect.row import Row
from controller.core.signal import Bools, Ints

if TYPE_CHECKING:
    from controller.core.protect.engine import Matrix

WAIT_FOR_ROOT_MS: Final = 1500
"""A consequence waits this long for its root: devices on one bus fall silent within a scan or two of each other, and
the I/O process is missed after 2 s, when its values are lost since 1.2 s."""
ANY_TRIP: Final = "any row that opens"
EXPLAINED_BY: Final[dict[str, tuple[str, ...]]] = {
    "bus_lost": ("io_process_lost",),
    "module_comm_lost": ("bus_lost",),
    "cell_voltage_lost": ("module_comm_lost", "bus_lost"),
    "temperature_lost": ("module_comm_lost", "bus_lost"),
    "rack_comm_lost": ("bus_lost",),
    "rack_current_lost": ("rack_comm_lost", "bus_lost"),
    "insulation_lost": ("rack_comm_lost", "bus_lost"),
    "pcs_comm_lost": ("bus_lost",),
    "module_witness_lost": ("module_comm_lost", "bus_lost"),
    "rack_witness_lost": ("rack_comm_lost", "bus_lost"),
    "pcs_witness_lost": ("pcs_comm_lost", "bus_lost"),
    "pcs_does_not_follow": ("pcs_fault", "pcs_comm_lost"),
    "estop_lost": ("bus_lost",),
    "fire_detection_lost": ("bus_lost",),
    "enclosure_data_lost": ("bus_lost",),
    "aux_supply_lost": ("bus_lost",),
    "rack_bms_lost": ("rack_comm_lost", "bus_lost"),
    "temperature_sensor_lost": ("module_comm_lost", "bus_lost"),
    "pcs_does_not_start": ("pcs_fault", "pcs_comm_lost"),
    "pcs_command_not_confirmed": ("pcs_comm_lost",),
    "no_current_though_commanded": ("pcs_fault", "pcs_comm_lost"),
    "store_trouble": ("store_process_lost", "disk_full"),
    "cooling_without_fall": ("cooling_failed",),
    "cell_overvoltage_warning": ("cell_overvoltage",),
    "cell_voltage_high": ("cell_overvoltage_warning",),
    "cell_undervoltage_warning": ("cell_undervoltage",),
    "cell_voltage_low": ("cell_undervoltage_warning",),
    "charge_overcurrent_warning": ("charge_overcurrent", "charge_overcurrent_lasting"),
    "charge_current_high": ("charge_overcurrent_warning",),
    "discharge_overcurrent_warning": ("discharge_overcurrent", "discharge_overcurrent_lasting"),
    "discharge_current_high": ("discharge_overcurrent_warning",),
    "overtemperature_warning": ("charge_overtemperature", "discharge_overtemperature"),
    "charge_temperature_high": ("overtemperature_warning",),
    # The outer cell or sensor is named by its own alarm already.
    "cell_voltage_spread": ("cell_overvoltage_warning", "cell_undervoltage_warning"),
    "temperature_spread": ("overtemperature_warning", "discharge_undertemperature_warning"),
    "charge_overtemperature": ("discharge_overtemperature",),
    "discharge_overtemperature_warning": ("discharge_overtemperature",),
    "discharge_temperature_high": ("discharge_overtemperature_warning",),
    "charge_undertemperature": ("discharge_undertemperature",),
    "charge_undertemperature_warning": ("charge_undertemperature",),
    "charge_temperature_low": ("charge_undertemperature_warning",),
    "discharge_undertemperature_warning": ("discharge_undertemperature",),
    "discharge_temperature_low": ("discharge_undertemperature_warning",),
    "insulation_warning": ("insulation_low",),
    "rack_not_connected": (ANY_TRIP,),
}
"""Consequence: the rows that explain it. What explains the explaining row explains it too."""


def related(rows: Sequence[Row], table: dict[str, tuple[str, ...]] = EXPLAINED_BY) -> tuple[Row, ...]:
    """The rows with their relation filled in; a consequence is told a moment later, when its root had time to come."""
    opening = tuple(r.id for r in rows if r.opens)
    done = []
    for row in rows:
        wanted = table.get(row.id, ())
        names = tuple(n for n in (opening if wanted == (ANY_TRIP,) else wanted) if n != row.id)
        after = WAIT_FOR_ROOT_MS if names else row.alarm_after_ms
        done.append(dataclasses.replace(row, explained_by=names, alarm_after_ms=after))
    return tuple(done)


def pairs(matrix: Matrix) -> tuple[Ints, Ints]:
    """(consequence slot, root slot) of every pair, the outermost root of a consequence last."""
    rows = {row.id: i for i, row in enumerate(matrix.rows)}
    above = {row.id: _above(row.id, {r.id: r.explained_by for r in matrix.rows}) for row in matrix.rows}
    outermost_last = sorted(rows, key=lambda n: -len(above[n] & rows.keys()))
    consequence: list[Ints] = []
    root: list[Ints] = []
    for name in outermost_last:
        for row in matrix.rows:
            if name not in above[row.id]:
                continue
            c, r = np.nonzero(_together(matrix, rows[row.id], rows[name]))
            consequence.append(c + matrix.start[rows[row.id]])
            root.append(r + matrix.start[rows[name]])
    nothing = np.zeros(0, np.int64)
    return np.concatenate([nothing, *consequence]), np.concatenate([nothing, *root])


def _above(name: str, by: dict[str, tuple[str, ...]]) -> set[str]:
    """Every row that explains a row, directly or through others."""
    found: set[str] = set()
    waiting = list(by.get(name, ()))
    while waiting:
        one = waiting.pop()
        if one not in found and one != name:
            found.add(one)
            waiting += by.get(one, ())
    return found


def _together(matrix: Matrix, consequence: int, root: int) -> Bools:
    """Which places of one row (first axis) belong to which places of another: they touch the same things."""
    b = _touches(matrix, root, whole=True)
    # Over a bus a rack's controller may be lost while its modules, on another bus, are heard.
    a = _touches(matrix, consequence, whole=matrix.rows[root].place != "bus")
    return np.asarray((a @ b.T) > 0)


def _touches(matrix: Matrix, number: int, whole: bool) -> Ints:
    """Per place of a row, which modules, rack controllers, PCS and site points it is about, as 0 and 1.

    whole: also what belongs to the place, such as a rack's modules.
    """
    t, place, shape = matrix.topology, matrix.rows[number].place, matrix.shape[number]
    size = int(np.prod(shape, dtype=np.int64))
    each = np.arange(size)
    modules = np.zeros((size, t.racks, t.modules), bool)
    racks, pcs, site = np.zeros((size, t.racks), bool), np.zeros((size, t.pcs), bool), np.zeros((size, 1), bool)
    if place == "module":
        modules[each, each // t.modules, each % t.modules] = True
    elif place == "rack":
        racks[each, each], modules[each, each] = True, whole
    elif place == "pcs":
        pcs[each, each] = True
        racks[...] = whole & t.fed_by
    elif place == "bus":
        modules[...], racks[...], pcs[...] = t.wires.modules, t.wires.racks, t.wires.pcs
        site[...] = np.array([bool(names) for names in t.wires.site], bool).reshape(size, 1)
    else:
        modules[...], racks[...], pcs[...], site[...] = whole, whole, whole, True
    return np.concatenate([modules.reshape(size, -1), racks, pcs, site], axis=1).astype(np.int64)
