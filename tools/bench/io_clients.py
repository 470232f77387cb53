"""The clients that `cellwarden bench io` sets side by side: each reads 100 registers again and again."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from math import ceil
from pathlib import Path
from time import monotonic, process_time
from typing import Any, Final

import numpy as np
from pymodbus.client import AsyncModbusTcpClient

from controller.core.topology import Topology
from controller.fieldbus.driver import Driver
from controller.image.files import SiteFiles
from plc_config.plan import CYCLE, BusPlan, DevicePlan, PointRef, PointType, PollingPlan, ReadBlock

REGISTERS: Final = 100
CELLS: Final = 52
TEMPERATURES: Final = 26
UNITS: Final = 8
HOST: Final = "127.0.0.1"
C_TIMEOUT_S: Final = 60
CONNECT_POLL_S: Final = 0.01
CONNECT_POLLS: Final = 500
Client = Callable[[int, int, int], Awaitable["Figures"]]


@dataclasses.dataclass(frozen=True)
class Figures:
    """What one run cost."""

    reads: int
    wall_s: float
    cpu_s: float

    @property
    def us_per_read(self) -> float:
        """Processor time per read."""
        return 1e6 * self.cpu_s / self.reads

    @property
    def reads_per_s(self) -> float:
        """Throughput."""
        return self.reads / self.wall_s


def plan_for(port: int, connections: int, cycle_ms: int, timeout_ms: int = 1000) -> PollingPlan:
    """A plan of `connections` buses with 8 modules each, one block of 100 registers per module."""
    buses: list[BusPlan] = []
    devices: list[DevicePlan] = []
    reads: list[ReadBlock] = []
    for rack in range(connections):
        buses.append(BusPlan(rack, f"GW{rack + 1:02d}", "tcp", HOST, port, timeout_ms=timeout_ms))
        for module in range(UNITS):
            place, index = (rack, module), len(devices)
            cells = PointRef("cell_voltage_v", 0, CELLS, PointType("u16", 1e-4, sentinel=(0xFFFF,)), place)
            sensors = PointRef("cell_temperature_degc", CELLS, TEMPERATURES, PointType("s16", 0.1), place)
            devices.append(DevicePlan(index, f"module {index}", "bench", "module", rack, module + 1, place, 0, 0))
            unit = module + 1
            block = ReadBlock(rack, index, unit, unit, 4, 0, REGISTERS, CYCLE, 0, (cells, sensors), 1.0)
            reads.append(block)
    return PollingPlan(cycle_ms, tuple(buses), tuple(devices), tuple(reads), ())


def files_for(plan: PollingPlan, folder: Path) -> SiteFiles:
    """Images of the plan's size."""
    topology = Topology.regular(len(plan.buses), UNITS, CELLS, TEMPERATURES)
    files = SiteFiles(folder, {**topology.dims, "bus": len(plan.buses), "slot": 1, "unit": len(plan.devices)})
    files.create()
    return files


class Racing(Driver):
    """The driver with every check, image and counter, but a round begins as soon as the last one has ended."""

    rounds_left = 0
    finished: asyncio.Future[None]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.rounds_s: list[float] = []
        self._begun_s = 0.0

    async def _tick(self) -> None:
        for _ in range(CONNECT_POLLS):
            if all(bus.master.link for bus in self.buses):
                break
            await asyncio.sleep(CONNECT_POLL_S)
        self.started = monotonic(), process_time()
        self._start()
        await asyncio.Event().wait()

    def _start(self) -> None:
        self._waiting = {bus.plan.index for bus in self.buses}
        self._published = False
        self._begun_s = monotonic()
        for bus in self.buses:
            bus.master.begin(self._begun_s + 1.0)

    def _publish(self) -> None:
        super()._publish()
        self.rounds_s.append(monotonic() - self._begun_s)
        self.rounds_left -= 1
        if self.rounds_left > 0:
            self._loop.call_soon(self._start)
        elif not self.finished.done():
            self.finished.set_result(None)


async def ours(port: int, connections: int, reads: int) -> Figures:
    """(a) our transport in the full driver: checks, time and quality, counters, histogram, decoding, images."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        plan = plan_for(port, connections, 100)
        driver = Racing(plan, files_for(plan, Path(name)), Path(name))
        driver.rounds_left = rounds = ceil(reads / (connections * UNITS))
        driver.finished = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(driver.run())
        await asyncio.wait([task, driver.finished], return_when=asyncio.FIRST_COMPLETED)
        begin_s, begin_cpu_s = driver.started
        figures = Figures(rounds * connections * UNITS, monotonic() - begin_s, process_time() - begin_cpu_s)
        await _cancel(task)
        return figures


async def pymodbus(port: int, connections: int, reads: int) -> Figures:
    """(b) pymodbus' own asynchronous client."""
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
    clients = [AsyncModbusTcpClient(HOST, port=port, retries=0) for _ in range(connections)]
    for client in clients:
        await client.connect()
    each = ceil(reads / connections)

    async def loop(client: Any) -> None:
        for i in range(each):
            reply = await client.read_input_registers(0, count=REGISTERS, device_id=1 + i % UNITS)
            if reply.isError() or len(reply.registers) != REGISTERS:
                raise ConnectionError(str(reply))

    begin_s, begin_cpu_s = monotonic(), process_time()
    await asyncio.gather(*(loop(c) for c in clients))
    figures = Figures(each * connections, monotonic() - begin_s, process_time() - begin_cpu_s)
    for client in clients:
        client.close()
    return figures


