"""Every fault that lasts, as one table and one story, on TCP and RTU: who is hit, what is told, and nobody else cares.

The story: all is well; the fault begins and stays for WINDOW cycles; it ends, and everything comes back by itself.
In every case: no wrong value with good quality, an image in every cycle, all others refreshed as before, no descriptor
left open, and an event that names the trouble.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.core.signal import Quality
from tests.field_rig import RACK_UNIT, Rig
from tests.hostile import Fault, crc
from tests.steady_clock import SteadyClock

READS = frozenset({4})
HIT, UNIT = 1, 2
OTHERS = (0, 2, 3)
RACK = {"GW01": 0, "LINE1": 1}
TCP, RTU, BOTH = ("GW01",), ("LINE1",), ("GW01", "LINE1")
WINDOW, SETTLE, WINDOWS = 16, 6, 4
SHARE = 0.8
"""Others are refreshed in at least this share of all cycles, and never more than once per cycle."""

LOST, SENSOR, OLD, FINE = "lost", "sensor", "old", "fine"
Undo = Callable[[], Any]
Spoil = Callable[[Rig, str], Undo]


@dataclass(frozen=True)
class Case:
    """`hit`: what becomes of the unit's values; `whole`: the fault hits all units of the bus; `said`: in an event.

    `said` may name the bytes of the unit's reply: {whole}, and {less} or {more} by a register.
    `forgotten`: sockets that the other side keeps open until the fault ends.
    """

    name: str
    buses: tuple[str, ...]
    spoil: Spoil
    hit: str
    said: str
    counter: str = ""
    whole: bool = False
    forgotten: int = 0


def reply(kind: str, number: float = 0.0, every: int = 1, units: frozenset[int] | None = frozenset({UNIT})) -> Spoil:
    """Every reply of unit 2 to a read is spoiled."""

    def spoil(rig: Rig, bus: str) -> Undo:
        fault = Fault(kind, units, -1, number, READS, every=every)
        rig.servers[bus].faults.append(fault)
        return lambda: rig.servers[bus].faults.remove(fault)

    return spoil


def silent(rig: Rig, bus: str) -> Undo:
    """Connections are accepted, and nobody answers."""
    server = rig.servers[bus]
    server.dead = {1, 2, 3, 4, RACK_UNIT}
    return server.dead.clear


def half_open(rig: Rig, bus: str) -> Undo:
    """The other end of this connection forgot it; a new one would work."""
    forgotten = tuple(rig.servers[bus].connections)
    for connection in forgotten:
        connection.pause_reading()
    return lambda: [connection.abort() for connection in forgotten]


def gone(rig: Rig, bus: str) -> Undo:
    """Reboot: connections are cut, new ones refused until it is back."""
    server = rig.servers[bus]
    stopped = asyncio.ensure_future(server.stop())

    async def back() -> None:
        await stopped
        await server.start()

    return lambda: asyncio.ensure_future(back())


def value(address: int, raw: int) -> Spoil:
    """A register of unit 2 says that it has no value."""

    def spoil(rig: Rig, bus: str) -> Undo:
        table = rig.servers[bus].memory.inputs[UNIT]
        before, table[address] = table[address], raw
        return lambda: table.update({address: before})

    return spoil


def other_master(rig: Rig, bus: str) -> Undo:
    """Somebody else asks and is answered on our line, at his own pace."""
    question = bytes([9, 3, 0, 0, 0, 2])
    answer = bytes([9, 3, 4, 1, 2, 3, 4])
    foreign = question + crc(question) + answer + crc(answer)

    async def talk() -> None:
        while True:
            rig.servers[bus].send(foreign)
            await asyncio.sleep(0.037)

    return asyncio.ensure_future(talk()).cancel


def exception(code: int, hit: str, said: str) -> Case:
    return Case(f"exception-{code}", BOTH, reply("exception", code), hit, f"exception {code}: {said}", "exceptions")


SILENT = "no reply for 3 requests"
TABLE = [
    Case("timeout", BOTH, reply("timeout"), LOST, SILENT, "timeouts"),
    Case("drop", BOTH, reply("timeout", every=4), FINE, "", "timeouts"),
    Case("late", BOTH, reply("late", 0.09), LOST, "replies come too late", "late"),
    Case("duplicate", BOTH, reply("duplicate"), FINE, "", "late"),
    Case("truncated", BOTH, reply("truncated"), LOST, "a reply ended", "bad"),
    Case("garbage-tcp", TCP, reply("garbage"), LOST, "not a Modbus TCP header", "bad"),
    Case("garbage-rtu", RTU, reply("garbage"), LOST, "another master, or noise", "bad"),
    Case("garbage-before-tcp", TCP, reply("garbage_before"), LOST, "not a Modbus TCP header", "bad"),
    Case("garbage-before-rtu", RTU, reply("garbage_before"), LOST, "another master, or noise", "bad"),
    Case("wrong-protocol", TCP, reply("wrong_protocol"), LOST, "not a Modbus TCP header", "bad"),
    Case("wrong-unit-tcp", TCP, reply("wrong_unit"), LOST, "unit 3 replied for unit 2", "bad"),
    Case("wrong-unit-rtu", RTU, reply("wrong_unit"), LOST, "unit 3 spoke instead", "bad"),
    Case("wrong-transaction-id", TCP, reply("wrong_tid"), LOST, "never asked for", "bad"),
    Case("transaction-id-0", TCP, reply("zero_tid"), LOST, "transaction id 0", "bad"),
    Case("wrong-function", BOTH, reply("wrong_function"), LOST, "function 3 came for function 4", "bad"),
    Case("one-register-less", BOTH, reply("one_less"), LOST, "{less} data bytes came for {whole}", "bad"),
    Case("one-register-more", BOTH, reply("one_more"), LOST, "{more} data bytes came for {whole}", "bad"),
    Case("wrong-byte-count-tcp", TCP, reply("wrong_count"), LOST, "wrong byte count", "bad"),
    Case("wrong-byte-count-rtu", RTU, reply("wrong_count"), LOST, "{less} data bytes came for {whole}", "bad"),
    Case("crc", RTU, reply("crc"), LOST, "CRC error", "bad"),
    Case("bit-error", RTU, reply("bit_error"), LOST, "CRC error", "bad"),
    exception(1, LOST, "illegal function"),
    exception(2, LOST, "illegal address"),
    exception(3, LOST, "illegal value"),
    exception(4, LOST, "device failure"),
    exception(5, OLD, "acknowledge"),
    exception(6, OLD, "busy"),
    exception(0x0A, LOST, "gateway path unavailable"),
    exception(0x0B, LOST, "gateway target does not respond"),
    Case("busy-gateway", TCP, reply("exception", 6, units=None), OLD, "exception 6: busy", "exceptions", whole=True),
    Case("close", TCP, reply("close", units=None), OLD, "closed by the other side", "reconnects", whole=True),
    Case("reset", TCP, reply("reset", units=None), OLD, "connection reset by peer", "reconnects", whole=True),
    Case(
        "flapping",
        TCP,
        reply("close", every=20, units=None),
        FINE,
        "closed by the other side",
        "reconnects",
        whole=True,
    ),
    Case("half-open", TCP, half_open, FINE, "connection lost: no unit replies", "reconnects", True, forgotten=1),
    Case("accept-then-silent", TCP, silent, LOST, "connection lost: no unit replies", "reconnects", whole=True),
    Case("silent-line", RTU, silent, LOST, "no unit replies", "timeouts", whole=True),
    Case("reboot", TCP, gone, LOST, "cannot connect: connection refused", whole=True),
    Case("pulled-out", RTU, gone, LOST, "cannot connect: no such file", whole=True),
    Case("sentinel", BOTH, value(3, 0xFFFF), SENSOR, ""),
    Case("sensor-broken", BOTH, value(17, 0x8000), SENSOR, ""),
    Case("other-master", RTU, other_master, FINE, "another master", "bad", whole=True),
]


def judge_hit(rig: Rig, case: Case, rack: int) -> None:
    """The values of the unit that is hit, at the end of the window."""
    points = rig.image.points
    quality = np.concatenate(
        [points.cell_voltage_v.quality[rack, HIT], points.cell_temperature_degc.quality[rack, HIT]]
    )
    if case.hit == LOST:
        assert (quality == Quality.BAD_COMM).all()
    elif case.hit == SENSOR:
        assert np.count_nonzero(quality == Quality.BAD_SENSOR) == 1
        assert np.count_nonzero(quality == Quality.GOOD) == quality.size - 1
    elif case.hit == OLD:
        assert rig.age_ms(rack, HIT) > 10 * rig.compiled.plan.cycle_ms, "the age tells"
    elif not case.whole:
        assert (quality == Quality.GOOD).all()


def neglected(rig: Rig, case: Case, first: int) -> list[str]:
    """Whom the fault does not concern, and who was not refreshed once per cycle as before, since image `first`."""
    images = rig.images[first:]
    published = np.array([i.links.published_ms for i in images])
    stamps = {"P01": [int(i.points.pcs_active_power_w.time_ms[0]) for i in images]}
    stamps["AUX"] = [int(i.points.fire_alarm.time_ms) for i in images]
    for bus, rack in RACK.items():
        if bus in case.buses and case.whole:
            continue
        for module in OTHERS:
            stamps[f"{bus} unit {module + 1}"] = [
                int(i.points.cell_voltage_v.time_ms[rack, module].min()) for i in images
            ]
    found = [w for w, times in stamps.items() if not SHARE * len(images) <= len(set(times)) <= len(images) + 1]
    if np.median(np.diff(published)) != pytest.approx(rig.compiled.plan.cycle_ms, rel=0.2):
        found.append("the images")
    return found


async def judge_others(rig: Rig, case: Case) -> None:
    """A window of the fault in which everybody else is refreshed as before; the machine may have spoiled others."""
    found: list[str] = []
    for _ in range(WINDOWS):
        first = len(rig.images)
        await rig.cycles(WINDOW)
        found = neglected(rig, case, first)
        if not found:
            return
    raise AssertionError(f"{found} in each of {WINDOWS} windows; {rig.situation()}")


def reply_bytes(rig: Rig) -> dict[str, int]:
    """Data bytes of the reply that the faults spoil: the plan's read of the unit."""
    whole = next(2 * r.count for r in rig.compiled.plan.reads if r.unit == UNIT and r.function in READS)
    return {"whole": whole, "less": whole - 2, "more": whole + 2}


