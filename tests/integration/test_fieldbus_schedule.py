"""Rounds end just before the scan, slow blocks use the slack, windows and loops change nothing but speed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from plc_config.library import DATA
from tests.field_rig import Rig
from tests.hostile import Fault, Hostile


def slow_temperatures(folder: Path) -> None:
    """A profile beside the site: temperatures every 300 ms, in a block of their own."""
    (folder / "profiles").mkdir()
    text = (DATA / "profiles" / "cellwarden-module-16.yaml").read_text()
    line = next(x for x in text.splitlines() if "cell_temperature_degc" in x)
    slow = line.replace("}", ", every: 300 ms}")
    (folder / "profiles" / "cellwarden-module-16.yaml").write_text(text.replace(line, slow))


async def test_data_are_fresh_when_the_scan_starts(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        await rig.cycles(30)
        cycle_ms = rig.compiled.plan.cycle_ms
        published = np.array([int(i.links.published_ms) for i in rig.images[-20:]])
        times = np.array([i.points.cell_voltage_v.time_ms.min(axis=(1, 2)) for i in rig.images[-20:]])
        same = times // cycle_ms == published[:, None] // cycle_ms
        assert same.mean(axis=0).min() > 0.5, "all was read in the cycle that the scan ends"
        assert np.median(published % cycle_ms) > cycle_ms / 2, "published in the end of the cycle"
        assert (times[:, 0] > times[:, 1]).mean() > 0.5, "a bus that needs less begins later"


@pytest.mark.parametrize("bus", ["GW01", "LINE1"])
async def test_slow_blocks_keep_their_period_and_fast_ones_do_not_notice(tmp_path: Path, bus: str) -> None:
    slow_temperatures(tmp_path)
    rack = 0 if bus == "GW01" else 1
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        server: Hostile = rig.servers[bus]
        server.memory.reads.clear()
        first = len(rig.images)
        await rig.cycles(40)
        times = np.array([t for t, unit, _, address in server.memory.reads if unit == 2 and address == 16])
        assert 8 <= len(times) <= 15, "40 cycles are 13 periods of three"
        cycles = np.floor(times / rig.compiled.plan.cycle_ms * 1000)
        assert np.diff(cycles).max() <= 7
        assert rig.missed(rack, first) <= 1
        assert rig.wrong == []


async def test_a_window_of_four_reads_the_same_values(tmp_path: Path) -> None:
    def wide(text: str) -> str:
        return text.replace("GW01: {kind: tcp,", "GW01: {kind: tcp, window: 4,")

    async with Rig(tmp_path, wide) as rig:
        await rig.healthy()
        assert rig.compiled.plan.buses[0].window == 4
        faults = [Fault("late", number=0.07, times=2), Fault("timeout", times=3), Fault("duplicate", times=3)]
        rig.servers["GW01"].faults += faults
        await rig.until(lambda: all(f.hits == f.times for f in faults), "hit")
        await rig.healthy()
        await rig.cycles(10)
        assert rig.wrong == []


async def test_no_task_or_timer_is_left_behind(tmp_path: Path) -> None:
    before = len(asyncio.all_tasks())
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        rig.servers["GW01"].faults.append(Fault("reset"))
        await rig.cycles(10)
    assert len(asyncio.all_tasks()) == before


def test_the_same_on_uvloop(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def story() -> None:
        async with Rig(tmp_path) as rig:
            await rig.healthy()
            for bus in ("GW01", "LINE1"):
                rig.servers[bus].faults += [
                    Fault("late", number=0.08),
                    Fault("wrong_unit", times=2),
                    Fault("truncated"),
                    Fault("duplicate", times=2),
                ]
            rig.servers["PCS"].faults.append(Fault("reset"))
            await rig.until(lambda: not any(f.hits < f.times for s in rig.servers.values() for f in s.faults), "hit")
            await rig.healthy()
            assert rig.wrong == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())
