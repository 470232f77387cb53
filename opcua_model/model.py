"""The whole address space of a site as a list of variables, and its printed form: the contract with SCADA."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

from controller.core.image import RackMode, SiteMode
from controller.core.topology import Topology
from opcua_model.alarms import AlarmPoints
from opcua_model.catalog import Catalog, SlotInfo
from opcua_model.commands import METHODS, SETPOINTS
from opcua_model.diagnostics import UnitName, diagnostic_points, freshness_points
from opcua_model.points import Point, Spec, fixed, plain_reader
from opcua_model.tags import TagPoints

PATTERN_BUS: Final = "BUS"
PATTERN_ROW: Final = "ROW"
PATTERN_UNIT: Final = "UNIT"
HEADER: Final = "path,type,unit,access,doc"


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """What the nameplate says."""

    site_id: str
    site_name: str
    version: str
    cell_type: str
    cycle_ms: int
    rated_power_w: float
    rated_reactive_power_var: float


@dataclasses.dataclass(frozen=True)
class Model:
    """All variables of a site. `enums` are the texts of the codes, by enumeration."""

    identity: Identity
    topology: Topology
    catalog: Catalog
    points: tuple[Point, ...]

    @property
    def enums(self) -> dict[str, tuple[str, ...]]:
        """Texts of every enumeration that a code variable names."""
        return {
            "SiteMode": tuple(m.name for m in SiteMode),
            "RackMode": tuple(m.name for m in RackMode),
            "Limit": tuple(self.catalog.limit_names),
        }


def build_model(
    identity: Identity, topology: Topology, catalog: Catalog, bus_names: Sequence[str], units: Sequence[UnitName]
) -> Model:
    """The model of a site; two variables with one path are a programming error and raise."""
    points = [
        *identification_points(identity, topology),
        *TagPoints(topology, catalog).points(),
        *freshness_points(topology),
        *control_points(),
        *AlarmPoints(catalog).points(),
        *diagnostic_points(bus_names, units),
    ]
    seen: set[str] = set()
    for point in points:
        if point.path in seen:
            raise ValueError(f"two variables want to be {point.path}")
        seen.add(point.path)
    return Model(identity, topology, catalog, tuple(points))


def identification_points(identity: Identity, topology: Topology) -> Iterator[Point]:
    """The nameplate: never changes while the server runs."""
    for name, kind, unit, value, doc in (
        ("Manufacturer", "String", "1", "Cellwarden", "Maker of the controller"),
        ("SoftwareVersion", "String", "1", identity.version, "Version of the controller"),
        ("SiteId", "String", "1", identity.site_id, "Site id"),
        ("SiteName", "String", "1", identity.site_name, "Site name"),
        ("CellType", "String", "1", identity.cell_type, "Cell type"),
        ("RackCount", "Int64", "1", topology.racks, "Racks"),
        ("ModulesPerRack", "Int64", "1", topology.modules, "Modules of a rack"),
        ("CellsPerModule", "Int64", "1", topology.cells, "Cells of a module"),
        ("PcsCount", "Int64", "1", topology.pcs, "Power conversion systems"),
        ("BankCount", "Int64", "1", topology.banks, "Banks"),
        ("CycleTime", "Int64", "ms", identity.cycle_ms, "Period of the scan"),
        ("RatedPower", "Double", "W", identity.rated_power_w, "Rated active power, a magnitude"),
        ("RatedReactivePower", "Double", "var", identity.rated_reactive_power_var, "Rated reactive power, a magnitude"),
    ):
        spec = Spec(name, kind, doc, fixed(value), unit=unit, low=0.0, high=1e9, source="", graded=False)
        yield Point(f"Identification/{name}", spec)


def control_points() -> Iterator[Point]:
    """What may be written, shown as the scan has it, and the answer to the last command."""
    for s in SETPOINTS:
        read = plain_reader(s.tag, "Double")
        yield Point(
            f"Control/{s.name}",
            Spec(s.name, "Double", s.doc, read, unit=s.unit, low=s.low, high=s.high, writable=True),
        )


def node_rows(points: Sequence[Point]) -> list[str]:
    """One CSV line per variable and per method, sorted by path."""
    rows = []
    for p in points:
        kind = f"{p.spec.kind}[]" if p.spec.array else p.spec.kind
        access = "rw" if p.spec.writable else "r"
        rows.append(f"{p.path},{kind},{p.spec.unit if p.spec.analog else ''},{access},{_cell(p.spec.doc)}")
    for m in METHODS:
        arguments = " ".join(f"{a.name}:{a.kind}" for a in m.inputs)
        results = " ".join(f"{a.name}:{a.kind}" for a in m.outputs)
        rows.append(f"Control/{m.name},Method({arguments})->({results}),,x,{_cell(m.doc)}")
    rows.append("Control/LastAnswer,String,,r,The controller's answer to the last command")
    return [HEADER, *sorted(rows)]


def _cell(text: str) -> str:
    return f'"{text}"' if "," in text else text


def pattern_rows() -> list[str]:
    """The contract in short: R01, M01, P01, B01, BUS, UNIT and ROW stand for all of their kind."""
    topology = Topology.regular(1, 1, 1, 1)
    identity = Identity("", "", "", "", 0, 0.0, 0.0)
    catalog = Catalog([SlotInfo(0, PATTERN_ROW, "site", 1, "", "", "")])
    return node_rows(build_model(identity, topology, catalog, [PATTERN_BUS], [(PATTERN_BUS, PATTERN_UNIT, "")]).points)
