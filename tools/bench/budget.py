"""`cellwarden bench budget`: every budget of a reference site, measured in one run of the real processes.

Three phases: nobody connected; ordinary SCADA load (three clients with 500 items each at 100 ms, one client that
walks the tree without pause); abuse of the OPC UA port from this machine (silent sockets, garbage, a header that
claims 4 GB, channel floods; bounded in count and time).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tools.progress import done, step

if TYPE_CHECKING:
    from tools.pair import Pair

HELP = "Runs a site against its simulator, quiet, under SCADA load and under abuse, and prints budgets beside figures."
BUDGETS: Final[dict[str, dict[str, float]]] = {
    "container": {
        "scan": 5,
        "busy": 50,
        "quiet": 5,
        "scada": 5,
        "abuse": 20,
        "io": 10,
        "opcua": 1,
        "memory": 600,
        "age": 200,
    },
    "plant": {
        "scan": 15,
        "busy": 50,
        "quiet": 10,
        "scada": 10,
        "abuse": 30,
        "io": 35,
        "opcua": 2,
        "memory": 1500,
        "age": 300,
    },
}
PHASES: Final = ("quiet", "scada", "abuse")
CLIENTS, ITEMS, PUBLISHING_MS = 3, 500, 100
SOCKETS: Final = 60
CLAIM: Final = b"HELF" + struct.pack("<I", 0xFFFFFFFF)
CHUNK: Final = b"\x00" * 65536
CHUNKS_AT_MOST: Final = 200
MEGABYTE: Final = 1e6
FIGURES: Final = (
    ("scan", "scan, inputs to outputs, p99, ms", "scan_p99_ms", "all"),
    ("busy", "all work of a scan p99, ms", "busy_p99_ms", "all"),
    ("quiet", "start lateness p99, nobody connected, ms", "lateness_p99_ms", "quiet"),
    ("scada", "start lateness p99, SCADA load, ms", "lateness_p99_ms", "scada"),
    ("abuse", "start lateness p99, OPC UA port abused, ms", "lateness_p99_ms", "abuse"),
    ("io", "io, % of a core", "io_percent", "quiet"),
    ("opcua", "OPC UA with no subscriber, % of a core", "opcua_percent", "quiet"),
    ("age", "age of any fitted value p99, ms", "age_p99_ms", "all"),
    ("memory", "memory of all processes, MB", "memory_mb", "scada"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `bench budget`."""
    parser.add_argument("--site", choices=tuple(BUDGETS), default="container")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each of the three phases")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0 when every figure is inside its budget, else 1."""
    from tools.commands.operate import quiet

    quiet()
    phases = asyncio.run(_measure(args.site, args.seconds))
    rows = []
    for key, what, figure, phase in FIGURES:
        value = max(p[figure] for p in phases.values()) if phase == "all" else phases[phase][figure]
        rows.append({"figure": what, "measured": round(value, 2), "budget": BUDGETS[args.site][key]})
    overruns = sum(p["overruns"] for p in phases.values())
    rows.append({"figure": "overruns in all phases", "measured": overruns, "budget": 0})
    if args.json:
        print(json.dumps({"site": args.site, "rows": rows, "phases": phases}, indent=2))
    else:
        print(f"{args.site}, three phases of {args.seconds:g} s")
        for row in rows:
            print(f"  {row['figure']:<46} {row['measured']:>9} of {row['budget']:>6}")
        scada = phases["scada"]
        print(
            f"  SCADA load: {scada['items_per_s']:.0f} items/s pushed, OPC UA {scada['opcua_percent']:.0f} % of a core"
        )
    return 0 if all(float(str(r["measured"])) <= float(str(r["budget"])) for r in rows) else 1


async def _measure(site: str, seconds: float) -> dict[str, dict[str, float]]:
    from tools.pair import running, wait_state

    phases: dict[str, dict[str, float]] = {}
    async with running(site) as (pair, client, _plant):
        step("connecting the site")
        await wait_state(client, "STANDBY")
        await client.call("Connect")
        await wait_state(client, "ONLINE", 180)
        await client.call("SetActivePower", 0.3 * pair.site.config.dispatch.rated_power)
        await client.close()
        for number, name in enumerate(PHASES, 1):
            step(f"phase {number} of {len(PHASES)}: {name}, {seconds:g} s")
            meter = Meter(pair)
            load: Any = {"quiet": _nobody, "scada": Scada, "abuse": Abuse}[name]
            async with load(pair):
                await asyncio.sleep(2.0)
                meter.begin()
                await asyncio.sleep(seconds)
                phases[name] = meter.end()
    done()
    return phases


@contextlib.asynccontextmanager
async def _nobody(pair: Pair) -> AsyncIterator[None]:
    """No client at all."""
    yield


