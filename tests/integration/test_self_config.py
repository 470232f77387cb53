"""SunSpec devices that configure themselves, on real sockets; pysunspec2 makes and judges the registers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from controller.app.self_config import SelfConfig
from controller.core.event import text_of
from controller.core.signal import Quality
from controller.image.files import SiteFiles
from plc_config.compile import compile_site
from tests.hostile import TcpServer
from tests.profile_cases import CASES
from tests.profile_rig import TCP, write_site
from tests.sites import free_ports, own_contactor_site
from tests.steady_clock import SteadyClock
from tools.simulator.simulator import running_simulator

official = pytest.importorskip("sunspec2.device")
client = pytest.importorskip("sunspec2.modbus.client")

PATIENCE_S = 60.0
SERIES = 240


def blank(number: int, length: int, third: int = 0) -> Any:
    """An official model of zeros; `third` is the register after id and length."""
    words = [number, length, third, *(0 for _ in range(length - 1))]
    return official.Model(model_id=number, model_len=length, data=b"".join(w.to_bytes(2, "big") for w in words))


def bank(strings: int) -> dict[int, Any]:
    """Official models 802 and 803 with telling values."""
    base = blank(802, 62)
    base.points["V_SF"].value = -1
    base.points["V"].cvalue = 791.5
    base.points["SoC_SF"].value = 0
    base.points["SoC"].value = 57
    groups = blank(803, 26 + 32 * strings, strings)
    for name, value in (("CellV_SF", -3), ("ModTmp_SF", -1), ("A_SF", -1), ("SoH_SF", 0), ("SoC_SF", -1), ("V_SF", -1)):
        groups.points[name].value = value
    groups.points["StrVAvg"].cvalue = 792.0
    for i, string in enumerate(groups.groups["string"]):
        p = string.points
        p["StrCellVMax"].cvalue, p["StrCellVMin"].cvalue = 3.31 + i / 100, 3.29 + i / 100
        p["StrModTmpMax"].cvalue, p["StrModTmpMin"].cvalue = 25.5 + i, 21.5 + i
        p["StrA"].cvalue, p["StrSoC"].cvalue = 12.5 - i, 55.5 + i
        p["StrSt"].value, p["StrEvt1"].value = 0, 0
    return {802: base, 803: groups}


def load(server: TcpServer, base: int, models: list[tuple[int, bytes]], unit: int = 1) -> None:
    """The chain of `models` (number, data after id and length) in the server's registers."""
    words = b"SunS"
    for number, data in models:
        words += number.to_bytes(2, "big") + (len(data) // 2).to_bytes(2, "big") + data
    words += b"\xff\xff\0\0"
    table = server.memory.holding[unit]
    table.clear()
    for i in range(len(words) // 2):
        table[base + i] = int.from_bytes(words[2 * i : 2 * i + 2], "big")


def body(model: Any) -> bytes:
    return bytes(model.get_mb())[4:]


class Io:
    """The I/O process's heart in this loop, with its images."""

    def __init__(self, folder: Path, profile: str, strings: int) -> None:
        site = own_contactor_site(folder, "sunspec-803", strings, SERIES)
        site.write_text(site.read_text().replace("profile: sunspec-803", f"profile: {profile}"))
        self.compiled = compile_site(str(site))
        self.files = SiteFiles(folder, self.compiled.dims)
        self.files.create()
        self.events = self.files.event_reader("io", from_start=True)
        self.texts: list[str] = []
        self.field = SelfConfig(self.compiled, self.files, folder, None)
        self.server = TcpServer(self.compiled.plan.buses[0].port)

    def points(self) -> Any:
        image = self.files.reader("field").read_again()
        return None if image is None else image.points

    def told(self) -> str:
        self.texts += [text_of(r, "text") for r in self.events.take(1000)]
        return "\n".join(self.texts)

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        end_s = monotonic() + PATIENCE_S
        while not condition():
            assert monotonic() < end_s, f"{what} did not happen: {self.told()}"
            await asyncio.sleep(0.02)

    def good(self) -> bool:
        p = self.points()
        return p is not None and bool((p.cell_voltage_v.quality == Quality.GOOD).all())

    def claims(self) -> bool:
        """Anything of the battery has a value that would be used."""
        p = self.points()
        return p is not None and any(
            bool((getattr(p, n).quality == Quality.GOOD).any())
            for n in ("cell_voltage_v", "rack_voltage_v", "rack_current_a", "rack_main_closed")
        )


@contextlib.asynccontextmanager
async def io(folder: Path, profile: str = "sunspec", strings: int = 2, serve: bool = True) -> AsyncIterator[Io]:
    rig = Io(folder, profile, strings)
    if serve:
        await rig.server.start()
    with SteadyClock():
        task = asyncio.ensure_future(rig.field.run())
        try:
            yield rig
            assert not task.done(), task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await rig.server.stop()


@pytest.mark.parametrize("base", [40000, 50000, 0])
@pytest.mark.parametrize("profile", ["sunspec", "sunspec-803"])
async def test_a_map_anywhere_with_vendor_models_between_is_read_as_the_judge_reads_it(
    base: int, profile: str, tmp_path: Path
) -> None:
    async with io(tmp_path, profile) as rig:
        models = bank(2)
        vendor = [(64_999, b"\x12\x34" * 37), (64_001, b"\0\x07" * 4)]
        load(
            rig.server,
            base,
            [(1, b"\0" * 130), vendor[0], (802, body(models[802])), vendor[1], (803, body(models[803]))],
        )
        await rig.until(rig.good, "good values")
        p, judge = rig.points(), models[803].groups["string"]
        for i in range(2):
            assert p.cell_voltage_v.value[i, 0].tolist() == pytest.approx(
                [judge[i].points["StrCellVMax"].cvalue, judge[i].points["StrCellVMin"].cvalue]
            )
            assert p.rack_current_a.value[i] == pytest.approx(judge[i].points["StrA"].cvalue)
            assert p.rack_soc_reported_ratio.value[i] == pytest.approx(judge[i].points["StrSoC"].cvalue / 100)
            assert p.rack_link_voltage_v.value[i] == pytest.approx(models[802].points["V"].cvalue)
        assert f"SunSpec map at {base}, models 1, 64999, 802, 64001, 803" in rig.told()


async def test_a_device_that_is_silent_at_start_is_taken_in_when_it_comes(tmp_path: Path) -> None:
    async with io(tmp_path, serve=False) as rig:
        await asyncio.sleep(0.5)
        assert not rig.claims()
        models = bank(2)
        load(rig.server, 50000, [(1, b"\0" * 132), (802, body(models[802])), (803, body(models[803]))])
        await rig.server.start()
        await rig.until(rig.good, "good values")


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ([(1, b"\0" * 132), (802, b"\0" * 124)], "model 803 is not there"),
        ([(1, b"\0" * 132), (802, b"\0" * 124), (803, b"\0" * 2 * (26 + 32))], "ends at its register 59, before 67"),
        ([(1, b"\0" * 132), (802, b"\0" * 120), (803, b"\0" * 2 * (26 + 64))], "has the length 60"),
    ],
    ids=["missing", "too few strings", "another edition"],
)
async def test_a_device_that_does_not_fit_is_never_read(
    models: list[tuple[int, bytes]], says: str, tmp_path: Path
) -> None:
    async with io(tmp_path) as rig:
        load(rig.server, 40000, models)
        await rig.until(lambda: says in rig.told(), says)
        rig.server.memory.reads.clear()
        await asyncio.sleep(0.3)
        assert not rig.claims()
        assert rig.server.memory.reads == [], "what does not fit is not asked for anything"


