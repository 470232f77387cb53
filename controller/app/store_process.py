"""The store process: the memory card of history, audit, recordings and retained state; nothing waits for it."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import time
from pathlib import Path
from typing import Final

from controller.app.process import die_with_parent, monotonic_ms, utc_ms
from controller.historian.store import Store
from controller.image.files import SiteFiles
from controller.image.folder import state_folder
from plc_config.compile import compile_site
from plc_config.problem import ConfigError

PASS_MS: Final = 20
"""Time between two passes: a latch is durable this long after the scan that set it, plus one disk sync."""
EXIT_CONFIG: Final = 78


class _Stop:
    """Set by SIGTERM and SIGINT; looked at once per pass."""

    def __init__(self) -> None:
        self.wanted = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.wanted = True


def main(arguments: list[str] | None = None) -> int:
    """Store until told to stop; 0 after an orderly end, 78 when the site is wrong."""
    parser = argparse.ArgumentParser(prog="controller.app.store_process", description=__doc__)
    parser.add_argument("site")
    parser.add_argument("--run", type=Path, required=True, help="folder of the shared images")
    parser.add_argument("--state", type=Path, help="folder of the databases and recordings")
    parser.add_argument("--parent", type=int, help="process id of the supervisor")
    args = parser.parse_args(arguments)
    stop = _Stop()
    die_with_parent(args.parent)
    try:
        site = compile_site(args.site)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return EXIT_CONFIG
    folder = args.state or state_folder(site.config.site.id)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = Store(site, SiteFiles(args.run, site.dims), folder)
    gc.collect()
    gc.freeze()
    run(store, stop)
    return 0


def run(store: Store, stop: _Stop) -> None:
    """Pass after pass on a grid of 20 ms; a late pass is not made up for."""
    due_ms = monotonic_ms()
    while not stop.wanted:
        now_ms = monotonic_ms()
        store.step(now_ms, utc_ms())
        due_ms = max(due_ms + PASS_MS, now_ms)
        wait_ms = due_ms - monotonic_ms()
        if wait_ms > 0:
            time.sleep(wait_ms / 1000)
    store.finish(monotonic_ms(), utc_ms())


if __name__ == "__main__":
    sys.exit(main())
