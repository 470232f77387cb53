"""One scenario for every transition of both tables: what happens, step by step, and the move that must be told.

The site is `bench` with contactors that may break 200 A, a precharge resistor of 2 kJ that needs ten minutes to cool,
and protection at its defaults (over-current trips at 336 A, low control supply stops, smoke trips, a lost memory locks
out). R01 joins first; a rack joins again 5 s after a loss. Steps are words of `Teller`; a step that names no rack is
about the site.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from controller.core.command import Kind, Role
from controller.core.image import RackMode, SiteMode
from controller.core.protect import ROWS, Effect, Reset
from controller.core.sequence import RACK_MOVES, SITE_MOVES
from controller.core.signal import Quality
from plc_config.compile import Compiled, compile_site
from plc_config.library import DATA
from tests.story import Story

SITE_SCENARIOS = """
no wait; lose the memory                                | STARTING -> LOCKED_OUT: locked out
standby; lose the memory                                | STANDBY -> LOCKED_OUT: locked out
standby; no link; connect; lose the memory              | CONNECTING -> LOCKED_OUT: locked out
online; lose the memory                                 | ONLINE -> LOCKED_OUT: locked out
online; current 20 A; disconnect; lose the memory       | STOPPING -> LOCKED_OUT: locked out
online; smoke; lose the memory                          | TRIPPED -> LOCKED_OUT: locked out
no wait; smoke                                          | STARTING -> TRIPPED: tripped by protection
standby; smoke                                          | STANDBY -> TRIPPED: tripped by protection
standby; no link; connect; smoke                        | CONNECTING -> TRIPPED: tripped by protection
online; smoke                                           | ONLINE -> TRIPPED: tripped by protection
online; current 20 A; disconnect; smoke                 | STOPPING -> TRIPPED: tripped by protection
online; lose the memory; maintenance                    | LOCKED_OUT -> MAINTENANCE: maintenance asked for
online; smoke; wait 1 s; maintenance                    | TRIPPED -> MAINTENANCE: maintenance asked for
standby; maintenance                                    | STANDBY -> MAINTENANCE: maintenance asked for
online; smoke; smoke over; reset                        | TRIPPED -> STANDBY: trip reset
standby; maintenance; leave maintenance                 | MAINTENANCE -> STANDBY: maintenance ended
no wait; wait 2 s                                       | STARTING -> STANDBY: inputs judged
standby; connect                                        | STANDBY -> CONNECTING: connect asked for
standby; no link; connect; low supply; wait 1 s         | CONNECTING -> STOPPING: stopped by protection
online; low supply; wait 1 s                            | ONLINE -> STOPPING: stopped by protection
standby; no link; connect; disconnect                   | CONNECTING -> STOPPING: disconnect asked for
online; disconnect                                      | ONLINE -> STOPPING: disconnect asked for
standby; connect; wait 10 s                             | CONNECTING -> ONLINE: racks connected
standby; hot resistor R02; connect; wait 60 s           | CONNECTING -> ONLINE: connected without every rack
standby; hot resistors; connect; wait 60 s              | CONNECTING -> STOPPING: too few racks could be connected
online; current 400 A; wait 4 s; current 0 A; wait 1 s  | ONLINE -> STOPPING: too few racks are connected
online; disconnect; wait 5 s                            | STOPPING -> STANDBY: all racks open
online; weld R01; disconnect; wait 45 s                 | STOPPING -> STANDBY: racks did not open in time
"""

RACK_SCENARIOS = """
online; current 250 A; smoke                            | CLOSED -> FUSE_WAIT: waiting for the fuse: too much to break
online; current 250 A; disconnect; smoke                | STOPPING -> FUSE_WAIT: waiting for the fuse: too much to break
online; current 250 A; disconnect; wait 11 s            | STOPPING -> FUSE_WAIT: current stayed: waiting for the fuse
online; current 250 A; smoke; lose the memory; wait 4 s | FUSE_WAIT -> LOCKED_OUT: locked out after the fuse
online; current 250 A; smoke; current 0 A               | FUSE_WAIT -> TRIPPED: opened after the fuse
standby; precharge of R01 welds; wait 1 s               | OPEN -> LOCKED_OUT: locked out by protection
standby; no link; connect; weld R01; wait 1 s           | PRECHARGE -> LOCKED_OUT: locked out by protection
online; precharge of R01 welds; wait 2 s                | CLOSED -> LOCKED_OUT: locked out by protection
online; current 20 A; disconnect; lose the memory       | STOPPING -> LOCKED_OUT: locked out by protection
online; smoke; lose the memory                          | TRIPPED -> LOCKED_OUT: locked out by protection
standby; smoke                                          | OPEN -> TRIPPED: tripped by protection
standby; no link; connect; smoke                        | PRECHARGE -> TRIPPED: tripped by protection
online; smoke                                           | CLOSED -> TRIPPED: tripped by protection
online; current 20 A; disconnect; smoke                 | STOPPING -> TRIPPED: tripped by protection
online; lose the memory; maintenance; wait 1 s; reset   | LOCKED_OUT -> OPEN: lock-out released
online; smoke; smoke over; reset                        | TRIPPED -> OPEN: trip reset
standby; no link; connect; low supply; wait 1 s         | PRECHARGE -> OPEN: stopped by protection
standby; no link; connect; disconnect                   | PRECHARGE -> OPEN: no longer wanted
standby; no link; connect; R01 out of service           | PRECHARGE -> OPEN: taken out of service
standby; no link; connect; current 50 A; wait 1 s       | PRECHARGE -> OPEN: precharge resistor too hot
standby; connect; wait 1 s                              | PRECHARGE -> CLOSED: precharge done
standby; no link; connect; wait 5 s                     | PRECHARGE -> OPEN: precharge took too long
online; low supply; wait 1 s                            | CLOSED -> STOPPING: stopped by protection
online; disconnect                                      | CLOSED -> STOPPING: no longer wanted
online; R01 out of service                              | CLOSED -> STOPPING: taken out of service
online; disconnect; wait 1 s                            | STOPPING -> OPEN: opened without current
online; current 20 A; disconnect; wait 11 s             | STOPPING -> OPEN: opened under current: it did not end in time
standby; R01 out of service                             | OPEN -> OUT_OF_SERVICE: taken out of service
standby; R01 out of service; R01 in service             | OUT_OF_SERVICE -> OPEN: back in service
standby; connect                                        | OPEN -> PRECHARGE: precharging
online; R01 lost; wait 5 s; R01 heard; wait 8 s         | OPEN -> PRECHARGE: precharging: joins again by itself
"""

SETTINGS = "contactors: {breaking_current: 200 A}\nconnection: {rejoin_after: 5 s}\n"
PRECHARGE = "precharge: {energy: 2 kJ, recovery: 10 min}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The bench with contactors and a resistor of its own."""
    text = (DATA / "sites" / "bench.yaml").read_text("utf-8")
    text = re.sub(r"precharge: \{.*\}", PRECHARGE, text)
    path = Path(tmp_path_factory.mktemp("site")) / "bench.yaml"
    path.write_text(text + SETTINGS, "utf-8")
    return compile_site(str(path))


