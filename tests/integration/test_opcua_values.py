"""What a client sees: names, values, units, status codes and times, on a real server with a fake scan."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asyncua import ua

from controller.core.image import AlarmState
from controller.core.protect.row import Priority
from controller.core.signal import Quality
from opcua_model.alarms import SEVERITY
from opcua_model.client import SiteClient
from tests.opcua_rig import Rig, rig, until

CELLS = "Racks/R01/Modules/M01/CellVoltages"


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path, demo=True) as found:
        yield found


@pytest.fixture
async def client(demo: Rig) -> AsyncIterator[SiteClient]:
    async with demo.client() as found:
        yield found


async def until_read(client: SiteClient, path: str, good: Any) -> Any:
    """Reads until a predicate holds."""
    for _ in range(6000):
        value = await client.read_one(path)
        if good(value):
            return value
        await asyncio.sleep(0.01)
    raise AssertionError(f"{path} stays {value}")


async def test_paths_and_browse_names_are_the_contract(client: SiteClient) -> None:
    found = await client.client.nodes.objects.get_child(
        [f"{client.index}:{n}" for n in ("BatterySystem", *CELLS.split("/"))]
    )
    assert found.nodeid.Identifier == f"BatterySystem/{CELLS}"
    uris = await client.client.get_namespace_array()
    assert uris[client.index] == "urn:cellwarden:site:bench" and "urn:cellwarden:model" in uris


async def test_types_are_those_of_the_model(client: SiteClient) -> None:
    uris = await client.client.get_namespace_array()
    model = uris.index("urn:cellwarden:model")
    for path, number in (
        ("", 1001),
        ("Banks/B01", 1002),
        ("Racks/R01", 1003),
        ("Racks/R01/Modules/M01", 1004),
        ("Pcs/P01", 1005),
    ):
        assert await client.node(path).read_type_definition() == ua.NodeId(number, model)
    assert await client.node("Status/StateCode").read_data_type() == ua.NodeId(3001, model)


async def test_units_and_range_are_on_every_analog(demo: Rig, client: SiteClient) -> None:
    analogs = [p for p in demo.server.model.points if p.spec.analog]
    assert len(analogs) > 100
    for point in {id(p.spec): p for p in analogs}.values():
        node = client.node(point.path)
        names = {(await p.read_browse_name()).Name for p in await node.get_properties()}
        assert {"EngineeringUnits", "EURange"} <= names, point.path
    units = await (await client.node("Racks/R01/Voltage").get_child("0:EngineeringUnits")).read_value()
    assert (units.UnitId, units.DisplayName.Text) == (5655636, "V")


async def test_a_good_cell_array_has_value_status_and_source_time(demo: Rig, client: SiteClient) -> None:
    value = await client.read_one(CELLS)
    assert value.good and len(value.value) == 16 and value.value[0] == pytest.approx(3.3)
    assert value.source_ms is not None and abs(value.source_ms - demo.scan.clock.utc_ms()) < 2000


@pytest.mark.parametrize(
    ("quality", "status"),
    [
        (Quality.STALE, ua.StatusCodes.UncertainLastUsableValue),
        (Quality.SUBSTITUTED, ua.StatusCodes.UncertainSubstituteValue),
        (Quality.BAD_RANGE, ua.StatusCodes.BadOutOfRange),
        (Quality.BAD_SENSOR, ua.StatusCodes.BadSensorFailure),
        (Quality.BAD_COMM, ua.StatusCodes.BadNoCommunication),
        (Quality.NOT_FITTED, ua.StatusCodes.BadNotConnected),
    ],
)
async def test_quality_becomes_a_status_and_bad_has_no_value(
    demo: Rig, client: SiteClient, quality: Quality, status: int
) -> None:
    demo.scan.image.measured.points.rack_voltage_v.quality[0] = int(quality)
    value = await until_read(client, "Racks/R01/Voltage", lambda v: v.status == status)
    assert (value.value is None) == (status >> 30 >= 2)


async def test_one_bad_cell_leaves_the_others(demo: Rig, client: SiteClient) -> None:
    demo.scan.image.measured.points.cell_voltage_v.quality[0, 0, 3] = int(Quality.BAD_SENSOR)
    value = await until_read(client, CELLS, lambda v: v.status == ua.StatusCodes.UncertainSubNormal)
    assert np.isnan(value.value[3]) and value.value[4] == pytest.approx(3.3)


async def test_a_module_without_communication_has_no_values(demo: Rig, client: SiteClient) -> None:
    demo.scan.image.measured.points.cell_voltage_v.quality[0, 0, :] = int(Quality.BAD_COMM)
    value = await until_read(client, CELLS, lambda v: v.bad)
    assert value.value is None and value.status == ua.StatusCodes.BadNoCommunication
    valid = await client.read_one("Racks/R01/Modules/M01/DataValid")
    assert valid.good and valid.value is False


async def test_a_silent_scan_makes_every_value_uncertain_then_bad(demo: Rig, client: SiteClient) -> None:
    demo.scan.running = False
    late = await until_read(client, "Racks/R01/Voltage", lambda v: v.status == ua.StatusCodes.UncertainLastUsableValue)
    assert late.value == pytest.approx(211.2)
    dead = await until_read(client, "Racks/R01/Voltage", lambda v: v.bad)
    assert dead.value is None and dead.status == ua.StatusCodes.BadNoCommunication
    valid = await client.read_one("Status/DataValid")
    assert valid.good and valid.value is False


async def test_modes_are_text_beside_a_code_with_its_texts(client: SiteClient) -> None:
    found = await client.read(["Status/State", "Status/StateCode", "Racks/R01/State"])
    assert [v.value for v in found.values()] == ["STANDBY", 1, "OPEN"]
    texts = await (await client.node("Status/StateCode").get_child("0:EnumStrings")).read_value()
    assert texts[1].Text == "STANDBY"


async def test_a_binding_limit_and_a_place_are_names(demo: Rig, client: SiteClient) -> None:
    names = demo.server.model.catalog.limit_names
    demo.scan.set("limits", charge_binding=1, charge_binding_rack=1)
    extremes = dataclasses.replace(demo.scan.image.measured.extremes, cell_voltage_max_place=16 * 4 + 16 + 2)
    demo.scan.set("measured", extremes=extremes)
    found = await until_read(client, "Measurements/ChargeBinding", lambda v: v.value == names[1])
    assert found.good
    assert (await client.read_one("Measurements/ChargeBindingRack")).value == "R02"
    assert (await client.read_one("Measurements/CellVoltageMaxPlace")).value == "R02/M02/C03"


async def test_alarms_are_plain_variables_too(demo: Rig, client: SiteClient) -> None:
    slots = demo.server.model.catalog.slots
    slot = next(s for s in slots if s.row == "cell_overvoltage")
    demo.scan.image.alarms.alarm_state[slot.slot] = int(AlarmState.UNACKNOWLEDGED)
    lines = (await until_read(client, "Alarms/List", lambda v: bool(v.value))).value
    assert lines[0].split("|")[1:4] == ["UNACKNOWLEDGED", slot.row, f"{slot.place}/C01"]
    row = await client.read([f"Alarms/Rows/{slot.row}/{n}" for n in ("Active", "Unacked", "Count", "Severity")])
    assert [v.value for v in row.values()] == [True, True, 1, SEVERITY[Priority(slot.priority)]]
    demo.scan.image.alarms.alarm_state[slot.slot] = int(AlarmState.RETURNED)
    gone = await until_read(client, f"Alarms/Rows/{slot.row}/Active", lambda v: v.value is False)
    assert gone.good and (await client.read_one(f"Alarms/Rows/{slot.row}/Unacked")).value is True


async def test_an_unread_image_is_waiting_not_zero(tmp_path: Path) -> None:
    async with rig(tmp_path, demo=True) as found, found.client() as client:
        assert (await client.read_one("Diagnostics/Processes/Io/Silenced")).status == (
            ua.StatusCodes.BadWaitingForInitialData
        )


class Heard:
    """Counts what a subscription delivers."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        self.values.append((value, data.monitored_item.Value.StatusCode.value))


