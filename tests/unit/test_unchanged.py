"""The compiled site is looked at again and again: what changed in memory is named, and ends the scan."""

from __future__ import annotations

import ctypes
import dataclasses
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from controller.app.loop import Scanner, run
from controller.app.metronome import Metronome
from controller.core.command import Kind
from controller.core.program import Program
from controller.core.unchanged import BYTES_PER_LOOK, PARTS_PER_LOOK, ProgramChanged, Unchanged
from plc_config.compile import compile_site
from tests.store_rig import Rig
from tests.story import Story


def looks(unchanged: Unchanged, count: int) -> None:
    for _ in range(count):
        unchanged.look()


def round_of(unchanged: Unchanged) -> None:
    """So many looks that every part had its turn."""
    looks(unchanged, 2 * unchanged.size // PARTS_PER_LOOK + 2)


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


class Small:
    """As a program, so far as it must be one, with these parts."""

    def __init__(self, *parts: Any) -> None:
        self.sequences = SimpleNamespace(rack_view=object(), site_view=object())
        self.parts = parts


@pytest.mark.parametrize("count", [100, 101])
def test_every_part_has_its_turn_in_one_round(count: int) -> None:
    arrays = [np.arange(4.0) for _ in range(count)]
    for array in arrays:
        unchanged = Unchanged(Small(*arrays))  # type: ignore[arg-type]
        flip(array, 9, 3)
        with pytest.raises(ProgramChanged):
            looks(unchanged, -(-unchanged.size // PARTS_PER_LOOK))


def test_a_look_ends_early_after_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = [np.zeros(BYTES_PER_LOOK // 2 + 8 * i) for i in range(4)]
    unchanged, summed, crc32 = Unchanged(Small(*arrays)), list[int](), zlib.crc32  # type: ignore[arg-type]

    def counting(data: Any, *start: int) -> int:
        summed.append(len(data))
        return crc32(data, *start)

    monkeypatch.setattr("controller.core.unchanged.zlib", SimpleNamespace(crc32=counting))
    for _ in range(8):
        unchanged.look()
        large = [size for size in summed if size > BYTES_PER_LOOK]
        assert len(large) == 1, "each of them alone is beyond the bound"
        summed.clear()


@pytest.mark.parametrize("array", [np.array(5.0), np.arange(10.0)[::2], np.arange(6.0).reshape(2, 3).T, np.zeros(0)])
def test_arrays_of_any_layout_are_summed(array: Any) -> None:
    unchanged = Unchanged(Small(array))  # type: ignore[arg-type]
    round_of(unchanged)
    if array.size:
        array[...] += 1.0
        with pytest.raises(ProgramChanged, match=r"parts\[0\] changed"):
            round_of(unchanged)


@pytest.mark.parametrize("holder", [list, tuple, lambda x: {"delay": x[0]}, lambda x: SimpleNamespace(delay=x[0])])
def test_a_number_that_changed_where_it_lies_is_noticed(holder: Any) -> None:
    """It is the same object, which nothing but its value betrays."""
    number = float("1234.5")
    unchanged = Unchanged(Small(holder([number])))  # type: ignore[arg-type]
    round_of(unchanged)
    value = ctypes.c_double.from_address(id(number) + sys.getsizeof(number) - ctypes.sizeof(ctypes.c_double))
    assert value.value == 1234.5
    value.value = 1234.75
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
