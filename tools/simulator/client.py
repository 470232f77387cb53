"""A small blocking client of the control socket, for tests and for people at a prompt."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from controller.image.folder import run_folder
from tools.simulator.control import SOCKET_NAME, through_folder

RETRY_S: Final = 0.02


class SimulatorError(RuntimeError):
    """The simulator refused a request; the text is its reason."""


class SimulatorClient:
    """Talks to a running simulator. `where` is the socket's path, its run folder, or a site id."""

    def __init__(self, where: str | Path, timeout_s: float = 10.0, wait_s: float = 0.0) -> None:
        path = Path(where)
        if isinstance(where, str) and "/" not in where:
            path = run_folder(where)
        self.path = path / SOCKET_NAME if path.is_dir() else path
        self.timeout_s = timeout_s
        self.socket = self._connect(time.monotonic() + wait_s)
        self.stream = self.socket.makefile("rb")

    def _connect(self, deadline: float) -> socket.socket:
        while True:
            try:
                return self._connect_once()
            except OSError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(RETRY_S)

    def _connect_once(self) -> socket.socket:
        folder = os.open(self.path.parent, os.O_RDONLY)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self.timeout_s)
            connection.connect(through_folder(self.path, folder))
        except OSError:
            connection.close()
            raise
        finally:
            os.close(folder)
        return connection

    def __enter__(self) -> SimulatorClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the conversation."""
        self.stream.close()
        self.socket.close()

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to a request, `ok` or not."""
        wait_s = float(request.get("timeout_ms", 5000)) / 1000 if request.get("do") == "wait" else 0.0
        self.socket.settimeout(self.timeout_s + wait_s)
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        line = self.stream.readline()
        if not line:
            raise ConnectionError(f"the simulator at {self.path} closed the conversation")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def do(self, verb: str = "", **request: Any) -> dict[str, Any]:
        """The answer to a request; SimulatorError when it was refused."""
        answer = self.ask(**({"do": verb} if verb else {}), **request)
        if not answer["ok"]:
            raise SimulatorError(answer["error"])
        return answer

    # -- what tests ask most ---------------------------------------------------------------------------------

    def truth(self) -> dict[str, Any]:
        """Summary of the plant's true state."""
        found: dict[str, Any] = self.do("truth")["truth"]
        return found

    def cells(self, rack: int) -> dict[str, Any]:
        """True cell values of one rack (from 0)."""
        return self.do("truth_cells", rack=rack)

    def events(self, since: int = 0) -> list[dict[str, Any]]:
        """Events after number `since`."""
        found: list[dict[str, Any]] = self.do("events", since=since, limit=20_000)["events"]
        return found

    def last_event(self) -> int:
        """Number of the newest event; give it to `wait` or `events` as `since`."""
        return int(self.do("events", since=2**62)["last"])

    def wait(self, event: str, place: str = "", since: int = -1, timeout_ms: float = 5000) -> dict[str, Any]:
        """The first such event after number `since` (-1: from now on); SimulatorError when it does not come."""
        found: dict[str, Any] = self.do("wait", event=event, place=place, since=since, timeout_ms=timeout_ms)["found"]
        return found

    def override(self, place: str, value: float, point: str = "") -> dict[str, Any]:
        """Let a register show a value."""
        return self.do("override", place=place, value=value, point=point)

    def clear(self, place: str = "", point: str = "") -> dict[str, Any]:
        """Remove instrument faults at a place, or heal everything."""
        return self.do("clear", place=place, point=point)

    def stats(self) -> dict[str, dict[str, int]]:
        """Counters of every bus by name."""
        found: dict[str, dict[str, int]] = self.do("stats")["buses"]
        return found
