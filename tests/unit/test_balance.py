"""Which cells are bled: four cells each in two modules of two racks, one of them fuller than the others by 5 %."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from controller.core.balance import HOLD_MS, Balancing, balance
from controller.core.effect import OPENING, Effect
from controller.core.image import Estimates, Measured, Modes, RackMode, System, Trips
from controller.core.layout import Layout
from controller.core.memory import BalancingMemory
from controller.core.settings import BalancingSettings
from controller.core.signal import Bools, Quality
from controller.core.topology import Topology

SETTINGS = BalancingSettings(
    enabled=True, start_ratio=0.02, least_cell_voltage_v=3.2, most_temperature_degc=45.0, bleed_current_a=0.1,
)  # fmt: skip
FULLER = (1, 0, 2)


class Desk:
    """What balancing looks at; `hold_ms` of the pattern in force is over unless a test says otherwise."""

    def __init__(self) -> None:
        self.topology = Topology.regular(2, 2, 4, 2)
        self.settings = SETTINGS
        dims = {**self.topology.dims, "slot": 1}
        self.measured: Measured = Layout(Measured, dims).blank()
        self.voltage, self.hottest = (
            self.measured.points.cell_voltage_v, self.measured.extremes.module_temperature_max_degc,
        )  # fmt: skip
        self.voltage.value[...], self.voltage.quality[...] = 3.3, 0
        self.hottest.value[...], self.hottest.quality[...] = 25.0, 0
        self.estimates: Estimates = dataclasses.replace(Layout(Estimates, dims).blank(), soc_valid=1)
        self.soc, self.sigma = self.estimates.cell_soc_ratio, self.estimates.cell_soc_sigma_ratio
        self.soc[...], self.sigma[...] = 0.50, 0.01
        self.soc[FULLER] = 0.55
        self.trips: Trips = Layout(Trips, dims).blank()
        self.modes: Modes = Layout(Modes, dims).blank()
        self.modes.rack_mode[...] = int(RackMode.CLOSED)
        self.system: System = dataclasses.replace(Layout(System, dims).blank(), elapsed_ms=100)
        self.memory: BalancingMemory = Layout(BalancingMemory, dims).blank()

    def scan(self) -> Bools:
        plan = Balancing(self.topology, self.settings)
        on, self.memory = balance(plan, self.memory, self.measured, self.estimates, self.trips, self.modes, self.system)
        return on

    def bled(self) -> list[tuple[int, ...]]:
        return [tuple(at) for at in np.argwhere(self.scan()).tolist()]


def test_the_fuller_cell_of_a_rack_is_bled_and_no_other() -> None:
    assert Desk().bled() == [FULLER]


def test_each_rack_has_an_emptiest_cell_of_its_own() -> None:
    desk = Desk()
    desk.soc[0] = 0.9
    assert desk.bled() == [FULLER]


@pytest.mark.parametrize(("more", "sigma", "bled"), [
    (0.0201, 0.01, True), (0.0199, 0.001, False), (0.05, 0.0249, True), (0.05, 0.0251, False),
])  # fmt: skip
def test_a_difference_must_be_worth_it_and_be_believed(more: float, sigma: float, bled: bool) -> None:
    desk = Desk()
    desk.soc[FULLER], desk.sigma[FULLER] = 0.5 + more, sigma
    assert bool(desk.bled()) is bled


def test_what_is_not_fitted_is_neither_bled_nor_the_emptiest() -> None:
    desk = Desk()
    fitted = desk.topology.cell_fitted.copy()
    fitted[1, 1, 3] = fitted[0, 0, 0] = False
    desk.soc[1, 1, 3], desk.soc[0, 0, 0] = 0.0, 0.9
    desk.topology = dataclasses.replace(desk.topology, cell_fitted=fitted)
    assert desk.bled() == [FULLER]


def test_extremes_belong_to_no_cell_that_could_be_bled() -> None:
    desk = Desk()
    desk.topology = dataclasses.replace(desk.topology, represented=np.array([[0, 0], [16, 0]]))
    assert desk.bled() == []


def switched_off(desk: Desk) -> None:
    desk.settings = dataclasses.replace(desk.settings, enabled=False)


def soc_unknown(desk: Desk) -> None:
    desk.estimates = dataclasses.replace(desk.estimates, soc_valid=0)


@pytest.mark.parametrize("change", [switched_off, soc_unknown])
def test_nothing_is_chosen(change: Callable[[Desk], None]) -> None:
    desk = Desk()
    change(desk)
    assert desk.bled() == []


class TestPermissives:
    """One that goes ends a bleed at once, whatever was chosen."""

    def bleeding(self) -> Desk:
        desk = Desk()
        assert desk.bled() == [FULLER]
        return desk

    @pytest.mark.parametrize(("at", "volts", "quality", "bled"), [
        (FULLER, 3.2, Quality.GOOD, True), (FULLER, 3.199, Quality.GOOD, False), (FULLER, 3.3, Quality.STALE, False),
        ((1, 0, 1), 3.0, Quality.BAD_COMM, True),
    ])  # fmt: skip
    def test_its_own_voltage_must_be_seen_and_high_enough(
        self, at: tuple[int, int, int], volts: float, quality: Quality, bled: bool
    ) -> None:
        desk = self.bleeding()
        desk.voltage.value[at], desk.voltage.quality[at] = volts, int(quality)
        assert bool(desk.bled()) is bled

    @pytest.mark.parametrize(("module", "degc", "quality", "bled"), [
        (0, 44.9, Quality.GOOD, True), (0, 45.0, Quality.GOOD, False), (0, 25.0, Quality.STALE, False),
        (1, 60.0, Quality.BAD_COMM, True),
    ])  # fmt: skip
    def test_its_module_must_be_seen_cool(self, module: int, degc: float, quality: Quality, bled: bool) -> None:
        desk = self.bleeding()
        desk.hottest.value[1, module], desk.hottest.quality[1, module] = degc, int(quality)
        assert bool(desk.bled()) is bled

    @pytest.mark.parametrize("effect", Effect)
    def test_its_rack_must_not_be_opening(self, effect: Effect) -> None:
        desk = self.bleeding()
        desk.trips.rack_effect[0] = OPENING
        desk.trips.rack_effect[1] = int(effect)
        assert bool(desk.bled()) is not bool(effect & OPENING)

    @pytest.mark.parametrize("mode", RackMode)
    def test_its_rack_rests_or_is_connected(self, mode: RackMode) -> None:
        desk = self.bleeding()
        desk.modes.rack_mode[1] = int(mode)
        assert bool(desk.bled()) is (mode in (RackMode.OPEN, RackMode.CLOSED))


def test_the_choice_stands_for_a_minute() -> None:
    desk = Desk()
    desk.bled()
    desk.soc[...] = 0.5
    seen = [bool(desk.bled()) for _ in range(HOLD_MS // 100)]
    assert seen == [True] * (HOLD_MS // 100 - 1) + [False]


@pytest.mark.parametrize(("left_ms", "anew"), [(101, False), (100, True)])
def test_to_its_last_millisecond(left_ms: int, anew: bool) -> None:
    desk = Desk()
    desk.memory = dataclasses.replace(desk.memory, hold_ms=left_ms)
    assert bool(desk.bled()) is anew
