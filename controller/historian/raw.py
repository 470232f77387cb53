"""Images as bare bytes: for those who store or compare them and do not need a single field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.core.layout import Layout
from controller.image.files import SiteFiles
from controller.image.slots import SlotReader

Bytes = NDArray[np.uint8]


class RawLayout(Layout[Bytes]):
    """The same places and digest as another layout; its image is the buffer itself, padding and all."""

    def __init__(self, layout: Layout[Any]) -> None:
        self.cls = np.ndarray
        self.dims, self.parts, self.tags = layout.dims, layout.parts, layout.tags
        self.size, self.digest = layout.size, layout.digest

    def view(self, buffer: Bytes) -> Bytes:
        """The buffer."""
        return buffer


def raw_reader(files: SiteFiles, name: str) -> SlotReader[Bytes]:
    """A reader of an image's bytes, each copy on its own memory."""
    return SlotReader(files.folder / f"{name}.image", RawLayout(files.layouts[name]))


def number(layout: Layout[Any], path: str) -> Callable[[Bytes], int]:
    """A function that reads one whole number of an image straight from its bytes."""
    part = layout.parts[path][0]

    def read(buffer: Bytes) -> int:
        return int(part.of(buffer)[()])

    return read
