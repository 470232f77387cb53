"""From SITE.yaml to everything the processes need, or to the list of all that is wrong with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from controller.core.signal import Dims
from controller.core.topology import Topology
from plc_config import library
from plc_config.plan import PollingPlan
from plc_config.problem import ConfigError, Problem
from plc_config.ranges import expand
from plc_config.schema.base import check
from plc_config.schema.cell import CellType
from plc_config.schema.site import SiteConfig
from plc_config.strict_yaml import Document, load
from plc_config.wiring import Wiring


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A checked site, ready to run."""

    path: Path
    config: SiteConfig
    document: Document
    cell: CellType
    topology: Topology
    plan: PollingPlan

    @property
    def dims(self) -> Dims:
        """Lengths of every dimension that tags name."""
        return {**self.topology.dims, "bus": len(self.plan.buses), "slot": 1}


def compile_site(site: str) -> Compiled:
    """SITE (file or shipped name), checked whole; ConfigError lists every problem at once."""
    path = library.site_path(site)
    document = load(path)
    config = check(SiteConfig, document)
    problems: list[Problem] = []
    cell = _cell(config, document, path, problems)
    topology = _topology(config, document, problems)
    wiring = Wiring(config, document, topology)
    plan = wiring.build()
    problems += wiring.problems
    if problems or cell is None:
        raise ConfigError(problems)
    return Compiled(path, config, document, cell, topology, plan)


def _cell(config: SiteConfig, document: Document, path: Path, problems: list[Problem]) -> CellType | None:
    found = library.find("cells", config.cell_type, path.parent)
    if found is None:
        known = ", ".join(library.shipped("cells"))
        problems.append(
            document.problem(("cell_type",), f"no cell type of the name {config.cell_type!r}", f"known: {known}")
        )
        return None
    try:
        return library.cell_type_at(found)[0]
    except ConfigError as error:
        problems.extend(error.problems)
        return None


def _topology(config: SiteConfig, document: Document, problems: list[Problem]) -> Topology:
    t = config.topology
    rack_bank = np.zeros(t.racks, np.int64)
    pcs_bank = np.zeros(t.pcs, np.int64)
    if t.banks:
        rack_bank[:], pcs_bank[:] = -1, -1
        for index, (name, bank) in enumerate(t.banks.items()):
            for key, letter, of in (("racks", "R", rack_bank), ("pcs", "P", pcs_bank)):
                try:
                    members = expand(getattr(bank, key))
                except ValueError as error:
                    problems.append(document.problem(("topology", "banks", name, key), str(error)))
                    continue
                for member in members:
                    number = int(member[1:]) if member[:1] == letter and member[1:].isdigit() else 0
                    if not 1 <= number <= len(of) or of[number - 1] >= 0:
                        problems.append(
                            document.problem(
                                ("topology", "banks", name, key),
                                f"{member!r} is not in the topology or is in two banks",
                                f"{letter}01..{letter}{len(of):02d}, each once",
                            )
                        )
                        continue
                    of[number - 1] = index
        for of, letter in ((rack_bank, "R"), (pcs_bank, "P")):
            for i in np.flatnonzero(of < 0):
                problems.append(document.problem(("topology", "banks"), f"{letter}{i + 1:02d} is in no bank"))
            of[of < 0] = 0
    return Topology.regular(t.racks, t.modules, t.cells, t.temperatures, t.pcs, rack_bank, pcs_bank)
