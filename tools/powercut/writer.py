"""The victim: commits latch after latch through the real store and says each one only when it is durable.

`python -m tools.powercut.writer FOLDER SCAN [MOST_FILE_BYTES]`. One line of JSON per acknowledged
state: [scan, latches, 1 while the database is in trouble].
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Final

import numpy as np

from controller.core.layout import Layout
from controller.core.retained import Retained
from controller.core.topology import MAX_SHELVED
from controller.historian.retained import Catalog, RetainedStore

LATCHES: Final = 12
DIMS: Final = {"rack": 2, "module": 3, "cell": 16, "temperature": 4, "slot": LATCHES, "shelf": MAX_SHELVED}
LAYOUT: Final[Layout[Retained]] = Layout(Retained, DIMS)
PROGRAM: Final = 77
CATALOG: Final = Catalog(PROGRAM, DIMS, tuple(f"row{i}@R01" for i in range(LATCHES)))
UTC: Final = 1_700_000_000_000


def latches(scan: int) -> list[int]:
    """The latches of a scan: they come and go in every combination, and some stay for long."""
    return [i for i in range(LATCHES) if scan >> i & 1]


def state(scan: int) -> Retained:
    """The retained image of a scan."""
    image = LAYOUT.blank()
    image.latched[latches(scan)] = True
    image.rack_throughput_ah[...] = float(scan)
    return dataclasses.replace(
        image, scan=scan, utc_ms=UTC + scan, program=PROGRAM, first_out=min(latches(scan), default=-1), trip_count=scan
    )


def main() -> None:
    """Until killed."""
    folder, scan = Path(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) > 3:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        most = int(sys.argv[3])
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    store = RetainedStore(folder, LAYOUT, CATALOG)
    while True:
        scan += 1
        store.offer(np.frombuffer(LAYOUT.to_bytes(state(scan)), np.uint8), scan * 100, UTC)
        if store.saved_scan == scan:
            os.write(1, (json.dumps([scan, latches(scan), int(store.trouble)]) + "\n").encode())


if __name__ == "__main__":
    main()
