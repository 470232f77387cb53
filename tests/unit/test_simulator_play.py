"""Measured data come out of the registers as they went in, scaled to the site's cell."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from plc_config.compile import compile_site
from tests.sites import free_site
from tools.simulator import play
from tools.simulator.options import Options
from tools.simulator.simulator import Simulator

ROWS = "time_s,current_a,voltage_v,temperature_c,soc_ref\n0,0,3.20,20,0.5\n10,2.0,3.10,30,0.5\n20,-1.0,3.30,25,0.5\n"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "measured" / "drive.csv"
    path.parent.mkdir()
    path.write_text(ROWS)
    (path.parent / "cell.yaml").write_text("capacity_ah: 2.0\n")
    return path


def playing(tmp_path: Path, name: str, **options: float) -> Simulator:
    site = compile_site(str(free_site(tmp_path)))
    return Simulator(site, Options(noise=0.0, play=name, **options), tmp_path / "run")  # type: ignore[arg-type]


def test_cells_follow_the_file(tmp_path: Path, recording: Path) -> None:
    simulator = playing(tmp_path, str(recording))
    simulator.advance(5.0)
    plant = simulator.plant
    assert plant.cell_v.mean() == pytest.approx(3.15, abs=1e-3)
    assert 0 < np.ptp(plant.cell_v) < 0.02
    assert plant.temperature_degc().mean() == pytest.approx(25.0, abs=0.2)
    assert np.ptp(simulator.sensors.faces["cell_voltage_v"]) > 0


def test_current_is_scaled_by_capacity_and_needs_closed_contactors(tmp_path: Path, recording: Path) -> None:
    simulator = playing(tmp_path, str(recording))
    simulator.advance(10.0)
    assert (simulator.plant.shown_current_a() == 0).all()
    simulator.plant.racks.main.closed[0] = True
    assert simulator.plant.shown_current_a().tolist() == pytest.approx([2.0 * 280 / 2.0, 0.0])


def test_it_loops_and_can_be_faster(tmp_path: Path, recording: Path) -> None:
    simulator = playing(tmp_path, str(recording), play_speed=10.0)
    simulator.advance(2.5)
    assert simulator.player is not None and simulator.player.position_s == pytest.approx(5.0)


def test_another_chemistry_is_stretched_into_range(tmp_path: Path, recording: Path) -> None:
    recording.write_text(ROWS.replace("3.20", "4.1").replace("3.10", "2.9").replace("3.30", "4.2"))
    simulator = playing(tmp_path, str(recording))
    cell = simulator.compiled.cell
    simulator.advance(20.0)
    assert cell.ocv.volts[0] < simulator.plant.cell_v.max() < cell.limits.cell_overvoltage.trip


def test_packed_file_and_restarting_time(tmp_path: Path) -> None:
    path = tmp_path / "walk.csv.gz"
    with gzip.open(path, "wt") as stream:
        stream.write("cycle,time_s,current_a,voltage_v,temperature_c\n0,0,1,3.3,25\n0,10,1,3.3,25\n1,0,1,3.2,25\n")
    assert play.read(path).time_s.tolist() == [0, 10, 20]


def test_generated_data_stay_inside_the_region(tmp_path: Path) -> None:
    cell = compile_site(str(free_site(tmp_path))).cell
    made = play.generate(cell, 1)
    assert made.duration_s > 3600 and np.abs(made.current_a).max() > 20
    assert made.voltage_v.min() > cell.limits.cell_undervoltage.warn
    assert made.voltage_v.max() < cell.limits.cell_overvoltage.warn
    assert made.temperature_degc.max() < cell.limits.charge_overtemperature.warn


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("time_s,current_a,voltage_v\n0,0,3\n", "temperature_c"),
        ("time_s,current_a,voltage_v,temperature_c\n0,0,3,x\n", ":2: not a row"),
        ("time_s,current_a,voltage_v,temperature_c\n0,0,3,25\n", "two rows"),
        ("", "time_s"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(play.PlayError, match=part) as caught:
        play.read(path)
    assert "bad.csv" in str(caught.value)


def test_missing_file_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLWARDEN_DATA", str(tmp_path))
    with pytest.raises(play.PlayError, match="generated"):
        play.find("nowhere.csv")
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "here.csv").write_text(ROWS)
    assert play.find("here.csv") == tmp_path / "cells" / "here.csv"
