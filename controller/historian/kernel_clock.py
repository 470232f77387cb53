"""Whether this machine's clock follows a time server: the kernel is asked (adjtimex(2)), nothing is set."""

from __future__ import annotations

import ctypes
from typing import Final

from controller.core.image import ClockSync

STA_UNSYNC: Final = 0x0040
TIME_ERROR: Final = 5
MOST_ERROR_US: Final = 2_000_000
"""Twice what a clock may be off between two answers of a server that is asked every 34 minutes, the longest pause of
usual clients: the kernel adds 0.5 ms/s to the greatest possible error. It would itself say so at 16 s, nine hours
after the last answer."""


class Timex(ctypes.Structure):
    """The beginning of `struct timex`, and room for the rest of it, which is not looked at."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def ask() -> ClockSync:
    """What the kernel says now; UNKNOWN where it has no such call or does not permit it. Takes microseconds."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (AttributeError, OSError):
        return ClockSync.UNKNOWN
    answer = Timex()  # modes 0: read only
    return judge(int(adjtimex(ctypes.byref(answer))), int(answer.status), int(answer.maxerror))


def judge(state: int, status: int, max_error_us: int) -> ClockSync:
    """From the call's result (-1: refused), the status bits and the greatest possible error."""
    if state < 0:
        return ClockSync.UNKNOWN
    lost = state == TIME_ERROR or status & STA_UNSYNC or max_error_us > MOST_ERROR_US
    return ClockSync.NOT_SYNCHRONISED if lost else ClockSync.SYNCHRONISED
