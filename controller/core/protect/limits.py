"""Named limits: what may flow is the minimum of named limits, and the image says which one binds."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from controller.core.effect import OPEN_NOW, OPENING, Effect
from controller.core.image import Limits, Measured, Modes, RackMode, Trips
from controller.core.settings import DeratingSettings, Polyline
from controller.core.signal import NOT_FITTED, USABLE, Bools, Floats, Ints, Samples, among, seen_on, usable
from controller.core.topology import Topology

NAMES: Final = (
    "none",
    "rated current",
    "cell voltage",
    "temperature",
    "derated by an alarm",
    "blocked by an alarm",
    "data lost",
    "rack open",
    "PCS rating",
    "no rack connected",
    "rack being disconnected",
    "rack's own BMS",
)
RATED, VOLTAGE, TEMPERATURE, DERATED, BLOCKED, LOST, OPEN, PCS, NO_RACK, LEAVING, OWN_BMS = range(1, 12)
NAMED: Final = np.array([RATED, VOLTAGE, TEMPERATURE, OWN_BMS, LEAVING, DERATED, BLOCKED, LOST])
"""Parts of a rack's limit, in the order of precedence when several bind alike."""
DERATE_FACTOR: Final = 0.5
DERATE: Final = int(Effect.DERATE)
NO_CHARGE: Final = int(Effect.BLOCK_CHARGE) | OPENING
NO_DISCHARGE: Final = int(Effect.BLOCK_DISCHARGE) | OPENING
LEAVING_RAMP_MS: Final = 2000
"""A rack that is taken out without haste gives its current up over this time, so that it opens without any."""


@dataclasses.dataclass(frozen=True, slots=True)
class Derating:
    """What the limits are built from."""

    topology: Topology
    settings: DeratingSettings


def limit_power(derating: Derating, measured: Measured, trips: Trips, modes: Modes) -> Limits:
    """Charge and discharge limits of racks, banks and site as magnitudes. Missing data give 0, never a guess.

    They rest on what is measured alone: an estimate that errs moves no limit.

    modes: of the scan before. A rack that opens in this scan no longer counts, the others go on.
    """
    s, e, p = derating.settings, measured.extremes, measured.points
    hot, cold = e.rack_temperature_max_degc, e.rack_temperature_min_degc
    known = usable(e.rack_cell_voltage_max_v) & usable(hot) & usable(p.rack_current_a) & usable(p.rack_voltage_v)
    waiting = among(modes.rack_mode, RackMode.FUSE_WAIT)
    ramp = np.maximum(1.0 - modes.rack_mode_ms / LEAVING_RAMP_MS, 0.0)
    left = np.where(among(modes.rack_mode, RackMode.STOPPING), ramp, ~waiting)
    derate = np.where(trips.rack_effect & DERATE, DERATE_FACTOR, 1.0)
    charge, charge_by = _rack_limit(
        s.cell.charge_current_a,
        _fraction(s.charge_voltage, e.rack_cell_voltage_max_v),
        np.minimum(_fraction(s.charge_temperature, hot), _fraction(s.charge_temperature, cold)),
        _reported(p.rack_charge_limit_reported_a, s.cell.charge_current_a),
        left, derate, trips.rack_effect & NO_CHARGE == 0, known,
    )  # fmt: skip
    discharge, discharge_by = _rack_limit(
        s.cell.discharge_current_a,
        _fraction(s.discharge_voltage, e.rack_cell_voltage_min_v),
        np.minimum(_fraction(s.discharge_temperature, hot), _fraction(s.discharge_temperature, cold)),
        _reported(p.rack_discharge_limit_reported_a, s.cell.discharge_current_a),
        left, derate, trips.rack_effect & NO_DISCHARGE == 0, known,
    )  # fmt: skip
    staying = ((trips.rack_effect & OPEN_NOW) == 0) | waiting
    closed = staying & seen_on(p.rack_main_closed)
    members = [
        np.flatnonzero(closed & (derating.topology.rack_bank == bank)) for bank in range(derating.topology.banks)
    ]
    charge_site = _site_limit(derating, measured, members, charge, charge_by)
    discharge_site = _site_limit(derating, measured, members, discharge, discharge_by)
    return Limits(
        rack_charge_limit_a=charge,
        rack_discharge_limit_a=discharge,
        rack_charge_binding=charge_by,
        rack_discharge_binding=discharge_by,
        bank_charge_limit_w=charge_site[0],
        bank_discharge_limit_w=discharge_site[0],
        charge_limit_w=float(charge_site[0].sum()),
        discharge_limit_w=float(discharge_site[0].sum()),
        charge_binding=charge_site[1],
        discharge_binding=discharge_site[1],
        charge_binding_rack=charge_site[2],
        discharge_binding_rack=discharge_site[2],
    )


def _fraction(polyline: Polyline, s: Samples) -> Floats:
    return np.where(s.quality <= USABLE, polyline(np.asarray(s.value)), 0.0)


def _reported(s: Samples, rated_a: float) -> Floats:
    """What the rack's own BMS allows, of the rating, be it more than that; one that is not heard allows nothing."""
    fraction = np.where(s.quality <= USABLE, np.maximum(s.value / rated_a, 0.0), 0.0)
    return np.where(s.quality == NOT_FITTED, 1.0, fraction)


def _rack_limit(rated_a: float, *parts: Floats | Bools) -> tuple[Floats, Ints]:
    """Smallest of the named limits of each rack, and the first name that has it. parts: of the rating, as `NAMED`."""
    fractions = np.array([np.ones(parts[0].shape), *parts])
    return rated_a * fractions.min(axis=0), NAMED[fractions.argmin(axis=0)]


def _site_limit(
    derating: Derating, measured: Measured, members: list[Ints], rack_a: Floats, rack_by: Ints
) -> tuple[Floats, int, int]:
    """Limit of each bank in W, and which named limit of which rack binds the tightest bank. members: by bank.

    Racks in parallel share by their resistances, not by our wishes, so a bank may carry as many times its
    weakest connected rack's limit as there are racks connected. A bank without any is no tightest one: it would hide
    what binds those that carry the site, for as long as it is away.
    """
    p, t = measured.points, derating.topology
    voltage = np.where(p.rack_voltage_v.quality <= USABLE, p.rack_voltage_v.value, 0.0)
    watts = np.zeros(t.banks)
    names, racks = np.full(t.banks, NO_RACK), np.full(t.banks, -1)
    for bank, connected in enumerate(members):
        if len(connected) == 0:
            continue
        weakest = int(connected[rack_a[connected].argmin()])
        watts[bank] = len(connected) * rack_a[weakest] * voltage[connected].min()
        names[bank], racks[bank] = rack_by[weakest], weakest
        rated = derating.settings.pcs_rated_w * int(t.pcs_count[bank])
        if rated < watts[bank]:
            watts[bank], names[bank], racks[bank] = rated, PCS, -1
    carries = np.array([len(connected) > 0 for connected in members])
    tightest = int(np.where(carries, watts, np.inf).argmin())
    return watts, int(names[tightest]), int(racks[tightest])
