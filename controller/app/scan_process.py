"""The scan process: the CPU of the rack. `python -m controller.app.scan_process SITE --run FOLDER`."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from pathlib import Path
from typing import Final

import numpy as np

from controller.app.loop import Scanner, await_field, run
from controller.app.metronome import Metronome
from controller.app.process import die_with_parent, lock_memory, want_realtime
from controller.core.layout import Layout
from controller.core.memory import Memory
from controller.image.files import SiteFiles
from plc_config.compile import compile_site
from plc_config.problem import ConfigError

PRIORITY: Final = 50
EXIT_CONFIG: Final = 78
FOLDER: Final = "crashes"
CASE: Final = re.compile(r"(?:(\d+)-)?scan-(\d+)\.npz")
"""Its number orders it; one without is older. Scans begin anew where retained memory is lost, and a clock is set."""
CRASHES_KEPT: Final = 20
"""Cases of failing scans: a program that breaks again after every restart must not fill the disk."""
EXIT_PROGRAM: Final = 70
"""The program broke an invariant: outputs are safe, memory and inputs are kept as a replay case."""


def main(argv: list[str] | None = None) -> int:
    """Scans until SIGTERM; the last word is always: everything open, power zero."""
    args = _arguments().parse_args(argv)
    die_with_parent(args.parent)
    try:
        site = compile_site(args.site)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return EXIT_CONFIG
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _frame: stopping.append(n))
    files = SiteFiles(Path(args.run), site.dims)
    scanner = Scanner(site.program, files, args.wake_fd, site.config.site.simulated)
    realtime = want_realtime(PRIORITY)
    lock_memory()
    scanner.note("scan started, real-time priority" if realtime else "scan started, no real-time priority permitted")
    try:
        await_field(scanner, realtime, stopping)
        run(scanner, Metronome(site.config.cycle), realtime, stopping)
    except Exception as error:
        scanner.safe()
        try:
            kept = f"case kept in {_keep(scanner, Path(args.state or args.run) / FOLDER).name}"
        except OSError as refused:
            kept = f"no case kept: {refused}"
        scanner.note(f"program error, outputs safe: {type(error).__name__}: {error}; {kept}")
        raise
    scanner.safe()
    scanner.note("scan stopped")
    return 0


def _keep(scanner: Scanner, folder: Path) -> Path:
    """Memory and inputs of the failing scan, ready to be replayed; of earlier ones the oldest go. OSError as the disk
    says it."""
    folder.mkdir(parents=True, exist_ok=True)
    earlier = sorted((int(m[1] or 0), int(m[2]), p) for p in folder.iterdir() if (m := CASE.fullmatch(p.name)))
    for *_, old in earlier[: max(len(earlier) - CRASHES_KEPT + 1, 0)]:
        old.unlink(missing_ok=True)
    path = folder / f"{max((number for number, *_ in earlier), default=0) + 1:08d}-scan-{scanner.number}.npz"
    memory = Layout(Memory, scanner.program.dims).to_bytes(scanner.memory)
    inputs = scanner.inputs
    raw = b"" if inputs is None else Layout(type(inputs), scanner.program.dims).to_bytes(inputs)
    np.savez_compressed(path, memory=np.frombuffer(memory, np.uint8), inputs=np.frombuffer(raw, np.uint8))
    return path


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scan_process")
    parser.add_argument("site")
    parser.add_argument("--run", required=True, help="folder of the shared images")
    parser.add_argument("--state", help="folder of the durable state")
    parser.add_argument("--wake-fd", type=int, default=-1, help="eventfd that wakes the I/O process")
    parser.add_argument("--parent", type=int, help="process id of the supervisor")
    return parser


if __name__ == "__main__":
    sys.exit(main())
