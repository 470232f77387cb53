"""The acceptance test's verdicts, on recorded lists of plant events and alarms."""

from __future__ import annotations

import dataclasses
from random import Random
from typing import Any

import pytest

from plc_config.compile import Compiled, compile_site
from tools.fat.cases import CASES, Case
from tools.fat.judge import Alarm, Event, Trial, Verdict, aftermath, balancing_a, judge, spread
from tools.fat.plan import Planned, plan

T0 = 10_000.0


@pytest.fixture(scope="module")
def site() -> Compiled:
    return compile_site("bench")


def planned(site: Compiled, case: str, rack: str = "R01") -> Planned:
    """The case, with the first seed that puts it at this rack."""
    found = next(c for c in CASES if c.id == case)
    return next(p for seed in range(99) if (p := plan(found, site, Random(seed))).rack == rack)


def injected(at: float = T0, **more: Any) -> Event:
    return {"time_ms": at, "event": "injected", "place": "R01", "what": "value", **more}


def write(at: float, output: str, value: float, place: str = "R01") -> Event:
    return {"time_ms": at, "event": "write", "place": place, "output": output, "value": value}


def opened(at: float, place: str = "R01", current_a: float = 50.0) -> Event:
    return {"time_ms": at, "event": "main_opened", "place": place, "current_a": current_a}


def after(power_w: float = 30e3, **closed: bool) -> dict[str, Any]:
    names = {"R01": False, "R02": True} | closed
    racks = [
        {"place": n, "main_closed": c, "precharge_closed": False, "current_a": 60.0 if c else 0.0}
        for n, c in names.items()
    ]
    return {"power_w": power_w, "racks": racks}


def alarm(row: str, at: float, place: str = "R01/M01/C01") -> Alarm:
    return Alarm(at, row, place, 1)


def overvoltage(*more: Event, to: float = 210.0) -> Trial:
    """A cell over-voltage at R01 as it should go, and what else happened."""
    events = [injected(), write(T0 + to, "rack_main_close", 0), opened(T0 + to + 40), *more]
    return Trial(events, [alarm("cell_overvoltage", T0 + 205)], -30e3, after())


class TestATrip:
    def test_in_time_passes_and_is_measured_in_plant_time(self, site: Compiled) -> None:
        verdict = judge(planned(site, "cell_overvoltage"), overvoltage())
        assert verdict.passed, verdict.wrong
        assert (verdict.detect_ms, verdict.react_ms, verdict.opened_ms) == (205, 210, 250)

    def test_too_late_fails_and_says_by_how_much(self, site: Compiled) -> None:
        verdict = judge(planned(site, "cell_overvoltage"), overvoltage(to=351))
        assert verdict.wrong == ("reaction after 351 ms, allowed 350 ms",)

    def test_without_an_alarm_fails(self, site: Compiled) -> None:
        silent = dataclasses.replace(overvoltage(), alarms=[])
        assert judge(planned(site, "cell_overvoltage"), silent).wrong == ("no detection",)

    def test_an_alarm_of_another_row_or_of_before_does_not_count(self, site: Compiled) -> None:
        other = dataclasses.replace(
            overvoltage(), alarms=[alarm("cell_undervoltage", T0 + 100), alarm("cell_overvoltage", T0 - 5)]
        )
        assert "no detection" in judge(planned(site, "cell_overvoltage"), other).wrong

    def test_a_rack_that_is_still_closed_fails_whatever_was_commanded(self, site: Compiled) -> None:
        welded = dataclasses.replace(overvoltage(), after=after(R01=True))
        assert judge(planned(site, "cell_overvoltage"), welded).wrong == ("R01 is still closed",)

    def test_current_through_an_open_rack_fails(self, site: Compiled) -> None:
        state = after()
        state["racks"][0]["current_a"] = 8.0
        wrong = judge(planned(site, "cell_overvoltage"), dataclasses.replace(overvoltage(), after=state)).wrong
        assert wrong == ("R01 is open and carries 8.0 A",)

    @pytest.mark.parametrize(
        ("event", "wrong"),
        [
            (opened(T0 + 300, "R02"), "R02 opened although nothing was wrong with it"),
            ({"time_ms": T0 + 900, "event": "main_closed", "place": "R01"}, "R01 closed although it must stay open"),
            ({"time_ms": T0 + 5, "event": "inrush", "place": "R02", "inrush_a": 900.0}, "unequal voltage"),
            (
                {"time_ms": T0 + 5, "event": "cell_outside_region", "place": "R02/M01/C01", "value": 3.8},
                "a cell left its safe region",
            ),
        ],
    )
    def test_what_must_never_happen(self, site: Compiled, event: Event, wrong: str) -> None:
        verdict = judge(planned(site, "cell_overvoltage"), overvoltage(event))
        assert len(verdict.wrong) == 1 and wrong in verdict.wrong[0]

    def test_a_simulator_that_lost_time_is_noted(self, site: Compiled) -> None:
        skipped = {"time_ms": T0 + 50, "event": "clock_skipped", "place": "", "steps": 12}
        verdict = judge(planned(site, "cell_overvoltage"), overvoltage(skipped))
        assert verdict.passed and "the simulator lost 12 steps" in verdict.notes


