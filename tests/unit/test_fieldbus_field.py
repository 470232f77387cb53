"""The field image: value, quality and time stay together, and what is no value never looks like one."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from controller.core.field_image import FieldImage
from controller.core.layout import Layout
from controller.core.signal import NEVER_MS, Quality, Samples
from controller.core.topology import Topology
from controller.fieldbus.field import Field
from controller.fieldbus.unit import FAILURES, PROBE_CYCLES_MAX, Unit
from plc_config.plan import CYCLE, BusPlan, PointRef, PointType, PollingPlan, ReadBlock
from tests.profile_rig import Bench, Case

CELLS = 3


def field(modules: tuple[tuple[int, int], ...] = ((0, 0), (0, 1), (1, 1)), kind: PointType | None = None) -> Field:
    """Three modules of two racks with three cells each; the topology has room for more."""
    kind = kind or PointType("u16", 1e-3, sentinel=(0xFFFF,))
    blocks = []
    for i, place in enumerate(modules):
        count = CELLS * (2 if kind.type == "f32" else 1)
        cells = PointRef("cell_voltage_v", 0, CELLS, kind, place)
        blocks.append(ReadBlock(0, i, i + 1, i + 1, 4, 0, count, CYCLE, 0, (cells,), 1.0))
    plan = PollingPlan(100, (BusPlan(0, "B", "tcp"),), (), tuple(blocks), ())
    dims = {**Topology.regular(2, 2, 4, 2).dims, "bus": 1}
    return Field(plan, Layout(FieldImage, dims))


def registers(*values: int) -> bytes:
    """Reply data."""
    return struct.pack(f">{len(values)}H", *values)


def cells(f: Field) -> Samples:
    """The point under test."""
    return f.points.cell_voltage_v


def test_what_nobody_serves_is_not_fitted_and_what_was_never_read_is_bad() -> None:
    f = field()
    f.refresh(5, [False])
    quality = cells(f).quality
    assert (quality[0, :, :CELLS] == Quality.BAD_COMM).all()
    assert (quality[:, :, CELLS:] == Quality.NOT_FITTED).all(), "beyond the count of the profile"
    assert (quality[1, 0] == Quality.NOT_FITTED).all(), "no device at this place"
    assert (f.points.rack_voltage_v.quality == Quality.NOT_FITTED).all()
    assert (cells(f).time_ms == NEVER_MS).all()


def test_every_reply_lands_at_its_place_with_its_time() -> None:
    f = field()
    f.rows[1].store(registers(3201, 3202, 3203), 1000)
    f.rows[2].store(registers(3301, 3302, 3303), 2000)
    f.refresh(2001, [True])
    np.testing.assert_allclose(cells(f).value[0, 1, :CELLS], [3.201, 3.202, 3.203], rtol=1e-6)
    np.testing.assert_allclose(cells(f).value[1, 1, :CELLS], [3.301, 3.302, 3.303], rtol=1e-6)
    assert (cells(f).time_ms[0, 1, :CELLS] == 1000).all()
    assert (cells(f).time_ms[1, 1, :CELLS] == 2000).all()
    assert (cells(f).quality[0, 1, :CELLS] == Quality.GOOD).all()
    assert (cells(f).quality[0, 0, :CELLS] == Quality.BAD_COMM).all(), "its neighbour was not read"
    assert (cells(f).value[0, 0] == 0).all()


def test_a_sentinel_leaves_the_last_value_as_bad_sensor() -> None:
    f = field()
    f.rows[0].store(registers(3200, 3200, 3200), 1000)
    f.refresh(1001, [True])
    f.rows[0].store(registers(3100, 0xFFFF, 3100), 1100)
    f.refresh(1101, [True])
    np.testing.assert_allclose(cells(f).value[0, 0, :CELLS], [3.1, 3.2, 3.1], rtol=1e-6)
    assert cells(f).quality[0, 0, :CELLS].tolist() == [Quality.GOOD, Quality.BAD_SENSOR, Quality.GOOD]


def test_nan_never_enters() -> None:
    f = field(kind=PointType("f32", registers_each=2))
    f.rows[0].store(struct.pack(">3f", 3.2, float("nan"), float("inf")), 1000)
    f.refresh(1001, [True])
    assert np.isfinite(cells(f).value).all()
    expected = [Quality.GOOD, Quality.BAD_SENSOR, Quality.BAD_SENSOR]
    assert cells(f).quality[0, 0, :CELLS].tolist() == expected


def test_a_lost_device_keeps_its_last_value_and_its_old_time() -> None:
    f = field()
    f.rows[0].store(registers(3200, 0xFFFF, 3200), 1000)
    f.rows[0].lose()
    f.refresh(9000, [True])
    assert (cells(f).quality[0, 0, :CELLS] == Quality.BAD_COMM).all()
    assert (cells(f).time_ms[0, 0, :CELLS] == 1000).all()
    assert cells(f).value[0, 0, 0] == np.float32(3.2)


def test_a_dead_unit_is_probed_less_and_less_often() -> None:
    unit = Unit("R01/M01", 1, 0.0)
    assert [unit.failed(0, alone=False) for _ in range(FAILURES + 1)] == [False, False, True, False]
    cycle, waits = 0, []
    for _ in range(10):
        unit.failed(cycle, alone=False)
        waits.append(unit.probe_cycle - cycle)
        cycle = unit.probe_cycle
    assert waits == sorted(waits)
    assert waits[-1] == PROBE_CYCLES_MAX
    assert unit.answered()
    assert not unit.answered()
    assert not unit.failing


def test_rows_with_a_stride_of_several_equal_devices(tmp_path: Path) -> None:
    """SunSpec 805: every cell is a group of four registers, and a rack has many such modules."""
    case = Case("sunspec-805", place="R01/M01..M02", modules=2, temperatures=16, unit=cast(int, "1..2"))
    bench = Bench(tmp_path, case)
    image = Field(bench.compiled.plan, Layout(FieldImage, bench.compiled.dims))
    for block, row in zip(bench.compiled.plan.reads, image.rows, strict=True):
        if block.device in bench.indices:
            first = 3000 + 100 * bench.indices.index(block.device)
            words = np.zeros(block.count, ">u2")
            for ref in block.points:
                if ref.point == "cell_voltage_v":
                    where = ref.offset + ref.type.registers_each * np.arange(ref.count)
                    words[where] = first + np.arange(ref.count)
                    words[ref.offset + (ref.type.scale_from or 0)] = -3 & 0xFFFF
            row.store(words.tobytes(), 1000)
    image.refresh(1000, [True, True])
    cells = image.points.cell_voltage_v
    for module, first in enumerate((3.0, 3.1)):
        assert cells.value[0, module, :16] == pytest.approx(first + np.arange(16) / 1000)
        assert (cells.quality[0, module, :16] == Quality.GOOD).all()
