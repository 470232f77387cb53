"""read, write, discover and probe against simulated devices on real sockets and a pty."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controller.app import lock
from plc_config.compile import compile_site
from plc_config.plan import BusPlan
from plc_config.schema.profile import Extra
from tests.profile_cases import CASES
from tests.profile_rig import RTU, TCP, Case, write_site
from tests.sites import free_ports, free_site
from tools.cli import main
from tools.commands import discover, probe
from tools.field_view import Reading, explain
from tools.simulator.bus import Bus, WireFault
from tools.simulator.events import EventLog
from tools.simulator.modbus import Device
from tools.simulator.options import Options
from tools.simulator.simulator import Simulator, running_simulator
from tools.simulator.tcp import BusServer

PATIENT = "timeout: 2 s"
"""A machine that holds the test up for a moment makes no device silent."""

POINTS = 8 * (16 + 4 + 2) + 2 * 10 + 7 + 8
"""Of the bench: cells, sensors and counters of 8 modules, 2 racks, a PCS, the auxiliaries."""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLWARDEN_RUN", str(tmp_path / "run"))


def be_patient(site: Path) -> None:
    site.write_text(re.sub(r"timeout: \d+ ms", PATIENT, site.read_text()))


@asynccontextmanager
async def simulated(site: Path) -> AsyncIterator[Simulator]:
    """Simulated devices whose clock stands still."""
    folder = site.parent / "run"
    folder.mkdir(exist_ok=True)
    be_patient(site)
    async with running_simulator(compile_site(str(site)), folder, Options(noise=0.0), real_time=False) as simulator:
        yield simulator


async def cellwarden(capsys: pytest.CaptureFixture[str], *args: Any) -> tuple[int, str, str]:
    """Exit code, output and error output of a command, while this loop serves its devices."""
    code = await asyncio.to_thread(main, [str(a) for a in args])
    told = capsys.readouterr()
    return code, told.out, told.err


def one_device(tmp_path: Path, case: Case, serial: bool = False) -> Path:
    port, other = free_ports(2)
    return write_site(tmp_path, case, RTU if serial else TCP.format(port=port), other)


# -- read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["daly-hkms", "seplos-v3", "jk-pb", "sunspec-803", "pylontech-powercube-m2"])
@pytest.mark.parametrize("serial", [False, True], ids=["tcp", "rtu"])
async def test_every_kind_of_device_is_shown_whole(
    profile: str, serial: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = one_device(tmp_path, CASES[profile], serial)
    async with simulated(site) as simulator:
        want = float(simulator.sensors.faces["cell_voltage_v"][0, 0, 0])
        code, out, _ = await cellwarden(capsys, "read", site, "dut", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["answered"] == facts["requests"] > 1
    rows = {(r["place"], r["point"], r["element"]): r for r in facts["readings"]}
    cell = rows["R01/M01", "cell_voltage_v", 1]
    assert cell["value"] == pytest.approx(want, abs=1e-3) and cell["unit"] == "V" and cell["quality"] == "GOOD"
    assert int(cell["raw"], 16) > 0 and cell["age_ms"] < 60_000
    assert any(r["extra"] for r in facts["readings"])
    if profile == "sunspec-803":
        assert rows["R01/M01", "marker", 0]["text"] == "" and rows["R01/M01", "bank_model", 0]["value"] == 802
        assert ("R03/M01", "cell_voltage_v", 2) in rows and ("R02", "rack_current_a", 0) in rows


async def test_another_device_at_the_address_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = one_device(tmp_path, CASES["sunspec-804"])
    async with simulated(site) as simulator:
        group = next(g for g in simulator.groups if g.profile == "sunspec-804")
        slot = group.find("extras.string_model")
        assert slot is not None
        group.put_raw(slot, 0, 0, 805)
        code, out, error = await cellwarden(capsys, "read", site, "dut", "--once")
    assert code == 69 and not out, "registers of an unknown layout are not shown as if they were known"
    assert "its SunSpec models are not known: sunspec-804: points." in error and "model 804 is not there" in error


def test_a_register_that_is_not_what_the_profile_expects_is_marked() -> None:
    reading = Reading("R01", "model_id", 0, 3, 6, "1268", 4712.0, "1", "GOOD", "", True)
    explain(reading, Extra(address=6, doc="Type of device", expect=4711))
    assert reading.quality == "UNEXPECTED" and "expected 4711: another device" in reading.text


async def test_alarm_bits_and_states_are_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = one_device(tmp_path, CASES["pylontech-powercube-m2"])
    async with simulated(site) as simulator:
        group = next(g for g in simulator.groups if g.profile == "pylontech-powercube-m2")
        for name, raw in (("warnings", 0x0201), ("state", 2)):
            slot = group.find(f"extras.{name}")
            assert slot is not None
            group.put_raw(slot, 0, 0, raw)
        _, out, _ = await cellwarden(capsys, "read", site, "dut", "--json")
    texts = {r["point"]: r["text"] for r in json.loads(out)["readings"]}
    assert texts["warnings"] == "cell low, discharge current"
    assert texts["state"] == "discharge"


async def test_a_silent_device_and_a_closed_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = free_site(tmp_path)
    async with simulated(site) as simulator:
        simulator.buses["GW01"].add_fault(WireFault("drop", 100))
        code, out, _ = await cellwarden(capsys, "read", site, "R01", "--once")
        assert code == 69 and "BAD_COMM" in out and "no reply" in out
        simulator.buses["GW01"].clear_faults()
        simulator.buses["GW01"].add_fault(WireFault("exception", 100, 2))
        code, out, _ = await cellwarden(capsys, "read", site, "R01", "--once")
        assert code == 69 and "refused, exception 2: illegal address" in out
    code, _, err = await cellwarden(capsys, "read", site, "R01", "--once")
    assert code == 69 and "connection refused" in err


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("modules-1", "stands for 4 devices: 'R01/M01 modules-1'"),
        ("R09", "no device or place 'R09'; devices: modules-1"),
    ],
)
def test_which_device_is_asked_back(device: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = free_site(tmp_path)
    told = told.replace("'R09'", "'R09' in this site")
    assert main(["read", str(site), device, "--once"]) == 2
    assert told in capsys.readouterr().err


async def test_a_bus_of_the_running_controller_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = free_site(tmp_path)
    async with simulated(site):
        fd = lock.take(tmp_path / "run" / "io.lock")
        code, _, err = await cellwarden(capsys, "read", site, "R02", "--once")
        assert code == 75 and "owns LINE1" in err
        code, out, err = await cellwarden(capsys, "read", site, "P01", "--once")
        assert code == 0 and "two clients now ask on PCS" in err and "pcs_active_power_w" in out
        code, _, err = await cellwarden(capsys, "write", site, "site", "horn_on", "on", "--yes")
        assert code == 75 and "would fight this write" in err
        code, _, _ = await cellwarden(capsys, "probe", site)
        assert code == 75
        os.close(fd)


# -- write ----------------------------------------------------------------------------------------------------


async def test_a_write_shows_what_was_and_what_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = free_site(tmp_path)
    async with simulated(site) as simulator:
        code, _, err = await cellwarden(capsys, "write", site, "R02", "rack_precharge_close", "on")
        assert code == 2 and "nothing was written" in err
        assert not simulator.plant.racks.precharge.command[1]
        code, out, _ = await cellwarden(capsys, "write", site, "R02", "rack_precharge_close", "on", "--yes")
        assert code == 0 and "old 0, wanted 1, new 1 (rack_precharge_confirmed): confirmed" in out
        assert simulator.plant.racks.precharge.command[1]
        code, out, _ = await cellwarden(capsys, "write", site, "P01", "pcs_active_power_setpoint_w", "-5 kW", "--yes")
        assert code == 0 and "old 0 W, wanted -5000 W, new -5000 W" in out
        simulator.buses["PCS"].add_fault(WireFault("exception", 1, 3))
        code, out, _ = await cellwarden(capsys, "write", site, "P01", "pcs_run", "on", "--yes")
        assert code == 1 and "NOT WRITTEN: refused, exception 3" in out


@pytest.mark.parametrize(
    ("device", "output", "value", "told"),
    [
        ("P01", "pcs_active_power_setpoint_w", "5", "is not a quantity; write it like 2.5 MW"),
        ("P01", "pcs_active_power_setpoint_w", "9 GW", "does not fit"),
        ("P01", "horn_on", "on", "has no output 'horn_on'; it has: pcs_run"),
        ("site", "horn_on", "loud", "neither on, off nor a number"),
        ("R01/M01", "cell_bleed_on", "on", "a row of 16"),
    ],
)
def test_a_write_that_makes_no_sense(
    device: str, output: str, value: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["write", str(free_site(tmp_path)), device, output, value, "--yes"]) == 2
    assert told in capsys.readouterr().err


# -- discover -------------------------------------------------------------------------------------------------


class Registers(Device):
    """A device that is nothing but holding registers."""

    def __init__(self, words: dict[int, int]) -> None:
        self.words = words
        self.asked: list[tuple[int, int]] = []
        self.group = type("Group", (), {"reply_offset": 0})()

    def answer(self, pdu: bytes) -> bytes:
        """Registers that exist, else exception 2."""
        address, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        self.asked.append((address, count))
        if pdu[0] != 3 or any(address + i not in self.words for i in range(count)):
            return bytes((pdu[0] | 0x80, 2))
        return bytes((3, 2 * count)) + b"".join(self.words[address + i].to_bytes(2, "big") for i in range(count))


def sunspec(base: int, *models: tuple[int, int]) -> dict[int, int]:
    """A SunSpec map with empty models."""
    words = [0x5375, 0x6E53]
    for number, length in models:
        words += [number, length] + [0] * length
    words += [0xFFFF, 0]
    maker = b"Acme Storage\0\0\0\0"
    for i in range(0, len(maker), 2):
        words[4 + i // 2] = int.from_bytes(maker[i : i + 2], "big")
    return {base + i: w for i, w in enumerate(words)}


@asynccontextmanager
async def served(*devices: tuple[int, Registers]) -> AsyncIterator[int]:
    """The devices behind one port of 127.0.0.1."""
    (port,) = free_ports(1)
    bus = Bus("X", "tcp", EventLog())
    for unit, device in devices:
        bus.devices[unit] = device
    server = BusServer(bus, "127.0.0.1", port)
    await server.start()
    try:
        yield port
    finally:
        await server.stop()


@pytest.mark.parametrize("base", [40000, 50000, 0])
async def test_a_sunspec_device_tells_its_models(base: int, capsys: pytest.CaptureFixture[str]) -> None:
    device = Registers(sunspec(base, (1, 66), (802, 62), (803, 58), (64202, 14)))
    async with served((3, device)) as port:
        code, out, _ = await cellwarden(capsys, "discover", "--tcp", f"127.0.0.1:{port}", "--units", "1..4", "--json")
    (found,) = json.loads(out)
    assert code == 0 and found["unit"] == 3 and found["base"] == base
    assert [m["id"] for m in found["models"]] == [1, 802, 803, 64202]
    assert found["texts"]["maker"] == "Acme Storage"
    at = base + 2
    assert found["bases"] == {"common": at, "m802": at + 68, "m803": at + 132, "m64202": at + 192}
    assert found["broken"] == ""


@pytest.mark.parametrize(
    ("models", "told"), [(((1, 66), (802, 0)), "model 802 of length 0"), (((1, 66), (802, 62)), "illegal address")]
)
async def test_a_map_that_does_not_end_is_told(models: Any, told: str) -> None:
    words = sunspec(40000, *models)
    if told == "illegal address":
        del words[max(words)], words[max(words)]
    async with served((1, Registers(words))) as port:
        (found,) = await discover.scan(BusPlan(0, "X", "tcp", host="127.0.0.1", port=port, timeout_ms=2000), [1])
    assert told in found.broken and [m.id for m in found.models][:1] == [1]


async def test_a_scan_is_gentle(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    device = Registers({0: 1})
    async with served((2, device)) as port:
        monkeypatch.setattr("tools.commands.discover.asyncio.sleep", noted)
        bus = BusPlan(0, "X", "tcp", host="127.0.0.1", port=port, timeout_ms=2000)
        found = await discover.scan(bus, [1, 2, 3])
    assert [f.unit for f in found] == [2] and found[0].models == []
    assert device.asked == [(0, 1), (40000, 2), (50000, 2), (0, 2)]
    assert pauses.count(discover.GAP_MS / 1000) == 2 + len(device.asked)


async def test_units_of_a_serial_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = free_site(tmp_path)
    async with simulated(site):
        port = tmp_path / "run" / "LINE1"
        code, out, _ = await cellwarden(
            capsys, "discover", "--serial", port, "--baud", 115200, "--units", "1..2,99..100", "--timeout", "2s"
        )
    assert code == 0 and "3 of 4 unit ids answer" in out


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("--tcp", "127.0.0.1:x"), 2, "is not HOST[:PORT]"),
        (("--tcp", "127.0.0.1:99999"), 2, "is not HOST[:PORT]"),
        (("--tcp", "127.0.0.1:502", "--units", "1..300"), 2, "0 to 255"),
        (("--serial", "nowhere/tty"), 69, "nowhere/tty"),
    ],
)
def test_a_wrong_address_is_told(args: Any, code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["discover", *args]) == code
    assert told in capsys.readouterr().err


# -- probe ----------------------------------------------------------------------------------------------------


async def test_the_sheet_of_a_site(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "COUNTER_WAIT_S", 0.0)
    site = free_site(tmp_path)
    async with simulated(site) as simulator:
        simulator.buses["GW01"].add_fault(WireFault("drop", 2))
        simulator.sensors.add("cell_voltage_v", (0, 0, 3), "value", 3.9)
        simulator.sensors.add("cell_temperature_degc", (0, 0, 1), "nan")
        simulator.encode_all()
        table, page = tmp_path / "s.csv", tmp_path / "s.html"
        code, out, _ = await cellwarden(capsys, "probe", site, "--csv", table, "--html", page)
    assert code == 1
    told = {line.split()[0] + " " + line.split()[1]: line for line in out.splitlines()[1:]}
    assert "from the module's middle cell" in told["R01/M01 cell_voltage_v[4]"]
    assert "no value" in told["R01/M01 cell_temperature_degc[2]"]
    assert "stands still" in told["R01/M03 module_sample_counter"]
    assert "silent, no reply" in told["R01/M02 modules-1"]
    rows = table.read_text().splitlines()
    assert len(rows) == 1 + POINTS and rows[0].endswith("seen_on_site,checked_by")
    assert "sign test: discharge must show positive" in page.read_text()
    assert page.read_text().count("<tr") == 1 + POINTS


async def test_a_counter_that_moves_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = free_site(tmp_path)
    async with simulated(site) as simulator:
        sleep = asyncio.sleep

        async def let_time_pass(seconds: float) -> None:
            if seconds == probe.COUNTER_WAIT_S:
                simulator.advance(0.2)
            await sleep(0)

        monkeypatch.setattr("tools.commands.probe.asyncio.sleep", let_time_pass)
        rows = await probe.walk(compile_site(str(site)))
    assert {r.verdict for r in rows} == {"ok"}


async def test_a_site_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = free_site(tmp_path)
    code, out, _ = await cellwarden(capsys, "probe", site)
    assert code == 69 and f"{POINTS} silent" in out
