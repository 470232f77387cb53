"""From a device's outputs and constants to the blocks that write them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

import numpy as np

from controller.core.image import OutputImage
from controller.core.layout import tags_of
from controller.core.topology import Topology
from plc_config.expansion import LEVEL_DIMS, Unit, place_of
from plc_config.plan import PointType, WriteBlock, transaction_ms
from plc_config.registers import PART, constant_type, divisors_of, output_type, scale_of
from plc_config.schema.profile import REGISTERS, Output
from plc_config.strict_yaml import Path_

OUTPUTS: Final = {t.name: t for t in tags_of(OutputImage)}
COILS: Final = 15
WRITE_AND_READ: Final = 23
REQUEST_BYTES: Final = {5: 8, 6: 8, 22: 10, WRITE_AND_READ: 13}
REPLY_BYTES: Final = {22: 10, WRITE_AND_READ: 5}
"""Bytes of the frames on an RTU line that are not those of an ordinary write; what is written or read comes on top."""

Complain = Callable[[Unit, Path_, str, str], None]


def write_blocks(topology: Topology, index: int, unit: Unit, complain: Complain) -> list[WriteBlock]:
    """Everything that is written to one unit; what cannot be is complained of and left out."""
    profile, writes = unit.profile, list[WriteBlock]()
    for name in profile.outputs:
        tag = OUTPUTS.get(name)
        if tag is None:
            known = ", ".join(OUTPUTS)
            complain(unit, ("outputs", name), f"no output of the name {name!r}", f"known: {known}")
            continue
        level = LEVEL_DIMS[profile.level]
        for_rack = profile.level == "module" and tag.dims == LEVEL_DIMS["rack"]
        if not for_rack and tag.dims and tag.dims[: len(level)] != level:
            where = "/".join(tag.dims)
            complain(unit, ("outputs", name), f"{name} belongs to {where}, not to a {profile.level}", "")
            continue
        pieces = profile.writes(name)
        for number, output in enumerate(pieces):
            path: Path_ = ("outputs", name) if len(pieces) == 1 else ("outputs", name, number)
            writes += _output(topology, index, unit, name, path, output, complain)
    for constant in profile.constants.values():
        kind = constant_type(profile, constant)
        block = _block(index, unit, "heartbeat", constant.function, constant.address, 1, kind, 0)
        refresh = -1 if constant.refresh is None else int(constant.refresh)
        writes.append(dataclasses.replace(block, modulo=1, refresh_ms=refresh))
    return writes


def _output(
    topology: Topology, index: int, unit: Unit, name: str, path: Path_, output: Output, complain: Complain
) -> list[WriteBlock]:
    tag, profile = OUTPUTS[name], unit.profile
    try:
        scale = scale_of(output.scale, tag.unit if output.rating is None else PART)
    except ValueError as error:
        complain(unit, (*path, "scale"), str(error), "")
        return []
    room = int(np.prod([topology.dims[d] for d in tag.dims[len(LEVEL_DIMS[profile.level]) :]]))
    if output.count > room:
        what = f"{name}: {output.count} elements to write, the topology has {room}"
        complain(unit, (*path, "count"), what, f"at most {room}")
        return []
    kind = output_type(profile, output, scale)
    refresh = -1 if output.refresh is None else 0 if output.refresh == "cycle" else int(output.refresh)
    return [
        dataclasses.replace(
            _block(index, unit, name, output.function, output.address, output.count, kind, copy),
            place=place,
            modulo=output.modulo or 0,
            refresh_ms=refresh,
            zero_on_silence=tag.zero_on_silence,
            confirm=output.confirm or "",
            divisors=tuple(d.ref.point for d in divisors_of(profile, output, tag.unit)),
        )
        for copy, place in enumerate(dict.fromkeys(place_of(tag.dims, place) for place in unit.places))
    ]


def _block(
    index: int,
    unit: Unit,
    output: str,
    function: int | None,
    address: int | str,
    count: int,
    kind: PointType,
    copy: int,
) -> WriteBlock:
    wire, repeat = unit.profile.wire, unit.profile.repeat
    code: int = function or wire.write_function
    shift = copy * repeat.stride * wire.address_step if repeat else 0
    width = (count + 7) // 8 if code == COILS else 2 * count * REGISTERS[kind.type]
    request = REQUEST_BYTES.get(code, 9 + width) + (width if code == WRITE_AND_READ else 0)
    reply = REPLY_BYTES.get(code, 8) + (width if code == WRITE_AND_READ else 0)
    return WriteBlock(
        bus=unit.bus.index,
        device=index,
        unit=unit.unit,
        reply_unit=unit.unit + wire.reply_unit_offset,
        function=code,
        address=unit.profile.at(address) + shift,
        count=count,
        output=output,
        place=(),
        type=kind,
        modulo=0,
        refresh_ms=-1,
        zero_on_silence=False,
        confirm="",
        cost_ms=transaction_ms(unit.bus, request, reply, wire.turnaround) + wire.gap,
    )
