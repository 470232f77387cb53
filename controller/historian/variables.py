"""Which variables the historian keeps, from the tags: every value of the site, its racks, modules, PCS and banks."""

from __future__ import annotations

import dataclasses
from collections import Counter
from operator import attrgetter
from typing import Any, Final

import numpy as np

from controller.core.image import ProcessImage
from controller.core.layout import tags_of
from controller.core.signal import Bools, Codes, Dims, Floats, Quality, Samples, Tag
from controller.core.topology import place_name

KEPT_DIMS: Final = ((), ("rack",), ("rack", "module"), ("pcs",), ("bank",))
CLOCKS: Final = frozenset(
    {
        "system.scan",
        "system.now_ms",
        "system.utc_ms",
        "outputs.heartbeat",
        "modes.site_mode_ms",
        "modes.rack_mode_ms",
        "measured.points.module_sample_counter",
        "measured.points.rack_heartbeat_echo",
        "power.scada_heartbeat",
        "power.scada_heartbeat_age_ms",
        "authority.control_lapse_ms",
    }
)
"""Tags that count time or cycles: they change with every sample and tell nothing that the sample's time does not."""


@dataclasses.dataclass(frozen=True, slots=True)
class Variable:
    """One history variable: `tag name`, or `tag name[R01/M03]` where the tag has places."""

    name: str
    unit: str
    doc: str


def kept_tags() -> list[Tag]:
    """The tags of the process image that history keeps: numbers; what is said in words is among the events."""
    tags = (t for t in tags_of(ProcessImage) if t.dims in KEPT_DIMS and t.path not in CLOCKS)
    return [t for t in tags if not t.is_text]


class Sampler:
    """Reads all history variables of an image at once, in a fixed order.

    span: the instrument range that a deadband is a fraction of, NaN where there is none; exact: every change of
    the value counts (modes, counters and flags, where a small step is as good as a large one).
    """

    def __init__(self, dims: Dims) -> None:
        tags = kept_tags()
        self._get = [(attrgetter(t.path), t.samples) for t in tags]
        variables: list[Variable] = []
        span: list[float] = []
        exact: list[bool] = []
        for t, name in zip(tags, names_of(tags), strict=True):
            places = [f"[{place_name(t.dims, i)}]" if t.dims else "" for i in np.ndindex(*t.shape(dims))]
            variables += [Variable(name + place, t.unit, t.doc) for place in places]
            span += [t.high - t.low if t.low is not None and t.high is not None else np.nan] * len(places)
            exact += [t.unit == "1" and np.dtype(t.dtype).kind in "iub?"] * len(places)
        self.variables = tuple(variables)
        self.span: Floats = np.array(span)
        self.exact: Bools = np.array(exact)

    def take(self, image: ProcessImage) -> tuple[Floats, Codes]:
        """Values and qualities in the order of `variables`; a value that is no number is BAD_SENSOR."""
        values: list[Any] = []
        qualities: list[Any] = []
        for get, samples in self._get:
            field = get(image)
            if samples:
                sampled: Samples = field
                values.append(sampled.value.ravel())
                qualities.append(sampled.quality.ravel())
            else:
                array = np.asarray(field).ravel()
                values.append(array)
                qualities.append(np.zeros(array.size, np.uint8))
        value, quality = np.concatenate(values, dtype=np.float64), np.concatenate(qualities)
        quality[~np.isfinite(value)] = int(Quality.BAD_SENSOR)
        return value, quality


def names_of(tags: list[Tag]) -> list[str]:
    """Every tag's own name, or its whole path where two tags share one."""
    count = Counter(t.name for t in tags)
    return [t.name if count[t.name] == 1 else t.path for t in tags]
