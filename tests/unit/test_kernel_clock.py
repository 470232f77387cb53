"""A lost time server: the kernel knows it, the store asks where the site wants it, and the scan hears of it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controller.app.loop import Scanner
from controller.core.event import text_of
from controller.core.image import ClockSync
from controller.historian import kernel_clock
from controller.historian.kernel_clock import MOST_ERROR_US, STA_UNSYNC, TIME_ERROR, Timex, ask, judge
from controller.historian.store import CLOCK_EVERY_MS, Store
from plc_config.library import site_path
from tests.store_rig import Rig

STA_PLL, TIME_INS = 0x0001, 1


@pytest.mark.parametrize(
    ("state", "status", "max_error_us", "said"),
    [
        (0, STA_PLL, 1500, ClockSync.SYNCHRONISED),
        (TIME_INS, STA_PLL, 1500, ClockSync.SYNCHRONISED),
        (0, 0, MOST_ERROR_US, ClockSync.SYNCHRONISED),
        (0, STA_PLL, MOST_ERROR_US + 1, ClockSync.NOT_SYNCHRONISED),
        (0, STA_PLL | STA_UNSYNC, 1500, ClockSync.NOT_SYNCHRONISED),
        (TIME_ERROR, STA_PLL, 1500, ClockSync.NOT_SYNCHRONISED),
        (TIME_ERROR, STA_UNSYNC, 16_000_000, ClockSync.NOT_SYNCHRONISED),
        (-1, 0, 0, ClockSync.UNKNOWN),
    ],
)
def test_a_clock_is_synchronised_when_nothing_speaks_against_it(
    state: int, status: int, max_error_us: int, said: ClockSync
) -> None:
    assert judge(state, status, max_error_us) is said


class Library:
    """A C library whose kernel answers as told."""

    def __init__(self, state: int, **fields: int) -> None:
        self.state, self.fields, self.modes = state, fields, list[int]()

    def adjtimex(self, answer: Any) -> int:
        timex = ctypes.cast(answer, ctypes.POINTER(Timex)).contents
        self.modes.append(timex.modes)
        for name, value in self.fields.items():
            setattr(timex, name, value)
        return self.state


@pytest.mark.parametrize(
    ("library", "said"),
    [
        (Library(0, status=STA_PLL, maxerror=900), ClockSync.SYNCHRONISED),
        (Library(TIME_ERROR, status=STA_UNSYNC, maxerror=16_000_000), ClockSync.NOT_SYNCHRONISED),
        (Library(-1), ClockSync.UNKNOWN),
    ],
    ids=["follows", "free", "refused"],
)
def test_the_kernel_is_asked_and_nothing_is_set(
    library: Library, said: ClockSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_clock.ctypes, "CDLL", lambda *_, **__: library)
    assert ask() is said
    assert library.modes == [0], "any other mode would set something"


def test_a_system_without_the_call_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_clock.ctypes, "CDLL", lambda *_, **__: SimpleNamespace())
    assert ask() is ClockSync.UNKNOWN


def test_this_machine_answers_in_the_layout_that_is_read() -> None:
    """The kernel bounds its error to 16 s; another layout would show something else there."""
    answer = Timex(maxerror=-1, esterror=-1, status=-1)
    if ctypes.CDLL(None).adjtimex(ctypes.byref(answer)) < 0:
        pytest.skip("the call is not permitted here")
    assert 0 <= answer.maxerror <= 16_000_000 and 0 <= answer.esterror <= 16_000_000
    assert 0 <= answer.status < 1 << 16
    assert ask() in (ClockSync.SYNCHRONISED, ClockSync.NOT_SYNCHRONISED)


class Kernel:
    """Answers, and counts how often it was asked."""

    def __init__(self) -> None:
        self.says, self.asked = ClockSync.SYNCHRONISED, 0

    def __call__(self) -> ClockSync:
        self.asked += 1
        return self.says


def rig_of(folder: Path, more: str, kernel: Kernel) -> Rig:
    """A bench whose store asks this kernel."""
    path = folder / "site.yaml"
    path.write_text(site_path("bench").read_text("utf-8") + more, "utf-8")
    rig = Rig(folder, str(path), with_store=False)
    rig.store = Store(rig.site, rig.files, rig.state, kernel)
    return rig


def heard(rig: Rig) -> int:
    """What the scan process finds in the system values of its next scan."""
    system = Scanner(rig.program, rig.files, -1, simulated=True).read(0.0).system
    return int(system.clock_sync)


def test_it_is_told_where_the_site_requires_it(tmp_path: Path) -> None:
    kernel = Kernel()
    rig = rig_of(tmp_path, "time: {synchronised: required}\n", kernel)
    news = rig.files.event_reader("store")
    rig.seconds(1)
    assert heard(rig) == ClockSync.SYNCHRONISED
    kernel.says, kernel.asked = ClockSync.NOT_SYNCHRONISED, 0
    rig.seconds(CLOCK_EVERY_MS / 1000)
    assert heard(rig) == ClockSync.NOT_SYNCHRONISED
    assert kernel.asked == 1, "once in ten seconds"
    kernel.says = ClockSync.UNKNOWN
    rig.seconds(CLOCK_EVERY_MS / 1000)
    assert heard(rig) == ClockSync.UNKNOWN
    told = [text_of(record, "text") for record in news.take(100)]
    assert [text for text in told if text.startswith("clock")] == [
        "clock of this machine: SYNCHRONISED, before NOT_ASKED",
        "clock of this machine: NOT_SYNCHRONISED, before SYNCHRONISED",
        "clock of this machine: UNKNOWN, before NOT_SYNCHRONISED",
    ]
    rig.finish()


def test_a_site_that_does_not_require_it_asks_nobody(tmp_path: Path) -> None:
    kernel = Kernel()
    rig = rig_of(tmp_path, "", kernel)
    rig.seconds(2 * CLOCK_EVERY_MS / 1000)
    assert kernel.asked == 0 and heard(rig) == ClockSync.NOT_ASKED
    rig.finish()
