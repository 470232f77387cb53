"""What a device says, point by point: raw registers, value, unit, quality, and what a person should notice."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from controller.core.field_image import Points
from controller.core.layout import tags_of
from controller.core.signal import Quality
from controller.core.topology import place_name
from controller.fieldbus.codec import HALVES, PACKED, SIZES, Decoder, text
from plc_config import library
from plc_config.compile import Compiled
from plc_config.expansion import LEVEL_DIMS
from plc_config.plan import DevicePlan, PointRef, ReadBlock
from plc_config.registers import own_unit
from plc_config.schema.profile import Extra, Profile
from tools.field_line import Answer

TAGS: Final = {t.name: t for t in tags_of(Points)}
UNEXPECTED: Final = "UNEXPECTED"


@dataclasses.dataclass(slots=True)
class Reading:
    """One element of one point. `quality` is a name; `text` is what a code, bits or a string mean."""

    place: str
    point: str
    element: int
    function: int
    address: int
    raw: str
    value: float | None
    unit: str
    quality: str
    text: str = ""
    extra: bool = False

    @property
    def name(self) -> str:
        """The point, with its element where there are several."""
        return f"{self.point}[{self.element}]" if self.element else self.point

    @property
    def shown(self) -> str:
        """The value for people."""
        if self.value is None:
            return self.text if self.text and self.quality == Quality.GOOD.name else "-"
        value = self.value + 0.0  # a sign that was flipped makes -0
        number = f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"
        return number if self.unit == "1" else f"{number} {self.unit}"


class View:
    """Decodes the answers of one device."""

    def __init__(self, site: Compiled, device: DevicePlan) -> None:
        self.site, self.device = site, device
        found = library.find("profiles", device.profile, site.path.parent)
        self.profile: Profile | None = library.profile_at(found)[0] if found else None
        self.step = self.profile.wire.address_step if self.profile else 1
        plan = site.plan
        self.blocks = [(b, False) for b in plan.reads if b.device == device.index]
        self.blocks += [(b, True) for b in plan.extras if b.device == device.index]

    def readings(self, block: ReadBlock, extra: bool, answer: Answer) -> list[Reading]:
        """Every element of a block, with quality BAD_COMM where nothing came."""
        found = []
        for ref in block.points:
            found += self._point(block, ref, extra, answer)
        return found

    def _point(self, block: ReadBlock, ref: PointRef, extra: bool, answer: Answer) -> list[Reading]:
        described = self.profile.extras.get(ref.point) if extra and self.profile else None
        if ref.type.type == "string":
            return [self._string(block, ref, described, answer)]
        tag, depth = TAGS.get(ref.point) if not extra else None, self._depth(ref, extra)
        unit = own_unit(described.scale) if described else tag.unit if tag else "1"
        values, doubt = _decoded(block, ref, answer)
        first = ref.place[-1] if len(ref.place) > depth else 0
        row = ref.count > 1 or (tag is not None and len(tag.dims) > depth)
        result = []
        for i in range(ref.count):
            away = i // 2 if ref.type.type in PACKED else i * ref.type.registers_each
            reading = Reading(
                place=self.place(ref, extra),
                point=ref.point,
                element=first + i + 1 if row else 0,
                function=block.function,
                address=self._address(block, ref.offset + away),
                raw=raw_of(block, ref, i, answer.data) if answer.ok else "",
                value=None if doubt[i] else values[i],
                unit=unit,
                quality=_quality(answer, doubt[i], values[i], tag),
                text=answer.why,
                extra=extra,
            )
            if described is not None and answer.ok:
                explain(reading, described)
            result.append(reading)
        return result

    def _string(self, block: ReadBlock, ref: PointRef, described: Extra | None, answer: Answer) -> Reading:
        address = self._address(block, ref.offset)
        place, bad = self.place(ref, True), Quality.BAD_COMM.name
        reading = Reading(place, ref.point, 0, block.function, address, "", None, "1", bad, answer.why, True)
        if answer.ok:
            raw = answer.data[2 * ref.offset : 2 * (ref.offset + ref.count)]
            little = described is not None and described.byte_order == "little"
            reading.raw, reading.text, reading.quality = raw.hex(), text(raw, little), Quality.GOOD.name
        return reading

    def _address(self, block: ReadBlock, offset: int) -> int:
        return block.address + offset * (self.step if block.function in (3, 4) else 1)

    def _depth(self, ref: PointRef, extra: bool) -> int:
        """Axes of the place that the point belongs to; a module may speak for its rack."""
        tag = TAGS.get(ref.point) if not extra else None
        level = len(LEVEL_DIMS[self.device.level])
        return min(level, len(tag.dims)) if tag is not None else level

    def place(self, ref: PointRef, extra: bool) -> str:
        """The place that a point belongs to, for people."""
        depth = self._depth(ref, extra)
        return place_name(LEVEL_DIMS[self.device.level][:depth], ref.place[:depth])


def _decoded(block: ReadBlock, ref: PointRef, answer: Answer) -> tuple[list[float], list[bool]]:
    """Values, and where they are none."""
    if not answer.ok:
        return [0.0] * ref.count, [True] * ref.count
    values, bad = Decoder(ref, block.function)(np.frombuffer(answer.data, np.uint8).reshape(1, -1))
    return values[0].astype(float).tolist(), [False] * ref.count if bad is None else bad[0].tolist()


def raw_of(block: ReadBlock, ref: PointRef, element: int, data: bytes) -> str:
    """The registers of one element as they came, in hexadecimal; a bit as 0 or 1."""
    kind = ref.type
    if block.function in (1, 2):
        at = ref.offset + element
        return str(data[at // 8] >> at % 8 & 1)
    if kind.type in PACKED:
        return data[2 * ref.offset + element : 2 * ref.offset + element + 1].hex()
    start = 2 * (ref.offset + element * kind.registers_each)
    if kind.type in HALVES:
        return data[start + HALVES[kind.type][0] :][:1].hex()
    return data[start : start + SIZES[kind.type]].hex()


def _quality(answer: Answer, doubt: bool, value: Any, tag: Any) -> str:
    if not answer.ok:
        return Quality.BAD_COMM.name
    if doubt:
        return Quality.BAD_SENSOR.name
    if tag is not None and tag.low is not None and tag.high is not None and not tag.low <= value <= tag.high:
        return Quality.BAD_RANGE.name
    return Quality.GOOD.name


def explain(reading: Reading, extra: Extra) -> None:
    """Say what a code or a word of bits means, and whether it is what the profile expects."""
    if reading.value is None:
        return
    number = int(reading.value) if reading.unit == "1" else None
    if extra.expect is not None and number != extra.expect:
        reading.quality = UNEXPECTED
        reading.text = f"expected {extra.expect}: another device, or another layout"
    elif number is not None and extra.values:
        reading.text = extra.values.get(str(number), "not documented")
    elif number is not None and extra.bits:
        names = [extra.bits.get(str(b), f"bit {b}") for b in range(64) if number >> b & 1]
        reading.text = ", ".join(names) or "none"


class Unknown(ValueError):
    """No device of that name or place; the message says which there are."""


def find(site: Compiled, wanted: str) -> DevicePlan:
    """The one device that `wanted` names: `R01/M03 modules-1`, a place, or a key of the site file."""
    devices = site.plan.devices
    place = wanted.partition(" ")[0]
    exact = [d for d in devices if d.name == wanted]
    keyed = [d for d in devices if d.name.partition(" ")[2] == wanted]
    placed = [d for d in devices if d.name.partition(" ")[0] == wanted]
    serving = [d for d in devices if wanted in _places(site, d)]
    for found in (exact, keyed, placed, serving):
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(repr(d.name) for d in found[:8]) + (" ..." if len(found) > 8 else "")
            raise Unknown(f"{wanted!r} stands for {len(found)} devices: {names}; name one")
    names = ", ".join(dict.fromkeys(d.name.partition(" ")[2] for d in devices))
    raise Unknown(f"no device or place {place!r} in this site; devices: {names}")


def _places(site: Compiled, device: DevicePlan) -> set[str]:
    view = View(site, device)
    return {view.place(ref, extra) for block, extra in view.blocks for ref in block.points}
