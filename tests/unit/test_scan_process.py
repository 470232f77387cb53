"""The last word of a scan process whose program broke: outputs safe, the case kept, the reason told, an error."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from controller.app import scan_process
from controller.core.event import What
from controller.core.unchanged import ProgramChanged
from controller.image.files import SiteFiles
from tests.story import connected, fork


@pytest.fixture
def own_signals() -> Iterator[None]:
    """The process under test takes the signals; the test takes them back."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_signals: None) -> SiteFiles:
    """A connected site whose scan process will break in its next scan."""
    story, run = fork(connected()), tmp_path / "images"
    run.mkdir()
    files = SiteFiles(run, story.site.dims)
    files.create()
    assert story.image is not None and story.image.outputs.rack_main_close.all()
    files.writer("output").write(story.image.outputs)

    def breaks(scanner: scan_process.Scanner, *_rest: object) -> None:
        scanner.inputs = scanner.read(0.0)
        raise ProgramChanged("program.matrix.delay_ms changed in memory")

    monkeypatch.setattr(scan_process, "run", breaks)
    monkeypatch.setattr(scan_process, "await_field", lambda *_: None)
    monkeypatch.setattr(scan_process, "die_with_parent", lambda _: None)
    monkeypatch.setattr(scan_process, "lock_memory", lambda: None)
    monkeypatch.setattr(scan_process, "want_realtime", lambda _: False)
    return files


def told(tmp_path: Path, files: SiteFiles) -> list[str]:
    """What the process says before it ends."""
    news = files.event_reader("scan")
    with pytest.raises(ProgramChanged):
        scan_process.main(["bench", "--run", str(tmp_path / "images"), "--state", str(tmp_path / "state")])
    return [bytes(r["text"]).rstrip(b"\0").decode() for r in news.take(1000) if r["what"] == What.SYSTEM]


def test_a_program_that_breaks_opens_everything_and_leaves_a_case(tmp_path: Path, broken: SiteFiles) -> None:
    said, files = told(tmp_path, broken), broken
    outputs = files.reader("output").read()
    assert not outputs.rack_main_close.any() and not outputs.pcs_run.any()
    assert not outputs.pcs_active_power_setpoint_w.any()
    (case,) = (tmp_path / "state" / "crashes").iterdir()
    with np.load(case) as kept:
        assert kept["memory"].size and kept["inputs"].size
    assert any("program error, outputs safe" in t and "delay_ms" in t and case.name in t for t in said)


@pytest.mark.parametrize("numbered", [True, False])
def test_of_many_cases_the_oldest_go_though_scans_began_anew(tmp_path: Path, broken: SiteFiles, numbered: bool) -> None:
    """Retained memory was lost and the scan that breaks now is a low one: it is the newest case all the same."""
    folder = tmp_path / "state" / "crashes"
    folder.mkdir(parents=True)
    for number in range(1, 41):
        (folder / (f"{number:08d}-scan-{970 + number}.npz" if numbered else f"scan-{970 + number}.npz")).touch()
    (folder / "scan-of-my-own.npz").touch()
    told(tmp_path, broken)
    told(tmp_path, broken)
    left = {path.name for path in folder.iterdir()}
    assert "scan-of-my-own.npz" in left, "what others put there is theirs"
    kept = sorted(int(n[:-4].rpartition("-")[2]) for n in left - {"scan-of-my-own.npz"})
    assert len(kept) == scan_process.CRASHES_KEPT
    low = [scan for scan in kept if scan < 970]
    assert len(low) == 2 and kept[2:] == list(range(1011 - len(kept) + 2, 1011))


def test_a_disk_that_takes_no_case_does_not_hide_why_the_program_broke(tmp_path: Path, broken: SiteFiles) -> None:
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "crashes").touch()
    said = told(tmp_path, broken)
    assert any("delay_ms changed" in t and "no case kept" in t for t in said)
