"""`cellwarden demo`: a simulated container and its controller on this machine, with something happening."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plc_config.quantity import duration_ms

if TYPE_CHECKING:
    from opcua_model.client import SiteClient
    from plc_config.compile import Compiled

HELP = "Starts the simulator and the controller of SITE, shows the live view, and runs a charge/discharge profile."
EXAMPLE = "cellwarden demo"
PROFILE: Final = ((20.0, 0.4), (20.0, -0.35), (8.0, 0.0), (20.0, 0.75), (20.0, -0.6), (8.0, 0.0))
"""(seconds, fraction of the rated power): the profile the demo repeats; positive discharges."""
USERS: Final = ("operator", "engineer")
WORDS: Final = (
    *("amber", "anchor", "birch", "cedar", "cobalt", "copper", "delta", "ember", "fjord", "garnet", "harbor"),
    *("indigo", "juniper", "kelp", "lagoon", "maple", "nickel", "ochre", "pebble", "quartz", "raven", "saffron"),
    *("thistle", "umber", "violet", "willow", "yarrow", "zephyr"),
)
HELD: Final = {
    "TRIPPED": ("operator", ("ResetTrips",)),
    "LOCKED_OUT": ("engineer", ("EnterMaintenance", "ResetTrips", "LeaveMaintenance")),
    "MAINTENANCE": ("engineer", ("ResetTrips", "LeaveMaintenance")),
}
"""Modes in which a site waits for a person, and who asks for what then."""
LOOK_S: Final = 0.5
HEARTBEAT_S: Final = 1.0
STOP_S: Final = 75.0
RETRY_S: Final = 1.0
PATIENCE_S, WAITING = 20.0, "the controller is starting"
EXIT_FAILED: Final = 1


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `demo`."""
    parser.add_argument("site", nargs="?", default="container", metavar="SITE", help="default: container")
    parser.add_argument("--for", dest="duration", metavar="60s", help="stop in order after this time")
    parser.add_argument("--report", metavar="FILE.json", type=Path, help="as `cellwarden run --report`")
    parser.add_argument("--play", metavar="FILE", help="as `cellwarden simulate --play`: measured cell data")


def run(args: argparse.Namespace) -> int:
    """0 after an orderly stop with Ctrl-C or `--for`; everything it started has ended by then."""
    from plc_config.compile import compile_site

    try:
        seconds = None if args.duration is None else duration_ms(args.duration) / 1000
        site = compile_site(args.site)
    except ValueError as error:
        print(f"--for: {error}", file=sys.stderr)
        return 2
    stopping = _stop_on_signals()
    demo = Demo(site, args)
    try:
        if not demo.start(stopping):
            return EXIT_FAILED
        asyncio.run(demo.show(seconds, stopping))
    finally:
        code = demo.stop()
    return code


def _stop_on_signals() -> list[int]:
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _frame: stopping.append(n))
    return stopping


