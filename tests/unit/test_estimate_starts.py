"""How an estimate begins and what it refuses: broken sensors, voltages that come late, wrong beliefs, single spikes."""

from __future__ import annotations

import numpy as np
import pytest

from controller.core.signal import Floats
from controller.core.topology import Topology
from tests.estimate_rig import CAPACITY_AH, GRID, sheet
from tools.score import estimate, screen
from tools.score.bench import Rig, sheet_of

R0 = float(sheet()["r0"])


def ocv(soc: float) -> float:
    return float(np.interp(soc, GRID, sheet()["ocv_mid_v"]))


def string(cells: int, soc: float = 0.5, sigma: float = 0.3, chemistry: str = "lfp-280") -> Rig:
    made = Rig(Topology.regular(1, 1, cells, 1), sheet_of(sheet(chemistry)))
    made.begin(np.full(1, soc), sigma)
    return made


def feed(rig: Rig, rows: int, current: float, volts: Floats, step_ms: int = 1000) -> None:
    for _ in range(rows):
        rig.step(np.full(1, current), volts.reshape(1, 1, -1), np.full(1, 25.0), step_ms)


def test_a_cell_that_was_never_measured_does_not_hold_up_its_string() -> None:
    rig, volts = string(8), np.full(8, ocv(0.3))
    volts[3] = np.nan
    feed(rig, 30, 0.0, volts)
    assert not rig.memory.rack_known[0], "the others may still come"
    feed(rig, 60, 0.0, volts)
    assert rig.memory.rack_known[0]
    variance = rig.memory.cell_variance[0, 0]
    assert variance[3] == variance.max() and variance[3] > variance[2]


def test_less_than_half_of_the_cells_tell_nothing() -> None:
    rig, volts = string(8), np.full(8, np.nan)
    volts[:3] = ocv(0.3)
    feed(rig, 300, 0.0, volts)
    assert not rig.memory.rack_known[0]


def test_voltages_that_come_late_find_the_load_that_was_there_before() -> None:
    """A minute of 0.5C without voltages has built up RC voltages; the first voltage is not taken for a lower SOC."""
    load, soc = 0.5 * CAPACITY_AH, 0.12
    errors = []
    for wait in (0, 90):
        rig = string(1, sigma=0.2)
        feed(rig, wait, load, np.full(1, np.nan))
        gone = load * wait / 3600 / CAPACITY_AH
        rc = 0.7 * R0 * (1 - np.exp(-wait / 30.0)) + 1.5 * R0 * (1 - np.exp(-wait / 1500.0))
        feed(rig, 1, load, np.full(1, ocv(soc - gone) - load * (R0 + rc)))
        errors.append(abs(float(rig.memory.cell_charge_ratio[0, 0, 0]) - (soc - gone)))
    assert errors[1] < errors[0] + 0.003


def test_one_wrong_belief_does_not_outweigh_every_voltage() -> None:
    rig = string(1, soc=0.0, sigma=0.01, chemistry="nmc-94")
    volts = float(rig.estimator.model.ocv(np.array(0.7)))
    feed(rig, 60, 0.0, np.full(1, volts))
    assert float(rig.memory.cell_charge_ratio[0, 0, 0]) == pytest.approx(0.7, abs=0.05)


def test_one_spike_at_rest_is_not_a_full_battery() -> None:
    rig, calm = string(1, soc=0.8, sigma=0.1), np.full(1, ocv(0.8))
    feed(rig, 95, 0.0, calm)
    before = float(rig.memory.cell_charge_ratio[0, 0, 0])
    for _ in range(30):
        feed(rig, 1, 0.0, calm + 0.5)
        feed(rig, 6, 0.0, calm)
    assert float(rig.memory.cell_charge_ratio[0, 0, 0]) == pytest.approx(before, abs=0.05)


