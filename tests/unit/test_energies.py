"""Told energy against a cell that is not the estimator's own: the check must see a cell that gives less than told."""

from __future__ import annotations

import numpy as np
import pytest

from controller.core.signal import Floats
from tests.estimate_rig import GRID, sheet
from tools.score.energies import HEAD, Question, ask, table
from tools.score.promises import variants
from tools.score.sets import Profile, folder, loads

TOLD_AH, R0 = 10.0, 4e-3


def recording(current_a: Floats, capacity_ah: float, name: str) -> Profile:
    """A cell of this capacity, called one of 10 Ah; rows of 10 s from full."""
    ocv = sheet("nmc-94")["ocv_mid_v"]
    moved = np.cumsum(current_a) * 10 / 3600
    volts = np.interp(1.0 - moved / capacity_ah, GRID, ocv) - R0 * current_a
    known = {"capacity_ah": TOLD_AH, "soc_grid": GRID, "ocv_mid_v": ocv, "r0": R0, "r1": 1e-5, "tau1": 20.0,
             "r2": 1e-5, "tau2": 1000.0}  # fmt: skip
    warm = np.full(len(current_a), 25.0)
    return Profile(name, "made", 10.0, current_a, volts, warm, 1.0 - moved / capacity_ah, known, 0.0)


def discharge(capacity_ah: float) -> Profile:
    """Full to nearly empty at 5 A, after a short rest."""
    rows = int(0.98 * capacity_ah / 5.0 * 360)
    return recording(np.concatenate([np.zeros(6), np.full(rows, 5.0), np.zeros(3)]), capacity_ah, "one current")


def ratios(profile: Profile, kind: str) -> Floats:
    return np.array([q.ratio for q in ask(profile, variants(profile)["no rise"]) if q.energy == kind])


def test_a_cell_that_is_as_told_gives_what_was_told() -> None:
    told = ratios(discharge(TOLD_AH), "discharge to the end")
    assert len(told) > 12
    assert told[0] == pytest.approx(1.0, abs=0.02)


def test_a_cell_that_holds_a_tenth_less_is_seen_to_give_less_than_told() -> None:
    assert ratios(discharge(0.9 * TOLD_AH), "discharge to the end")[0] > 1.06


def test_a_duty_that_ends_nowhere_is_asked_between_its_states_in_both_directions() -> None:
    down = np.concatenate([np.zeros(6), np.tile([6.0] * 30 + [2.0] * 30, 8), np.zeros(6)])
    assert ratios(recording(down, TOLD_AH, "drive"), "discharge between") == pytest.approx(1.0, abs=0.03)
    there_and_back = np.concatenate([down, np.full(360, -4.0), np.zeros(6)])
    told = ratios(recording(there_and_back, TOLD_AH, "drive"), "charge between")
    assert len(told) > 3 and told == pytest.approx(1.0, abs=0.03)


def test_the_table_has_a_row_per_recording_and_energy() -> None:
    asked = [Question("A", "discharge to the end", 0.5, 0.5, ratio) for ratio in (0.9, 1.0, 1.1)]
    (row,) = table(asked)
    assert len(row) == len(HEAD)
    assert row[:5] == ["A", "discharge to the end", "0.50C", "3", "1.000"]


@pytest.mark.skipif(folder() is None, reason="no measured cells: set CELLWARDEN_DATA")
def test_the_energy_told_of_full_measured_cells_is_right_within_a_tenth() -> None:
    data = folder()
    assert data is not None
    asked = [ask(p, variants(p)["fitted"]) for p in loads(data) if len(p.soc) < 400]
    full = [next(q.ratio for q in questions if q.soc > 0.95) for questions in asked if questions]
    assert len(full) >= 2 and all(0.9 < ratio < 1.05 for ratio in full)
