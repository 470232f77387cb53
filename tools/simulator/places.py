"""Places as people write them, turned into indices."""

from __future__ import annotations

import re
from typing import Final

from controller.core.field_image import Points
from controller.core.layout import tags_of
from controller.core.signal import Dims, Tag

TAGS: Final[dict[str, Tag]] = {t.name: t for t in tags_of(Points)}
DIMS: Final = {"R": "rack", "M": "module", "C": "cell", "T": "temperature", "P": "pcs", "B": "bank"}
PART: Final = re.compile(r"^([RMCTPB])(\d+)$")
LEVEL_DIMS: Final[dict[str, tuple[str, ...]]] = {
    "site": (),
    "rack": ("rack",),
    "pcs": ("pcs",),
    "module": ("rack", "module"),
}
DEFAULT_POINT: Final = {"C": "cell_voltage_v", "T": "cell_temperature_degc"}

Index = tuple[int, ...]


class PlaceError(ValueError):
    """A place or point that this plant does not have."""


def parse(place: str, dims: Dims) -> tuple[tuple[str, ...], Index]:
    """(dimension names, indices) of `R01/M03/C17`; `site` and `all` are ((), ())."""
    if place in ("", "site", "all"):
        return (), ()
    names, index = [], []
    for part in place.split("/"):
        found = PART.match(part)
        if found is None:
            raise PlaceError(f"{place!r} is not a place; write it like R01/M03/C17, R01/M03/T02, R01, P01 or site")
        name, number = DIMS[found[1]], int(found[2])
        if not 1 <= number <= dims[name]:
            raise PlaceError(f"{part} of {place!r} is not in this plant: {found[1]}01..{found[1]}{dims[name]:02d}")
        names.append(name)
        index.append(number - 1)
    return tuple(names), tuple(index)


def element(point: str, place: str, dims: Dims) -> tuple[Tag, Index]:
    """The tag of a point and the index prefix of a place in it; a shorter place stands for all that it contains."""
    tag = TAGS.get(point or DEFAULT_POINT.get(place.rpartition("/")[2][:1], ""))
    if tag is None:
        raise PlaceError(f"no point of the name {point!r}; known: {', '.join(TAGS)}")
    names, index = parse(place, dims)
    if names != tag.dims[: len(names)]:
        raise PlaceError(f"{tag.name} belongs to {'/'.join(tag.dims) or 'site'}, not to {place!r}")
    return tag, index
