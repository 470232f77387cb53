"""The rounds, and what each must leave behind."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Final

import numpy as np

from controller.historian.restore import load
from controller.historian.retained import DATABASE, SLOT_FILE
from controller.historian.slots import SLOTS, slot_bytes
from tools.powercut import disk
from tools.powercut.writer import LAYOUT, PROGRAM, latches

KINDS: Final = ("kill", "power cut", "full disk", "damaged file", "damaged and cut")
MOST_ACKNOWLEDGED: Final = 60
DAMAGED_BYTES: Final = 200


class Lost(AssertionError):
    """An acknowledged latch or counter did not come back."""


@dataclasses.dataclass
class Tally:
    """What the rounds have shown. torn: rounds after which some copy was found damaged or missing."""

    rounds: Counter[str] = dataclasses.field(default_factory=Counter)
    acknowledged: int = 0
    in_trouble: int = 0
    torn: int = 0


class Rounds:
    """Rounds on one folder, each going on from what the one before left. Seeded."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.base = tempfile.TemporaryDirectory(prefix="cellwarden-powercut-")
        root = Path(self.base.name)
        self.folder, self.before, self.log = root / "state", root / "before", root / "log"
        self.folder.mkdir()
        self.shim = disk.build(root) if disk.compiler() else None
        self.scan = 0
        self.tally = Tally()

    def run(self, kind: str) -> None:
        """One round; Lost when something acknowledged is gone."""
        cut = kind in ("power cut", "damaged and cut")
        if cut and self.shim is None:
            raise FileNotFoundError("power cuts need a C compiler")
        acknowledged = self._victim(kind, cut)
        if cut:
            disk.after_cut(self.folder, self.before, self.log, self.random)
        if kind.startswith("damaged"):
            self._damage()
        self.tally.rounds[kind] += 1
        self.tally.acknowledged += len(acknowledged)
        self.tally.in_trouble += sum(1 for a in acknowledged if a[2])
        self._judge(kind, acknowledged[-1])

    def _victim(self, kind: str, cut: bool) -> list[tuple[int, list[int], int]]:
        command = [sys.executable, "-m", "tools.powercut.writer", str(self.folder), str(self.scan)]
        environment = dict(os.environ)
        if kind == "full disk":
            # Room for the slots, which have their size already, but for no growing database or log.
            command.append(str(SLOTS * slot_bytes(LAYOUT.size) + self.random.randrange(40_000)))
        if cut:
            shutil.rmtree(self.before, ignore_errors=True)
            shutil.copytree(self.folder, self.before)
            self.log.unlink(missing_ok=True)
            environment |= {
                "LD_PRELOAD": str(self.shim), "POWERCUT_LOG": str(self.log), "POWERCUT_FOLDER": str(self.folder),
            }  # fmt: skip
        wanted = self.random.randrange(1, MOST_ACKNOWLEDGED)
        lines: list[bytes] = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as victim:
            pipe = victim.stdout
            if pipe is None:
                raise OSError("no pipe to the writer")
            for line in pipe:
                lines.append(line)
                if len(lines) >= wanted:
                    break
            victim.kill()
            lines += pipe.read().splitlines()
        told = [json.loads(line) for line in lines if line.strip().endswith(b"]")]
        if not told:
            raise Lost(f"{kind}: the store acknowledged nothing")
        return [(int(scan), list(latched), int(trouble)) for scan, latched, trouble in told]

    def _damage(self) -> None:
        """Random bytes of one file are changed, or the file is cut short, or gone."""
        names = [n for n in (DATABASE, f"{DATABASE}-wal", SLOT_FILE) if (self.folder / n).exists()]
        path = self.folder / self.random.choice(names)
        data = bytearray(path.read_bytes())
        how = self.random.random()
        if how < 0.15:
            path.unlink()
            return
        if how < 0.3:
            path.write_bytes(data[: self.random.randrange(len(data) + 1)])
            return
        for _ in range(DAMAGED_BYTES):
            if data:
                data[self.random.randrange(len(data))] ^= self.random.randrange(1, 256)
        path.write_bytes(data)

    def _judge(self, kind: str, last: tuple[int, list[int], int]) -> None:
        scan, latched, _ = last
        loaded = load(self.folder, LAYOUT, PROGRAM)
        self.tally.torn += loaded.doubtful
        if loaded.retained is None:
            raise Lost(f"{kind}: nothing came back after scan {scan}: {loaded.problems}")
        found = set(np.flatnonzero(loaded.retained.latched).tolist())
        # One state more may be durable without having been acknowledged; a latch it released was released by someone.
        allowed = (set(latched), set(latched) & set(latches(scan + 1)))
        if loaded.retained.scan not in (scan, scan + 1) or not allowed[loaded.retained.scan - scan] <= found:
            raise Lost(
                f"{kind}: acknowledged {latched} of scan {scan}, found {sorted(found)} of scan {loaded.retained.scan}"
            )
        if loaded.retained.trip_count < scan or float(loaded.retained.rack_throughput_ah.min()) < scan:
            raise Lost(f"{kind}: a counter went back: {loaded.retained.trip_count} after {scan}")
        self.scan = loaded.retained.scan

    def close(self) -> None:
        """Remove the folder."""
        self.base.cleanup()
