"""How a table of rows is judged, told on tables of one or two rows: delays, latches, resets, effects, the first-out."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from controller.core.command import Answer, Command, Kind, Origin, Role
from controller.core.effect import Effect
from controller.core.image import SiteMode, Trips
from controller.core.image_warnings import Fault
from controller.core.layout import Layout
from controller.core.memory import ProtectionMemory
from controller.core.protect import Facts, Priority, Reset, Row, protect
from controller.core.protect.engine import Matrix
from controller.core.protect.look import Reading
from controller.core.protect.row import Cause, Threshold, Warned, When
from controller.core.topology import Topology, Wires
from tests.protect_bench import BASE, Bench

TWO_BANKS = dataclasses.replace(
    Topology.regular(4, 2, 16, 4, 2, np.array([0, 0, 1, 1]), np.array([0, 1])),
    wires=Wires(
        ("GW1", "GW2"),
        np.array([np.zeros((4, 2)), [[0, 0], [0, 0], [0, 0], [0, 1]]], bool),
        np.array([[1, 0, 0, 0], [0, 0, 1, 0]], bool),
        np.zeros((2, 2), bool),
        ((), ()),
    ),
)
"""R01 and R02 with P01 on the first bank, R03 and R04 with P02 on the second; R01's controller is on GW1, R03's and a
module of R04 on GW2."""
BENCH = BASE.program.topology


class Table:
    """A table of rows over the bench, judged scan by scan; `present` says where the causes are."""

    def __init__(self, *rows: Row, topology: Topology = BENCH) -> None:
        self.matrix = Matrix(rows, topology, BASE.program.limit, cycle_ms=100)
        dims = {**BASE.program.dims, "slot": self.matrix.size}
        self.memory = dataclasses.replace(Layout(ProtectionMemory, dims).blank(), first_out=-1)
        self.bench, self.utc_ms, self.overruns, self.answers = Bench(), 10**12, 0, list[Answer]()

    def scan(self, *commands: Command, elapsed_ms: int = 100) -> Trips:
        self.utc_ms += elapsed_ms
        facts = self.bench.facts()
        system = dataclasses.replace(
            facts.system, elapsed_ms=elapsed_ms, utc_ms=self.utc_ms, overruns=self.overruns
        )  # fmt: skip
        facts = dataclasses.replace(facts, system=system)
        verdict, self.answers, self.memory = protect(self.matrix, self.memory, facts, commands)
        return verdict

    def scans(self, count: int) -> list[bool]:
        """Whether the first slot acts, scan by scan."""
        return [bool(self.scan().slot_active[0]) for _ in range(count)]


class Switch:
    """A cause that a test switches at any place, or a quantity that it sets."""

    def __init__(self, shape: tuple[int, ...] = (BENCH.racks,), at_rest: float = 0.0) -> None:
        self.on, self.value, self.known = np.zeros(shape, bool), np.full(shape, at_rest), np.ones(shape, bool)

    def __call__(self, facts: Facts) -> Any:
        return self.on

    def read(self, facts: Facts) -> Reading:
        return Reading(self.value, self.known)


def row(cause: Cause, delay: int | None = 0, reset: Reset = Reset.SELF, name: str = "hazard", **more: Any) -> Row:
    more = {"place": "rack", "effect": Effect.ALARM | Effect.TRIP, **more}
    return Row(name, cause=cause, delay=delay, reset=reset, priority=Priority.LOW, because="", advice="", **more)


def reset(target: int = -1, role: Role = Role.OPERATOR) -> Command:
    return Command(1, Kind.RESET_TRIPS, Origin.OPCUA, role, 0, 10**9, target=target)


def stop() -> Command:
    return Command(2, Kind.EMERGENCY_STOP, Origin.OPCUA, Role.OPERATOR, 0, 10**9)


class TestDelay:
    def test_it_acts_when_the_cause_has_been_there_for_as_long_as_the_delay(self) -> None:
        cause = Switch()
        table = Table(row(When(cause), delay=300))
        cause.on[0] = True
        assert table.scans(4) == [False, False, False, True]

    def test_it_is_given_back_four_times_slower_than_it_is_used_up(self) -> None:
        cause = Switch()
        table = Table(row(When(cause), delay=300))
        cause.on[0] = True
        table.scans(2)
        cause.on[0] = False
        table.scans(4)
        assert table.memory.timer_ms[0] == 200 - 4 * 25
        cause.on[0] = True
        assert table.scans(3) == [False, False, True]

    def test_it_is_never_more_than_used_up_nor_more_than_given_back(self) -> None:
        cause = Switch()
        table = Table(row(When(cause), delay=300))
        cause.on[0] = True
        table.scans(20)
        assert table.memory.timer_ms.tolist() == [300, 0]

    def test_a_scan_that_came_late_counts_for_no_more_than_two_cycles(self) -> None:
        cause = Switch()
        table = Table(row(When(cause), delay=300))
        cause.on[0] = True
        table.scan(elapsed_ms=5000)
        assert table.memory.timer_ms[0] == 200

    def test_scans_in_quick_succession_give_it_back_too(self) -> None:
        cause = Switch()
        table = Table(row(When(cause), delay=300))
        cause.on[0] = True
        table.scan()
        cause.on[0] = False
        table.scan(elapsed_ms=2)
        assert table.memory.timer_ms[0] == 99

    @pytest.mark.parametrize("elapsed", [(100, 97, 100, 103), (99, 99, 99, 103), (100, 100, 85, 115)])
    def test_a_scan_that_started_a_moment_late_costs_no_cycle(self, elapsed: tuple[int, ...]) -> None:
        cause = Switch()
        cause.on[0] = True
        table = Table(row(When(cause), delay=300))
        assert [bool(table.scan(elapsed_ms=ms).slot_active[0]) for ms in elapsed] == [False, False, False, True]

    def test_scans_that_are_much_too_early_do_not_count_for_more_than_their_time(self) -> None:
        cause = Switch()
        cause.on[0] = True
        table = Table(row(When(cause), delay=300))
        assert [bool(table.scan(elapsed_ms=70).slot_active[0]) for _ in range(6)] == [False] * 4 + [True] * 2

    def test_a_delay_shorter_than_the_cycle_still_takes_a_second_look(self) -> None:
        cause = Switch()
        cause.on[0] = True
        table = Table(row(When(cause), delay=60))
        assert table.scans(2) == [False, True]

    def test_the_band_s_own_delay_is_in_force_where_the_row_names_none(self) -> None:
        level = Switch()
        table = Table(row(Threshold(level.read, "insulation", over=False), delay=None))
        assert table.matrix.delay_ms.tolist() == [BASE.program.limit.insulation.delay_ms] * 2


class TestThreshold:
    """The bench's insulation: warns below 100 kohm, trips below 50 kohm, clear above 120 kohm."""

    def test_it_acts_beyond_its_limit_and_until_the_clear_threshold_is_passed(self) -> None:
        band = BASE.program.limit.insulation
        level = Switch(at_rest=1e6)
        table = Table(row(Threshold(level.read, "insulation", over=False)))
        seen = []
        for ohm in (band.trip, band.trip - 1, band.trip + 1, band.clear, band.clear + 1):
            level.value[0] = ohm
            seen.append(bool(table.scan().slot_active[0]))
        assert seen == [False, True, True, True, False]

    def test_over_is_the_mirror_of_below(self) -> None:
        band = BASE.program.limit.ambient
        level = Switch(())
        table = Table(row(Threshold(level.read, "ambient", over=True, at="warn"), place="site"))
        seen = []
        for degc in (band.warn, band.warn + 0.1, band.clear, band.clear - 0.1):
            level.value[()] = degc
            seen.append(bool(table.scan().slot_active[0]))
        assert seen == [False, True, True, False]

    def test_without_data_it_neither_begins_nor_ends(self) -> None:
        level = Switch(at_rest=1e6)
        table = Table(row(Threshold(level.read, "insulation", over=False)))
        level.value[:], level.known[0] = 0.0, False
        assert table.scan().slot_active.tolist() == [False, True]
        level.value[:], level.known[:] = 1e6, (True, False)
        assert table.scan().slot_active.tolist() == [False, True]

    def test_it_shows_what_was_compared_with_what_and_after_the_cause_the_last_value_that_was_beyond(self) -> None:
        level, other = Switch(at_rest=1e6), Switch()
        table = Table(row(When(other), name="other"), row(Threshold(level.read, "insulation", False), name="level"))
        level.value[1] = 40e3
        verdict = table.scan()
        assert verdict.slot_value.tolist() == [0.0, 0.0, 1e6, 40e3]
        assert verdict.slot_limit.tolist() == [1.0, 1.0, 50e3, 50e3]
        assert verdict.slot_element.tolist() == [-1] * 4
        level.value[1] = 110e3
        table.scan()
        assert table.memory.value[3] == 40e3 and table.scan().slot_active[3]


