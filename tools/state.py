"""The state folder that a command reads for its site, with a word where it is another site's."""

from __future__ import annotations

import sys
from pathlib import Path

from controller.historian import identity
from controller.image.folder import state_folder


def state_of(site_id: str) -> Path:
    """The site's state folder. Says on standard error when another site has begun it: one folder for several sites in
    CELLWARDEN_STATE, or a site whose id was changed."""
    folder = state_folder(site_id)
    other = identity.stranger(folder, site_id)
    if other:
        print(f"this state folder is site {other}'s: what it has kept is told here ({folder})", file=sys.stderr)
    return folder
