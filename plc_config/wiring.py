"""From devices and profiles to the polling plan: blocks merged, wire time added up."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from controller.core.field_image import Points
from controller.core.image import OutputImage
from controller.core.layout import tags_of
from controller.core.signal import Tag
from controller.core.topology import Topology, place_name
from plc_config.expansion import LEVEL_DIMS, Expansion, Unit, place_of
from plc_config.plan import (
    CYCLE,
    BusPlan,
    DevicePlan,
    PointRef,
    PollingPlan,
    ReadBlock,
    merge_limit,
    transaction_ms,
)
from plc_config.problem import Problem
from plc_config.ranges import expand
from plc_config.refresh import BUS_LOAD, bus_time
from plc_config.registers import (
    LARGEST_COUNT,
    Item,
    divisors_of,
    item,
    own_unit,
    point_type,
    scale_of,
    single,
)
from plc_config.schema.profile import Register
from plc_config.schema.site import SiteConfig
from plc_config.sense import complaints
from plc_config.strict_yaml import Document, Path_
from plc_config.sunspec import Chains, Model
from plc_config.writes import write_blocks

POINTS: Final = {t.name: t for t in tags_of(Points)}
OUTPUTS: Final = {t.name: t for t in tags_of(OutputImage)}
REGISTER_READS: Final = (3, 4)
LARGEST_UNIT: Final = 255
HOLDING: Final = 3
DIVISORS_EVERY: Any = "10 s"
"""Scale factors and ratings that outputs need are read again this often: a device may be replaced by another one."""


class Wiring:
    """Builds the plan; complaints are collected in `problems`, so that all are reported together."""

    def __init__(
        self, config: SiteConfig, document: Document, topology: Topology, chains: Chains | None = None
    ) -> None:
        self.config, self.document, self.topology = config, document, topology
        expansion = Expansion(config, document, topology, chains)
        self.problems: list[Problem] = expansion.problems
        self.buses, self.units = expansion.buses, expansion.units
        self.groups: dict[Any, int] = {}

    def build(self) -> PollingPlan:
        """The whole plan, as far as it could be worked out."""
        devices, reads, writes, extras = [], [], [], []
        for index, unit in enumerate(self.units):
            devices.append(self._device(index, unit))
            mistakes = complaints(unit.profile)
            for path, what, right in mistakes:
                self._once(unit, path, what, right)
            if mistakes:
                continue
            reads.extend(self._reads(index, unit))
            own = write_blocks(self.topology, index, unit, self._once)
            reads.extend(self._divisors(index, unit, {d for w in own for d in w.divisors}))
            writes.extend(own)
            extras.extend(self._extras(index, unit))
            reply = unit.unit + unit.profile.wire.reply_unit_offset
            if not 0 <= reply <= LARGEST_UNIT:
                what = f"unit {unit.unit} would answer as {reply}, which is no unit id"
                self._once(unit, ("wire", "reply_unit_offset"), what, "0..255 for every unit of the site")
        buses = tuple(self.buses.values())
        plan = PollingPlan(self.config.cycle, buses, tuple(devices), tuple(reads), tuple(writes), tuple(extras))
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
            tuple(profile.models.values()),
            (last.id, last.length) if (last := _last_model(unit)) is not None else (0, 0),
            unit.misfit,
        )

    # -- reads -----------------------------------------------------------------------------------------------

    def _reads(self, index: int, unit: Unit) -> list[ReadBlock]:
        wanted: dict[tuple[int, int, int], list[Item]] = {}
        for name in unit.profile.points:
            tag = POINTS.get(name)
            if tag is None:
                known = ", ".join(n for n, t in POINTS.items() if t.dims[:2] == LEVEL_DIMS[unit.profile.level])
                self._once(unit, ("points", name), f"no measured point of the name {name!r}", f"known: {known}")
            elif self._belongs(unit, name, tag):
                places = dict.fromkeys(place_of(tag.dims, place) for place in unit.places)
                for copy, place in enumerate(places):
                    self._point(unit, name, tag, place, copy, wanted)
        last = _last_model(unit)
        # Asked before everything else: a device whose map has moved since it was read must not be believed.
        guard = [self._read(index, unit, HOLDING, last.address, 2, CYCLE, [])] if last is not None else []
        return guard + self._blocks(index, unit, wanted)

    def _divisors(self, index: int, unit: Unit, names: set[str]) -> list[ReadBlock]:
        """Reads of what the device says its outputs are divided by; `names` are those that are asked for."""
        wanted: dict[tuple[int, int, int], list[Item]] = {}
        slow = Register(address=0, every=DIVISORS_EVERY)
        for name in unit.profile.outputs if names else ():
            for output in unit.profile.writes(name):
                for part in divisors_of(unit.profile, output, OUTPUTS[name].unit):
                    if part.ref.point in names:
                        names.discard(part.ref.point)
                        self._want(unit, ("outputs", name), slow, part, wanted)
        blocks = self._blocks(index, unit, wanted)
        return [dataclasses.replace(b, points=(), divisors=b.points) for b in blocks]

    def _point(
        self,
        unit: Unit,
        name: str,
        tag: Tag,
        place: tuple[int, ...],
        copy: int,
        wanted: dict[tuple[int, int, int], list[Item]],
    ) -> None:
        room = self.topology.dims[tag.dims[-1]] if len(tag.dims) > len(place) else 1
        pieces = unit.profile.segments(name)
        filled = 0
        for number, register in enumerate(pieces):
            path: Path_ = ("points", name) if len(pieces) == 1 else ("points", name, number)
            count = min(register.elements(room - filled), room - filled) if number else register.elements(room)
            if number and count == 0:
                break
            if filled + count > room or (len(pieces) > 1 and len(tag.dims) == len(place)):
                what = f"{name}: {filled + count} elements, the topology has {room}"
                self._once(unit, path, what, f"at most {room}; a count like 1..{count} takes as many as there are")
                return
            if register.type == "string":
                self._once(unit, (*path, "type"), f"{name}: a string is no measured value", "put it under extras")
                return
            kind = point_type(unit.profile, register, self._scale(unit, path, register.scale, tag.unit))
            repeat = unit.profile.repeat
            shift = 0 if repeat is None or register.once else copy * repeat.stride
            whole = item(unit.profile, register, name, count, kind, place, shift)
            parts = [whole] if number == 0 else [single(whole, register, i, filled + i) for i in range(count)]
            for part in parts:
                self._want(unit, path, register, part, wanted)
            filled += count

    def _want(
        self, unit: Unit, path: Path_, register: Register, part: Item, wanted: dict[tuple[int, int, int], list[Item]]
    ) -> None:
        wire = unit.profile.wire
        every = CYCLE if register.every == "cycle" else int(register.every)
        function: int = register.function or wire.read_function
        limit = wire.max_registers if function in REGISTER_READS else LARGEST_COUNT
        step, start, length = wire.address_step, part.start, part.length
        window = 0
        if wire.windows and function in REGISTER_READS:
            inside = [i for i, (low, high) in enumerate(wire.windows)
                      if low <= start * step and (start + length - 1) * step <= high]  # fmt: skip
            if not inside:
                shown = ", ".join(f"{low}..{high}" for low, high in wire.windows)
                end = (start + length - 1) * step
                self._once(
                    unit, path, f"registers {start * step}..{end} lie in no readable window", f"windows: {shown}"
                )
                return
            window = inside[0]
        if length > limit:
            what = f"{length} registers cannot come with one request of this device, at most {limit}"
            self._once(unit, path, what, "give the row in pieces, or move its helper registers into reach")
            return
        wanted.setdefault((function, every, window), []).append(part)

    def _blocks(self, index: int, unit: Unit, wanted: dict[tuple[int, int, int], list[Item]]) -> list[ReadBlock]:
        wire, blocks = unit.profile.wire, []
        for (function, every, _), items in wanted.items():
            limit = wire.max_registers if function in REGISTER_READS else LARGEST_COUNT
            for start, count, refs in _merge(items, merge_limit(unit.bus, wire.turnaround), limit):
                blocks.append(self._read(index, unit, function, start, count, every, refs))
        return blocks

    def _read(
        self, index: int, unit: Unit, function: int, start: int, count: int, every: int, refs: list[PointRef]
    ) -> ReadBlock:
        wire = unit.profile.wire
        data = (count + 7) // 8 if function in (1, 2) else 2 * count
        cost = transaction_ms(unit.bus, 8, 5 + data, wire.turnaround) + wire.gap
        # Elements of a row in pieces, and modules that speak for their rack, go to other places than their device's.
        shape = tuple((ref.point, ref.count, len(ref.place), ref.place[len(unit.place) :]) for ref in refs)
        key = (unit.profile.profile, function, start, count, every, shape)
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

    def _extras(self, index: int, unit: Unit) -> list[ReadBlock]:
        """What only the tools read, in as few requests as the device allows."""
        wanted: dict[tuple[int, int, int], list[Item]] = {}
        repeat = unit.profile.repeat
        for name, extra in unit.profile.extras.items():
            path: Path_ = ("extras", name)
            try:
                scale = scale_of(extra.scale, own_unit(extra.scale))
            except ValueError as error:
                self._once(unit, (*path, "scale"), str(error))
                continue
            kind = point_type(unit.profile, extra, scale)
            for copy, place in enumerate(unit.places):
                if copy and (repeat is None or extra.once):
                    break
                shift = copy * repeat.stride if repeat else 0
                part = item(unit.profile, extra, name, extra.elements(LARGEST_COUNT), kind, place, shift)
                self._want(unit, path, extra, part, wanted)
        return self._blocks(index, unit, wanted)

    def _belongs(self, unit: Unit, name: str, tag: Tag) -> bool:
        level = LEVEL_DIMS[unit.profile.level]
        for_rack = unit.profile.level == "module" and tag.dims == LEVEL_DIMS["rack"]
        if not for_rack and (tag.dims[: len(level)] != level or len(tag.dims) - len(level) not in (0, 1)):
            where = "/".join(tag.dims) or "site"
            self._once(unit, ("points", name), f"{name} belongs to {where}, not to a {unit.profile.level}")
            return False
        return True

    def _once(self, unit: Unit, path: Path_, what: str, right: str = "") -> None:
        problem = unit.document.problem(path, what, right)
        if problem not in self.problems:
            self.problems.append(problem)

    def _scale(self, unit: Unit, path: Path_, scale: str | int | float, wanted: str) -> float:
        try:
            return scale_of(scale, wanted)
        except ValueError as error:
            self._once(unit, (*path, "scale"), str(error))
            return 1.0

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
            if load <= BUS_LOAD * plan.cycle_ms:
                for name in names:
                    self._check_slow(plan, self.buses[name])
            if load > BUS_LOAD * plan.cycle_ms:
                need = int(load / BUS_LOAD / 10 + 1) * 10
                self._complain_cycle(
                    f"bus {names[0]} needs {load:.1f} ms of wire time in every cycle of {plan.cycle_ms} ms",
                    f"a cycle of at least {need} ms, a faster line, or `every:` on slower points",
                )

    def _check_slow(self, plan: PollingPlan, bus: BusPlan) -> None:
        """Slow blocks must come as often as they ask to, and none may be longer than the time between two rounds."""
        time = bus_time(plan, bus.index)
        slow = [r for r in plan.of_bus(bus.index)[0] if r.every_ms != CYCLE]
        if not slow:
            return
        if not time.fits:
            worst = max(slow, key=lambda r: r.cost_ms)
            left = plan.cycle_ms - time.fast_ms
            what = f"bus {bus.name}: this read takes {worst.cost_ms:.1f} ms, between two rounds there are {left:.1f} ms"
            self._complain_of_block(worst, what, "wire.max_registers that cut it, a longer cycle, or a faster line")
        elif time.stretch > 1.0:
            worst = max(slow, key=lambda r: r.cost_ms / r.every_ms)
            late = time.refresh_ms(worst)
            period = f"it would come every {late} ms" if late >= 0 else "it would never come"
            what = f"bus {bus.name} cannot read this every {worst.every_ms} ms: {period}"
            needed = f"slow blocks need {time.slow_ms:.1f} ms of every cycle and {time.room_ms:.1f} ms are left"
            self._complain_of_block(worst, what, f"{needed}; a longer `every`, a longer cycle, or a faster line")

    def _complain_of_block(self, block: ReadBlock, what: str, right: str) -> None:
        unit = self.units[block.device]
        if not block.points:
            self._complain_cycle(what, right)
            return
        name = block.points[0].point
        pieces = unit.profile.segments(name)
        number = next((i for i, p in enumerate(pieces) if p.every == block.every_ms), 0)
        path: Path_ = ("points", name) if len(pieces) == 1 else ("points", name, number)
        self._once(unit, (*path, "every"), what, right)

    def _complain_cycle(self, what: str, right: str) -> None:
        self.problems.append(self.document.problem(("cycle",), what, right))


def _merge(items: list[Item], gap: int, limit: int) -> list[tuple[int, int, list[PointRef]]]:
    """Blocks of (start, count, points), merged while the gap is at most `gap` and the block at most `limit` long."""
    blocks: list[tuple[int, int, list[PointRef]]] = []
    for part in sorted(items, key=lambda i: i.start):
        if blocks:
            begin, count, refs = blocks[-1]
            end = max(begin + count, part.start + part.length)
            if part.start - (begin + count) <= gap and end - begin <= limit:
                offset = part.ref.offset + part.start - begin
                blocks[-1] = (begin, end - begin, [*refs, dataclasses.replace(part.ref, offset=offset)])
                continue
        blocks.append((part.start, part.length, [part.ref]))
    return blocks


def _last_model(unit: Unit) -> Model | None:
    """The model furthest back in a device's chain of those that its profile uses; None before it was read."""
    used = set(unit.profile.models.values())
    return max((m for m in unit.chain.models if m.id in used), key=lambda m: m.address) if unit.chain else None