def test_a_suspicion_of_early_warning_acts_on_its_rack_and_names_the_cell() -> None:
    table = Table(row(Warned(Fault.INTERNAL_SHORT, "")), row(Warned(Fault.BUSBAR_STEP, "")))
    assert not table.scan().slot_active.any()
    w = table.bench.warnings
    w.rack_warning[1] = True
    w.cell_warning[1, 0, 3] = int(Fault.INTERNAL_SHORT)
    verdict = table.scan()
    assert verdict.slot_active.tolist() == [False, True, False, False]
    assert verdict.slot_element.tolist() == [-1, 3, -1, -1]


class TestEffects:
    """Who must act on what happens at one place of a plant with two banks."""

    T = int(Effect.ALARM | Effect.TRIP)

    @pytest.mark.parametrize(
        ("place", "shape", "where", "racks"),
        [
            ("module", (4, 2), (2, 1), [0, 0, T, 0]),
            ("rack", (4,), (1,), [0, T, 0, 0]),
            ("pcs", (2,), (1,), [0, 0, T, T]),
            ("bus", (2,), (0,), [T, 0, 0, 0]),
            ("bus", (2,), (1,), [0, 0, T, T]),
            ("site", (), (), [T, T, T, T]),
        ],
    )
    def test_a_row_acts_on_the_racks_of_its_place(
        self, place: str, shape: tuple[int, ...], where: tuple[int, ...], racks: list[int]
    ) -> None:
        active = np.zeros(shape, bool)
        active[where] = True
        matrix = Matrix([row(When(Switch()), place=place)], TWO_BANKS, BASE.program.limit, 100)
        on_racks, on_site = matrix.effects(active.reshape(-1))
        assert on_racks.tolist() == racks
        assert on_site == (self.T if place == "site" else 0)

    def test_two_lost_buses_act_on_the_racks_of_both(self) -> None:
        matrix = Matrix([row(When(Switch()), place="bus")], TWO_BANKS, BASE.program.limit, 100)
        assert matrix.effects(np.array([True, True]))[0].tolist() == [self.T, 0, self.T, self.T]

    def test_what_concerns_the_bank_acts_on_all_its_racks_and_on_no_other_bank(self) -> None:
        one = row(When(Switch()), effect=Effect.TRIP, bank_effect=Effect.DERATE)
        matrix = Matrix([one], TWO_BANKS, BASE.program.limit, 100)
        on_racks, _ = matrix.effects(np.array([False, True, False, False]))
        assert on_racks.tolist() == [int(Effect.DERATE), int(Effect.DERATE | Effect.TRIP), 0, 0]

    def test_effects_of_several_rows_add_up(self) -> None:
        rows = [
            row(When(Switch()), name="a", effect=Effect.DERATE),
            row(When(Switch()), name="b", effect=Effect.STOP, place="site"),
            row(When(Switch()), name="c", effect=Effect.ALARM, place="site"),
        ]
        matrix = Matrix(rows, TWO_BANKS, BASE.program.limit, 100)
        on_racks, on_site = matrix.effects(np.array([True, False, False, False, True, True]))
        both = int(Effect.STOP | Effect.ALARM)
        assert (on_racks.tolist(), on_site) == ([both | int(Effect.DERATE), both, both, both], both)

    def test_only_what_is_latched_asks_for_a_person(self) -> None:
        passing, lasting = Switch(), Switch()
        table = Table(
            row(When(passing), name="a", effect=Effect.STOP),
            row(When(lasting), name="b", effect=Effect.TRIP, reset=Reset.OPERATOR),
        )
        passing.on[0] = lasting.on[1] = True
        verdict = table.scan()
        assert verdict.rack_effect.tolist() == [int(Effect.STOP), int(Effect.TRIP)]
        assert verdict.rack_effect_latched.tolist() == [0, int(Effect.TRIP)]


