"""Every shipped map: what the simulated registers show comes back as the same values."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest

from controller.core.field_image import FieldImage
from controller.core.layout import Layout
from controller.core.signal import Quality
from controller.fieldbus.field import Field
from plc_config import library
from tests.profile_cases import CASES, each_profile, plausible
from tests.profile_rig import Bench
from tools.simulator.device import EXTRA
from tools.simulator.encode import RANGE


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(tmp_path, CASES[request.param])


def test_every_shipped_profile_is_tried() -> None:
    assert {n for n in library.shipped("profiles") if not n.startswith("cellwarden-")} == set(CASES)


@each_profile()
def test_what_the_simulated_device_shows_is_what_the_controller_reads(bench: Bench) -> None:
    random = Random(4711)
    resolution = {(s.point, s.ref.place): abs(s.type.scale) for s in bench.group.points}
    for _ in range(5):
        faces = plausible(bench, random)
        bench.group.encode(faces)
        seen = 0
        for block in bench.reads:
            raw = bench.registers(block)
            for ref in block.points:
                shown = np.atleast_1d(faces[ref.point][ref.place]).reshape(-1)[: ref.count]
                for value, true in zip(bench.values(ref, block, raw), shown, strict=True):
                    assert value == pytest.approx(true, abs=0.501 * resolution[ref.point, ref.place]), ref
                    seen += 1
        assert seen > 1


@each_profile()
def test_every_vendor_register_is_read_too(bench: Bench) -> None:
    random = Random(99)
    clean = {f: t.data.copy() for f, t in bench.group.tables.items()}
    for block in bench.extras:
        for ref in block.points:
            for function, data in clean.items():
                bench.group.tables[function].data[...] = data
            kind = ref.type
            if kind.type == "string" or kind.scale_from is not None:
                continue
            low, high = (0, 1) if kind.type == "bit" else RANGE[kind.type]
            low, high = (low, kind.mask or high) if not kind.sentinel else (low + 1, high - 1)
            raw = [random.choice([low, high, random.randint(low, high)]) for _ in range(ref.count)]
            want = [(r + kind.raw_offset) * kind.scale for r in raw]
            face = np.broadcast_to(np.array(want, float), (*(9,) * len(ref.place), ref.count))
            bench.group.encode({EXTRA + ref.point: face})
            assert bench.values(ref, block, bench.registers(block)) == pytest.approx(want), ref


@each_profile()
def test_no_request_is_longer_than_the_device_allows(bench: Bench) -> None:
    profile, _ = library.profile_at(library.DATA / "profiles" / f"{bench.case.profile}.yaml")
    for block in (*bench.reads, *bench.extras):
        if block.function in (3, 4):
            assert block.count <= profile.wire.max_registers
            last = block.address + (block.count - 1) * profile.wire.address_step
            inside = [low <= block.address and last <= high for low, high in profile.wire.windows]
            assert any(inside) or not inside


@each_profile()
def test_replies_find_their_places_in_the_field_image(bench: Bench) -> None:
    faces = plausible(bench, Random(5))
    bench.group.encode(faces)
    field = Field(bench.compiled.plan, Layout(FieldImage, bench.compiled.dims))
    for row, block in zip(field.rows, bench.compiled.plan.reads, strict=True):
        if block.device in bench.indices:
            row.store(bench.registers(block), 1234)
    field.refresh(1240, [True, True])
    steps: dict[str, float] = {}
    for slot in bench.group.points:
        steps[slot.point] = max(steps.get(slot.point, 0.0), abs(slot.type.scale))
    profile, _ = library.profile_at(library.DATA / "profiles" / f"{bench.case.profile}.yaml")
    for point in profile.points:
        samples = getattr(field.points, point)
        assert (samples.quality == Quality.GOOD).all(), point
        assert (samples.time_ms == 1234).all(), point
        assert np.allclose(samples.value, faces[point], rtol=0, atol=0.501 * steps[point] + 1e-6), point
