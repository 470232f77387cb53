"""What was wrong with the latest bad reply, in words: counters say how often, this says what to look for."""

from __future__ import annotations

from time import monotonic
from typing import Final

FRESH_S: Final = 10.0
"""An older explanation belongs to another trouble."""

EXCEPTION_TEXT: Final = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledge",
    6: "busy",
    0x0A: "gateway path unavailable",
    0x0B: "gateway target does not respond",
}


TOO_LATE: Final = "replies come too late: longer `timeout`?"


def exception_text(code: int) -> str:
    """An exception code with its meaning."""
    return f"exception {code}: {EXCEPTION_TEXT.get(code, 'unknown')}"


class Blame:
    """The latest explanation of one bus."""

    __slots__ = ("_since_s", "_text")

    def __init__(self) -> None:
        self._text, self._since_s = "", 0.0

    def put(self, text: str) -> None:
        """Something was wrong, and this is what."""
        self._text, self._since_s = text, monotonic()

    def take(self) -> str:
        """The explanation of what went wrong just now, once; empty when there is none."""
        text, self._text = self._text, ""
        return text if monotonic() - self._since_s < FRESH_S else ""
