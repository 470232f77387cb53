"""The control socket: one JSON object per line in, one JSON object per line out, in order."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tools.simulator import actions, plant_actions, queries
from tools.simulator.verbs import VERBS, RequestError, check

if TYPE_CHECKING:
    from tools.simulator.simulator import Simulator

SOCKET_NAME: Final = "simulator.sock"
LINE_BYTES: Final = 1 << 20
PROBE_S: Final = 0.5
LARGEST_DELAY_MS: Final = 10**9

VERB_MODULES: Final = (actions, plant_actions, queries)
"""Importing them is what fills the table of verbs."""


class AlreadyRunning(Exception):
    """Another simulator of this site answers on the control socket."""


def through_folder(path: Path, folder_fd: int) -> str:
    """A name for a socket that is short however long its path is."""
    return f"/proc/self/fd/{folder_fd}/{path.name}"


class ControlServer:
    """Serves the verbs of `verbs.VERBS` on a unix socket."""

    def __init__(self, simulator: Simulator, path: Path) -> None:
        self.simulator, self.path = simulator, path
        self.server: asyncio.Server | None = None
        self.clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; AlreadyRunning when a living simulator holds the socket."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            name = through_folder(self.path, folder)
            if self.path.exists():
                if _alive(name):
                    raise AlreadyRunning(str(self.path))
                self.path.unlink()
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(name)
        finally:
            os.close(folder)
        listener.setblocking(False)
        self.server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LINE_BYTES)

    async def stop(self) -> None:
        """Close the socket and every conversation, and remove its file."""
        if self.server is None:
            return
        self.server.close()
        self.server = None
        for task in list(self.clients):
            task.cancel()
        await asyncio.gather(*self.clients, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self.clients.add(task)
            task.add_done_callback(self.clients.discard)
        try:
            while True:
                line = await reader.readline()
                if not line:
                    return
                answer = await self._answer(line)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError, asyncio.CancelledError):
            return
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except ValueError as error:
            return {"ok": False, "error": f"not JSON: {error}"}
        if not isinstance(request, dict):
            return {"ok": False, "error": "a JSON object is wanted"}
        if request.get("do") == "wait":
            return await self._wait(request)
        return self.perform(request)

    async def _wait(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            a = check(request)
        except RequestError as error:
            return {"ok": False, "error": str(error)}
        events = self.simulator.events
        since = events.last if a["since"] < 0 else int(a["since"])
        found = await events.wait(a["event"], a["place"], since, a["timeout_ms"])
        if found is None:
            return {"ok": False, "error": f"no {a['event']!r} within {a['timeout_ms']} ms", "last": events.last}
        return {"ok": True, "found": found, "last": events.last}

    def perform(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do one request at once; the answer says `ok` or what is wrong."""
        try:
            after_ms = float(request.pop("after_ms", 0))
            if not 0 <= after_ms <= LARGEST_DELAY_MS:
                raise RequestError(f"after_ms: 0..{LARGEST_DELAY_MS}, not {after_ms}")
            arguments = check(request)
            verb = VERBS[request["do"]]
            if after_ms > 0:
                self.simulator.schedule(after_ms, request)
                return {"ok": True, "scheduled": True}
            answer = verb.act(self.simulator, arguments)
        except (ValueError, TypeError, IndexError) as error:
            return {"ok": False, "error": str(error)}
        return {"ok": True, "time_ms": round(self.simulator.plant.time_ms), **answer}


def _alive(name: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(name)
        except OSError:
            return False
    return True
