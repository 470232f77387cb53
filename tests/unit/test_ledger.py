"""What the ledger writes down about a main contactor, and what proves it open or welded, scan by scan.

An opening at 280 A counts as one of 100, below 5 A as none under load; a dead link has one second to part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from controller.core.image import Contactors, RackMode, SiteMode, WeldTest
from controller.core.sequence.ledger import keep
from controller.core.signal import Quality
from tests.sequence_bench import Racks

NONE, RUNNING, PASSED, FAILED, UNDECIDED = WeldTest
Change = Callable[["Book"], None]


class Book(Racks):
    """The first bank's racks were closed and carried 140 A each until now."""

    def __init__(self) -> None:
        super().__init__()
        self.mode(RackMode.CLOSED, 0, 1, 2)
        self.put("rack_main_closed", 1.0, np.s_[:3])
        self.put("rack_current_a", -140.0, np.s_[:3])
        self.put("rack_link_voltage_v", 200.0)
        self.memory.main_seen_closed[:3] = True
        self.memory.last_current_a[:3] = 140.0
        self.since_ms = 0

    def scan(self, *modes: RackMode) -> Contactors:
        """One scan later the racks are in these modes, those not named as they were."""
        new = self.modes.rack_mode.copy()
        new[: len(modes)] = [int(m) for m in modes]
        self.since_ms = self.since_ms + 100 if (new == self.modes.rack_mode).all() else 0
        self.system = dataclasses.replace(self.system, utc_ms=self.system.utc_ms + 100)
        ledger, self.memory = keep(
            self.topology, self.settings, self.modes, new, np.full(4, self.since_ms), self.memory, self.measured,
            self.system,
        )  # fmt: skip
        self.modes = dataclasses.replace(self.modes, contactors=ledger, rack_mode=new)
        return ledger


class TestCounting:
    def test_a_closing_is_counted_when_the_main_is_commanded(self) -> None:
        book = Book()
        book.mode(RackMode.OPEN, 0, 1)
        ledger = book.scan(RackMode.PRECHARGE, RackMode.CLOSED, RackMode.STOPPING)
        assert ledger.rack_contactor_operations.tolist() == [0, 1, 0, 0]
        assert book.scan(RackMode.CLOSED).rack_contactor_operations.tolist() == [1, 1, 0, 0]

    def test_an_opening_counts_by_the_square_of_its_current(self) -> None:
        ledger = Book().scan(RackMode.TRIPPED)
        assert ledger.rack_contactor_breaks.tolist() == [0.25, 0, 0, 0]
        assert ledger.rack_contactor_hot_openings.tolist() == [1, 0, 0, 0]

    @pytest.mark.parametrize(("amps", "hot"), [(5.0, 0), (5.1, 1), (-5.1, 1)])
    def test_below_a_small_current_it_is_none_under_load(self, amps: float, hot: int) -> None:
        book = Book()
        book.put("rack_current_a", amps, 0)
        assert book.scan(RackMode.OPEN).rack_contactor_hot_openings[0] == hot

    def test_wear_is_the_sum_of_both_shares_of_the_life(self) -> None:
        book = Book()
        book.modes.contactors.rack_contactor_operations[0] = 20_000
        book.modes.contactors.rack_contactor_breaks[0] = 9.75
        assert book.scan(RackMode.OPEN).rack_contactor_wear_ratio[0] == pytest.approx(0.2 + 0.1)

    def test_a_current_that_is_not_heard_is_the_last_that_was(self) -> None:
        book = Book()
        book.lose("rack_current_a", 0)
        book.put("rack_current_a", 0.0, 0)
        assert book.scan(RackMode.OPEN).rack_contactor_breaks[0] == 0.25
        assert book.memory.last_current_a.tolist() == [140.0, 140.0, 140.0, 0.0]

    def test_a_contactor_that_drops_by_itself_broke_the_current_of_the_scan_before_once(self) -> None:
        book = Book()
        book.memory.last_current_a[0] = 280.0
        book.put("rack_main_closed", 0.0, 0)
        book.put("rack_current_a", 0.0, 0)
        assert book.scan().rack_contactor_breaks.tolist() == [1.0, 0, 0, 0]
        assert book.scan(RackMode.TRIPPED).rack_contactor_breaks.tolist() == [1.0, 0, 0, 0]
        assert book.scan().rack_contactor_hot_openings.tolist() == [1, 0, 0, 0]

    def test_one_that_has_not_closed_yet_has_not_dropped(self) -> None:
        book = Book()
        book.memory.main_seen_closed[0] = False
        book.put("rack_main_closed", 0.0, 0)
        assert not book.scan().rack_contactor_breaks.any()

    def test_without_readable_feedback_the_command_counts_and_nothing_has_dropped(self) -> None:
        book = Book()
        book.put("rack_main_closed", 0.0, 0)
        book.lose("rack_main_closed", 0)
        assert not book.scan().rack_contactor_breaks.any() and book.memory.main_seen_closed[0]
        book.memory.main_seen_closed[0] = False
        assert book.scan(RackMode.OPEN).rack_contactor_breaks[0] == 0.25
        assert not book.scan().rack_contactor_hot_openings[1:].any() and not book.memory.main_seen_closed[0]

    def test_who_cannot_be_read_has_been_seen_closed_only_if_it_was_before(self) -> None:
        book = Book()
        book.memory.main_seen_closed[:2] = (False, True)
        book.lose("rack_main_closed")
        book.scan()
        assert book.memory.main_seen_closed[:2].tolist() == [False, True]

    def test_one_that_was_seen_closed_before_anybody_told_it_to_be_has_not_dropped(self) -> None:
        book = Book()
        book.mode(RackMode.OPEN, 0)
        book.put("rack_main_closed", 0.0, 0)
        assert not book.scan(RackMode.CLOSED).rack_contactor_breaks.any()

    def test_a_rack_that_was_open_and_stays_open_breaks_nothing(self) -> None:
        book = Book()
        book.put("rack_main_closed", 0.0, 3)
        book.put("rack_current_a", 100.0, 3)
        assert book.scan().rack_contactor_breaks[3] == 0.0


