"""A simulator and a controller of one site side by side, in folders of their own, for measuring."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Final

from opcua_model.client import Login, SiteClient, WrongServer
from opcua_model.connect import endpoint_of
from opcua_model.users import UserStore, users_file
from plc_config.compile import Compiled, compile_site
from tools.simulator.client import SimulatorClient

READY_S: Final = 60.0
STOP_S: Final = 90.0
RETRY_S: Final = 0.2
LOOK_S: Final = 0.02
MOST_TRIES: Final = 1000


class Pair:
    """Both programs as a user would start them, without touching the site's real run and state folders.

    `user` is the first of the site's own users who may operate; ValueError where there is none.
    """

    def __init__(self, site: str) -> None:
        self.site: Compiled = compile_site(site)
        self.name = site
        self.user = operator_of(self.site)
        self.folder = tempfile.TemporaryDirectory(prefix="cellwarden-")
        base = Path(self.folder.name)
        self.state = base / "state"
        self.run = Path(tempfile.mkdtemp(prefix="cellwarden-", dir="/dev/shm"))
        self.state.mkdir()
        self.env = {**os.environ, "CELLWARDEN_RUN": str(self.run), "CELLWARDEN_STATE": str(self.state)}
        self.password = password_for(self.site.config.users)
        UserStore(users_file(self.state), self.site.config.users).set(self.user, self.password)
        self.processes: list[subprocess.Popen[Any]] = []

    def start(self, *arguments: str) -> subprocess.Popen[Any]:
        """Start one `cellwarden` command of this pair."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.cli", *arguments],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    async def client(self) -> SiteClient:
        """An operator's connection, once the server listens."""
        own = self.state / "pki" / "own" / "certificate.der"
        login = Login(self.state / "client", self.user, self.password, own)
        end = time.monotonic() + READY_S
        while True:
            try:
                return await SiteClient.connect(endpoint_of(self.site), login, self.site.config.site.id)
            except (OSError, TimeoutError, WrongServer):
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(RETRY_S)

    def plant(self) -> SimulatorClient:
        """The simulator's control socket."""
        return SimulatorClient(self.run, wait_s=READY_S)

    def stop(self) -> None:
        """Controller first, then simulator; folders go with them."""
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.folder.cleanup()
        for path in self.run.iterdir():
            path.unlink()
        self.run.rmdir()


def operator_of(site: Compiled) -> str:
    """The first user who may operate, an Operator before an Engineer; ValueError where the site names neither."""
    for role in ("Operator", "Engineer"):
        for name, has in site.config.users.items():
            if has == role:
                return name
    raise ValueError("nobody among the site's users may operate it: name an Operator under `users`")


def password_for(users: Iterable[str]) -> str:
    """A password for a while that contains no user's name, as a site demands."""
    for _ in range(MOST_TRIES):
        password = secrets.token_urlsafe(12)
        if not any(name.lower() in password.lower() for name in users):
            return password
    raise ValueError("every password contains a user's name: give the users longer names")


@contextlib.asynccontextmanager
async def running(site: str, *options: str) -> AsyncIterator[tuple[Pair, SiteClient, SimulatorClient]]:
    """Simulator and controller of `site`, an operator's client and the plant's truth; all ended afterwards."""
    pair = Pair(site)
    try:
        pair.start("simulate", site)
        plant = pair.plant()
        pair.start("run", site, "--demo", *options)
        client = await pair.client()
        try:
            yield pair, client, plant
        finally:
            with contextlib.suppress(OSError):
                await client.close()
            plant.close()
    finally:
        pair.stop()


async def wait_state(client: SiteClient, state: str, patience_s: float = READY_S) -> None:
    """Returns once the site is in `state`; TimeoutError after `patience_s`."""
    end = time.monotonic() + patience_s
    while (await client.read_one("Status/State")).value != state:
        if time.monotonic() > end:
            raise TimeoutError(f"the site is not {state} after {patience_s} s")
        await asyncio.sleep(LOOK_S)
