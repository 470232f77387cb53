"""What a row leaves behind, told on tables of one or two rows: latches and their reset, the first-out, what is kept."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from controller.core.command import Role
from controller.core.effect import Effect
from controller.core.image import SiteMode
from controller.core.protect import Facts, Reset
from controller.core.protect.engine import Matrix
from controller.core.protect.row import Threshold, When
from tests.protect_bench import BASE
from tests.protect_table import BENCH, Switch, Table, reset, row, stop


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
