"""Framing without sockets: every verdict on every kind of reply, and nothing believed that was not asked for."""

from __future__ import annotations

import os
from math import inf
from random import Random
from typing import Any, cast

import pytest

from controller.fieldbus.field import Row
from controller.fieldbus.frames import crc
from controller.fieldbus.request import Failure, Request, read_request
from controller.fieldbus.serial_wire import BABBLE_S, RESYNC_S, SerialWire
from controller.fieldbus.unit import Unit
from controller.fieldbus.wire import TcpWire
from plc_config.plan import CYCLE, BusPlan, ReadBlock

TCP = BusPlan(0, "GW", "tcp")
LINE = BusPlan(0, "LINE", "rtu", baud=115200, timeout_ms=60)
NOW_S = 1000.0


def monotonic() -> float:
    """The time of these tests: none passes."""
    return NOW_S


@pytest.fixture(autouse=True)
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("wire", "serial_wire", "blame"):
        monkeypatch.setattr(f"controller.fieldbus.{module}.monotonic", monotonic)


class Judge:
    """Notes every verdict."""

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []

    def good(self, request: Request, payload: bytes, now_s: float) -> None:
        self.notes.append(("good", request.unit.unit, payload))

    def failed(self, request: Request, failure: Failure, code: int, now_s: float) -> None:
        self.notes.append((failure, request.unit.unit, code))

    def held(self, request: Request, now_s: float) -> None:
        self.notes.append(("held", request.unit.unit))

    def stray(self, late: bool, unit: int) -> None:
        self.notes.append(("late" if late else "stray",))

    def broken(self, reason: str, request: Request | None) -> None:
        self.notes.append(("broken", request.unit.unit) if request else ("broken",))


def request(bus: BusPlan, unit: int = 1, count: int = 2) -> Request:
    """A read of `count` registers."""
    block = ReadBlock(0, 0, unit, unit, 4, 0, count, CYCLE, 0, (), 1.0)
    return read_request(bus, block, Unit("device", unit, 0.0), cast(Row, None))


def tcp(window: int = 1) -> tuple[TcpWire, Judge, list[bytes]]:
    """A wire, its judge and what it sent."""
    judge, sent = Judge(), list[bytes]()
    wire = TcpWire(window, judge)
    wire.write = sent.append
    return wire, judge, sent


def reply(sent: bytes, data: bytes, unit: int = 1, function: int = 4, count: int | None = None) -> bytes:
    """A TCP reply to what was sent."""
    pdu = bytes([unit, function, len(data) if count is None else count]) + data
    return sent[:2] + b"\0\0" + len(pdu).to_bytes(2, "big") + pdu


def test_the_bytes_of_a_request() -> None:
    wire, _, sent = tcp()
    wire.send(request(TCP), 0.0)
    assert sent[0][2:].hex() == "00000006" + "0104" + "0000" + "0002"
    assert request(LINE).frame.hex() == "010400000002" + "71cb"


@pytest.mark.parametrize("cut", range(1, 13))
def test_a_good_reply_in_two_pieces(cut: int) -> None:
    wire, judge, sent = tcp()
    wire.send(request(TCP), 0.0)
    frame = reply(sent[0], b"abcd")
    wire.feed(frame[:cut])
    wire.feed(frame[cut:])
    assert judge.notes == [("good", 1, b"abcd")]


def test_coalesced_replies_and_duplicates() -> None:
    wire, judge, sent = tcp(window=2)
    wire.send(request(TCP, 1), 0.0)
    wire.send(request(TCP, 2), 0.0)
    assert wire.wait_s(0.0) == inf
    first, second = reply(sent[0], b"aaaa", 1), reply(sent[1], b"bbbb", 2)
    wire.feed(second + first + first)
    assert judge.notes == [("good", 2, b"bbbb"), ("good", 1, b"aaaa"), ("late",)]
    assert wire.wait_s(0.0) == 0.0


@pytest.mark.parametrize(
    ("spoiled", "note"),
    [
        ({"unit": 2}, (Failure.BAD, 1, 0)),
        ({"function": 3}, (Failure.BAD, 1, 0)),
        ({"data": b"ab"}, (Failure.BAD, 1, 0)),
        ({"data": b"abcdef"}, (Failure.BAD, 1, 0)),
        ({"count": 2}, (Failure.BAD, 1, 0)),
        ({"data": b"abcdef", "count": 4}, (Failure.BAD, 1, 0)),
        ({"data": b"ab", "count": 4}, (Failure.BAD, 1, 0)),
        ({"function": 0x84, "data": b"", "count": 2}, (Failure.EXCEPTION, 1, 2)),
        ({"function": 0x83, "data": b"", "count": 2}, (Failure.BAD, 1, 0)),
        ({"function": 0x84, "data": b"x", "count": 2}, (Failure.BAD, 1, 0)),
    ],
)
def test_every_wrong_reply_is_named(spoiled: dict[str, Any], note: tuple[Any, ...]) -> None:
    wire, judge, sent = tcp()
    wire.send(request(TCP), 0.0)
    wire.feed(reply(sent[0], **{"data": b"abcd", **spoiled}))
    assert judge.notes == [note]