class Meter:
    """Differences of the processes' own counters over a phase."""

    def __init__(self, pair: Pair) -> None:
        from controller.image.files import PROCESSES, SiteFiles

        self.names = PROCESSES
        self.files = SiteFiles(pair.run, pair.site.dims)

    def begin(self) -> None:
        """Counters at the start."""
        self.scan: Any = self.files.reader("status.scan").read_again()
        self.ticks, self.begun_s = self._ticks(), time.monotonic()

    def _ticks(self) -> dict[str, tuple[int, float]]:
        from controller.app.child import process_usage

        supervisor: Any = self.files.reader("status.supervisor").read_again()
        return {n: process_usage(int(pid)) for n, pid in zip(self.names, supervisor.pid, strict=True)}

    def end(self) -> dict[str, float]:
        """What the phase cost."""
        from controller.image.histogram import percentile

        scan: Any = self.files.reader("status.scan").read_again()
        opcua: Any = self.files.reader("status.opcua").read_again()
        ticks = self._ticks()
        seconds = (time.monotonic() - self.begun_s) * os.sysconf("SC_CLK_TCK")
        percent = {n: 100.0 * (ticks[n][0] - self.ticks[n][0]) / seconds for n in self.names}
        spread = {n: getattr(scan, n) - getattr(self.scan, n) for n in _histograms()}
        return {
            "lateness_p99_ms": percentile(spread["lateness_histogram"], 0.99),
            "scan_p99_ms": percentile(spread["duration_histogram"], 0.99),
            "busy_p99_ms": percentile(spread["busy_histogram"], 0.99),
            "age_p99_ms": percentile(spread["age_histogram"], 0.99),
            "overruns": float(scan.overruns - self.scan.overruns),
            "items_per_s": float(opcua.items_per_s) if opcua is not None else 0.0,
            "memory_mb": float(sum(rss for _, rss in ticks.values())),
            **{f"{n}_percent": p for n, p in percent.items()},
        }


def _histograms() -> tuple[str, ...]:
    return ("lateness_histogram", "duration_histogram", "busy_histogram", "age_histogram")


class Scada:
    """Ordinary load: subscriptions in three sessions, and one client that reads everything again and again."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.clients: list[Any] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Scada:
        from opcua_model.library import ua

        paths = self._paths()
        for i in range(CLIENTS):
            client = await self.pair.client()
            self.clients.append(client)
            subscription = await client.client.create_subscription(PUBLISHING_MS, _Sink())
            part = [paths[(i * ITEMS + k) % len(paths)] for k in range(ITEMS)]
            await subscription.subscribe_data_change(
                [client.node(p) for p in dict.fromkeys(part)], ua.AttributeIds.Value
            )
        walker = await self.pair.client()
        self.clients.append(walker)
        self.tasks.append(asyncio.create_task(self._walk(walker, paths)))
        return self

    def _paths(self) -> list[str]:
        from controller.app.opcua_process import catalog_of
        from opcua_model.server import model_of

        model = model_of(self.pair.site, catalog_of(self.pair.site.program))
        return [p.path for p in model.points if not p.path.startswith("Control/")]

    async def _walk(self, client: Any, paths: list[str]) -> None:
        while True:
            for start in range(0, len(paths), 500):
                await client.read(paths[start : start + 500])
                await asyncio.sleep(0.05)

    async def __aexit__(self, *error: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for client in self.clients:
            await client.close()


class _Sink:
    """Takes notifications and forgets them."""

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        """One changed value."""


@dataclasses.dataclass
class Abuse:
    """Hostile peers on loopback: each of the four patterns in turn, with a bounded number of sockets and bytes."""

    pair: Pair
    task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Abuse:
        self.task = asyncio.create_task(asyncio.to_thread(self._attack))
        self.stopping = False
        return self

    async def __aexit__(self, *error: object) -> None:
        self.stopping = True
        if self.task is not None:
            await self.task

    def _attack(self) -> None:
        rng = np.random.default_rng(7)
        while not self.stopping:
            for pattern in (self._silent, self._garbage, self._giant, self._channels):
                if not self.stopping:
                    pattern(rng)

    def _open(self) -> socket.socket | None:
        port = self.pair.site.config.opcua.port
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=0.5)
        except OSError:
            return None

    def _silent(self, rng: np.random.Generator) -> None:
        held = [self._open() for _ in range(SOCKETS)]
        time.sleep(0.5)
        for s in held:
            if s is not None:
                s.close()

    def _garbage(self, rng: np.random.Generator) -> None:
        for _ in range(SOCKETS):
            self._send([rng.bytes(512)])

    def _giant(self, rng: np.random.Generator) -> None:
        self._send([CLAIM, *[CHUNK] * CHUNKS_AT_MOST])

    def _channels(self, rng: np.random.Generator) -> None:
        endpoint = b"opc.tcp://127.0.0.1:4840/cellwarden"
        body = struct.pack("<IIIII", 0, 65535, 65535, 0, 0) + struct.pack("<i", len(endpoint)) + endpoint
        hello = b"HELF" + struct.pack("<I", 8 + len(body)) + body
        for _ in range(SOCKETS):
            self._send([hello, b"OPNF" + struct.pack("<I", 140) + rng.bytes(132)])

    def _send(self, parts: list[bytes]) -> None:
        s = self._open()
        if s is None:
            return
        with s:
            try:
                for part in parts:
                    s.sendall(part)
                s.settimeout(0.05)
                s.recv(4096)
            except OSError:
                return
