"""The whole chain, from the Modbus wire to SCADA and back, with real processes, sockets and a serial line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from controller.core.image import SiteMode
from tests.e2e.plant import Plant

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


async def test_from_the_wire_to_scada_and_back(tmp_path: Path) -> None:
    with Plant(tmp_path, play="generated") as plant:
        client = await plant.client()
        await plant.online(client)
        closed = [r["main_closed"] for r in plant.plant.truth()["racks"]]
        assert closed == [True, True], "the plant agrees"

        answer = await client.call("SetActivePower", 40e3)
        assert answer.accepted
        power = await plant.wait_for(client, "Measurements/ActivePower", lambda p: p is not None and p > 38e3)
        assert power == pytest.approx(plant.plant.truth()["power_w"], abs=3e3)
        assert await client.write("Control/ActivePowerSetpoint", 1e9) >> 30 == 2, "beyond the rating: refused"
        setpoint = (await client.read_one("Control/ActivePowerSetpoint")).value
        assert setpoint == pytest.approx(40e3), "and never seen"

        plant.plant.override("R01/M02/C03", 3.80, "cell_voltage_v")
        await plant.wait_for(client, "Status/FirstOut", lambda t: t and "cell_overvoltage" in t)
        plant.plant.wait("main_opened", "R01", 0, 60_000)
        assert plant.plant.truth()["racks"][0]["main_closed"] is False
        assert plant.plant.truth()["racks"][1]["main_closed"] is True, "the other rack carries on"
        why = await client.call("Why", "why did it trip?")
        assert "cell_overvoltage R01/M02/C03" in why.reason and "then reset by an operator" in why.reason
        refused = await client.call("ResetTrips")
        assert not refused.accepted and "cause still present" in refused.reason
        plant.plant.clear("R01/M02/C03", "cell_voltage_v")
        await plant.wait_for(client, "Racks/R01/Modules/M02/CellVoltageMax", lambda v: v is not None and v < 3.45)
        reset = await client.call("ResetTrips")
        assert reset.accepted, reset
        assert (await client.call("AcknowledgeAlarm", _int32(-1))).accepted
        # Played currents do not know the load, so the in-rush can only be foretold without one.
        assert (await client.call("SetActivePower", 0.0)).accepted
        assert (await client.call("Connect")).accepted
        plant.until(lambda: plant.plant.truth()["racks"][0]["main_closed"], "R01 joins again")

        armed = await client.call("ArmShutdown", "end of the test")
        assert armed.accepted and armed.token
        assert not (await client.call("ExecuteShutdown", "1")).accepted, "a wrong token"
        assert (await client.call("ExecuteShutdown", armed.token)).accepted
        await plant.wait_for(client, "Status/State", lambda s: s == "STANDBY")
        truth = plant.plant.truth()
        assert not any(r["main_closed"] for r in truth["racks"])
        assert truth["power_w"] == pytest.approx(0, abs=100)
        await client.close()

        plant.until(lambda: (i := plant.image()) and i.measured.bad_values == 0, "every value is good")
        report = plant.stop()
        rows = [t["row"] for t in report["trips"]]
        assert rows == ["cell_overvoltage"]
        line = report["buses"]["LINE1"]
        # A simulator that was held up is late, and on RTU the reply behind a late one is not believed.
        assert line["ok"] > 0 and line["bad"] <= line["timeouts"]
        _replay(plant)
        _history(plant)
        _trip_report(plant)
        _trip_file(plant)


def _int32(value: int) -> object:
    from asyncua import ua

    return ua.Variant(value, ua.VariantType.Int32)


def _cellwarden(plant: Plant, *arguments: str, **elsewhere: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.cli", *arguments]
    return subprocess.run(command, env=plant.env | elsewhere, capture_output=True, text=True, timeout=120)


def _replay(plant: Plant) -> None:
    done = _cellwarden(plant, "replay", str(plant.state / "recordings"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "identical" in done.stdout


def _history(plant: Plant) -> None:
    audit = _cellwarden(plant, "history", str(plant.path), "--audit", "--json")
    assert audit.returncode == 0, audit.stderr
    for word in ("set_active_power", "execute_shutdown", "operator", "end of the test"):
        assert word in audit.stdout
    values = _cellwarden(plant, "history", str(plant.path), "active_power_w", "--csv", "-")
    assert values.returncode == 0 and len(values.stdout.splitlines()) > 3


def _trip_file(plant: Plant) -> None:
    (file,) = (plant.state / "trips").glob("*.cwr")
    done = _cellwarden(plant, "replay", str(file))
    assert done.returncode == 0 and "all identical" in done.stdout, done.stdout + done.stderr
    listed = _cellwarden(plant, "report", "trip", str(plant.path), "--json")
    assert '"row": "cell_overvoltage"' in listed.stdout and '"place": "R01/M02"' in listed.stdout
    figures = _cellwarden(plant, "report", "alarms", str(plant.path))
    assert figures.returncode == 0 and "cell_overvoltage R01/M02" in figures.stdout, figures.stderr


def _trip_report(plant: Plant) -> None:
    page = plant.folder / "trip.html"
    done = _cellwarden(plant, "report", "trip", str(plant.path), "--out", str(page))
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    for word in ("cell_overvoltage", "R01/M02/C03", "R01 open command given", "every scan identical", "<polyline"):
        assert word in text
    assert "http" not in text, "self-contained"


def test_a_bad_configuration_is_refused_with_78(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("site: 1\n")
    done = subprocess.run(
        [sys.executable, "-m", "tools.cli", "run", str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 78
    assert "bad.yaml:1:" in done.stderr and "Traceback" not in done.stderr


async def test_a_second_instance_is_refused_and_an_unplugged_line_takes_out_its_rack_and_only_that(
    tmp_path: Path,
) -> None:
    with Plant(tmp_path) as plant:
        a_second_instance_refuses_to_start_and_changes_nothing(plant)
        await an_unplugged_line_takes_out_its_rack_and_only_that(plant)
        plant.stop()


def a_second_instance_refuses_to_start_and_changes_nothing(plant: Plant) -> None:
    before = plant.image()
    second = _cellwarden(plant, "run", str(plant.path), "--for", "1s")
    assert second.returncode == 75
    assert "already runs" in second.stderr
    elsewhere = {"CELLWARDEN_RUN": str(plant.folder / "run2"), "CELLWARDEN_STATE": str(plant.folder / "state2")}
    third = _cellwarden(plant, "run", str(plant.path), "--for", "1s", **elsewhere)
    assert third.returncode == 75
    assert "is driven by another controller of this machine" in third.stderr
    assert not list((plant.folder / "state2").glob("*")), "its state is untouched"
    assert plant.pid("scan") and plant.restarts("scan") == 0
    assert before is not None
    plant.until(lambda: (i := plant.image()) and i.system.scan > before.system.scan + 5, "scans go on")


async def an_unplugged_line_takes_out_its_rack_and_only_that(plant: Plant) -> None:
    client = await plant.client()
    await plant.online(client)
    plant.until(lambda: all(r["main_closed"] for r in plant.plant.truth()["racks"]), "both racks closed")
    plant.plant.do("drop", target="LINE1")
    plant.until(lambda: not plant.plant.truth()["racks"][1]["main_closed"], "R02's own watchdog opens it")
    truth = plant.plant.truth()
    assert truth["racks"][0]["main_closed"], "R01 is on another bus"
    assert plant.mode() == SiteMode.ONLINE
    volts = await client.read_one("Racks/R02/Modules/M01/CellVoltageMax")
    assert volts.bad, "no old value on the screen"
    plant.plant.do("restore", target="LINE1")
    await plant.wait_for(client, "Racks/R02/Modules/M01/CellVoltageMax", lambda v: v is not None)
    await client.close()
