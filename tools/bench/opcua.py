"""`cellwarden bench opcua`: pushing a plant's changes to subscribers, our way beside writing every node every scan.

Both servers have the same variables, and every value changes in every scan. Ours reads a shared image that another
process writes; the naive one writes all its nodes itself, as a straightforward server does. Subscribers are
processes of their own. All on this machine, unencrypted, so that encryption does not hide the difference.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

HELP = "Compares our OPC UA push with writing every node: items per second, latency, CPU of the server."
EXAMPLE = "cellwarden bench opcua --seconds 10"
SITE: Final = "container"
CYCLE_MS: Final = 100
NAIVE_URI: Final = "urn:cellwarden:site:naive"
SETTLE_S: Final = 2.0
START_S: Final = 60.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `bench opcua`."""
    parser.add_argument("--items", type=int, default=500, help="monitored items per subscriber")
    parser.add_argument("--seconds", type=float, default=6.0, help="duration of each measurement")
    parser.add_argument("--subscribers", type=int, nargs="+", default=[0, 1, 4])
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Prints one row per number of subscribers and server, and their ratio."""
    rows = []
    for count in args.subscribers:
        for scheme in ("naive", "ours"):
            rows.append(measure(scheme, count, args.items, args.seconds))
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    print(
        f"{SITE}: every value changes every {CYCLE_MS} ms; {args.items} items per subscriber, {args.seconds:g} s each"
    )
    print(
        f"{'subscribers':>11} {'server':<6} {'wanted/s':>9} {'items/s':>9} {'age ms p50':>11} {'p95':>7} {'CPU %':>7}"
    )
    for row in rows:
        print(
            f"{row['subscribers']:>11} {row['scheme']:<6} {row['wanted_per_s']:>9.0f} {row['items_per_s']:>9.0f} "
            f"{row['age_p50_ms']:>10.0f} {row['age_p95_ms']:>7.0f} {row['cpu_percent']:>7.1f}"
        )
    for naive, ours in zip(rows[::2], rows[1::2], strict=True):
        if naive["items_per_s"]:
            ratio = ours["items_per_s"] / naive["items_per_s"]
            cpu = (ours["items_per_s"] / ours["cpu_percent"]) / (naive["items_per_s"] / naive["cpu_percent"])
            print(f"{naive['subscribers']} subscribers: ours/naive items {ratio:.2f}, items per CPU {cpu:.2f}")
    return 0


def measure(scheme: str, subscribers: int, items: int, seconds: float) -> dict[str, Any]:
    """One server, its subscribers, and what they saw."""
    memory = tempfile.TemporaryDirectory(dir="/dev/shm", prefix="cellwarden-bench-")
    with memory as folder, _children(folder, scheme) as (server, endpoint):
        command = ["subscribe", endpoint, str(items), str(seconds), scheme]
        clients = [_spawn(command) for _ in range(subscribers)]
        for client in clients:
            _line(client)
        time.sleep(SETTLE_S)
        _ask(server, "start")
        for client in clients:
            _send(client, "start")
        if not clients:
            time.sleep(seconds)
        seen = [json.loads(_line(c)) for c in clients]
        cpu = float(_ask(server, "stop"))
        for client in clients:
            client.wait()
    took = [s["ages"] for s in seen]
    return {
        "scheme": scheme,
        "subscribers": subscribers,
        "wanted_per_s": subscribers * items * 1000 / CYCLE_MS,
        "items_per_s": sum(s["items"] for s in seen) / seconds,
        "age_p50_ms": float(np.median([a[0] for a in took])) if took else 0.0,
        "age_p95_ms": float(max(a[1] for a in took)) if took else 0.0,
        "cpu_percent": cpu,
    }


@contextlib.contextmanager
def _children(folder: str, scheme: str) -> Iterator[tuple[Any, str]]:
    scan = _spawn(["scan", folder]) if scheme == "ours" else None
    if scan is not None:
        _line(scan)
    server = _spawn([scheme, folder])
    try:
        yield server, _line(server)
    finally:
        for child in (server, scan):
            if child is not None:
                child.terminate()
                child.wait()


def _spawn(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tools.bench.opcua", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


def _line(child: subprocess.Popen[str]) -> str:
    line = child.stdout.readline() if child.stdout is not None else ""
    if not line:
        raise RuntimeError(f"{child.args!r} ended with {child.wait()}")
    return line.strip()


def _send(child: subprocess.Popen[str], word: str) -> None:
    if child.stdin is not None:
        child.stdin.write(word + "\n")
        child.stdin.flush()


def _ask(child: subprocess.Popen[str], word: str) -> str:
    _send(child, word)
    return _line(child)


def _paths() -> list[str]:
    """Scalars with a device behind them, spread over the plant."""
    from opcua_model.catalog import Catalog
    from opcua_model.server import model_of
    from plc_config.compile import compile_site

    points = model_of(compile_site(SITE), Catalog()).points
    return [p.path for p in points if p.spec.kind == "Double" and p.path.startswith("Racks/")]


def scan_child(folder: str) -> None:
    """Writes an image in which every value differs from the last, once per cycle, for ever."""
    from controller.image.files import SiteFiles
    from plc_config.compile import compile_site

    files = SiteFiles(Path(folder), compile_site(SITE).dims)
    files.create()
    layout, writer = files.layouts["process"], files.writer("process")
    image = layout.blank()
    print("ready", flush=True)
    start = time.monotonic()
    for number in range(10**9):
        now = time.monotonic_ns() // 10**6
        # A ratio, a volt and an ampere all move by more than the deadband of their range.
        step = 0.05 + 0.9 * (number % 2) + (number % 7) * 0.01
        for path, tag in layout.tags.items():
            found = layout.get(image, path)
            if tag.samples:
                found.quality[...], found.time_ms[...] = 0, now
                found.value[...] = step if tag.unit in ("ratio", "1") else 100 * step
            elif isinstance(found, np.ndarray) and found.dtype.kind == "f":
                found[...] = step if tag.unit in ("ratio", "1") else 1e5 * step
        system = dataclasses.replace(image.system, scan=number, now_ms=now, utc_ms=time.time_ns() // 10**6)
        estimates = dataclasses.replace(image.estimates, soc_valid=1)
        image = dataclasses.replace(image, system=system, estimates=estimates)
        writer.write(image)
        time.sleep(max(start + (number + 1) * CYCLE_MS / 1000 - time.monotonic(), 0))


async def _report_cpu() -> None:
    """Answers `start` and `stop` on standard input; to stop with the CPU used between the two."""
    began, used = time.monotonic(), 0.0
    while True:
        word = (await asyncio.to_thread(sys.stdin.readline)).strip()
        now = resource.getrusage(resource.RUSAGE_SELF)
        cpu = now.ru_utime + now.ru_stime
        if word == "start":
            began, used = time.monotonic(), cpu
            print("started", flush=True)
        else:
            print(100 * (cpu - used) / (time.monotonic() - began), flush=True)
            return


@contextlib.asynccontextmanager
async def _ours(folder: str) -> AsyncIterator[str]:
    from controller.app.opcua_process import catalog_of
    from controller.app.process import monotonic_ms, utc_ms
    from controller.image.files import SiteFiles
    from opcua_model.server import OpcuaServer, Place
    from opcua_model.view import Clock
    from plc_config.compile import compile_site

    site = compile_site(SITE)
    files = SiteFiles(Path(folder), site.dims)
    place = Place("127.0.0.1", 0)
    server = OpcuaServer(
        site, catalog_of(site.program), files, Path(folder), Clock(monotonic_ms, utc_ms), demo=True, place=place
    )
    await server.start()
    try:
        yield server.endpoint
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def _naive(_folder: str) -> AsyncIterator[str]:
    """The library as its examples show it: a node per value, every node written every cycle."""
    from asyncua.server.server import Server

    from opcua_model.library import ua

    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/naive")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(NAIVE_URI)
    parent = await server.nodes.objects.add_object(index, "BatterySystem")
    nodes = [await parent.add_variable(ua.NodeId(f"BatterySystem/{p}", index), p, 0.0) for p in _paths()]
    async with server:
        writer = asyncio.create_task(_write_all(nodes))
        try:
            yield f"opc.tcp://127.0.0.1:{server.bserver.port if server.bserver else 0}/naive"
        finally:
            writer.cancel()


async def _write_all(nodes: list[Any]) -> None:
    number = 0
    while True:
        number += 1
        began = time.monotonic()
        for node in nodes:
            await node.write_value(float(number))
        await asyncio.sleep(max(CYCLE_MS / 1000 - (time.monotonic() - began), 0))


async def serve_child(scheme: str, folder: str) -> None:
    """A server until it was asked for its CPU."""
    async with (_ours if scheme == "ours" else _naive)(folder) as endpoint:
        print(endpoint, flush=True)
        await _report_cpu()
        await asyncio.sleep(START_S)


class _Seen:
    """Counts notifications and their age on arrival."""

    def __init__(self) -> None:
        self.counting = False
        self.items = 0
        self.ages: list[float] = []

    def datachange_notification(self, _node: Any, _value: Any, data: Any) -> None:
        """One changed value."""
        if not self.counting:
            return
        self.items += 1
        stamp = data.monitored_item.Value.SourceTimestamp
        if stamp is not None:
            self.ages.append((time.time() - stamp.timestamp()) * 1000)


async def subscribe_child(endpoint: str, items: int, seconds: float) -> None:
    """A subscriber that counts from `start` for so many seconds."""
    from opcua_model.client import Login, SiteClient

    seen = _Seen()
    client = await SiteClient.connect(endpoint, Login(), timeout_s=START_S)
    sub = await client.client.create_subscription(CYCLE_MS, seen, queue_maxsize=100_000)
    nodes = [client.node(p) for p in _paths()[:items]]
    await sub.subscribe_data_change(nodes, sampling_interval=float(CYCLE_MS))  # type: ignore[call-overload]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    seen.counting = True
    await asyncio.sleep(seconds)
    seen.counting = False
    ages = np.percentile(seen.ages, [50, 95]).tolist() if seen.ages else [0.0, 0.0]
    print(json.dumps({"items": seen.items, "ages": ages}), flush=True)
    await client.close()


def child(arguments: list[str]) -> None:
    """The part of a child process."""
    import logging

    logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)
    if arguments[0] == "scan":
        scan_child(arguments[1])
    elif arguments[0] == "subscribe":
        asyncio.run(subscribe_child(arguments[1], int(arguments[2]), float(arguments[3])))
    else:
        asyncio.run(serve_child(arguments[0], arguments[1]))


if __name__ == "__main__":
    child(sys.argv[1:])