class TestReset:
    def held(self, **more: Any) -> tuple[Table, Switch]:
        """Both racks tripped and latched, the causes gone again."""
        cause = Switch()
        table = Table(row(When(cause), reset=Reset.OPERATOR, **more))
        cause.on[:] = True
        table.scan()
        cause.on[:] = False
        assert table.scan().slot_latched.all(), "it stays until somebody resets it"
        return table, cause

    def answer(self, table: Table) -> tuple[bool, str]:
        return table.answers[-1].accepted, table.answers[-1].reason

    def test_all_at_once(self) -> None:
        table, _ = self.held()
        assert not table.scan(reset()).slot_active.any()
        assert self.answer(table) == (True, "2 reset")

    def test_one_place_and_no_other(self) -> None:
        table, _ = self.held()
        assert table.scan(reset(target=0)).slot_active.tolist() == [False, True]
        assert self.answer(table) == (True, "1 reset")

    def test_what_can_go_goes_and_the_rest_is_named(self) -> None:
        table, cause = self.held()
        cause.on[1] = True
        assert table.scan(reset()).slot_active.tolist() == [False, True]
        assert self.answer(table) == (True, "1 reset, 1 held: hazard R02: cause still present")

    def test_nothing_can_go(self) -> None:
        table, cause = self.held()
        cause.on[:] = True
        assert table.scan(reset()).slot_latched.all()
        assert self.answer(table) == (False, "2 held: hazard R01: cause still present")

    def test_there_is_nothing_to_reset(self) -> None:
        table = Table(row(When(Switch()), reset=Reset.OPERATOR))
        table.scan(reset())
        assert self.answer(table) == (True, "nothing to reset")

    def test_an_observer_may_not(self) -> None:
        table, _ = self.held()
        assert table.scan(reset(role=Role.OBSERVER)).slot_latched.all()
        assert self.answer(table) == (False, "needs the Operator role")

    @pytest.mark.parametrize(
        ("role", "mode", "goes"),
        [
            (Role.ENGINEER, SiteMode.MAINTENANCE, True),
            (Role.ENGINEER, SiteMode.STANDBY, False),
            (Role.OPERATOR, SiteMode.MAINTENANCE, False),
        ],
    )
    def test_some_need_an_engineer_in_maintenance(self, role: Role, mode: SiteMode, goes: bool) -> None:
        cause = Switch()
        table = Table(row(When(cause), reset=Reset.MAINTENANCE))
        cause.on[0] = True
        table.scan()
        cause.on[0] = False
        table.bench.modes = dataclasses.replace(table.bench.modes, site_mode=int(mode))
        assert table.scan(reset(role=role)).slot_latched[0] != goes
        assert self.answer(table)[0] is goes
        assert goes or self.answer(table)[1].endswith("needs an engineer in MAINTENANCE mode")

    def test_a_latched_row_whose_delay_is_not_used_up_again_still_needs_a_clear_cause(self) -> None:
        cause = Switch()
        table = Table(row(When(cause), reset=Reset.OPERATOR, delay=200))
        cause.on[0] = True
        table.scans(3)
        cause.on[0] = False
        table.scans(10)
        cause.on[0] = True
        assert table.scan(reset()).slot_latched[0]
        assert self.answer(table) == (False, "1 held: hazard R01: cause still present")


