"""Who may come in: certificates at the channel, users at the session. Every refusal and log-in is told as an event."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any, Final

from asyncua.common.utils import ServiceError

from controller.core.command import USER_BYTES, Role, digest
from controller.core.event import Event, What
from opcua_model.caller import Caller
from opcua_model.library import ua
from opcua_model.pki import Pki
from opcua_model.users import MOST_PASSWORD, Backoff, UserStore
from opcua_model.view import Clock

LOOPBACK: Final = ("127.0.0.1", "::1")
HASHES_AT_ONCE: Final = 2
TOLD_PER_S: Final = 20
ANONYMOUS: Final = "anonymous"


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """How open this server is. `demo` trusts loopback clients and lets anyone read, also without encryption."""

    demo: bool = False
    anonymous_read: bool = False
    max_sessions: int = 24


class Gate:
    """Judges channels and users."""

    def __init__(self, rules: Rules, pki: Pki, users: UserStore, clock: Clock, tell: Callable[[Event], None]) -> None:
        self.rules, self.pki, self.users, self.clock = rules, pki, users, clock
        self.refused = 0
        self._tell = tell
        self._backoff = Backoff()
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)
        self._told_second, self._told = 0, 0

    def judge_certificate(self, der: bytes | None, address: str) -> str:
        """Why a channel's certificate is refused; empty when it may come in."""
        local = address.rpartition(":")[0] in LOOPBACK
        reason = self.pki.judge(der or b"", auto_trust=self.rules.demo and local)
        if reason:
            self.refuse("", address, reason)
        return reason

    async def identify(self, token: Any, session: Any, secure: bool, address: str) -> Caller:
        """The user behind an identity token; ServiceError when there is none that may come in."""
        if isinstance(token, ua.ExtensionObject) or token is None:
            token = ua.AnonymousIdentityToken()
        if isinstance(token, ua.AnonymousIdentityToken):
            if not (self.rules.demo or self.rules.anonymous_read):
                raise self._denied("", address, "anonymous log-in is off", ua.StatusCodes.BadIdentityTokenRejected)
            self._say(ANONYMOUS, address, "logged in, may read", accepted=True)
            return Caller(ANONYMOUS, Role.OBSERVER, address)
        if not isinstance(token, ua.UserNameIdentityToken):
            raise self._denied("", address, "unknown kind of identity", ua.StatusCodes.BadIdentityTokenRejected)
        if not secure:
            raise self._denied("", address, "password without encryption", ua.StatusCodes.BadIdentityTokenRejected)
        return await self._by_password(token, address, session.certificate or b"")

    async def _by_password(self, token: Any, address: str, certificate: bytes) -> Caller:
        # The channel is encrypted, and the policy we announce says so: a second encryption is never needed, and
        # refusing it leaves no oracle for its padding.
        if token.EncryptionAlgorithm:
            raise self._denied("", address, "encrypted password", ua.StatusCodes.BadIdentityTokenInvalid)
        name, raw = str(token.UserName or ""), token.Password or b""
        password = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
        host = address.rpartition(":")[0]
        now_s = self.clock.monotonic_ms() / 1000
        fits = len(name.encode()) <= USER_BYTES and len(password) <= MOST_PASSWORD
        if not fits or self._backoff.blocked(name, host, now_s):
            raise self._denied(name, address, "wrong user name or password")
        async with self._hashing:
            role = await asyncio.to_thread(self.users.verify, name, password)
        if role is Role.NONE:
            self._backoff.wrong(name, host, now_s)
            told = "; ".join(filter(None, ("wrong user name or password", self.users.damage)))
            raise self._denied(name, address, told)
        self._backoff.right(name, host)
        self._say(name, address, f"logged in as {role.name.lower()}", accepted=True)
        return Caller(name, role, address, digest(certificate.hex()))

    def _denied(
        self, name: str, address: str, why: str, code: int = ua.StatusCodes.BadUserAccessDenied
    ) -> ServiceError:
        self.refuse(name, address, why)
        return ServiceError(code)

    def refuse(self, name: str, address: str, why: str) -> None:
        """Counts a refusal and tells it."""
        self.refused += 1
        self._say(name, address, f"refused: {why}", accepted=False)

    def _say(self, name: str, address: str, text: str, accepted: bool) -> None:
        """Tells at most so many per second: a flood of log-ins must not wash other events out of the ring."""
        second = self.clock.monotonic_ms() // 1000
        if second != self._told_second:
            self._told_second, self._told = second, 0
        self._told += 1
        if self._told <= TOLD_PER_S:
            self._tell(Event(What.SESSION, user=name, place=address, text=text, accepted=accepted))
