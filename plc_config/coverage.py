"""What the devices of a site cover: every module, rack and PCS of the topology must be seen and commanded."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from controller.core.field_image import Points
from controller.core.layout import tags_of
from controller.core.signal import Bools
from controller.core.topology import Topology, Wires, few, place_name
from plc_config.limits import OF_THE_SITE
from plc_config.plan import PollingPlan
from plc_config.problem import Problem
from plc_config.schema.site import LimitsConfig
from plc_config.strict_yaml import Document

NEEDED: Final = {
    ("rack", "module"): (("cell_voltage_v", "cell_temperature_degc"), ()),
    ("rack",): (
        ("rack_voltage_v", "rack_current_a", "rack_link_voltage_v", "rack_main_closed"),
        ("rack_main_close", "rack_precharge_close"),
    ),
    ("pcs",): (("pcs_active_power_w",), ("pcs_active_power_setpoint_w",)),
}
"""Points and outputs without which a place cannot be protected or operated."""
NOT_OF_SELF_PRECHARGING: Final = ("rack_link_voltage_v", "rack_precharge_close")
"""What a rack that precharges by itself may lack: it judges its own precharge."""

PLACES_NAMED: Final = 4
"""Of those that something is told of: a large site has thousands."""
SHORTER_TOLD: Final = 8
"""Modules with fewer cells than the topology has room for, named in a note each; the others are like them."""

POINT_DIMS: Final = {t.name: t.dims for t in tags_of(Points)}
ADVISED: Final = (
    "estop_channel_1_closed",
    "estop_channel_2_closed",
    "fire_alarm",
    "smoke_detected",
    "rack_insulation_ohm",
    "aux_supply_v",
)
"""Points that a site may lack, but not silently: `check` notes them."""


def fitted(topology: Topology, plan: PollingPlan) -> Topology:
    """The topology with masks of what some device reports."""
    cells = np.zeros_like(topology.cell_fitted)
    temperatures = np.zeros_like(topology.temperature_fitted)
    for block in plan.reads:
        for ref in block.points:
            mask = {"cell_voltage_v": cells, "cell_temperature_degc": temperatures}.get(ref.point)
            if mask is not None and len(ref.place) == mask.ndim:
                mask[ref.place] = True
            elif mask is not None:
                mask[ref.place][: ref.count] = True
    modules: Bools = np.asarray(cells.any(axis=2))
    return dataclasses.replace(
        topology,
        cell_fitted=cells,
        temperature_fitted=temperatures,
        module_fitted=modules,
        wires=_wires(topology, plan),
    )


def _wires(topology: Topology, plan: PollingPlan) -> Wires:
    """What is read over which bus."""
    t, buses = topology, len(plan.buses)
    modules = np.zeros((buses, t.racks, t.modules), bool)
    racks, pcs = np.zeros((buses, t.racks), bool), np.zeros((buses, t.pcs), bool)
    site: list[dict[str, None]] = [{} for _ in range(buses)]
    for block in plan.reads:
        for ref in block.points:
            dims = POINT_DIMS[ref.point]
            if not dims:
                site[block.bus][ref.point] = None
            elif dims == ("pcs",):
                pcs[block.bus][ref.place] = True
            elif dims == ("rack",):
                racks[block.bus][ref.place] = True
            else:
                modules[block.bus][ref.place[:2]] = True
    return Wires(tuple(b.name for b in plan.buses), modules, racks, pcs, tuple(tuple(s) for s in site))


def complain(topology: Topology, plan: PollingPlan, document: Document) -> list[Problem]:
    """One problem per point or output that a place of the topology lacks, with the first places that lack it."""
    read = {(ref.point, ref.place) for block in plan.reads for ref in block.points}
    written = {(write.output, write.place) for write in plan.writes}
    problems = []
    for dims, (points, outputs) in NEEDED.items():
        places = list(np.ndindex(*(topology.dims[d] for d in dims)))
        for names, have, verb in ((points, read, "reads"), (outputs, written, "writes")):
            for name in names:
                spared = topology.self_precharging & (name in NOT_OF_SELF_PRECHARGING)
                missing = [
                    place_name(dims, place)
                    for place in places
                    if (name, place) not in have and not (dims[:1] == ("rack",) and spared[place[0]])
                ]
                if missing:
                    what = f"no device {verb} {name} of {few(missing, PLACES_NAMED)}"
                    problems.append(document.problem(("devices",), what, "add a device, or correct the topology"))
    return problems


def points_read(plan: PollingPlan) -> frozenset[str]:
    """Names of the points that some device reads."""
    return frozenset(ref.point for block in plan.reads for ref in block.points)


def notes(plan: PollingPlan, topology: Topology, limits: LimitsConfig) -> list[str]:
    """Protections that this site does without."""
    read = points_read(plan)
    missing = [f"no device reads {name}: its protection is not there" for name in ADVISED if name not in read]
    missing += [
        f"limits.{name} limits nothing: no device reads {point}"
        for name, (_, point) in OF_THE_SITE.items()
        if getattr(limits, name) is not None and point not in read
    ]
    return missing + [
        f"{place_name(('rack', 'module'), (rack, module))} reports {fitted[rack, module].sum()} of {fitted.shape[2]} "
        f"{what}: the others are taken for not fitted, and nothing protects them"
        for what, fitted in (("cells", topology.cell_fitted), ("temperatures", topology.temperature_fitted))
        for rack, module in np.argwhere(~fitted.all(axis=2))[:SHORTER_TOLD].tolist()
    ]