class _Raw(asyncio.Protocol):
    """Sends a request, copies the reply into an array, and sends the next: no checks, no time-outs."""

    def __init__(self, reads: int, done: asyncio.Future[None]) -> None:
        self.left, self.done = reads, done
        self.values = np.zeros(REGISTERS, np.int32)
        self.buffer = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self) -> None:
        """The next request."""
        number = (self.left & 0xFFFF).to_bytes(2, "big")
        self.transport.write(number + b"\0\0\0\x06\x01\x04\0\0" + REGISTERS.to_bytes(2, "big"))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if len(self.buffer) < 9 + 2 * REGISTERS:
            return
        self.values[:] = np.frombuffer(self.buffer, ">u2", REGISTERS, 9)
        self.buffer = b""
        self.left -= 1
        if self.left > 0:
            self.ask()
        else:
            self.done.set_result(None)


async def raw(port: int, connections: int, reads: int) -> Figures:
    """(c) a raw asyncio protocol."""
    loop = asyncio.get_running_loop()
    each = ceil(reads / connections)
    ends = [loop.create_future() for _ in range(connections)]
    pairs = [await loop.create_connection(lambda e=end: _Raw(each, e), HOST, port) for end in ends]  # type: ignore[misc]
    begin_s, begin_cpu_s = monotonic(), process_time()
    for _, protocol in pairs:
        protocol.ask()
    await asyncio.gather(*ends)
    figures = Figures(each * connections, monotonic() - begin_s, process_time() - begin_cpu_s)
    for transport, _ in pairs:
        transport.abort()
    return figures


LIBMODBUS_SOURCE: Final = r"""
#include <modbus.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
static int port, each;
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + 1e-9 * t.tv_nsec; }
static void *loop(void *x) {
    modbus_t *c = modbus_new_tcp("127.0.0.1", port);
    uint16_t r[125];
    if (!c || modbus_connect(c)) exit(1);
    for (int i = 0; i < each; i++) {
        modbus_set_slave(c, 1 + i % 8);
        if (modbus_read_input_registers(c, 0, 100, r) != 100) exit(2);
    }
    modbus_close(c); modbus_free(c);
    return x;
}
int main(int n, char **a) {
    if (n != 4) return 3;
    port = atoi(a[1]); int k = atoi(a[2]); each = atoi(a[3]);
    pthread_t t[64]; double begin = now();
    for (int i = 0; i < k; i++) pthread_create(&t[i], 0, loop, 0);
    for (int i = 0; i < k; i++) pthread_join(t[i], 0);
    struct rusage u; getrusage(RUSAGE_SELF, &u);
    printf("%.6f %.6f\n", now() - begin,
           u.ru_utime.tv_sec + u.ru_stime.tv_sec + 1e-6 * (u.ru_utime.tv_usec + u.ru_stime.tv_usec));
    return 0;
}
"""


def build_libmodbus(folder: Path) -> tuple[Path | None, str]:
    """(d) a C client on Debian's libmodbus, or None and the word why it is skipped."""
    compiler, config = shutil.which("cc"), shutil.which("pkg-config")
    if compiler is None or config is None:
        return None, "skipped: no C compiler or no pkg-config"
    found = subprocess.run([config, "--cflags", "--libs", "libmodbus"], capture_output=True, text=True, check=False)
    if found.returncode:
        return None, "skipped: no libmodbus-dev"
    source, program = folder / "client.c", folder / "client"
    source.write_text(LIBMODBUS_SOURCE)
    flags = found.stdout.split()
    built = subprocess.run(
        [compiler, "-O2", "-o", str(program), str(source), *flags, "-lpthread"],
        capture_output=True,
        text=True,
        check=False,
    )
    return (program, "") if built.returncode == 0 else (None, f"skipped: {built.stderr.strip()[:80]}")


def libmodbus(program: Path, port: int, connections: int, reads: int) -> Figures:
    """(d) one run of the C client, one thread per connection."""
    each = ceil(reads / connections)
    command = [str(program), str(port), str(connections), str(each)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=C_TIMEOUT_S)
    wall_s, cpu_s = (float(x) for x in done.stdout.split())
    return Figures(each * connections, wall_s, cpu_s)


async def _cancel(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
