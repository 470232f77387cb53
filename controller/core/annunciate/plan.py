"""What the annunciation of a site is built from: facts of the rows, per slot, that never change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property

import numpy as np

from controller.core.signal import Bools, Ints


@dataclasses.dataclass(frozen=True)
class Annunciator:
    """`describe` words a slot's transition for people, `name` is row and place.

    opens: the row opens contactors. stands: the row explains others. after_ms, until_ms: how long a row acts before
    it is told, and how long it must be over before it is told to have returned. consequence, root: pairs of slots,
    the outermost root of a consequence last.
    """

    describe: Callable[[int, float, float, int, bool], tuple[str, str]]
    name: Callable[[int], str]
    priority: Ints
    opens: Bools
    stands: Bools
    after_ms: Ints
    until_ms: Ints
    consequence: Ints
    root: Ints
    longest_shelf_ms: int

    @cached_property
    def rank(self) -> Ints:
        """Of several transitions in one scan those of the lowest rank are told first: trips, then by priority."""
        return np.asarray(-(4 * self.opens.astype(np.int64) + self.priority))
