"""A device whose gateway answers for it while it takes no samples: what the images say, as the scan sees them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from controller.core.image import InputImage
from controller.core.layout import Layout
from controller.core.signal import Quality
from controller.core.validate import validate
from tests.field_rig import MODULES, Rig
from tests.story import Story

UNIT, HIT = 2, 1


async def test_a_frozen_device_behind_a_living_gateway_is_found_by_its_counter(tmp_path: Path) -> None:
    """Its replies are perfect and fresh; only its own sample counter stands still. The scan's validation decides.

    Judged in the time of the images: a busy machine may make values old, but never frozen.
    """
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        story = Story(rig.compiled)
        frozen = rig.servers["GW01"].memory
        frozen.counters.discard((UNIT, 20))
        after_ms = story.program.sensors.settings.frozen_after_ms
        begin = now = int(rig.image.links.published_ms)
        seen, memory = len(rig.images), story.program.blank_memory().validation
        said = np.zeros((2, MODULES), bool)
        while not said.any() and now - begin < 3 * after_ms:
            await rig.cycles(1)
            for image in rig.images[seen:]:
                elapsed_ms, now = int(image.links.published_ms) - now, int(image.links.published_ms)
                quality, memory = validated(story, image, elapsed_ms, memory)
                said |= (quality == Quality.BAD_SENSOR).all(axis=2)
                assert now - begin >= after_ms - 500 or not said.any()
            seen = len(rig.images)
        assert said[0, HIT] and np.count_nonzero(said) == 1, "this one, and nobody else"
        assert now - begin <= after_ms + 1000
        frozen.counters.add((UNIT, 20))
        counted = rig.image.points.module_sample_counter.value[0, HIT]
        await rig.until(lambda: rig.image.points.module_sample_counter.value[0, HIT] != counted, "it counts again")
        quality, memory = validated(story, rig.image, rig.compiled.plan.cycle_ms, memory)
        assert not (quality == Quality.BAD_SENSOR).any()


def validated(story: Story, image: Any, elapsed_ms: int, memory: Any) -> Any:
    """The scan's first stage on an image: the quality of the cell voltages, and its memory."""
    blank = Layout(InputImage, story.program.dims).blank()
    system = dataclasses.replace(blank.system, now_ms=int(image.links.published_ms), elapsed_ms=elapsed_ms)
    inputs = dataclasses.replace(blank, points=image.points, links=image.links, system=system)
    measured, memory = validate(story.program.sensors, memory, inputs)
    return measured.points.cell_voltage_v.quality, memory
