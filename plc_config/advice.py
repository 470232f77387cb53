"""What a careful engineer should know of a site that `check` accepts: numbers that are possible and improbable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from controller.core.topology import few, place_name
from plc_config import datasheet, library, twice
from plc_config.coverage import PLACES_NAMED
from plc_config.sense import held

if TYPE_CHECKING:
    from plc_config.compile import Compiled
    from plc_config.plan import PointType

MOST_POWER_RATIO: Final = 2.0
"""Of what the cells may give: a PCS twice as large is more likely a slip of kW and MW."""
SLOWEST_RAMP_S: Final = 600.0
LEAST_OHM_PER_VOLT: Final = 100.0
"""Least insulation for a DC system, per volt of its nominal voltage: ISO 6469-3; IEC 62485-2 takes the same figure."""
WATCHED: Final = {"rack": "rack_main_close", "pcs": "pcs_active_power_setpoint_w"}
NO_NUMBER: Final = ("bit", "f32", "string")
"""Types that hold no whole number of a known range."""
TRIPS: Final = {
    "cell_voltage_v": (("cell_overvoltage", 1), ("cell_undervoltage", -1)),
    "cell_temperature_degc": (
        ("charge_overtemperature", 1), ("discharge_overtemperature", 1), ("charge_undertemperature", -1),
    ),
    "rack_current_a": (("charge_overcurrent", 1), ("discharge_overcurrent", 1)),
}  # fmt: skip
"""Points, the limits that they are held against, and whether those lie above (1) or below."""


def notes(site: Compiled) -> list[str]:
    """One line for each."""
    figures = [*_power(site), *_insulation(site), *datasheet.notes(site.cell)]
    return [*figures, *_out_of_reach(site), *_unwatched(site), *_names(site), *twice.notes(site)]


def _nominal_v(site: Compiled) -> float:
    """Voltage of the longest rack at half charge."""
    half_v = float(np.interp(0.5, site.cell.ocv.soc, site.cell.ocv.volts))
    return half_v * float(site.topology.series_cells.sum(axis=1).max())


def _power(site: Compiled) -> list[str]:
    dispatch, parallel = site.config.dispatch, site.config.topology.parallel
    current_a = site.cell.discharge_current * parallel * site.topology.racks
    most_w, found = current_a * _nominal_v(site), []
    if dispatch.rated_power > MOST_POWER_RATIO * most_w:
        found.append(
            f"dispatch.rated_power {dispatch.rated_power / 1e3:,.0f} kW is {dispatch.rated_power / most_w:,.0f} times "
            f"what the cells may give ({most_w / 1e3:,.0f} kW)"
        )
    seconds = dispatch.rated_power / dispatch.ramp
    if seconds > SLOWEST_RAMP_S:
        found.append(f"dispatch.ramp: rated power is reached after {seconds / 60:,.0f} min")
    return found


def _insulation(site: Compiled) -> list[str]:
    limit, volts = site.config.limits.insulation, _nominal_v(site)
    if limit is None or limit.trip >= LEAST_OHM_PER_VOLT * volts:
        return []
    return [
        f"limits.insulation.trip is {limit.trip / volts:.3g} ohm per volt of a rack ({volts:,.0f} V): "
        f"{LEAST_OHM_PER_VOLT:g} is the least that is called insulated"
    ]


def _out_of_reach(site: Compiled) -> list[str]:
    """Trips beyond what the registers that should show them can hold: they would never act."""
    found: dict[str, None] = {}
    for block in site.plan.reads:
        for ref in block.points:
            span = _span(ref.type) if ref.point in TRIPS else None
            if span is None:
                continue
            for limit, side in TRIPS[ref.point]:
                trip = side * site.limit_bands[limit].trip
                most = max(span) if side > 0 else -min(span)
                if ref.point == "rack_current_a":
                    trip, most = site.limit_bands[limit].trip, max(map(abs, span))
                if most < trip:
                    profile = site.plan.devices[block.device].profile
                    found[
                        f"profile {profile}: {ref.point} reaches {side * most:.4g} at most, {limit} trips at "
                        f"{side * trip:.4g}: that trip never acts"
                    ] = None
    return list(found)


def _span(kind: PointType) -> tuple[float, float] | None:
    """The values at both ends of a register; None where its type or the device decides."""
    if kind.type in NO_NUMBER or kind.scale_from is not None or kind.mask or kind.bit >= 0 or kind.equals:
        return None
    low, high = held(kind.type)
    sign = -1.0 if kind.negate else 1.0
    return sign * (low + kind.raw_offset) * kind.scale, sign * (high + kind.raw_offset) * kind.scale


def _unwatched(site: Compiled) -> list[str]:
    """Devices that nothing tells that the controller lives: what it last wrote stands when it has ended."""
    # A constant stands in the plan as a counter modulo 1: it feeds a watchdog where it is written again and again.
    fed = {w.device for w in site.plan.writes if w.output == "heartbeat" and (w.modulo != 1 or w.refresh_ms >= 0)}
    found = []
    for level, output in WATCHED.items():
        alone = [w.place for w in site.plan.writes if w.output == output and w.device not in fed and w.refresh_ms < 0]
        if alone:
            shown = few([place_name((level,), place) for place in alone], PLACES_NAMED)
            found.append(
                f"no heartbeat or watchdog of {shown} is written: a device that does not open by itself when it is no "
                "longer read leaves its last state standing when the controller ends"
            )
    return found


def _names(site: Compiled) -> list[str]:
    """Files that call themselves something else than their name: the head of a copy that was not changed."""
    folder, cell = site.path.parent, site.config.cell_type
    found = [] if site.cell.cell_type == cell else [f"cells/{cell}.yaml calls itself {site.cell.cell_type!r}"]
    for name in dict.fromkeys(d.profile for d in site.config.devices.values()):
        path = library.find("profiles", name, folder)
        own = library.profile_at(path)[0].profile if path is not None else name
        if own != name:
            found.append(f"profiles/{name}.yaml calls itself {own!r}")
    return found
