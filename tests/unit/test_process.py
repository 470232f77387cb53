"""What a process of a site does first, seen from outside in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import mmap, re
reserved = mmap.mmap(-1, 64 << 20)
from controller.app.process import lock_memory
if not lock_memory():
    raise SystemExit("not permitted")
status = open("/proc/self/status").read()
locked, resident = (int(re.search(name + r":\\s+(\\d+) kB", status)[1]) for name in ("VmLck", "VmRSS"))
print(locked >> 10, resident >> 10)
"""


def test_programs_are_locked_and_reserved_memory_is_not_brought_in() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    if done.stderr.strip() == "not permitted":
        pytest.skip("this user may not lock memory")
    assert done.returncode == 0, done.stderr
    locked, resident = (int(part) for part in done.stdout.split())
    assert locked >= 64, "the reserved memory belongs to what stays once it is touched"
    assert resident < 64, "and yet nobody has touched it"
