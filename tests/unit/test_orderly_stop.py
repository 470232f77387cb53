"""What is told of an orderly stop that could not open everything: nobody may take the plant for dead."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from controller.app.process import monotonic_ms
from controller.app.supervisor import Options, Supervisor
from controller.core.command import Kind
from controller.core.event import text_of
from tests.story import connected, fork


@pytest.mark.parametrize("welded", [True, False])
def test_a_contactor_that_is_left_closed_is_named_and_recorded(tmp_path: Path, welded: bool) -> None:
    story = fork(connected())
    story.hold |= {"rack_main_closed"} if welded else set()
    story.tell(Kind.DISCONNECT)
    image = story.seconds(20)
    run, state = tmp_path / "run", tmp_path / "state"
    run.mkdir(exist_ok=True)
    state.mkdir(exist_ok=True)
    supervisor = Supervisor(story.site, run, state, Options())
    told = supervisor.files.event_reader("supervisor")
    supervisor.image = dataclasses.replace(
        image, system=dataclasses.replace(image.system, now_ms=monotonic_ms() + 60_000)
    )
    supervisor._stop()
    assert supervisor.left_closed == (["R01", "R02"] if welded else [])
    words = [text_of(r, "text") for r in told.take(100)]
    assert any("seen closed: R01, R02" in w for w in words) is welded
