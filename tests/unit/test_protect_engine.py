"""How a table of rows is judged, told on tables of one or two rows: delays, thresholds, effects."""

from __future__ import annotations

import numpy as np
import pytest

from controller.core.effect import Effect
from controller.core.image_warnings import Fault
from controller.core.protect import Reset
from controller.core.protect.engine import Matrix
from controller.core.protect.row import Threshold, Warned, When
from tests.protect_bench import BASE
from tests.protect_table import TWO_BANKS, Switch, Table, row


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

    @pytest.mark.parametrize("cycle_ms", [100, 250, 500])
    @pytest.mark.parametrize("delay_ms", [0, 60, 100, 200, 250, 500, 600, 1000, 1100, 2000])
    def test_what_is_printed_of_a_delay_is_when_the_row_acts(self, cycle_ms: int, delay_ms: int) -> None:
        cause = Switch()
        cause.on[0] = True
        table = Table(row(When(cause), delay=delay_ms), cycle_ms=cycle_ms)
        acts = [bool(table.scan(elapsed_ms=cycle_ms).slot_active[0]) for _ in range(30)]
        assert table.matrix.acts_after_ms[0] == acts.index(True) * cycle_ms

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
