"""From the site file's ranges to single buses and devices, each with its place."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from pathlib import Path
from typing import Any, Final

from controller.core.field_image import Points
from controller.core.layout import tags_of
from controller.core.topology import Topology, place_name
from plc_config import certificates, library, sunspec
from plc_config.plan import BusPlan
from plc_config.problem import ConfigError, Problem
from plc_config.ranges import expand, expand_places
from plc_config.schema.profile import Profile
from plc_config.schema.site import SiteConfig
from plc_config.strict_yaml import Document, Path_

LEVEL_DIMS: Final[dict[str, tuple[str, ...]]] = {
    "site": (),
    "rack": ("rack",),
    "pcs": ("pcs",),
    "module": ("rack", "module"),
}
DIMS_OF: Final = {t.name: t.dims for t in tags_of(Points)}
NUMERIC: Final = re.compile(r"^[\d.]+$")
LEVEL_LETTERS: Final[dict[str, list[str]]] = {"site": [], "rack": ["R"], "pcs": ["P"], "module": ["R", "M"]}


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """One device after expansion."""

    key: str
    profile: Profile
    document: Document
    bus: BusPlan
    unit: int
    places: tuple[tuple[int, ...], ...]
    misfit: str = ""
    chain: sunspec.Chain | None = None

    @property
    def place(self) -> tuple[int, ...]:
        """The first place it serves; more than one only where the profile repeats."""
        return self.places[0]


def place_of(dims: tuple[str, ...], place: tuple[int, ...]) -> tuple[int, ...]:
    """The index prefix, in an array over `dims`, for a device at `place`; a module may speak for its rack."""
    return place[: len(dims)]


def _is_address(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all(part.isdigit() and int(part) <= 255 for part in parts)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


class Expansion:
    """Expands buses and devices; complaints are collected in `problems`, so that all are reported together."""

    def __init__(
        self, config: SiteConfig, document: Document, topology: Topology, chains: sunspec.Chains | None = None
    ) -> None:
        self.config, self.document, self.topology = config, document, topology
        self.chains: sunspec.Chains = chains or {}
        self.problems: list[Problem] = []
        self.buses: dict[str, BusPlan] = {}
        self.units: list[Unit] = []
        self._expand_buses()
        self._expand_devices()

    def complain(self, path: Path_, what: str, right: str = "") -> None:
        """A complaint about the site file."""
        self.problems.append(self.document.problem(path, what, right))

    # -- buses -----------------------------------------------------------------------------------------------

    def _expand_buses(self) -> None:
        self._address(("opcua", "bind"), self.config.opcua.bind, "127.0.0.1")
        for key, bus in self.config.buses.items():
            path: Path_ = ("buses", key)
            try:
                names = expand(key)
                ports = expand(bus.port)
                hosts = expand(str(getattr(bus, "host", "")))
            except ValueError as error:
                self.complain(path, str(error))
                continue
            for what, values in (("port", ports), ("host", hosts)):
                if len(values) not in (1, len(names)):
                    self.complain((*path, what), f"{len(values)} {what}s for {len(names)} buses", "give one each")
            for i, name in enumerate(names):
                if name in self.buses:
                    self.complain(path, f"bus {name} is defined twice")
                    continue
                port, host = ports[min(i, len(ports) - 1)], hosts[min(i, len(hosts) - 1)]
                self.buses[name] = self._bus(path, name, bus, host, port)

    def _address(self, path: Path_, host: str, example: str) -> None:
        """A host is a name or an address; with a colon it is one of IPv6, or somebody has written the port to it."""
        if ":" in host and not _is_ipv6(host):
            self.complain(path, f"{host!r} is not an address", f"write it like {example}; the port has its own key")
        elif NUMERIC.match(host) and not _is_address(host):
            self.complain(path, f"{host!r} is not an address", f"write it like {example}")

    def _bus(self, path: Path_, name: str, bus: Any, host: str, port: str) -> BusPlan:
        number = 0
        self._address((*path, "host"), host, "10.0.1.11")
        owner = next((b for b in self.buses.values() if bus.kind == "rtu" and b.device == port), None)
        if owner is not None:
            self.complain((*path, "port"), f"the port {port} is already that of {owner.name}", "one bus for each port")
        if bus.kind != "rtu":
            if port.isdigit() and 1 <= int(port) <= 65535:
                number = int(port)
            else:
                self.complain((*path, "port"), f"{port!r} is not a port", "1..65535")
        return BusPlan(
            index=len(self.buses),
            name=name,
            kind=bus.kind,
            host=host,
            port=number,
            device=port if bus.kind == "rtu" else "",
            baud=getattr(bus, "baud", 0),
            parity=getattr(bus, "parity", "none"),
            stop_bits=getattr(bus, "stop_bits", 1),
            timeout_ms=bus.timeout,
            window=getattr(bus, "window", 1),
            latency_ms=getattr(bus, "latency", 0),
            echo=getattr(bus, "echo", False),
            **self._tls(path, bus, host),
        )

    def _tls(self, path: Path_, bus: Any, host: str) -> dict[str, str]:
        """Files of a TLS bus, looked at now: a bus that can never connect is a mistake of the author."""
        if bus.kind != "tls":
            return {}
        folder = Path(self.document.file).parent
        files = {name: str(folder / getattr(bus, name)) for name in ("ca", "certificate", "key")}
        for name, what, right in certificates.mistakes(**files):
            self.complain((*path, name), what, right)
        return {**files, "server_name": bus.server_name or host}

    # -- devices ---------------------------------------------------------------------------------------------

    def _expand_devices(self) -> None:
        taken: dict[tuple[str, int], str] = {}
        served: dict[tuple[str, tuple[int, ...]], str] = {}
        for key, device in self.config.devices.items():
            path: Path_ = ("devices", key)
            names = self._names(device)
            found = library.find("profiles", names[0], Path(self.document.file).parent)
            if found is None:
                known = ", ".join([*library.shipped("profiles"), sunspec.NAME])
                self.complain((*path, "profile"), f"no profile of the name {device.profile!r}", f"known: {known}")
                continue
            try:
                profile, document = library.profile_at(found)
            except ConfigError as error:
                self.problems.extend(error.problems)
                continue
            for unit in self._expand_device(path, key, device, profile, document):
                unit = self._as_found(unit, names)
                address = (unit.bus.device or f"{unit.bus.host}:{unit.bus.port}", unit.unit)
                if address in taken:
                    self.complain(
                        (*path, "unit"),
                        f"unit {unit.unit} on bus {unit.bus.name} ({address[0]}) is already {taken[address]}",
                        "each unit id serves one device",
                    )
                taken[address] = key
                self._serve(path, key, unit, served)
                self.units.append(unit)

    @staticmethod
    def _names(device: Any) -> list[str]:
        """Profiles that the device may have: one, unless it is chosen by its own SunSpec models."""
        if device.profile != sunspec.NAME:
            return [device.profile]
        return sunspec.candidates(device.place, device.series_cells)

    def _as_found(self, unit: Unit, names: list[str]) -> Unit:
        """The unit with its profile where its own chain of models puts it, as far as that has been read."""
        chain = self.chains.get((unit.bus.name, unit.unit))
        if chain is None or not unit.profile.models:
            return unit
        try:
            want = sunspec.Want(len(unit.places), self.topology.cells)
            chosen = sunspec.choose(names, chain, want, Path(self.document.file).parent)
        except sunspec.NoFit as error:
            return dataclasses.replace(unit, misfit=str(error))
        alike = (chosen.level, chosen.cells, chosen.precharge) == (
            unit.profile.level, unit.profile.cells, unit.profile.precharge)  # fmt: skip
        if not alike:
            return dataclasses.replace(unit, misfit=f"{chosen.profile} is another kind of device than {names[0]}")
        return dataclasses.replace(unit, profile=chosen, chain=chain)

    def _serve(self, path: Path_, key: str, unit: Unit, served: dict[tuple[str, tuple[int, ...]], str]) -> None:
        level = LEVEL_DIMS[unit.profile.level]
        for point in unit.profile.points:
            dims = DIMS_OF.get(point, level)
            for part in dict.fromkeys(place_of(dims, place) for place in unit.places):
                slot = (point, part)
                if slot in served:
                    where = place_name(level[: len(slot[1])], slot[1])
                    self.complain(path, f"{point} of {where} is already read by {served[slot]!r}")
                served[slot] = key

    def _expand_device(self, path: Path_, key: str, device: Any, profile: Profile, document: Document) -> list[Unit]:
        try:
            places, axes = ([()], []) if device.place == "site" else expand_places(device.place)
            buses, units = expand(device.bus), expand(device.unit)
        except ValueError as error:
            self.complain(path, str(error))
            return []
        letters = LEVEL_LETTERS[profile.level]
        result: list[Unit] = []
        for i, names in enumerate(places):
            first = i // (len(places) // axes[0]) if axes else 0
            last = i % axes[-1] if axes else 0
            bus_name = self._pick(path, "bus", buses, i, first, len(places), axes[:1])
            unit_text = self._pick(path, "unit", units, i, last, len(places), axes[-1:])
            place = self._place(path, names, letters)
            if bus_name is None or unit_text is None or place is None:
                return result
            if bus_name not in self.buses:
                right = f"defined buses: {', '.join(self.config.buses)}"
                self.complain((*path, "bus"), f"no bus of the name {bus_name!r}", right)
                return result
            if not unit_text.isdigit() or int(unit_text) > 255:
                self.complain((*path, "unit"), f"{unit_text!r} is not a unit id", "0..255")
                return result
            unit = Unit(key, profile, document, self.buses[bus_name], int(unit_text), (place,))
            most = profile.repeat.most if profile.repeat else 1
            behind = next((u for u in result if (u.bus.name, u.unit) == (bus_name, unit.unit)), None)
            if behind is None or len(behind.places) >= most:
                result.append(unit)
            else:
                result[result.index(behind)] = dataclasses.replace(behind, places=(*behind.places, place))
        return result

    def _pick(
        self, path: Path_, what: str, values: list[str], index: int, along: int, total: int, axis: list[int]
    ) -> str | None:
        if len(values) == 1:
            return values[0]
        if axis and len(values) == axis[0]:
            return values[along]
        if len(values) == total:
            return values[index]
        wanted = " or ".join(str(n) for n in dict.fromkeys([1, *axis, total]))
        self.complain((*path, what), f"{len(values)} values for {total} places", f"give {wanted}")
        return None

    def _place(self, path: Path_, names: tuple[str, ...], letters: list[str]) -> tuple[int, ...] | None:
        counts = {"R": self.topology.racks, "M": self.topology.modules, "P": self.topology.pcs}
        right = "write it like " + ("/".join(f"{x}01" for x in letters) or "site")
        if len(names) != len(letters):
            self.complain((*path, "place"), f"{'/'.join(names) or 'site'!r} is not a place for this profile", right)
            return None
        place = []
        for name, letter in zip(names, letters, strict=True):
            number = name[1:]
            if name[:1] != letter or not number.isdigit() or not 1 <= int(number) <= counts[letter]:
                right = f"{letter}01..{letter}{counts[letter]:02d}"
                self.complain((*path, "place"), f"{name!r} is not in the topology", right)
                return None
            place.append(int(number) - 1)
        return tuple(place)
