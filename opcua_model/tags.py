"""Variables from the tags of the process image: adding a tag makes a variable appear, here is only how."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from controller.core.image import ProcessImage, RackMode, SiteMode
from controller.core.layout import tags_of
from controller.core.outlook import CAUSES, WINDOWS
from controller.core.signal import Tag
from controller.core.topology import Topology, place_name
from opcua_model.catalog import Catalog
from opcua_model.naming import (
    HIDDEN,
    browse_name,
    device_folder,
    is_boolean,
    is_cell_array,
    is_list,
    is_wall_time,
    site_path,
)
from opcua_model.points import (
    Index,
    Point,
    Reader,
    Reading,
    Spec,
    image_time,
    plain_array_reader,
    plain_reader,
    samples_array_reader,
    samples_reader,
    text_reader,
    wall_time_reader,
    words_reader,
)
from opcua_model.quality import INITIAL
from opcua_model.view import Look

DEFAULT_RANGE: Final = {
    "V": (0.0, 2000.0),
    "A": (-3000.0, 3000.0),
    "W": (-2e7, 2e7),
    "var": (-2e7, 2e7),
    "Wh": (0.0, 1e9),
    "Ah": (0.0, 1e5),
    "ohm": (0.0, 1e8),
    "degC": (-45.0, 150.0),
    "ratio": (0.0, 1.0),
    "ms": (0.0, 1e6),
    "h": (0.0, 1000.0),
    "Hz": (0.0, 100.0),
}
"""EURange of a unit where the tag declares no instrument range."""

CELL_RANGE: Final = (0.5, 5.0)
TEXT_DOC: Final = {
    "site_mode": "Mode of the site",
    "rack_mode": "Mode of the rack",
    "site_reason": "Why the site entered this mode",
    "rack_reason": "Why the rack entered this mode",
    "first_out": "Row and place of the first trip since all was well; empty when there is none",
}
"""What the text of a code tells, where the tag's own words speak of the code."""

RESTS_ON_SOC: Final = ("soc", "soh", "energy", "capacity", "power", "time_to", "recalibration")


