"""What the plant consists of: dense rack x module x cell, with masks for what is not fitted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np

from controller.core.signal import Bools, Dims, Floats, Ints

MAX_RACKS: Final = 256
MAX_COMMANDS_PER_SCAN: Final = 16
HISTOGRAM_BUCKETS: Final = 240
MAX_SHELVED: Final = 32
"""Alarms that may be shelved or out of service at one time; more than a person can keep in mind is refused."""
MOST_WARNINGS: Final = 16
"""Entries of the ranked list of warnings."""
TOLD_SCANS: Final = 32
"""Scans for which is kept what a PCS was told: more than pass before a value counts as lost."""
FLOOD_BUCKETS: Final = 60
RATE_HOURS: Final = 24


@dataclasses.dataclass(frozen=True)
class Wires:
    """Which places are read over which bus; the first axis of every mask is the bus."""

    names: tuple[str, ...]
    modules: Bools
    racks: Bools
    pcs: Bools
    site: tuple[tuple[str, ...], ...]

    @cached_property
    def used(self) -> Bools:
        """Buses over which anything is read."""
        site = np.array([bool(names) for names in self.site], bool)
        return np.asarray(self.modules.any(axis=(1, 2)) | self.racks.any(axis=1) | self.pcs.any(axis=1) | site)

    @staticmethod
    def none(racks: int, modules: int, pcs: int) -> Wires:
        """A plant of which no bus is known."""
        return Wires((), np.zeros((0, racks, modules), bool), np.zeros((0, racks), bool), np.zeros((0, pcs), bool), ())


@dataclasses.dataclass(frozen=True)
class Topology:
    """Counts, names and membership. Places are named R01, M01, B01, P01; cells and sensors count from 1 for people.

    rack_bank, pcs_bank: index of the bank of each rack / PCS. The `*_fitted` masks are True where the element exists.
    represented: over rack, module; 0 where every cell is reported, else the number of cells in series behind the two
    values that the device reports, its highest cell (first) and its lowest (second).
    self_precharging: racks whose own controller precharges and closes after one command.
    wires: what is read over which bus.
    """

    racks: int
    modules: int
    cells: int
    temperatures: int
    pcs: int
    banks: int
    rack_bank: Ints
    pcs_bank: Ints
    module_fitted: Bools
    cell_fitted: Bools
    temperature_fitted: Bools
    represented: Ints
    self_precharging: Bools
    wires: Wires

    @staticmethod
    def regular(
        racks: int,
        modules: int,
        cells: int,
        temperatures: int,
        pcs: int = 1,
        rack_bank: Ints | None = None,
        pcs_bank: Ints | None = None,
    ) -> Topology:
        """A plant in which every rack and module is built alike; without banks named, all racks share bank 1."""
        rb = np.zeros(racks, np.int64) if rack_bank is None else rack_bank
        pb = np.zeros(pcs, np.int64) if pcs_bank is None else pcs_bank
        banks = int(max(rb.max(initial=0), pb.max(initial=0))) + 1
        return Topology(
            racks,
            modules,
            cells,
            temperatures,
            pcs,
            banks,
            rb,
            pb,
            np.ones((racks, modules), bool),
            np.ones((racks, modules, cells), bool),
            np.ones((racks, modules, temperatures), bool),
            np.zeros((racks, modules), np.int64),
            np.zeros(racks, bool),
            Wires.none(racks, modules, pcs),
        )

    @cached_property
    def extremes_only(self) -> Bools:
        """Over rack, module: the device reports its highest and lowest cell and no others."""
        return np.asarray(self.represented > 0)

    @cached_property
    def series_cells(self) -> Ints:
        """Over rack, module: cells in series, whether they are reported one by one or by their extremes."""
        return np.asarray(np.where(self.extremes_only, self.represented, self.cell_fitted.sum(axis=2)), np.int64)

    @cached_property
    def cell_count(self) -> Ints:
        """Over rack: cells that are reported."""
        return np.asarray(self.cell_fitted.sum(axis=(1, 2)), np.int64)

    @cached_property
    def all_cells_fitted(self) -> bool:
        """Every place of the dense arrays holds a cell."""
        return bool(self.cell_fitted.all())

    @cached_property
    def rack_cells(self) -> Ints:
        """Over rack: its cells in series."""
        return np.asarray(self.series_cells.sum(axis=1), np.int64)

    @cached_property
    def every_rack(self) -> Bools:
        """Over rack: True."""
        return np.ones(self.racks, bool)

    @cached_property
    def fed_by(self) -> Bools:
        """Over PCS, rack: the rack is in the PCS's bank."""
        return np.asarray(self.pcs_bank[:, None] == self.rack_bank[None, :])

    @cached_property
    def pcs_count(self) -> Ints:
        """Over bank: its PCS."""
        return np.asarray(np.bincount(self.pcs_bank, minlength=self.banks), np.int64)

    @cached_property
    def cell_weight(self) -> Floats:
        """Over rack, module, cell: cells in series that a reported value stands for; 0 where none is fitted."""
        shown = np.maximum(self.cell_fitted.sum(axis=2), 1)
        return np.asarray(np.where(self.cell_fitted, (self.series_cells / shown)[..., None], 0.0))

    @property
    def dims(self) -> Dims:
        """Lengths of the dimensions that tags may name."""
        return {
            "rack": self.racks,
            "module": self.modules,
            "cell": self.cells,
            "temperature": self.temperatures,
            "pcs": self.pcs,
            "bank": self.banks,
            "bus": len(self.wires.names),
            "shelf": MAX_SHELVED,
            "recent": 2,
            "told": TOLD_SCANS,
            "flood": FLOOD_BUCKETS,
            "hour": RATE_HOURS,
            "command": MAX_COMMANDS_PER_SCAN,
            "bucket": HISTOGRAM_BUCKETS,
            "warning": MOST_WARNINGS,
        }


LETTER: Final = {"rack": "R", "module": "M", "pcs": "P", "bank": "B"}


def few(names: Sequence[str], most: int) -> str:
    """Names for people: the first `most` of them, and how many there are more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def place_name(dims: tuple[str, ...], index: tuple[int, ...]) -> str:
    """The name of a place for people: ("rack", "module", "cell"), (0, 2, 16) -> "R01/M03/C17"; () -> "site"."""
    if not dims:
        return "site"
    letters = {**LETTER, "cell": "C", "temperature": "T"}
    return "/".join(f"{letters[d]}{i + 1:02d}" for d, i in zip(dims, index, strict=True))
