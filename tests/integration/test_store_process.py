"""The store as a process: it keeps what a scan publishes, ends in order, and may be killed at any time."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from controller.app.process import monotonic_ms
from controller.core.command import Kind
from controller.core.event import Event, What
from controller.historian.journal import verify_audit
from controller.historian.reader import HistoryStore
from controller.historian.replay import Replay, segments_of
from controller.historian.restore import load
from controller.historian.retained import Catalog
from tests.store_rig import Rig
from tools.cli import main

PATIENCE_S = 90.0
CYCLE_S = 0.1


class Live(Rig):
    """The rig on the real clock, and a real store process beside it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, with_store=False)
        self.status = self.files.reader("status.store")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "controller.app.store_process", "bench", "--run", str(self.files.folder),
             "--state", str(self.state), "--parent", str(os.getpid())]
        )  # fmt: skip
        begin = monotonic_ms()
        self.wait(lambda: self.alive_ms() > begin)

    def alive_ms(self) -> int:
        status = self.status.read_again()
        return int(status.alive_ms) if status is not None else 0

    def wait(self, condition: object) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():  # type: ignore[operator]
            assert time.monotonic() < end, "the store did not do it in time"
            time.sleep(0.02)

    def live(self, scans: int) -> None:
        """Scans at about the pace of the real clock, whose time they carry; how late they are does not matter."""
        if self.number == 0:
            self.now_ms = monotonic_ms()
        for _ in range(scans):
            self.scans()
            time.sleep(CYCLE_S)

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    monkeypatch.setenv("CELLWARDEN_STATE", str(tmp_path / "state"))
    made = Live(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def test_the_store_keeps_everything_over_kill_9_and_ends_in_order(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live.start()
    live.live(12)
    live.tell(Kind.CONNECT)
    live.live(3)
    live.points.estop_channel_1_closed.value[...] = live.points.estop_channel_2_closed.value[...] = 0.0
    live.live(2)
    number = live.number
    live.wait(lambda: live.status.read_again().latch_sequence >= number)  # type: ignore[union-attr]
    assert live.stop(signal.SIGKILL) == -signal.SIGKILL
    layout, digest = live.files.layouts["retained"], live.program.matrix.digest
    loaded = load(live.state, layout, digest, names=Catalog.of(live.program).names)
    assert loaded.retained is not None
    assert loaded.retained.latched[live.slot("estop")]
    assert loaded.retained.trip_count == live.image.trips.trip_count  # type: ignore[union-attr]
    assert np.array_equal(loaded.retained.latched, live.memory.protection.latched)

    live.live(3)
    live.start()
    live.live(6)
    assert live.stop() == 0
    store = HistoryStore(live.state)
    said = [e["text"] for e in store.events(0, 2**60, 1000)]
    assert said == [e.text for e in live.events]
    assert [a["what"] for a in store.audit(0, 2**60, 10)] == ["CONNECT"]
    assert verify_audit(live.state).intact
    result = Replay(segments_of(live.state / "recordings")).run()
    assert result.difference is None
    assert result.last_scan == live.number
    assert result.gaps == 0
    status = live.status.read_again()
    assert status is not None
    assert (status.trouble, status.lost, status.latch_sequence) == (0, 0, live.number)
    modes = [p.value for p in store.read("site_mode", 0, 2**60, 100)]
    assert modes[0] in (0, 1)
    assert modes[-1] == live.image.modes.site_mode  # type: ignore[union-attr]
    capsys.readouterr()
    assert main(["history", "bench", "site_mode", "--csv", str(tmp_path / "out.csv")]) == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(r["value"]) for r in table] == modes
    assert {r["variable"] for r in table} == {"site_mode"}


def test_a_storm_of_events_is_kept_or_counted(live: Live) -> None:
    live.start()
    for n in range(1, 3001):
        live.ring.put(Event(What.ALARM, text=f"storm {n}").record(n, n, 10**12 + n))
    live.wait(lambda: live.status.read_again().events >= 3000)  # type: ignore[union-attr]
    assert live.stop() == 0
    for n in range(3001, 3001 + 6000):
        live.ring.put(Event(What.ALARM, text=f"storm {n}").record(n, n, 10**12 + n))
    live.start()
    live.wait(lambda: live.status.read_again().events >= 4096)  # type: ignore[union-attr]
    assert live.stop() == 0
    said = [e["text"] for e in HistoryStore(live.state).events(0, 2**60, 10_000)]
    assert said == [f"storm {n}" for n in (*range(1, 3001), *range(9000 - 4096 + 1, 9001))]


def test_a_wrong_site_ends_with_78(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("site: nonsense\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "controller.app.store_process", str(tmp_path / "bad.yaml"), "--run", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 78
    assert "bad.yaml:1" in done.stderr


def test_the_history_command_lists_filters_and_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CELLWARDEN_STATE", str(tmp_path / "state"))
    rig = Rig(tmp_path)
    assert main(["history", "bench"]) == 1
    rig.online()
    rig.tell(Kind.ENTER_MAINTENANCE)
    rig.scans(100)
    # The store still runs: the command reads beside it.
    capsys.readouterr()
    assert main(["history", "bench"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert any(line.startswith("rack_current_a[R01]") and " A " in line for line in listed)
    assert main(["history", "bench", "rack_mode[R0*]", "--json"]) == 0
    points = json.loads(capsys.readouterr().out)
    assert {p["variable"] for p in points} == {"rack_mode[R01]", "rack_mode[R02]"}
    assert points[-1]["value"] == 2.0
    assert points[-1]["utc"].startswith("2001-09-09T02:03:")
    assert main(["history", "bench", "--events", "--from", "2001-09-09T02:00", "--to", "2001-09-09T03:00"]) == 0
    events = capsys.readouterr().out
    assert "STANDBY -> CONNECTING" in events and "connect            connecting [operator]" in events
    assert "enter_maintenance  refused: needs the Engineer role [operator]" in events
    assert main(["history", "bench", "--events", "--from", "2002-01-01"]) == 1
    assert main(["history", "bench", "--audit"]) == 0
    assert "operator" in capsys.readouterr().out
    assert main(["history", "bench", "--verify"]) == 0
    assert main(["history", "bench", "nothing*"]) == 1
    assert main(["history", "bench", "--from", "yesterday"]) == 2
    assert main(["history", "nowhere"]) == 78
    rig.finish()