def _told(rig: Rig, bus: str, said: str) -> bool:
    return any(t.startswith(f"{bus}: ") and said in t for t in rig.events())


@pytest.mark.parametrize("case", TABLE, ids=lambda c: c.name)
async def test_a_fault_that_lasts(tmp_path: Path, case: Case) -> None:
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        await rig.cycles(SETTLE)
        descriptors = len(os.listdir("/proc/self/fd"))
        before = {bus: rig.count(case.counter, bus) for bus in case.buses if case.counter}
        undo = [case.spoil(rig, bus) for bus in case.buses]
        await judge_others(rig, case)
        said = case.said.format(**reply_bytes(rig))
        for bus in case.buses:
            judge_hit(rig, case, RACK[bus])
            assert not case.counter or rig.count(case.counter, bus) > before[bus]
            if said:
                await rig.until(partial(_told, rig, bus, said), f"{bus} tells {said}")
        open_now = descriptors + case.forgotten
        await rig.until(lambda: len(os.listdir("/proc/self/fd")) <= open_now, "no socket left open meanwhile")
        for end in undo:
            end()
        await rig.healthy()
        await rig.until(lambda: all(rig.image.links.bus_up), "every bus up")
        assert rig.wrong == []
        await rig.until(lambda: len(rig.servers["GW01"].connections) == 1, "one connection")
        assert len(os.listdir("/proc/self/fd")) <= descriptors, "a socket was left open"


