"""The system under test: simulator and controller of a site as real processes, and the operator who runs them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from controller.core.effect import Effect
from controller.core.event import What
from controller.core.image import AlarmState, ProcessImage, SiteMode
from controller.core.protect.engine import Slot
from controller.image.files import PROCESSES, SiteFiles
from opcua_model.client import CallResult, Login, SiteClient, WrongServer
from opcua_model.connect import endpoint_of
from opcua_model.library import ua
from opcua_model.users import UserStore, users_file
from tools.fat.judge import Alarm, balancing_a
from tools.pair import READY_S, RETRY_S, Pair
from tools.simulator.client import SimulatorError

PLANT_PRIORITY: Final = 3
"""Real-time where permitted, below scan and io: real devices do not wait for this machine's other work."""
LOOK_S: Final = 0.03
RECOVER_S: Final = 60.0
CONNECT_S: Final = 180.0
POWER_S: Final = 20.0
POWER_RATIO: Final = 0.02
BALANCE_S, BALANCE_LOOK_S = 120.0, 0.25
BALANCED_RATIO: Final = 0.8
"""Of the current at which a stopping rack opens."""
EVENTS_AT_ONCE: Final = 4096
ROW_THAT_NEEDS_CONNECT: Final = "rack_not_connected"
TRANSIENT: Final = (OSError, TimeoutError, WrongServer, ua.UaError, asyncio.CancelledError)


class RigError(RuntimeError):
    """The system under test does not do what every test needs; the text says what."""


TROUBLE: Final = (RigError, SimulatorError, OSError, TimeoutError, ua.UaError)
"""What a system under test may do to its operator: a trial that meets it has failed, the campaign goes on."""