@dataclasses.dataclass
class Demo:
    """Two child processes in sessions of their own, so that Ctrl-C reaches them only through us, in order."""

    site: Compiled
    args: argparse.Namespace
    simulator: subprocess.Popen[Any] | None = None
    controller: subprocess.Popen[Any] | None = None
    passwords: dict[str, str] = dataclasses.field(default_factory=dict)
    note: str = ""

    def start(self, stopping: list[int]) -> bool:
        """Simulator ready, users set, controller started; False after saying what went wrong."""
        cellwarden = [sys.executable, "-m", "tools.cli"]
        print(f"== starting the simulator of {self.args.site}", flush=True)
        play = ["--play", self.args.play] if self.args.play else []
        self.simulator = subprocess.Popen(
            [*cellwarden, "simulate", self.args.site, "--with-parent", *play],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if self.simulator.stdout is None or not self.simulator.stdout.readline():
            print("the simulator did not start", file=sys.stderr)
            return False
        if stopping:
            return False
        self._set_passwords()
        print("== starting the controller: scan, io, opcua and store as processes of their own", flush=True)
        report = ["--report", str(self.args.report)] if self.args.report else []
        self.controller = subprocess.Popen(
            [*cellwarden, "run", self.args.site, "--demo", *report],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        return True

    def _set_passwords(self) -> None:
        from controller.image.folder import state_folder
        from opcua_model.users import UserStore, users_file

        config = self.site.config
        store = UserStore(users_file(state_folder(config.site.id)), config.users)
        for name in USERS:
            if name in config.users:
                self.passwords[name] = "-".join(secrets.choice(WORDS) for _ in range(4))
                store.set(name, self.passwords[name])

    # -- while it runs -------------------------------------------------------------------------------------

    async def show(self, seconds: float | None, stopping: list[int]) -> None:
        """The live view on a terminal, a line every few seconds elsewhere, and the operator beside it."""
        from opcua_model.client import Login
        from opcua_model.connect import endpoint_of
        from tools.commands.operate import quiet
        from tools.commands.watch import Watcher

        quiet()
        endpoint = endpoint_of(self.site)
        operator = asyncio.create_task(self._operate(endpoint))
        watcher = Watcher(endpoint, Login(), self.site.config.site.id)
        start, met = time.monotonic(), False
        footer = self._credentials(endpoint)
        view = _Screen(footer) if sys.stdout.isatty() else _Lines(footer)
        try:
            with view:
                while not stopping and self._running() and (seconds is None or time.monotonic() - start < seconds):
                    snapshot, trouble = await watcher.look()
                    met = met or not trouble
                    if not met and time.monotonic() - start < PATIENCE_S:
                        trouble = WAITING
                    view.footer = f"{footer}\n{self.note}"
                    view.show(snapshot, trouble)
                    await asyncio.sleep(LOOK_S)
        finally:
            operator.cancel()
            await asyncio.gather(operator, return_exceptions=True)
            await watcher.close()

    def _running(self) -> bool:
        return all(p is not None and p.poll() is None for p in (self.simulator, self.controller))

    def _credentials(self, endpoint: str) -> str:
        users = ", ".join(f"{n} / {p}" for n, p in self.passwords.items())
        return f"{endpoint}  users: {users}  (SignAndEncrypt; reading works without a user). Ctrl-C stops."

    async def _operate(self, endpoint: str) -> None:
        """The demo's operator: connects, then follows the profile, with a heartbeat as SCADA would send it."""
        from controller.image.folder import state_folder
        from opcua_model.client import SiteClient, WrongServer
        from opcua_model.connect import login_of
        from opcua_model.library import ua

        if "operator" not in self.passwords:
            return
        state = state_folder(self.site.config.site.id)
        login = login_of(state, "operator", lambda: self.passwords["operator"])
        while True:
            try:
                client = await SiteClient.connect(endpoint, login, self.site.config.site.id)
                try:
                    await self._follow(client)
                finally:
                    await client.close()
            except (ua.UaError, OSError, TimeoutError, WrongServer):
                await asyncio.sleep(RETRY_S)

    async def _follow(self, client: SiteClient) -> None:
        rated = self.site.config.dispatch.rated_power
        beat, step, left, begun = 0, 0, 0.0, False
        while True:
            beat += 1
            await client.write("Control/ScadaHeartbeat", float(beat))
            state = (await client.read_one("Status/State")).value
            if state == "STANDBY":
                await client.call("Connect")
                left = 0.0
            elif state in HELD and not begun:
                await self._release(state)
            elif state == "ONLINE":
                begun, self.note = True, ""
                if left <= 0.0:
                    left, fraction = PROFILE[step % len(PROFILE)]
                    step += 1
                    await client.call("SetActivePower", fraction * rated)
                left -= HEARTBEAT_S
            await asyncio.sleep(HEARTBEAT_S)

    async def _release(self, state: str) -> None:
        """What an earlier run left latched or in doubt is released by its rules, and said; later it is for people."""
        from controller.image.folder import state_folder
        from opcua_model.client import SiteClient
        from opcua_model.connect import endpoint_of, login_of

        user, steps = HELD[state]
        if user not in self.passwords:
            return
        self.note = f"{state}: an earlier run left it so; the demo's {user} asks for {', '.join(steps)}"
        site_id = self.site.config.site.id
        login = login_of(state_folder(site_id), user, lambda: self.passwords[user])
        client = await SiteClient.connect(endpoint_of(self.site), login, site_id)
        try:
            for method in steps:
                answer = await client.call(method)
                if not answer.accepted:
                    self.note = f"{state}: {method} refused: {answer.reason}"
                    return
                await asyncio.sleep(HEARTBEAT_S)
        finally:
            await client.close()

    # -- stop ----------------------------------------------------------------------------------------------

    def stop(self) -> int:
        """Controller first, so that contactors open on a living plant; then the simulator. Nothing is left."""
        code = 0
        if self.controller is not None:
            print("== stopping: power to zero, contactors open", flush=True)
            code = _end(self.controller, signal.SIGTERM)
        contactors = self._contactors()
        if self.simulator is not None:
            _end(self.simulator, signal.SIGTERM)
            for pipe in (self.simulator.stdin, self.simulator.stdout):
                if pipe is not None:
                    pipe.close()
        if contactors:
            print(f"== stopped in order; plant says: {contactors}", flush=True)
        return code

    def _contactors(self) -> str:
        """What the plant itself says of its contactors after the stop."""
        from tools.simulator.client import SimulatorClient, SimulatorError

        if self.simulator is None or self.simulator.poll() is not None:
            return ""
        try:
            truth = SimulatorClient(self.site.config.site.id).truth()
        except (OSError, SimulatorError):
            return ""
        closed = [r["rack"] for r in truth["racks"] if r.get("main_closed")]
        return f"closed contactors: {', '.join(map(str, closed))}" if closed else "every contactor is open"


def _end(process: subprocess.Popen[Any], number: int) -> int:
    if process.poll() is None:
        process.send_signal(number)
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


class _Screen:
    """The live picture on a terminal."""

    def __init__(self, footer: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self.footer = footer
        self.console = Console()
        self.live = Live(console=self.console, screen=True, auto_refresh=False)

    def __enter__(self) -> _Screen:
        self.live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.__exit__(None, None, None)

    def show(self, snapshot: Any, trouble: str) -> None:
        """One picture."""
        from rich.console import Group
        from rich.text import Text

        from tools.commands.watch_view import picture

        if snapshot is None:
            self.live.update(Text(f"starting ... {trouble}\n{self.footer}"), refresh=True)
            return
        shown = picture(snapshot, trouble, self.console.height - 2)
        self.live.update(Group(shown, Text(self.footer, style="dim")), refresh=True)


class _Lines:
    """A line of JSON every few seconds, for pipes and logs."""

    EVERY_S: Final = 5.0

    def __init__(self, footer: str) -> None:
        self.footer, self.next_s = footer, 0.0

    def __enter__(self) -> _Lines:
        print(self.footer, flush=True)
        return self

    def __exit__(self, *error: object) -> None:
        sys.stdout.flush()

    def show(self, snapshot: Any, trouble: str) -> None:
        """One line, not more often than every five seconds."""
        if time.monotonic() < self.next_s:
            return
        self.next_s = time.monotonic() + self.EVERY_S
        if snapshot is None:
            print(json.dumps({"state": None, "trouble": trouble}), flush=True)
            return
        wanted = {
            "state": "Status/State",
            "power_w": "Measurements/ActivePower",
            "soc": "Measurements/Soc",
            "alarms": "Alarms/ActiveAlarms",
        }
        line = {name: _plain(snapshot[path]) for name, path in wanted.items()}
        print(json.dumps({**line, "trouble": trouble}, default=str), flush=True)


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)
