"""The swarm's plant may take long steps: they must lead where the short ones lead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plc_config.compile import compile_site
from tools.simulator.options import STEP_MS, Options
from tools.simulator.plant import Plant
from tools.simulator.simulator import Simulator
from tools.swarm.campaign import Campaign, at_cycle

CYCLE_MS = 1000


def _plant(folder: Path) -> Plant:
    return Simulator(compile_site("bench"), Options(seed=5), folder).plant


def _pass(plant: Plant, long_steps: bool) -> None:
    if long_steps:
        plant.pass_time(CYCLE_MS)
        return
    for _ in range(CYCLE_MS // STEP_MS):
        plant.step()


def _run(plant: Plant, seconds: int, long_steps: bool) -> list[float]:
    powers = []
    for second in range(seconds):
        for rack in range(2):
            plant.command("rack", "heartbeat", (rack,), [float(second + 1)])
            plant.command("rack", "rack_precharge_close", (rack,), [float(second < 8)])
            plant.command("rack", "rack_main_close", (rack,), [float(5 <= second < 170)])
        plant.command("pcs", "heartbeat", (0,), [float(second + 1)])
        plant.command("pcs", "pcs_run", (0,), [float(second >= 10)])
        plant.command("pcs", "pcs_active_power_setpoint_w", (0,), [40e3 if second < 90 else -30e3])
        _pass(plant, long_steps)
        powers.append(plant.power_w())
    return powers


def test_long_steps_lead_where_short_ones_lead(tmp_path: Path) -> None:
    short, long = _plant(tmp_path / "a"), _plant(tmp_path / "b")
    at_start = short.cells.soc.copy()
    assert _run(short, 180, False) == pytest.approx(_run(long, 180, True))
    moved = np.abs(short.cells.soc - at_start).max()
    assert moved > 1e-3
    assert np.abs(short.cells.soc - long.cells.soc).max() < 0.01 * moved
    assert np.abs(short.cell_v - long.cell_v).max() < 2e-3
    assert short.time_ms == long.time_ms == 180_000


def test_a_watchdog_ends_at_the_same_time_in_long_steps(tmp_path: Path) -> None:
    ended = []
    for long_steps in (False, True):
        plant = _plant(tmp_path / str(long_steps))
        _run(plant, 20, long_steps)
        told = []
        for second in range(4):
            seen = plant.events.last
            _pass(plant, long_steps)
            told += [(second, e["event"]) for e in plant.events.since(seen) if "watchdog" in e["event"]]
        ended.append(told)
    assert ended[0] == ended[1]
    assert {name for _, name in ended[0]} == {"rack_watchdog_trip", "pcs_watchdog_trip"}


def test_another_cycle_is_the_same_site_with_another_cycle() -> None:
    site = compile_site("bench")
    slow = at_cycle(site, CYCLE_MS)
    assert (slow.program.cycle_ms, site.program.cycle_ms) == (1000, 100)
    assert at_cycle(site, None) is site


def test_runs_in_two_processes_add_up_to_the_same() -> None:
    totals = []
    for jobs in (1, 2):
        campaign = Campaign("bench", CYCLE_MS, 0.02)
        assert list(campaign.runs([1, 2], jobs)) == [1, 2]
        totals.append(campaign.facts())
    assert totals[0] == totals[1]
    assert totals[0]["scans"] == 144
