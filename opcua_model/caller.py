"""Who is asking."""

from __future__ import annotations

import dataclasses
from typing import Final

from controller.core.command import Role


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """An identified user on a channel. Without an identity the role is NONE and nothing is allowed.

    client: digest of the certificate that the channel was opened with; 0 without one.
    """

    name: str
    role: Role
    address: str = ""
    client: int = 0

    @property
    def host(self) -> str:
        """The address without its port."""
        return self.address.rpartition(":")[0]


NOBODY: Final = Caller("", Role.NONE)
