"""The chain behind "limited", "cannot connect" and "tripped", from values as SCADA reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plc_config.compile import Compiled, compile_site
from tools.commands.why import Explanation, as_text, explain, parse_alarm

OVERVOLTAGE = "3|UNACKNOWLEDGED|cell_overvoltage|R01/M02|3.902 V|3.65 V|An overcharged cell can vent and burn."
LATCHED = OVERVOLTAGE.replace("UNACKNOWLEDGED", "LATCHED").replace("3.902", "3.281")
RETURNED = OVERVOLTAGE.replace("UNACKNOWLEDGED", "RETURNED")
COOLING = "1|ACKNOWLEDGED|cooling_failed|site|||Without cooling temperature will rise."
WELD = "3|UNACKNOWLEDGED|contactor_does_not_open|R02|||A welded contactor cannot isolate the rack."
DOOR = "1|UNACKNOWLEDGED|door_open|site|||Somebody may be inside."


@pytest.fixture(scope="module")
def site() -> Compiled:
    return compile_site("bench")


def values(*alarms: str, **more: Any) -> dict[str, Any]:
    """A healthy site online, with these alarms."""
    found: dict[str, Any] = {
        "Status/State": "ONLINE",
        "Status/StateReason": "all racks connected",
        "Status/FirstOut": "",
        "Alarms/List": list(alarms),
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
    return found | {k.replace("__", "/"): v for k, v in more.items()}


def rules(explanation: Explanation) -> list[str]:
    return [f"{r.rule} {r.place}" for r in explanation.reasons]


class TestLimited:
    def test_a_named_limit_tells_its_value_and_what_lifts_it(self, site: Compiled) -> None:
        found = explain("limited", values(Measurements__ChargeBinding="cell voltage"), site)
        assert "charge up to 59 kW: cell voltage of R01" in found.answer
        reason = next(r for r in found.reasons if r.rule == "cell voltage")
        assert (reason.place, reason.value, reason.limit, reason.lifts) == (
            "R01", "3.5 V", "3.45 V", "full again below 3.45 V",
        )  # fmt: skip

    def test_temperature(self, site: Compiled) -> None:
        found = explain("limited", values(Measurements__DischargeBinding="temperature"), site)
        assert "24 degC to 49 degC against 0 to 48 degC" in as_text(found)

    def test_an_alarm_behind_a_limit_is_named(self, site: Compiled) -> None:
        derated = values(COOLING, DOOR, Measurements__ChargeBinding="derated by an alarm")
        assert "cooling_failed site" in rules(explain("limited", derated, site))
        assert "door_open site" not in rules(explain("limited", derated, site))

    def test_only_alarms_that_act_on_the_binding_rack(self, site: Compiled) -> None:
        blocked = values(OVERVOLTAGE, Measurements__ChargeBinding="blocked by an alarm")
        assert "cell_overvoltage R01/M02" in rules(explain("limited", blocked, site))
        other = blocked | {"Measurements/ChargeBindingRack": "R02"}
        assert "cell_overvoltage R01/M02" not in rules(explain("limited", other, site))
        welded = values(WELD, Measurements__ChargeBinding="blocked by an alarm")
        assert "contactor_does_not_open R02" in rules(explain("limited", welded, site)), "it acts on the whole bank"


class TestConnect:
    def test_nothing_against_it(self, site: Compiled) -> None:
        found = explain("connect", values(Status__State="STANDBY"), site)
        assert not found.reasons and "nothing is against it" in found.answer

    def test_alarms_that_block_and_what_clears_them(self, site: Compiled) -> None:
        found = explain("connect", values(DOOR, COOLING, OVERVOLTAGE, Status__State="STANDBY"), site)
        assert rules(found) == ["door_open site", "cell_overvoltage R01/M02"]
        assert found.reasons[1].lifts == "< 3.45 V, then reset by an operator, once clear"

    def test_a_rack_that_the_connection_policy_holds_back(self, site: Compiled) -> None:
        held = values(
            Status__State="CONNECTING", Racks__R02__State="OPEN", Racks__R02__Inrush=150.0,
            Racks__R02__PrechargeHeat=0.8,
        )  # fmt: skip
        found = explain("connect", held, site)
        assert rules(found) == ["in-rush too large R02", "precharge resistor hot R02"]
        assert (found.reasons[0].value, found.reasons[0].limit) == ("150 A", "140 A")

    def test_a_rack_whose_voltage_does_not_meet_the_link_s(self, site: Compiled) -> None:
        apart = values(Racks__R02__State="OPEN", Racks__R02__Voltage=190.0)
        reason = explain("connect", apart, site).reasons[0]
        assert (reason.rule, reason.place, reason.value, reason.limit) == (
            "voltages do not meet", "R02", "19 V", "10 V",
        )  # fmt: skip

    def test_another_mode_is_the_reason(self, site: Compiled) -> None:
        found = explain("connect", values(Status__State="MAINTENANCE", Status__StateReason="asked for"), site)
        assert "it connects from STANDBY only" in found.answer


class TestTrip:
    def test_nothing(self, site: Compiled) -> None:
        assert explain("trip", values(COOLING), site).answer == "nothing is tripped"

    def test_first_out_leads_with_value_limit_and_advice(self, site: Compiled) -> None:
        found = explain("trip", values(WELD, OVERVOLTAGE, Status__FirstOut="cell_overvoltage R01/M02"), site)
        assert rules(found) == ["cell_overvoltage R01/M02", "contactor_does_not_open R02"]
        lead = found.reasons[0]
        assert (lead.value, lead.limit) == ("3.902 V", "3.65 V")
        assert "sense wire" in lead.advice and "1 more since" in found.answer

    def test_a_latch_whose_cause_is_gone_waits_for_its_reset(self, site: Compiled) -> None:
        found = explain("trip", values(LATCHED, Status__FirstOut="cell_overvoltage R01/M02"), site)
        assert found.reasons[0].lifts == "cause is gone; reset by an operator, once clear"

    def test_a_first_out_that_is_not_in_the_list_is_still_explained(self, site: Compiled) -> None:
        found = explain("trip", values(Status__FirstOut="estop site"), site)
        assert rules(found) == ["estop site"] and "local device" in found.reasons[0].lifts


def test_lines_that_do_not_count(site: Compiled) -> None:
    assert parse_alarm("nonsense") is None
    assert not explain("connect", values(RETURNED, "nonsense"), site).reasons


def test_answers_are_plain_data(site: Compiled) -> None:
    import dataclasses

    found = explain("trip", values(OVERVOLTAGE, Status__FirstOut="cell_overvoltage R01/M02"), site)
    assert json.loads(json.dumps(dataclasses.asdict(found)))["question"] == "trip"
