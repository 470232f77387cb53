"""From buses, devices and profiles to the polling plan: ranges are expanded, blocks merged, wire time added up."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

from controller.core.image import OutputImage, Points
from controller.core.layout import tags_of
from controller.core.signal import Tag
from controller.core.topology import Topology, place_name
from plc_config import library
from plc_config.plan import (
    CYCLE,
    BusPlan,
    DevicePlan,
    PointRef,
    PointType,
    PollingPlan,
    ReadBlock,
    WriteBlock,
    merge_limit,
    transaction_ms,
)
from plc_config.problem import ConfigError, Problem
from plc_config.quantity import parse
from plc_config.ranges import expand, expand_places
from plc_config.schema.profile import REGISTERS, Output, Profile, Register
from plc_config.schema.site import SiteConfig
from plc_config.strict_yaml import Document, Path_

POINTS: Final = {t.name: t for t in tags_of(Points)}
OUTPUTS: Final = {t.name: t for t in tags_of(OutputImage)}
LEVEL_DIMS: Final = {"site": (), "rack": ("rack",), "pcs": ("pcs",), "module": ("rack", "module")}
LEVEL_LETTERS: Final = {"site": [], "rack": ["R"], "pcs": ["P"], "module": ["R", "M"]}
BUS_LOAD: Final = 0.9
"""Largest part of a cycle that the every-cycle traffic of one bus may take."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Unit:
    """One device after expansion."""

    key: str
    profile: Profile
    document: Document
    bus: BusPlan
    unit: int
    place: tuple[int, ...]


