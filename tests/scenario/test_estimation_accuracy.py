"""How far the estimates are from the truth: on data sets where they are present, else on a string made here."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from controller.core.topology import Topology
from tests.estimate_rig import duty, sheet, string
from tools.score import estimate, screen
from tools.score.bench import Rig, sheet_of
from tools.score.fleet import Fleet, Plan
from tools.score.scenario import SCENARIOS, run, sensors
from tools.score.sets import GRID, Profile, folder, profiles

CELLS = 10
MADE_S = 20.0
SCORED_H = 32.0
"""Enough of a data set of two days: what counts begins after the first."""
SERIES = ("current_a", "voltage_v", "temperature_degc", "soc")


def made(group: str) -> Profile:
    """A day and a half of grid duty on a single simulated cell, for where no data set is present."""
    current = duty(1.5, MADE_S)
    volts, truth = string(current, MADE_S, 1)
    full = {**sheet(), "hyst_half_v": np.zeros(len(GRID))}
    return Profile(
        f"made for {group}",
        group,
        MADE_S,
        current,
        volts[:, 0],
        np.full(len(current), 25.0),
        truth[:, 0],
        full,
        43_200.0,
    )


def profile(group: str) -> Profile:
    """The first hours of a free data set (simulated with PyBaMM), or the stand-in."""
    data = folder()
    found = next((p for p in profiles(data) if p.group == group), None) if data else None
    if found is None:
        return made(group)
    rows = round(SCORED_H * 3600 / found.dt_s)
    cut = {f.name: getattr(found, f.name)[:rows] for f in dataclasses.fields(Profile) if f.name in SERIES}
    return dataclasses.replace(found, **cut)


@pytest.mark.slow
@pytest.mark.parametrize(("group", "scenario"), [("PyBaMM LFP", "S1F"), ("PyBaMM NMC", "S1")])
def test_ordinary_and_failing_sensors_leave_a_useful_soc(group: str, scenario: str) -> None:
    score = run(profile(group), SCENARIOS[scenario], CELLS, seed=7).score
    assert score.diverged == 0
    assert score.rmse_median < 0.015 and score.rmse_p95 < 0.03
    assert score.coverage > 0.9


def test_an_estimate_never_looks_ahead() -> None:
    p = made("causality")
    i, v, z0 = sensors(p, SCENARIOS["S1"], 3, seed=1)
    early, half = 600, 1200
    whole = estimate(i[:, :half], v[:, :half], p.temperature_degc[:half], p.dt_s, z0, p.sheet)
    part = estimate(i[:, :early], v[:, :early], p.temperature_degc[:early], p.dt_s, z0, p.sheet)
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a[:, :early], b)


def test_the_datasheet_alone_is_enough_to_start() -> None:
    score = run(made("datasheet"), SCENARIOS["S1"], CELLS, seed=3).score
    assert score.diverged == 0
    assert score.rmse_median < 0.02


@pytest.mark.slow
def test_a_leaking_cell_and_a_voltage_sensor_are_told_apart() -> None:
    dt_s, cells = 60.0, 24
    current = duty(4.0, dt_s)
    volts, _ = string(current, dt_s, cells, seed=2, leak_ohm={5: (2160, 10.0)})
    volts[3000:, 11] += 0.014
    warm = 25.0 + np.random.default_rng(4).normal(0, 0.1, volts.shape)
    warm[2600:, 17] += 5.0
    found = screen(np.arange(len(current)) * dt_s, current, volts, warm, sheet())
    kinds = {(f["cell"], f["fault"]): f["t_s"] for f in found}
    assert set(kinds) == {(5, "internal_short"), (11, "voltage_sensor"), (17, "temperature_sensor")}
    assert kinds[5, "internal_short"] - 2160 * dt_s < 30 * 3600


def test_runaway_is_called_within_seconds() -> None:
    rows, cells = 120, 8
    volts, warm = np.full((rows, cells), 3.3), np.full((rows, cells), 30.0)
    warm[100:, 3] += 3.0 * np.arange(20)
    volts[100:, 3] = 2.0
    found = screen(np.arange(rows, dtype=float), np.zeros(rows), volts, warm, sheet())
    first = next(f for f in found if f["fault"] == "runaway")
    assert first["cell"] == 3 and first["t_s"] <= 105


def test_a_cell_that_burns_is_called_nothing_else() -> None:
    """Its voltage falls to a dead 1 V and its sensor saturates: no short, no sensor that stands still, for hours."""
    dt_s, cells, fire = 60.0, 24, 1560
    current = duty(1.3, dt_s)
    volts, _ = string(current, dt_s, cells, seed=2)
    warm = np.round(25.0 + np.random.default_rng(4).normal(0, 0.1, volts.shape), 1)
    after_s = dt_s * np.arange(len(current) - fire)
    warm[fire:, 7] = np.minimum(25.0 + 2.0 * after_s, 150.0)
    volts[fire:, 7] = np.maximum(volts[fire:, 7] - 0.03 * after_s, 1.0)
    found = screen(np.arange(len(current)) * dt_s, current, volts, warm, sheet())
    assert [(f["cell"], f["fault"]) for f in found] == [(7, "runaway")]


def test_a_string_that_does_not_know_how_full_it_is_teaches_its_cells_nothing() -> None:
    """The first full charge of strings that began half full and believed it badly: cells at the knee are 0.2 V away."""
    fleet = Fleet(Plan("LFP", 280.0, 96, 8, 1.0, 30.0, 15.0, "two cycles", 902, faults=False))
    strings, cells = fleet.plan.strings, fleet.plan.cells
    rig = Rig(Topology.regular(strings, 1, cells, 1), sheet_of(fleet.sheet()))
    rig.begin(np.full(strings, 0.5), 0.3)
    for t, current, volts, warm in fleet.rows():
        memory = rig.step(current, volts[:, None, :], warm.mean(1), 30_000)
        if t >= 7 * 3600:
            break
    error = memory.cell_charge_ratio[:, 0] - fleet.soc
    assert np.abs(np.median(error, axis=1)).max() < 0.02, "by now the strings know"
    assert np.abs(error - np.median(error, axis=1, keepdims=True)).max() < 0.04
    assert np.abs(memory.cell_lack_ratio).max() < 0.1
