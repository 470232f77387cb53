"""A unit that is written has one controller on this machine, whatever folder, user or site id the other one has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from controller.app import driving
from controller.app.lock import RETRY_S, AlreadyRunning
from plc_config.compile import Compiled, compile_site
from tests.sites import free_site


@pytest.fixture
def site(tmp_path: Path) -> Compiled:
    return compile_site(str(free_site(tmp_path, "bench")))


def copy_of(site: Compiled, *changes: tuple[str, str]) -> Compiled:
    text = site.path.read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = site.path.with_name("copy.yaml")
    path.write_text(text, "utf-8")
    return compile_site(str(path))


def test_a_copy_under_another_name_is_refused_and_the_unit_is_named(site: Compiled, tmp_path: Path) -> None:
    held = driving.take(site.plan, tmp_path / "one")
    other = copy_of(site, ("id: bench", "id: other"))
    with pytest.raises(AlreadyRunning, match=r"R01 rack\S* \(unit 100 at 127\.0\.0\.1:\d+\) is driven by another"):
        driving.take(other.plan, tmp_path / "two")
    driving.release(held)
    driving.release(driving.take(other.plan, tmp_path / "two"))


def test_other_units_of_a_shared_gateway_are_another_site_s(site: Compiled, tmp_path: Path) -> None:
    held = driving.take(site.plan, tmp_path / "one")
    units = ("unit: 100", "unit: 101"), ("unit: 1,", "unit: 7,"), ("unit: 1..4", "unit: 11..14")
    driving.release(driving.take(copy_of(site, *units).plan, tmp_path / "two"))
    driving.release(held)


def test_a_large_site_holds_its_racks_and_pcs_and_leaves_files_for_its_links(tmp_path: Path) -> None:
    plan = compile_site("plant").plan
    found = driving._written(plan, tmp_path)
    assert len(found) == driving.MOST and {u for _, u in list(found)[:53]} == {1, 100}
    assert sum(unit == 100 for _, unit in found) == 48


def test_who_is_patient_waits_and_takes_what_is_let_go(
    site: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, waits = driving.take(site.plan, tmp_path), list[float]()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            driving.release(held)

    monkeypatch.setattr(driving, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: 50.0 + sum(waits)))
    driving.release(driving.take(site.plan, tmp_path, patience_s=10 * RETRY_S))
    assert waits == [RETRY_S] * 3


def test_patience_ends(site: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, waits = driving.take(site.plan, tmp_path), list[float]()
    monkeypatch.setattr(driving, "time", SimpleNamespace(sleep=waits.append, monotonic=lambda: 50.0 + sum(waits)))
    with pytest.raises(AlreadyRunning):
        driving.take(site.plan, tmp_path, patience_s=2.5 * RETRY_S)
    assert len(waits) == 3
    driving.release(held)


def test_a_refusal_leaves_nothing_held(site: Compiled, tmp_path: Path) -> None:
    held = driving.take(site.plan, tmp_path)
    driving.release(held[:1])
    with pytest.raises(AlreadyRunning):
        driving.take(site.plan, tmp_path)
    driving.release(held)
    driving.release(driving.take(site.plan, tmp_path))


def test_the_end_of_the_other_process_frees_them(site: Compiled, tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from controller.app import driving; from plc_config.compile import compile_site;"
        "held = driving.take(compile_site(sys.argv[1]).plan, pathlib.Path(sys.argv[2])); print('held', flush=True);"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(site.path), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunning):
            driving.take(site.plan, tmp_path)
        other.kill()
    driving.release(driving.take(site.plan, tmp_path, patience_s=30.0))