class Teller:
    """The words of the scenarios."""

    def __init__(self, site: Compiled) -> None:
        self.story = Story(site)
        self.words: dict[str, Callable[..., object]] = {
            r"no wait": lambda: None,
            r"standby": lambda: self.story.until(SiteMode.STANDBY),
            r"online": self.story.online,
            r"wait (\d+) s": lambda s: self.story.seconds(float(s)),
            r"connect": lambda: self.ask(Kind.CONNECT),
            r"disconnect": lambda: self.ask(Kind.DISCONNECT),
            r"reset": lambda: self.ask(Kind.RESET_TRIPS),
            r"maintenance": lambda: self.ask(Kind.ENTER_MAINTENANCE),
            r"leave maintenance": lambda: self.ask(Kind.LEAVE_MAINTENANCE),
            r"R(\d+) out of service": lambda r: self.ask(Kind.RACK_OUT_OF_SERVICE, target=int(r) - 1),
            r"R(\d+) in service": lambda r: self.ask(Kind.RACK_IN_SERVICE, target=int(r) - 1),
            r"current (\d+) A": lambda a: self.set("rack_current_a", float(a)),
            r"smoke": lambda: self.set("smoke_detected", 1.0),
            r"smoke over": lambda: self.set("smoke_detected", 0.0),
            r"low supply": lambda: self.set("aux_supply_v", 19.0),
            r"no link": lambda: self.set("rack_link_voltage_v", 0.0),
            r"weld R(\d+)": lambda r: self.set("rack_main_closed", 1.0, int(r) - 1),
            r"precharge of R(\d+) welds": lambda r: self.set("rack_precharge_closed", 1.0, int(r) - 1),
            r"hot resistor R(\d+)": lambda r: self.heat(int(r) - 1),
            r"hot resistors": lambda: self.heat(...),
            r"R(\d+) lost": lambda r: self.hear(int(r) - 1, Quality.BAD_COMM),
            r"R(\d+) heard": lambda r: self.hear(int(r) - 1, Quality.GOOD),
            r"lose the memory": self.lose,
        }

    def tell(self, steps: str) -> list[str]:
        """The moves told while the steps were done."""
        for step in filter(None, (s.strip() for s in steps.split(";"))):
            found = [(m, act) for word, act in self.words.items() if (m := re.fullmatch(word, step))]
            assert len(found) == 1, f"unknown word {step!r}"
            match, act = found[0]
            act(*match.groups())
            self.story.scans(2)
        return self.story.texts()

    def ask(self, kind: Kind, **more: int) -> None:
        self.story.tell(kind, role=Role.ENGINEER, **more)

    def set(self, name: str, value: float, where: object = ...) -> None:
        self.story.hold.add(name)
        getattr(self.story.points, name).value[where] = value

    def hear(self, rack: int, quality: Quality) -> None:
        self.story.points.rack_current_a.quality[rack] = int(quality)

    def heat(self, where: object) -> None:
        sequencing = self.story.memory.sequencing
        heat = sequencing.precharge_heat_wh.copy()
        heat[where] = 2.0 * self.story.program.sequences.settings.precharge_energy_wh
        sequencing = dataclasses.replace(sequencing, precharge_heat_wh=heat, precharge_attempt_wh=heat)
        self.story.memory = dataclasses.replace(self.story.memory, sequencing=sequencing)

    def lose(self) -> None:
        modes = dataclasses.replace(self.story.memory.modes, retained_state=2)
        self.story.memory = dataclasses.replace(self.story.memory, modes=modes)


