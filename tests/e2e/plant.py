"""A whole site as its user starts it: simulator and controller as real processes, watched over OPC UA."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from controller.core.image import ProcessImage
from controller.image.files import PROCESSES, SiteFiles
from opcua_model.client import Login, SiteClient
from opcua_model.connect import endpoint_of
from opcua_model.users import UserStore, users_file
from plc_config.compile import compile_site
from tests.sites import free_site
from tools.simulator.client import SimulatorClient

PASSWORD = "three-green-hills"
PATIENCE_S = 90.0
"""Nothing is judged by it: a test that waits in vain ends."""

POLL_S = 0.02


class Plant:
    """`site` (a file as it is, or a shipped one on free ports) with run and state folders of its own. Use `with`."""

    def __init__(self, folder: Path, site: str | Path = "bench", **options: str) -> None:
        self.folder = folder
        self.run, self.state = folder / "run", folder / "state"
        for path in (self.run, self.state):
            path.mkdir(exist_ok=True)
        self.path = site if isinstance(site, Path) else free_site(folder, site)
        self.env = {**os.environ, "CELLWARDEN_RUN": str(self.run), "CELLWARDEN_STATE": str(self.state)}
        self.site = compile_site(str(self.path))
        self.options = options
        self.report_path = folder / "report.json"
        self.log_path = folder / "log.txt"
        self.controller: subprocess.Popen[Any] | None = None

    # -- processes -----------------------------------------------------------------------------------------

    def __enter__(self) -> Plant:
        store = UserStore(users_file(self.state), self.site.config.users)
        for name in self.site.config.users:
            store.set(name, PASSWORD)
        self.log = self.log_path.open("ab")
        extra = [part for name, value in self.options.items() for part in (f"--{name}", value)]
        self.simulator = self._start("simulate", str(self.path), *extra)
        self.plant = SimulatorClient(self.run, wait_s=PATIENCE_S)
        self.start()
        return self

    def _start(self, *arguments: str) -> subprocess.Popen[Any]:
        return subprocess.Popen(
            [sys.executable, "-m", "tools.cli", *arguments],
            env=self.env, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def start(self) -> None:
        """Start the controller and wait for its first scans."""
        self.controller = self._start("run", str(self.path), "--demo", "--report", str(self.report_path))
        self.files = SiteFiles(self.run, self.site.dims)
        begun = time.monotonic() * 1000
        self.until(lambda: (i := self.image()) is not None and i.system.now_ms > begun, "the first scan")

    def stop(self) -> dict[str, Any]:
        """Ctrl-C, and the report of the run."""
        assert self.controller is not None
        self.controller.send_signal(signal.SIGINT)
        code = self.controller.wait(90)
        assert code == 0, self.log_path.read_text()[-3000:]
        report: dict[str, Any] = json.loads(self.report_path.read_text())
        return report

    def __exit__(self, *error: object) -> None:
        for process in (self.controller, self.simulator):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(90)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.plant.close()
        self.log.close()

    def pid(self, name: str) -> int:
        """Process id of one of the controller's processes, 0 when it does not run."""
        status = self.files.reader("status.supervisor").read()
        return int(status.pid[PROCESSES.index(name)]) if status is not None else 0

    def restarts(self, name: str) -> int:
        """How often the supervisor restarted a process."""
        status = self.files.reader("status.supervisor").read()
        return int(status.restarts[PROCESSES.index(name)]) if status is not None else 0

    # -- looking -------------------------------------------------------------------------------------------

    def image(self) -> ProcessImage | None:
        """The latest process image."""
        try:
            image: ProcessImage | None = self.files.reader("process").read()
        except FileNotFoundError:
            return None
        return image

    def until(self, condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
        """The condition's value once it is true; fails with the log when it does not come true."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            time.sleep(POLL_S)
        raise AssertionError(f"{what} did not happen in {patience_s} s\n{self.log_path.read_text()[-3000:]}")

    def mode(self) -> int:
        """The site's mode now."""
        image = self.image()
        return -1 if image is None else image.modes.site_mode

    # -- operating -----------------------------------------------------------------------------------------

    async def client(self, user: str = "operator") -> SiteClient:
        """A client over SignAndEncrypt, once the server listens."""
        login = Login(
            self.state / "client", user, PASSWORD, self.state / "pki" / "own" / "certificate.der"
        ) if user else Login()  # fmt: skip
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await SiteClient.connect(endpoint_of(self.site), login, self.site.config.site.id)
            except (OSError, TimeoutError):
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.1)

    async def wait_for(
        self, client: SiteClient, path: str, good: Callable[[Any], bool], patience_s: float = PATIENCE_S
    ) -> Any:
        """The value of a variable over OPC UA once it satisfies `good`."""
        end = time.monotonic() + patience_s
        seen: Any = None
        while time.monotonic() < end:
            seen = (await client.read_one(path)).value
            if good(seen):
                return seen
            await asyncio.sleep(0.05)
        raise AssertionError(f"{path} is {seen!r} after {patience_s} s\n{self.log_path.read_text()[-3000:]}")

    async def online(self, client: SiteClient) -> None:
        """Connect, and wait until the site is online."""
        await self.wait_for(client, "Status/State", lambda s: s == "STANDBY")
        answer = await client.call("Connect")
        assert answer.accepted, answer
        await self.wait_for(client, "Status/State", lambda s: s == "ONLINE")


Step = Callable[[Plant], Awaitable[None]]
