"""The topology of a site: counts, banks, and that every rack and PCS is in exactly one bank."""

from __future__ import annotations

import numpy as np

from controller.core.signal import Ints
from controller.core.topology import Topology
from plc_config.problem import Problem
from plc_config.ranges import expand
from plc_config.schema.site import SiteConfig
from plc_config.strict_yaml import Document


def topology_of(config: SiteConfig, document: Document, problems: list[Problem]) -> Topology:
    """The topology; without banks all racks and PCS share one. Complaints are added to `problems`."""
    t = config.topology
    rack_bank, pcs_bank = np.zeros(t.racks, np.int64), np.zeros(t.pcs, np.int64)
    if t.banks:
        rack_bank = _members(config, document, "racks", "R", t.racks, problems)
        pcs_bank = _members(config, document, "pcs", "P", t.pcs, problems)
    return Topology.regular(t.racks, t.modules, t.cells, t.temperatures, t.pcs, rack_bank, pcs_bank)


def _members(
    config: SiteConfig, document: Document, key: str, letter: str, count: int, problems: list[Problem]
) -> Ints:
    bank_of = np.full(count, -1, np.int64)
    for index, (name, bank) in enumerate(config.topology.banks.items()):
        path = ("topology", "banks", name, key)
        try:
            members = expand(getattr(bank, key))
        except ValueError as error:
            problems.append(document.problem(path, str(error)))
            continue
        for member in members:
            number = int(member[1:]) if member[:1] == letter and member[1:].isdigit() else 0
            if not 1 <= number <= count or bank_of[number - 1] >= 0:
                what = f"{member!r} is not in the topology or is in two banks"
                problems.append(document.problem(path, what, f"{letter}01..{letter}{count:02d}, each once"))
                continue
            bank_of[number - 1] = index
    for i in np.flatnonzero(bank_of < 0):
        problems.append(document.problem(("topology", "banks"), f"{letter}{i + 1:02d} is in no bank"))
    return np.maximum(bank_of, 0)
