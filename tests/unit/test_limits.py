"""What a rack, a bank and the site may carry, number by number: which named limit binds, and where.

The bench runs at 60 kW: two racks of 64 cells at 3.29 V, 140 A of charge and 280 A of discharge, one PCS of 100 kW.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.core.effect import Effect
from controller.core.image import Limits, RackMode
from controller.core.protect import NAMES, limit_power
from controller.core.settings import DeratingSettings
from controller.core.signal import Quality
from plc_config.compile import compile_site
from plc_config.library import DATA
from tests.protect_bench import BASE, Bench, copy

BENCH = (DATA / "sites" / "bench.yaml").read_text("utf-8")
FULL = "rated current"
CHARGE_A, DISCHARGE_A = 140.0, 280.0
Change = Callable[["Plant"], None]


class Plant(Bench):
    """The bench with limits of its own, and a PCS strong enough not to be what binds."""

    def __init__(self, pcs_w: float = 1e6) -> None:
        super().__init__()
        assert BASE.image is not None
        self.trips = copy(BASE.image.trips)
        self.topology = BASE.program.topology
        self.pcs_w = pcs_w
        self.put("rack_voltage_v", 200.0, ...)

    def limits(self) -> Limits:
        settings = dataclasses.replace(BASE.program.derating.settings, pcs_rated_w=self.pcs_w)
        derating = dataclasses.replace(BASE.program.derating, topology=self.topology, settings=settings)
        return limit_power(derating, self.measured, self.trips, self.modes)

    def extreme(self, name: str, value: float, rack: int = 0) -> None:
        getattr(self.measured.extremes, name).value[rack] = value

    def mode(self, mode: RackMode, since_ms: int, rack: int = 0) -> None:
        self.modes.rack_mode[rack], self.modes.rack_mode_ms[rack] = int(mode), since_ms

    def two_banks(self) -> None:
        each = np.array([0, 1])
        self.topology = dataclasses.replace(self.topology, banks=2, pcs=2, rack_bank=each, pcs_bank=each)


def extreme(name: str, value: float) -> Change:
    return lambda p: p.extreme(name, value)


def acts(effect: Effect) -> Change:
    return lambda p: p.trips.rack_effect.__setitem__(0, int(effect))


def reports(charge_a: float, discharge_a: float) -> Change:
    def change(p: Plant) -> None:
        p.put("rack_charge_limit_reported_a", charge_a)
        p.put("rack_discharge_limit_reported_a", discharge_a)

    return change


def leaves(mode: RackMode, since_ms: int) -> Change:
    return lambda p: p.mode(mode, since_ms)


def quality(name: str, quality: Quality, value: float = 0.0) -> Change:
    def change(p: Plant) -> None:
        p.put(name, value)
        getattr(p.points, name).quality[0] = int(quality)

    return change


def no_extreme(name: str) -> Change:
    return lambda p: getattr(p.measured.extremes, name).quality.__setitem__(0, int(Quality.BAD_COMM))


def sound(plant: Plant) -> None:
    """Nothing limits but the cells' rating."""


