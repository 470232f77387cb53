"""From a tag to its path: `rack_current_a` over ("rack",) is `Racks/R01/Current`. Names are a contract."""

from __future__ import annotations

from typing import Final

from controller.core.signal import UNIT_SUFFIX, Tag

ROOT: Final = "BatterySystem"
PATH: Final = "/cellwarden"
"""Of the server's URL."""
LEVEL_PREFIX: Final = {"rack": "rack_", "module": "module_", "pcs": "pcs_", "bank": "bank_"}
TIME_WORDS: Final = ("age", "duration", "lateness", "elapsed", "latency")

BOOLEAN: Final = frozenset(
    {
        "simulated",
        "store_trouble",
        "soc_valid",
        "connect_wanted",
        "maintenance_wanted",
        "scada_lost",
        "horn_on",
        "cooling_on",
        "realtime",
        "silenced",
        "connected",
        "listening",
        "trouble",
        "bus_up",
    }
)
"""Flags that images keep as integers."""

SITE_FOLDER: Final = {
    "system": "Diagnostics/System",
    "measured.points": "Auxiliary",
    "measured.extremes": "Measurements",
    "measured": "Measurements",
    "estimates": "Measurements",
    "estimates.outlook.site_power": "Measurements",
    "estimates.outlook.site_energy": "Measurements",
    "estimates.outlook.plan": "Measurements",
    "warnings": "Warnings",
    "limits": "Measurements",
    "power": "Measurements",
    "authority": "Control",
    "modes": "Status",
    "trips": "Status",
    "outputs": "Status",
    "alarms": "Alarms",
}
"""Where the tags of a group lie that have no dimension; a group not named here is an error at build."""

SITE_PLACE: Final = {
    "system.scan": "Status/ScanNumber",
    "system.simulated": "Status/Simulated",
    "system.utc_ms": "Status/ScanTime",
    "outputs.heartbeat": "Status/Heartbeat",
    "power.active_power_set_by": "Control/ActivePowerSetBy",
    "power.reactive_power_set_by": "Control/ReactivePowerSetBy",
}
"""Tags without dimension that lie elsewhere than their group."""

RENAMED: Final = {
    "cell_bleed_on": "CellBleeds",
    "site_mode": "State",
    "rack_mode": "State",
    "site_reason": "StateReason",
    "rack_reason": "StateReason",
    "site_mode_ms": "StateTime",
    "rack_mode_ms": "StateTime",
}

HIDDEN: Final = frozenset({"system.now_ms"})
"""Tags that mean nothing outside the machine."""


def camel(name: str) -> str:
    """`cell_voltage_min` -> `CellVoltageMin`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def is_boolean(tag: Tag) -> bool:
    """True for tags that are a yes or a no."""
    return tag.dtype == "?" or tag.name in BOOLEAN or (tag.unit == "1" and tag.low == 0 and tag.high == 1)


def is_wall_time(tag: Tag) -> bool:
    """True for tags that hold a wall clock time in ms; they are published as DateTime."""
    return tag.name == "utc_ms" or tag.name.endswith("_utc_ms")


def browse_name(tag: Tag) -> str:
    """The BrowseName of a tag's variable, without its level and unit; cell arrays are plural."""
    if tag.name in RENAMED:
        return RENAMED[tag.name]
    name = tag.name
    for level in tag.dims:
        name = name.removeprefix(LEVEL_PREFIX.get(level, "\0"))
    suffix = UNIT_SUFFIX.get(tag.unit)
    if suffix:
        name = name.removesuffix(f"_{suffix}")
    if tag.unit == "ms" and not is_wall_time(tag) and not any(word in name for word in TIME_WORDS):
        name += "_time"
    return camel(name) + ("s" if is_cell_array(tag) else "")


def is_cell_array(tag: Tag) -> bool:
    """True for what a module has many of: one array variable per module."""
    return tag.dims[:2] == ("rack", "module") and len(tag.dims) == 3


def is_list(tag: Tag) -> bool:
    """True for the columns of a ranked list of the site: one array variable each."""
    return tag.dims == ("warning",)


def device_folder(dims: tuple[str, ...], index: tuple[int, ...]) -> str:
    """The folder of a device: ("rack", "module"), (0, 2) -> "Racks/R01/Modules/M03"."""
    if dims[:1] == ("rack",):
        rack = f"Racks/R{index[0] + 1:02d}"
        return f"{rack}/Modules/M{index[1] + 1:02d}" if len(dims) > 1 else rack
    letter, folder = {"pcs": ("P", "Pcs"), "bank": ("B", "Banks")}[dims[0]]
    return f"{folder}/{letter}{index[0] + 1:02d}"


def site_path(tag: Tag) -> str:
    """Path below the root of a tag without dimensions."""
    if tag.path in SITE_PLACE:
        return SITE_PLACE[tag.path]
    return f"{SITE_FOLDER[tag.path.rpartition('.')[0]]}/{browse_name(tag)}"