class Rig(Pair):
    """One simulator and one controller. `mark`: the plant's event at which the last trial ended.
    `again`: situations in which connecting needed another reset."""

    plant_client: Any
    operator: SiteClient

    def __init__(self, site: str, log: Path) -> None:
        super().__init__(site)
        self.log = log.open("ab")
        store = UserStore(users_file(self.state), self.site.config.users)
        self.engineer_name = next((n for n, r in self.site.config.users.items() if r == "Engineer"), "")
        if self.engineer_name:
            store.set(self.engineer_name, self.password)
        self.engineer_client: SiteClient | None = None
        self.mark = 0
        self.again: list[str] = []

    def start(self, *arguments: str) -> subprocess.Popen[Any]:
        """Start one `cellwarden` command of this rig; what it prints goes to the log."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.cli", *arguments],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    async def open(self) -> None:
        """Both programs run, an operator is connected."""
        simulator = self.start("simulate", self.name, "--with-parent")
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(simulator.pid, os.SCHED_FIFO, os.sched_param(PLANT_PRIORITY))
        end = time.monotonic() + READY_S
        while True:
            try:
                self.plant_client = await asyncio.to_thread(self.plant)
                break
            except OSError as error:
                if simulator.poll() is not None or time.monotonic() > end:
                    raise RigError(f"the simulator does not start; see {self.log.name}") from error
        controller = self.start("run", self.name, "--demo")
        await self.reconnect(controller)
        self.files = SiteFiles(self.run, self.site.dims)
        self.events = self.files.event_reader("scan", from_start=True)

    async def reconnect(self, controller: subprocess.Popen[Any] | None = None) -> None:
        """New sessions, once the server answers."""
        end = time.monotonic() + READY_S
        while True:
            try:
                self.operator = await self.login(self.user)
                break
            except TRANSIENT as error:
                if time.monotonic() > end or (controller is not None and controller.poll() is not None):
                    raise RigError(f"the controller cannot be reached: {error}; see {self.log.name}") from error
                await asyncio.sleep(RETRY_S)
        if self.engineer_client is not None:
            await self.engineer_client.close()
            self.engineer_client = None

    async def login(self, user: str) -> SiteClient:
        """A session of a user."""
        own = self.state / "pki" / "own" / "certificate.der"
        login = Login(self.state / f"client-{user}", user, self.password, own)
        return await SiteClient.connect(endpoint_of(self.site), login, self.site.config.site.id)

    async def ask(self, method: str, *arguments: Any) -> CallResult:
        """A call by the operator; while the scan restarts nobody answers in time, which counts as refused."""
        try:
            return await self.operator.call(method, *arguments)
        except ua.UaStatusCodeError as error:
            return CallResult(False, str(error))

    async def engineer(self, method: str, *arguments: Any) -> CallResult:
        """A call by an engineer."""
        if not self.engineer_name:
            raise RigError("this case needs an engineer, and the site has none among its users")
        if self.engineer_client is None:
            self.engineer_client = await self.login(self.engineer_name)
        return await self.engineer_client.call(method, *arguments)

    async def close(self) -> None:
        """Everything ends, folders go."""
        with contextlib.suppress(*TRANSIENT, AttributeError):
            await self.operator.close()
        if self.engineer_client is not None:
            with contextlib.suppress(*TRANSIENT):
                await self.engineer_client.close()
        with contextlib.suppress(OSError, AttributeError):
            self.plant_client.close()
        if self.processes:
            self.resume()
        await asyncio.to_thread(self.stop)
        self.log.close()

    # -- looking -------------------------------------------------------------------------------------------

    def image(self) -> ProcessImage | None:
        """What the scan published last."""
        image: ProcessImage | None = self.files.reader("process").read()
        return image

    def truth(self) -> dict[str, Any]:
        """The plant's state."""
        found: dict[str, Any] = self.plant_client.truth()
        return found

    def alarms(self) -> list[Alarm]:
        """Alarm transitions since the last call, as the scan told them."""
        slots = self.site.program.matrix.slots
        return [
            Alarm(
                float(r["time_ms"]),
                slots[int(r["slot"])].row.id,
                slots[int(r["slot"])].place,
                # A consequence is told with its root; that its row acted is what counts here.
                int(AlarmState.UNACKNOWLEDGED if r["came"] else r["new"]),
            )
            for r in self.events.take(EVENTS_AT_ONCE)
            if int(r["what"]) == What.ALARM and 0 <= int(r["slot"]) < len(slots)
        ]

    def overruns(self) -> int:
        """Scan overruns since the scan process started."""
        status = self.files.reader("status.scan").read()
        return int(status.overruns) if status is not None else 0

    def pid(self, process: str) -> int:
        """Process id of one of the controller's processes, 0 when it does not run.

        From the kernel, because the supervisor's status tells of a restart only once a second.
        """
        parent = self.processes[-1].pid
        children = Path(f"/proc/{parent}/task/{parent}/children")
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                if f"controller.app.{process}_process" in Path(f"/proc/{child}/cmdline").read_text():
                    return int(child)
        return 0

    def signal(self, process: str, name: str) -> None:
        """Send a signal to one of the controller's processes; one that is gone hears nothing."""
        pid = self.pid(process)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.Signals[f"SIG{name}"])

    def resume(self) -> None:
        """Nothing is left stopped by a case."""
        for name in PROCESSES[1:]:
            self.signal(name, "CONT")

    async def until(self, condition: Callable[[], Any], what: str, patience_s: float, look_s: float = LOOK_S) -> None:
        """Returns once the condition holds; RigError when it does not in time."""
        end = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > end:
                raise RigError(f"{what} did not happen in {patience_s:.0f} s; {self.situation()}")
            await asyncio.sleep(look_s)

    def situation(self) -> str:
        """State and active rows, for messages."""
        image = self.image()
        if image is None:
            return "no image"
        slots = self.site.program.matrix.slots
        active = [f"{slots[i].row.id} {slots[i].place}" for i in np.flatnonzero(image.trips.slot_active)[:6]]
        return f"the site is {SiteMode(image.modes.site_mode).name}, active: {', '.join(active) or 'nothing'}"

    def mode(self) -> SiteMode | None:
        """The site's mode."""
        image = self.image()
        return None if image is None else SiteMode(image.modes.site_mode)

    # -- operating -----------------------------------------------------------------------------------------

    async def standby(self, alone: str = "") -> None:
        """Healthy and open. `alone`: see `_well`."""
        await self.recover(alone)
        await self.ask("Disconnect")
        await self.until(lambda: self.mode() is SiteMode.STANDBY, "STANDBY", RECOVER_S)
        await self.quiet(alone)

    async def online(self, watts: float, alone: str = "") -> None:
        """Healthy, every rack connected, and this power flowing. `alone`: see `_well`."""
        await self.recover(alone)
        end = time.monotonic() + CONNECT_S
        if not self._connected():
            # A rack at rest may not join racks whose voltage is down under load.
            await self.ask("SetActivePower", 0.0)
        while not self._connected():
            answer = await self.ask("Connect")
            # A trip while connecting has its reset coming, too; otherwise a whole campaign would wait here.
            if "blocked" in answer.reason or self.mode() in (SiteMode.TRIPPED, SiteMode.LOCKED_OUT):
                self.again.append(self.situation())
                await self.recover(alone)
            if time.monotonic() > end:
                raise RigError(f"not every rack connects: {answer.reason}; {self.situation()}")
            for _ in range(20):
                await asyncio.sleep(LOOK_S)
                if self.mode() is SiteMode.ONLINE:
                    break
        answer = await self.ask("SetActivePower", float(watts))
        if not answer.accepted:
            raise RigError(f"power refused: {answer.reason}")
        allowed = POWER_RATIO * self.site.config.dispatch.rated_power
        await self.until(lambda: abs(self.truth()["power_w"] - watts) < allowed, f"{watts / 1000:.0f} kW", POWER_S)
        await self.quiet(alone)

    def _connected(self) -> bool:
        return self.mode() is SiteMode.ONLINE and all(r["main_closed"] for r in self.truth()["racks"])

    async def recover(self, alone: str = "") -> None:
        """No cause is left, no latch, nothing to acknowledge except what only connecting cures."""
        self.plant_client.do("clear")
        end = time.monotonic() + RECOVER_S
        while not self._well(alone, ROW_THAT_NEEDS_CONNECT):
            answer = await self.ask("ResetTrips")
            if "engineer" in answer.reason:
                await self._maintain()
            await self.ask("AcknowledgeAlarm", ua.Variant(-1, ua.VariantType.Int32))
            if time.monotonic() > end:
                raise RigError(f"it does not recover: {answer.reason}; {self.situation()}")
            await asyncio.sleep(LOOK_S * 3)

    async def quiet(self, alone: str = "") -> None:
        """No alarm in any state but normal, where it matters."""
        end = time.monotonic() + RECOVER_S
        while not self._well(alone):
            await self.ask("AcknowledgeAlarm", ua.Variant(-1, ua.VariantType.Int32))
            if time.monotonic() > end:
                raise RigError(f"alarms stay: {self.situation()}")
            await asyncio.sleep(LOOK_S * 3)

    async def balanced(self) -> None:
        """Racks have ended charging one another. A rack that must stop opens without load, so it would wait for
        what still flows between the racks after the last one joined."""
        most = BALANCED_RATIO * self.site.program.sequences.settings.open_current_a
        bank = self.site.topology.rack_bank.tolist()

        def even() -> bool:
            return balancing_a(self.truth()["racks"], bank) < most

        await self.until(even, f"balance within {most:.1f} A", BALANCE_S, BALANCE_LOOK_S)

    async def rested(self, row: str) -> None:
        """The row's delay is whole again: what an earlier trial used up is given back at a quarter of its speed."""
        slots = [s.index for s in self.site.program.matrix.slots if s.row.id == row]
        memory = self.files.reader("memory")

        def whole() -> bool:
            found = memory.read_again()
            return found is not None and not found.protection.timer_ms[slots].any()

        await self.until(whole, f"the rest of {row}", RECOVER_S)

    def _well(self, alone: str = "", except_row: str = "") -> bool:
        """Nothing acts and no alarm is left. With `alone`, the only rack that the next trial touches, the echo of a
        fault at another rack may still fade as long as it neither opens nor blocks anything."""
        image = self.image()
        if image is None or image.modes.site_mode not in (SiteMode.STANDBY, SiteMode.CONNECTING, SiteMode.ONLINE):
            return False
        slots = self.site.program.matrix.slots
        odd = np.flatnonzero(image.trips.slot_active | (image.alarms.alarm_state != AlarmState.NORMAL))
        return image.measured.bad_values == 0 and all(
            slots[i].row.id == except_row or _fades_elsewhere(slots[i], alone) for i in odd
        )

    async def _maintain(self) -> None:
        """The way out of a lock-out: open everything, an engineer in MAINTENANCE resets, and leaves."""
        safe = (SiteMode.STANDBY, SiteMode.TRIPPED, SiteMode.LOCKED_OUT, SiteMode.MAINTENANCE)
        await self.ask("Disconnect")
        await self.until(lambda: self.mode() in safe, "a mode to maintain in", RECOVER_S)
        await self.engineer("EnterMaintenance")
        await self.until(lambda: self.mode() is SiteMode.MAINTENANCE, "MAINTENANCE", RECOVER_S)
        end = time.monotonic() + RECOVER_S
        while (answer := await self.engineer("ResetTrips")).reason != "nothing to reset":
            if time.monotonic() > end:
                raise RigError(f"an engineer in MAINTENANCE cannot reset: {answer.reason}")
            await asyncio.sleep(LOOK_S * 3)
        await self.engineer("LeaveMaintenance")
        await self.until(lambda: self.mode() is not SiteMode.MAINTENANCE, "the end of MAINTENANCE", RECOVER_S)


def _fades_elsewhere(slot: Slot, alone: str) -> bool:
    """The row only warns or reduces, and its place is another rack than `alone`."""
    harmless = not (slot.row.effect | slot.row.bank_effect) & ~(Effect.ALARM | Effect.DERATE)
    return bool(alone) and harmless and slot.row.place in ("rack", "module") and not slot.place.startswith(alone)
