"""The field tools before SunSpec devices, whose models they read first; and outputs in several places or registers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plc_config.compile import compile_site
from tests.profile_cases import CASES
from tests.unit.test_field_tools import cellwarden, one_device, simulated


async def test_what_discover_prints_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = one_device(tmp_path, CASES["sunspec-803"])
    async with simulated(site):
        port = compile_site(str(site)).plan.buses[0].port
        _, out, _ = await cellwarden(capsys, "discover", "--tcp", f"127.0.0.1:{port}", "--units", "1")
    line = next(row.strip() for row in out.splitlines() if "profile: sunspec" in row)
    pasted = line.partition("#")[0].replace("bus: BUS", "bus: DUT").replace("unit-1:", "dut:").strip()
    text = site.read_text()
    old = next(row for row in text.splitlines() if row.startswith("  dut:"))
    site.write_text(text.replace(old, f"  {pasted}"))
    assert "place: R01..R03/M01, series_cells" in pasted
    assert compile_site(str(site)).plan.devices[0].profile == "sunspec-803"


async def test_a_bank_behind_one_unit_is_written_by_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = one_device(tmp_path, CASES["sunspec-803"])
    async with simulated(site) as simulator:
        code, _, error = await cellwarden(capsys, "write", site, "dut", "rack_main_close", "on", "--yes")
        assert code == 2 and "is of several places: R01, R02, R03; name one" in error
        code, out, _ = await cellwarden(capsys, "write", site, "R02", "rack_main_close", "on", "--yes")
        assert code == 0 and "confirmed" in out
        assert simulator.plant.own_precharge.wanted.tolist() == [False, True, False]


async def test_two_registers_of_one_setpoint_are_both_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = one_device(tmp_path, CASES["sunspec-103-124"])
    async with simulated(site):
        code, out, _ = await cellwarden(capsys, "write", site, "dut", "pcs_active_power_setpoint_w", "40 kW", "--yes")
    assert code == 0 and out.count("confirmed") == 2 and "0fa0" in out and "f060" in out


async def test_a_site_with_an_unread_device_is_probed_without_guessing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = one_device(tmp_path, CASES["sunspec-804"])
    async with simulated(site) as simulator:
        group = next(g for g in simulator.groups if g.profile == "sunspec-804")
        slot = group.find("extras.string_model")
        assert slot is not None
        group.put_raw(slot, 0, 0, 65000)
        _, out, _ = await cellwarden(capsys, "probe", site, "--json")
    rows = [r for r in json.loads(out)["rows"] if "dut" in r["device"]]
    assert rows and {r["verdict"] for r in rows} == {"silent"} and not any(r["raw"] for r in rows)
    assert all("model 804 is not there" in r["note"] for r in rows)


async def test_a_list_of_addresses_is_asked_one_after_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = one_device(tmp_path, CASES["sunspec-803"])
    async with simulated(site):
        here, there = (b.port for b in compile_site(str(site)).plan.buses)
        tcp = f"127.0.0.1:{here}, 127.0.0.1..2:{there}"
        code, out, error = await cellwarden(capsys, "discover", "--tcp", tcp, "--units", "1,41", "--json")
    found = json.loads(out)
    assert code == 0 and [f["address"] for f in found] == [f"127.0.0.1:{here}", f"127.0.0.1:{there}"]
    assert f"127.0.0.2:{there}: connection refused" in error, "one that does not answer does not end the list"


@pytest.mark.parametrize("tcp", ["10.0.0.9..3", "10.0.0.1..255,10.0.1.1", "a,,b", "10.0.0.1..300"])
async def test_addresses_that_cannot_be_meant_are_refused(tcp: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = await cellwarden(capsys, "discover", "--tcp", tcp)
    assert code == 2 and error
