"""Raw frames in a file: everything that passed is there, decoded as it was, and the file is bounded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.fieldbus.capture import Capture
from controller.fieldbus.driver import Driver
from plc_config.plan import BusPlan, PollingPlan
from tests.field_rig import Rig
from tests.hostile import Fault
from tools import capture as reader
from tools.cli import main

PLAN = PollingPlan(100, (BusPlan(0, "GW01", "tcp"), BusPlan(1, "LINE1", "rtu", baud=9600)), (), (), ())


class Overheard(Rig):
    """A rig whose driver writes a capture."""

    def start_driver(self) -> None:
        import asyncio

        self.capture = Capture(self.folder / "field.capture", "bench", self.compiled.plan)
        self.driver = Driver(self.compiled.plan, self.files, self.folder, capture=self.capture)
        self.running = asyncio.ensure_future(self.driver.run())


async def test_every_frame_is_there_and_a_reader_sees_what_went_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Overheard(tmp_path) as rig:
        await rig.healthy()
        await rig.cycles(5)
        faults = {
            "GW01": [Fault("exception", number=2), Fault("wrong_unit"), Fault("one_less"), Fault("late", number=0.07)],
            "LINE1": [Fault("crc")],
        }
        for bus, kinds in faults.items():
            for fault in kinds:
                fault.units, fault.functions = frozenset({2}), frozenset({4})
            rig.servers[bus].faults += kinds
        await rig.until(lambda: all(f.hits for kinds in faults.values() for f in kinds), "hit")
        await rig.healthy()
        asked = {b: rig.count("requests", b) for b in ("GW01", "LINE1")}
    rig.capture.close()
    path = tmp_path / "field.capture"
    items = list(reader.decode(path))
    for bus, count in asked.items():
        assert sum(i.piece.bus == bus and i.piece.direction == "tx" for i in items) >= count
    meanings = [i.meaning for i in items if i.piece.bus == "GW01" and i.piece.direction == "rx"]
    read = next(r for r in rig.compiled.plan.reads if r.unit == 2 and r.function == 4)
    shown = " ".join(str(30000 + cell) for cell in range(12))
    assert f"unit 1 {shown} ... ({read.count} registers)" in meanings
    less = f"{2 * read.count - 2} data bytes, {2 * read.count} were asked for"
    for said in ("exception 2: illegal address", "[unit 2 was asked]", less, "late"):
        assert any(said in m for m in meanings), said
    assert any("CRC error" in i.meaning for i in items if i.piece.bus == "LINE1")
    assert any(i.meaning == f"unit 2 read input 0..{read.count - 1}" for i in items)
    assert any(i.meaning == "unit 100 write register 0 = 3" for i in items)
    assert all(i.took_ms >= 0 for i in items if i.piece.direction == "rx"), "each after its request"
    assert main(["replay", str(path), "--bus", "LINE1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(f"LINE1    > unit 1 read input 0..{read.count - 1}" in line for line in lines) and not any(
        "GW01" in x for x in lines
    )
    assert main(["replay", str(path), "--json"]) == 0
    assert len([json.loads(line) for line in capsys.readouterr().out.splitlines()]) == len(items)


def test_a_capture_is_bounded_and_survives_being_cut_off(tmp_path: Path) -> None:
    path, limit = tmp_path / "c", 20_000
    capture = Capture(path, "bench", PLAN, limit)
    for i in range(1000):
        capture.put("GW01", "tx", bytes([i & 0xFF]) * 40)
    capture.close()
    assert capture.lost == 0
    assert path.stat().st_size + (tmp_path / "c.1").stat().st_size <= limit + 400
    pieces = [p for _, p in reader.read(path)]
    assert pieces[-1].data[0] == 999 & 0xFF
    path.write_bytes(path.read_bytes()[:-7])
    assert len([p for _, p in reader.read(path)]) == len(pieces) - 1


def test_what_is_no_capture_is_refused_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c"
    path.write_text(
        '{"cellwarden": "capture", "version": 1, "buses": {}}\n{"t": 1, "bus": "A", "dir": "rx", "hex": "0"}\n'
    )
    assert main(["replay", str(path)]) == 78
    assert f"{path}:2: " in capsys.readouterr().err
    path.write_text('{"cellwarden": "capture", "version": 9, "buses": {}}\n')
    assert main(["replay", str(path)]) == 78
    assert "version 9" in capsys.readouterr().err


def test_a_full_disk_costs_frames_and_nothing_else(tmp_path: Path) -> None:
    capture = Capture(Path("/dev/full"), "bench", PLAN)
    for _ in range(100):
        capture.put("GW01", "tx", b"x" * 2000)
    capture.close()
    assert capture.lost > 0
