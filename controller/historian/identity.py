"""Tells a site that starts for the first time from one whose memory was lost.

The first `run` in a state folder without any trace of an earlier life writes `identity.json` there, before the first
scan. From then on missing retained state means that it was lost, and the site stays locked out until an engineer
releases it. Any database, slot file or recording of an earlier run is such a trace too, so that deleting the identity
together with the retained state does not make a site new. A folder that is altogether empty cannot be told from a new
site: whoever empties it has commissioned the site anew, and passwords and certificates are gone with it.
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any, Final

FILE: Final = "identity.json"
TRACES: Final = (
    FILE, "state.db*", "retained.slots*", "history.db*", "journal.db*", "recordings/*", "trips/*", "crashes/*",
)  # fmt: skip


def traces(folder: Path) -> list[str]:
    """Names of what an earlier life of the site has left in its state folder."""
    return sorted(str(path.relative_to(folder)) for pattern in TRACES for path in folder.glob(pattern))


def stranger(folder: Path, site_id: str) -> str:
    """The id under which the site of this folder first started, where it is another one; else empty."""
    known = str(_read(folder / FILE).get("site") or site_id)
    return "" if known == site_id else known


def left_by(folder: Path, site_id: str, site_file: Path) -> list[Path]:
    """State folders beside this one of other sites that last ran from this very site file: its id was changed.

    Only where folders are named by ids, as they are by default.
    """
    if folder.name != site_id:
        return []
    beside = (path for path in folder.parent.glob(f"*/{FILE}") if path.parent != folder)
    return sorted(path.parent for path in beside if _read(path).get("file") == str(site_file.resolve()))


def begin(folder: Path, site_id: str, utc_ms: int, site_file: Path) -> bool:
    """Durably writes the identity unless it is there and names this site file; True when it was written. OSError when
    the disk refuses."""
    path, file = folder / FILE, str(site_file.resolve())
    known = _read(path)
    if path.exists() and (not known or known.get("file") == file):
        return False
    new = {"site": site_id, "first_start_utc_ms": utc_ms, "id": str(uuid.uuid4())}
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps({**(known or new), "file": file}) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


def _read(path: Path) -> dict[str, Any]:
    """What an identity says; nothing where there is none, or where it cannot be read."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
