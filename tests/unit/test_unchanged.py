"""The compiled site is looked at again and again: what changed in memory is named, and ends the scan."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.app.loop import Scanner, run
from controller.app.metronome import Metronome
from controller.core.command import Kind
from controller.core.program import Program
from controller.core.unchanged import PARTS_PER_LOOK, ProgramChanged, Unchanged
from plc_config.compile import compile_site
from tests.store_rig import Rig
from tests.story import Story


def round_of(unchanged: Unchanged) -> None:
    """So many looks that every part had its turn."""
    for _ in range(2 * unchanged.size // PARTS_PER_LOOK + 2):
        unchanged.look()


def flip(values: Any, index: int, bit: int) -> None:
    """One bit of an array, as a fault of the memory would."""
    raw = values.view(np.uint8)
    raw[index] ^= 1 << bit


def test_a_scan_changes_nothing_of_what_was_compiled() -> None:
    story = Story("bench")
    unchanged = Unchanged(story.program)
    story.online()
    story.tell(Kind.SET_ACTIVE_POWER, 50_000.0)
    story.seconds(3)
    round_of(unchanged)


@pytest.mark.parametrize("bit", [0, 3, 7])
@pytest.mark.parametrize("index", [0, 7, -1])
def test_one_bit_of_any_threshold_is_noticed_and_named(index: int, bit: int) -> None:
    program = compile_site("bench").program
    unchanged = Unchanged(program)
    flip(program.matrix.delay_ms, index, bit)
    with pytest.raises(ProgramChanged, match=r"matrix\.delay_ms changed"):
        round_of(unchanged)
    flip(program.matrix.delay_ms, index, bit)
    round_of(Unchanged(program))


def swap_setting(program: Program) -> None:
    object.__setattr__(program.dispatch.settings, "heartbeat_timeout_ms", 10**9)


def swap_kind(program: Program) -> None:
    object.__setattr__(program.dispatch.settings, "heartbeat_timeout_ms", [object()])


def swap_array(program: Program) -> None:
    object.__setattr__(program.matrix, "priority", program.matrix.priority.copy())


def swap_part(program: Program) -> None:
    object.__setattr__(program, "limit", dataclasses.replace(program.limit))


@pytest.mark.parametrize("spoil", [swap_setting, swap_kind, swap_array, swap_part])
def test_a_part_that_was_exchanged_is_noticed(spoil: Any) -> None:
    program = compile_site("bench").program
    unchanged = Unchanged(program)
    spoil(program)
    with pytest.raises(ProgramChanged):
        round_of(unchanged)


def test_the_scan_ends_when_its_program_has_changed(tmp_path: Path) -> None:
    """The root of the process then says: outputs safe; the supervisor starts it anew, contactors open."""
    rig = Rig(tmp_path, compile_site("bench"), with_store=False)
    scanner = Scanner(rig.program, rig.files, -1, simulated=True)
    flip(rig.program.matrix.delay_ms, 0, 4)
    with pytest.raises(ProgramChanged, match="delay_ms"):
        run(scanner, Metronome(1), False, [])
    assert scanner.number <= 2 * scanner.unchanged.size // PARTS_PER_LOOK + 2
