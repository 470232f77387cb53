"""The command line in a thread of the test's own process: most of what a command costs is Python's start."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
from pathlib import Path
from unittest.mock import patch

from tests.opcua_rig import PASSWORD
from tools.cli import main


async def cellwarden(state: Path, *arguments: str, said: str = "") -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one command; an exception that it lets out fails the test."""
    return await asyncio.to_thread(_run, state, arguments, said)


def _run(state: Path, arguments: tuple[str, ...], said: str) -> tuple[int, str, str]:
    out, err, library = io.StringIO(), io.StringIO(), logging.getLogger("asyncua")
    level = library.level
    with (
        patch.dict(os.environ, {"CELLWARDEN_STATE": str(state), "CELLWARDEN_PASSWORD": PASSWORD}),
        patch("sys.stdin", io.StringIO(said)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = main(list(arguments))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            library.setLevel(level)
    return code, out.getvalue(), err.getvalue()
