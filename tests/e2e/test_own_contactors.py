"""Sites whose only source is a device that reports extremes and closes by itself, as real processes on real sockets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from controller.core.image import RackMode
from tests.e2e.plant import Plant
from tests.sites import own_contactor_site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

DEVICES = [
    ("pylontech-powercube-m2", 2, 1, 240),
    ("soltaro-c", 2, 1, 220),
    ("sunspec-803", 3, 1, 192),
    ("sunspec-804", 1, 5, 48),
]


@pytest.mark.parametrize(("profile", "racks", "modules", "series"), DEVICES, ids=[d[0] for d in DEVICES])
async def test_it_goes_online_with_the_right_energy_and_is_protected_by_its_extremes(
    profile: str, racks: int, modules: int, series: int, tmp_path: Path
) -> None:
    site = own_contactor_site(tmp_path, profile, racks, series, modules)
    with Plant(tmp_path, site) as plant:
        client = await plant.client()
        await plant.online(client)
        truth = plant.plant.truth()
        assert all(r["main_closed"] for r in truth["racks"]), "the plant agrees"
        events = [e["event"] for e in plant.plant.events()]
        assert "inrush" not in events and events.count("main_joined_link") == racks

        cell = plant.site.cell
        whole_wh = racks * modules * series * cell.capacity * float(np.trapezoid(cell.ocv.volts, cell.ocv.soc))

        def told() -> bool:
            """All cells, less what lies beyond the derating curves, and losses."""
            e = image.estimates if (image := plant.image()) else None
            return e is not None and 0.88 * whole_wh < e.discharge_energy_wh + e.charge_energy_wh < whole_wh

        assert plant.until(told, "the energy of every cell in series")

        assert (await client.call("SetActivePower", 50e3)).accepted
        await plant.wait_for(client, "Measurements/ActivePower", lambda p: p is not None and p > 47e3)
        assert plant.plant.truth()["power_w"] == pytest.approx(50e3, abs=3e3)
        image = plant.image()
        assert image is not None and not image.trips.slot_active.any(), "nothing objects to extremes"

        plant.plant.override("R01/M01/C01", 3.80, "cell_voltage_v")
        await plant.wait_for(client, "Status/FirstOut", lambda t: t and "cell_overvoltage" in t)
        plant.plant.wait("main_opened", "R01", 0, 60_000)
        assert plant.until(lambda: (i := plant.image()) and i.modes.rack_mode[0] == RackMode.TRIPPED, "the trip")
        await client.close()
