"""A real server on a port of the system's choice, and a fake scan that publishes images and answers commands."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from asyncua.server.address_space import AttributeValue, NodeData
from asyncua.server.standard_address_space import standard_address_space

from controller.app.opcua_process import catalog_of
from controller.core.command import Answer, Command, Kind
from controller.core.image import ProcessImage, SiteMode
from controller.core.scan import tell
from controller.core.signal import Quality
from controller.image.files import SiteFiles
from opcua_model.client import CLIENT_URI, Login, SiteClient
from opcua_model.pki import own_identity
from opcua_model.server import OpcuaServer, Place, application_uri
from opcua_model.users import UserStore, users_file
from opcua_model.view import Clock
from plc_config.compile import Compiled
from tests.steady_clock import SteadyClock
from tests.story import shipped

PASSWORD = "correct horse battery"
DEADLINE_S = 60.0
"""Nothing is judged by it: a test that waits in vain ends."""


async def until(true: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Waits for a condition, with a bound."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while loop.time() < end:
        found = true()
        if found:
            return found
        await asyncio.sleep(0.005)
    raise AssertionError(f"not within {deadline_s} s: {what}")


class FakeScan:
    """Publishes a process image every cycle; `edit` changes it, `judge` answers commands."""

    def __init__(self, compiled: Compiled, files: SiteFiles, clock: Clock) -> None:
        self.compiled, self.clock = compiled, clock
        self.layout = files.layouts["process"]
        self.image: ProcessImage = self.layout.blank()
        self.writer, self.commands = files.writer("process"), files.command_reader("opcua")
        self.events = files.event_writer("scan")
        self.number = 0
        self.running = True
        self.answering = True
        self.seen: list[Command] = []
        self.judge: Callable[[Command], tuple[bool, str, float]] = lambda c: (True, "accepted", c.value)
        self._good()

    def _good(self) -> None:
        now = self.clock.monotonic_ms()
        for path, tag in self.layout.tags.items():
            if tag.samples:
                s = self.layout.get(self.image, path)
                s.quality[...] = int(Quality.GOOD)
                s.time_ms[...] = now
        points = self.image.measured.points
        points.cell_voltage_v.value[...] = 3.3
        points.rack_voltage_v.value[...] = 211.2
        self.image = self.replace("modes", site_mode=int(SiteMode.STANDBY))
        self.image = self.replace("estimates", soc_valid=1, soc_ratio=0.5)
        self.image = self.replace("trips", first_out=-1)

    def replace(self, group: str, **values: Any) -> ProcessImage:
        """The image with other plain values in one group."""
        return dataclasses.replace(self.image, **{group: dataclasses.replace(getattr(self.image, group), **values)})

    def set(self, group: str, **values: Any) -> None:
        """Changes plain values of one group from the next scan on."""
        self.image = self.replace(group, **values)

    def step(self) -> None:
        """One scan."""
        self.number += 1
        now = self.clock.monotonic_ms()
        taken = [Command.of(r) for r in self.commands.take(16)]
        self.seen += taken
        answers = []
        for command in taken:
            accepted, reason, value = self.judge(command)
            if accepted and command.kind is Kind.SET_ACTIVE_POWER:
                self.set("power", active_power_setpoint_w=command.value)
            answers.append(Answer(command, accepted, reason, value))
        self.set("system", scan=self.number, now_ms=now, utc_ms=self.clock.utc_ms())
        for path, tag in self.layout.tags.items():
            if tag.samples:
                self.layout.get(self.image, path).time_ms[...] = now
        self.writer.write(self.image)
        if self.answering:
            for answer in answers:
                self.events.put(tell(answer).record(self.number, now, self.clock.utc_ms()))

    async def run(self) -> None:
        """Scans every cycle."""
        while True:
            if self.running:
                self.step()
            await asyncio.sleep(self.compiled.config.cycle / 1000)


@dataclasses.dataclass
class Rig:
    """The server, the scan and the folders of one test."""

    server: OpcuaServer
    scan: FakeScan
    files: SiteFiles
    state: Path
    tmp: Path

    def login(self, user: str = "", password: str = PASSWORD, name: str = "client") -> Login:
        """A log-in whose client certificate lies in its own folder."""
        give_identity(self.tmp / name / "own", name)
        return Login(self.tmp / name, user, password)

    def trust(self, name: str = "client") -> str:
        """Trusts the certificate of a client."""
        give_identity(self.tmp / name / "own", name)
        return self.server.pki.add(own_identity(self.tmp / name / "own", "Cellwarden client", CLIENT_URI).der)

    @contextlib.asynccontextmanager
    async def client(self, user: str = "", password: str = PASSWORD, name: str = "client") -> AsyncIterator[SiteClient]:
        """A connected client; without user anonymous and unencrypted."""
        login = self.login(user, password, name) if user else Login()
        client = await SiteClient.connect(self.server.endpoint, login)
        try:
            yield client
        finally:
            await client.close()


def give_passwords(state: Path, users: dict[str, str]) -> None:
    """Passwords for all users; hashed once per test run, because scrypt is slow on purpose."""
    if not _CACHE:
        with tempfile.TemporaryDirectory() as folder:
            store = UserStore(users_file(Path(folder)), users)
            for name in ("operator", "engineer", "observer"):
                store.set(name, PASSWORD)
            _CACHE["users"] = users_file(Path(folder)).read_bytes()
    users_file(state).write_bytes(_CACHE["users"])


def give_identity(folder: Path, name: str) -> None:
    """A client certificate of that name."""
    _give(folder, name, ("Cellwarden client", CLIENT_URI))


def _give(folder: Path, name: str, whose: tuple[Any, ...]) -> None:
    """A certificate where there is none yet; keys are made once per test run, because RSA is slow."""
    if (folder / "certificate.der").exists():
        return
    if f"{name}.der" not in _CACHE:
        with tempfile.TemporaryDirectory() as temporary:
            made = own_identity(Path(temporary), *whose)
            _CACHE[f"{name}.der"], _CACHE[f"{name}.pem"] = made.der, made.key.read_bytes()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "certificate.der").write_bytes(_CACHE[f"{name}.der"])
    (folder / "key.pem").write_bytes(_CACHE[f"{name}.pem"])


_CACHE: dict[str, bytes] = {}


def fill_standard_nodes(service: Any) -> None:
    """The nodes of the standard, made once per test run: a second and a half of work, always the same.

    What a server changes later is its own: the nodes, their lists of references, the holders of their values. Values
    and references themselves are exchanged, never changed.
    """
    nodes = service._aspace._nodes
    if not _STANDARD:
        _FILL(service)
        _STANDARD.extend(
            (key, [(name, held.value) for name, held in node.attributes.items()], tuple(node.references))
            for key, node in nodes.items()
        )
        return
    for key, attributes, references in _STANDARD:
        node = nodes[key] = NodeData(key)
        node.attributes = {name: AttributeValue(value) for name, value in attributes}
        node.references = list(references)


_FILL = standard_address_space.fill_address_space
_STANDARD: list[tuple[Any, list[tuple[Any, Any]], tuple[Any, ...]]] = []


@contextlib.asynccontextmanager
async def rig(tmp_path: Path, site: str = "bench", demo: bool = False, max_sessions: int = 24) -> AsyncIterator[Rig]:
    """A running server with a fake scan; users operator, engineer and observer with PASSWORD."""
    compiled = shipped(site)
    users = {**compiled.config.users, "observer": "Observer"}
    opcua = compiled.config.opcua.model_copy(update={"max_sessions": max_sessions})
    compiled = dataclasses.replace(compiled, config=compiled.config.model_copy(update={"users": users, "opcua": opcua}))
    run, state = tmp_path / "run", tmp_path / "state"
    run.mkdir(exist_ok=True)
    state.mkdir(exist_ok=True)
    files = SiteFiles(run, compiled.dims)
    files.create()
    steady, utc_s = SteadyClock(), time.time() - time.monotonic()
    steady.start()
    clock = Clock(lambda: int(1000 * steady()), lambda: int(1000 * (steady() + utc_s)))
    scan = FakeScan(compiled, files, clock)
    give_passwords(state, users)
    server = OpcuaServer(compiled, catalog_of(compiled.program), files, state, scan.clock, demo, Place("127.0.0.1", 0))
    site_id = server.model.identity.site_id
    _give(server.pki.own, f"server {site_id}", (f"Cellwarden {site_id}", application_uri(site_id), ("127.0.0.1",)))
    scan.step()
    task = asyncio.create_task(scan.run())
    with patch.object(standard_address_space, "fill_address_space", fill_standard_nodes):
        await server.start()
    try:
        yield Rig(server, scan, files, state, tmp_path)
    finally:
        await server.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        steady.stop()