class Wiring:
    """Builds the plan; complaints are collected in `problems`, so that all are reported together."""

    def __init__(self, config: SiteConfig, document: Document, topology: Topology) -> None:
        self.config, self.document, self.topology = config, document, topology
        self.problems: list[Problem] = []
        self.buses: dict[str, BusPlan] = {}
        self.units: list[_Unit] = []
        self.groups: dict[Any, int] = {}

    def build(self) -> PollingPlan:
        """The whole plan, as far as it could be worked out."""
        self._expand_buses()
        self._expand_devices()
        devices, reads, writes = [], [], []
        for index, unit in enumerate(self.units):
            devices.append(self._device(index, unit))
            reads.extend(self._reads(index, unit))
            writes.extend(self._writes(index, unit))
        plan = PollingPlan(self.config.cycle, tuple(self.buses.values()), tuple(devices), tuple(reads), tuple(writes))
        self._check_load(plan)
        return plan

    def complain(self, path: Path_, what: str, right: str = "", document: Document | None = None) -> None:
        self.problems.append((document or self.document).problem(path, what, right))

    # -- buses -----------------------------------------------------------------------------------------------

    def _expand_buses(self) -> None:
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

    def _bus(self, path: Path_, name: str, bus: Any, host: str, port: str) -> BusPlan:
        number = 0
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
        )

    # -- devices ---------------------------------------------------------------------------------------------

    def _expand_devices(self) -> None:
        taken: dict[tuple[str, int], str] = {}
        served: dict[tuple[str, tuple[int, ...]], str] = {}
        for key, device in self.config.devices.items():
            path: Path_ = ("devices", key)
            found = library.find("profiles", device.profile, Path(self.document.file).parent)
            if found is None:
                known = ", ".join(library.shipped("profiles"))
                self.complain((*path, "profile"), f"no profile of the name {device.profile!r}", f"known: {known}")
                continue
            try:
                profile, document = library.profile_at(found)
            except ConfigError as error:
                self.problems.extend(error.problems)
                continue
            for unit in self._expand_device(path, key, device, profile, document):
                address = (unit.bus.name, unit.unit)
                if address in taken:
                    self.complain(
                        (*path, "unit"),
                        f"unit {unit.unit} on bus {unit.bus.name} is already {taken[address]}",
                        "each unit id serves one device",
                    )
                taken[address] = key
                for point in unit.profile.points:
                    slot = (point, unit.place)
                    if slot in served:
                        where = place_name(LEVEL_DIMS[profile.level], unit.place)
                        self.complain(path, f"{point} of {where} is already read by {served[slot]!r}")
                    served[slot] = key
                self.units.append(unit)

    def _expand_device(self, path: Path_, key: str, device: Any, profile: Profile, document: Document) -> list[_Unit]:
        try:
            places, axes = ([()], []) if device.place == "site" else expand_places(device.place)
            buses, units = expand(device.bus), expand(device.unit)
        except ValueError as error:
            self.complain(path, str(error))
            return []
        letters = LEVEL_LETTERS[profile.level]
        result: list[_Unit] = []
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
            result.append(_Unit(key, profile, document, self.buses[bus_name], int(unit_text), place))
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

    def _device(self, index: int, unit: _Unit) -> DevicePlan:
        profile, wire = unit.profile, unit.profile.wire
        name = f"{place_name(LEVEL_DIMS[profile.level], unit.place)} {unit.key}"
        return DevicePlan(
            index,
            name,
            profile.profile,
            profile.level,
            unit.bus.index,
            unit.unit,
            unit.place,
            wire.gap,
            wire.turnaround,
        )

    # -- reads -----------------------------------------------------------------------------------------------

    def _reads(self, index: int, unit: _Unit) -> list[ReadBlock]:
        wire = unit.profile.wire
        wanted: dict[tuple[int, int], list[tuple[int, int, PointRef]]] = {}
        for name, register in unit.profile.points.items():
            tag = POINTS.get(name)
            if tag is None or not self._fits(unit, name, register, tag):
                if tag is None:
                    known = ", ".join(n for n, t in POINTS.items() if t.dims[:2] == LEVEL_DIMS[unit.profile.level])
                    self._once(unit, ("points", name), f"no measured point of the name {name!r}", f"known: {known}")
                continue
            kind = self._type(unit, ("points", name), register, tag)
            every = CYCLE if register.every == "cycle" else int(register.every)
            function: int = register.function or wire.read_function
            start = register.address // wire.address_step
            ref = PointRef(name, 0, register.count, kind, unit.place)
            length = (register.count - 1) * kind.registers_each + self._width(register)
            wanted.setdefault((function, every), []).append((start, length, ref))
        blocks = []
        for (code, every), items in wanted.items():
            limit = wire.max_registers if code in (3, 4) else 2000
            for start, count, refs in _merge(items, merge_limit(unit.bus, wire.turnaround), limit):
                blocks.append(self._read(index, unit, code, start, count, every, refs))
        return blocks

    def _read(
        self, index: int, unit: _Unit, function: int, start: int, count: int, every: int, refs: list[PointRef]
    ) -> ReadBlock:
        wire = unit.profile.wire
        data = (count + 7) // 8 if function in (1, 2) else 2 * count
        cost = transaction_ms(unit.bus, 8, 5 + data, wire.turnaround) + wire.gap
        key = (unit.profile.profile, function, start, count, every)
        return ReadBlock(
            bus=unit.bus.index,
            device=index,
            unit=unit.unit,
            reply_unit=unit.unit + wire.reply_unit_offset,
            function=function,
            address=start * wire.address_step,
            count=count,
            every_ms=every,
            group=self.groups.setdefault(key, len(self.groups)),
            points=tuple(refs),
            cost_ms=cost,
        )

    def _fits(self, unit: _Unit, name: str, register: Register, tag: Tag) -> bool:
        level = LEVEL_DIMS[unit.profile.level]
        if tag.dims[: len(level)] != level or len(tag.dims) - len(level) not in (0, 1):
            where = "/".join(tag.dims) or "site"
            self._once(unit, ("points", name), f"{name} belongs to {where}, not to a {unit.profile.level}")
            return False
        room = self.topology.dims[tag.dims[-1]] if len(tag.dims) > len(level) else 1
        if register.count > room:
            self._once(
                unit,
                ("points", name),
                f"{name}: {register.count} elements, the topology has {room}",
                f"at most {room}",
            )
            return False
        return True

    def _once(self, unit: _Unit, path: Path_, what: str, right: str = "") -> None:
        problem = unit.document.problem(path, what, right)
        if problem not in self.problems:
            self.problems.append(problem)

    def _type(self, unit: _Unit, path: Path_, item: Register | Output, tag: Tag) -> PointType:
        try:
            scale = float(item.scale) if isinstance(item.scale, int | float) else self._scale(item.scale, tag.unit)
        except ValueError as error:
            self._once(unit, (*path, "scale"), str(error))
            scale = 1.0
        words = item.word_order or unit.profile.wire.word_order
        if isinstance(item, Output):
            return PointType(item.type, scale, negate=item.sign == "charge_positive", little_words=words == "little")
        return PointType(
            type=item.type,
            scale=scale,
            raw_offset=item.raw_offset,
            sentinel=tuple(item.sentinel),
            negate=item.sign == "charge_positive",
            bit=-1 if item.bit is None else item.bit,
            active_low=item.active == "low",
            little_words=words == "little",
            registers_each=item.registers_each,
        )

    @staticmethod
    def _scale(text: str, unit: str) -> float:
        if text == "1":
            if unit != "1":
                raise ValueError(f"a scale with a unit is needed; write it like 0.1 {unit}")
            return 1.0
        return parse(text, unit)

    @staticmethod
    def _width(register: Register) -> int:
        return REGISTERS[register.type]

    # -- writes ----------------------------------------------------------------------------------------------

    def _writes(self, index: int, unit: _Unit) -> list[WriteBlock]:
        wire, writes = unit.profile.wire, []
        for name, output in unit.profile.outputs.items():
            tag = OUTPUTS.get(name)
            if tag is None:
                known = ", ".join(OUTPUTS)
                self._once(unit, ("outputs", name), f"no output of the name {name!r}", f"known: {known}")
                continue
            level = LEVEL_DIMS[unit.profile.level]
            if tag.dims and tag.dims[: len(level)] != level:
                where = "/".join(tag.dims)
                self._once(unit, ("outputs", name), f"{name} belongs to {where}, not to a {unit.profile.level}")
                continue
            code: int = output.function or wire.write_function
            kind = self._type(unit, ("outputs", name), output, tag)
            width = (output.count + 7) // 8 if code == 15 else 2 * output.count * _registers(output)
            request = 8 if code in (5, 6) else 9 + width
            refresh = -1 if output.refresh is None else 0 if output.refresh == "cycle" else int(output.refresh)
            writes.append(
                WriteBlock(
                    bus=unit.bus.index,
                    device=index,
                    unit=unit.unit,
                    reply_unit=unit.unit + wire.reply_unit_offset,
                    function=code,
                    address=output.address,
                    count=output.count,
                    output=name,
                    place=unit.place if tag.dims else (),
                    type=kind,
                    modulo=output.modulo or 0,
                    refresh_ms=refresh,
                    zero_on_silence=tag.zero_on_silence,
                    confirm=output.confirm or "",
                    cost_ms=transaction_ms(unit.bus, request, 8, wire.turnaround) + wire.gap,
                )
            )
        return writes

    # -- wire time -------------------------------------------------------------------------------------------

    def _check_load(self, plan: PollingPlan) -> None:
        for key in self.config.buses:
            try:
                names = [n for n in expand(key) if n in self.buses]
            except ValueError:
                continue
            if not names:
                continue
            load = max(plan.load_ms(self.buses[n].index) for n in names)
            if load > BUS_LOAD * plan.cycle_ms:
                need = int(load / BUS_LOAD / 10 + 1) * 10
                self.complain(
                    ("cycle",),
                    f"bus {names[0]} needs {load:.1f} ms of wire time in every cycle of {plan.cycle_ms} ms",
                    f"a cycle of at least {need} ms, a faster line, or `every:` on slower points",
                )


def _registers(output: Output) -> int:
    return REGISTERS[output.type]


def _merge(items: list[tuple[int, int, PointRef]], gap: int, limit: int) -> list[tuple[int, int, list[PointRef]]]:
    """Blocks of (start, count, points), merged while the gap is at most `gap` and the block at most `limit` long."""
    blocks: list[tuple[int, int, list[PointRef]]] = []
    for start, length, ref in sorted(items, key=lambda item: item[0]):
        if blocks:
            begin, count, refs = blocks[-1]
            end = max(begin + count, start + length)
            if start - (begin + count) <= gap and end - begin <= limit:
                blocks[-1] = (begin, end - begin, [*refs, dataclasses.replace(ref, offset=start - begin)])
                continue
        blocks.append((start, length, [ref]))
    return blocks