class TestAStop:
    SETPOINT = "pcs_active_power_setpoint_w"

    def trial(self, current_a: float = 2.0, left_w: float = 30e3) -> Trial:
        events = [
            injected(),
            write(T0 + 340, self.SETPOINT, 0.0, "P01"),
            write(T0 + 700, "rack_main_close", 0),
            opened(T0 + 740, current_a=current_a),
            write(T0 + 900, self.SETPOINT, 5e3, "P01"),
        ]
        return Trial(events, [alarm("module_comm_lost", T0 + 333, "R01/M02")], 30e3, after(left_w))

    def test_power_first_then_open(self, site: Compiled) -> None:
        verdict = judge(planned(site, "module_comm_lost"), self.trial())
        assert verdict.passed, verdict.wrong
        assert (verdict.react_ms, verdict.opened_ms) == (340, 740)

    def test_opening_under_current_fails(self, site: Compiled) -> None:
        assert judge(planned(site, "module_comm_lost"), self.trial(70.0)).wrong == ("R01 opened under 70 A",)

    def test_all_racks_open_means_no_power_left(self, site: Compiled) -> None:
        case = planned(site, "aux_supply_low")
        events = [injected(), write(T0 + 600, self.SETPOINT, 0.0, "P01")]
        events += [opened(T0 + 900, r, 1.0) for r in ("R01", "R02")]
        trial = Trial(events, [alarm("aux_supply_low", T0 + 590, "site")], 30e3, after(5e3, R02=False))
        assert judge(case, trial).wrong == ("5.0 kW still flow",)

    def test_a_device_that_stops_by_its_own_watchdog_counts(self, site: Compiled) -> None:
        stopped = {"time_ms": T0 + 980, "event": "pcs_watchdog_trip", "place": "P01"}
        events = [injected(), stopped, *(opened(T0 + 1500, r, 0.5) for r in ("R01", "R02"))]
        trial = Trial(events, [alarm("pcs_comm_lost", T0 + 300, "P01")], 30e3, after(0.0, R02=False))
        assert judge(planned(site, "pcs_comm_lost"), trial).react_ms == 980


