"""A supervised process that grows is told, ended before the machine has no memory left, and started again."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.app.child import TOLD_AT, Child, memory_limit_mb
from controller.app.process import monotonic_ms
from controller.app.supervisor import START_ORDER, Options, Supervisor
from controller.image.folder import run_folder, state_folder
from controller.image.slots import SlotReader
from plc_config.compile import compile_site
from tests.story import Story
from tools.bench.budget import BUDGETS

MOST_MB = 200.0
HOLD = "import os, signal\nblock = bytearray(b'1' * {bytes})\nos.write({fd}, b'!')\nsignal.pause()"


class AliveAlways:
    """The sign of life of a process that is well."""

    def read_again(self) -> Any:
        return SimpleNamespace(alive_ms=monotonic_ms())


@dataclasses.dataclass
class Holder(Child):
    """Runs a real process that holds `holds_mb` and says so once it does."""

    holds_mb: int = 0

    def command(self) -> list[str]:
        return [sys.executable, "-c", HOLD.format(bytes=self.holds_mb * 1_000_000, fd=self.pass_fds[0])]

    def hold(self, megabytes: int) -> None:
        self.holds_mb = megabytes
        self.start()


@pytest.fixture
def said() -> Iterator[tuple[int, int]]:
    """Both ends of the pipe through which the process says that it has its memory."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def holder(said: tuple[int, int]) -> Iterator[Holder]:
    child = Holder("store", [], cast("SlotReader[Any]", AliveAlways()), 15_000, 30_000, MOST_MB, (said[1],))
    yield child
    child.stop()


def measured(child: Child, said: tuple[int, int]) -> str:
    """What the supervisor says after the next slow round."""
    assert os.read(said[0], 1) == b"!"
    child.usage()
    return child.look(monotonic_ms())


def test_a_process_that_needs_little_is_left_alone(holder: Holder, said: tuple[int, int]) -> None:
    holder.hold(0)
    pid = holder.pid
    assert measured(holder, said) == "" and holder.pid == pid > 0
    assert 1.0 < holder.rss_mb < TOLD_AT * MOST_MB


def test_at_half_of_its_limit_it_is_told_once_and_runs_on(holder: Holder, said: tuple[int, int]) -> None:
    holder.hold(120)
    words = measured(holder, said)
    assert words.startswith("store has grown to 1") and words.endswith("MB; above 200 MB it is restarted")
    assert holder.look(monotonic_ms()) == "" and holder.pid


def test_above_its_limit_it_is_killed_and_started_again_after_the_back_off(
    holder: Holder, said: tuple[int, int]
) -> None:
    holder.hold(250)
    grown = holder.process
    words = measured(holder, said)
    assert grown is not None and grown.poll() == -signal.SIGKILL
    assert words.startswith("store grew to 2") and "more than 200 MB, and was killed; restart in 200 ms" in words
    assert holder.pid == 0 and holder.first_exit is None, "it has not refused its configuration"
    assert holder.look(holder.next_start_ms - 1) == ""
    holder.holds_mb = 0
    assert holder.look(holder.next_start_ms) == "store restarted"
    assert holder.look(monotonic_ms()) == "", "what the one before it had does not count"
    assert holder.restarts == 1 and measured(holder, said) == "" and holder.pid


def test_one_that_grows_again_and_again_waits_longer_each_time(holder: Holder) -> None:
    waits = []
    for _ in range(7):
        holder.hold(0)
        holder.rss_mb = MOST_MB + 1.0
        now = holder.started_ms
        holder.look(now)
        waits.append(holder.next_start_ms - now)
    assert waits == [200, 400, 800, 1600, 3200, 5000, 5000]


def test_every_process_of_a_site_has_the_limit_of_its_size() -> None:
    site = compile_site("bench")
    supervisor = Supervisor(site, run_folder("bench"), state_folder("bench"), Options())
    os.close(supervisor.lock_fd)
    os.close(supervisor.wake_fd)
    assert {n: c.most_mb for n, c in supervisor.children.items()} == dict.fromkeys(START_ORDER, memory_limit_mb(128))


def test_a_child_that_refuses_to_start_is_told_once_and_the_others_are_watched_on() -> None:
    """Ending takes a while: without the image nobody would know when everything is open."""
    story = Story("bench")
    supervisor = Supervisor(story.site, run_folder("bench"), state_folder("bench"), Options())
    told = supervisor.events
    before = told.written
    for child in supervisor.children.values():
        child.next_start_ms = monotonic_ms() + 600_000
    supervisor.children["io"].first_exit = 75
    assert [supervisor._watch() for _ in range(3)] == [75, 75, 75]
    assert told.written == before + 1
    supervisor.files.writer("process").write(story.scans())
    supervisor._watch()
    assert supervisor.image is not None
    os.close(supervisor.lock_fd)
    os.close(supervisor.wake_fd)


@pytest.mark.parametrize("site", list(BUDGETS))
def test_one_process_alone_may_have_more_than_the_budget_of_all_together(site: str) -> None:
    cells = int(compile_site(site).topology.cell_fitted.sum())
    assert memory_limit_mb(cells) > BUDGETS[site]["memory"]
