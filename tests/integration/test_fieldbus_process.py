"""The I/O process from outside: one per site, setpoints zero when it ends, whatever ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.image.files import SiteFiles
from tests.field_rig import Rig

EXIT_DEADLINE_S = 60.0


class Outside(Rig):
    """The rig with the driver in a process of its own."""

    process: asyncio.subprocess.Process
    wake_fd = -1
    through: tuple[str, ...] = ()

    def start_driver(self) -> None:
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.running = asyncio.ensure_future(self._start())

    async def _start(self) -> None:
        self.process = await self.launch()
        await asyncio.Event().wait()

    async def launch(self, folder: Path | None = None) -> asyncio.subprocess.Process:
        """Another I/O process for the same site, with a run folder of its own where one is given."""
        command = ["-m", "controller.app.io_process", str(self.compiled.path), "--run", str(folder or self.folder)]
        command += ["--wake-fd", str(self.wake_fd)]
        return await asyncio.create_subprocess_exec(
            *self.through or (sys.executable,),
            *command,
            pass_fds=(self.wake_fd,),
            stderr=asyncio.subprocess.PIPE,
        )

    def publish(self, **values: Any) -> None:
        super().publish(**values)
        os.eventfd_write(self.wake_fd, 1)

    async def stop_driver(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()
        os.close(self.wake_fd)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder, also for the serial line's name."""
    monkeypatch.setenv("CELLWARDEN_RUN", str(tmp_path))
    return tmp_path


async def running(rig: Outside) -> dict[int, int]:
    """Wait until the setpoint is at the device; its registers."""
    rig.set(pcs_active_power_setpoint_w=np.array([40_000.0]))
    holding: dict[int, int] = rig.servers["PCS"].memory.holding[1]
    await rig.healthy()
    await rig.until(lambda: holding.get(1) == 40_000, "running")
    return holding


@pytest.mark.e2e
async def test_sigterm_zeroes_the_setpoints_and_exits_with_0(folder: Path) -> None:
    async with Outside(folder) as rig:
        holding = await running(rig)
        rig.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(rig.process.wait(), EXIT_DEADLINE_S)
        assert code == 0
        await rig.until(lambda: holding[1] == 0, "zeroed: its last words may still lie in the socket")
        assert rig.wrong == []


@pytest.mark.e2e
async def test_a_second_instance_exits_with_75_and_says_why(folder: Path) -> None:
    async with Outside(folder) as rig:
        await running(rig)
        second = await rig.launch()
        _, said = await asyncio.wait_for(second.communicate(), EXIT_DEADLINE_S)
        assert second.returncode == 75
        assert b"another process drives this site" in said


@pytest.mark.e2e
async def test_a_second_instance_in_another_run_folder_exits_before_it_writes(folder: Path) -> None:
    """Its first outputs would open every contactor under load."""
    other = folder / "other"
    other.mkdir()
    async with Outside(folder) as rig:
        holding = await running(rig)
        SiteFiles(other, rig.compiled.dims).create()
        second = await rig.launch(other)
        _, said = await asyncio.wait_for(second.communicate(), EXIT_DEADLINE_S)
        assert second.returncode == 75
        assert b"is driven by another controller of this machine" in said
        # On a busy machine the first may have silenced it meanwhile; the second would have left it at zero.
        await rig.until(lambda: holding[1] == 40_000, "the first drives on")


@pytest.mark.e2e
async def test_the_death_of_the_parent_zeroes_the_setpoints(folder: Path) -> None:
    rig = Outside(folder)
    # A parent of its own between us and the I/O process, which is then killed.
    script = "import subprocess, sys; p = subprocess.Popen([sys.executable, *sys.argv[1:]], close_fds=False); p.wait()"
    rig.through = (sys.executable, "-c", script)
    async with rig:
        holding = await running(rig)
        rig.process.kill()
        await rig.until(lambda: holding[1] == 0, "zeroed")
        await rig.until(lambda: not rig.servers["PCS"].connections, "closed")


@pytest.mark.e2e
async def test_a_stopped_scan_is_silenced_by_the_process(folder: Path) -> None:
    async with Outside(folder) as rig:
        holding = await running(rig)
        rig.scanning = False
        await rig.until(lambda: holding[1] == 0, "zeroed")
        rig.scanning = True
        await rig.until(lambda: holding[1] == 40_000, "back")


@pytest.mark.e2e
async def test_without_images_it_says_who_should_have_made_them(folder: Path) -> None:
    command = ["-m", "controller.app.io_process", "bench", "--run", str(folder)]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(process.communicate(), EXIT_DEADLINE_S)
    assert process.returncode == 69
    assert b"is the supervisor running?" in said


@pytest.mark.e2e
async def test_a_wrong_site_exits_with_78(folder: Path) -> None:
    command = ["-m", "controller.app.io_process", "no-such-site", "--run", str(folder)]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(process.communicate(), EXIT_DEADLINE_S)
    assert process.returncode == 78
    assert b"no-such-site" in said
