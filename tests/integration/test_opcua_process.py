"""The OPC UA process as the supervisor starts it: comes up, serves, stops on SIGTERM, fails loudly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controller.image.files import SiteFiles
from opcua_model.client import Login, SiteClient
from opcua_model.connect import endpoint_of
from plc_config.compile import Compiled, compile_site
from tests.opcua_rig import DEADLINE_S, until
from tests.sites import free_site

START_DEADLINE_S = 90.0
"""A start takes two seconds of a processor that others may be using, before the port is asked for."""
ASK_EVERY_S = 0.1


@pytest.fixture
def compiled(tmp_path: Path) -> Compiled:
    found = compile_site(str(free_site(tmp_path)))
    SiteFiles(tmp_path / "run", found.dims).create()
    return found


@contextlib.asynccontextmanager
async def process(compiled: Compiled, tmp_path: Path, *options: str) -> AsyncIterator[Any]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "controller.app.opcua_process",
        str(compiled.path),
        "--run",
        str(tmp_path / "run"),
        "--state",
        str(tmp_path / "state"),
        "--parent",
        str(os.getpid()),
        *options,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.communicate()


async def connected(endpoint: str) -> SiteClient:
    """A client as soon as the server listens."""
    for _ in range(int(START_DEADLINE_S / ASK_EVERY_S)):
        with contextlib.suppress(OSError):
            return await SiteClient.connect(endpoint, Login())
        await asyncio.sleep(ASK_EVERY_S)
    raise AssertionError("the server does not come up")


async def test_it_serves_and_stops_on_sigterm(compiled: Compiled, tmp_path: Path) -> None:
    async with process(compiled, tmp_path, "--demo") as child:
        client = await connected(endpoint_of(compiled))
        valid = await client.read_one("Status/DataValid")
        assert valid.good and valid.value is False
        assert (await client.read_one("Racks/R01/Voltage")).bad
        reader = SiteFiles(tmp_path / "run", compiled.dims).reader("status.opcua")
        await until(lambda: (s := reader.read_again()) is not None and s.listening == 1, "listening, and said so")
        await client.close()
        child.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(child.wait(), DEADLINE_S) == 0
        after = SiteFiles(tmp_path / "run", compiled.dims).reader("status.opcua").read_again()
        assert after is not None and after.listening == 0


async def test_a_port_in_use_ends_it_with_a_clear_message(compiled: Compiled, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", compiled.config.opcua.port)):
        async with process(compiled, tmp_path) as child:
            _, said = await asyncio.wait_for(child.communicate(), START_DEADLINE_S)
            assert child.returncode == 1
            assert b"cannot serve" in said and str(compiled.config.opcua.port).encode() in said
            assert b"Traceback" not in said


async def test_a_wrong_site_ends_it_with_78(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "controller.app.opcua_process",
        "nowhere",
        "--run",
        str(tmp_path),
        stderr=asyncio.subprocess.PIPE,
    )
    await child.communicate()
    assert child.returncode == 78
