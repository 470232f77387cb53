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


@pytest.mark.usefixtures("own_signals")
def test_a_program_that_breaks_opens_everything_and_leaves_a_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = fork(connected())
    run, state = tmp_path / "images", tmp_path / "state"
    run.mkdir()
    files = SiteFiles(run, story.site.dims)
    files.create()
    assert story.image is not None and story.image.outputs.rack_main_close.all()
    files.writer("output").write(story.image.outputs)
    news = files.event_reader("scan")

    def breaks(scanner: scan_process.Scanner, *_rest: object) -> None:
        scanner.inputs = scanner.read(0.0)
        raise ProgramChanged("program.matrix.delay_ms changed in memory")

    monkeypatch.setattr(scan_process, "run", breaks)
    monkeypatch.setattr(scan_process, "await_field", lambda *_: None)
    monkeypatch.setattr(scan_process, "die_with_parent", lambda _: None)
    monkeypatch.setattr(scan_process, "lock_memory", lambda: None)
    monkeypatch.setattr(scan_process, "want_realtime", lambda _: False)
    with pytest.raises(ProgramChanged):
        scan_process.main(["bench", "--run", str(run), "--state", str(state)])

    outputs = files.reader("output").read()
    assert not outputs.rack_main_close.any() and not outputs.pcs_run.any()
    assert not outputs.pcs_active_power_setpoint_w.any()
    (case,) = (state / "crashes").iterdir()
    with np.load(case) as kept:
        assert kept["memory"].size and kept["inputs"].size
    told = [bytes(r["text"]).rstrip(b"\0").decode() for r in news.take(1000) if r["what"] == What.SYSTEM]
    assert any("program error, outputs safe" in t and "delay_ms" in t and case.name in t for t in told)
