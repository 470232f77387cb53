"""The acceptance test end to end: real processes, two rows, and its report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sites import free_site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]


def test_fat_of_two_rows(tmp_path: Path) -> None:
    site, out = free_site(tmp_path), tmp_path / "out"
    command = ["fat", str(site), "--row", "estop", "--row", "cell_overvoltage", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "tools.cli", *command], capture_output=True, text=True, timeout=140, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report["passed"] and report["controllers_started"] == 1
    assert [c["case"] for c in report["cases"]] == ["cell_overvoltage", "estop", "estop_one_channel"]
    assert all(0 < c["reaction_ms"]["max"] <= c["bound_ms"]["reaction"] for c in report["cases"])
    assert (out / "report.html").stat().st_size > 5000
    assert 'failures="0"' in (out / "junit.xml").read_text("utf-8")
