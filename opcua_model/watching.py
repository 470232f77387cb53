"""What an overview needs to know of a site, read in one go: used by the terminal view."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from opcua_model.client import SiteClient, Value

SITE: Final = (
    "Identification/SiteName",
    "Identification/CycleTime",
    "Identification/RackCount",
    "Status/State",
    "Status/StateReason",
    "Status/StateTime",
    "Status/FirstOut",
    "Status/ScanNumber",
    "Status/Simulated",
    "Status/DataValid",
    "Status/ImageAge",
    "Status/ShutdownArmedTime",
    "Status/MaintenanceWanted",
    "Measurements/ActivePower",
    "Measurements/ActivePowerSetpoint",
    "Measurements/ActivePowerTarget",
    "Measurements/ReactivePower",
    "Measurements/Soc",
    "Measurements/SocSigma",
    "Measurements/Soh",
    "Measurements/DischargeEnergy",
    "Measurements/ChargeEnergy",
    "Measurements/CellVoltageMin",
    "Measurements/CellVoltageMinPlace",
    "Measurements/CellVoltageMax",
    "Measurements/CellVoltageMaxPlace",
    "Measurements/TemperatureMin",
    "Measurements/TemperatureMinPlace",
    "Measurements/TemperatureMax",
    "Measurements/TemperatureMaxPlace",
    "Measurements/ChargeLimit",
    "Measurements/ChargeBinding",
    "Measurements/ChargeBindingRack",
    "Measurements/DischargeLimit",
    "Measurements/DischargeBinding",
    "Measurements/DischargeBindingRack",
    "Measurements/GoodValues",
    "Measurements/StaleValues",
    "Measurements/BadValues",
    "Measurements/ScadaHeartbeatAge",
    "Alarms/ActiveAlarms",
    "Alarms/UnacknowledgedAlarms",
    "Alarms/List",
    "Alarms/ShelvedAlarms",
    "Alarms/SuppressedAlarms",
    "Alarms/OutOfServiceAlarms",
    "Alarms/AlarmFlood",
    "Alarms/ChatteringAlarms",
    "Warnings/WarningFault",
    "Warnings/WarningRack",
    "Warnings/WarningModule",
    "Warnings/WarningElement",
    "Warnings/WarningSigmas",
    "Warnings/WarningsTold",
    "Warnings/WarningsWithdrawn",
    "Warnings/HealthyCellDays",
    "Control/ControlHolder",
    "Control/LastAnswer",
    "Diagnostics/System/Lateness",
    "Diagnostics/System/ScanDuration",
    "Diagnostics/System/Overruns",
    "Diagnostics/Processes/Scan/LatenessP99",
    "Diagnostics/Processes/Scan/DurationP99",
    "Diagnostics/Processes/Scan/AgeMax",
    "Diagnostics/Processes/Opcua/Sessions",
    "Diagnostics/Processes/Opcua/MonitoredItems",
)
RACK: Final = ("State", "Voltage", "Current", "Soc", "CellVoltageMin", "CellVoltageMax", "TemperatureMax", "CommAge")
BUS: Final = ("Connected", "Requests", "Ok", "Timeouts", "Bad", "Late", "Exceptions", "ExceptionCodes", "Reconnects",
              "LatencyP99", "ReplyAge")  # fmt: skip
UNIT: Final = (
    "Device",
    "Requests",
    "Ok",
    "Timeouts",
    "Bad",
    "Late",
    "Exceptions",
    "LastException",
    "LatencyP99",
    "ReplyAge",
    "Unconfirmed",
)
MOST_RACKS: Final = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """All values by path; `devices` are the racks and buses there are."""

    endpoint: str
    values: dict[str, Value]
    devices: list[str]

    def __getitem__(self, path: str) -> Any:
        """The value of a path, None when there is none."""
        found = self.values.get(path)
        return found.value if found is not None else None

    def good(self, path: str) -> bool:
        """True when the value is Good."""
        found = self.values.get(path)
        return found is not None and found.good


async def read_snapshot(client: SiteClient, units: bool = False) -> Snapshot:
    """One snapshot; racks, buses and with `units` their units are found by browsing, once per connection."""
    devices = _devices.get(id(client))
    if devices is None:
        racks = [f"Racks/{n}" for n in (await client.children("Racks"))[:MOST_RACKS]]
        buses = [f"Diagnostics/Buses/{n}" for n in await client.children("Diagnostics/Buses")]
        devices = racks + buses
        for bus in buses if units else ():
            devices += [f"{bus}/Units/{n}" for n in await client.children(f"{bus}/Units")]
        _devices.clear()
        _devices[id(client)] = devices
    paths = list(SITE)
    for device in devices:
        names = RACK if device.startswith("Racks/") else UNIT if "/Units/" in device else BUS
        paths += [f"{device}/{n}" for n in names]
    return Snapshot(client.client.server_url.geturl(), await client.read(paths), devices)


_devices: dict[int, list[str]] = {}
"""Devices of the connection looked through last; a new connection may be to another site."""
