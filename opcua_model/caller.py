"""Who is asking."""

from __future__ import annotations

import dataclasses
from typing import Final

from controller.core.command import Role


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """An identified user on a channel. Without an identity the role is NONE and nothing is allowed."""

    name: str
    role: Role
    address: str = ""


NOBODY: Final = Caller("", Role.NONE)
