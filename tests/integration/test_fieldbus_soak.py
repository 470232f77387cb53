"""Every fault at random on every bus at once, by seed: never a wrong value, no stall, no leak, recovery at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.field_rig import RACK_UNIT, Rig
from tests.hostile import Fault

KINDS = (
    "timeout", "late", "duplicate", "truncated", "garbage", "garbage_before", "wrong_unit", "wrong_function",
    "one_less", "one_more", "wrong_count", "exception", "close", "reset", "executed", "pieces", "wrong_protocol",
    "wrong_tid", "zero_tid", "crc", "bit_error",
)  # fmt: skip
TCP_ONLY = ("wrong_protocol", "wrong_tid", "zero_tid", "close", "reset")
RTU_ONLY = ("crc", "bit_error")
UNITS = (1, 2, 3, 4, RACK_UNIT)
SECONDS = 4.0


async def soak(folder: Path, seed: int, seconds: float) -> None:
    """One run; the seed decides everything but the timing."""
    random = Random(seed)
    async with Rig(folder) as rig:
        await rig.healthy()
        first, end_s = len(rig.images), rig.clock() + seconds
        while rig.clock() < end_s:
            bus = random.choice(tuple(rig.servers))
            kind = random.choice([k for k in KINDS if k not in (RTU_ONLY if bus != "LINE1" else TCP_ONLY)])
            units = frozenset({random.choice(UNITS if bus in ("GW01", "LINE1") else (1,))})
            number = random.choice((1, 2, 4, 5, 6, 10, 11)) if kind == "exception" else random.uniform(0.04, 0.3)
            rig.servers[bus].faults.append(Fault(kind, units, random.randint(1, 4), number))
            if random.random() < 0.1:
                rig.servers[bus].dead = {random.choice(UNITS)} if random.random() < 0.5 else set()
            await asyncio.sleep(random.uniform(0.0, 0.1))
        for server in rig.servers.values():
            server.faults.clear()
            server.dead = set()
        await rig.healthy(120)
        await rig.until(lambda: all(b.up for b in rig.driver.buses), "every bus up")
        assert rig.wrong == []
        expected = seconds * 1000 / rig.compiled.plan.cycle_ms
        assert len(rig.images) - first >= 0.8 * expected, "an image in every cycle, whatever happens"
        assert all(len(s.connections) <= 1 for n, s in rig.servers.items() if n != "LINE1")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_random_faults_on_asyncio(tmp_path: Path, seed: int) -> None:
    await soak(tmp_path, seed, SECONDS)


@pytest.mark.slow
def test_random_faults_on_uvloop(tmp_path: Path) -> None:
    loop: Callable[[], asyncio.AbstractEventLoop] = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(soak(tmp_path, 3, SECONDS))
