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
from typing import Final

FILE: Final = "identity.json"
TRACES: Final = (
    FILE, "state.db*", "retained.slots*", "history.db*", "journal.db*", "recordings/*", "trips/*", "crashes/*",
)  # fmt: skip


def traces(folder: Path) -> list[str]:
    """Names of what an earlier life of the site has left in its state folder."""
    return sorted(str(path.relative_to(folder)) for pattern in TRACES for path in folder.glob(pattern))


def stranger(folder: Path, site_id: str) -> str:
    """The id under which the site of this folder first started, where it is another one; else empty."""
    try:
        found = json.loads((folder / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    known = str(found.get("site") or site_id) if isinstance(found, dict) else site_id
    return "" if known == site_id else known


def begin(folder: Path, site_id: str, utc_ms: int) -> bool:
    """Durably writes the identity unless there is one; True when it was written. OSError when the disk refuses."""
    path = folder / FILE
    if path.exists():
        return False
    temporary = path.with_suffix(".new")
    text = json.dumps({"site": site_id, "first_start_utc_ms": utc_ms, "id": str(uuid.uuid4())}) + "\n"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True
