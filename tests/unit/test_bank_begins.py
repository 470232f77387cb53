"""When a bank counts as beginning, in which it gives no power: the first bank of the four racks has three."""

from __future__ import annotations

import pytest

from controller.core.image import RackMode, SiteMode
from tests.sequence_stage import CLOSED, FUSE_WAIT, OPEN, PRECHARGE, STOPPING, Site, closed


def begins(site: Site) -> list[bool]:
    found: list[bool] = site.scan().bank_connecting.tolist()
    return found


def coming(*modes: RackMode) -> Site:
    """ONLINE, R04 carries the second bank; the racks of the first one, seen as they are, begin it in these modes."""
    site = closed()
    site.modes.bank_connecting[0] = True
    for rack, mode in enumerate(modes):
        site.since(rack, mode, 0)
        if mode in (OPEN, PRECHARGE):
            site.put("rack_main_closed", 0.0, rack)
    return site


def test_a_bank_without_a_rack_begins() -> None:
    assert begins(Site(SiteMode.STANDBY)) == [True, True]
    assert begins(coming(OPEN, OPEN, OPEN)) == [True, False]


@pytest.mark.parametrize(
    ("modes", "on"),
    [((CLOSED, OPEN, OPEN), True), ((CLOSED, PRECHARGE, OPEN), True), ((CLOSED, CLOSED, PRECHARGE), True),
     ((STOPPING, OPEN, CLOSED), True), ((CLOSED, CLOSED, CLOSED), False)],
)  # fmt: skip
def test_it_goes_on_until_no_rack_is_on_its_way(modes: tuple[RackMode, ...], on: bool) -> None:
    assert begins(coming(*modes)) == [on, False]


@pytest.mark.parametrize("mode", [CLOSED, STOPPING, FUSE_WAIT])
def test_a_bank_that_gives_power_does_not_begin_again_for_a_rack_that_joins(mode: RackMode) -> None:
    site = coming(mode, PRECHARGE, OPEN)
    site.put("rack_current_a", 300.0, 0)
    site.modes.bank_connecting[:] = False
    assert begins(site) == [False, False]


def without_a_wish(site: Site) -> None:
    site.memory.join[1:3] = False


def out_of_service(site: Site) -> None:
    site.memory.out_of_service[1:3] = True


def far_from_the_link(site: Site) -> None:
    site.put("rack_voltage_v", 220.0, slice(1, 3))


def tried_in_vain(site: Site) -> None:
    site.modes.rack_attempts[1:3] = 3


@pytest.mark.parametrize("kept_out", [without_a_wish, out_of_service, far_from_the_link, tried_in_vain])
def test_it_waits_for_no_rack_that_cannot_come(kept_out: object) -> None:
    site = coming(CLOSED, OPEN, OPEN)
    assert begins(site)[0]
    site = coming(CLOSED, OPEN, OPEN)
    kept_out(site)  # type: ignore[operator]
    assert not begins(site)[0]


def test_it_waits_for_one_that_cools_down_and_tries_again() -> None:
    site = coming(CLOSED, CLOSED, OPEN)
    site.memory.cool_down_ms[2], site.modes.rack_attempts[2] = 500, 2
    assert begins(site)[0]
    assert site.racks()[2] is OPEN