def test_a_string_one_percent_below_full_is_not_told_to_be_full() -> None:
    """8 mV are 0.4 % at this slope: a sensor that reads so much high makes 99 % look full, but no fuller than that."""
    rig = string(1, soc=0.8, sigma=0.2, chemistry="nmc-94")
    feed(rig, 600, 0.0, rig.estimator.model.ocv(np.full(1, 0.99)) + 0.008)
    soc, sigma = float(rig.memory.cell_charge_ratio[0, 0, 0]), float(np.sqrt(rig.memory.cell_variance[0, 0, 0]))
    assert soc == pytest.approx(0.994, abs=0.002)
    assert abs(soc - 0.99) < 2 * sigma


def test_a_full_lfp_string_that_relaxed_below_its_steep_top_is_full() -> None:
    rig = string(1, soc=0.8, sigma=0.2)
    feed(rig, 600, 0.0, rig.estimator.model.ocv(np.full(1, 0.994)))
    assert float(rig.memory.cell_charge_ratio[0, 0, 0]) == pytest.approx(1.0, abs=0.003)


def test_the_same_voltage_heard_again_teaches_nothing() -> None:
    """Beside the upper knee the first voltage is told by the knee; the flat curve there once turned this around."""
    fit = {"r1": 2e-4, "tau1": 40.0, "r2": 3e-4, "tau2": 1200.0, "hyst_half_v": np.full(len(GRID), 0.012), "ms": 1.0}
    rig = Rig(Topology.regular(1, 1, 1, 1), sheet_of({**sheet(), **fit}))
    rig.begin(np.full(1, 0.76), 0.2)
    volts = rig.estimator.model.ocv(np.full(1, 0.96)) + 0.012
    feed(rig, 1, 0.0, volts)
    first = float(rig.memory.cell_charge_ratio[0, 0, 0])
    feed(rig, 900, 0.0, volts)
    assert float(rig.memory.cell_charge_ratio[0, 0, 0]) == pytest.approx(first, abs=0.01)


