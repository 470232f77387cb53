"""`cellwarden fit`: what it finds in measurements of a known cell, and what it says of files it cannot use."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from controller.core.signal import Floats
from plc_config.library import cell_type_at
from tests.estimate_rig import GRID, sheet
from tools.cli import main

CAPACITY_AH, R0, R1, TAU1_S, R2, TAU2_S = 50.0, 1.2e-3, 0.8e-3, 30.0, 0.9e-3, 1400.0
GAP_V = 0.012
HEADER = "time_s,current_a,voltage_v,temperature_c"


def measured(
    current: Floats, dt_s: float, start: float, cell: str = "nmc-94", gap_v: float = 0.0, rise: float = 0.0
) -> Floats:
    """Columns of a test of one cell whose parameters are known; `rise`: the resistance grows so towards empty."""
    ocv = sheet(cell)["ocv_mid_v"]
    soc, v1, v2, h = start, 0.0, 0.0, 0.0
    rows = np.empty((len(current), 4))
    random = np.random.default_rng(1)
    for k, i in enumerate(current):
        factor = factor_of(soc, rise)
        rows[k] = k * dt_s, i, np.interp(soc, GRID, ocv) + gap_v * h - R0 * factor * i - v1 - v2, 25.0
        moved = i * dt_s / 3600 / CAPACITY_AH
        soc = min(max(soc - moved, 0.0), 1.0)
        keep = np.exp(-abs(moved) * 15)
        h = keep * h - (1 - keep) * np.sign(i)
        v1 += (R1 * factor * i - v1) * (1 - np.exp(-dt_s / TAU1_S))
        v2 += (R2 * factor * i - v2) * (1 - np.exp(-dt_s / TAU2_S))
    rows[:, 2] += random.normal(0, 2e-4, len(rows))
    return rows


def factor_of(soc: float, rise: float) -> float:
    return 1.0 + rise * max(0.4 - soc, 0.0) / 0.4


def slow(direction: float, dt_s: float = 60.0) -> Floats:
    return np.full(round(20 * 3600 / dt_s) + 1, direction * CAPACITY_AH / 20)


def pulses(dt_s: float = 2.0) -> Floats:
    one = [0.0] * 300 + [25.0] * 300 + [0.0] * 600 + [-25.0] * 100 + [0.0] * 400 + [10.0] * 700
    return np.array(one * 4)


def save(path: Path, rows: Floats, head: str = HEADER) -> Path:
    text = head + "\n" + "\n".join(",".join(f"{x:.6g}" for x in row) for row in rows) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_the_parameters_of_a_known_cell_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [
        save(tmp_path / "slow.csv.gz", measured(slow(1.0), 60.0, 1.0)),
        save(tmp_path / "pulse.csv", measured(pulses(), 2.0, 1.0), "Time,Current,Voltage,Temperature"),
    ]
    out = tmp_path / "my-cell.yaml"
    assert main(["fit", *map(str, files), "--cell", str(out)]) == 0
    cell = cell_type_at(out)[0]
    assert cell.capacity == pytest.approx(CAPACITY_AH, rel=0.01)
    assert cell.resistance == pytest.approx(R0, rel=0.03)
    assert cell.circuit.r1 == pytest.approx(R1, rel=0.2)
    assert (cell.circuit.tau1 or 0) / 1000 == pytest.approx(TAU1_S, rel=0.4)
    assert (cell.circuit.r1 or 0) + (cell.circuit.r2 or 0) == pytest.approx(R1 + R2, rel=0.15)
    middle = np.interp(np.linspace(0.1, 0.95, 30), cell.ocv.soc, cell.ocv.volts)
    np.testing.assert_allclose(
        middle, np.interp(np.linspace(0.1, 0.95, 30), GRID, sheet("nmc-94")["ocv_mid_v"]), atol=0.006
    )
    assert cell.limits.discharge_overcurrent.trip == pytest.approx(226 * cell.capacity / 94, rel=0.01)
    assert "hysteresis is not known" in capsys.readouterr().out
    page = out.with_suffix(".html").read_text("utf-8")
    assert page.count("<svg") == 3 and "http" not in page
    assert " SOC</text>" in page.partition("</svg>")[0], "the curve goes over the SOC, the others over time"


def test_a_fit_that_is_interrupted_says_that_nothing_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tools.fit.circuit.fit", stopped)
    out = tmp_path / "cell.yaml"
    assert main(["fit", str(save(tmp_path / "slow.csv.gz", measured(slow(1.0), 60.0, 1.0))), "--cell", str(out)]) == 130
    assert "were not written" in capsys.readouterr().err and not out.exists()


def test_both_branches_show_the_hysteresis_and_a_site_can_use_the_file(tmp_path: Path) -> None:
    test = np.concatenate([slow(1.0, 60.0), np.zeros(60), slow(-1.0, 60.0), np.zeros(60)])
    rows = measured(test, 60.0, 1.0, "lfp-280", GAP_V)
    more = measured(pulses(), 2.0, 1.0, "lfp-280", GAP_V)
    out = tmp_path / "cell.yaml"
    files = [str(save(tmp_path / "ocv.csv", rows)), str(save(tmp_path / "pulse.csv", more))]
    assert main(["fit", *files, "--cell", str(out), "--start-soc", "1"]) == 0
    cell = cell_type_at(out)[0]
    assert cell.hysteresis is not None and cell.chemistry == "LFP"
    assert float(np.median(cell.hysteresis.half_gap_volts)) == pytest.approx(GAP_V, abs=0.003)
    assert cell.resistance == pytest.approx(R0, rel=0.05)
    assert cell.coulombic_efficiency > 0.98


def test_pulses_at_many_socs_tell_how_the_resistance_rises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nine pulses down to 13 % of a cell that has three times its resistance when empty."""
    one = [0.0] * 200 + [50.0] * 30 + [0.0] * 120 + [25.0] * 330
    test = np.array(one * 9)
    files = [
        str(save(tmp_path / "slow.csv", measured(slow(1.0), 60.0, 1.0))),
        str(save(tmp_path / "pulse.csv", measured(test, 2.0, 1.0, rise=2.0))),
    ]
    out = tmp_path / "rising.yaml"
    assert main(["fit", *files, "--cell", str(out)]) == 0
    cell = cell_type_at(out)[0]
    curve = cell.resistance_over_soc
    assert curve is not None
    told = {soc: float(np.interp(soc, curve.soc, curve.factor)) for soc in (0.2, 0.3, 0.45, 0.8)}
    assert told == {soc: pytest.approx(factor_of(soc, 2.0), rel=0.12) for soc in told}
    assert cell.resistance + (cell.circuit.r1 or 0) == pytest.approx(R0 + R1, rel=0.06)
    assert curve.factor[0] >= 8.0, "below the last pulse the careful default goes on"
    said, page = capsys.readouterr().out, out.with_suffix(".html").read_text("utf-8")
    assert "resistance rises to" in said and page.count("<svg") == 4 and "Resistance over the SOC" in page