def opened(*also: int) -> Book:
    """R01, and whoever is named, has just been opened; the others of the bank are open for long."""
    book = Book()
    book.put("rack_current_a", 0.0)
    book.mode(RackMode.OPEN, *(r for r in (1, 2) if r not in also))
    book.put("rack_main_closed", 0.0)
    book.memory.main_seen_closed[[r for r in (1, 2) if r not in also]] = False
    book.scan(RackMode.OPEN, *(RackMode.OPEN for _ in also))
    return book


def results(book: Book, scans: int) -> list[WeldTest]:
    return [WeldTest(int(book.scan().rack_weld_test[0])) for _ in range(scans)]


class TestWeld:
    def test_it_runs_from_the_opening_and_its_time_is_kept_when_it_is_over(self) -> None:
        book = opened()
        began = book.system.utc_ms
        assert book.modes.contactors.rack_weld_test.tolist() == [RUNNING, NONE, NONE, NONE]
        assert book.scan().rack_weld_test_utc_ms.tolist() == [began, 0, 0, 0]

    def test_a_dead_link_that_does_not_part_within_its_time_proves_a_weld(self) -> None:
        book = opened()
        assert results(book, 10) == [*[RUNNING] * 9, FAILED]
        assert book.modes.contactors.rack_weld_test_utc_ms[0] == book.system.utc_ms
        assert results(book, 2) == [FAILED] * 2

    @pytest.mark.parametrize(
        ("rack_v", "link_v", "parts"),
        [
            (200.0, 195.0, True),
            (200.0, 195.1, False),
            (200.0, 205.0, True),
            (400.0, 392.0, True),
            (400.0, 392.1, False),
        ],
    )
    def test_a_link_that_parts_from_the_rack_proves_it_open_once_all_has_settled(
        self, rack_v: float, link_v: float, parts: bool
    ) -> None:
        book = opened()
        book.put("rack_voltage_v", rack_v)
        book.put("rack_link_voltage_v", link_v)
        assert results(book, 5) == [*[RUNNING] * 4, PASSED if parts else RUNNING]

    @pytest.mark.parametrize("name", ["rack_voltage_v", "rack_link_voltage_v"])
    def test_without_voltages_nothing_is_concluded(self, name: str) -> None:
        book = opened()
        book.put("rack_link_voltage_v", 0.0)
        book.lose(name)
        assert results(book, 20) == [RUNNING] * 20

    @pytest.mark.parametrize(
        ("held_up", "result"),
        [
            (lambda b: b.mode(RackMode.PRECHARGE, 1), RUNNING),
            (lambda b: b.mode(RackMode.CLOSED, 1), RUNNING),
            (lambda b: b.put("pcs_running", 1.0, 0), RUNNING),
            (lambda b: b.lose("pcs_running", 0), RUNNING),
            (lambda b: b.put("pcs_running", 0.49, 0), FAILED),
            (lambda b: b.put("pcs_running", 1.0, 1), FAILED),
            (lambda b: b.mode(RackMode.CLOSED, 3), FAILED),
        ],
    )
    def test_a_link_that_something_holds_up_proves_no_weld_but_another_link_does_not_matter(
        self, held_up: Change, result: WeldTest
    ) -> None:
        book = opened()
        held_up(book)
        assert results(book, 20)[-1] is result

    def test_the_time_does_not_run_while_the_link_has_parted_and_begins_with_every_opening(self) -> None:
        book = opened()
        results(book, 4)
        assert book.memory.weld_test_ms.tolist() == [400, 0, 0, 0]
        book.put("rack_link_voltage_v", 0.0)
        book.scan()
        assert book.memory.weld_test_ms[0] == 400
        book.put("rack_link_voltage_v", 200.0)
        book.scan(RackMode.CLOSED)
        assert book.memory.weld_test_ms[0] == 0

    @pytest.mark.parametrize(
        ("own", "others", "result"),
        [(5.0, 50.0, PASSED), (5.1, 50.0, RUNNING), (-5.1, 50.0, RUNNING), (0.0, 49.9, RUNNING), (0.0, -50.0, PASSED)],
    )
    def test_on_a_live_link_a_rack_that_carries_nothing_beside_those_that_do_is_open(
        self, own: float, others: float, result: WeldTest
    ) -> None:
        book = opened()
        book.mode(RackMode.CLOSED, 1, 2)
        book.put("rack_current_a", (own, others, others, 0.0))
        assert results(book, 6)[-1] is result

    def test_currents_that_are_not_heard_prove_nothing(self) -> None:
        book = opened()
        book.mode(RackMode.CLOSED, 1, 2)
        book.put("rack_current_a", (0.0, 60.0, 500.0, 0.0))
        book.lose("rack_current_a", 0)
        assert results(book, 10)[-1] is RUNNING
        book.points.rack_current_a.quality[:] = (0, 5, 5, 0)
        assert results(book, 1) == [RUNNING], "nobody else is heard"
        book.points.rack_current_a.quality[:] = (0, 0, 5, 0)
        assert results(book, 1) == [PASSED], "one that is heard carries 60 A"

    def test_closed_again_before_anything_was_proved(self) -> None:
        book = opened()
        book.scan()
        assert WeldTest(int(book.scan(RackMode.CLOSED).rack_weld_test[0])) is UNDECIDED

    def test_what_was_proved_stays_while_it_is_closed(self) -> None:
        book = opened()
        book.put("rack_link_voltage_v", 0.0)
        results(book, 6)
        assert WeldTest(int(book.scan(RackMode.CLOSED).rack_weld_test[0])) is PASSED

    @pytest.mark.parametrize(("mode", "result"), [(SiteMode.MAINTENANCE, NONE), (SiteMode.STANDBY, FAILED)])
    def test_an_engineer_at_it_takes_a_failed_one_back(self, mode: SiteMode, result: WeldTest) -> None:
        book = opened()
        results(book, 10)
        book.modes = dataclasses.replace(book.modes, site_mode=int(mode))
        assert results(book, 1) == [result]

    def test_it_can_be_switched_off(self) -> None:
        book = Book()
        contactor: Any = dataclasses.replace(book.settings.contactor, weld_test_ms=0)
        book.set(contactor=contactor)
        assert not book.scan(RackMode.OPEN).rack_weld_test.any()

    def test_two_racks_are_judged_each_for_itself(self) -> None:
        book = opened(1)
        book.put("rack_link_voltage_v", 0.0, 0)
        for _ in range(10):
            ledger = book.scan()
        assert ledger.rack_weld_test.tolist() == [PASSED, FAILED, NONE, NONE]

    def test_one_welded_rack_that_is_locked_out_is_blamed_alone_for_the_link_that_it_holds_up(self) -> None:
        book = opened(1)
        book.mode(RackMode.LOCKED_OUT, 0)
        for _ in range(20):
            ledger = book.scan()
        assert ledger.rack_weld_test.tolist() == [FAILED, RUNNING, NONE, NONE]

    def test_a_rack_that_is_locked_out_for_something_else_excuses_no_other(self) -> None:
        book = opened()
        book.mode(RackMode.LOCKED_OUT, 1)
        assert results(book, 10)[-1] is FAILED

    def test_a_stale_value_will_do(self) -> None:
        book = opened()
        book.lose("rack_link_voltage_v", 0, Quality.STALE)
        assert results(book, 10)[-1] is FAILED
