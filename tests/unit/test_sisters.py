"""What most sisters have in common, whatever one of them does."""

from __future__ import annotations

import numpy as np
import pytest

from controller.core.estimate.sisters import share

OF = np.array([[-0.3, -0.2, -0.1, 0.05, 0.1, 0.15, 0.2, 0.25]])
ALL = np.ones(OF.shape, bool)


def test_the_share_that_most_have_is_found_though_one_goes_its_own_way() -> None:
    x = 0.2 * OF
    x[0, 0] = 5.0
    assert share(x, OF, ALL) == pytest.approx([0.2])


def test_every_row_has_its_own() -> None:
    of = np.repeat(OF, 2, axis=0)
    assert share(of * [[0.1], [-0.3]], of, np.repeat(ALL, 2, axis=0)) == pytest.approx([0.1, -0.3])


def test_one_that_is_left_out_says_nothing() -> None:
    x, ok = 0.2 * OF, ALL.copy()
    x[0, :6], ok[0, :6] = 9.0 * OF[0, :6], False
    x = np.concatenate([x, x[:, 6:], x[:, 6:]], axis=1)
    of, ok = np.concatenate([OF, OF[:, 6:], OF[:, 6:]], axis=1), np.concatenate([ok, ok[:, 6:], ok[:, 6:]], axis=1)
    assert share(x, of, ok) == pytest.approx([0.2])


@pytest.mark.parametrize("cells", [1, 2, 3])
def test_of_three_and_fewer_nothing_is_taken_for_common(cells: int) -> None:
    of = OF[:, :cells]
    assert share(0.2 * of, of, ALL[:, :cells]) == [0.0]


def test_without_any_difference_there_is_none() -> None:
    assert share(OF, np.zeros_like(OF), ALL) == [0.0]
    assert share(OF, OF, ~ALL) == [0.0]