def test_the_other_sign_is_turned_round(tmp_path: Path) -> None:
    turned = np.array([1.0, -1.0, 1.0, 1.0])
    files = [
        str(save(tmp_path / "slow.csv", measured(slow(1.0), 60.0, 1.0) * turned)),
        str(save(tmp_path / "pulse.csv", measured(pulses(), 2.0, 1.0) * turned)),
    ]
    out = tmp_path / "turned.yaml"
    assert main(["fit", *files, "--cell", str(out), "--charge-positive"]) == 0
    assert cell_type_at(out)[0].resistance == pytest.approx(R0, rel=0.05)
    assert main(["fit", *files, "--cell", str(tmp_path / "wrong.yaml")]) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("zeit,strom\n1,2\n", "bad.csv:1:1: no column current_a in: zeit, strom"),
        ("time_s,current_a,voltage_v\n0,0,3.3\n1,x,3.3\n", "bad.csv:3:2: current_a is 'x'; a number in every row"),
        ("time_s,current_a,voltage_v\n0,0,3.3\n1,2\n", "bad.csv:3:3: voltage_v is ''"),
        ("time_s,current_a,voltage_v\n5,0,3.3\n1,2,3.2\n", "bad.csv:3:1: time goes back: 1 s after 5 s"),
        ("time_s,current_a,voltage_v\n0,0,33\n", "bad.csv:2:3: voltage_v is 33; 0.5 to 5; one cell"),
        ("time_s,current_a,voltage_v\n0,0,3.3\n", "bad.csv:2:1: 1 rows of numbers; at least 20"),
        ("", "bad.csv:1:1: no column time_s in: nothing"),
        ("time_s;current_a;voltage_v\n1,0;2,0;3,6\n", "columns parted by commas, decimals with a point"),
    ],
)
def test_a_bad_file_is_told_by_line_and_column(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text, "utf-8")
    assert main(["fit", str(path), "--cell", str(tmp_path / "x.yaml")]) == 78
    assert told in capsys.readouterr().err
    assert not (tmp_path / "x.yaml").exists()


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only_pulse = save(tmp_path / "pulse.csv", measured(pulses()[:2000], 2.0, 1.0))
    assert main(["fit", str(only_pulse), "--cell", str(tmp_path / "x.yaml")]) == 1
    assert "no charge or discharge that lasts 5 h" in capsys.readouterr().err
    only_slow = save(tmp_path / "slow.csv", measured(slow(1.0), 60.0, 1.0))
    assert main(["fit", str(only_slow), "--cell", str(tmp_path / "x.yaml")]) == 1
    assert "give a pulse test" in capsys.readouterr().err
    assert main(["fit", str(only_slow), "--cell", str(tmp_path / "x.yaml"), "--start-soc", "7"]) == 2
