"""The command line as an OPC UA client: operate, watch, user, cert and export, against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.core.command import Kind
from opcua_model.connect import endpoint_of
from opcua_model.watching import read_snapshot
from plc_config.compile import compile_site
from tests.command_line import cellwarden
from tests.opcua_rig import PASSWORD, Rig, rig
from tools.commands.watch import Watcher


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as found:
        yield found


async def process(state: Path, *arguments: str, said: str = "") -> tuple[int, str, str]:
    """The same as `cellwarden`, as a process of its own."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tools.cli",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "CELLWARDEN_STATE": str(state), "CELLWARDEN_PASSWORD": PASSWORD},
    )
    out, err = await child.communicate(said.encode())
    return child.returncode or 0, out.decode(), err.decode()


async def test_from_the_first_refusal_to_a_shutdown(site: Rig) -> None:
    endpoint = ("--user", "operator", "--endpoint", site.server.endpoint)
    code, _, err = await process(site.state, "operate", "bench", "connect", *endpoint)
    assert code == 69 and "cellwarden cert --site bench trust" in err and "Traceback" not in err
    thumbprint = err.split()[-1]
    code, out, _ = await cellwarden(site.state, "cert", "list", "--site", "bench", "--json")
    assert [(e["thumbprint"], e["where"]) for e in json.loads(out)] == [(thumbprint, "rejected")]
    assert (await cellwarden(site.state, "cert", "trust", thumbprint[:10], "--site", "bench"))[0] == 0
    code, out, _ = await process(site.state, "operate", "bench", "power", "-50 kW", *endpoint)
    assert (code, out) == (0, "accepted: accepted\n")
    assert site.scan.seen[-1].value == -50_000.0
    site.scan.judge = lambda c: (False, "beyond the rated", 0.0)
    code, out, _ = await cellwarden(site.state, "operate", "bench", "power", "5 MW", *endpoint, "--json")
    assert code == 1 and json.loads(out)["reason"] == "beyond the rated"
    site.scan.judge = lambda c: (True, "fine", 4711.0)
    shutdown = ("operate", "bench", "shutdown", "--reason", "test", *endpoint)
    assert (await process(site.state, *shutdown, said="no\n"))[0] == 1
    assert site.scan.seen[-1].kind is Kind.ARM_SHUTDOWN
    assert (await cellwarden(site.state, *shutdown, "--yes"))[0] == 0
    assert (site.scan.seen[-1].kind, site.scan.seen[-1].token) == (Kind.EXECUTE_SHUTDOWN, 4711)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("operate", "bench", "power", "5"), 2),
        (("operate", "bench", "ack", "x"), 2),
        (("operate", "bench", "shutdown"), 2),
        (("operate", "nowhere", "connect"), 78),
        (("operate", "bench", "connect", "--endpoint", "opc.tcp://127.0.0.1:9/cellwarden"), 69),
        (("watch", "bench", "--once", "--endpoint", "opc.tcp://127.0.0.1:9/cellwarden"), 69),
        (("user", "set"), 2),
        (("cert", "trust"), 2),
        (("cert", "trust", "ffff"), 1),
        (("export", "points", "nosuchsite"), 78),
    ],
)
async def test_exit_codes(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    got, _, err = await cellwarden(tmp_path, *arguments)
    assert got == code and err and "Traceback" not in err


async def test_passwords_are_set_from_standard_input(tmp_path: Path) -> None:
    weak = await process(tmp_path, "user", "set", "operator", said="short\n")
    assert weak[0] == 1 and "10" in weak[2]
    assert (await cellwarden(tmp_path, "user", "set", "operator", said=f"{PASSWORD}\n"))[0] == 0
    _, out, _ = await cellwarden(tmp_path, "user", "list", "--json")
    assert {u["name"]: u["password"] for u in json.loads(out)} == {"operator": True, "engineer": False, "scada": False}
    assert (await cellwarden(tmp_path, "user", "remove", "operator"))[0] == 0
    assert (await cellwarden(tmp_path, "user", "remove", "operator"))[0] == 1


async def test_exports(tmp_path: Path) -> None:
    code, out, _ = await cellwarden(tmp_path, "export", "points", "bench")
    assert code == 0 and "Racks/R02/Modules/M04/CellVoltages,Float[],V,r,Cell voltage" in out.splitlines()
    code, out, _ = await cellwarden(tmp_path, "export", "nodeset")
    assert code == 0 and "urn:cellwarden:model" in out
    code, out, _ = await cellwarden(tmp_path, "export", "matrix", "bench", "--json")
    assert code == 0 and "cell_overvoltage" in {r["id"] for r in json.loads(out)}


async def test_one_picture_and_one_snapshot(tmp_path: Path) -> None:
    async with rig(tmp_path, demo=True) as site:
        code, out, _ = await process(site.state, "watch", "bench", "--once", "--endpoint", site.server.endpoint)
        assert code == 0 and "STANDBY" in out and "R02" in out
        assert max(len(line) for line in out.splitlines()) <= 100 and len(out.splitlines()) <= 32
        code, out, _ = await process(site.state, "watch", "bench", "--json", "--endpoint", site.server.endpoint)
        assert json.loads(out)["values"]["Status/State"]["value"] == "STANDBY"


async def test_watch_says_when_there_is_no_contact_and_comes_back(site: Rig) -> None:
    site.trust()
    watcher = Watcher(site.server.endpoint, site.login("observer"), "bench")
    snapshot, trouble = await watcher.look()
    assert snapshot["Status/State"] == "STANDBY" and trouble == ""
    for protocol in list(site.server.server.bserver.clients):
        protocol.transport.abort()
    snapshot, trouble = await watcher.look()
    assert "NO CONTACT" in trouble and snapshot["Status/State"] == "STANDBY"
    for _ in range(3000):
        snapshot, trouble = await watcher.look()
        if not trouble:
            break
        await asyncio.sleep(0.02)
    assert trouble == ""
    await watcher.close()


async def test_the_server_of_another_site_is_not_taken_for_ours(site: Rig) -> None:
    site.trust()
    watcher = Watcher(site.server.endpoint, site.login("observer"), "container")
    _, trouble = await watcher.look()
    assert "not the server of container but of bench" in trouble
    await watcher.close()


async def test_every_path_of_the_overview_exists(site: Rig) -> None:
    site.trust()
    known = {p.path for p in site.server.model.points} | {"Control/LastAnswer"}
    async with site.client("observer") as client:
        snapshot = await read_snapshot(client)
    assert set(snapshot.values) <= known


def test_the_endpoint_of_a_site_is_on_its_own_machine() -> None:
    assert endpoint_of(compile_site("bench")) == "opc.tcp://127.0.0.1:4840/cellwarden"
