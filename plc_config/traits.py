"""What the devices' profiles say of the topology: who reports only extremes, and who precharges by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from controller.core.topology import Topology
from plc_config.expansion import Unit
from plc_config.problem import Problem
from plc_config.schema.site import SiteConfig
from plc_config.strict_yaml import Document

MISSING: Final = (
    "this device reports only its highest and lowest cell",
    "say how many cells are in series behind each place: series_cells: 240",
)
NEEDLESS: Final = ("this device reports every cell", "leave it out")


def with_traits(
    topology: Topology, units: Sequence[Unit], config: SiteConfig, document: Document, problems: list[Problem]
) -> Topology:
    """The topology with `represented` and `self_precharging` filled in; complaints are added to `problems`."""
    represented, own = topology.represented.copy(), topology.self_precharging.copy()
    told: set[str] = set()
    for unit in units:
        profile, count = unit.profile, config.devices[unit.key].series_cells
        extremes = profile.cells == "extremes"
        if extremes != (count is not None) and unit.key not in told:
            told.add(unit.key)
            path = ("devices", unit.key) if extremes else ("devices", unit.key, "series_cells")
            problems.append(document.problem(path, *(MISSING if extremes else NEEDLESS)))
        for place in unit.places:
            if extremes and count is not None:
                represented[place] = count
            if profile.precharge == "device":
                own[place[0]] = True
    return dataclasses.replace(topology, represented=represented, self_precharging=own)
