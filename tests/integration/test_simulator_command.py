"""`python -m tools.simulator` as a process of its own, and its control socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from plc_config.compile import compile_site
from tests.sites import free_site
from tools.simulator.client import SimulatorClient, SimulatorError

READY_S = 90


class Process:
    """A simulator process whose ready line has been read."""

    def __init__(self, run: Path, *words: str, **popen: object) -> None:
        self.run = run
        env = {**os.environ, "CELLWARDEN_RUN": str(run)}
        command = [sys.executable, "-m", "tools.simulator", *words]
        self.process = subprocess.Popen(  # type: ignore[call-overload]
            command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **popen
        )
        self.ready = self.process.stdout.readline()

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.end()

    def end(self) -> int:
        code: int = self.process.wait(READY_S)
        self.error = self.process.stderr.read()
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()
        return code


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return free_site(tmp_path)


@pytest.fixture
def running(site: Path, tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path / "run", str(site), "--noise", "0", "--truth", str(tmp_path / "truth.jsonl"))
    yield process
    if process.process.poll() is None:
        process.stop(signal.SIGKILL)


@pytest.fixture
def client(running: Process) -> Iterator[SimulatorClient]:
    with SimulatorClient(running.run) as connected:
        yield connected


def test_ready_line_and_orderly_end(running: Process, tmp_path: Path) -> None:
    assert running.ready == f"simulating bench: 4 buses ready, control {running.run}/simulator.sock\n"
    assert running.stop() == 0 and running.error == ""
    assert list(running.run.iterdir()) == []
    lines = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert lines[0]["kind"] == "truth" and len(lines[0]["racks"]) == 2


def test_a_truth_file_that_cannot_be_written_ends_it(site: Path, tmp_path: Path) -> None:
    for truth in ("/dev/full", str(tmp_path)):
        command = [sys.executable, "-m", "tools.cli", "simulate", str(site), "--truth", truth]
        env = {**os.environ, "CELLWARDEN_RUN": str(tmp_path / "other")}
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 1 and ended.stderr.startswith("cellwarden simulate: ")
        assert ended.stderr.count("\n") == 1


def test_sigterm_is_orderly_too(running: Process) -> None:
    assert running.stop(signal.SIGTERM) == 0
    assert list(running.run.iterdir()) == []


def test_client(client: SimulatorClient) -> None:
    assert client.do("ping")["site"] == "bench"
    since = client.last_event()
    client.override("R01/M01/C01", 3.8)
    injected = client.events(since)
    assert [(e["event"], e["what"], e["place"]) for e in injected] == [("injected", "value", "R01/M01/C01")]
    assert client.wait("injected", since=since)["n"] == injected[0]["n"]
    assert client.truth()["cell_voltage_v"]["max"] < 3.4
    assert len(client.cells(1)["voltage_v"]) == 4
    assert client.clear()["removed"] == 1
    assert set(client.stats()) == {"GW01", "LINE1", "PCS", "AUX"}
    with pytest.raises(SimulatorError, match="unknown verb"):
        client.do("explode")
    with pytest.raises(SimulatorError, match="within"):
        client.wait("inrush", timeout_ms=50)


def test_nonsense_on_the_control_socket_is_answered(client: SimulatorClient) -> None:
    client.socket.sendall(b"not json\n[1]\n")
    answers = [json.loads(client.stream.readline()) for _ in range(2)]
    assert [a["ok"] for a in answers] == [False, False]
    assert client.do("ping")["ok"]


def test_second_simulator_of_a_site_refuses(running: Process, site: Path) -> None:
    second = Process(running.run, str(site))
    assert second.ready == "" and second.end() == 75 and "already running" in second.error
    with SimulatorClient(running.run) as client:
        assert client.do("ping")["ok"], "the first one is untouched"


def test_socket_of_a_killed_simulator_is_taken_over(running: Process, site: Path) -> None:
    assert running.stop(signal.SIGKILL) == -signal.SIGKILL
    assert (running.run / "simulator.sock").exists()
    second = Process(running.run, str(site))
    assert second.ready.startswith("simulating bench") and second.stop() == 0


def test_a_taken_port_is_named(site: Path, tmp_path: Path) -> None:
    port = compile_site(str(site)).plan.buses[0].port
    with socket.create_server(("127.0.0.1", port)):
        process = Process(tmp_path / "run", str(site))
        assert process.end() == 1
    assert f"bus GW01: cannot listen on 127.0.0.1:{port}" in process.error
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["nowhere"], 78, "no site of the name 'nowhere'"),
        (["bench", "--play", "nowhere.csv"], 1, "nowhere.csv"),
        (["bench", "--fault", "melt R01"], 2, "unknown verb"),
        (["bench", "--soc", "2"], 2, "--soc"),
        (["bench", "--nonsense"], 2, "unrecognized"),
    ],
)
def test_wrong_command_lines(tmp_path: Path, words: list[str], code: int, part: str) -> None:
    process = Process(tmp_path / "run", *words)
    assert process.end() == code and part in process.error


def test_faults_and_generated_data_from_the_command_line(site: Path, tmp_path: Path) -> None:
    process = Process(
        tmp_path / "run", str(site), "--play", "--fault", "insulation R01 40kohm", "--fault", "at 50ms fire"
    )
    with SimulatorClient(process.run) as client:
        assert client.truth()["racks"][0]["insulation_ohm"] == 40e3
        client.wait("injected", "site", since=1, timeout_ms=60_000)
        assert client.truth()["fire"]
    assert process.stop() == 0


def test_ends_with_its_parent(site: Path, tmp_path: Path) -> None:
    process = Process(tmp_path / "run", str(site), "--with-parent", stdin=subprocess.PIPE)
    process.process.stdin.close()
    assert process.end() == 0
    assert list(process.run.iterdir()) == []


def test_ends_when_its_parent_is_killed(site: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shell = subprocess.Popen(
        ["sh", "-c", f"{sys.executable} -m tools.simulator {site} --with-parent & echo started; wait"],
        env={**os.environ, "CELLWARDEN_RUN": str(run)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert shell.stdout is not None
    assert shell.stdout.readline() == b"started\n" and shell.stdout.readline().startswith(b"simulating bench")
    with SimulatorClient(run) as client:
        shell.kill()
        shell.wait(READY_S)
        assert client.stream.readline() == b"", "the conversation ends with the simulator"
    shell.stdout.read()
    shell.stdout.close()
    assert list(run.iterdir()) == []


def test_help_lists_every_verb() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tools.simulator", "--help"], capture_output=True, text=True, check=True
    )
    assert "drop TARGET" in shown.stdout and "example:" in shown.stdout
