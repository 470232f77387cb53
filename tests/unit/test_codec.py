"""Registers to values and back, type by type, against bytes written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from controller.fieldbus.codec import Decoder, Encoder
from plc_config.plan import PointRef, PointType


def decode(
    kind: PointType, data: str, count: int = 1, offset: int = 0, function: int = 4
) -> tuple[list[float], list[bool]]:
    """Values and doubt of one device."""
    raw = np.frombuffer(bytes.fromhex(data), np.uint8).reshape(1, -1)
    values, bad = Decoder(PointRef("p", offset, count, kind, ()), function)(raw)
    return values[0].tolist(), [False] * count if bad is None else bad[0].tolist()


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [
        (PointType("u16"), "fffe", 65534),
        (PointType("s16"), "fffe", -2),
        (PointType("u32"), "00010002", 65538),
        (PointType("u32", little_words=True), "00020001", 65538),
        (PointType("s32"), "fffffffe", -2),
        (PointType("s32", little_words=True), "fffeffff", -2),
        (PointType("u64"), "0000000100000000", 2**32),
        (PointType("u64", little_words=True), "0000000000010000", 2**32),
        (PointType("s64"), "ffffffffffffffff", -1),
        (PointType("f32"), "3fc00000", 1.5),
        (PointType("f32", little_words=True), "00003fc0", 1.5),
        (PointType("u8_high"), "c801", 200),
        (PointType("u8_low"), "c8fe", 254),
        (PointType("s8_high"), "c801", -56),
        (PointType("s8_low"), "01fe", -2),
        (PointType("u16", bit=3), "0008", 1),
        (PointType("u16", bit=3, active_low=True), "0008", 0),
        (PointType("u32", bit=16), "00010000", 1),
        (PointType("bit", bit=15), "8000", 1),
        (PointType("u16", scale=0.1, raw_offset=-400), "0190", 0.0),
        (PointType("s16", scale=0.1, negate=True), "ff83", 12.5),
    ],
)
def test_every_type(kind: PointType, data: str, value: float) -> None:
    assert decode(kind, data) == ([pytest.approx(value)], [False])


def test_a_row_with_a_stride_and_an_offset() -> None:
    kind = PointType("u16", registers_each=2)
    assert decode(kind, "00000001ffff0002ffff0003", count=3, offset=1)[0] == [1, 2, 3]


def test_coils_are_packed_from_the_lowest_bit() -> None:
    values, _ = decode(PointType("bit"), "0501", count=9, function=2)
    assert values == [1, 0, 1, 0, 0, 0, 0, 0, 1]
    values, _ = decode(PointType("bit", active_low=True), "05", count=2, offset=1, function=1)
    assert values == [1, 0]


@pytest.mark.parametrize(("sentinel", "data"), [(0xFFFF, "ffff"), (-32768, "8000"), (0x8000, "8000")])
def test_a_sentinel_is_no_value_however_it_is_written(sentinel: int, data: str) -> None:
    for kind in ("u16", "s16"):
        assert decode(PointType(kind, sentinel=(sentinel,)), data + "0001", count=2)[1] == [True, False]


@pytest.mark.parametrize("data", ["7fc00000", "7f800000", "ff800000"])
def test_nan_and_infinity_are_no_values(data: str) -> None:
    values, bad = decode(PointType("f32"), data + "3f800000", count=2)
    assert bad == [True, False]
    assert np.isfinite(values).all()


def test_text_is_not_a_number() -> None:
    with pytest.raises(ValueError, match="serial"):
        Decoder(PointRef("serial", 0, 1, PointType("string"), ()), 3)


def encode(kind: PointType, function: int, *values: float, modulo: int = 0) -> tuple[str, int]:
    """Data bytes of one write, and how many values did not fit."""
    encoder = Encoder(kind, function, len(values), modulo)
    raw, wrong = encoder(np.array([values]))
    assert raw.shape == (1, encoder.data_bytes)
    return raw[0].tobytes().hex(), wrong


@pytest.mark.parametrize(
    ("kind", "function", "values", "data"),
    [
        (PointType("bit"), 5, (1,), "ff00"),
        (PointType("bit"), 5, (0,), "0000"),
        (PointType("bit"), 15, (1, 0, 0, 0, 0, 0, 0, 0, 1, 1), "0103"),
        (PointType("u16"), 6, (513,), "0201"),
        (PointType("s16", scale=0.1, negate=True), 6, (12.5,), "ff83"),
        (PointType("s32"), 16, (-2.4,), "fffffffe"),
        (PointType("s32", little_words=True), 16, (65538,), "00020001"),
        (PointType("u32", little_words=True), 16, (65538, 1), "0002000100010000"),
        (PointType("f32"), 16, (1.5,), "3fc00000"),
    ],
)
def test_writing(kind: PointType, function: int, values: tuple[float, ...], data: str) -> None:
    assert encode(kind, function, *values) == (data, 0)


def test_a_heartbeat_counts_round() -> None:
    assert encode(PointType("u16"), 6, 65536 + 7, modulo=65536) == ("0007", 0)


@pytest.mark.parametrize(
    ("kind", "value", "data"),
    [
        (PointType("s16"), 40_000.0, "7fff"),
        (PointType("s16"), -40_000.0, "8000"),
        (PointType("u16"), -1.0, "0000"),
        (PointType("u64"), 1e30, "fffffffffffff800"),
        (PointType("s32"), float("nan"), "00000000"),
        (PointType("s32"), float("inf"), "00000000"),
        (PointType("f32"), 1e300, "7f7fffff"),
    ],
)
def test_what_does_not_fit_is_clamped_and_counted(kind: PointType, value: float, data: str) -> None:
    assert encode(kind, 16, value) == (data, 1)


def test_half_a_register_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="u8_high"):
        Encoder(PointType("u8_high"), 6, 1)
