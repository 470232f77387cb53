"""kill -9 of every process, as DESIGN's table of processes says: judged by the plant and by the survivors."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from controller.core.event import text_of
from controller.core.image import SiteMode
from opcua_model.client import SiteClient
from tests.e2e.plant import Plant
from tests.sites import own_contactor_site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def kill(plant: Plant, name: str) -> int:
    pid = plant.until(lambda: plant.pid(name), f"{name} runs")
    os.kill(pid, signal.SIGKILL)
    return int(pid)


async def under_power(plant: Plant, watts: float = 40e3) -> SiteClient:
    client = await plant.client()
    await plant.online(client)
    assert (await client.call("SetActivePower", watts)).accepted
    plant.until(lambda: abs(plant.plant.truth()["power_w"] - watts) < 3e3, "power flows")
    return client


async def test_opcua_and_store_killed_the_plant_does_not_notice_then_scan_power_goes_to_zero(tmp_path: Path) -> None:
    with Plant(tmp_path) as plant:
        client = await under_power(plant)
        again = await opcua_and_store_killed_the_plant_does_not_notice(plant)
        await asyncio.wait_for(client.close(), 60)
        assert (await again.call("SetActivePower", 40e3)).accepted
        plant.until(lambda: abs(plant.plant.truth()["power_w"] - 40e3) < 3e3, "power flows again")
        scan_killed_power_goes_to_zero_and_it_restarts_open(plant)
        await again.close()


async def opcua_and_store_killed_the_plant_does_not_notice(plant: Plant) -> SiteClient:
    for name in ("opcua", "store"):
        kill(plant, name)
        plant.until(lambda n=name: plant.restarts(n) == 1 and plant.pid(n), f"{name} restarts")
    assert plant.plant.truth()["power_w"] == pytest.approx(40e3, abs=3e3)
    assert plant.mode() == SiteMode.ONLINE
    again = await plant.client()
    assert (await again.read_one("Status/State")).value == "ONLINE"
    assert (await again.call("SetActivePower", 10e3)).accepted, "and SCADA is heard again"
    assert plant.restarts("scan") == plant.restarts("io") == 0
    return again


def scan_killed_power_goes_to_zero_and_it_restarts_open(plant: Plant) -> None:
    last = plant.plant.last_event()
    before = plant.image()
    assert before is not None
    kill(plant, "scan")
    plant.plant.wait("write", "P01", last, 60_000)
    plant.until(lambda: abs(plant.plant.truth()["power_w"]) < 1e3, "zero power")
    plant.until(lambda: plant.restarts("scan") == 1 and plant.pid("scan"), "scan restarts")
    plant.until(lambda: (i := plant.image()) is not None and i.system.scan > before.system.scan + 20, "scans go on")
    plant.until(lambda: not any(r["main_closed"] for r in plant.plant.truth()["racks"]), "it comes up open")
    image = plant.image()
    assert image is not None and not image.outputs.rack_main_close.any()
    assert image.modes.site_mode in (SiteMode.STARTING, SiteMode.STANDBY, SiteMode.TRIPPED)


async def test_io_killed_the_devices_time_out_and_nothing_stays_closed(tmp_path: Path) -> None:
    with Plant(tmp_path) as plant:
        client = await under_power(plant)
        kill(plant, "io")
        plant.until(lambda: plant.restarts("io") == 1 and plant.pid("io"), "io restarts")
        # On a fast machine it is back before anything counts as lost: killed at once again it is not.
        kill(plant, "io")
        plant.until(lambda: plant.restarts("io") == 2 and plant.pid("io"), "io restarts once more")
        plant.until(lambda: not any(r["main_closed"] for r in plant.plant.truth()["racks"]), "all open")
        plant.until(lambda: (i := plant.image()) and i.measured.bad_values == 0, "values are fresh again")
        assert plant.plant.truth()["power_w"] == pytest.approx(0, abs=1e3)
        await client.close()
        report = plant.stop()
        assert report["processes"]["io"]["restarts"] == 2
        assert report["processes"]["scan"]["restarts"] == 0


async def test_io_killed_while_online_with_devices_that_configure_themselves(tmp_path: Path) -> None:
    """The new process knows no map: the racks open, the models are read anew, and every value is good again."""
    site = own_contactor_site(tmp_path, "sunspec-803", 2, 240)
    text = site.read_text().replace("profile: sunspec-803", "profile: sunspec")
    site.write_text(text.replace("profile: cellwarden-pcs", "profile: sunspec"))
    with Plant(tmp_path, site) as plant:
        plant.until(lambda: (i := plant.image()) and i.modes.rack_ready.all(), "all devices have configured themselves")
        client = await under_power(plant)
        events = plant.files.event_reader("io")
        kill(plant, "io")
        plant.until(lambda: plant.restarts("io") == 1 and plant.pid("io"), "io restarts")
        plant.until(lambda: not any(r["main_closed"] for r in plant.plant.truth()["racks"]), "all open")
        plant.until(lambda: (i := plant.image()) and i.measured.bad_values == 0, "every value is good again")
        told = " ".join(text_of(r, "text") for r in events.take(1000))
        assert told.count(": SunSpec map at 40000") == 2, told
        assert plant.restarts("scan") == 0 and plant.restarts("io") == 1
        assert plant.plant.truth()["power_w"] == pytest.approx(0, abs=1e3)
        await client.close()


async def test_supervisor_killed_everything_ends_safely_and_later_a_latched_trip_survives_the_same(
    tmp_path: Path,
) -> None:
    with Plant(tmp_path) as plant:
        await supervisor_killed_everything_ends_safely_and_a_new_one_may_start(plant)
        await a_latched_trip_survives_kill_and_restart(plant)


async def supervisor_killed_everything_ends_safely_and_a_new_one_may_start(plant: Plant) -> None:
    client = await under_power(plant)
    children = [plant.pid(n) for n in ("scan", "io", "opcua", "store")]
    assert plant.controller is not None
    plant.controller.kill()
    plant.controller.wait()
    plant.until(lambda: not any(_runs(p) for p in children), "no orphan is left")
    plant.until(lambda: abs(plant.plant.truth()["power_w"]) < 1e3, "zero power")
    plant.until(lambda: not any(r["main_closed"] for r in plant.plant.truth()["racks"]), "all open")
    await asyncio.wait_for(client.close(), 60)
    plant.start()
    image = plant.image()
    assert image is not None and not image.outputs.rack_main_close.any()


async def a_latched_trip_survives_kill_and_restart(plant: Plant) -> None:
    client = await plant.client()
    await plant.online(client)
    plant.plant.override("R01/M01/C01", 3.9, "cell_voltage_v")
    await plant.wait_for(client, "Status/FirstOut", lambda t: t and "cell_overvoltage" in t)
    slot = next(
        s.index for s in plant.site.program.matrix.slots if (s.row.id, s.place) == ("cell_overvoltage", "R01/M01")
    )
    tripped = plant.image()
    assert tripped is not None and tripped.trips.slot_latched[slot]
    plant.until(
        lambda: plant.files.reader("status.store").read().latch_sequence >= tripped.system.scan,
        "the latch is durable",
    )
    plant.plant.clear("R01/M01/C01", "cell_voltage_v")
    children = [plant.pid(n) for n in ("scan", "io", "opcua", "store")]
    assert plant.controller is not None
    plant.controller.kill()
    plant.controller.wait()
    for pid in children:
        if _runs(pid):
            os.kill(pid, signal.SIGKILL)
    plant.until(lambda: not any(_runs(p) for p in children), "all are dead")
    for image in plant.run.glob("*.image"):
        image.unlink()
    plant.start()
    again = plant.image()
    assert again is not None
    assert again.trips.slot_latched[slot], "from the database, after the shared memory was lost"
    assert again.trips.trip_count == tripped.trips.trip_count
    await asyncio.wait_for(client.close(), 60)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
