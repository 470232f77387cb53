"""Changes that change nothing a test could see, each with the reason; a mutant that is listed here is not tried."""

from __future__ import annotations

from typing import Final

EQUIVALENT: Final[dict[str, str]] = {}
