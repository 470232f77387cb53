"""The library's protocol types, seen as untyped in one place.

asyncua ships annotations, but they contradict what it accepts (by them a NodeId takes no int) and do not export its
names; checking against them would drown the checks of our own code.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

ua: Final[Any] = importlib.import_module("asyncua.ua")
uacrypto: Final[Any] = importlib.import_module("asyncua.crypto.uacrypto")
UaProcessor: Final[Any] = importlib.import_module("asyncua.server.uaprocessor").UaProcessor