class TestOtherReactions:
    def test_a_welded_contactor_counts_from_the_open_command(self, site: Compiled) -> None:
        events = [
            injected(),
            write(T0 + 200, "rack_main_close", 0),
            write(T0 + 600, "rack_main_close", 0, "R02"),
            opened(T0 + 640, "R02"),
        ]
        state = after(0.0, R01=True, R02=False)
        trial = Trial(events, [alarm("contactor_does_not_open", T0 + 595, "R01")], 30e3, state)
        verdict = judge(planned(site, "contactor_welded"), trial)
        assert verdict.passed, verdict.wrong
        assert (verdict.detect_ms, verdict.react_ms) == (395, 400)

    def test_a_command_that_never_came_is_said(self, site: Compiled) -> None:
        verdict = judge(planned(site, "contactor_does_not_close"), Trial([injected()], [], 0.0, after()))
        assert verdict.wrong == ("the command that the fault falsifies was never given",)

    def test_a_blocked_rack_must_not_even_precharge(self, site: Compiled) -> None:
        events = [injected(), {"time_ms": T0 + 2000, "event": "precharge_closed", "place": "R01"}]
        trial = Trial(events, [alarm("door_open", T0 + 1010, "site")], 0.0, after(0.0, R02=False))
        assert judge(planned(site, "door_open"), trial).wrong == ("R01 closed although it must stay open",)

    def test_a_spike_may_raise_nothing(self, site: Compiled) -> None:
        quiet = Trial([injected()], [], -30e3, after(R01=True))
        assert judge(planned(site, "single_spike"), quiet).passed
        tripped = dataclasses.replace(quiet, alarms=[alarm("cell_overvoltage", T0 + 90)])
        assert judge(planned(site, "single_spike"), tripped).wrong == ("false alarm cell_overvoltage R01/M01/C01",)

    def test_of_two_masters_the_last_one_has_its_power_and_no_rack_opens(self, site: Compiled) -> None:
        case = planned(site, "setpoints_contested")
        quarrel = Trial([injected()], [alarm("setpoints_contested", T0 + 150, "site")], 30e3, after(30e3, R01=True))
        assert judge(case, quarrel).passed
        other = dataclasses.replace(quarrel, after=after(60e3, R01=True))
        assert judge(case, other).wrong == ("60.0 kW flow, and 30.0 kW was asked for last",)
        open_ = dataclasses.replace(quarrel, events=[injected(), opened(T0 + 50)])
        assert judge(case, open_).wrong == ("R01 opened although nothing was wrong with it",)

    def test_a_derating_shows_in_the_setpoint(self, site: Compiled) -> None:
        case = planned(site, "cooling_failed")
        full, less = (
            write(T0 + 100, TestAStop.SETPOINT, -54e3, "P01"),
            write(T0 + 2080, TestAStop.SETPOINT, -29e3, "P01"),
        )
        alarms = [alarm("cooling_failed", T0 + 2075, "site")]
        assert judge(case, Trial([injected(), full, less], alarms, -55e3, after(R01=True))).react_ms == 2080
        assert "no reaction" in judge(case, Trial([injected(), full], alarms, -55e3, after(R01=True))).wrong


class TestTheAftermath:
    def verdict(self, site: Compiled, *events: Event) -> Verdict:
        return aftermath(judge(planned(site, "cell_overvoltage"), overvoltage()), events, 4.2)

    def test_a_precharge_and_a_closing_in_order(self, site: Compiled) -> None:
        found = self.verdict(
            site,
            write(1.0, "rack_precharge_close", 1),
            {"time_ms": 2.0, "event": "precharge_closed", "place": "R01"},
            {"time_ms": 3.0, "event": "main_closed", "place": "R01"},
            write(4.0, "rack_precharge_close", 0),
        )
        assert (found.passed, found.notes, found.ready_s) == (True, (), 4.2)

    def test_closing_on_unequal_voltage_fails_the_case_before(self, site: Compiled) -> None:
        found = self.verdict(site, {"time_ms": 1.0, "event": "inrush", "place": "R02", "inrush_a": 900.0})
        assert found.wrong == ("afterwards R02: a contactor closed on unequal voltage (inrush_a 900.0)",)

    @pytest.mark.parametrize("end", [write(3.0, "rack_precharge_close", 0), opened(3.0) | {"event": "main_closed"}])
    def test_a_precharge_contactor_that_never_closed_is_noted(self, site: Compiled, end: Event) -> None:
        found = self.verdict(site, write(1.0, "rack_precharge_close", 1), end)
        assert found.passed and "R01 did not follow" in found.notes[0]


def test_spread_is_what_was_measured() -> None:
    assert spread([5.0, None, 1.0, 3.0]) == {"p50": 3.0, "p99": 5.0, "max": 5.0}
    assert spread([None]) is None


def test_what_flows_between_racks_is_told_from_what_flows_through_them() -> None:
    def rack(amps: float, closed: bool = True) -> Event:
        return {"current_a": amps, "main_closed": closed}

    shared = [rack(80.0), rack(82.0), rack(-30.0), rack(-30.0)]
    assert balancing_a(shared, [0, 0, 1, 1]) == 1.0
    assert balancing_a([*shared, rack(0.0, closed=False)], [0, 0, 1, 1, 1]) == 1.0, "an open rack carries nothing"
    joined = [rack(5.0), rack(5.0), rack(-10.0)]
    assert balancing_a(joined, [0, 0, 0]) == 10.0
    assert balancing_a([rack(0.0, closed=False)], [0]) == 0.0


def test_cases_are_hashable_data() -> None:
    assert len(set(CASES)) == len(CASES) and isinstance(CASES[0], Case)
