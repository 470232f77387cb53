"""The table of injected faults: complete against the matrix, injectable at every shipped site, and its report."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from controller.core.protect import ROWS, Effect
from opcua_model.users import UserStore
from plc_config.compile import Compiled, compile_site
from plc_config.library import DATA
from tests.sites import own_contactor_site
from tools.commands.fat import at_cycle
from tools.fat.campaign import CaseResult, Part, chosen, chosen_long, refusal
from tools.fat.cases import CASES, NOT_INJECTED, Case, Reaction
from tools.fat.clocked import LONG, LongVerdict
from tools.fat.fitting import missing
from tools.fat.judge import Verdict
from tools.fat.merge import merged
from tools.fat.page import render
from tools.fat.plan import ROW, plan
from tools.fat.report import build, expected, junit
from tools.pair import operator_of, password_for
from tools.simulator import control
from tools.simulator.verbs import parse_text

SITES = {name: compile_site(name) for name in ("bench", "container")}
OWN_WORDS = ("signal", "hold")


@pytest.fixture(params=SITES, ids=str)
def site(request: pytest.FixtureRequest) -> Compiled:
    return SITES[request.param]


def test_every_row_is_injected_or_says_why_not() -> None:
    injected = {c.row for c in (*CASES, *LONG)} - {""}
    assert injected | set(NOT_INJECTED) == {r.id for r in ROWS}
    assert not injected & set(NOT_INJECTED)
    assert len({c.id for c in (*CASES, *LONG)}) == len(CASES) + len(LONG)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_every_text_is_one_that_the_simulator_knows(case: Case, site: Compiled) -> None:
    assert control.VERB_MODULES, "importing them fills the table of verbs"
    planned = plan(case, site, Random(7))
    for text in (*planned.inject, *planned.heal):
        if text.split()[0] not in OWN_WORDS:
            assert parse_text(text)["do"]


@pytest.mark.parametrize("case", [c for c in CASES if c.row], ids=lambda c: c.id)
def test_the_expected_reaction_is_the_row_s_effect(case: Case) -> None:
    effect = ROW[case.row].effect
    if case.reaction in (Reaction.OPEN, Reaction.OPENED):
        waits_for_a_trip = case.row in ("rack_not_connected", "fire_detection_lost", "bus_lost")
        assert effect & (Effect.TRIP | Effect.LOCKOUT) or waits_for_a_trip
    if case.reaction is Reaction.ZERO:
        whole = effect | ROW[case.row].bank_effect
        assert whole & (Effect.STOP | Effect.BLOCK_CHARGE | Effect.BLOCK_DISCHARGE)
    if effect & Effect.TRIP and not case.slow:
        assert case.opens != "none"


def test_bounds_come_from_the_site(site: Compiled) -> None:
    bounds = {c.id: plan(c, site, Random(1)) for c in CASES}
    assert bounds["cell_overvoltage"].detect_ms == 100 + 2 * 100 + 50
    assert bounds["discharge_overcurrent"].react_ms == 300, "the issue's bound is stricter than the formula"
    assert bounds["estop"].react_ms == 2 * 100, "two scans and nothing more"
    assert bounds["rack_comm_lost"].detect_ms == 1000
    assert bounds["single_spike"].detect_ms is None


def test_the_same_seed_gives_the_same_places(site: Compiled) -> None:
    case = CASES[0]
    assert plan(case, site, Random("1/x/0")) == plan(case, site, Random("1/x/0"))


def test_choosing_by_row_or_case() -> None:
    assert {c.id for c in chosen(["estop"])} == {"estop", "estop_one_channel"}
    assert chosen(()) == CASES
    with pytest.raises(KeyError):
        chosen(["no_such_row"])


def test_real_devices_are_never_touched(site: Compiled, tmp_path: Any) -> None:
    assert refusal(site) == ""
    text = site.path.read_text("utf-8")
    real = tmp_path / "real.yaml"
    real.write_text(text.replace("PCS: {kind: tcp, host: 127.0.0.1", "PCS: {kind: tcp, host: 10.0.0.9"))
    assert "bus PCS" in refusal(compile_site(str(real)))
    real.write_text(text.replace("  simulated: true\n", ""))
    assert "simulated: true" in refusal(compile_site(str(real)))


def test_the_acceptance_test_runs_as_the_sites_own_users(tmp_path: Path) -> None:
    text, path = (DATA / "sites" / "bench.yaml").read_text("utf-8"), tmp_path / "site.yaml"
    for users, name in (
        ("users: {guest: Observer, boris: Engineer, a: Operator}", "a"),
        ("users: {guest: Observer, boris: Engineer}", "boris"),
        ("users: {guest: Observer}", ""),
    ):
        path.write_text(text[: text.index("users:")] + users + "\n", "utf-8")
        site = compile_site(str(path))
        if not name:
            assert "name an Operator under `users`" in refusal(site)
            continue
        assert refusal(site) == "" and operator_of(site) == name
        UserStore(tmp_path / "users.json", site.config.users).set(name, password_for(site.config.users))
        assert all("a" not in password_for(["a"]).lower() for _ in range(100))


def report() -> dict[str, Any]:
    bench = SITES["bench"]
    good, bad = (CaseResult(c) for c in chosen(["cell_overvoltage", "door_open"]))
    good.trials += [plan(good.case, bench, Random(seed)) for seed in (1, 2)]
    bad.trials.append(plan(bad.case, bench, Random(1)))
    good.verdicts += [Verdict("R01", 201.4, 208.0, 250.0, ()), Verdict("R02", 150.0, 160.0, 200.0, ())]
    bad.verdicts.append(Verdict("site", None, None, None, ("no <detection>",)))
    slow = [
        LongVerdict(LONG[0], "R02", ("stick R02/M01/T01 cell_temperature_degc",), 3.254, 5.3, 41.0, ()),
        LongVerdict(LONG[1], "R01", ("offset R01/M01/C01 cell_voltage_v 0.02",), None, 18.0, 90.0, ("nothing <told>",)),
    ]
    return build(bench, [good, bad], repeat=2, seed=1, begun=datetime.now(UTC), controllers=1, long=slow)


def test_the_report_in_its_three_forms() -> None:
    found = report()
    assert json.loads(json.dumps(found)) == found
    assert not found["passed"] and [c["passed"] for c in found["cases"]] == [True, False]
    assert found["cases"][0]["detection_ms"] == {"p50": 150.0, "p99": 201.4, "max": 201.4}
    first, second = (t["injected"] for t in found["cases"][0]["each"])
    assert first == found["cases"][0]["injected"] != second, "a trial that failed can be found and repeated"
    assert found["cases"][1]["wrong"] == ["door on: no <detection>"]
    assert len(found["config_sha256"]) == 64
    assert [(c["case"], c["detection_h"], c["passed"]) for c in found["long"]] == [
        ("stuck_sensor", 3.25, True), ("voltage_sensor", None, False)]  # fmt: skip
    assert "busbar_step_suspected" in found["not_run"] and "stuck_sensor_suspected" not in found["not_run"]
    page = render(found)
    known = (found["config_sha256"], "FAILED (a part of the cases only)", "no &lt;detection&gt;", "Witnessed by")
    apart = ("Rows that take longer than ten minutes", "3.25", "nothing &lt;told&gt;", "2 of 4 cases")
    for word in (*known, *apart, "records_lost", "150 / 201"):
        assert word in page
    assert "http" not in page and "<script" not in page, "self-contained"
    suite = ET.fromstring(junit(found).encode())  # noqa: S314  # our own text
    assert (suite.get("tests"), suite.get("failures")) == ("4", "2")
    assert suite.find("testcase/failure") is not None and suite.find("testcase/skipped") is not None


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_the_shares_of_a_campaign_are_its_trials_each_once(of: int) -> None:
    parts = [Part.parse(f"{k}/{of}") for k in range(1, of + 1)]
    for case in CASES:
        done = [number for part in parts for number in part.trials(case, 20)]
        assert sorted(done) == list(range(1 if case.slow else 20)), case.id
    assert {c.id for part in parts for c in chosen_long((), part)} == {c.id for c in LONG}
    assert sum(len(chosen_long((), part)) for part in parts) == len(LONG)


@pytest.mark.parametrize("text", ["0/2", "3/2", "x", "1", "1/0"])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Part.parse(text)


def test_two_shares_make_one_report() -> None:
    first, second = report(), report()
    second["part"] = "2/2"
    second["long"] = []
    second["cases"][0]["each"][0] |= {"detect_ms": 300.0, "react_ms": 310.0}
    found = merged([{**first, "part": "1/2"}, second])
    lead = found["cases"][0]
    assert (lead["trials"], lead["passed"], found["passed"]) == (4, True, False)
    assert lead["detection_ms"] == {"p50": 150.0, "p99": 300.0, "max": 300.0}
    assert lead["reaction_ms"]["max"] == 310.0 and found["controllers_started"] == 2
    assert "2/2" in found["part"] and "FAILED" in render(found)
    assert [c["case"] for c in found["long"]] == ["stuck_sensor", "voltage_sensor"]


def test_reports_that_do_not_belong_together_are_refused() -> None:
    one = report()
    with pytest.raises(ValueError, match="twice"):
        merged([one, one])
    with pytest.raises(ValueError, match="cycle_ms differs"):
        merged([one, {**report(), "cycle_ms": 50, "part": "2/2"}])


@pytest.mark.parametrize("cycle_ms", [200, 500])
def test_at_a_slower_cycle_no_bound_is_shorter_than_the_scans_that_the_row_needs(cycle_ms: int, tmp_path: Path) -> None:
    """A value comes just after it was read, and the row's delay ends with a whole scan."""
    slow = compile_site(at_cycle("container", f"{cycle_ms}ms", tmp_path))
    for case in CASES:
        bound = plan(case, slow, Random(1)).detect_ms
        if bound is not None:
            scans = 1 + -(-ROW[case.row].delay_ms(slow.program.limit) // cycle_ms)
            assert bound >= scans * cycle_ms, case.id
    assert plan(next(c for c in CASES if c.id == "cell_overvoltage"), slow, Random(1)).detect_ms == 150 + 2 * cycle_ms


def test_another_cycle_is_a_copy_of_the_site_with_tighter_bounds(tmp_path: Path) -> None:
    fast = compile_site(at_cycle("container", "50ms", tmp_path))
    assert fast.config.cycle == 50 and fast.path.parent == tmp_path
    bounds = {c.id: plan(c, fast, Random(1)).detect_ms for c in CASES}
    assert bounds["charge_overcurrent"] == bounds["discharge_overcurrent"] == 200.0
    assert 0 < (bounds["cell_overvoltage"] or 0) <= 300.0 and bounds["estop"] == 100.0
    assert at_cycle("container", None, tmp_path) == "container"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compile_site(str(own_contactor_site(tmp_path_factory.mktemp("own"), "soltaro-c", 3, 220)))


class TestOtherSites:
    """Racks behind one wire, without a watchdog, that close by themselves and show only extremes."""

    def test_what_nobody_shows_is_left_out_with_the_reason(self, own: Compiled) -> None:
        unfit = {c.id: missing(c, own) for c in CASES if missing(c, own)}
        assert unfit["fire_alarm"] == "no device of this site reads fire_alarm"
        assert unfit["estop_lost"] == "no device of this site reads estop_channel_1_closed"
        assert unfit["precharge_too_fast"] == "racks of this site precharge by themselves"
        assert unfit["sense_wire_open"] == "cells of this site are seen only by their extremes"
        assert unfit["module_comm_lost"] == "the modules of this site have no device of their own"
        assert unfit["io_stopped"] == "racks of this site have no watchdog that would open them"
        assert unfit["link_voltages_differ"] == "no device of this site reads rack_link_voltage_v"
        assert unfit["insulation_lost"] == "devices of this site have no word for a rack_insulation_ohm that is missing"
        assert unfit["contactor_welded"] == "racks of this site show their contactor and its command as one state"
        assert unfit["setpoints_contested"] == "the site names no Engineer, who is the other master"
        assert unfit["discharge_current_high"] == "the racks' own limits of current act before that"
        left = {c.id for c in CASES} - set(unfit)
        assert {"cell_overvoltage", "discharge_overcurrent", "rack_comm_lost", "bus_lost", "pcs_fault"} <= left

    def test_a_shipped_site_leaves_nothing_out(self, site: Compiled) -> None:
        assert not [c.id for c in CASES if missing(c, site)]

    def test_every_other_case_has_its_places(self, own: Compiled) -> None:
        for case in CASES:
            if not missing(case, own):
                assert plan(case, own, Random(7)).detect_ms is None or case.row

    def test_a_rack_without_watchdog_is_only_asked_to_be_told(self, own: Compiled) -> None:
        planned = plan(_case("rack_comm_lost"), own, Random(7))
        assert planned.inject == ("drop BAT/1",) or planned.inject[0].startswith("drop BAT/")
        assert (planned.opens, planned.case.reaction, planned.react_ms) == (frozenset(), Reaction.KEPT, None)
        assert planned.detect_ms == 1000

    def test_numbers_are_those_of_its_racks(self, own: Compiled) -> None:
        """220 cells in series, of which two are shown."""
        rack_v = float(plan(_case("rack_overvoltage"), own, Random(7)).inject[0].split()[-1])
        assert rack_v == pytest.approx(220 * (own.program.limit.cell_overvoltage.trip + 0.05), rel=1e-3)
        offset_v = float(plan(_case("sum_of_cells_differs"), own, Random(7)).inject[0].split()[-1])
        assert 30 < offset_v < 40

    def test_half_of_much_more_than_the_rating_is_no_less_power(self, own: Compiled, site: Compiled) -> None:
        """A converter far smaller than its racks goes on as before; the row must tell all the same."""
        assert plan(_case("pcs_witness_lost"), own, Random(7)).case.reaction is Reaction.KEPT
        assert plan(_case("pcs_witness_lost"), site, Random(7)).case.reaction is Reaction.REDUCED

    def test_racks_on_one_wire_open_together(self, own: Compiled, tmp_path: Path) -> None:
        """The bench with both racks behind one gateway, then with everything behind it."""
        text = (DATA / "sites" / "bench.yaml").read_text("utf-8")
        path = tmp_path / "one.yaml"
        text = text.replace("modules-2: {profile: cellwarden-module-16, bus: LINE1, unit: 1..4",
                            "modules-2: {profile: cellwarden-module-16, bus: GW01, unit: 11..14")  # fmt: skip
        path.write_text(text.replace("rack-2: {profile: cellwarden-rack, bus: LINE1, unit: 100",
                                     "rack-2: {profile: cellwarden-rack, bus: GW01, unit: 101"), "utf-8")  # fmt: skip
        shared = compile_site(str(path))
        assert plan(_case("bus_lost"), shared, Random(1)).opens == {"R01", "R02"}
        alone = plan(_case("rack_comm_lost"), shared, Random(1))
        assert len(alone.opens) == 1 and alone.inject[0] in ("drop GW01/100", "drop GW01/101")
        words = expected(plan(_case("bus_lost"), shared, Random(1)))
        assert words.endswith("R01, R02 open, no other")

    def test_the_report_says_what_was_left_out(self, own: Compiled) -> None:
        report = build(own, [], repeat=1, seed=1, begun=datetime.now(UTC), unfit={"fire_alarm": "nobody shows it"})
        assert report["not_injected"]["fire_alarm"] == "nobody shows it"
        assert "fire_alarm" not in report["not_run"]


def _case(name: str) -> Case:
    return next(c for c in CASES if c.id == name)
