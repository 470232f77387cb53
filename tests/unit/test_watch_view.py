"""What the terminal view says of early warning."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from controller.core.image_warnings import Fault
from opcua_model.client import Value
from opcua_model.watching import Snapshot
from tools.commands.watch_view import picture


def drawn(**warnings: Any) -> str:
    """The picture of a site that only serves these values under `Warnings`."""
    values = {f"Warnings/{name}": Value(value, 0, 0) for name, value in warnings.items()}
    console = Console(width=120, record=True, file=None, quiet=False, color_system=None)
    with console.capture() as captured:
        console.print(picture(Snapshot("opc.tcp://here", values, []), "", 32))
    return captured.get()


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ([0, 0], "nothing suspected"),
        ([int(Fault.INTERNAL_SHORT), int(Fault.LOW_CAPACITY)], "internal_short R02/M03/C05 8 sigma, 1 more"),
        ([int(Fault.TEMPERATURE_SENSOR), 0], "temperature_sensor R02/M03/T05 8 sigma"),
        ([int(Fault.STUCK_SENSOR), 0], "stuck_sensor R02/M03/#05 8 sigma"),
    ],
)
def test_the_worst_suspicion_and_the_statistics_are_on_the_screen(faults: list[int], said: str) -> None:
    text = drawn(
        WarningFault=faults, WarningRack=[1, 0], WarningModule=[2, 0], WarningElement=[4, 0], WarningSigmas=[8.2, 0],
        WarningsTold=3, WarningsWithdrawn=1, HealthyCellDays=1234.5,
    )  # fmt: skip
    assert said in text
    assert "3 told, 1 withdrawn in 1,234 healthy cell-days" in text


def test_a_server_without_early_warning_gives_dots() -> None:
    assert "· told, · withdrawn in · healthy cell-days" in drawn()


@pytest.mark.parametrize(
    ("state", "racks", "said"),
    [
        ("ONLINE", ["CLOSED", "TRIPPED"], "ONLINE  racks connected, 1 of 2 closed"),
        ("ONLINE", ["CLOSED", "CLOSED"], "ONLINE  racks connected "),
        ("STANDBY", ["OPEN", "OPEN"], "STANDBY  racks connected "),
    ],
)
def test_the_head_says_how_many_racks_are_missing(state: str, racks: list[str], said: str) -> None:
    devices = [f"Racks/R{i + 1:02d}" for i in range(len(racks))]
    values = {f"{d}/State": Value(rack, 0, 0) for d, rack in zip(devices, racks, strict=True)}
    values |= {"Status/State": Value(state, 0, 0), "Status/StateReason": Value("racks connected", 0, 0)}
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(picture(Snapshot("opc.tcp://here", values, devices), "", 32))
    assert said in captured.get()


@pytest.mark.parametrize(("state", "shown"), [("STANDBY", True), ("TRIPPED", True), ("MAINTENANCE", False)])
def test_the_head_says_that_maintenance_was_asked_for_until_it_begins(state: str, shown: bool) -> None:
    values = {"Status/State": Value(state, 0, 0), "Status/MaintenanceWanted": Value(True, 0, 0)}
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(picture(Snapshot("opc.tcp://here", values, []), "", 32))
    assert ("MAINTENANCE ASKED FOR" in captured.get()) is shown


@pytest.mark.parametrize(("alarms", "said"), [(5, False), (7, True)])
def test_alarms_that_have_no_room_are_counted(alarms: int, said: bool) -> None:
    values = {"Alarms/List": Value([f"1|RETURNED|bus_lost|GW{i:02d}|||not heard" for i in range(alarms)], 0, 0)}
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(picture(Snapshot("opc.tcp://here", values, []), "", 32))
    assert ("2 more: --json lists them" in captured.get()) is said
