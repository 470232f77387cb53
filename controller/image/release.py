"""Which release of the controller this is, and which build of it."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Final

PACKAGES: Final = ("controller", "opcua_model", "plc_config")
"""What a running controller consists of."""
BUILD_DIGITS: Final = 8


@functools.cache
def release() -> str:
    """`0.1.0+3fa9c1d2`: the release, and the build as a digest of its sources, the same wherever they are installed.

    Two builds of one release that differ in a line have other digits. `unknown+...` where it runs without a package.
    """
    try:
        version = importlib.metadata.version("cellwarden")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    return f"{version}+{_digest()[:BUILD_DIGITS]}"


def _digest() -> str:
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(f"{package}/{path.relative_to(folder).as_posix()}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
