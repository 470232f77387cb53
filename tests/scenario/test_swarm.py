"""The swarm itself: a short day is clean, the same seed is the same day, and a broken program is caught."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from controller.core.command import Kind
from controller.core.image import SiteMode
from controller.core.memory import Memory
from plc_config.compile import Compiled, compile_site
from tools.simulator.verbs import parse_text
from tools.swarm import day as day_module
from tools.swarm.campaign import Life, at_cycle
from tools.swarm.day import Day
from tools.swarm.faults import INJECTED, Faults
from tools.swarm.judge import Judge, Violation
from tools.swarm.requests import Requests
from tools.swarm.truths import TRUTHS

SECOND_MS = 1000
LONG_MS = 10**9
RATED_W = 100e3
MOST_S = 120


@pytest.fixture(scope="module")
def bench() -> Compiled:
    return at_cycle(compile_site("bench"), SECOND_MS)


class Watched:
    """A bench at work, with its judge."""

    def __init__(self, site: Compiled, seed: int) -> None:
        self.day = Day(site, seed)
        self.judge = Judge(self.day)

    def go_on(self, seconds: int) -> None:
        for _ in range(seconds):
            self.judge.look(self.day.cycle([]))

    def ask(self, kind: Kind, value: float = 0.0) -> None:
        self.judge.look(self.day.cycle([self.day.ask(kind, value)]))

    def do(self, *texts: str) -> None:
        for text in texts:
            answer = self.day.simulator.control.perform(parse_text(text))
            assert answer.get("ok"), answer

    def at_work(self, power_w: float = 0.3 * RATED_W) -> None:
        self.until(SiteMode.STANDBY)
        self.ask(Kind.CONNECT)
        self.until(SiteMode.ONLINE)
        self.ask(Kind.SET_ACTIVE_POWER, power_w)
        self.go_on(3)

    def until(self, mode: SiteMode) -> None:
        for _ in range(MOST_S):
            self.go_on(1)
            assert self.day.image is not None
            if self.day.image.modes.site_mode == mode:
                return
        raise AssertionError(f"not {mode.name}: {list(self.day.told)[-5:]}")


@pytest.fixture
def watched(bench: Compiled) -> Iterator[Watched]:
    matrix, charge = bench.program.matrix, bench.program.derating.settings.charge_temperature
    broken = (matrix.delay_ms, matrix.due_ms, charge.fraction)
    whole = [a.copy() for a in broken]
    one = Watched(bench, 13)
    yield one
    one.day.close()
    for a, before in zip(broken, whole, strict=True):
        a[...] = before


def test_a_short_day_breaks_nothing_and_the_same_seed_is_the_same_day(bench: Compiled) -> None:
    told = []
    for _ in range(2):
        day = Day(bench, 11)
        Life(day).live(200)
        told.append(list(day.told))
        day.close()
    assert told[0] == told[1]
    assert any("FAULT" in line or "connect" in line for line in told[0])


def test_a_bank_that_runs_on_with_a_welded_rack_under_load_is_caught() -> None:
    """The bench without the row that stops it: the rack is locked out, and nothing more happens."""
    day = Day(compile_site("bench"), 13)
    judge = Judge(day)
    _without(day, "open_rack_live")
    while day.image is None or day.image.modes.site_mode != SiteMode.STANDBY:
        day.cycle([])
    day.cycle([day.ask(Kind.CONNECT)])
    for _ in range(150):
        judge.look(day.cycle([]))
    day.cycle([day.ask(Kind.SET_ACTIVE_POWER, 30e3)])
    day.simulator.control.perform({"do": "weld_unseen", "place": "R01"})
    day.simulator.control.perform({"do": "insulation", "place": "R01", "ohm": 2e4})

    def go_on() -> None:
        for _ in range(150):
            judge.look(day.cycle([]))

    with pytest.raises(Violation, match="told to open, and its bank runs on"):
        go_on()
    day.close()


def test_a_contactor_that_stays_closed_against_its_command_is_caught() -> None:
    day = Day(compile_site("bench"), 12)
    judge = Judge(day)
    image = day.cycle([])
    day.plant.racks.main.closed[0] = True
    lying = dataclasses.replace(image, outputs=dataclasses.replace(image.outputs, rack_main_close=np.zeros(2, bool)))
    for _ in range(5):
        judge.look(lying)
    with pytest.raises(Violation, match="seed 12"):
        judge.look(lying)
    day.close()


def _without(day: Day, *rows: str) -> None:
    """The same program, but these rows wait for ever; without a name all of them."""
    slots = [s.index for s in day.program.matrix.slots if s.row.id in rows or not rows]
    assert slots
    day.program.matrix.delay_ms[slots] = day.program.matrix.due_ms[slots] = LONG_MS


HAZARDS = {
    "the E-stop is pressed": "estop on",
    "there is fire or smoke": "smoke on",
    "its insulation has failed": "insulation R02 1000",
    "the control supply has failed": "aux_supply 18",
    "a cell is overcharged": "soc R01/M02/C03 1.05",
    "a cell is discharged too far": "soc R01/M02/C03 -0.05",
}


@pytest.mark.parametrize("hazard", HAZARDS)
def test_a_hazard_that_is_true_in_the_plant_and_left_alone_is_caught(watched: Watched, hazard: str) -> None:
    watched.at_work()
    _without(watched.day)
    watched.do(HAZARDS[hazard])
    with pytest.raises(Violation, match=hazard):
        watched.go_on(120)


@pytest.mark.parametrize("hazard", HAZARDS)
def test_the_program_as_it_is_answers_each_of_them(watched: Watched, hazard: str) -> None:
    watched.at_work()
    watched.do(HAZARDS[hazard])
    for _ in range(MOST_S):
        watched.go_on(1)
        if not watched.day.outputs.rack_main_close.all():
            return
    raise AssertionError("nothing opened")


@pytest.mark.parametrize(
    ("hazard", "device"),
    [
        ("its controller is silent", "rack"),
        ("the auxiliary I/O is silent", "site"),
        ("a module of it is silent", "module"),
        ("a PCS of its bank is silent", "pcs"),
    ],
)
def test_silence_that_is_not_noticed_is_caught(watched: Watched, hazard: str, device: str) -> None:
    watched.at_work()
    day = watched.day
    _without(day)
    day.wires.cut([next(d.index for d in day.site.plan.devices if d.level == device)], day.now_ms + LONG_MS)
    with pytest.raises(Violation, match=hazard):
        watched.go_on(90)


def test_a_cell_that_is_charged_in_the_cold_is_caught(watched: Watched) -> None:
    watched.at_work(-0.5 * RATED_W)
    _without(watched.day)
    watched.day.program.derating.settings.charge_temperature.fraction[:] = 1.0
    watched.day.plant.cells.temperature_degc[1, 2, 0] = -12.0
    watched.day.plant.enclosure.ambient_degc = -20.0
    with pytest.raises(Violation, match="charged too cold or too hot"):
        watched.go_on(60)


def test_a_cell_that_is_too_hot_is_caught(watched: Watched) -> None:
    watched.at_work()
    _without(watched.day)
    watched.day.plant.enclosure.ambient_degc = 75.0
    watched.day.plant.cells.temperature_degc[0] = 70.0
    with pytest.raises(Violation, match="a cell is too hot"):
        watched.go_on(60)


def test_what_no_instrument_shows_is_asked_of_nobody(watched: Watched) -> None:
    """The insulation fails behind a monitor that stands at its last good value."""
    watched.at_work()
    watched.do("stick R02 rack_insulation_ohm", "insulation R02 1000")
    watched.go_on(20)
    assert watched.day.outputs.rack_main_close.all()


def test_a_latch_that_a_restart_forgets_is_caught(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.at_work()
    watched.do("fire on")
    watched.go_on(2)
    watched.do("fire off")

    def begin_again() -> None:
        before = watched.day.restart(5000, io=True)
        image = watched.day.cycle([])
        watched.judge.look(image)
        watched.judge.restarted(before, image)

    begin_again()
    assert watched.day.memory.protection.latched.any()

    def forget(memory: Memory, kept: object) -> Memory:
        del kept
        return memory

    monkeypatch.setattr(day_module, "restore", forget)
    with pytest.raises(Violation, match="the restart forgot fire_alarm"):
        begin_again()


@pytest.mark.parametrize("io", [True, False])
def test_without_a_scan_the_power_goes_and_the_racks_open(watched: Watched, io: bool) -> None:
    watched.at_work()
    assert watched.day.plant.power_w() > 0
    watched.day.restart(10_000, io)
    assert watched.day.plant.power_w() == 0
    assert not watched.day.plant.racks.main.closed.any()
    watched.go_on(5)
    assert watched.day.image is not None
    assert watched.day.image.modes.site_mode == SiteMode.STANDBY


def test_a_late_scan_is_told_how_late(watched: Watched) -> None:
    watched.at_work()
    watched.day.hold(2500)
    image = watched.day.cycle([])
    assert (image.system.elapsed_ms, image.system.overruns) == (3500, 3)


def test_a_cut_device_grows_old_alone_and_hears_nothing(watched: Watched) -> None:
    watched.at_work()
    day = watched.day
    rack = next(d.index for d in day.site.plan.devices if d.level == "rack" and d.place == (1,))
    day.wires.cut([rack], day.now_ms + 3 * SECOND_MS)
    watched.go_on(2)
    points = day.input.points
    assert (points.rack_voltage_v.time_ms[0] - points.rack_voltage_v.time_ms[1]) == 2 * SECOND_MS
    assert len(set(points.cell_voltage_v.time_ms.ravel())) == 1
    assert day.plant.racks.heartbeat_age_ms[1] - day.plant.racks.heartbeat_age_ms[0] == 2 * SECOND_MS


def test_every_fault_of_the_table_can_be_injected_and_mended(bench: Compiled) -> None:
    day = Day(bench, 3)
    faults = Faults(day)
    done: list[str] = []
    day.rng = np.random.default_rng(1)
    while len(done) < 4 * len(INJECTED):
        done.append(faults.inject())
        faults.heal()
    assert not [d for d in done if "->" in d and not all(part.endswith("done") for part in d.split("; "))]
    assert {d.split()[0] for d in done} >= {text.split()[0] for texts in INJECTED for text in texts[:1]}
    assert any("silent for" in d for d in done)
    assert not day.simulator.sensors.faults
    assert not day.wires.deaf(day.now_ms).any()
    day.close()


def test_a_rack_that_was_left_behind_is_brought_to_its_bank_while_the_controller_is_away(bench: Compiled) -> None:
    day = Day(bench, 4)
    life = Life(day)
    assert not life.faults.unequal()
    day.plant.cells.soc[1] -= 0.3
    assert life.faults.unequal()
    day.rng = np.random.default_rng(0)
    while day.plant.cells.soc.mean(axis=(1, 2)).std() > 0.005:
        life.live(1)
    assert any("serviced" in line for line in day.told)
    assert not life.faults.unequal()
    day.close()


def test_a_site_that_is_empty_is_charged_again(bench: Compiled) -> None:
    day = Day(bench, 6)
    requests = Requests(day)
    requests.lean = 0.8
    image = day.cycle([])
    assert image.limits.discharge_limit_w == 0
    while requests.lean > 0:
        requests.one()
    assert requests.lean == -0.8
    day.close()


def test_every_kind_of_request_is_made(bench: Compiled) -> None:
    day = Day(bench, 5)
    day.cycle([])
    requests = Requests(day)
    requests.turn()
    made = {requests.one().kind for _ in range(2000)}
    assert made == set(Kind) - {Kind.NONE, Kind.STOP}
    day.close()


def test_a_truth_is_named_once() -> None:
    assert len({t.name for t in TRUTHS}) == len(TRUTHS)