async def test_a_subscription_gets_the_first_value_then_only_changes(demo: Rig, client: SiteClient) -> None:
    heard = Heard()
    sub = await client.client.create_subscription(100, heard)
    await sub.subscribe_data_change(client.node("Racks/R01/Voltage"))
    await until(lambda: heard.values, "the first value")
    assert heard.values[0][0] == pytest.approx(211.2)
    scans = demo.scan.number
    await until(lambda: demo.scan.number > scans + 5, "five more scans")
    # A slow machine may make the image late for a moment: that is a change of status, and told. Nothing else is.
    assert all(a != b for a, b in itertools.pairwise(heard.values))
    demo.scan.image.measured.points.rack_voltage_v.value[0] = 212.0
    await until(lambda: heard.values[-1][0] == pytest.approx(212.0), "the change")


async def test_a_subscriber_hears_that_the_scan_died(demo: Rig, client: SiteClient) -> None:
    heard = Heard()
    sub = await client.client.create_subscription(100, heard)
    await sub.subscribe_data_change(client.node(CELLS))
    await until(lambda: heard.values, "the first value")
    demo.scan.running = False
    await until(lambda: heard.values[-1][1] == ua.StatusCodes.BadNoCommunication, "the Bad status")
    assert heard.values[-1][0] is None
    assert any(s == ua.StatusCodes.UncertainLastUsableValue for _, s in heard.values)


async def test_what_nobody_monitors_is_not_sampled(demo: Rig, client: SiteClient) -> None:
    push = demo.server.push
    sub = await client.client.create_subscription(100, Heard())
    handle = await sub.subscribe_data_change(client.node("Racks/R01/Voltage"))
    assert len(push.monitored) == 1
    await sub.unsubscribe(handle)
    await until(lambda: not push.monitored, "forgetting the item")


async def test_intervals_are_told_as_they_are(demo: Rig, client: SiteClient) -> None:
    sub = await client.client.create_subscription(1, Heard())
    assert sub.subscription_id in demo.server.iserver.subscription_service.subscriptions
    revised = demo.server.iserver.subscription_service.subscriptions[sub.subscription_id].data
    assert revised.RevisedPublishingInterval == 100.0


async def test_a_slow_subscription_gets_the_newest_value_only(demo: Rig, client: SiteClient) -> None:
    heard = Heard()
    sub = await client.client.create_subscription(1000, heard)
    await sub.subscribe_data_change(client.node("Status/ScanNumber"))

    def numbers() -> list[int]:
        # A machine that is held up for long makes the values bad, and says nothing of what is left out.
        return [value for value, status in heard.values if status == 0]

    await until(lambda: len(numbers()) >= 3, "three publications")
    assert numbers()[2] - numbers()[1] > 2


async def test_a_deadband_is_refused_not_mishandled(client: SiteClient) -> None:
    sub = await client.client.create_subscription(100, Heard())
    with pytest.raises(ua.UaStatusCodeError) as refused:
        await sub.deadband_monitor(client.node("Racks/R01/Voltage"), 1)
    assert refused.value.code == ua.StatusCodes.BadMonitoredItemFilterUnsupported
