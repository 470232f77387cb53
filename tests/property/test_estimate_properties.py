"""Whatever the field sends, an estimate is a number between 0 and 1 with an honest sigma, and always the same one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.estimate.bar import SIGMA_FLOOR
from controller.core.layout import Layout
from controller.core.memory import EstimationMemory
from controller.core.topology import Topology
from tests.estimate_rig import sheet
from tools.score.bench import Rig, estimate, sheet_of

RACKS, CELLS = 2, 5
DIMS = {"rack": RACKS, "module": 1, "cell": CELLS}
volts = st.one_of(st.floats(0.5, 5.0), st.sampled_from([np.nan, np.inf, 0.0, -1e30, 1e30, 3.3]))
amperes = st.one_of(st.floats(-600, 600), st.sampled_from([np.nan, -np.inf, 0.0, 1e12]))
rows = st.lists(
    st.tuples(
        st.lists(amperes, min_size=RACKS, max_size=RACKS),
        st.lists(volts, min_size=RACKS * CELLS, max_size=RACKS * CELLS),
        st.one_of(st.floats(-40, 80), st.just(np.nan)),
        st.sampled_from([0, 1, 100, 1000, 10_000, 3_600_000]),
    ),
    min_size=1,
    max_size=25,
)


def play(story: list[tuple[list[float], list[float], float, int]], start: float) -> list[EstimationMemory]:
    rig = Rig(Topology.regular(RACKS, 1, CELLS, 1), sheet_of(sheet()))
    rig.begin(np.full(RACKS, start), 0.2)
    seen = []
    for current, voltage, warm, elapsed_ms in story:
        shape = (RACKS, 1, CELLS)
        seen.append(rig.step(np.array(current), np.array(voltage).reshape(shape), np.float64(warm), elapsed_ms))
    return seen


@settings(deadline=None, max_examples=60)
@given(story=rows, start=st.floats(0, 1))
def test_no_input_makes_an_estimate_nonsense(
    story: list[tuple[list[float], list[float], float, int]], start: float
) -> None:
    for memory in play(story, start):
        soc, sigma = memory.cell_charge_ratio, np.sqrt(memory.cell_variance)
        assert np.isfinite(soc).all() and (soc >= 0).all() and (soc <= 1).all()
        assert np.isfinite(sigma).all() and (sigma >= SIGMA_FLOOR).all() and (sigma <= 1).all()
        assert np.isfinite(memory.string["x"]).all() and np.isfinite(memory.string["p"]).all()
        for name in ("cell_shift_ratio", "cell_offset_v", "cell_lack_ratio", "cell_resistance_shift_ohm"):
            assert np.isfinite(getattr(memory, name)).all(), name


@settings(deadline=None, max_examples=15)
@given(story=rows)
def test_the_same_inputs_give_the_same_memory(story: list[tuple[list[float], list[float], float, int]]) -> None:
    layout = Layout(EstimationMemory, DIMS)
    assert layout.to_bytes(play(story, 0.5)[-1]) == layout.to_bytes(play(story, 0.5)[-1])


ROWS = 12
cell_rows = st.lists(st.tuples(amperes, volts), min_size=ROWS, max_size=ROWS)


@settings(deadline=None, max_examples=25)
@given(
    cells=st.lists(cell_rows, min_size=2, max_size=4),
    start=st.floats(0, 1),
    dt=st.sampled_from([0.1, 1.0, 10.0, 60.0]),
    cell_type=st.sampled_from(["lfp-280", "nmc-94"]),
)
def test_every_virtual_cell_is_estimated_alone_and_without_its_future(
    cells: list[list[tuple[float, float]]], start: float, dt: float, cell_type: str
) -> None:
    data, given_sheet = np.array(cells), sheet(cell_type)
    i, v = data[:, :, 0], data[:, :, 1]
    warm, z0 = np.full(ROWS, 25.0), np.full(len(cells), start)
    soc, sigma = estimate(i, v, warm, dt, z0, given_sheet)
    assert soc.shape == sigma.shape == i.shape
    assert ((soc >= 0) & (soc <= 1)).all() and ((sigma > 0) & (sigma <= 1)).all(), "also where an input was NaN"
    half = ROWS // 2
    early = estimate(i[:, :half], v[:, :half], warm[:half], dt, z0, given_sheet)
    np.testing.assert_array_equal(early[0], soc[:, :half])
    np.testing.assert_array_equal(early[1], sigma[:, :half])
    for c in range(len(cells)):
        alone = estimate(i[c : c + 1], v[c : c + 1], warm, dt, z0[c : c + 1], given_sheet)
        np.testing.assert_allclose(alone[0][0], soc[c], rtol=0, atol=1e-9)
        np.testing.assert_allclose(alone[1][0], sigma[c], rtol=0, atol=1e-9)