async def test_not_a_number_and_infinity_are_no_values(tmp_path: Path) -> None:
    from plc_config.library import DATA

    (tmp_path / "profiles").mkdir()
    text = (DATA / "profiles" / "cellwarden-rack.yaml").read_text()
    line = next(x for x in text.splitlines() if "rack_insulation_ohm" in x)
    (tmp_path / "profiles" / "cellwarden-rack.yaml").write_text(
        text.replace(line, "  rack_insulation_ohm:      {address: 3, type: f32, scale: 1 ohm}")
    )
    async with Rig(tmp_path) as rig:
        tables = [rig.servers[bus].memory.inputs[RACK_UNIT] for bus in BOTH]
        for table in tables:
            table.update({3: 0x48F4, 4: 0x2400})
        await rig.healthy()
        for high in (0x7FC0, 0x7F80, 0xFF80):
            tables[0].update({3: high, 4: 0})
            bad = int(Quality.BAD_SENSOR)
            await rig.until(lambda q=bad: rig.image.points.rack_insulation_ohm.quality[0] == q, "no value")  # type: ignore[misc]
            assert rig.image.points.rack_insulation_ohm.value[0] == 500_000.0, "the last value stands, marked"
            assert rig.image.points.rack_voltage_v.quality[0] == Quality.GOOD
            tables[0].update({3: 0x48F4, 4: 0x2400})
            await rig.healthy()
            await rig.until(lambda: rig.image.points.rack_insulation_ohm.quality[0] == 0, "a value again")
        assert rig.wrong == []


