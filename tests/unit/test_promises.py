"""Promises against a cell that is not the estimator's own: the check must find the optimistic ones, and only those."""

from __future__ import annotations

import numpy as np
import pytest

from tests.estimate_rig import GRID, sheet
from tools.cli import main
from tools.score.promises import HEAD, Question, ask, table, variants
from tools.score.sets import Profile, folder, loads

CAPACITY_AH, R0, R1, TAU1_S = 10.0, 6e-3, 4e-3, 20.0


def pulsed(rise: float) -> Profile:
    """Pulses of 2C for 30 s after rests, a stretch of 1C after each; the resistance is 1 + rise / SOC times."""
    ocv = sheet("nmc-94")["ocv_mid_v"]
    current = np.array(([0.0] * 30 + [20.0] * 31 + [10.0] * 105) * 7)
    soc, v1 = 0.35, 0.0
    rows = []
    for i in current:
        factor = 1.0 + rise / max(soc, 0.02)
        rows.append((i, np.interp(soc, GRID, ocv) - R0 * factor * i - v1, 25.0, soc))
        soc = max(soc - i / 3600 / CAPACITY_AH, 0.0)
        v1 += (R1 * factor * i - v1) * (1 - np.exp(-1.0 / TAU1_S))
    i, v, warm, soc_of = np.array(rows).T
    known = {"capacity_ah": CAPACITY_AH, "soc_grid": GRID, "ocv_mid_v": ocv, "r0": R0, "r1": R1, "tau1": TAU1_S,
             "r2": 1e-6, "tau2": 1000.0}  # fmt: skip
    return Profile("a pulsed cell", "made", 1.0, i, v, warm, soc_of, known, 0.0)


def test_a_cell_whose_resistance_rises_is_promised_too_much_only_by_a_sheet_without_the_rise() -> None:
    profile = pulsed(rise=0.08)
    asked = {name: ask(profile, name, variants(profile)[name]) for name in ("no rise", "fitted")}
    near_empty = {name: [q.ratio for q in qs if q.soc < 0.15 and q.horizon != "2s"] for name, qs in asked.items()}
    assert len(near_empty["fitted"]) == len(near_empty["no rise"]) > 5
    assert max(near_empty["no rise"]) > 1.05
    assert max(near_empty["fitted"]) <= 1.0
    assert min(q.ratio for q in asked["fitted"] if q.soc > 0.25) > 0.3, "and not by promising nothing"


def test_the_table_counts_what_was_kept() -> None:
    questions = [Question("A", "fitted", "10s", 0.05, ratio) for ratio in (0.8, 1.0, 1.2)]
    rows = table([*questions, Question("A", "datasheet", "to empty", 0.5, 0.9)])
    assert HEAD[3:] == ("no rise", "fitted", "datasheet")
    assert rows == [
        ["A", "10s", "0-10 %", "-", "2 / 1, 1.00 (1.20)", "-"],
        ["A", "to empty", "30-100 %", "-", "-", "1 / 0, 0.90 (0.90)"],
    ]


@pytest.mark.skipif(folder() is None, reason="no measured cells: set CELLWARDEN_DATA")
def test_no_power_promised_to_a_measured_cell_above_a_tenth_of_its_charge_is_optimistic() -> None:
    data = folder()
    assert data is not None
    short = {p.group: p for p in loads(data) if len(p.soc) < 400}
    assert short
    for profile in short.values():
        cell = variants(profile)["datasheet"]
        told = [q for q in ask(profile, "datasheet", cell) if q.horizon != "to empty" and q.soc > 0.1]
        assert told and max(q.ratio for q in told) <= 1.0, profile.name


def test_without_recordings_the_command_says_so(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(tmp_path), "--promises"]) == 2
    assert "no data sets found" in capsys.readouterr().err
