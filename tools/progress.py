"""A word about long work on the terminal, and nothing anywhere else."""

from __future__ import annotations

import sys


def step(text: str) -> None:
    """Replaces the last word by `text` on a terminal's standard error."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def done() -> None:
    """Clears the last word."""
    step("")
