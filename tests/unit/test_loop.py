"""What the scan process finds of the other processes when it takes the copy for a scan."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from controller.app.loop import Scanner
from controller.core.command import COMMAND_DTYPE
from tests.store_rig import Rig


def test_another_io_process_is_noticed_once_and_the_first_one_is_no_other(tmp_path: Path) -> None:
    rig = Rig(tmp_path, with_store=False)
    scanner = Scanner(rig.program, rig.files, -1, simulated=True)
    status, writer = rig.files.layouts["status.io"].blank(), rig.files.writer("status.io")

    def seen() -> int:
        return int(scanner.read(0.0).system.io_restarted)

    assert [seen(), seen()] == [0, 0], "nobody has spoken yet"
    for started_ms, wanted in ((5000, 0), (5000, 0), (9000, 1), (9000, 0)):
        writer.write(dataclasses.replace(status, started_ms=started_ms))
        assert seen() == wanted


def test_what_is_lost_before_the_scan_or_the_store_reads_it_is_counted(tmp_path: Path) -> None:
    rig = Rig(tmp_path, with_store=False)
    scanner = Scanner(rig.program, rig.files, -1, simulated=True)
    ring = rig.files.command_writer("opcua")
    for _ in range(ring.capacity + 2):
        ring.put(np.zeros((), COMMAND_DTYPE))
    status = rig.files.layouts["status.store"].blank()
    rig.files.writer("status.store").write(dataclasses.replace(status, lost=5))
    scanner.read(0.0)
    assert scanner.read(0.0).system.lost_records == 2 + 5