async def test_another_client_of_the_gateway_that_changes_outputs_is_seen_and_not_fought(tmp_path: Path) -> None:
    """The read-back shows it, which is a row of the matrix (`command_not_confirmed`); nothing is written again."""
    async with Rig(tmp_path) as rig:
        server = rig.servers["GW01"]
        server.memory.on_write = lambda w: server.memory.inputs[RACK_UNIT].update(
            {5: 4 * int(w.data[0] == 0xFF)} if w.unit == RACK_UNIT and w.function == 5 and w.address == 0 else {}
        )
        await rig.healthy()
        await rig.until(lambda: any(w.function == 5 for w in server.memory.writes), "our own first state")
        await rig.cycles(3)
        ours = sum(w.function == 5 for w in server.memory.writes)
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(bytes.fromhex("000100000006") + bytes([RACK_UNIT, 5, 0, 0, 0xFF, 0]))
        confirmed = rig.image.points.rack_main_confirmed
        await rig.until(lambda: rig.image.points.rack_main_confirmed.value[0] == 1, "seen")
        confirmed = rig.image.points.rack_main_confirmed
        assert confirmed.quality[0] == Quality.GOOD and not rig.outputs.rack_main_close[0]
        await rig.cycles(10)
        assert sum(w.function == 5 for w in server.memory.writes) == ours + 1, "theirs, and none of ours"
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        assert rig.wrong == []
        await rig.healthy()


async def test_two_dead_units_of_96_leave_94_untouched(tmp_path: Path) -> None:
    from controller.fieldbus.driver import Driver
    from controller.image.files import SiteFiles
    from plc_config.compile import compile_site
    from tests.hostile import TcpServer
    from tests.sites import free_site

    compiled = compile_site(str(free_site(tmp_path, "container")))
    files = SiteFiles(tmp_path, compiled.dims)
    files.create()
    servers = [TcpServer(b.port) for b in compiled.plan.buses]
    clock = SteadyClock()
    clock.start()
    for server in servers:
        await server.start()
    driver = Driver(compiled.plan, files, tmp_path)
    task = asyncio.ensure_future(driver.run())
    reader, images = files.reader("field"), list[Any]()

    async def watch(count: int) -> None:
        """Collect so many images."""
        images.clear()
        while len(images) < count:
            assert not task.done(), task
            image = reader.read()
            if image is not None:
                images.append(image)
            await asyncio.sleep(0.01)

    dead = np.zeros((12, 8), bool)
    dead[0, 2] = dead[6, 4] = True
    try:
        await watch(12)
        assert (images[-1].points.cell_voltage_v.quality == Quality.GOOD).all()
        servers[0].dead, servers[6].dead = {3}, {5}
        await watch(12)
        await watch(WINDOW)
    finally:
        clock.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for server in servers:
            await server.stop()
    quality = images[-1].points.cell_voltage_v.quality
    assert (quality[dead] == Quality.BAD_COMM).all()
    assert (quality[~dead] == Quality.GOOD).all()
    times = np.array([i.points.cell_voltage_v.time_ms.min(axis=2) for i in images])
    refreshed = np.array([[len(set(times[:, r, m])) for m in range(8)] for r in range(12)])
    assert refreshed[dead].max() == 1
    assert refreshed[~dead].min() >= SHARE * len(images), refreshed.tolist()