def test_a_load_that_moves_between_scans_is_counted_with_more_doubt() -> None:
    """Five minutes of a load that turns every scan: seen every 10 s most of it is guessed, every second hardly."""
    sigmas = []
    for step_ms, swing in ((10_000, 0.0), (10_000, 1.0), (1_000, 1.0)):
        rig = string(1, sigma=0.005)
        for k in range(300_000 // step_ms):
            load = swing * CAPACITY_AH * (1.0 if k % 2 else -1.0)
            feed(rig, 1, load, np.full(1, ocv(0.5) - R0 * load), step_ms)
        sigmas.append(float(np.sqrt(rig.memory.string["p"][0, 0, 0])))
    assert sigmas[1] > sigmas[0] + 0.002
    assert sigmas[1] > sigmas[2] + 0.002


def test_a_current_that_no_voltage_answers_did_not_flow_but_one_that_stays_did() -> None:
    """Ten lone readings of 5C in ten minutes are the sensor's; a load that comes and stays is counted at once."""
    told = []
    for lone in (False, True):
        rig, true = string(8, soc=0.6, sigma=0.01), 0.6
        for k in range(600):
            load = 0.5 * CAPACITY_AH if k % 120 >= 60 else 0.0
            true -= load / 3600 / CAPACITY_AH
            shown = load + (5.0 * CAPACITY_AH if lone and k % 60 == 30 else 0.0)
            feed(rig, 1, shown, np.full(8, ocv(true) - 1.5 * R0 * load))
        told.append(rig.memory.cell_charge_ratio[0, 0, 0] - true)
    assert abs(told[1] - told[0]) < 0.001, "counted they would be 1.4 %"


def test_a_load_beside_voltages_that_stand_still_is_missed_for_one_sample_only() -> None:
    rig = string(8, soc=0.6, sigma=0.01)
    feed(rig, 60, 0.0, np.full(8, ocv(0.6)))
    before = rig.memory.cell_charge_ratio[0, 0, 0]
    feed(rig, 60, CAPACITY_AH, np.full(8, ocv(0.6)))
    assert before - rig.memory.cell_charge_ratio[0, 0, 0] == pytest.approx(59 / 3600, abs=0.001)


def test_plain_lists_and_single_numbers_will_do() -> None:
    rows = 30
    given = {**sheet(), "soc_grid": GRID.tolist(), "hyst_half_v": 0.004, "h0": [0.5, -0.5], "s0": [0.0, 0.2]}
    soc, sigma = estimate([[1.0] * rows] * 2, [[ocv(0.4)] * rows] * 2, [25.0] * rows, 1.0, [0.4, 0.4], given)
    assert soc.shape == sigma.shape == (2, rows)
    assert np.isfinite(soc).all() and (sigma > 0).all()
    assert screen([], [], np.zeros((0, 4)), np.zeros((0, 2)), given) == []


def test_arguments_that_do_not_belong_together_are_named() -> None:
    i, v, warm, start = np.zeros((2, 9)), np.full((2, 9), 3.3), np.full(9, 25.0), np.full(2, 0.5)
    sizes: tuple[tuple[Floats, Floats, float, Floats, str], ...] = (
        (i, v[:, :8], 1.0, start, r"v has the shape \(2, 8\); \(2, 9\) is wanted"),
        (i[0], v[0], 1.0, start, r"i has the shape \(9,\); \(any, any\) is wanted"),
        (i, v, 1.0, np.full(3, 0.5), r"z0 has the shape \(3,\); \(2\) is wanted"),
        (i, v, 0.0, start, r"dt is 0.0 s; more than 0"),
    )
    for current, voltage, dt_s, z0, told in sizes:
        with pytest.raises(ValueError, match=told):
            estimate(current, voltage, warm, dt_s, z0, sheet())
    time_s, cells = np.arange(9.0), np.full((9, 4), 3.3)
    for current, voltage, told in (
        (i[0], cells.T, r"voltage_v has the shape \(4, 9\); \(9, any\) is wanted"),
        (i[0, :8], cells, r"current_a has the shape \(8,\); \(9\) is wanted"),
    ):
        with pytest.raises(ValueError, match=told):
            screen(time_s, current, voltage, cells, sheet())
    assert screen(time_s, i[0], cells, np.full(9, 25.0), sheet()) == [], "one sensor may be given without its axis"


def test_a_charge_that_ends_short_of_full_is_not_full_though_its_branch_lifts_it() -> None:
    """A gentle top, and half a gap of 30 mV: 1 % below full rests on the charge branch as high as full between them."""
    volts = np.interp(GRID, [0.0, 0.1, 0.95, 0.97, 1.0], [2.6, 3.2, 3.33, 3.40, 3.56])
    told = {
        **sheet(), "ocv_mid_v": volts, "hyst_half_v": np.full(201, 0.03), "ms": 1.0, "gamma": 30.0,
        "r1": R0, "tau1": 30.0, "r2": R0, "tau2": 600.0,
    }  # fmt: skip
    rows, dt = 420, 10.0
    for full in (0.99, 1.0):
        i = np.where(np.arange(rows) < 240, -(full - 0.75) / (2400 / 3600) * CAPACITY_AH, 0.0)
        soc = 0.75 - np.cumsum(i) * dt / 3600 / CAPACITY_AH
        branch = 0.03 * (1 - np.exp(-30.0 * (soc - 0.75)))
        after = np.maximum(np.arange(rows) - 240, 0) * dt
        rc = R0 * i[0] * np.where(i < 0, 1.9, np.exp(-after / 30.0) + 0.9 * np.exp(-after / 600.0))
        v = np.interp(soc, GRID, volts) + branch - R0 * i - np.where(np.arange(rows) < 3, 0.0, rc)
        found, sigma = estimate([i], [v], 25.0, dt, [0.75], {**told, "s0": 0.02})
        assert abs(found[0, -1] - full) < 0.004, full
        assert abs(found[0, -1] - full) < 2 * sigma[0, -1]
