"""A new site starts, one that lost its memory is locked out until an engineer releases it, doubt is alarmed."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from controller.app.supervisor import Options, Supervisor
from controller.core.command import Kind, Role
from controller.core.image import RackMode, RetainedState, SiteMode
from controller.core.layout import Layout
from controller.core.retained import MERGE, Merge, Retained, restore, retain, worse
from controller.core.signal import Floats, Ints, tag
from controller.historian import identity
from controller.historian.restore import load
from controller.historian.retained import Catalog, RetainedStore
from controller.image.folder import run_folder, state_folder
from plc_config.compile import compile_site
from plc_config.library import DATA
from tests.story import Story

SITE = compile_site("bench")
UTC = 1_700_000_000_000


def start() -> tuple[Retained, list[str]]:
    """What a fresh supervisor hands to the scan, and what it has to say; the images of the run before are gone."""
    run = run_folder("bench")
    for image in run.glob("*.image"):
        image.unlink()
    supervisor = Supervisor(SITE, run, state_folder("bench"), Options())
    retained = supervisor.files.reader("retained").read()
    problems = supervisor.problems
    os.close(supervisor.lock_fd)
    os.close(supervisor.wake_fd)
    assert retained is not None
    return retained, problems


def live(retained: Retained) -> Story:
    """A story that goes on from a retained memory, as the scan process does."""
    story = Story(SITE)
    story.memory = restore(story.program.blank_memory(), retained)
    return story


def store(story: Story) -> None:
    """Commit what the story would leave behind."""
    layout = Layout(Retained, SITE.dims)
    kept = RetainedStore(state_folder("bench"), layout, Catalog.of(SITE.program))
    image = retain(story.memory, story.number, UTC, SITE.program.matrix.digest)
    kept.offer(np.frombuffer(layout.to_bytes(image), np.uint8), story.now_ms, UTC)
    kept.finish(story.now_ms, UTC)


def test_the_first_start_writes_an_identity_and_locks_nothing() -> None:
    retained, said = start()
    assert retained.retained_state == RetainedState.GOOD
    assert said == ["first start of this site in this state folder"]
    written = json.loads((state_folder("bench") / identity.FILE).read_text("utf-8"))
    assert written["site"] == "bench" and len(written["id"]) == 36
    live(retained).online()


def test_an_orderly_restart_says_nothing() -> None:
    story = live(start()[0]).online()
    store(story)
    identity_before = (state_folder("bench") / identity.FILE).read_bytes()
    retained, said = start()
    assert (retained.retained_state, said) == (RetainedState.GOOD, [])
    assert (state_folder("bench") / identity.FILE).read_bytes() == identity_before
    assert retained.rack_contactor_operations.tolist() == [1, 1], "the ledger goes on"


def test_the_folder_of_another_site_and_a_clock_that_was_set_back_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    store(live(start()[0]))
    path = state_folder("bench") / identity.FILE
    path.write_text(path.read_text("utf-8").replace('"bench"', '"elsewhere"'), "utf-8")
    monkeypatch.setattr("controller.app.supervisor.utc_ms", lambda: UTC - 86_400_000)
    _, said = start()
    assert (
        len(said) == 2
        and "is site elsewhere's" in said[0]
        and "the last scan was at 2023-11-14 22:13:20 UTC" in said[1]
    )


class TestAChangedId:
    """The site file says another id, so that by default another folder is its state."""

    def start(self, tmp_path: Path, site_id: str, file: str = "site.yaml") -> tuple[list[str], list[str]]:
        text = (DATA / "sites" / "bench.yaml").read_text("utf-8").replace("id: bench", f"id: {site_id}")
        (tmp_path / file).write_text(text, "utf-8")
        run, state = tmp_path / "run" / site_id, tmp_path / "lib" / site_id
        run.mkdir(parents=True, exist_ok=True)
        state.mkdir(parents=True, exist_ok=True)
        supervisor = Supervisor(compile_site(str(tmp_path / file)), run, state, Options())
        for descriptor in (supervisor.lock_fd, supervisor.wake_fd):
            os.close(descriptor)
        return supervisor.problems, supervisor.advice

    def test_the_first_start_says_whose_state_stays_behind_and_how_to_go_on_with_it(self, tmp_path: Path) -> None:
        assert self.start(tmp_path, "old") == (["first start of this site in this state folder"], [])
        said, (advice,) = self.start(tmp_path, "new")
        assert said[1:] == ["site old ran from this site file: its latches and passwords are not in force here"]
        old, new = tmp_path / "lib" / "old", tmp_path / "lib" / "new"
        assert advice.endswith(f"mv {new} {new}.new; mv {old} {new}")
        for step in advice.rpartition("then: ")[2].split("; "):
            _, source, target = step.split()
            Path(source).rename(target)
        for image in (tmp_path / "run" / "new").glob("*.image"):
            image.unlink()
        said, advice = self.start(tmp_path, "new")
        assert any("state folder is site old's: its latches" in s for s in said) and advice == []

    def test_nobody_is_asked_again_and_another_file_is_another_plant(self, tmp_path: Path) -> None:
        self.start(tmp_path, "old")
        self.start(tmp_path, "new")
        assert self.start(tmp_path, "new")[1] == []
        assert self.start(tmp_path, "other", "other.yaml")[1] == []

    def test_an_identity_that_names_no_file_learns_it(self, tmp_path: Path) -> None:
        path = tmp_path / "lib" / "old" / identity.FILE
        self.start(tmp_path, "old")
        before = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps({k: v for k, v in before.items() if k != "file"}), "utf-8")
        self.start(tmp_path, "old")
        assert json.loads(path.read_text("utf-8")) == before
        path.write_text("no identity", "utf-8")
        self.start(tmp_path, "old")
        assert path.read_text("utf-8") == "no identity", "what cannot be read is not written over"


def test_a_restart_does_not_end_maintenance() -> None:
    """Somebody may have a hand in a rack: only who entered it, or another engineer, ends it."""
    story = live(start()[0])
    story.until(SiteMode.STANDBY)
    story.tell(Kind.ENTER_MAINTENANCE, role=Role.ENGINEER)
    story.seconds(1)
    assert story.mode is SiteMode.MAINTENANCE
    store(story)
    story = live(start()[0])
    asked = []
    for _ in range(50):
        asked.append(story.tell(Kind.CONNECT))
        story.scans()
    assert not any(story.answer(c).accepted for c in asked) and story.mode is SiteMode.MAINTENANCE
    story.tell(Kind.LEAVE_MAINTENANCE, role=Role.ENGINEER)
    story.seconds(1)
    store(story)
    live(start()[0]).online()


def _both(folder: Path) -> None:
    for path in (*folder.glob("state.db*"), *folder.glob("retained.slots*")):
        path.unlink()


def _identity_too(folder: Path) -> None:
    (folder / "history.db").write_bytes(b"a trace of an earlier life")
    _both(folder)
    (folder / identity.FILE).unlink()


def _only_a_trip_file_left(folder: Path) -> None:
    (folder / "trips").mkdir()
    (folder / "trips" / "20260101T000000000Z-0000000001.cwr").write_bytes(b"a trip of an earlier life")
    _both(folder)
    (folder / identity.FILE).unlink()


def _both_damaged(folder: Path) -> None:
    (folder / "state.db").write_bytes(b"\xff" * 5000)
    (folder / "retained.slots").write_bytes(b"\xff" * 8192)


@pytest.mark.parametrize("loss", [_both, _identity_too, _only_a_trip_file_left, _both_damaged])
def test_a_lost_memory_locks_the_site_until_an_engineer_releases_it(loss: Callable[[Path], None]) -> None:
    store(live(start()[0]).online())
    loss(state_folder("bench"))
    retained, said = start()
    assert retained.retained_state == RetainedState.LOST
    assert not retained.rack_known.any(), "the charge is unknown"
    assert any("locked out" in s for s in said)
    story = live(retained)
    story.seconds(12)
    assert story.mode is SiteMode.LOCKED_OUT and story.active("retained_memory_lost")
    refused = story.tell(Kind.CONNECT)
    operator = story.tell(Kind.RESET_TRIPS)
    story.seconds(1)
    assert not story.answer(refused).accepted and not story.answer(operator).accepted
    store(story)
    again, _ = start()
    story = live(again)
    story.seconds(1)
    assert story.mode is SiteMode.LOCKED_OUT, "another restart releases nothing"
    story.tell(Kind.ENTER_MAINTENANCE, role=Role.ENGINEER)
    story.seconds(1)
    released = story.tell(Kind.RESET_TRIPS, role=Role.ENGINEER)
    story.scans()
    assert story.answer(released).accepted, story.answer(released).text
    story.tell(Kind.LEAVE_MAINTENANCE, role=Role.ENGINEER)
    story.seconds(1)
    assert (story.mode, story.rack()) == (SiteMode.STANDBY, RackMode.OPEN)
    store(story)
    assert start()[0].retained_state == RetainedState.GOOD
    story.online()


def _database(folder: Path) -> None:
    path = folder / "state.db"
    path.write_bytes(b"\xff" * 100 + path.read_bytes()[100:])


def _slots(folder: Path) -> None:
    (folder / "retained.slots").unlink()


@pytest.mark.parametrize("harm", [_database, _slots])
def test_one_copy_lost_is_alarmed_and_the_other_is_in_force(harm: Callable[[Path], None]) -> None:
    story = live(start()[0]).online()
    story.points.cell_voltage_v.value[0, 1, 4] = 3.7
    story.seconds(1)
    store(story)
    harm(state_folder("bench"))
    retained, said = start()
    assert retained.retained_state == RetainedState.DOUBTFUL and said
    story = live(retained)
    story.seconds(1)
    assert story.active("retained_memory_doubtful") and story.active("cell_overvoltage", "R01/M02")
    reset = story.tell(Kind.RESET_TRIPS)
    story.seconds(1)
    assert story.answer(reset).accepted and not story.active("retained_memory_doubtful")


def test_every_retained_field_says_how_two_copies_become_one() -> None:
    assert set(MERGE) == {f.name for f in dataclasses.fields(Retained)}
    assert set(MERGE.values()) == set(Merge)


def test_counters_never_go_back_whichever_copy_is_newer() -> None:
    layout = Layout(Retained, SITE.dims)
    low, high = layout.blank(), layout.blank()
    counters = [n for n, rule in MERGE.items() if rule is Merge.LARGER]
    low = dataclasses.replace(low, scan=9)
    high = dataclasses.replace(high, trip_count=7, emergency_stop=1, retained_state=1)
    for name in counters:
        if isinstance(getattr(high, name), np.ndarray):
            getattr(high, name)[...] = 1
    for merged in (worse(low, high), worse(high, low)):
        for name in counters:
            assert np.array_equal(getattr(merged, name), getattr(high, name)), name


@dataclasses.dataclass(frozen=True, slots=True)
class Older:
    """A version of `Retained` with fewer fields, and another order."""

    rack_throughput_ah: Floats = tag("Ah", "rack", doc="Charge moved")
    latched: Ints = tag("1", "slot", doc="Latches", dtype="?")
    first_out: int = tag("1", doc="First-out", dtype="i8")
    scan: int = tag("1", doc="Scan", dtype="i8")
    utc_ms: int = tag("ms", doc="Wall time", dtype="i8")
    program: int = tag("1", doc="Program", dtype="u8")
    alarm_state: Ints = tag("1", "slot", doc="States", dtype="u1")
    trip_count: int = tag("1", doc="Trips", dtype="i8")
    emergency_stop: int = tag("1", doc="Stop", dtype="i8")
    out_of_service: Ints = tag("1", "rack", doc="Out", dtype="?")
    retired: int = tag("1", doc="A field of old", dtype="i8")
    ledger: NDArray[Any] = tag("1", "rack", doc="Ageing ledger", dtype="ledger")
    rack: NDArray[Any] = tag("1", "rack", doc="Another record than that of today", dtype="plating")


def test_a_memory_of_another_version_is_read_by_its_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, old = Catalog.of(SITE.program), Layout(Older, SITE.dims)
    monkeypatch.setattr("controller.historian.retained.AT_ONCE", ("latched", "program"))
    kept = RetainedStore(tmp_path, old, catalog)  # type: ignore[arg-type]
    image = dataclasses.replace(old.blank(), program=catalog.program, scan=5, trip_count=3, retired=8)
    image.latched[[2, 9]] = True
    image.rack_throughput_ah[...] = 12.5
    image.out_of_service[1] = True
    image.ledger["charge_wh"], image.ledger["hours"][1, 0, 0, 0] = 7.5, 100.0
    image.rack.view(np.uint8)[...] = 1
    kept.offer(np.frombuffer(old.to_bytes(image), np.uint8), 0, UTC)
    kept.finish(0, UTC)
    loaded = load(tmp_path, Layout(Retained, SITE.dims), catalog.program, names=catalog.names)
    assert loaded.retained is not None and not loaded.doubtful, loaded.problems
    assert np.flatnonzero(loaded.retained.latched).tolist() == [2, 9]
    assert (loaded.retained.trip_count, loaded.retained.out_of_service.tolist()) == (3, [False, True])
    assert loaded.retained.rack_throughput_ah.tolist() == [12.5, 12.5]
    assert loaded.retained.rack_contactor_operations.tolist() == [0, 0]
    assert loaded.retained.ledger["charge_wh"].tolist() == [7.5, 7.5], "a warranty asks for it"
    assert loaded.retained.ledger["hours"].sum() == loaded.retained.ledger["hours"][1, 0, 0, 0] == 100.0
    assert not loaded.retained.rack.view(np.uint8).any(), "a record whose fields are others begins anew"
    assert any("carried over" in p for p in loaded.problems)
