"""The short version of `make powercut`, and the disk it imagines."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tools.powercut import disk
from tools.powercut.rounds import KINDS, Rounds
from tools.powercut.writer import LAYOUT, latches


def record(kind: int, path: str, number: int = 0, data: bytes = b"") -> bytes:
    return disk.HEAD.pack(kind, len(path), number, len(data)) + path.encode() + data


def after(folder: Path, log: bytes, seed: int) -> dict[str, bytes]:
    state, before = folder / f"state{seed}", folder / f"before{seed}"
    for path in (state, before):
        path.mkdir()
    (before / "old").write_bytes(b"kept")
    (folder / "log").write_bytes(log)
    disk.after_cut(state, before, folder / "log", Random(seed))
    return {p.name: p.read_bytes() for p in state.iterdir()}


def test_what_was_synced_is_there_and_what_was_not_may_be_there_in_part_or_not_at_all(tmp_path: Path) -> None:
    log = record(disk.WRITE, "/s/a", 0, b"x" * 2048) + record(disk.SYNC, "/s/a")
    log += record(disk.WRITE, "/s/a", 0, b"y" * 2048) + record(disk.WRITE, "/s/b", 0, b"z")
    log += record(disk.WRITE, "/s/a", 0, b"torn")[:-2]
    seen = [after(tmp_path, log, seed) for seed in range(40)]
    assert all(len(s["a"]) == 2048 and set(s["a"]) <= set(b"xy") and s["old"] == b"kept" for s in seen)
    kinds = {("x" if s["a"] == b"x" * 2048 else "y" if s["a"] == b"y" * 2048 else "both") for s in seen}
    assert kinds == {"x", "y", "both"}
    assert {s["b"] for s in seen} == {b"", b"z"}


def test_renames_deletions_and_lengths_are_followed(tmp_path: Path) -> None:
    log = record(disk.WRITE, "/s/new", 0, b"12345678") + record(disk.LENGTH, "/s/new", 4) + record(disk.SYNC, "/s/new")
    log += record(disk.RENAME, "/s/new", 0, b"/s/final") + record(disk.UNLINK, "/s/old")
    log += record(disk.ALLOCATE, "/s/room", 16) + record(disk.SYNC, "/s/room") + record(disk.WRITE, "/s/x-shm", 0, b"1")
    assert after(tmp_path, log, 1) == {"final": b"1234", "room": bytes(16)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_of_every_kind_loses_nothing(kind: str) -> None:
    if "cut" in kind and disk.compiler() is None:
        pytest.skip("power cuts need a C compiler")
    rounds = Rounds(seed=3)
    try:
        rounds.run("kill")
        rounds.run(kind)
    finally:
        rounds.close()
    assert rounds.tally.acknowledged >= 2
    assert rounds.scan >= rounds.tally.acknowledged


def test_the_victim_says_what_it_wrote() -> None:
    assert latches(5) == [0, 2]
    assert LAYOUT.size > 0