def test_a_reply_after_its_time_out_is_late() -> None:
    wire, judge, sent = tcp()
    wire.send(request(TCP), 0.0)
    wire.expire(0.049)
    assert judge.notes == []
    wire.expire(0.051)
    wire.send(request(TCP), 0.06)
    wire.feed(reply(sent[0], b"old!") + reply(sent[1], b"new!"))
    assert judge.notes == [(Failure.TIMEOUT, 1, 0), ("late",), ("good", 1, b"new!")]


def test_half_a_reply_at_its_time_out_breaks_the_stream() -> None:
    wire, judge, sent = tcp()
    wire.send(request(TCP), 0.0)
    wire.feed(reply(sent[0], b"abcd")[:-1])
    wire.expire(0.051)
    assert judge.notes == [("broken", 1)]


def test_a_reply_cut_short_is_not_made_whole_by_the_next_one() -> None:
    for values in (b"\x7e\x90" * 20, b"\0\0" * 20, bytes(range(40))):
        for missing in range(1, 48):
            wire, judge, sent = tcp()
            wire.send(request(TCP, count=20), 0.0)
            wire.expire(1.0)
            wire.send(request(TCP, count=20), 1.0)
            wire.feed(reply(sent[1], values)[:-missing])
            wire.feed(reply(sent[0], values))
            assert all(note[0] != "good" for note in judge.notes), (missing, judge.notes)


@pytest.mark.parametrize("head", ["0001000100050104", "0001000000ff0104", "0001000000020104"])
def test_what_is_no_header_breaks_the_stream(head: str) -> None:
    wire, judge, _ = tcp()
    wire.feed(bytes.fromhex(head) + b"x" * 20)
    assert judge.notes == [("broken",)]


def test_random_bytes_are_never_a_value() -> None:
    random = Random(1)
    for _ in range(300):
        wire, judge, _ = tcp()
        wire.send(request(TCP), 0.0)
        for _ in range(5):
            wire.feed(random.randbytes(random.randint(1, 40)))
        assert all(note[0] != "good" for note in judge.notes)


def line() -> tuple[SerialWire, Judge, list[bytes]]:
    """An RTU wire, its judge and what it sent."""
    judge, sent = Judge(), list[bytes]()
    wire = SerialWire(0.00175, judge)
    wire.write = sent.append
    return wire, judge, sent


def frame(data: bytes, unit: int = 1, function: int = 4) -> bytes:
    """An RTU reply."""
    body = bytes([unit, function, len(data)]) + data
    return body + crc(body).to_bytes(2, "little")


def test_rtu_replies_byte_by_byte() -> None:
    wire, judge, _ = line()
    wire.send(request(LINE), monotonic())
    for byte in frame(b"abcd"):
        assert judge.notes == []
        wire.feed(bytes([byte]))
    assert judge.notes == [("good", 1, b"abcd")]
    assert wire.wait_s(monotonic()) == pytest.approx(0.00175)


def test_rtu_exceptions_and_damage() -> None:
    for data, note in (
        (b"\x01\x84\x02" + crc(b"\x01\x84\x02").to_bytes(2, "little"), (Failure.EXCEPTION, 1, 2)),
        (frame(b"abcd")[:-1] + b"?", (Failure.BAD, 1, 0)),
        (frame(b"abcd", unit=2), (Failure.BAD, 1, 0)),
        (frame(b"abcd", function=3), (Failure.BAD, 1, 0)),
        (frame(b"ab"), (Failure.BAD, 1, 0)),
        (os.urandom(2) + frame(b"abcd"), (Failure.BAD, 1, 0)),
    ):
        wire, judge, _ = line()
        wire.send(request(LINE), monotonic())
        wire.feed(data)
        assert judge.notes == [note], data.hex()


