"""The supervisor: rack power. Starts, watches and restarts the processes of a site, and stops them in order."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from controller.app import lock
from controller.app.child import TICKS_PER_S, Child, memory_limit_mb, process_usage
from controller.app.journal import Journal
from controller.app.notify import Watchdog
from controller.app.process import monotonic_ms, utc_ms
from controller.core.command import Command, Kind, Origin, Role
from controller.core.event import Event, What
from controller.core.image import ProcessImage, RetainedState, SiteMode
from controller.core.retained import Retained, lost, retain
from controller.core.signal import seen_on
from controller.core.topology import place_name
from controller.historian import identity
from controller.historian.restore import Loaded, load
from controller.historian.retained import Catalog
from controller.image.files import PROCESSES, SiteFiles
from controller.image.status import SupervisorStatus
from plc_config.compile import Compiled

LOOK_EVERY_S: Final = 0.05
USAGE_EVERY_MS: Final = 1000
STOP_PATIENCE_MS: Final = 60_000
TOKEN_FRESH_MS: Final = 1000
READY_PATIENCE_MS: Final = 60_000
COMMAND_LIFE_MS: Final = 2000
RUNNING_MODES: Final = (SiteMode.CONNECTING, SiteMode.ONLINE, SiteMode.STOPPING)
PATIENCE_MS: Final = {"scan": 2000, "io": 3000, "opcua": 15_000, "store": 15_000}
GRACE_MS: Final = {"scan": 15_000, "io": 15_000, "opcua": 120_000, "store": 30_000}
START_ORDER: Final = ("store", "io", "scan", "opcua")
STOP_ORDER: Final = ("scan", "io", "opcua", "store")


@dataclasses.dataclass(frozen=True)
class Options:
    """How a run was asked for."""

    seconds: float | None = None
    demo: bool = False
    journal: Callable[[str], None] | None = None
    capture: Path | None = None


class Supervisor:
    """One running site. `lock.AlreadyRunning` when another one runs."""

    def __init__(self, site: Compiled, run: Path, state: Path, options: Options) -> None:
        self.site, self.run_folder, self.state_folder, self.options = site, run, state, options
        self.advice: list[str] = []
        self.lock_fd = lock.take(run / "supervisor.lock")
        lock.free(run / "io.lock")
        self.files = SiteFiles(run, site.dims)
        self._fresh_files()
        self.events = self.files.event_writer("supervisor")
        self.journal = Journal(self.files, options.journal) if options.journal else None
        self.commands = self.files.command_writer("supervisor")
        self.status = self.files.writer("status.supervisor")
        self.process_reader = self.files.reader("process")
        self.image: ProcessImage | None = None
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.children = {name: self._child(name) for name in START_ORDER}
        self.stopping: list[int] = []
        self.left_closed: list[str] = []
        self.refused: dict[str, int] = {}
        self.started_ms = monotonic_ms()
        self.command_id = self.started_ms << 16
        self.cpu_percent, self.rss_mb = np.zeros(len(PROCESSES)), np.zeros(len(PROCESSES))
        self.own_ticks = 0
        self.usage_ms = self.started_ms
        self.watchdog = Watchdog()
        self.measured_s = 0.0
        self.measured_ticks: dict[str, int] = {}

    # -- start ---------------------------------------------------------------------------------------------

    def _fresh_files(self) -> None:
        """New images and rings; the retained image is merged from itself, the database and the slots."""
        for path in [*self.run_folder.glob("*.image"), *self.run_folder.glob("*.ring")]:
            if path.name != "retained.image":
                path.unlink()
        self.files.create()
        layout = self.files.layouts["retained"]
        image = self.files.reader("retained").read()
        program = self.site.program
        names = Catalog.of(program).names
        merged = load(self.state_folder, layout, program.matrix.digest, image, names)
        self.problems = merged.problems
        self.files.writer("retained").write(self._retained(merged))

    def _retained(self, merged: Loaded) -> Retained:
        """What the scan starts from: what is known, a blank memory for a new site, or one that locks it out."""
        kept = merged.retained
        traces = identity.traces(self.state_folder)
        if kept is not None:
            doubt = int(RetainedState.DOUBTFUL) if merged.doubtful else int(RetainedState.GOOD)
            kept = dataclasses.replace(kept, retained_state=max(kept.retained_state, doubt))
        else:
            program = self.site.program
            memory = lost(program.blank_memory()) if traces else program.blank_memory()
            kept = retain(memory, 0, utc_ms(), program.matrix.digest)
            self.problems = [*merged.problems, f"locked out: {', '.join(traces[:4])} say that it ran before"]
            if not traces:
                self.problems = ["first start of this site in this state folder", *self._left_behind()]
        self.problems += self._oddities(kept)
        try:
            identity.begin(self.state_folder, self.site.config.site.id, utc_ms(), self.site.path)
        except OSError as error:
            self.problems.append(f"{identity.FILE} cannot be written: {error.strerror}")
        return kept

    def _left_behind(self) -> list[str]:
        """What the site of another id has kept that ran from this site file; `advice` says how to go on with it."""
        folder, site_id = self.state_folder, self.site.config.site.id
        left = identity.left_by(folder, site_id, self.site.path)
        self.advice = [
            f"site {old.name} ran from this site file before. Its latches, counters and passwords stay in {old};\n"
            f"{site_id} begins without them. To go on with them, stop, "
            f"then: mv {folder} {folder}.new; mv {old} {folder}"
            for old in left
        ]
        return [
            f"site {old.name} ran from this site file: its latches and passwords are not in force here" for old in left
        ]

    def _oddities(self, kept: Retained) -> list[str]:
        """What a person should know of the folder and the clock; neither keeps the site from starting."""
        found = []
        other = identity.stranger(self.state_folder, self.site.config.site.id)
        if other:
            found.append(f"this state folder is site {other}'s: its latches, counters and passwords are in force here")
        if utc_ms() < kept.utc_ms:
            when = datetime.fromtimestamp(kept.utc_ms / 1000, UTC)
            found.append(f"this machine's clock was set back: the last scan was at {when:%Y-%m-%d %H:%M:%S} UTC")
        return found

    def _child(self, name: str) -> Child:
        arguments = [str(self.site.path), "--run", str(self.run_folder)]
        if name in ("scan", "opcua", "store"):
            arguments += ["--state", str(self.state_folder)]
        if name in ("scan", "io"):
            arguments += ["--wake-fd", str(self.wake_fd)]
        if name == "opcua" and self.options.demo:
            arguments.append("--demo")
        if name == "io" and self.options.capture is not None:
            arguments += ["--capture", str(self.options.capture)]
        fds = (self.wake_fd,) if name in ("scan", "io") else ()
        reader = self.files.reader(f"status.{name}")
        most_mb = memory_limit_mb(int(self.site.topology.cell_fitted.sum()))
        return Child(name, arguments, reader, PATIENCE_MS[name], GRACE_MS[name], most_mb, fds)

    def note(self, text: str) -> None:
        """A SYSTEM event of the supervisor."""
        record = Event(What.SYSTEM, place="supervisor", text=text).record(0, monotonic_ms(), utc_ms())
        self.events.put(record)

    # -- run -----------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Runs until a signal or the asked-for time; returns the exit code. Contactors are told to open before it
        ends; those that are seen closed all the same are in `left_closed`."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda n, _frame: self.stopping.append(n))
        for problem in self.problems:
            self.note(problem)
        for name in START_ORDER:
            self.children[name].start()
        end = None if self.options.seconds is None else self._online_ms() + int(self.options.seconds * 1000)
        code = 0
        begin = time.monotonic()
        for child in self.children.values():
            child.usage()
            child.cpu_total_ticks = 0
        while not self.stopping and (end is None or monotonic_ms() < end):
            code = self._watch()
            if code:
                break
            time.sleep(LOOK_EVERY_S)
        self._measure(monotonic_ms())
        self.measured_s = time.monotonic() - begin
        self.measured_ticks = {name: child.cpu_total_ticks for name, child in self.children.items()}
        self._stop()
        return code

    def _online_ms(self) -> int:
        """The run's time counts from when it scans and serves, or from when patience ends."""
        patience = monotonic_ms() + READY_PATIENCE_MS
        opcua = self.children["opcua"].status
        while not self.stopping and monotonic_ms() < patience:
            serving = opcua.read_again()
            if self.children["scan"].alive_ms() and serving is not None and serving.listening:
                break
            if self._watch():
                break
            time.sleep(LOOK_EVERY_S)
        return monotonic_ms()

    def _watch(self) -> int:
        """Look after every child; a child that refuses its configuration or port ends the run with its code."""
        now = monotonic_ms()
        for child in self.children.values():
            what = child.look(now)
            if what:
                self.note(what)
            if child.first_exit in (75, 78) and child.alive_ms() == 0 and child.name not in self.refused:
                self.note(f"{child.name} refused to start")
                self.refused[child.name] = child.first_exit
        self.image = self.process_reader.read() or self.image
        if self.journal is not None:
            self.journal.follow()
        fresh = all(now - self.children[n].alive_ms() < TOKEN_FRESH_MS for n in ("scan", "io"))
        self.watchdog.kick(fresh)
        if now - self.usage_ms >= USAGE_EVERY_MS:
            self._measure(now)
        return next(iter(self.refused.values()), 0)

    def _measure(self, now: int) -> None:
        # Stopping measures once more, perhaps within the same millisecond.
        seconds = max(now - self.usage_ms, 1) / 1000
        self.usage_ms = now
        own, rss = process_usage(os.getpid())
        used = {"supervisor": (own - self.own_ticks, rss)}
        self.own_ticks = own
        used |= {name: child.usage() for name, child in self.children.items()}
        for i, name in enumerate(PROCESSES):
            ticks, rss = used[name]
            self.cpu_percent[i] = 100.0 * ticks / TICKS_PER_S / seconds
            self.rss_mb[i] = rss
        self.status.write(
            SupervisorStatus(
                now,
                self.started_ms,
                self._per_process(lambda c: c.pid, os.getpid()),
                self._per_process(lambda c: c.restarts, 0),
                self.cpu_percent,
                self.rss_mb,
                self.watchdog.kicks,
            )
        )

    def _per_process(self, what: Any, own: int) -> Any:
        return np.array([what(self.children[n]) if n in self.children else own for n in PROCESSES], np.int64)

    # -- stop ----------------------------------------------------------------------------------------------

    def command(self, kind: Kind, text: str) -> None:
        """A command of the supervisor, judged in the scan like any other."""
        now = monotonic_ms()
        self.command_id += 1
        self.commands.put(
            Command(
                self.command_id, kind, Origin.SUPERVISOR, Role.SYSTEM, now, now + COMMAND_LIFE_MS, user="supervisor",
                text=text,
            ).record()
        )  # fmt: skip

    def _stop(self) -> None:
        """Power to zero, contactors open, then every process in turn; a scan that is gone is not waited for."""
        self.command(Kind.STOP, "orderly stop")
        end = monotonic_ms() + STOP_PATIENCE_MS
        asked = monotonic_ms()
        while monotonic_ms() < end and self.children["scan"].pid:
            self._watch()
            image = self.image
            newer = image is not None and image.system.now_ms > asked + COMMAND_LIFE_MS // 4
            if newer and image is not None and SiteMode(image.modes.site_mode) not in RUNNING_MODES:
                break
            time.sleep(LOOK_EVERY_S)
        self.left_closed = seen_closed(self.image) if self.image and self.image.system.now_ms > asked else []
        if self.left_closed:
            self.note(f"stopped, and contactors are seen closed: {', '.join(self.left_closed)}")
        self._measure(monotonic_ms())
        for name in STOP_ORDER:
            self.children[name].stop()
        if self.journal is not None:
            self.journal.follow()
        os.close(self.wake_fd)
        os.close(self.lock_fd)


def seen_closed(image: ProcessImage) -> list[str]:
    """Racks of which a contactor is seen closed."""
    p = image.measured.points
    shut = seen_on(p.rack_main_closed) | seen_on(p.rack_precharge_closed)
    return [place_name(("rack",), (int(r),)) for r in np.flatnonzero(shut)]