class TagPoints:
    """All variables that follow from tags, for one plant and one catalog."""

    def __init__(self, topology: Topology, catalog: Catalog) -> None:
        self.topology, self.catalog = topology, catalog
        self.dims = topology.dims

    def points(self) -> Iterator[Point]:
        """Every variable, device by device."""
        for tag in tags_of(ProcessImage):
            if tag.path in HIDDEN or {"slot", "shelf", "bus"} & set(tag.dims):
                continue
            for spec in self.specs(tag):
                for index in self._indexes(tag):
                    yield Point(self._path(tag, spec, index), spec, index)

    def _indexes(self, tag: Tag) -> Iterator[Index]:
        dims = tag.dims[:-1] if is_cell_array(tag) or is_list(tag) else tag.dims
        for index in itertools.product(*(range(self.dims[d]) for d in dims)):
            if dims == ("rack", "module") and not self.topology.module_fitted[index]:
                continue
            yield index

    def _path(self, tag: Tag, spec: Spec, index: Index) -> str:
        if not index:
            return f"{site_path(tag).rpartition('/')[0]}/{spec.name}"
        return f"{device_folder(tag.dims, index)}/{spec.name}"

    def specs(self, tag: Tag) -> list[Spec]:
        """One variable, or a text beside its code."""
        name = browse_name(tag) if tag.dims and not is_list(tag) else site_path(tag).rpartition("/")[2]
        coded = self._coded(tag)
        if coded is not None:
            text, enum = coded
            doc = TEXT_DOC.get(tag.name, tag.doc)
            if tag.name.endswith("_place"):
                doc = f"Place of the {tag.doc.removeprefix('Flat index of the ').partition(';')[0]}; empty for none"
            elif tag.name.endswith("_binding_rack"):
                doc = f"{tag.doc.partition(';')[0]}; empty for none"
            spec = Spec(name, "String", doc, text_reader(tag.path, text))
            if not enum:
                return [spec]
            code = Spec(f"{name}Code", "Int32", f"{doc}, as a code", plain_reader(tag.path, "Int32"), enum=enum)
            return [spec, code]
        return [self._plain(tag, name)]

    def _plain(self, tag: Tag, name: str) -> Spec:
        low, high = eu_range(tag)
        if is_wall_time(tag):
            return Spec(name, "DateTime", tag.doc, wall_time_reader(tag.path))
        if tag.is_text:
            return Spec(name, "String", tag.doc, words_reader(tag.path))
        if is_cell_array(tag):
            kind = "Boolean" if is_boolean(tag) else "Float"
            read = samples_array_reader(tag.path) if tag.samples else plain_array_reader(tag.path)
            return Spec(name, kind, tag.doc, read, unit=tag.unit, array=True, low=low, high=high)
        if is_list(tag):
            kind = "Int64" if np.dtype(tag.dtype).kind in "iu" else "Double"
            return Spec(name, kind, tag.doc, plain_array_reader(tag.path), unit=tag.unit, array=True)
        kind = "Boolean" if is_boolean(tag) else "Int64" if np.dtype(tag.dtype).kind in "iu" else "Double"
        read = samples_reader(tag.path, kind) if tag.samples else plain_reader(tag.path, kind)
        if tag.path.startswith("estimates.") and any(w in tag.name for w in RESTS_ON_SOC) and kind == "Double":
            read = _if_soc_valid(read)
        return Spec(name, kind, tag.doc, read, unit=tag.unit, low=low, high=high)

    def _coded(self, tag: Tag) -> tuple[Callable[[int], str], str] | None:
        """Text of a code, and the enumeration that goes beside it."""
        name = tag.name
        if name == "site_mode":
            return _mode_text(SiteMode), "SiteMode"
        if name == "rack_mode":
            return _mode_text(RackMode), "RackMode"
        if name in ("site_reason", "rack_reason"):
            return self.catalog.reason, ""
        if name == "first_out":
            return self._first_out, ""
        if name.endswith("_binding"):
            return self.catalog.limit, "Limit"
        if name.endswith("_limited_by"):
            return _named(CAUSES), ""
        if name == "rack_recalibration_kind":
            return _named(WINDOWS), ""
        if name.endswith("_binding_rack"):
            return (lambda i: place_name(("rack",), (i,)) if i >= 0 else ""), ""
        if name.endswith("_place"):
            return self._place("temperature" if name.startswith("temperature") else "cell"), ""
        return None

    def _first_out(self, slot: int) -> str:
        found = self.catalog.slot(slot)
        return f"{found.row} {found.place}" if found else ""

    def _place(self, element: str) -> Callable[[int], str]:
        dims = ("rack", "module", element)
        shape = tuple(self.dims[d] for d in dims)
        size = int(np.prod(shape))

        def text(flat: int) -> str:
            if not 0 <= flat < size:
                return ""
            return place_name(dims, tuple(int(i) for i in np.unravel_index(flat, shape)))

        return text


def eu_range(tag: Tag) -> tuple[float | None, float | None]:
    """The range a variable is shown with: the instrument's, else what its unit usually spans."""
    if tag.low is not None and tag.high is not None:
        return float(tag.low), float(tag.high)
    if tag.unit == "V" and "cell" in tag.name:
        return CELL_RANGE
    return DEFAULT_RANGE.get(tag.unit, (None, None))


def _named(names: tuple[str, ...]) -> Callable[[int], str]:
    return lambda code: names[code] if 0 <= code < len(names) else f"code {code}"


def _mode_text(modes: type[SiteMode] | type[RackMode]) -> Callable[[int], str]:
    names = {int(m): m.name for m in modes}
    return lambda code: names.get(code, f"mode {code}")


def _if_soc_valid(read: Reader) -> Reader:
    """An estimate that does not yet rest on data since start is an initial value, not a good one."""

    def guarded(look: Look, index: Index) -> Reading:
        reading = read(look, index)
        if look.image.estimates.soc_valid or reading.value is None:
            return reading
        return Reading(reading.value, INITIAL, image_time(look))

    return guarded
