"""The chain behind "limited", "cannot connect" and "tripped", from values as SCADA reads them."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from controller.core.command import Kind
from controller.core.protect.limits import NAMES
from controller.core.signal import Quality
from opcua_model import why
from opcua_model.acting import ActiveAlarm, acting_alarms
from opcua_model.reasons import Explanation, Rules
from opcua_model.why import as_text
from plc_config.compile import compile_site
from tests.story import Story, connected, fork

OVERVOLTAGE = ActiveAlarm("UNACKNOWLEDGED", "cell_overvoltage", "R01/M02/C05", "3.902 V", "3.65 V")
LATCHED = dataclasses.replace(OVERVOLTAGE, state="LATCHED", value="3.281 V")
RETURNED = dataclasses.replace(OVERVOLTAGE, state="RETURNED")
OVERVOLTAGE_2 = dataclasses.replace(OVERVOLTAGE, place="R02/M02/C05")
COOLING = ActiveAlarm("ACKNOWLEDGED", "cooling_failed", "site")
WELD = ActiveAlarm("UNACKNOWLEDGED", "contactor_does_not_open", "R02")
DOOR = ActiveAlarm("UNACKNOWLEDGED", "door_open", "site")
ESTOP = ActiveAlarm("LATCHED", "estop", "site")
NO_RACK = {"Measurements__ChargeBinding": "no rack connected", "Measurements__ChargeBindingRack": ""}
BY_ENGINEER = "maintenance, reset and leave-maintenance by an engineer"
SITE = compile_site("bench")
RULES = Rules(SITE)


def explain(question: str, seen: tuple[dict[str, Any], list[ActiveAlarm]]) -> Explanation:
    return why.explain(question, *seen, RULES)


def values(*alarms: ActiveAlarm, **more: Any) -> tuple[dict[str, Any], list[ActiveAlarm]]:
    """A healthy site online, with these alarms."""
    found: dict[str, Any] = {
        "Status/State": "ONLINE",
        "Status/StateReason": "racks connected",
        "Status/FirstOut": "",
    }
    for direction in ("Charge", "Discharge"):
        found[f"Measurements/{direction}Limit"] = 59e3
        found[f"Measurements/{direction}Binding"] = "rated current"
        found[f"Measurements/{direction}BindingRack"] = "R01"
    for rack in ("R01", "R02"):
        found |= {f"Racks/{rack}/State": "CLOSED", f"Racks/{rack}/Ready": False}
        found |= {f"Racks/{rack}/Voltage": 209.0, f"Racks/{rack}/LinkVoltage": 209.0}
        found |= {f"Racks/{rack}/CellVoltageMax": 3.5, f"Racks/{rack}/CellVoltageMin": 3.2}
        found |= {f"Racks/{rack}/TemperatureMin": 24.0, f"Racks/{rack}/TemperatureMax": 49.0}
    return found | {k.replace("__", "/"): v for k, v in more.items()}, list(alarms)


def rules(explanation: Explanation) -> list[str]:
    return [f"{r.rule} {r.place}" for r in explanation.reasons]


class TestLimited:
    def test_where_a_trip_keeps_racks_out_connecting_alone_is_not_the_cure(self) -> None:
        for seen, lifts in (
            ([], "connect"),
            ([OVERVOLTAGE], "connect"),
            ([OVERVOLTAGE, OVERVOLTAGE_2], "once cell_overvoltage R01/M02/C05 is over: reset, then connect"),
            ([OVERVOLTAGE, WELD], f"once contactor_does_not_open R02 is over: {BY_ENGINEER}, then connect"),
            ([DOOR, ESTOP], "once door_open site is over: reset, then connect"),
            ([DOOR, LATCHED], "once door_open site is over: connect"),
            ([ESTOP], "reset, then connect"),
        ):
            found = explain("limited", values(*seen, Status__State="STANDBY", **NO_RACK))
            assert next(r for r in found.reasons if r.rule == "no rack connected").lifts == lifts

    def test_a_named_limit_tells_its_value_and_what_lifts_it(self) -> None:
        found = explain("limited", values(Measurements__ChargeBinding="cell voltage"))
        assert "charge up to 59 kW: cell voltage of R01" in found.answer
        reason = next(r for r in found.reasons if r.rule == "cell voltage")
        assert (reason.place, reason.value, reason.limit, reason.lifts) == (
            "R01", "3.5 V", "3.45 V", "full again below 3.45 V",
        )  # fmt: skip

    def test_temperature(self) -> None:
        found = explain("limited", values(Measurements__DischargeBinding="temperature"))
        assert "24 degC to 49 degC against 0 to 48 degC" in as_text(found)

    @pytest.mark.parametrize("name", NAMES[1:])
    def test_no_named_limit_is_left_without_an_answer(self, name: str) -> None:
        alarms = {"derated by an alarm": [COOLING], "blocked by an alarm": [OVERVOLTAGE]}.get(name, [])
        found = explain("limited", values(*alarms, Measurements__ChargeBinding=name))
        assert all(r.lifts for r in found.reasons) and len(found.reasons) == (1 if name == "rated current" else 2)

    def test_an_alarm_behind_a_limit_is_named(self) -> None:
        derated = values(COOLING, DOOR, Measurements__ChargeBinding="derated by an alarm")
        assert "cooling_failed site" in rules(explain("limited", derated))
        assert "door_open site" not in rules(explain("limited", derated))

    def test_only_alarms_that_act_on_the_binding_rack(self) -> None:
        blocked = values(OVERVOLTAGE, Measurements__ChargeBinding="blocked by an alarm")
        assert "cell_overvoltage R01/M02/C05" in rules(explain("limited", blocked))
        other = values(
            OVERVOLTAGE, Measurements__ChargeBinding="blocked by an alarm", Measurements__ChargeBindingRack="R02"
        )
        assert "cell_overvoltage R01/M02/C05" not in rules(explain("limited", other))
        welded = values(WELD, Measurements__ChargeBinding="blocked by an alarm")
        assert "contactor_does_not_open R02" in rules(explain("limited", welded)), "it acts on the whole bank"

    def test_a_rack_that_is_not_there_is_named_beside_the_limit_of_the_others(self) -> None:
        out = {"Racks__R02__State": "OUT_OF_SERVICE", "Racks__R02__StateReason": "taken out of service"}
        found = explain("limited", values(**out))
        assert rules(found) == ["rated current R01", "rack not connected R02"]
        assert found.reasons[1].because == "OUT_OF_SERVICE: taken out of service"

    @pytest.mark.parametrize(
        ("alarms", "more", "lifts"),
        [
            ([], {"State": "OPEN"}, "connect"),
            ([], {"State": "PRECHARGE"}, "by itself when its precharge is done"),
            ([], {"State": "OUT_OF_SERVICE"}, "in-service by an engineer, then connect"),
            ([DOOR], {"State": "OPEN"}, "once door_open site is over: connect"),
            ([OVERVOLTAGE_2], {"State": "TRIPPED"}, "once cell_overvoltage R02/M02/C05 is over: reset, then connect"),
            ([dataclasses.replace(OVERVOLTAGE_2, state="LATCHED")], {"State": "TRIPPED"}, "reset, then connect"),
            (
                [dataclasses.replace(WELD, state="LATCHED")],
                {"State": "LOCKED_OUT"},
                f"disconnect, then {BY_ENGINEER}, then connect",
            ),
        ],
    )
    def test_the_way_back_of_a_rack_fits_its_mode_and_who_may_reset_what_took_it_out(
        self, alarms: list[ActiveAlarm], more: dict[str, str], lifts: str
    ) -> None:
        out = {f"Racks__R02__{name}": value for name, value in more.items()}
        found = explain("limited", values(*alarms, Racks__R02__StateReason="as it is", **out))
        assert [r.lifts for r in found.reasons if r.rule == "rack not connected"] == [lifts]

    def test_in_maintenance_an_engineer_leaves_it_before_anything_connects(self) -> None:
        seen = values(Status__State="MAINTENANCE", **NO_RACK)
        lifts = [r.lifts for r in explain("limited", seen).reasons if r.rule == "no rack connected"]
        assert lifts == ["leave-maintenance by an engineer, then connect"]
        released = dataclasses.replace(WELD, state="LATCHED")
        held = explain("limited", values(released, Status__State="MAINTENANCE", **NO_RACK))
        assert held.reasons[-1].lifts == "reset and leave-maintenance by an engineer, then connect"


class TestConnect:
    def test_nothing_against_it(self) -> None:
        found = explain("connect", values(Status__State="STANDBY"))
        assert not found.reasons and "nothing is against it" in found.answer

    def test_alarms_that_block_and_what_clears_them(self) -> None:
        found = explain("connect", values(DOOR, COOLING, OVERVOLTAGE, Status__State="STANDBY"))
        assert rules(found) == ["door_open site", "cell_overvoltage R01/M02/C05"]
        assert found.reasons[1].lifts == "at < 3.45 V, then reset by an operator, once clear"

    def test_maintenance_that_waits_names_what_for(self) -> None:
        welded = {"Racks__R02__State": "OPEN", "Racks__R02__MainClosed": True}
        asked = {"Status__State": "TRIPPED", "Status__MaintenanceWanted": True, "Racks__R01__State": "FUSE_WAIT"}
        found = explain("connect", values(**asked, **welded))
        assert rules(found) == ["maintenance asked for site"]
        assert found.reasons[0].lifts == "an engineer leaves maintenance"
        assert found.reasons[0].because == "it begins once open: R01 (FUSE_WAIT), R02 (contactor seen closed)"

    @pytest.mark.parametrize(("mode", "wanted"), [("MAINTENANCE", True), ("STANDBY", False)])
    def test_maintenance_that_began_or_that_nobody_asked_for_waits_for_nothing(self, mode: str, wanted: bool) -> None:
        seen = values(Status__State=mode, Status__MaintenanceWanted=wanted, Racks__R02__MainClosed=True)
        assert rules(explain("connect", seen)) == []

    def test_a_rack_that_the_connection_policy_holds_back(self) -> None:
        held = values(
            Status__State="CONNECTING", Racks__R02__State="OPEN", Racks__R02__Inrush=150.0,
            Racks__R02__PrechargeHeat=0.8,
        )  # fmt: skip
        found = explain("connect", held)
        assert rules(found) == ["in-rush too large R02", "precharge resistor hot R02"]
        assert (found.reasons[0].value, found.reasons[0].limit) == ("150 A", "140 A")

    def test_a_rack_whose_precharge_failed_says_when_it_tries_again(self) -> None:
        tried = {"Racks__R02__State": "OPEN", "Racks__R02__Ready": True, "Racks__R02__Attempts": 2}
        found = explain("connect", values(Status__State="CONNECTING", Racks__R02__StateTime=4000, **tried))
        assert rules(found) == ["precharge failed R02"]
        assert (found.reasons[0].value, found.reasons[0].limit) == ("2", "3 attempts")
        assert found.reasons[0].lifts == "by itself in 6 s, when it tries again"
        again = explain("connect", values(Status__State="CONNECTING", Racks__R02__StateTime=10_000, **tried))
        assert not again.reasons

    def test_a_rack_whose_voltage_does_not_meet_the_link_s(self) -> None:
        apart = values(Racks__R02__State="OPEN", Racks__R02__Voltage=190.0)
        reason = explain("connect", apart).reasons[0]
        assert (reason.rule, reason.place, reason.value, reason.limit) == (
            "voltages do not meet", "R02", "19 V", "10 V",
        )  # fmt: skip

    def test_on_a_dead_link_of_another_bank_voltages_need_not_meet(self) -> None:
        """Precharge brings them together there: a bank that was lost must not look as if its racks were too far off."""
        banks = copy.copy(RULES)
        topology = dataclasses.replace(SITE.topology, rack_bank=np.array([0, 1]))
        banks.site = dataclasses.replace(SITE, topology=topology)
        apart = values(Racks__R02__State="OPEN", Racks__R02__Ready=True, Racks__R02__LinkVoltage=0.0)
        assert not why.explain("connect", *apart, banks).reasons

    def test_a_rack_that_joins_again_by_itself_says_when(self) -> None:
        found = explain("connect", values(Racks__R02__State="OPEN", Racks__R02__RejoinTime=42_000))
        assert rules(found) == ["waits to join again R02"]
        assert "by itself in 42 s" in found.reasons[0].lifts

    def test_a_rack_that_nobody_asked_for_says_so(self) -> None:
        missing = ActiveAlarm("UNACKNOWLEDGED", "rack_not_connected", "R02")
        out = {"Racks__R02__State": "OPEN", "Racks__R02__RejoinTime": -1}
        found = explain("connect", values(missing, Racks__R02__Ready=True, **out))
        assert (rules(found), found.reasons[0].lifts) == (["nobody asked R02"], "connect")
        assert rules(explain("connect", values(missing, Racks__R02__Ready=False, **out))) == []
        assert found.reasons[0].because == "protection took it out"
        back = values(missing, Racks__R02__Ready=True, Racks__R02__StateReason="back in service", **out)
        assert explain("connect", back).reasons[0].because == "it was out of service"

    def test_another_mode_is_the_reason(self) -> None:
        found = explain("connect", values(Status__State="MAINTENANCE", Status__StateReason="asked for"))
        assert "it connects from STANDBY only" in found.answer
        also = explain("connect", values(OVERVOLTAGE, Status__State="MAINTENANCE", Status__StateReason="asked for"))
        assert "; asked for; it connects from STANDBY only; against it: 1" in also.answer, "the alarm is not all"


class TestTrip:
    def test_nothing(self) -> None:
        assert explain("trip", values(COOLING)).answer == "nothing is tripped"

    def test_first_out_leads_with_value_limit_and_advice(self) -> None:
        found = explain("trip", values(WELD, OVERVOLTAGE, Status__FirstOut="cell_overvoltage R01/M02"))
        assert rules(found) == ["cell_overvoltage R01/M02/C05", "contactor_does_not_open R02"]
        lead = found.reasons[0]
        assert (lead.value, lead.limit) == ("3.902 V", "3.65 V")
        assert "sense wire" in lead.advice and "1 more since" in found.answer

    def test_it_says_when_it_tripped_as_soon_as_that_is_known(self) -> None:
        for when_ms, told in ((0, "R01/M02"), (1_700_000_000_000, "R01/M02 at 2023-11-14 22:13:20 UTC")):
            seen = values(OVERVOLTAGE, Status__FirstOut="cell_overvoltage R01/M02", Status__FirstOutUtc=when_ms)
            assert explain("trip", seen).answer == f"first out: cell_overvoltage {told}"

    def test_a_latch_whose_cause_is_gone_waits_for_its_reset(self) -> None:
        found = explain("trip", values(LATCHED, Status__FirstOut="cell_overvoltage R01/M02"))
        assert found.reasons[0].lifts == "cause is gone; reset by an operator, once clear"

    def test_a_first_out_that_is_not_in_the_list_is_still_explained(self) -> None:
        found = explain("trip", values(Status__FirstOut="estop site"))
        assert rules(found) == ["estop site"] and "local device" in found.reasons[0].lifts

    def test_what_opened_too_and_is_over_is_told_until_it_is_acknowledged(self) -> None:
        """A killed I/O process is back at once; what it took with it must not look like a fault of the E-stop."""
        story = fork(connected())
        story.points.estop_channel_1_closed.quality[...] = int(Quality.BAD_COMM)
        story.system["io_restarted"] = 1
        story.scans()
        story.system["io_restarted"] = 0
        story.points.estop_channel_1_closed.quality[...] = int(Quality.GOOD)
        image = story.seconds(5)
        seen = acting_alarms(story.program, image)
        found = explain("trip", (values(Status__FirstOut="estop_lost site")[0], seen))
        assert rules(found) == ["estop_lost site", "io_process_lost site"]
        assert "nobody has acknowledged" in found.reasons[1].lifts and found.answer.count("more since") == 0
        story.tell(Kind.ACKNOWLEDGE, target=story.slot("io_process_lost"))
        assert [a.row for a in acting_alarms(story.program, story.scans())] == ["estop_lost"]


def test_what_has_returned_is_against_nothing() -> None:
    assert not explain("connect", values(RETURNED, Status__State="STANDBY")).reasons


def test_a_hundred_consequences_are_one_link_that_names_its_root() -> None:
    lost = [ActiveAlarm("SUPPRESSED", "module_comm_lost", f"R01/M0{m}", root="bus_lost GW01") for m in range(1, 5)]
    found = explain("connect", values(*lost, Status__State="STANDBY"))
    assert rules(found) == ["bus_lost GW01", "module_comm_lost at 4 places (R01/M01, R01/M02, R01/M03, ...)"]
    assert "Check the gateway" in found.reasons[0].advice
    assert "consequence of bus_lost GW01" in as_text(found)


def test_a_shelved_alarm_still_answers() -> None:
    shelved = dataclasses.replace(DOOR, state="SHELVED")
    found = explain("connect", values(shelved, Status__State="STANDBY"))
    assert rules(found) == ["door_open site"] and "its alarm is shelved" in as_text(found)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("why am I limited to 2 MW?", ("limited",)),
        ("why can't I connect", ("connect",)),
        ("why did it trip", ("trip",)),
        ("", ("limited", "connect", "trip", "recalibrate")),
        ("trip", ("trip",)),
    ],
)
def test_a_question_in_the_words_of_a_person(text: str, asked: tuple[str, ...]) -> None:
    assert why.questions_of(text) == asked


def test_what_acts_is_found_behind_shelf_and_root() -> None:
    from tests.alarm_words import lose_rack_bus, open_door, shelve

    story = Story(SITE).online()
    shelve(story, "door_open", 600.0)
    open_door(story)
    lose_rack_bus(story)
    image = story.seconds(3)
    found = acting_alarms(story.program, image)
    assert ("SHELVED", "door_open") in {(a.state, a.row) for a in found}
    assert {a.root for a in found if a.row == "module_comm_lost"} == {"bus_lost GW01"}


def test_answers_are_plain_data() -> None:
    found = explain("trip", values(OVERVOLTAGE, Status__FirstOut="cell_overvoltage R01/M02"))
    assert json.loads(json.dumps(dataclasses.asdict(found)))["question"] == "trip"