def test_rtu_keeps_silent_after_a_time_out_and_doubts_the_next_reply() -> None:
    wire, judge, _ = line()
    sent_s = monotonic() - 1.0
    wire.send(request(LINE), sent_s)
    now_s = monotonic()
    wire.expire(now_s)
    assert judge.notes == [(Failure.TIMEOUT, 1, 0)]
    asked = request(LINE)
    assert wire.doubtful(asked, now_s)
    assert wire.doubtful(asked, now_s + 0.99 * asked.timeout_s)
    assert not wire.doubtful(asked, now_s + asked.timeout_s)
    assert not wire.doubtful(request(LINE, 2), now_s), "only its own unit has to wait"
    assert wire.wait_s(now_s) == pytest.approx(0.00175)
    wire.send(asked, now_s)
    wire.feed(frame(b"late"))
    assert judge.notes[1:] == [("held", 1)], "held until nothing followed it"
    assert wire.doubtful(asked, now_s + 10.0), "and not asked again meanwhile"
    wire.feed(frame(b"real"))
    assert judge.notes[2:] == [("late",), (Failure.BAD, 1, 0)], "two replies: neither is believed"
    wire.send(asked, now_s)
    wire.feed(frame(b"true"))
    wire.expire(wire.deadline_s())
    assert judge.notes[4:] == [("held", 1), ("good", 1, b"true")]
    assert not wire.doubts


def test_rtu_reads_others_while_one_reply_is_doubted() -> None:
    """A late reply of unit 1, whole or in pieces, before or after unit 2's own, hurts nobody and is nobody's value."""
    for pieces in (1, 3):
        wire, judge, _ = line()
        wire.send(request(LINE), monotonic() - 1.0)
        wire.expire(monotonic())
        wire.send(request(LINE, 2), monotonic())
        late = frame(b"late")
        for at in range(0, len(late), -(-len(late) // pieces)):
            wire.feed(late[at : at + -(-len(late) // pieces)])
        wire.feed(frame(b"mine", unit=2))
        assert judge.notes[1:] == [("late",), ("good", 2, b"mine")]
        assert not wire.doubts, "the late reply has come: nothing is left to doubt"
        wire, judge, _ = line()
        wire.send(request(LINE), monotonic() - 1.0)
        wire.expire(monotonic())
        wire.send(request(LINE, 2), monotonic())
        wire.feed(late + frame(b"mine", unit=2))
        assert judge.notes[1:] == [("late",), ("good", 2, b"mine")]


def test_rtu_a_held_reply_falls_with_a_late_one_heard_while_another_unit_is_asked() -> None:
    wire, judge, _ = line()
    wire.send(request(LINE), monotonic() - 1.0)
    wire.expire(monotonic())
    wire.send(request(LINE), monotonic())
    wire.feed(frame(b"late"))
    wire.send(request(LINE, 2), monotonic())
    wire.feed(frame(b"real") + frame(b"mine", unit=2))
    assert judge.notes[1:] == [("held", 1), ("late",), (Failure.BAD, 1, 0), ("good", 2, b"mine")]


def test_rtu_gives_up_a_request_only_while_nothing_has_come() -> None:
    wire, judge, _ = line()
    begin_s = monotonic()
    wire.send(request(LINE), begin_s)
    assert not wire.abandon(begin_s + 0.01, 0.02)
    wire.feed(b"\x01")
    assert not wire.abandon(begin_s + 0.03, 0.02), "a reply is under way"
    assert judge.notes == []
    wire, judge, _ = line()
    wire.send(request(LINE), begin_s)
    assert wire.abandon(begin_s + 0.03, 0.02)
    assert judge.notes == [(Failure.TIMEOUT, 1, 0)]
    assert wire.wait_s(begin_s + 0.03) < 0.002


def test_an_adapter_that_echoes() -> None:
    for pieces in (1, 2, 5):
        judge, sent = Judge(), list[bytes]()
        wire = SerialWire(0.00175, judge, echo=True)
        wire.write = sent.append
        wire.send(request(LINE), monotonic())
        heard = sent[0] + frame(b"abcd")
        for at in range(0, len(heard), -(-len(heard) // pieces)):
            wire.feed(heard[at : at + -(-len(heard) // pieces)])
        assert judge.notes == [("good", 1, b"abcd")]


def test_an_echo_that_is_not_expected_is_never_a_reply_and_is_named() -> None:
    wire, judge, sent = line()
    wire.send(request(LINE), monotonic())
    wire.feed(sent[0])
    assert judge.notes == [(Failure.BAD, 1, 0)]
    assert "set `echo: true`" in wire.blame.take()
    wire = SerialWire(0.00175, judge, echo=True)
    wire.send(request(LINE), monotonic())
    wire.feed(frame(b"abcd"))
    assert judge.notes[1:] == [(Failure.BAD, 1, 0)]
    assert "`echo: true` is wrong" in wire.blame.take()


def test_a_line_that_never_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, judge, _ = line()
    clock = [100.0]
    monkeypatch.setattr("controller.fieldbus.serial_wire.monotonic", lambda: clock[0])
    for _ in range(int(BABBLE_S / RESYNC_S) + 400):
        wire.feed(b"?")
        clock[0] += RESYNC_S * 0.9
    assert ("broken",) in judge.notes