async def test_a_chain_that_makes_no_sense_is_begun_anew(tmp_path: Path) -> None:
    async with io(tmp_path) as rig:
        load(rig.server, 40000, [(1, b"\0" * 132)])
        rig.server.memory.holding[1][40070] = 802  # a model without a length
        await rig.until(lambda: "makes no sense" in rig.told(), "a word about it")
        assert not rig.claims()
        models = bank(2)
        load(rig.server, 40000, [(1, b"\0" * 132), (802, body(models[802])), (803, body(models[803]))])
        await rig.until(rig.good, "good values")


async def test_nothing_is_written_before_the_models_are_known(tmp_path: Path) -> None:
    async with io(tmp_path) as rig:
        writer, layout = rig.files.writer("output"), rig.files.layouts["output"]
        image = layout.blank()
        image.rack_main_close[...] = True
        for beat in range(5):
            writer.write(
                type(image)(**{**{f: getattr(image, f) for f in image.__dataclass_fields__}, "heartbeat": beat})
            )
            await asyncio.sleep(0.05)
        assert rig.server.memory.writes == []


async def test_a_setpoint_leaves_in_the_scale_that_the_device_gives(tmp_path: Path) -> None:
    """A legacy converter with scale factors of its own on a real socket; the official model says what it was told."""
    port, other = free_ports(2)
    site = write_site(tmp_path, CASES["sunspec-103-124"], TCP.format(port=port), other)
    compiled = compile_site(str(site))
    files = SiteFiles(tmp_path, compiled.dims)
    files.create()
    server, table = TcpServer(port), dict[int, int]()
    storage = blank(124, 24)
    storage.points["WChaMax_SF"].value, storage.points["InOutWRte_SF"].value = 1, -3
    storage.points["WChaMax"].cvalue = 160_000
    server.memory.holding[1] = table
    load(server, 40000, [(1, b"\0" * 132), (103, b"\0" * 100), (124, body(storage))])
    outputs, layout = files.writer("output"), files.layouts["output"]

    def limits() -> list[Any]:
        return [w for w in server.memory.writes if w.address in (40134, 40135)]

    await server.start()
    task = asyncio.ensure_future(SelfConfig(compiled, files, tmp_path, None).run())
    try:
        end_s, beat = monotonic() + PATIENCE_S, 0
        while len(limits()) < 2:
            assert monotonic() < end_s, server.memory.writes
            beat += 1
            image = dataclasses.replace(layout.blank(), heartbeat=beat)
            image.pcs_active_power_setpoint_w[0] = -40_000.0
            outputs.write(image)
            await asyncio.sleep(0.05)
        read_s = min(at_s for at_s, _, _, address in server.memory.reads if address == 40124)
        assert all(w.time_s > read_s for w in limits())
        words = b"".join(table[40122 + i].to_bytes(2, "big") for i in range(26))
        told = official.Model(model_id=124, model_len=24, data=words)
        assert (told.points["OutWRte"].cvalue, told.points["InWRte"].cvalue) == (-25.0, 25.0)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await server.stop()


