"""Words of the stories about alarms: what happens at the door or on a bus, and what people do with an alarm."""

from __future__ import annotations

from typing import Any

import numpy as np

from controller.core.command import Kind, Role
from controller.core.event import Event, What
from controller.core.image import AlarmState
from controller.core.layout import Layout
from controller.core.retained import Retained, restore, retain
from controller.core.signal import Quality
from tests.story import Story

NORMAL, UNACKNOWLEDGED, ACKNOWLEDGED = AlarmState.NORMAL, AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED
RETURNED, SHELVED, SUPPRESSED = AlarmState.RETURNED, AlarmState.SHELVED, AlarmState.SUPPRESSED
LATCHED_UNACKNOWLEDGED = AlarmState.LATCHED_UNACKNOWLEDGED
LATCHED, OUT_OF_SERVICE = AlarmState.LATCHED, AlarmState.OUT_OF_SERVICE
WHY = {"text": "lock is being repaired"}


def door(story: Story, closed: bool) -> None:
    story.points.door_closed.value[...] = float(closed)


def open_door(story: Story) -> None:
    door(story, False)
    story.seconds(1.5)


def close_door(story: Story) -> None:
    door(story, True)
    story.seconds(3.5)


def told(story: Story, row: str) -> list[Event]:
    return [e for e in story.events if e.what is What.ALARM and e.text.startswith(row)]


def shelve(story: Story, row: str, seconds: float = 600.0, **more: Any) -> Event:
    command = story.tell(Kind.SHELVE, seconds, target=story.slot(row), **{**WHY, **more})
    story.scans()
    return story.answer(command)


def ask(story: Story, kind: Kind, row: str, role: Role = Role.ENGINEER, **more: Any) -> Event:
    command = story.tell(kind, role=role, target=story.slot(row), **{**WHY, **more})
    story.scans()
    return story.answer(command)


def acknowledge(story: Story) -> None:
    story.tell(Kind.ACKNOWLEDGE)
    story.scans()


def lose_rack_bus(story: Story, rack: int = 0) -> None:
    """Everything behind a rack's gateway falls silent; the other rack stays fresh."""
    for name in ("rack_voltage_v", "rack_current_a", "rack_main_closed", "rack_insulation_ohm"):
        getattr(story.points, name).quality[rack] = int(Quality.BAD_COMM)
    story.points.cell_voltage_v.quality[rack] = int(Quality.BAD_COMM)
    story.points.cell_temperature_degc.quality[rack] = int(Quality.BAD_COMM)


def hear_again(story: Story, rack: int = 0) -> None:
    for name in ("rack_voltage_v", "rack_current_a", "rack_main_closed", "rack_insulation_ohm", "cell_voltage_v",
                 "cell_temperature_degc"):  # fmt: skip
        getattr(story.points, name).quality[rack] = 0


def restarted(story: Story) -> Story:
    """The same plant under a controller that was restarted with its retained state."""
    layout = Layout(Retained, story.program.dims)
    raw = layout.to_bytes(retain(story.memory, story.number, story.now_ms, story.program.matrix.digest))
    after = Story(story.site)
    for field in after.points.__dataclass_fields__:
        for part in ("value", "quality"):
            getattr(getattr(after.points, field), part)[...] = getattr(getattr(story.points, field), part)
    after.memory = restore(after.memory, layout.view(np.frombuffer(bytearray(raw), np.uint8)))
    after.number, after.now_ms, after.command_id = story.number, story.now_ms + 60_000, story.command_id + 100
    return after
