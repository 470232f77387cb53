"""From devices and profiles to the polling plan: blocks merged, wire time added up."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from controller.core.image import OutputImage, Points
from controller.core.layout import tags_of
from controller.core.signal import Tag
from controller.core.topology import Topology, place_name
from plc_config.expansion import LEVEL_DIMS, Expansion, Unit
from plc_config.plan import (
    CYCLE,
    DevicePlan,
    PointRef,
    PointType,
    PollingPlan,
    ReadBlock,
    WriteBlock,
    merge_limit,
    transaction_ms,
)
from plc_config.problem import Problem
from plc_config.quantity import parse
from plc_config.ranges import expand
from plc_config.schema.profile import REGISTERS, Output, Register
from plc_config.schema.site import SiteConfig
from plc_config.strict_yaml import Document, Path_

POINTS: Final = {t.name: t for t in tags_of(Points)}
OUTPUTS: Final = {t.name: t for t in tags_of(OutputImage)}
BUS_LOAD: Final = 0.9
"""Largest part of a cycle that the every-cycle traffic of one bus may take."""


class Wiring:
    """Builds the plan; complaints are collected in `problems`, so that all are reported together."""

    def __init__(self, config: SiteConfig, document: Document, topology: Topology) -> None:
        self.config, self.document, self.topology = config, document, topology
        expansion = Expansion(config, document, topology)
        self.problems: list[Problem] = expansion.problems
        self.buses, self.units = expansion.buses, expansion.units
        self.groups: dict[Any, int] = {}

    def build(self) -> PollingPlan:
        """The whole plan, as far as it could be worked out."""
        devices, reads, writes = [], [], []
        for index, unit in enumerate(self.units):
            devices.append(self._device(index, unit))
            reads.extend(self._reads(index, unit))
            writes.extend(self._writes(index, unit))
        plan = PollingPlan(self.config.cycle, tuple(self.buses.values()), tuple(devices), tuple(reads), tuple(writes))
        self._check_load(plan)
        return plan

    def _device(self, index: int, unit: Unit) -> DevicePlan:
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

    def _reads(self, index: int, unit: Unit) -> list[ReadBlock]:
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
        self, index: int, unit: Unit, function: int, start: int, count: int, every: int, refs: list[PointRef]
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

    def _fits(self, unit: Unit, name: str, register: Register, tag: Tag) -> bool:
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

    def _once(self, unit: Unit, path: Path_, what: str, right: str = "") -> None:
        problem = unit.document.problem(path, what, right)
        if problem not in self.problems:
            self.problems.append(problem)

    def _type(self, unit: Unit, path: Path_, item: Register | Output, tag: Tag) -> PointType:
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

    def _writes(self, index: int, unit: Unit) -> list[WriteBlock]:
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
                self._complain_cycle(
                    f"bus {names[0]} needs {load:.1f} ms of wire time in every cycle of {plan.cycle_ms} ms",
                    f"a cycle of at least {need} ms, a faster line, or `every:` on slower points",
                )

    def _complain_cycle(self, what: str, right: str) -> None:
        self.problems.append(self.document.problem(("cycle",), what, right))


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
