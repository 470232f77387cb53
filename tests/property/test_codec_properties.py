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