CASES = (
    ("a sound rack", sound, (140.0, FULL), (280.0, FULL)),
    ("a full cell", extreme("rack_cell_voltage_max_v", 3.50), (84.0, "cell voltage"), (280.0, FULL)),
    ("an empty cell", extreme("rack_cell_voltage_min_v", 2.75), (140.0, FULL), (56.0, "cell voltage")),
    ("a hot sensor", extreme("rack_temperature_max_degc", 48.5), (70.0, "temperature"), (264.44, "temperature")),
    ("a cold sensor", extreme("rack_temperature_min_degc", 5.0), (28.0, "temperature"), (280.0, FULL)),
    ("a frozen sensor", extreme("rack_temperature_min_degc", -10.0), (0.0, "temperature"), (56.0, "temperature")),
    ("a row that derates", acts(Effect.DERATE), (70.0, "derated by an alarm"), (140.0, "derated by an alarm")),
    ("a row that blocks charge", acts(Effect.BLOCK_CHARGE), (0.0, "blocked by an alarm"), (280.0, FULL)),
    ("a row that blocks discharge", acts(Effect.BLOCK_DISCHARGE), (140.0, FULL), (0.0, "blocked by an alarm")),
    ("a row that stops", acts(Effect.STOP), (0.0, "blocked by an alarm"), (0.0, "blocked by an alarm")),
    ("a row that only tells", acts(Effect.ALARM), (140.0, FULL), (280.0, FULL)),
    ("what its BMS allows", reports(35.0, 210.0), (35.0, "rack's own BMS"), (210.0, "rack's own BMS")),
    ("a BMS that allows more than the cells", reports(500.0, 500.0), (140.0, FULL), (280.0, FULL)),
    ("a BMS that reports nonsense below zero", reports(-5.0, -5.0), (0.0, "rack's own BMS"), (0.0, "rack's own BMS")),
    ("a BMS that is not heard", quality("rack_charge_limit_reported_a", Quality.BAD_COMM, 500.0),
     (0.0, "rack's own BMS"), (280.0, FULL)),
    ("a BMS that is old but usable", quality("rack_charge_limit_reported_a", Quality.STALE, 35.0),
     (35.0, "rack's own BMS"), (280.0, FULL)),
    ("a rack that begins to leave", leaves(RackMode.STOPPING, 0), (140.0, FULL), (280.0, FULL)),
    ("a rack that leaves since 0.5 s", leaves(RackMode.STOPPING, 500),
     (105.0, "rack being disconnected"), (210.0, "rack being disconnected")),
    ("a rack that leaves since 3 s", leaves(RackMode.STOPPING, 3000),
     (0.0, "rack being disconnected"), (0.0, "rack being disconnected")),
    ("a rack that waits for its fuse", leaves(RackMode.FUSE_WAIT, 0),
     (0.0, "rack being disconnected"), (0.0, "rack being disconnected")),
    ("no rack current", quality("rack_current_a", Quality.BAD_SENSOR), (0.0, "data lost"), (0.0, "data lost")),
    ("no rack voltage", quality("rack_voltage_v", Quality.BAD_COMM), (0.0, "data lost"), (0.0, "data lost")),
    ("no cell voltage", no_extreme("rack_cell_voltage_max_v"), (0.0, "cell voltage"), (0.0, "data lost")),
    ("no lowest cell voltage", no_extreme("rack_cell_voltage_min_v"), (140.0, FULL), (0.0, "cell voltage")),
    ("no temperature", no_extreme("rack_temperature_max_degc"), (0.0, "temperature"), (0.0, "temperature")),
)  # fmt: skip


@pytest.mark.parametrize(("change", "charge", "discharge"), [pytest.param(*case, id=said) for said, *case in CASES])
def test_a_rack_may_carry_what_its_tightest_limit_allows(
    change: Change, charge: tuple[float, str], discharge: tuple[float, str]
) -> None:
    plant = Plant()
    change(plant)
    found = plant.limits()
    told = [NAMES[found.rack_charge_binding[0]], NAMES[found.rack_discharge_binding[0]]]
    assert (found.rack_charge_limit_a[0], told[0]) == (pytest.approx(charge[0], abs=0.01), charge[1])
    assert (found.rack_discharge_limit_a[0], told[1]) == (pytest.approx(discharge[0], abs=0.01), discharge[1])
    assert found.rack_charge_limit_a[1] == CHARGE_A and found.rack_discharge_limit_a[1] == DISCHARGE_A, "the other"


