"""Layouts, slots and rings: what is written is what is read, and a torn copy is never accepted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.core.command import COMMAND_DTYPE, Command, Kind, Origin, Role
from controller.core.image import OutputImage, ProcessImage
from controller.core.layout import Layout
from controller.core.memory import Memory
from controller.core.retained import restore, retain
from controller.image import slots
from controller.image.files import SiteFiles
from controller.image.histogram import bucket, buckets, percentile, upper_ms
from controller.image.ring import RingReader, RingWriter, create_ring
from plc_config.compile import compile_site
from tests.sites import free_site
from tests.story import Story


@pytest.fixture
def outputs(tmp_path: Path) -> tuple[Layout[OutputImage], Path]:
    layout = Layout(OutputImage, Story("bench").program.dims)
    path = tmp_path / "output.image"
    slots.create(path, layout, 3)
    return layout, path


def test_an_image_survives_its_bytes(online: Story) -> None:
    for name, layout in SiteFiles(Path("."), online.site.dims).layouts.items():
        if name == "process":
            raw = layout.to_bytes(online.image)
            again = layout.view(np.frombuffer(raw, np.uint8))
            assert layout.to_bytes(again) == raw
            assert again.modes.site_mode == online.image.modes.site_mode
            np.testing.assert_array_equal(again.estimates.cell_soc_ratio, online.image.estimates.cell_soc_ratio)


def test_a_reader_gets_the_latest_once(outputs: tuple[Layout[OutputImage], Path]) -> None:
    layout, path = outputs
    writer, reader = slots.SlotWriter(path, layout), slots.SlotReader(path, layout)
    assert reader.read() is None
    for beat in range(1, 8):
        writer.write(dataclasses.replace(layout.blank(), heartbeat=beat))
    image = reader.read()
    assert image is not None and image.heartbeat == 7
    assert reader.read() is None
    assert reader.read_again().heartbeat == 7


def test_a_copy_does_not_change_afterwards(outputs: tuple[Layout[OutputImage], Path]) -> None:
    layout, path = outputs
    writer, reader = slots.SlotWriter(path, layout), slots.SlotReader(path, layout)
    image = layout.blank()
    image.pcs_active_power_setpoint_w[...] = 5.0
    writer.write(image)
    copy = reader.read()
    for _ in range(9):
        image.pcs_active_power_setpoint_w[...] += 1.0
        writer.write(image)
    assert float(copy.pcs_active_power_setpoint_w[0]) == 5.0


def test_a_half_written_slot_is_not_taken(outputs: tuple[Layout[OutputImage], Path]) -> None:
    layout, path = outputs
    writer, reader = slots.SlotWriter(path, layout), slots.SlotReader(path, layout)
    writer.write(dataclasses.replace(layout.blank(), heartbeat=1))
    writer._write_data(dataclasses.replace(layout.blank(), heartbeat=2))  # killed before finish()
    assert reader.read().heartbeat == 1
    successor = slots.SlotWriter(path, layout)
    successor.write(dataclasses.replace(layout.blank(), heartbeat=3))
    assert reader.read().heartbeat == 3


def test_a_reader_that_wants_all_counts_what_it_missed(outputs: tuple[Layout[OutputImage], Path]) -> None:
    layout, path = outputs
    writer, reader = slots.SlotWriter(path, layout), slots.SlotReader(path, layout)
    seen, missed = [], 0
    for beat in range(1, 20):
        writer.write(dataclasses.replace(layout.blank(), heartbeat=beat))
        if beat % 5 == 0:
            while (taken := reader.read_next()) is not None:
                seen.append(taken[0].heartbeat)
                missed += taken[1]
    assert seen == sorted(set(seen))
    assert len(seen) + missed >= 15 - 3


def test_another_layout_is_refused(outputs: tuple[Layout[OutputImage], Path]) -> None:
    _, path = outputs
    other = Layout(OutputImage, {**Story("bench").program.dims, "rack": 3})
    with pytest.raises(slots.ImageMismatch):
        slots.SlotReader(path, other)


class TestRing:
    def _put(self, writer: RingWriter, count: int) -> None:
        for _ in range(count):
            writer.put(Command(writer.written + 1, Kind.CONNECT, Origin.OPCUA, Role.OPERATOR, 0, 0).record())

    def test_records_come_out_in_order_and_bounded(self, tmp_path: Path) -> None:
        path = tmp_path / "r"
        create_ring(path, COMMAND_DTYPE, 8)
        writer, reader = RingWriter(path, COMMAND_DTYPE), RingReader(path, COMMAND_DTYPE)
        self._put(writer, 5)
        assert [int(r["id"]) for r in reader.take(3)] == [1, 2, 3]
        assert [int(r["id"]) for r in reader.take(9)] == [4, 5]
        assert reader.lost == 0

    def test_what_was_overwritten_is_counted(self, tmp_path: Path) -> None:
        path = tmp_path / "r"
        create_ring(path, COMMAND_DTYPE, 8)
        writer, reader = RingWriter(path, COMMAND_DTYPE), RingReader(path, COMMAND_DTYPE)
        self._put(writer, 20)
        taken = [int(r["id"]) for r in reader.take(100)]
        assert taken == list(range(13, 21))
        assert reader.lost == 12

    def test_a_new_reader_starts_now_so_that_nothing_old_is_done_twice(self, tmp_path: Path) -> None:
        path = tmp_path / "r"
        create_ring(path, COMMAND_DTYPE, 8)
        writer = RingWriter(path, COMMAND_DTYPE)
        self._put(writer, 3)
        reader = RingReader(path, COMMAND_DTYPE)
        assert reader.take(9) == []
        self._put(writer, 1)
        assert len(reader.take(9)) == 1

    def test_a_command_survives_its_record(self) -> None:
        command = Command(
            2**60, Kind.EXECUTE_SHUTDOWN, Origin.OPCUA, Role.ENGINEER, 5, 6, -1, -2.5, 2**51, "käthe", "x" * 500
        )
        again = Command.of(command.record())
        assert dataclasses.replace(again, text="") == dataclasses.replace(command, text="")
        assert again.text == "x" * 120


def test_latches_survive_a_restart_and_contactors_start_open(online: Story) -> None:
    online.points.cell_voltage_v.value[0, 0, 0] = 3.7
    online.seconds(1)
    kept = retain(online.memory, online.number, 0, online.program.matrix.digest)
    again = Story("bench")
    again.memory = restore(again.program.blank_memory(), kept)
    image = again.scans()
    assert again.active("cell_overvoltage", "R01/M01")
    assert not image.outputs.rack_main_close.any()
    assert image.trips.trip_count == online.image.trips.trip_count
    again.seconds(3)
    assert again.image.trips.trip_count == online.image.trips.trip_count, "a restart is no new trip"


def test_memory_can_be_laid_out() -> None:
    story = Story("bench")
    story.seconds(2)
    layout = Layout(Memory, story.program.dims)
    raw = layout.to_bytes(story.memory)
    assert layout.to_bytes(layout.view(np.frombuffer(bytearray(raw), np.uint8))) == raw


def test_percentiles_of_a_histogram_are_within_a_bucket() -> None:
    values = np.random.default_rng(3).lognormal(0.0, 1.0, 5000)
    counts = buckets(values)
    for ratio in (0.5, 0.99):
        exact = float(np.quantile(values, ratio))
        assert exact <= percentile(counts, ratio) * 1.001 <= exact * 1.1
    assert all(upper_ms(bucket(v)) >= v for v in values)


@pytest.mark.parametrize("estimator", ["ekf", "coulomb"])
def test_what_is_not_copied_again_is_the_same_bytes(estimator: str, tmp_path: Path) -> None:
    """Frugal writing rests on memories that are never changed in place: every scan's bytes must say so."""
    path = free_site(tmp_path)
    path.write_text(path.read_text("utf-8") + f"estimator: {{soc: {estimator}}}\n", "utf-8")
    story = Story(compile_site(str(path))).online()
    story.tell(Kind.SET_ACTIVE_POWER, 40e3)
    layouts: dict[str, Layout[Any]] = {c.__name__: Layout(c, story.program.dims) for c in (Memory, ProcessImage)}
    frugal = {name: np.zeros(layout.size, np.uint8) for name, layout in layouts.items()}
    written: dict[str, dict[str, Any]] = {name: {} for name in layouts}
    skipped = dict.fromkeys(layouts, 0)
    for number in range(300):
        story.points.cell_voltage_v.value[0, 0, 0] += 1e-4 * (number % 7 - 3)
        if number == 150:
            story.points.estop_channel_1_closed.value[...] = 0.0
        story.scans()
        for name, image in (("Memory", story.memory), ("ProcessImage", story.image)):
            before = dict(written[name])
            layouts[name].write(image, frugal[name], written[name])
            skipped[name] += sum(before.get(k) is v for k, v in written[name].items())
            assert frugal[name].tobytes() == layouts[name].to_bytes(image), (name, number)
    assert min(skipped.values()) > 10 * 300, "much stays as it is"
