"""Setpoints scaled by what the device itself says: nothing is written before that is known, or after it is lost."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.core.image import OutputImage
from controller.core.layout import Layout
from controller.fieldbus.divisors import DivisorRow, Divisors
from controller.fieldbus.outputs import Output, Outputs
from controller.fieldbus.request import Failure
from controller.fieldbus.unit import Unit
from tests.profile_cases import CASES
from tests.profile_rig import Bench

LEGACY, SETPOINT = "sunspec-103-124", "pcs_active_power_setpoint_w"


class Converter:
    """The output side of one converter's plan; `says` is what its registers hold."""

    def __init__(self, folder: Path, profile: str = LEGACY) -> None:
        bench = Bench(folder, CASES[profile])
        plan, self.device = bench.compiled.plan, bench.indices[0]
        self.layout = Layout(OutputImage, bench.compiled.dims)
        self.read = next(r for r in bench.reads if r.divisors)
        self.told: list[str] = []
        self.known = Divisors(self._changed)
        self.row = DivisorRow(self.known, self.read.divisors, self.read.function)
        self.sent: list[Output] = []
        units = [Unit(d.name, d.unit, 0.0) for d in plan.devices]
        self.outputs = Outputs(plan, self.layout, units, self.sent.append, {self.device: self.known})
        self.now_ms, self.beat = 1000, 0

    def _changed(self, divisors: Divisors) -> None:
        self.outputs.relearn(divisors)
        self.told.append(divisors.unusable)

    def says(self, rating: int, rating_scale: int, rate_scale: int) -> None:
        words = np.zeros(self.read.count, ">u2")
        for address, word in ((40124, rating), (40140, rating_scale), (40147, rate_scale)):
            words[address - self.read.address] = word & 0xFFFF
        self.row.store(words.tobytes(), self.now_ms)

    def scan(self, power_w: float, confirm: bool = True) -> list[int]:
        """One scan that wants this power; what is written to the two limits, as numbers."""
        self.now_ms += 100
        self.beat += 1
        self.sent.clear()
        image = dataclasses.replace(self.layout.blank(), heartbeat=self.beat)
        getattr(image, SETPOINT)[0] = power_w
        self.outputs.update(image, self.now_ms)
        return self.drain(confirm)

    def drain(self, confirm: bool = True) -> list[int]:
        found = {}
        for output in self.sent:
            if output.block.output != SETPOINT or output.block.device != self.device:
                continue
            if output.desired is None or not self.outputs.permitted(output):
                continue
            found[output.block.address] = int.from_bytes(output.desired, "big", signed=True)
            output.request.payload = output.desired
            if confirm:
                self.outputs.written(output, self.now_ms)
        return list(found.values())

    def unconfirmed(self) -> int:
        return sum(o.block.output == SETPOINT and o.block.device == self.device for o in self.outputs.unconfirmed())


def test_nothing_is_written_before_the_device_has_said_its_scale(tmp_path: Path) -> None:
    it = Converter(tmp_path)
    assert it.scan(40_000) == [] and it.scan(41_000) == []
    assert it.unconfirmed() == 2, "people see that the device was not told"
    it.says(rating=1000, rating_scale=2, rate_scale=-2)
    assert it.scan(40_000) == [4000, -4000], "40 % of 100 kW in hundredths of a percent"
    assert it.scan(40_000) == [] and it.unconfirmed() == 0


@pytest.mark.parametrize(
    ("rating", "rating_scale", "rate_scale", "raw"),
    [(5000, 1, 0, 80), (250, 3, -1, 160), (65_000, 0, -2, 6154), (40, 3, -2, 10_000)],
)
def test_the_setpoint_follows_any_scale(
    tmp_path: Path, rating: int, rating_scale: int, rate_scale: int, raw: int
) -> None:
    it = Converter(tmp_path)
    it.says(rating, rating_scale, rate_scale)
    assert it.scan(40_000) == [raw, -raw]


def test_a_device_that_is_replaced_by_another_one_is_told_in_its_own_scale(tmp_path: Path) -> None:
    it = Converter(tmp_path)
    it.says(1000, 2, -2)
    assert it.scan(40_000) == [4000, -4000]
    it.says(1000, 2, -1)
    assert it.drain() == [], "the old number is not written in the new scale"
    assert it.scan(40_000) == [400, -400]


def test_a_silent_device_is_told_nothing_until_its_scale_was_read_again(tmp_path: Path) -> None:
    it = Converter(tmp_path)
    it.says(1000, 2, -2)
    it.scan(40_000)
    it.row.lose()
    assert it.scan(30_000) == [] and it.unconfirmed() == 2
    it.outputs.forget(o for o in it.outputs.all)
    assert it.drain() == []
    it.says(1000, 2, -2)
    assert it.scan(30_000) == [3000, -3000]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((1000, 2, -32768), "scale factor in register 40147"),
        ((1000, 11, -2), "rating in register 40124"),
        ((0xFFFF, 2, -2), "rating in register 40124"),
        ((0, 2, -2), "rating in register 40124"),
    ],
)
def test_a_scale_that_is_no_number_is_named_and_never_used(
    tmp_path: Path, words: tuple[int, int, int], named: str
) -> None:
    it = Converter(tmp_path)
    it.says(*words)
    assert it.scan(40_000) == []
    assert it.told == [named]
    it.says(*words)
    assert it.told == [named], "said once"


def test_zero_needs_no_scale_but_a_device_that_was_never_told_anything_is_not_told_zero(tmp_path: Path) -> None:
    it = Converter(tmp_path)
    it.scan(40_000)
    it.sent.clear()
    it.outputs.silence()
    assert it.drain() == []
    it.says(1000, 2, -2)
    assert it.scan(40_000) == [4000, -4000]
    it.row.lose()
    it.sent.clear()
    it.outputs.silence()
    assert it.drain() == [0, 0], "a silent scan's power goes to zero even on a device whose scale is lost"
    it.says(1000, 2, -1)
    assert it.scan(40_000) == [400, -400], "and the scan that lives again is understood anew"


def test_an_unconfirmed_write_is_repeated_in_the_scale_that_counts_now(tmp_path: Path) -> None:
    it = Converter(tmp_path)
    it.says(1000, 2, -2)
    assert it.scan(40_000, confirm=False) == [4000, -4000]
    for output in list(it.sent):
        if output.block.output == SETPOINT and output.block.device == it.device:
            it.outputs.failed(output, Failure.TIMEOUT, 0, it.now_ms)
    it.says(1000, 2, -1)
    it.sent.clear()
    it.outputs.tick(it.now_ms + 1000)
    assert it.drain() == []
    assert it.scan(40_000) == [400, -400]


def test_every_helper_of_a_map_comes_with_few_reads(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    for profile in ("sunspec-7xx", LEGACY, "kaco-gridsave"):
        (tmp_path / profile).mkdir()
        bench = Bench(tmp_path / profile, CASES[profile])
        found[profile] = [(r.address, r.count, len(r.divisors)) for r in bench.reads if r.divisors]
        assert all(r.every_ms == 10_000 and not r.points for r in bench.reads if r.divisors)
    assert found == {
        "sunspec-7xx": [(40351, 3, 2)],
        LEGACY: [(40124, 24, 2)],
        "kaco-gridsave": [(40124, 21, 1), (40200, 1, 1)],
    }
