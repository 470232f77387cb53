"""What `cellwarden score` shows of strings and profiles: a table, a page and a picture that stands alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.estimate_rig import duty, sheet, string
from tools.cli import main
from tools.score import packs, scenario, sets
from tools.score.page import picture, render
from tools.score.scenario import SCENARIOS, run
from tools.score.sets import Profile


def test_a_picture_of_a_profile_is_one_svg_with_truth_estimate_and_band() -> None:
    current = duty(0.05, 10.0)
    volts, truth = string(current, 10.0, 1)
    warm = np.full(len(current), 25.0)
    profile = Profile("A <made> one", "made", 10.0, current, volts[:, 0], warm, truth[:, 0], sheet(), 600.0)
    made = run(profile, SCENARIOS["S1"], 3, seed=1)
    drawn = picture(made)
    assert drawn.startswith('<svg xmlns="http://www.w3.org/2000/svg"') and drawn.count("<svg") == drawn.count("</svg>")
    assert drawn.count("<polyline") == 2 and drawn.count("<polygon") == 1 and "<made>" not in drawn
    assert "A &lt;made&gt; one" in render([made], [], {}, "note")


def test_a_logged_string_is_scored_by_its_healthy_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dt_s, cells = 60.0, 6
    current = duty(1.15, dt_s)
    volts, truth = string(current, dt_s, cells, seed=3)
    rows = np.arange(0, len(current), 10)
    np.savez(
        tmp_path / "pack_made.npz", time_s=np.arange(len(current)) * dt_s, current_a=current,
        voltage_01mv=np.rint(volts * 1e4).astype(np.uint16), temperature_01c=np.full((len(current), 2), 250, np.int16),
    )  # fmt: skip
    np.savez(tmp_path / "pack_made_truth_soc.npz", time_s=rows * dt_s, soc_1e4=np.rint(truth[rows] * 1e4))
    (tmp_path / "pack_made_truth.json").write_text(json.dumps({"events": [{"cell": 4}]}), "utf-8")
    monkeypatch.setattr(packs, "pack_sheet", lambda _: sheet())
    score = packs.string_score(tmp_path / "pack_made.npz")
    assert (score.cells, score.healthy) == (6, 5)
    assert 0 < score.string_rmse < 0.02 and score.cell_rmse_median <= score.cell_rmse_worst < 0.03
    assert 0.8 < score.coverage <= 1.0
    page = render([], [score], {}, "note")
    assert "5 of 6" in page and f"{100 * score.cell_rmse_worst:.2f}" in page


def test_what_was_finished_before_an_interrupt_is_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    current = duty(0.05, 10.0)
    volts, truth = string(current, 10.0, 1)
    warm = np.full(len(current), 25.0)
    named = [Profile(n, "made", 10.0, current, volts[:, 0], warm, truth[:, 0], sheet(), 600.0) for n in ("one", "two")]
    whole = scenario.run_all

    def stopped(profile: Profile, *rest: Any) -> Any:
        if profile.name == "two":
            raise KeyboardInterrupt
        return whole(profile, *rest)

    monkeypatch.setattr(sets, "profiles", lambda _: named)
    monkeypatch.setattr(scenario, "run_all", stopped)
    monkeypatch.setattr(sets, "folder", lambda _: tmp_path)
    page = tmp_path / "score.html"
    assert main(["score", str(tmp_path), "--cells", "1", "--sensors", "S1", "--no-packs", "--page", str(page)]) == 130
    assert "interrupted" in capsys.readouterr().err
    told = page.read_text("utf-8")
    assert "<p>Interrupted: " in told and "<h2>one, S1</h2>" in told and "two" not in told
