"""A real OPC UA server over images of the test's own, as its clients meet it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from opcua_model.client import SiteClient
from tests.opcua_rig import Rig, rig


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Rig]:
    """A running server whose operator trusts the test's client certificate."""
    async with rig(tmp_path) as found:
        found.trust()
        yield found


@pytest.fixture
async def operator(site: Rig) -> AsyncIterator[SiteClient]:
    """A session of the user `operator` with that server."""
    async with site.client("operator") as client:
        yield client
