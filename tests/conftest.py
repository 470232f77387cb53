"""Shared fixtures. A leaked task or warning fails its test (see `filterwarnings` in pyproject)."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.story import Story, connected, fork, shared_sites_are_as_compiled

gc.disable()
"""Until every test is found: nothing is given back meanwhile, and each look at all that was found takes longer."""


def pytest_collection_finish() -> None:
    """What was found stays to the end: the garbage collector, which finds leaks from here on, need not walk it."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture
def story() -> Story:
    """The bench site, just started."""
    return Story("bench")


@pytest.fixture
def online() -> Story:
    """The bench site, connected."""
    return fork(connected())


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the run or state folder of a real site."""
    for name in ("RUN", "STATE"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setenv(f"CELLWARDEN_{name}", str(folder))


@pytest.fixture(scope="session", autouse=True)
def sites_stay() -> Iterator[None]:
    """What many tests share is at their end what it was at their beginning."""
    yield
    shared_sites_are_as_compiled()
