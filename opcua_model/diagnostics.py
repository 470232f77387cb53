"""Variables about the controller itself: processes and buses, from the status images, and what the server knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.layout import Layout, tags_of
from controller.core.signal import Tag
from controller.core.topology import Topology
from controller.image.files import IMAGES, PROCESSES
from controller.image.histogram import coarse, coarse_percentile, percentile
from opcua_model.naming import browse_name, device_folder, is_boolean
from opcua_model.points import Index, Point, Reading, Spec, fixed, image_time, plain_array_reader, plain_reader
from opcua_model.tags import eu_range
from opcua_model.view import Grade, Look

QUANTILE = 0.99
UnitName = tuple[str, str, str]
"""Bus, unit (`U001`) and device of one unit."""


def diagnostic_points(bus_names: Sequence[str], units: Sequence[UnitName]) -> Iterator[Point]:
    """Everything under Diagnostics that comes from the status images. `units` in the order of the polling plan."""
    for i, (bus, unit, device) in enumerate(units):
        folder = f"Diagnostics/Buses/{bus}/Units/{unit}"
        doc = "The device, as the site file has it"
        yield Point(f"{folder}/Device", Spec("Device", "String", doc, fixed(device), source="", graded=False))
        yield Point(f"{folder}/ReplyAge", REPLY_AGE, (i,))
        yield Point(f"{folder}/WriteAge", WRITE_AGE, (i,))
    for i, bus in enumerate(bus_names):
        yield Point(f"Diagnostics/Buses/{bus}/ReplyAge", BUS_REPLY_AGE, (i,))
    for process in PROCESSES:
        for tag in tags_of(IMAGES[f"status.{process}"][0]):
            spec = _spec(tag, process)
            if tag.dims[:1] == ("unit",):
                name = spec.name.removeprefix("Unit")
                more = (UNIT_LATENCY_COUNTS,) if tag.name == "unit_latency_histogram" else ()
                if tag.name not in ("unit_last_good_ms", "unit_last_write_ms"):
                    yield from (
                        Point(f"Diagnostics/Buses/{bus}/Units/{unit}/{n}", s, (i,))
                        for i, (bus, unit, _) in enumerate(units)
                        for n, s in ((name, spec), *((m.name, m) for m in more))
                    )
            elif tag.dims[:1] == ("bus",):
                more = (LATENCY_COUNTS,) if tag.name == "latency_histogram" else ()
                yield from (
                    Point(f"Diagnostics/Buses/{name}/{s.name}", s, (i,))
                    for i, name in enumerate(bus_names)
                    for s in (spec, *more)
                )
            elif tag.dims[:1] == ("process",):
                yield from (
                    Point(f"Diagnostics/Processes/{name.capitalize()}/{spec.name}", spec, (i,))
                    for i, name in enumerate(PROCESSES)
                )
            else:
                yield Point(f"Diagnostics/Processes/{process.capitalize()}/{spec.name}", spec)


def _spec(tag: Tag, process: str) -> Spec:
    name = browse_name(tag)
    if tag.dims[-1:] in (("bucket",), ("coarse",)):
        name = name.removesuffix("Histogram") + "P99"
        percentile_of = percentile if tag.dims[-1] == "bucket" else coarse_percentile
        read = _quantile(tag.path, percentile_of)
        return Spec(name, "Double", f"{tag.doc}: 99 % are shorter", read, process, "ms", low=0.0, high=1e5)
    if tag.dims[-1:] == ("code",):
        return Spec(name, "Int64", tag.doc, plain_array_reader(tag.path), process, array=True)
    kind = "Boolean" if is_boolean(tag) else "Int64" if np.dtype(tag.dtype).kind in "iu" else "Double"
    low, high = eu_range(tag)
    return Spec(name, kind, tag.doc, plain_reader(tag.path, kind), process, tag.unit, low=low, high=high)


def _quantile(path: str, percentile_of: Callable[[NDArray[Any], float], float]) -> Any:
    def read(look: Look, index: Index) -> Reading:
        counts = Layout.get(look.image, path)
        return Reading(percentile_of(counts[index] if index else counts, QUANTILE), utc_ms=image_time(look))

    return read


def _latency_counts(look: Look, index: Index) -> Reading:
    return Reading(coarse(Layout.get(look.image, "latency_histogram")[index]).tolist(), utc_ms=image_time(look))


COUNTS_DOC: Final = (
    "Replies by time from request: at 0 below 0.25 ms, each next twice as long, at the end all longer ones"
)
LATENCY_COUNTS: Final = Spec("LatencyCounts", "Int64", COUNTS_DOC, _latency_counts, "io", array=True)
UNIT_LATENCY_COUNTS: Final = Spec(
    "LatencyCounts", "Int64", COUNTS_DOC, plain_array_reader("unit_latency_histogram"), "io", array=True
)


def _age_of(name: str, field: str, what: str) -> Spec:
    """The age of an event whose time the status holds; -1 when it never was."""

    def read(look: Look, index: Index) -> Reading:
        last_ms = int(getattr(look.image, field)[index])
        return Reading(look.now_ms - last_ms if last_ms else -1)

    return Spec(name, "Int64", f"Age of {what}; -1 never", read, "io", "ms", low=0, high=1e6)


REPLY_AGE: Final = _age_of("ReplyAge", "unit_last_good_ms", "this unit's last correct reply")
WRITE_AGE: Final = _age_of("WriteAge", "unit_last_write_ms", "this unit's last confirmed write")
BUS_REPLY_AGE: Final = _age_of("ReplyAge", "last_good_ms", "the last correct reply on this bus")


def freshness_points(topology: Topology) -> Iterator[Point]:
    """Age and validity as plain data, for clients that look at no status code. Always Good: the server knows them."""
    yield Point("Status/DataValid", Spec("DataValid", "Boolean", "The scan's data are current", _valid, graded=False))
    yield Point(
        "Status/ImageAge",
        Spec(
            "ImageAge", "Int64", "Age of the scan's data; -1 none", _image_age, unit="ms", low=0, high=1e6, graded=False
        ),
    )
    for dims, path, index in _devices(topology):
        folder = device_folder(dims, index)
        yield Point(f"{folder}/CommAge", _comm_age(path), index)
        yield Point(f"{folder}/DataValid", _comm_valid(path), index)


_SPECS: dict[tuple[str, str], Spec] = {}


def _comm_age(path: str) -> Spec:
    def read(look: Look, index: Index) -> Reading:
        age = _age(look, path, index)
        return Reading(age)

    doc = "Age of the newest value of this device; -1 never"
    return _SPECS.setdefault(
        (path, "age"), Spec("CommAge", "Int64", doc, read, unit="ms", low=0, high=1e6, graded=False)
    )


def _comm_valid(path: str) -> Spec:
    def read(look: Look, index: Index) -> Reading:
        if look.grade is not Grade.FRESH:
            return Reading(False)
        return Reading(bool(Layout.get(look.image, path).usable()[index].any()))

    doc = "The device delivers usable values now"
    return _SPECS.setdefault((path, "valid"), Spec("DataValid", "Boolean", doc, read, graded=False))


def _age(look: Look, path: str, index: Index) -> int:
    if look.image is None:
        return -1
    newest = int(np.max(Layout.get(look.image, path).time_ms[index]))
    return look.now_ms - newest if newest > 0 else -1


def _devices(topology: Topology) -> Iterator[tuple[tuple[str, ...], str, Index]]:
    for rack in range(topology.racks):
        yield ("rack",), "measured.points.rack_voltage_v", (rack,)
        for module in range(topology.modules):
            if topology.module_fitted[rack, module]:
                yield ("rack", "module"), "measured.points.cell_voltage_v", (rack, module)
    for pcs in range(topology.pcs):
        yield ("pcs",), "measured.points.pcs_active_power_w", (pcs,)


def _valid(look: Look, _index: Index) -> Reading:
    return Reading(look.grade is Grade.FRESH)


def _image_age(look: Look, _index: Index) -> Reading:
    return Reading(look.age_ms)