def rows(table: str) -> list[tuple[str, str]]:
    """Steps and expected move of every line."""
    lines = [line.split("|") for line in table.strip().splitlines()]
    return [(" ".join(steps.split()), move.strip()) for steps, move in lines]


@pytest.mark.parametrize(("steps", "move"), rows(SITE_SCENARIOS))
def test_site(site: Compiled, steps: str, move: str) -> None:
    told = Teller(site).tell(steps)
    assert f"site: {move}" in told, told


@pytest.mark.parametrize(("steps", "move"), rows(RACK_SCENARIOS))
def test_rack(site: Compiled, steps: str, move: str) -> None:
    told = Teller(site).tell(steps)
    assert f"R01: {move}" in told, told


@pytest.mark.parametrize(
    ("moves", "table"), [(SITE_MOVES, SITE_SCENARIOS), (RACK_MOVES, RACK_SCENARIOS)], ids=["site", "rack"]
)
def test_every_transition_has_a_scenario_and_no_scenario_is_left_over(moves: object, table: str) -> None:
    declared = [f"{s.name} -> {m.to.name}: {m.because}" for m in moves for s in m.source]
    assert sorted(declared) == sorted(move for _, move in rows(table))


def test_a_lock_out_leads_through_maintenance_because_every_row_that_locks_out_is_reset_there() -> None:
    assert all(r.reset is Reset.MAINTENANCE for r in ROWS if (r.effect | r.bank_effect) & Effect.LOCKOUT)


def test_maintenance_is_stable_while_a_lock_out_is_in_force(site: Compiled) -> None:
    teller = Teller(site)
    teller.tell("online; lose the memory; maintenance")
    for _ in range(20):
        image = teller.story.scans()
        assert image.modes.site_mode == SiteMode.MAINTENANCE
        assert not image.outputs.rack_main_close.any()
        assert (image.modes.rack_mode == RackMode.LOCKED_OUT).all()
    teller.tell("leave maintenance; wait 1 s")
    assert teller.story.mode is SiteMode.LOCKED_OUT


def test_a_fuse_that_does_not_blow_is_not_waited_for_longer_than_said(site: Compiled) -> None:
    teller = Teller(site)
    teller.tell("online; current 250 A; smoke")
    assert teller.story.image is not None and teller.story.image.outputs.rack_main_close.all()
    assert not teller.story.image.outputs.pcs_run.any(), "the PCS is stopped meanwhile"
    teller.story.seconds(3.0)
    assert not teller.story.image.outputs.rack_main_close.any()
    assert (np.asarray(teller.story.image.modes.contactors.rack_contactor_hot_openings) == 1).all()


def test_who_waits_for_the_fuse_takes_silence_for_current_and_who_does_not_opens_at_once(site: Compiled) -> None:
    teller = Teller(site)
    teller.tell("online; current 250 A; smoke")
    teller.story.lose("rack_current_a")
    assert teller.story.scans(5).outputs.rack_main_close.all()
    silent = Teller(site)
    silent.tell("online; current 250 A")
    silent.story.lose("rack_current_a")
    silent.story.points.smoke_detected.value[...] = 1
    assert not silent.story.scans(2).outputs.rack_main_close.any()
