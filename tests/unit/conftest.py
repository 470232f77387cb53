"""Fixtures that several unit tests share."""

from __future__ import annotations

import pytest

from controller.core.memory_watch import WatchMemory
from tests.early_rig import String


@pytest.fixture(scope="session")
def day() -> WatchMemory:
    """What early warning remembers of a healthy rack after a day; a memory that is given is never changed."""
    return String().healthy_day()


@pytest.fixture
def known(day: WatchMemory) -> String:
    """Another rack that has lived that day."""
    return String(seed=1).going_on(day)
