"""What is written comes back the same when it is read, for every type, scale, sign and word order."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU

from controller.fieldbus.codec import Decoder, Encoder
from controller.fieldbus.frames import crc
from plc_config.plan import PointRef, PointType

FORMAT = {"u16": ">H", "s16": ">h", "u32": ">I", "s32": ">i"}
WHOLE = {"u16": (0, 2**16 - 1), "s16": (-(2**15), 2**15 - 1), "u32": (0, 2**32 - 1), "s32": (-(2**31), 2**31 - 1)}


@st.composite
def kinds(draw: st.DrawFn) -> PointType:
    """Types that can be read and written."""
    return PointType(
        draw(st.sampled_from(sorted(WHOLE))),
        draw(st.sampled_from([1.0, 0.1, 0.001, 10.0])),
        negate=draw(st.booleans()),
        little_words=draw(st.booleans()),
    )


@given(kind=kinds(), data=st.data())
def test_written_values_are_read_back(kind: PointType, data: st.DataObject) -> None:
    low, high = WHOLE[kind.type]
    raw = data.draw(st.lists(st.integers(low, high), min_size=1, max_size=20))
    factor = -kind.scale if kind.negate else kind.scale
    values = np.array([raw]) * factor
    coded, wrong = Encoder(kind, 16, len(raw))(values)
    registers_each = struct.calcsize(FORMAT[kind.type]) // 2
    read = PointType(**{**{k: getattr(kind, k) for k in kind.__slots__}, "registers_each": registers_each})
    back, bad = Decoder(PointRef("p", 0, len(raw), read, ()), 3)(coded)
    assert wrong == 0
    assert bad is None
    np.testing.assert_allclose(back[0], values[0], rtol=1e-12)


@given(kind=st.sampled_from(sorted(WHOLE)), value=st.floats(allow_nan=True, allow_infinity=True))
def test_no_command_ever_wraps_round(kind: str, value: float) -> None:
    coded, wrong = Encoder(PointType(kind), 16, 1)(np.array([[value]]))
    low, high = WHOLE[kind]
    sent = struct.unpack(FORMAT[kind], coded.tobytes())[0]
    if np.isfinite(value):
        assert abs(sent - min(max(value, low), high)) <= 0.5
        assert wrong == int(not low <= np.rint(value) <= high)
    else:
        assert (sent, wrong) == (0, 1)


@given(bits=st.lists(st.booleans(), min_size=1, max_size=200))
def test_coils_survive_the_round_trip(bits: list[bool]) -> None:
    coded, _ = Encoder(PointType("bit"), 15, len(bits))(np.array([bits]))
    back, _ = Decoder(PointRef("p", 0, len(bits), PointType("bit"), ()), 1)(coded)
    assert back[0].tolist() == bits


@given(data=st.binary(max_size=300))
def test_the_checksum_is_that_of_pymodbus(data: bytes) -> None:
    assert crc(data).to_bytes(2, "little") == FramerRTU.compute_CRC(data).to_bytes(2, "big")


@given(
    kind=st.sampled_from(["u16", "s16", "u32", "s32", "u64", "s8", "u8"]),
    stride=st.sampled_from([1, 2, 4]),
    little=st.booleans(),
    rows=st.sampled_from([1, 3, 800]),
    where=st.lists(st.tuples(st.integers(0, 799), st.integers(0, 3)), max_size=4),
    filler=st.sampled_from([0x00, 0x80, 0xFF, 0x7F]),
)
def test_a_sentinel_is_found_wherever_it_stands_and_nothing_else_is(
    kind: str, stride: int, little: bool, rows: int, where: list[tuple[int, int]], filler: int
) -> None:
    """Many replies and few, the same memory again and again, words in either order: as an element by element look."""
    size = np.dtype(("i" if kind[0] == "s" else "u") + str(int(kind[1:]) // 8)).itemsize
    sentinel = 1 << (8 * size - 1)
    pattern = sentinel.to_bytes(size, "big")
    if little and size > 2:
        pattern = b"".join(pattern[i : i + 2] for i in range(size - 2, -1, -2))
    each = max(size // 2, 1) * stride
    decode = Decoder(
        PointRef("x", 0, 4, PointType(kind, little_words=little, sentinel=(sentinel,), registers_each=each), ()), 3
    )
    step = size if size == 1 else 2 * each
    raw = np.zeros((rows, 4 * max(step, 2)), np.uint8)
    for _ in range(2):
        raw[:] = filler
        for row, element in where:
            raw[row % rows, element * step : element * step + size] = np.frombuffer(pattern, np.uint8)
        found = np.zeros((rows, 4), bool) if (bad := decode(raw)[1]) is None else bad
        expected = [[bytes(line[e * step : e * step + size]) == pattern for e in range(4)] for line in raw]
        assert found.tolist() == expected
        where = where[1:]
