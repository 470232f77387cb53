"""Two real OPC UA clients, each with a certificate of its own, over the real program: who has control, who is told."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua

from controller.core.command import Command
from controller.core.image import SiteMode
from opcua_model.client import SiteClient
from tests.command_line import cellwarden
from tests.opcua_rig import Rig, rig
from tests.story import Story, connected, fork

POWER = "Control/ActivePowerSetpoint"
Code = ua.StatusCodes


def obey(site: Rig, story: Story) -> None:
    """The pure program judges what the server puts into the ring, and its image is what the server shows."""

    def judge(command: Command) -> tuple[bool, str, float]:
        story.command_id += 1
        mine = dataclasses.replace(command, id=story.command_id, issued_ms=story.now_ms, expires_ms=story.now_ms + 999)
        story.waiting.append(mine)
        image = story.scans()
        site.scan.image = dataclasses.replace(site.scan.image, power=image.power, authority=image.authority)
        answer = story.answer(mine)
        # The reason given is put behind the answer once more by who tells it to the server.
        return answer.accepted, answer.text.removesuffix(f" ({command.text})"), answer.new

    site.scan.judge = judge
    site.scan.set("modes", site_mode=int(SiteMode.ONLINE))


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[tuple[Rig, Story]]:
    async with rig(tmp_path) as site:
        for name in ("ignition", "panel"):
            site.trust(name)
        story = fork(connected())
        obey(site, story)
        yield site, story


async def shown(client: SiteClient, path: str) -> Any:
    return (await client.read_one(f"Control/{path}")).value


async def test_one_has_control_and_the_other_is_refused_by_name(plant: tuple[Rig, Story]) -> None:
    site, story = plant
    async with site.client("operator", name="ignition") as scada, site.client("operator", name="panel") as panel:
        assert await scada.write(POWER, 20e3) == 0
        assert await shown(scada, "ControlHolder") == "", "nobody has to take it where the site does not ask"
        taken = await scada.call("TakeControl", "night schedule")
        assert taken.accepted and taken.reason == "you have control (night schedule)"
        assert await shown(panel, "ControlHolder") == "operator at 127.0.0.1"
        assert 0 < await shown(panel, "ControlLapseTime") <= 300_000
        assert (await shown(panel, "ControlSinceUtc")).year > 1970

        assert await panel.write(POWER, -5e3) == Code.BadLocked
        assert "operator at 127.0.0.1 (another client) has control" in await shown(panel, "LastAnswer")
        refused = await panel.call("SetActivePower", -5e3)
        assert not refused.accepted and "has control" in refused.reason
        assert await shown(panel, "ActivePowerSetpoint") == 20e3
        assert await shown(panel, "ActivePowerSetBy") == "operator at 127.0.0.1"
        assert await scada.write(POWER, 30e3) == 0

        assert (await panel.call("ArmShutdown", "smoke")).accepted, "stopping needs no control"
        assert (await panel.call("Disconnect")).accepted
        assert (await scada.call("ReleaseControl")).accepted
        assert await shown(panel, "ControlHolder") == ""
        assert story.mode in (SiteMode.STOPPING, SiteMode.STANDBY)


async def test_a_client_that_comes_back_still_has_it(plant: tuple[Rig, Story]) -> None:
    site, _ = plant
    async with site.client("operator", name="ignition") as scada:
        assert (await scada.call("TakeControl", "")).accepted
    async with site.client("operator", name="ignition") as scada, site.client("engineer", name="panel") as panel:
        assert await scada.write(POWER, 20e3) == 0, "another session, the same user and certificate"
        assert await panel.write(POWER, 1e3) == Code.BadLocked, "not even an engineer without taking it"
        assert (await panel.call("TakeControl", "test")).reason.startswith("you have control, taken over from operator")
        assert await scada.write(POWER, 20e3) == Code.BadLocked


async def test_where_it_is_required_a_write_says_so(plant: tuple[Rig, Story]) -> None:
    site, story = plant
    rule = dataclasses.replace(story.program.authority, rule="required")
    story.program = dataclasses.replace(story.program, authority=rule)
    async with site.client("operator", name="ignition") as scada:
        assert await scada.write(POWER, 20e3) == Code.BadRequiresLock
        assert (await scada.call("TakeControl", "")).accepted
        assert await scada.write(POWER, 20e3) == 0


async def test_two_who_fight_are_told(plant: tuple[Rig, Story]) -> None:
    site, story = plant
    async with site.client("operator", name="ignition") as scada, site.client("operator", name="panel") as panel:
        for client, watts in ((scada, 20e3), (panel, 30e3), (scada, 20e3)):
            assert await client.write(POWER, watts) == 0
        story.scans()
        assert story.active("setpoints_contested")
        assert "operator at 127.0.0.1 had set 30000 W" in await shown(panel, "LastAnswer")


async def test_from_the_command_line(plant: tuple[Rig, Story]) -> None:
    site, _ = plant

    async def operate(user: str, *words: str) -> tuple[int, str]:
        code, out, err = await cellwarden(
            site.state, "operate", "bench", *words, "--user", user, "--endpoint", site.server.endpoint
        )
        return code, out + err

    code, out = await operate("operator", "connect")
    assert code == 69
    assert (await cellwarden(site.state, "cert", "trust", out.split()[-1], "--site", "bench"))[0] == 0
    assert await operate("operator", "take-control", "--reason", "test run") == (
        0, "accepted: you have control (test run)\n",
    )  # fmt: skip
    assert await operate("operator", "power", "5 kW") == (0, "accepted: 5000 W from now on\n")
    assert await operate("engineer", "power", "1 kW") == (
        1, "refused: operator at 127.0.0.1 has control; take control if it shall be yours\n",
    )  # fmt: skip
    assert await operate("engineer", "take-control") == (
        0, "accepted: you have control, taken over from operator at 127.0.0.1\n",
    )  # fmt: skip
    assert (await operate("operator", "release-control"))[0] == 1
    assert await operate("operator", "maintenance") == (1, "refused: needs the Engineer role\n")
    assert await operate("observer", "estop") == (1, "refused: needs the Operator role\n")
    assert await operate("engineer", "release-control") == (0, "accepted: control is free\n")
