"""The input side: raw replies of all devices, and the field image that they are decoded into once per cycle.

What is guaranteed: a value, its quality and its time always come from the same reply; a value that is no value
(sentinel, NaN) leaves the last one standing with quality BAD_SENSOR; what no device serves is NOT_FITTED.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.field_image import FieldImage
from controller.core.layout import Layout
from controller.core.signal import NEVER_MS, Codes, Ints, Quality, Samples
from controller.fieldbus.codec import Decoder, Raw
from plc_config.plan import PointRef, PollingPlan, ReadBlock

GOOD: Final = int(Quality.GOOD)
BAD_SENSOR: Final = int(Quality.BAD_SENSOR)
BAD_COMM: Final = int(Quality.BAD_COMM)
NOT_FITTED: Final = int(Quality.NOT_FITTED)


class Row:
    """Where one block of one device puts its replies: plain memory, because this is done for every read."""

    __slots__ = ("_data", "_quality", "_time")

    def __init__(self, raw: Raw, quality: Codes, times: Ints, index: int) -> None:
        self._data = raw[index].data
        self._quality = quality[index : index + 1].data
        self._time = times[index : index + 1].data

    def store(self, payload: bytes, now_ms: int) -> None:
        """A good reply, at its time."""
        self._data[:] = payload
        self._time[0] = now_ms
        self._quality[0] = GOOD

    def lose(self) -> None:
        """The device is silent or refuses: the values stay with their old time and are no values any more."""
        self._quality[0] = BAD_COMM


class _Target:
    """One point of a group and its place in the image."""

    def __init__(self, ref: PointRef, function: int, places: list[tuple[int, ...]], samples: Samples) -> None:
        self.decode = Decoder(ref, function)
        count = ref.count
        level = len(ref.place)
        shape = samples.value.shape
        outer = int(np.prod(shape[:level], dtype=np.int64))
        rows = np.array([np.ravel_multi_index(p, shape[:level]) if p else 0 for p in places])
        dense = len(rows) > 0 and bool((np.diff(rows) == 1).all())
        value, quality, time = (a.reshape(outer, -1) for a in (samples.value, samples.quality, samples.time_ms))
        # Neighbours in the image are written through views that are made once.
        self.at: Any = ... if dense else (rows[:, None], np.arange(count))
        part = slice(int(rows[0]), int(rows[-1]) + 1) if dense else slice(None)
        width = slice(count if dense else None)
        self.value, self.quality, self.time = value[part, width], quality[part, width], time[part, width]
        self.quality[self.at] = BAD_COMM
        self.plain = b""
        """The group's quality that stands in the image, where every value is one."""

    def refresh(self, group: _Group, unread: NDArray[np.bool_] | None) -> None:
        values, bad = self.decode(group.raw)
        quality, at = group.quality_column, self.at
        if unread is not None:
            bad = np.broadcast_to(unread[:, None], values.shape) if bad is None else bad | unread[:, None]
        if bad is not None:
            values = np.where(bad, self.value[at], values)
            quality = np.maximum(quality, np.where(bad, BAD_SENSOR, GOOD))
        plain = group.state if bad is None else b""
        if not plain or plain != self.plain:
            self.quality[at] = quality
            self.plain = plain
        self.value[at] = values
        self.time[at] = group.times_column


class _Group:
    """Equal blocks of equal devices: one raw matrix, decoded in one stroke."""

    def __init__(self, blocks: list[ReadBlock], points: Any) -> None:
        n, first = len(blocks), blocks[0]
        self.raw = np.zeros((n, first.reply_bytes), np.uint8)
        self.quality = np.full(n, BAD_COMM, np.uint8)
        self.times = np.full(n, NEVER_MS, np.int64)
        self.quality_column, self.times_column = self.quality[:, None], self.times[:, None]
        self.state = b""
        self.complete = False
        self.targets = [
            _Target(ref, first.function, [b.points[i].place for b in blocks], getattr(points, ref.point))
            for i, ref in enumerate(first.points)
        ]

    def refresh(self) -> None:
        unread = None
        if not self.complete:
            unread = self.times == NEVER_MS
            self.complete = not bool(unread.any())
        self.state = self.quality.tobytes()
        for target in self.targets:
            target.refresh(self, unread)


class Field:
    """The field image of a plan. `rows` gives each read block's place, in the order of `plan.reads`."""

    def __init__(self, plan: PollingPlan, layout: Layout[FieldImage]) -> None:
        self.buffer = np.zeros(layout.size, np.uint8)
        image = layout.view(self.buffer)
        self.points = image.points
        self._bus_up = image.links.bus_up
        self._published_ms = layout.parts["links.published_ms"][0].of(self.buffer)
        for path, tag in layout.tags.items():
            if tag.samples:
                samples = layout.get(image, path)
                samples.quality[...] = NOT_FITTED
                samples.time_ms[...] = NEVER_MS
        members: dict[int, list[ReadBlock]] = {}
        for block in plan.reads:
            members.setdefault(block.group, []).append(block)
        self._groups = {number: _Group(blocks, self.points) for number, blocks in members.items()}
        taken = dict.fromkeys(members, 0)
        self.rows: list[Row] = []
        for block in plan.reads:
            group = self._groups[block.group]
            self.rows.append(Row(group.raw, group.quality, group.times, taken[block.group]))
            taken[block.group] += 1

    def refresh(self, now_ms: int, bus_up: list[bool]) -> NDArray[np.uint8]:
        """Decode everything; the image as bytes, ready to be published."""
        for group in self._groups.values():
            group.refresh()
        self._bus_up[: len(bus_up)] = bus_up
        self._published_ms[...] = now_ms
        return self.buffer
