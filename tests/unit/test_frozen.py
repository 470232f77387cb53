"""Copies of frozen dataclasses: what changed is changed, what did not is the same object."""

from __future__ import annotations

import dataclasses

import pytest

from controller.core.frozen import replace
from controller.core.layout import Layout
from controller.core.memory import Memory
from plc_config.compile import compile_site


def test_a_copy_is_what_dataclasses_would_make() -> None:
    memory = Layout(Memory, compile_site("bench").program.dims).blank()
    modes, new = memory.modes, {"site_mode": 3, "rack_ready": ~memory.modes.rack_ready}

    copy, expected = replace(modes, **new), dataclasses.replace(modes, **new)

    assert type(copy) is type(modes)
    for field in dataclasses.fields(modes):
        assert getattr(copy, field.name) is getattr(expected, field.name)
    assert modes.site_mode == 0
    assert replace(memory, modes=copy).protection is memory.protection


def test_a_field_that_does_not_exist_is_refused() -> None:
    modes = Layout(Memory, compile_site("bench").program.dims).blank().modes
    unknown = {"site_mood": 3}
    with pytest.raises(KeyError):
        replace(modes, **unknown)
