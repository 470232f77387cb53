"""Where a site's images and its durable state live."""

from __future__ import annotations

import os
from pathlib import Path


def run_folder(site_id: str) -> Path:
    """`$CELLWARDEN_RUN`, else /dev/shm/cellwarden-<uid>/<site id>: memory, because a disk costs 4x in the tail."""
    named = os.environ.get("CELLWARDEN_RUN")
    folder = Path(named) if named else Path(f"/dev/shm/cellwarden-{os.getuid()}") / site_id  # noqa: S108
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def state_folder(site_id: str) -> Path:
    """`$CELLWARDEN_STATE`, else /var/lib/cellwarden/<site id> if it may be written, else ~/.local/state."""
    named = os.environ.get("CELLWARDEN_STATE")
    if named:
        folder = Path(named)
    else:
        system = Path("/var/lib/cellwarden")
        base = system if os.access(system if system.exists() else system.parent, os.W_OK) else None
        folder = (base or Path.home() / ".local/state/cellwarden") / site_id
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