class TestFirstOut:
    def test_of_several_in_one_scan_the_one_farthest_beyond_its_limit_leads(self) -> None:
        level = Switch(at_rest=1e6)
        table = Table(row(Threshold(level.read, "insulation", over=False), reset=Reset.OPERATOR))
        level.value[:] = (45e3, 10e3)
        verdict = table.scan()
        assert (verdict.first_out, verdict.first_out_utc_ms, verdict.trip_count) == (1, table.utc_ms, 2)

    def test_how_far_is_a_share_of_the_limit_whatever_is_measured(self) -> None:
        ohm, volt = Switch(at_rest=1e6), Switch((), at_rest=24.0)
        table = Table(
            row(Threshold(ohm.read, "insulation", over=False), name="insulation"),
            row(Threshold(volt.read, "aux_supply", over=False), name="supply", place="site"),
        )
        ohm.value[0], volt.value[()] = 45e3, 10.0
        assert table.scan().first_out == 2, "half of the voltage is gone, and a tenth of the resistance"

    def test_that_share_is_no_smaller_where_the_limit_is_a_fraction_of_a_volt(self) -> None:
        apart, volt = Switch(), Switch((), at_rest=24.0)
        table = Table(
            row(Threshold(apart.read, "cell_voltage_spread", over=True), name="spread"),
            row(Threshold(volt.read, "aux_supply", over=False), name="supply", place="site"),
        )
        apart.value[0], volt.value[()] = 2 * BASE.program.limit.cell_voltage_spread.trip, 10.0
        assert table.scan().first_out == 0

    def test_it_stays_the_first_with_its_time_until_it_is_over_and_the_next_one_still_acts(self) -> None:
        causes = Switch(), Switch()
        table = Table(*(row(When(c), name=n) for c, n in zip(causes, "ab", strict=True)))
        assert (table.scan().first_out, table.memory.first_out_utc_ms) == (-1, 0)
        causes[1].on[1] = True
        first = table.scan()
        began = table.utc_ms
        causes[0].on[0] = True
        second = table.scan()
        assert (first.first_out, second.first_out, second.first_out_utc_ms, second.trip_count) == (3, 3, began, 2)
        causes[1].on[1] = False
        third = table.scan()
        assert (third.first_out, third.first_out_utc_ms, third.trip_count) == (0, table.utc_ms, 2)
        causes[0].on[0] = False
        assert (table.scan().first_out, table.memory.first_out_utc_ms, table.memory.trip_count) == (-1, 0, 2)

    def test_when_the_first_is_over_the_older_of_the_others_leads_though_a_new_one_is_farther(self) -> None:
        level, one, other = Switch(at_rest=1e6), Switch(), Switch()
        table = Table(
            row(When(one), name="first"),
            row(When(other), name="second"),
            row(Threshold(level.read, "insulation", over=False), name="third"),
        )
        one.on[0] = True
        first = table.scan()
        other.on[0] = True
        second = table.scan()
        assert first.first_out == second.first_out == 0
        assert first.first_out_utc_ms == second.first_out_utc_ms
        one.on[0], level.value[0] = False, 1.0
        assert table.scan().first_out == 2

    def test_what_does_not_open_contactors_is_no_trip(self) -> None:
        cause = Switch()
        table = Table(row(When(cause), effect=Effect.DERATE))
        cause.on[0] = True
        verdict = table.scan()
        assert verdict.slot_active[0] and (verdict.first_out, verdict.trip_count) == (-1, 0)


