"""What a PCS was told in the last scans, and what each of its values is held against by its age."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from controller.core.protect import told
from controller.core.signal import Quality
from controller.core.topology import TOLD_SCANS
from tests.protect_bench import Bench

RATED_W = 100e3
STEP_MS = np.arange(TOLD_SCANS) * 100
"""A scan every 100 ms, the last one now."""


class Past(Bench):
    """A bench at whose PCS the last scans can be written down."""

    def __init__(self) -> None:
        super().__init__()
        self.trend.pcs_told_ms[...] = STEP_MS
        self.was("pcs_charge_allowed_w", 0.0)
        for name in ("pcs_discharge_allowed_w", "pcs_setpoint_told_w", "bank_racks_w", "bank_pcs_w"):
            self.was(name, 60e3)

    def was(self, name: str, *watts: float) -> None:
        """In the scan before this one, in the one before that, and so on; the last one for ever."""
        kept = getattr(self.trend, name)
        kept[:, 0] = watts[-1]
        kept[: len(watts), 0] = watts

    def read(self, name: str, value: float, age_ms: int = 0) -> None:
        self.put(name, value)
        getattr(self.points, name).time_ms[...] = self.system.now_ms - age_ms

    def racks(self, watts: float, age_ms: int = 0) -> None:
        """The racks show this power in sum."""
        volts = self.points.rack_voltage_v
        for rack in range(2):
            self.put("rack_current_a", watts / 2 / float(volts.value[rack]), rack)
        for samples in (self.points.rack_current_a, volts):
            samples.time_ms[...] = self.system.now_ms - age_ms

    def pcs(self, watts: float, age_ms: int = 0) -> None:
        self.lose("pcs_dc_current_a")
        self.read("pcs_active_power_w", watts, age_ms)

    def tell(self, elapsed_ms: int = 100) -> dict[str, Any]:
        return told.tell(self.trend, self.facts(), elapsed_ms)


class TestWhatIsKept:
    def test_the_newest_stands_first_the_oldest_goes_and_all_grow_older(self) -> None:
        past = Past()
        past.was("pcs_setpoint_told_w", *range(TOLD_SCANS))
        past.outputs.pcs_active_power_setpoint_w[...] = 12e3
        kept = past.tell(150)
        assert kept["pcs_told_ms"].tolist() == [0, *(STEP_MS[:-1] + 150)]
        assert kept["pcs_setpoint_told_w"][:, 0].tolist() == [12e3, *range(TOLD_SCANS - 1)]
        assert past.trend.pcs_setpoint_told_w[0, 0] == 0.0, "what was kept before is not written over"

    def test_power_that_is_not_known_stands_as_it_was(self) -> None:
        past = Past()
        past.was("bank_racks_w", 11e3, 22e3)
        past.was("bank_pcs_w", 33e3, 44e3)
        past.racks(50e3)
        past.pcs(49e3)
        kept = past.tell()
        assert kept["bank_racks_w"][:2, 0].tolist() == pytest.approx([50e3, 11e3])
        assert kept["bank_pcs_w"][:2, 0].tolist() == pytest.approx([49e3, 33e3])
        past.lose("rack_current_a")
        past.lose("pcs_active_power_w")
        kept = past.tell()
        assert kept["bank_racks_w"][:2, 0].tolist() == [11e3, 11e3]
        assert kept["bank_pcs_w"][:2, 0].tolist() == [33e3, 33e3]

    @pytest.mark.parametrize(("limit_w", "now_w"), [(0.0, 55e3), (58e3, 58e3), (90e3, 90e3)])
    def test_a_limit_rises_at_once_and_falls_as_a_pcs_can_follow(self, limit_w: float, now_w: float) -> None:
        """The bench gives its PCS 2 s for its rated power: 5 kW in a scan of 100 ms."""
        past = Past()
        past.was("pcs_discharge_allowed_w", 60e3, 80e3)
        past.outputs.pcs_discharge_limit_w[...] = limit_w
        assert past.tell()["pcs_discharge_allowed_w"][:3, 0].tolist() == pytest.approx([now_w, 60e3, 80e3])

    def test_it_falls_to_nothing_at_last(self) -> None:
        past = Past()
        past.was("pcs_discharge_allowed_w", 0.0)
        past.outputs.pcs_discharge_limit_w[...] = 0.0
        assert past.tell()["pcs_discharge_allowed_w"][0, 0] == 0.0
        past.points.pcs_active_power_w.quality[...] = int(Quality.STALE)
        assert past.tell()["pcs_discharge_allowed_w"][0, 0] == 0.0

    @pytest.mark.parametrize(
        ("quality", "age_ms", "now_w"),
        [(Quality.STALE, 199, 60e3), (Quality.STALE, 200, 80e3), (Quality.STALE, 350, 90e3), (Quality.GOOD, 350, 55e3),
         (Quality.BAD_COMM, 350, 55e3)],
    )  # fmt: skip
    def test_it_does_not_fall_below_what_was_in_force_when_a_pcs_was_last_heard(
        self, quality: Quality, age_ms: int, now_w: float
    ) -> None:
        past = Past()
        past.was("pcs_discharge_allowed_w", 60e3, 80e3, 90e3, 0.0)
        past.outputs.pcs_discharge_limit_w[...] = 0.0
        past.read("pcs_active_power_w", 60e3, age_ms)
        past.points.pcs_active_power_w.quality[...] = int(quality)
        assert past.tell()["pcs_discharge_allowed_w"][0, 0] == pytest.approx(now_w)


class TestLimits:
    """1.1 times the limit and 2 % of the rating."""

    @pytest.mark.parametrize(
        ("watts", "age_ms", "beyond"),
        [(67.9e3, 0, False), (68.1e3, 0, True), (68.1e3, 99, True), (89.9e3, 100, False), (90.1e3, 150, True),
         (90.1e3, 350, False), (-1999.5, 0, False), (-2000.5, 0, True), (-2000.5, 350, True)],
    )  # fmt: skip
    def test_a_value_is_held_against_the_widest_limit_since_it_was_read(
        self, watts: float, age_ms: int, beyond: bool
    ) -> None:
        past = Past()
        past.was("pcs_discharge_allowed_w", 60e3, 80e3, 70e3, 90e3, 60e3)
        past.read("pcs_active_power_w", watts, age_ms)
        assert told.pcs_exceeds_limits(past.facts()).tolist() == [beyond]

    def test_a_value_from_ahead_of_the_clock_is_new(self) -> None:
        past = Past()
        past.read("pcs_active_power_w", 68.1e3, -50)
        assert told.pcs_exceeds_limits(past.facts()).all()

    def test_what_is_not_heard_exceeds_nothing(self) -> None:
        past = Past()
        past.read("pcs_active_power_w", 99e3)
        past.lose("pcs_active_power_w")
        assert not told.pcs_exceeds_limits(past.facts()).any()


class TestSetpoints:
    @pytest.mark.parametrize(
        ("watts", "age_ms", "off"),
        [(50.1e3, 0, False), (49.9e3, 0, True), (69.9e3, 0, False), (70.1e3, 0, True), (49.9e3, 99, True),
         (30.1e3, 250, False), (29.9e3, 250, True), (79.9e3, 350, False), (80.1e3, 350, True)],
    )  # fmt: skip
    def test_power_is_held_against_every_setpoint_since_it_was_read(self, watts: float, age_ms: int, off: bool) -> None:
        past = Past()
        past.was("pcs_setpoint_told_w", 60e3, 50e3, 40e3, 70e3, 0.0)
        past.read("pcs_active_power_w", watts, age_ms)
        assert told.pcs_does_not_follow(past.facts()).tolist() == [off]

    def test_it_is_given_no_time_that_the_row_s_delay_gives_already(self) -> None:
        past = Past()
        past.trend.pcs_told_ms[...] = np.arange(TOLD_SCANS)
        past.was("pcs_setpoint_told_w", 60e3, 0.0)
        past.read("pcs_active_power_w", 30e3)
        assert told.pcs_does_not_follow(past.facts()).all()

    def test_one_that_is_not_told_to_run_or_not_heard_follows(self) -> None:
        past = Past()
        past.read("pcs_active_power_w", 0.0)
        past.outputs.pcs_run[...] = False
        assert not told.pcs_does_not_follow(past.facts()).any()
        past.outputs.pcs_run[...] = True
        past.lose("pcs_active_power_w")
        assert not told.pcs_does_not_follow(past.facts()).any()

    @pytest.mark.parametrize(
        ("watts", "age_ms", "other"),
        [(15.1e3, 0, False), (14.9e3, 0, True), (65.1e3, 0, True), (64.9e3, 0, False), (14.9e3, 99, True),
         (0.0, 100, False), (-4.9e3, 100, False), (-5.1e3, 100, True)],
    )  # fmt: skip
    def test_a_confirmed_setpoint_may_be_half_a_second_older_than_its_value(
        self, watts: float, age_ms: int, other: bool
    ) -> None:
        past = Past()
        past.was("pcs_setpoint_told_w", *[60e3] * 5, 20e3, 0.0)
        past.read("pcs_active_power_confirmed_w", watts, age_ms)
        assert told.pcs_command_not_confirmed(past.facts()).tolist() == [other]


class TestRacksAndPcs:
    """They may differ by a tenth of the rating of each PCS."""

    @pytest.mark.parametrize(
        ("pcs_w", "age_ms", "differ"),
        [(50.1e3, 0, False), (49.9e3, 0, True), (69.9e3, 0, False), (70.1e3, 0, True), (70.1e3, 99, True),
         (74.9e3, 100, False), (75.1e3, 100, True), (49.9e3, 100, True), (84.9e3, 250, False), (85.1e3, 250, True),
         (49.9e3, 250, True), (25.1e3, 300, False), (24.9e3, 399, True)],
    )  # fmt: skip
    def test_an_old_power_of_the_pcs_is_held_against_all_that_the_racks_have_shown_since(
        self, pcs_w: float, age_ms: int, differ: bool
    ) -> None:
        past = Past()
        past.was("bank_racks_w", 0.0, 65e3, 75e3, 35e3, 0.0)
        past.racks(60e3)
        past.pcs(pcs_w, age_ms)
        assert told.dc_power_differs(past.facts()).tolist() == [differ]

    @pytest.mark.parametrize(("racks_w", "differ"), [(84.9e3, False), (85.1e3, True), (25.1e3, False), (24.9e3, True)])
    def test_so_is_an_old_power_of_the_racks_against_the_pcs(self, racks_w: float, differ: bool) -> None:
        past = Past()
        past.was("bank_pcs_w", 0.0, 65e3, 75e3, 35e3, 0.0)
        past.racks(racks_w, 350)
        past.pcs(60e3)
        assert told.dc_power_differs(past.facts()).tolist() == [differ]

    @pytest.mark.parametrize("name", ["rack_current_a", "pcs_active_power_w"])
    def test_what_is_not_known_differs_from_nothing(self, name: str) -> None:
        past = Past()
        past.racks(60e3)
        past.pcs(0.0)
        assert told.dc_power_differs(past.facts()).all()
        past.lose(name)
        assert not told.dc_power_differs(past.facts()).any()

    @pytest.mark.parametrize(("pcs_w", "differ"), [(40.1e3, False), (39.9e3, True)])
    def test_two_pcs_on_a_bank_may_differ_by_twice_as_much(self, pcs_w: float, differ: bool) -> None:
        past = Past()
        past.topology = dataclasses.replace(past.topology)
        past.topology.__dict__["pcs_count"] = np.array([2])
        past.racks(60e3)
        past.pcs(pcs_w)
        assert told.dc_power_differs(past.facts()).tolist() == [differ]