def chain_of(models: dict[int, Any], *between: tuple[int, bytes]) -> list[tuple[int, bytes]]:
    return [(1, b"\0" * 132), *between, *((n, body(m)) for n, m in models.items())]


async def test_a_map_that_moves_while_it_is_polled_gives_no_wrong_value_and_is_read_anew(tmp_path: Path) -> None:
    async with io(tmp_path) as rig:
        load(rig.server, 40000, chain_of(bank(2)))
        await rig.until(rig.good, "good values")
        right = rig.points().cell_voltage_v.value.copy()
        wrong: list[Any] = []

        def look() -> bool:
            p = rig.points()
            good = p.cell_voltage_v.quality == Quality.GOOD
            wrong.extend(p.cell_voltage_v.value[good & (abs(p.cell_voltage_v.value - right) > 1e-6)].tolist())
            return "not where it was" in rig.told()

        load(rig.server, 40000, chain_of(bank(2), (64_777, b"\x0c\xe4" * 40)))
        await rig.until(look, "the guard's word")
        await rig.until(lambda: look() and rig.good(), "good values from the new place")
        assert not wrong
        assert "models 1, 64777, 802, 803" in rig.told()


async def test_a_device_found_late_is_taken_in_only_while_no_rack_is_told_to_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.app.self_config.START_S", 0.0)
    async with io(tmp_path, serve=False) as rig:
        writer = rig.files.writer("output")
        image = rig.files.layouts["output"].blank()
        image.rack_main_close[...] = True
        writer.write(dataclasses.replace(image, heartbeat=1))
        load(rig.server, 40000, chain_of(bank(2)))
        await rig.server.start()
        await rig.until(lambda: "taken in when the racks are open" in rig.told(), "a word about the wait")
        await asyncio.sleep(0.3)
        assert not rig.claims()
        image.rack_main_close[...] = False
        writer.write(dataclasses.replace(image, heartbeat=2))
        await rig.until(rig.good, "good values")


@pytest.mark.parametrize(
    ("profile", "racks", "modules"), [("sunspec-803", 3, 1), ("sunspec-804", 1, 5)], ids=["803", "804"]
)
async def test_the_judge_walks_and_reads_our_simulated_device(
    profile: str, racks: int, modules: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELLWARDEN_RUN", str(tmp_path))
    compiled = compile_site(str(own_contactor_site(tmp_path, profile, racks, SERIES, modules)))
    number = int(profile[-3:])

    def judged(port: int) -> Any:
        device = client.SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=port, timeout=60)
        device.scan()
        device.close()
        return device

    async with running_simulator(compiled, tmp_path, real_time=False) as simulator:
        port = compiled.plan.buses[0].port
        device = await asyncio.to_thread(judged, port)
        model = device.models[number][0]
        groups = next(iter(model.groups.values()))
        assert len(groups) == (racks if number == 803 else modules)
        names = ("StrCellVMax", "StrCellVMin") if number == 803 else ("ModCellVMax", "ModCellVMin")
        truth = simulator.sensors.faces["cell_voltage_v"].reshape(-1, 2)
        for group, shown in zip(groups, truth, strict=True):
            assert [group.points[n].cvalue for n in names] == pytest.approx(shown.tolist(), abs=2e-3)
