"""Commands over OPC UA: what reaches the scan, what the client is answered, and who may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from asyncua import ua

from controller.core.command import Kind, Role
from controller.core.event import What, text_of
from opcua_model.client import SiteClient
from opcua_model.commands import METHODS
from tests.opcua_rig import Rig, rig, until

POWER = "Control/ActivePowerSetpoint"
Code = ua.StatusCodes


async def test_an_accepted_setpoint_is_a_command_with_user_and_role(site: Rig, operator: SiteClient) -> None:
    assert await operator.write(POWER, 50_000.0) == 0
    command = site.scan.seen[-1]
    assert (command.kind, command.value, command.user, command.role) == (
        Kind.SET_ACTIVE_POWER,
        50_000.0,
        "operator",
        Role.OPERATOR,
    )
    assert 0 < command.expires_ms - command.issued_ms <= 300
    assert (await operator.read_one(POWER)).value == 50_000.0


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("600000 W is beyond the rated 100000 W", Code.BadOutOfRange),
        ("the site is STANDBY, not ONLINE", Code.BadInvalidState),
        ("needs the Operator role", Code.BadUserAccessDenied),
    ],
)
async def test_a_refused_setpoint_says_why_and_is_never_seen(
    site: Rig, operator: SiteClient, reason: str, status: int
) -> None:
    heard: list[Any] = []

    class Handler:
        def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
            heard.append(value)

    sub = await operator.client.create_subscription(100, Handler())
    await sub.subscribe_data_change(operator.node(POWER))
    site.scan.judge = lambda c: (False, reason, 0.0)
    assert await operator.write(POWER, 600_000.0) == status
    scans = site.scan.number
    await until(lambda: site.scan.number > scans + 3, "three more scans")
    assert set(heard) == {0.0}
    answer = await operator.read_one("Control/LastAnswer")
    assert reason in answer.value and "refused" in answer.value


async def test_no_answer_is_a_timeout(site: Rig, operator: SiteClient) -> None:
    site.scan.answering = False
    assert await operator.write(POWER, 1.0) == Code.BadTimeout


@pytest.mark.parametrize(
    ("value", "kind", "status"),
    [
        (float("nan"), "Double", Code.BadOutOfRange),
        (float("inf"), "Double", Code.BadOutOfRange),
        (1, "Int32", Code.BadTypeMismatch),
        ("1", "String", Code.BadTypeMismatch),
        ([1.0, 2.0], "Double", Code.BadTypeMismatch),
    ],
)
async def test_a_wrong_value_never_reaches_the_ring(
    site: Rig, operator: SiteClient, value: Any, kind: str, status: int
) -> None:
    assert await operator.write(POWER, value, kind) == status
    assert site.scan.seen == []


@pytest.mark.parametrize(("value", "kind"), [(7, "UInt32"), (7, "Int32"), (7.0, "Double")])
async def test_the_heartbeat_takes_any_number(site: Rig, operator: SiteClient, value: Any, kind: str) -> None:
    assert await operator.write("Control/ScadaHeartbeat", value, kind) == 0
    assert (site.scan.seen[-1].kind, site.scan.seen[-1].value) == (Kind.HEARTBEAT, 7.0)


@pytest.mark.parametrize("path", ["Racks/R01/Voltage", "Status/State", "Identification/SiteId", "Control/LastAnswer"])
async def test_nothing_else_can_be_written(site: Rig, operator: SiteClient, path: str) -> None:
    assert await operator.write(path, 1.0) == Code.BadUserAccessDenied
    assert site.scan.seen == []


async def test_other_attributes_and_standard_nodes_cannot_be_written(operator: SiteClient) -> None:
    for node_id, attribute in (
        (operator.node_id(POWER), ua.AttributeIds.AccessLevel),
        (ua.NodeId(ua.ObjectIds.Server_ServerStatus_State), ua.AttributeIds.Value),
        (ua.NodeId(ua.ObjectIds.Server_NamespaceArray), ua.AttributeIds.Value),
    ):
        item = ua.WriteValue(node_id, attribute, None, ua.DataValue(ua.Variant(1, ua.VariantType.Byte)))
        params = ua.WriteParameters([item])
        assert (await operator.client.uaclient.write(params))[0].value == Code.BadUserAccessDenied


async def test_methods_carry_their_arguments_and_the_answer_back(site: Rig, operator: SiteClient) -> None:
    site.scan.judge = lambda c: (True, f"{c.kind.name} {c.target} {c.value:g} {c.text}".strip(), 0.0)
    assert (await operator.call("Connect")).reason == "CONNECT -1 0"
    slot = ua.Variant(5, ua.VariantType.Int32)
    assert (await operator.call("AcknowledgeAlarm", slot)).reason == "ACKNOWLEDGE 5 0"
    assert (await operator.call("SetActivePower", -2.5e4)).reason == "SET_ACTIVE_POWER -1 -25000"
    assert "why not" in (await operator.call("EmergencyStop", "why not")).reason
    site.scan.judge = lambda c: (False, "cause still present", 0.0)
    refused = await operator.call("ResetTrips")
    assert (refused.accepted, refused.reason) == (False, "cause still present")


async def test_shutdown_takes_two_steps_and_the_token(site: Rig, operator: SiteClient) -> None:
    token = 2**50 + 12345
    site.scan.judge = lambda c: (
        (True, "armed", float(token)) if c.kind is Kind.ARM_SHUTDOWN else (c.token == token, "judged", 0.0)
    )
    armed = await operator.call("ArmShutdown", "maintenance")
    assert armed.accepted and armed.token == str(token)
    assert (await operator.call("ExecuteShutdown", armed.token)).accepted
    assert not (await operator.call("ExecuteShutdown", "1")).accepted
    for nonsense in ("", "abc", "-1", str(2**53), "١"):
        with pytest.raises(ua.UaStatusCodeError) as wrong:
            await operator.call("ExecuteShutdown", nonsense)
        assert wrong.value.code == Code.BadInvalidArgument


async def test_missing_and_surplus_arguments_are_refused(site: Rig, operator: SiteClient) -> None:
    for arguments, code in (((), Code.BadArgumentsMissing), (("a", "b"), Code.BadTooManyArguments)):
        with pytest.raises(ua.UaStatusCodeError) as wrong:
            await operator.call("ArmShutdown", *arguments)
        assert wrong.value.code == code
    assert site.scan.seen == []


async def test_command_ids_rise_over_restarts(site: Rig, operator: SiteClient) -> None:
    await operator.call("Connect")
    await operator.call("Connect")
    first, second = site.scan.seen[-2:]
    assert second.id > first.id
    assert first.id >> 16 > 0


@pytest.mark.parametrize("user", ["observer", "operator", "engineer"])
async def test_the_role_matrix(site: Rig, user: str) -> None:
    role = site.server.gate.users.role(user)
    async with site.client(user) as client:
        wrote = await client.write(POWER, 0.0)
        assert (wrote == 0) == (role >= Role.OPERATOR)
        for method in METHODS:
            arguments = [
                ua.Variant({"String": "1", "Double": 0.0, "Int32": 1}[a.kind], getattr(ua.VariantType, a.kind))
                for a in method.inputs
            ]
            if role >= method.least_role:
                count = len(site.scan.seen)
                assert (await client.call(method.name, *arguments)).accepted
                asked = [] if method.kind is Kind.NONE else [(method.kind, role)]
                assert [(c.kind, c.role) for c in site.scan.seen[count:]] == asked
            else:
                count = len(site.scan.seen)
                with pytest.raises(ua.UaStatusCodeError) as denied:
                    await client.call(method.name, *arguments)
                assert denied.value.code == Code.BadUserAccessDenied
                assert len(site.scan.seen) == count


async def test_an_anonymous_demo_client_only_reads(tmp_path: Path) -> None:
    async with rig(tmp_path, demo=True) as site, site.client() as client:
        assert (await client.read_one("Status/State")).value == "STANDBY"
        assert await client.write(POWER, 1.0) == Code.BadUserAccessDenied
        with pytest.raises(ua.UaStatusCodeError) as denied:
            await client.call("EmergencyStop", "boo")
        assert denied.value.code == Code.BadUserAccessDenied
        assert site.scan.seen == []
        assert await client.write("Status/State", "x", "String") == Code.BadUserAccessDenied
        events = site.files.event_reader("opcua", from_start=True).take(4096)
        said = [text_of(r, "text") for r in events if int(r["what"]) == What.SESSION and not r["accepted"]]
        assert said == [
            "refused: ActivePowerSetpoint needs the Operator role",
            "refused: EmergencyStop needs the Operator role",
            "refused: write or call without the right to it",
        ], "the audit trail names what was tried, and what it takes"


async def test_a_method_of_another_object_is_refused(operator: SiteClient) -> None:
    with pytest.raises(ua.UaStatusCodeError) as wrong:
        await operator.node("Status").call_method(operator.node_id("Control/Connect"))
    assert wrong.value.code == Code.BadMethodInvalid
    server = operator.client.get_node(ua.NodeId(ua.ObjectIds.Server))
    with pytest.raises(ua.UaStatusCodeError):
        await server.call_method(ua.NodeId(ua.ObjectIds.Server_GetMonitoredItems), ua.Variant(1, ua.VariantType.UInt32))
