"""Shelving, out of service and why-questions as a SCADA client calls them, against a real server."""

from __future__ import annotations

import json

import pytest

from controller.core.command import Kind
from controller.core.image import AlarmState
from opcua_model.client import SiteClient
from opcua_model.library import ua
from tests.opcua_rig import Rig


async def test_an_alarm_is_shelved_by_its_name(site: Rig, operator: SiteClient) -> None:
    slots = {f"{s.row} {s.place}": s.slot for s in site.server.model.catalog.slots}
    assert (await operator.call("ShelveAlarm", "door_open", 600.0, "lock under repair")).accepted
    command = site.scan.seen[-1]
    assert (command.kind, command.target, command.value) == (Kind.SHELVE, slots["door_open site"], 600.0)
    assert (command.user, command.text) == ("operator", "lock under repair")
    assert (await operator.call("UnshelveAlarm", "overtemperature_warning R01/M02/T03", "fixed")).accepted
    assert site.scan.seen[-1].target == slots["overtemperature_warning R01/M02"]
    judged = len(site.scan.seen)
    wrong = (("door", "no alarm of the name"), ("module_comm_lost", "has 8 places: name one"), ("", "no alarm"))
    for name, why in wrong:
        answer = await operator.call("ShelveAlarm", name, 600.0, "x")
        assert not answer.accepted and why in answer.reason
    assert len(site.scan.seen) == judged, "what has no slot is not sent to the scan"


async def test_out_of_service_is_the_engineer_s(site: Rig, operator: SiteClient) -> None:
    with pytest.raises(ua.UaStatusCodeError) as denied:
        await operator.call("AlarmOutOfService", "door_open", "repair")
    assert denied.value.code == ua.StatusCodes.BadUserAccessDenied
    async with site.client("engineer") as engineer:
        assert (await engineer.call("AlarmOutOfService", "door_open", "repair")).accepted
    assert site.scan.seen[-1].kind is Kind.ALARM_OUT_OF_SERVICE


async def test_why_answers_whoever_may_read_with_the_chain(site: Rig) -> None:
    matrix = site.server.compiled.program.matrix
    slot = next(s.index for s in matrix.slots if s.row.id == "door_open")
    image = site.scan.image
    image.trips.slot_active[slot] = True
    image.alarms.alarm_state[slot] = int(AlarmState.SHELVED)
    image.alarms.alarm_root[...] = -1
    site.scan.step()
    async with site.client("observer") as observer:
        answer = await observer.call("Why", "why can't I connect?")
    assert answer.accepted and "door_open site" in answer.reason
    (explanation,) = json.loads(answer.token)
    assert explanation["question"] == "connect"
    (reason,) = explanation["reasons"]
    assert (reason["rule"], reason["note"]) == ("door_open", "its alarm is shelved")
    assert reason["advice"].startswith("Close the doors")
