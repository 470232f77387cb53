"""How the outlook is told: answers as text, windows in `why`, the ageing ledger as a table."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from controller.core.estimate.deliver import deliver, offer_of
from controller.core.layout import Layout
from controller.core.outlook_memory import EVENTS
from controller.core.retained import Retained, retain
from controller.core.signal import Floats
from controller.historian import identity
from controller.image.files import SiteFiles
from opcua_model.reasons import Rules
from opcua_model.why import as_text, explain
from plc_config.compile import compile_site
from tests.story import Story, connected, fork
from tools.cli import main
from tools.commands import deliver as command


def test_an_answer_reads_like_a_sentence() -> None:
    story = fork(connected())
    estimates = story.seconds(5).estimates
    offer = offer_of(estimates, False, 100_000.0)
    answer = deliver(offer, 40_000.0, 0.5)
    text = command.as_text(answer, False)
    assert text.startswith(("yes: deliver 40.0 kW for 30 min", "no: deliver 40.0 kW for 30 min"))
    assert "ends first:" in text and "20.0 kWh needed" in text
    assert "permits 30.0 kW now" in command.as_text(deliver(offer_of(estimates, True, 30_000.0), 4e4, 0.5), True)


def test_what_is_read_over_opcua_is_the_same_offer() -> None:
    story = fork(connected())
    estimates = story.seconds(5).estimates
    direct = offer_of(estimates, False, 5.0)
    values = {path: None for path in command.paths(False)}
    for k, h in enumerate(("2s", "10s", "30s", "15min")):
        values[f"Measurements/DischargePower{h}"] = direct.power_w[k]
        values[f"Measurements/DischargePower{h}Sigma"] = direct.power_sigma_w[k]
        values[f"Measurements/DischargePower{h}LimitedBy"] = direct.limited_by[k]
        values[f"Measurements/DischargePower{h}Place"] = direct.places[k]
    values |= {
        "Measurements/DischargeEnergy": direct.energy_wh,
        "Measurements/DischargeEnergySigma": direct.energy_sigma_wh,
        "Measurements/EnergyReferencePower": direct.reference_w,
        **{f"Measurements/{p}": wh for p, wh in zip(command.FASTER, direct.faster_wh, strict=True)},
        "Measurements/EnergyLoss": direct.loss_ratio,
        "Measurements/DischargeLimit": 5.0,
        "Measurements/SocValid": True,
    }
    read = command.offer(values, False)
    assert deliver(read, 4e4, 1.0).probability == deliver(direct, 4e4, 1.0).probability
    assert read.limited_by == direct.limited_by


@pytest.mark.parametrize(
    "words", [["--power", "40", "--for", "1h"], ["--power", "2MW", "--for", "soon"], ["--power", "0W", "--for", "1h"]]
)
def test_a_question_without_sense_is_a_usage_error(words: list[str]) -> None:
    assert main(["deliver", "bench", *words]) == 2


def test_why_tells_the_window_that_pays() -> None:
    story = Story("bench")
    values = {"Racks/R01/RecalibrationPays": True, "Racks/R01/RecalibrationKind": "full charge",
              "Racks/R01/RecalibrationGain": 5100.0, "Racks/R01/RecalibrationSigma": 0.005, "Racks/R01/SocSigma": 0.03,
              "Racks/R01/RecalibrationTime": 1.5, "Racks/R02/RecalibrationPays": False}  # fmt: skip
    text = as_text(explain("recalibrate", values, [], Rules(story.site)))
    assert "a window would pay for 1 of 2 racks" in text
    assert "SOC uncertain R01: sigma 3.0 % against 0.5 % after" in text
    assert "5.1 kWh are held back" in text and "full charge, about 1.5 h" in text
    assert "no rack would gain" in as_text(explain("recalibrate", {}, [], Rules(story.site)))


def test_the_ledger_is_exported_as_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CELLWARDEN_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("CELLWARDEN_STATE", str(tmp_path / "state"))
    assert main(["export", "ageing", "bench"]) == 1
    assert "no retained state" in capsys.readouterr().err
    SiteFiles(tmp_path / "run", compile_site("container").dims).create()
    assert main(["export", "ageing", "bench"]) == 1, "what another program left in the run folder is not read"
    assert "no retained state" in capsys.readouterr().err
    story = fork(connected())
    story.points.rack_current_a.value[...] = 56.0
    story.seconds(20)
    files = SiteFiles(tmp_path / "run", story.site.dims)
    files.create()
    kept: Retained = retain(story.memory, 7, 1, story.program.matrix.digest)
    files.writer("retained").write(kept)
    assert main(["export", "ageing", "bench"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    value = {r["item"]: float(r["value"]) for r in rows if r["rack"] == "R02"}
    assert value["discharge throughput"] > 0 and value["charge throughput"] == 0
    assert value["equivalent full cycles"] == pytest.approx(56 * 20 / 3600 / 560, rel=0.05)
    assert sum(r["item"].startswith("event: ") for r in rows) == 2 * len(EVENTS)
    hours = [float(r["value"]) for r in rows if r["item"] == "time" and r["rack"] == "R02"]
    assert sum(hours) == pytest.approx(kept.ledger["hours"][1].sum(), abs=1e-5)
    assert Layout(Retained, story.program.dims).size < 50_000


def test_a_ledger_of_another_site_s_folder_says_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One CELLWARDEN_STATE for two sites: a warranty must not be claimed with the other one's cycles."""
    monkeypatch.setenv("CELLWARDEN_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("CELLWARDEN_STATE", str(tmp_path / "state"))
    story = fork(connected())
    (tmp_path / "run").mkdir(exist_ok=True)
    files = SiteFiles(tmp_path / "run", story.site.dims)
    files.create()
    files.writer("retained").write(retain(story.memory, 7, 1, story.program.matrix.digest))
    for begun_by, told in (("bench", False), ("container", True)):
        (tmp_path / "state" / identity.FILE).unlink(missing_ok=True)
        (tmp_path / "state").mkdir(exist_ok=True)
        identity.begin(tmp_path / "state", begun_by, 1, story.site.path)
        assert main(["export", "ageing", "bench", "--json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["state_of"] == begun_by
        assert ("this state folder is site container's" in err) == told
        for words in (["history", "bench"], ["report", "alarms", "bench"], ["report", "trip", "bench"]):
            main(words)
            assert ("this state folder is site container's" in capsys.readouterr().err) == told, words


def two_nodes(heat_w: Floats, ohm: float, dt_s: float) -> tuple[Floats, Floats]:
    """Core and surface of a cell: an independent two-node simulation, ambient 25 degC."""
    core, surface = 25.0, 25.0
    seen = np.empty((len(heat_w), 2))
    for k, heat in enumerate(heat_w):
        flow = (core - surface) / ohm
        core += (heat - flow) * dt_s / 4900.0
        surface += (flow - 1.1 * (surface - 25.0)) * dt_s / 420.0
        seen[k] = core, surface
    return seen[:, 0], seen[:, 1]


def test_the_core_is_known_within_a_kelvin_and_a_half_although_the_thermal_resistance_is_a_third_off() -> None:
    """A day of grid duty at a quarter of 1C on 280 Ah cells whose core resistance is 0.78 K/W, not 0.6."""
    story = Story("bench")
    estimator = story.program.estimator
    t, racks, dt_s = estimator.temperatures, np.array([0]), 30.0
    hour = np.arange(0, 24, dt_s / 3600)
    current = np.select([hour % 8 < 2, hour % 8 < 3, hour % 8 < 5], [70.0, 0.0, -70.0], 40.0)
    heat = current**2 * t.circuit.full_ohm
    core, surface = two_nodes(heat, 0.78, dt_s)
    memory = story.memory.estimation
    memory.outlook.health.cell_resistance_ohm[...] = t.circuit.model.r0
    image = story.scans(1)
    shape = memory.cell_charge_ratio.shape
    kept = SimpleNamespace(surface=np.zeros(shape, "f4"), core=np.zeros(shape, "f4"))
    error = []
    for k in range(len(hour)):
        image.measured.points.cell_temperature_degc.value[...] = surface[k]
        one = np.array([dt_s * 1000.0])
        t.rack(
            memory,
            kept,
            image.measured,
            racks,
            one,
            np.array([current[k] ** 2]),
            current[k : k + 1],
            np.array([k == 0]),
        )
        error.append(kept.core[0, 0, 0] - core[k])
    assert np.abs(error).max() < 1.5
    assert (core - surface).max() > 3.0
