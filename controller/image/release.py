"""Which release of the controller this is."""

from __future__ import annotations

import importlib.metadata


def release() -> str:
    """The release of the installed package, `unknown` where it runs from its sources without one."""
    try:
        return importlib.metadata.version("cellwarden")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
