"""A precharge without resistor, seen or over between two values; sound ones that are fast, or rarely looked at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from controller.core.command import Kind
from controller.core.image import RackMode, SiteMode
from tests.scenario.test_connecting import site
from tests.story import Story
from tools.cli import main

TOO_FAST = "precharge_too_fast"
STEADY_MS = 3000


class Filling(Story):
    """A plant whose link fills by its resistor and its own capacitance, and whose contactor may close late.

    tau_ms: resistance times capacitance, 0 without resistor; late_ms: from the command to closed contacts; every_ms:
    how often the link is read.
    """

    def __init__(self, folder: Path, tau_ms: float, late_ms: int = 50, every_ms: int = 100, **precharge: str) -> None:
        keys = ", ".join(f"{key}: {value}" for key, value in precharge.items())
        super().__init__(site(folder, precharge=f"{{{keys}}}"))
        self.tau_ms, self.late_ms, self.every_ms = tau_ms, late_ms, every_ms
        self.since_ms = 0
        self.hold.add("rack_link_voltage_v")
        self.silent.add("rack_link_voltage_v")
        self.points.rack_link_voltage_v.value[...] = 0.0

    def _follow(self) -> None:
        super()._follow()
        link, rack, o = self.points.rack_link_voltage_v, self.points.rack_voltage_v.value, self.memory.outputs
        commanded = bool(o.rack_precharge_close.any() or o.rack_main_close.any())
        self.since_ms = self.since_ms + self.cycle_ms if commanded else 0
        if self.now_ms % self.every_ms == 0:
            read_ms = self.now_ms - 10
            filling_ms = max(self.since_ms - 10 - self.late_ms, 0)
            full = 1.0 - np.exp(-filling_ms / self.tau_ms) if self.tau_ms else float(filling_ms > 0)
            link.value[...] = rack[0] if o.rack_main_close.any() else full * rack[0]
            link.time_ms[...] = read_ms

    def precharge(self) -> list[str]:
        """What became of the first rack, and the modes it was in."""
        self.until(SiteMode.STANDBY)
        self.tell(Kind.CONNECT)
        seen: list[str] = []
        for _ in range(STEADY_MS // self.cycle_ms):
            self.scans()
            mode = self.rack(0).name
            seen += [mode] if seen[-1:] != [mode] else []
        return seen


@pytest.mark.parametrize("late_ms", [0, 50, 150, 250, 299])
def test_without_resistor_no_delay_of_the_contactor_hides_it(tmp_path: Path, late_ms: int) -> None:
    """The link is empty in one value and full in the next, long after the command."""
    s = Filling(tmp_path, tau_ms=0.0, late_ms=late_ms)
    assert s.precharge() == ["OPEN", "PRECHARGE", "TRIPPED"], "and never closed"
    assert s.active(TOO_FAST, "R01")


def test_a_link_that_is_read_in_every_second_scan_shows_it_too(tmp_path: Path) -> None:
    s = Filling(tmp_path, tau_ms=0.0, late_ms=290, every_ms=200)
    assert s.precharge()[-1] == "TRIPPED" and s.active(TOO_FAST, "R01")


@pytest.mark.parametrize("tau_ms", [130.0, 280.0, 400.0])
@pytest.mark.parametrize("every_ms", [100, 300])
def test_a_sound_resistor_is_not_too_fast(tmp_path: Path, tau_ms: float, every_ms: int) -> None:
    s = Filling(tmp_path, tau_ms, every_ms=every_ms)
    s.precharge()
    assert not s.active(TOO_FAST)
    assert s.rack(0) in (RackMode.PRECHARGE, RackMode.CLOSED)


def test_between_two_values_a_second_apart_nobody_can_tell_and_nobody_claims_to(tmp_path: Path) -> None:
    s = Filling(tmp_path, tau_ms=100.0, every_ms=1000)
    s.precharge()
    assert not s.active(TOO_FAST)


def test_where_the_resistor_takes_longer_than_that_it_is_told(tmp_path: Path) -> None:
    """A site whose sound precharge takes 2 s may say so: then a second is enough to know."""
    slow = Filling(tmp_path, tau_ms=0.0, every_ms=1000, fastest="1.5 s", timeout="8 s")
    assert slow.precharge()[-1] == "TRIPPED" and slow.active(TOO_FAST, "R01")
    sound = Filling(tmp_path, tau_ms=900.0, every_ms=1000, fastest="1.5 s", timeout="8 s")
    sound.precharge()
    assert not sound.active(TOO_FAST)


def test_a_small_link_fills_fast_and_its_site_says_so(tmp_path: Path) -> None:
    assert Filling(tmp_path, tau_ms=40.0).precharge()[-1] == "TRIPPED", "as without resistor, for all that is known"
    small = Filling(tmp_path, tau_ms=40.0, fastest="60 ms")
    small.precharge()
    assert not small.active(TOO_FAST) and small.rack(0) is RackMode.CLOSED


def test_the_check_says_where_it_would_not_be_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def notes(fastest: str) -> list[str]:
        compiled = site(tmp_path, precharge=f"{{fastest: {fastest}}}")
        assert main(["check", str(compiled.path), "--json"]) == 0
        return [n for n in json.loads(capsys.readouterr().out)["notes"] if "without resistor" in n]

    assert notes("250 ms") == []
    assert notes("60 ms") == [
        "the link voltage is read every 100 ms, limits.precharge.fastest is 60 ms: a precharge without resistor is "
        "not seen"
    ]


def test_a_precharge_that_could_never_succeed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = site(tmp_path).path
    path.write_text(path.read_text("utf-8").replace("fastest: 500 ms", "fastest: 5 s"), "utf-8")
    assert main(["check", str(path)]) == 78
    assert "fastest 5000 ms is not below timeout 4000 ms" in capsys.readouterr().err