class TestWhatIsKept:
    """What protection counts between scans for rows of the site."""

    def watched(self) -> tuple[Table, list[Facts]]:
        seen: list[Facts] = []

        def look(facts: Facts) -> Any:
            seen.append(facts)
            return np.zeros((), bool)

        return Table(row(When(look), place="site")), seen

    def test_overruns_count_only_in_a_row(self) -> None:
        table, seen = self.watched()
        for overruns in (1, 2, 2, 3):
            table.overruns = overruns
            table.scan()
        assert [f.overruns_in_a_row for f in seen] == [1, 2, 0, 1]

    def test_an_emergency_stop_holds_until_an_operator_resets_everything(self) -> None:
        table, seen = self.watched()
        for command in (None, stop(), None, reset(target=0), reset(role=Role.OBSERVER), reset(), None):
            table.scan(*([] if command is None else [command]))
            if command == stop():
                assert [(a.accepted, a.reason) for a in table.answers] == [(True, "emergency stop in force")]
        assert [f.emergency_stop for f in seen] == [0, 1, 1, 1, 1, 0, 0]

    def test_other_limits_are_accepted_by_the_first_start_and_then_by_an_operator_s_reset(self) -> None:
        table, seen = self.watched()
        table.scan()
        table.memory = dataclasses.replace(table.memory, configuration=table.matrix.configuration + 1)
        table.scan()
        table.scan(reset())
        table.scan()
        assert [f.configuration_changed for f in seen] == [False, True, False, False]

    def test_other_limits_are_told_from_these(self) -> None:
        limit = BASE.program.limit
        other = dataclasses.replace(limit, contactor_follow_ms=limit.contactor_follow_ms + 1)
        same, changed = (Matrix([row(When(Switch()))], BENCH, each, 100).configuration for each in (limit, other))
        assert same == Table(row(When(Switch()))).matrix.configuration != changed

    def test_the_time_of_the_scan_before_is_shown_to_whoever_looks_for_a_jump(self) -> None:
        table, seen = self.watched()
        table.scan()
        before = table.utc_ms
        table.scan()
        assert seen[-1].utc_before_ms == before