class TestBankAndSite:
    """Racks in parallel share by their resistances, so a bank carries its weakest rack's limit once for each."""

    def told(self, limits: Limits) -> tuple[Any, str, int]:
        return limits.charge_limit_w, NAMES[limits.charge_binding], limits.charge_binding_rack

    def test_the_weakest_rack_binds_for_all_at_the_lowest_voltage(self) -> None:
        plant = Plant()
        plant.extreme("rack_cell_voltage_max_v", 3.50, rack=1)
        plant.extreme("rack_cell_voltage_min_v", 2.75, rack=0)
        plant.put("rack_voltage_v", 198.0, 0)
        limits = plant.limits()
        assert self.told(limits) == (pytest.approx(2 * 84.0 * 198.0), "cell voltage", 1)
        assert limits.discharge_limit_w == pytest.approx(2 * 56.0 * 198.0)
        assert (NAMES[limits.discharge_binding], limits.discharge_binding_rack) == ("cell voltage", 0)

    def test_a_rack_seen_open_neither_carries_nor_binds(self) -> None:
        plant = Plant()
        plant.extreme("rack_cell_voltage_max_v", 3.59, rack=0)
        plant.put("rack_main_closed", 0.0, 0)
        assert self.told(plant.limits()) == (pytest.approx(140.0 * 200.0), FULL, 1)

    def test_a_rack_that_opens_in_this_scan_no_longer_counts(self) -> None:
        plant = Plant()
        plant.trips.rack_effect[0] = int(Effect.TRIP)
        assert self.told(plant.limits()) == (pytest.approx(140.0 * 200.0), FULL, 1)

    def test_while_a_rack_waits_for_its_fuse_nobody_may_push_current(self) -> None:
        plant = Plant()
        plant.trips.rack_effect[0] = int(Effect.TRIP)
        plant.mode(RackMode.FUSE_WAIT, 0)
        assert self.told(plant.limits()) == (0.0, "rack being disconnected", 0)

    def test_without_a_rack_nothing_flows_and_no_rack_is_named(self) -> None:
        plant = Plant()
        plant.put("rack_main_closed", 0.0, ...)
        limits = plant.limits()
        assert self.told(limits) == (0.0, "no rack connected", -1)
        assert (limits.discharge_limit_w, limits.discharge_binding_rack) == (0.0, -1)

    def test_a_voltage_that_is_not_known_gives_no_power(self) -> None:
        plant = Plant()
        plant.lose("rack_voltage_v", 0)
        assert self.told(plant.limits()) == (0.0, "data lost", 0)

    def test_the_pcs_binds_when_it_is_rated_for_less_and_no_rack_is_named(self) -> None:
        assert self.told(Plant(pcs_w=40e3).limits()) == (40e3, "PCS rating", -1)
        assert self.told(Plant(pcs_w=2 * 140.0 * 200.0).limits()) == (56e3, FULL, 0), "alike, the cells are named"

    def test_two_pcs_on_one_bank_add_up(self) -> None:
        plant = Plant(pcs_w=20e3)
        plant.topology = dataclasses.replace(plant.topology, pcs=2, pcs_bank=np.array([0, 0]))
        assert self.told(plant.limits()) == (40e3, "PCS rating", -1)

    def test_of_two_banks_each_has_its_own_and_the_tighter_is_told(self) -> None:
        plant = Plant(pcs_w=30e3)
        plant.two_banks()
        plant.extreme("rack_cell_voltage_max_v", 3.55, rack=1)
        limits = plant.limits()
        assert limits.bank_charge_limit_w.tolist() == pytest.approx([28e3, 5.6e3])
        assert limits.bank_discharge_limit_w.tolist() == pytest.approx([30e3, 30e3]), "one PCS each"
        assert self.told(limits) == (pytest.approx(33.6e3), "cell voltage", 1)
        assert limits.discharge_limit_w == pytest.approx(60e3)

    def test_a_bank_that_is_away_does_not_hide_what_binds_the_others(self) -> None:
        plant = Plant(pcs_w=30e3)
        plant.two_banks()
        plant.put("rack_main_closed", 0.0, 0)
        plant.extreme("rack_cell_voltage_max_v", 3.55, rack=1)
        assert self.told(plant.limits()) == (pytest.approx(5.6e3), "cell voltage", 1)


class TestAStricterSite:
    """The cell type blocks charging at 3.60 V and 50 degC, discharging at 2.70 V; this site 0.10 V and 5 K earlier."""

    def curves(self, tmp_path: Path, limits: str) -> DeratingSettings:
        path = tmp_path / "site.yaml"
        path.write_text(BENCH.replace("limits:\n", f"limits:\n{limits}"), "utf-8")
        return compile_site(str(path)).program.derating.settings

    def test_the_current_falls_ahead_of_its_limits_as_ahead_of_the_types(self, tmp_path: Path) -> None:
        own = self.curves(
            tmp_path,
            "  cell_overvoltage: {operate: 3.48 V, warn: 3.50 V, trip: 3.55 V, clear: 3.40 V}\n"
            "  cell_undervoltage: {operate: 2.9 V, warn: 2.8 V, clear: 3.0 V}\n",
        )
        kind = BASE.program.derating.settings
        volts = np.linspace(2.4, 3.7, 53)
        assert own.charge_voltage(volts) == pytest.approx(kind.charge_voltage(volts + 0.1))
        assert own.discharge_voltage(volts) == pytest.approx(kind.discharge_voltage(volts - 0.1))
        assert own.charge_temperature.at.tolist() == kind.charge_temperature.at.tolist()

    def test_one_side_of_a_temperature_curve_moves_alone(self, tmp_path: Path) -> None:
        base = BASE.program.limit.charge_overtemperature
        own = self.curves(tmp_path, f"  charge_overtemperature: {{operate: 40 degC, warn: {base.warn - 5:g} degC}}\n")
        kind = BASE.program.derating.settings.charge_temperature
        cold, hot = np.linspace(-10, 20, 31), np.linspace(30, 60, 31)
        assert own.charge_temperature(cold) == pytest.approx(kind(cold))
        assert own.charge_temperature(hot) == pytest.approx(kind(hot + 5))

    def test_limits_that_leave_nothing_between_them_let_nothing_flow(self, tmp_path: Path) -> None:
        narrow = "  charge_overtemperature: {operate: 20 degC, warn: 20 degC, clear: 15 degC}\n"
        narrow += "  charge_undertemperature: {operate: 22 degC, warn: 21 degC, clear: 25 degC}\n"
        assert self.curves(tmp_path, narrow).charge_temperature(np.linspace(-30, 80, 111)).max() < 0.5
